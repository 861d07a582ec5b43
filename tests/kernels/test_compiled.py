"""Compiled code outlives its process: made once, found by the next, and never in the way."""

import os
import subprocess
import sys

import numpy as np
import pytest

SCRIPT = """
import sys
import numpy as np
from phaserec import STFT, Problem
from phaserec.solving import prepare
stft = STFT(64, 16)
V = abs(stft(np.random.default_rng(0).standard_normal(643)))
p = Problem(V, stft=stft, length=643)
np.save(sys.argv[1], prepare("griffin-lim", p, 3, init="zero").result())
"""
MODULES = """
print(*sys.modules)
"""
# A function of the user's own, in the process that has only loaded ours.
OTHER = """
import numba
twice = numba.njit(lambda x: 2 * np.sort(x).sum() + np.dot(x, x))
print(twice(np.array([3.0, 1.0])))
"""


def run(folder, out, more=""):
    """A process of its own; what it says on standard error, and its result."""
    environment = {**os.environ, "PHASEREC_CACHE_DIR": str(folder)}
    environment.pop("NUMBA_CACHE_DIR", None)  # would put numba's files elsewhere
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT + more, str(out)],
        capture_output=True,
        text=True,
        env=environment,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stderr, np.load(out), done.stdout


def state(folder):
    """Every file below a folder, with what changes when it is written again."""
    found = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder): path.stat().st_mtime_ns for path in found}


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """A cache folder that one process has filled, and what that process said and computed."""
    folder = tmp_path_factory.mktemp("cache") / "not" / "yet"
    said, result, printed = run(folder, tmp_path_factory.mktemp("out") / "first.npy")
    assert printed == ""
    return folder, said, result


def test_the_first_run_says_that_it_compiles(filled):
    folder, said, _ = filled
    assert "compiling" in said
    sources = sorted(folder.glob("*.py"))
    assert sources
    for path in sources:
        assert list(folder.glob(f"__pycache__/{path.stem}.*.nbi"))
        compile(path.read_text(), str(path), "exec")
    # Nothing half written is left.
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]


def test_the_second_run_finds_the_code(filled, tmp_path):
    folder, _, first = filled
    before = state(folder)
    said, second, printed = run(folder, tmp_path / "second.npy")
    assert said + printed == ""
    np.testing.assert_array_equal(second, first)
    assert state(folder) == before


def test_the_second_run_loads_nothing_that_only_compiling_needs(filled, tmp_path):
    _, _, printed = run(filled[0], tmp_path / "out.npy", MODULES)
    loaded = set(printed.split())
    assert "numba.core.dispatcher" in loaded
    assert not loaded & {"numba.np.arraymath", "numba.cpython.unicode", "scipy.linalg", "tqdm"}


def test_the_second_run_can_still_compile(filled, tmp_path):
    _, _, printed = run(filled[0], tmp_path / "out.npy", OTHER)
    assert float(printed) == 18


def test_a_folder_that_cannot_be_made_is_no_obstacle(filled, tmp_path):
    (tmp_path / "file").write_text("in the way")
    said, result, _ = run(tmp_path / "file" / "cache", tmp_path / "out.npy")
    assert "Traceback" not in said
    np.testing.assert_array_equal(result, filled[2])
    assert (tmp_path / "file").read_text() == "in the way"
