"""Compiled code outlives its process: made once, found by the next, and never in the way."""

import os
import subprocess
import sys

import numpy as np
import pytest

SCRIPT = """
import sys
import numpy as np
from phaserec import STFT, Problem, solve
stft = STFT(64, 16)
V = abs(stft(np.random.default_rng(0).standard_normal(643)))
p = Problem(V, stft=stft, length=643)
np.save(sys.argv[1], solve.solve("griffin-lim", p, 3, init="zero"))
"""


def run(folder, out):
    """A process of its own; what it says on standard error, and its result."""
    environment = {**os.environ, "PHASEREC_CACHE_DIR": str(folder)}
    environment.pop("NUMBA_CACHE_DIR", None)  # would put numba's files elsewhere
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(out)],
        capture_output=True,
        text=True,
        env=environment,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    return done.stderr, np.load(out)


def state(folder):
    """Every file below a folder, with what changes when it is written again."""
    found = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder): path.stat().st_mtime_ns for path in found}


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """A cache folder that one process has filled, and what that process said and computed."""
    folder = tmp_path_factory.mktemp("cache") / "not" / "yet"
    said, result = run(folder, tmp_path_factory.mktemp("out") / "first.npy")
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
    said, second = run(folder, tmp_path / "second.npy")
    assert said == ""
    np.testing.assert_array_equal(second, first)
    assert state(folder) == before


def test_a_folder_that_cannot_be_made_is_no_obstacle(filled, tmp_path):
    (tmp_path / "file").write_text("in the way")
    said, result = run(tmp_path / "file" / "cache", tmp_path / "out.npy")
    assert "Traceback" not in said
    np.testing.assert_array_equal(result, filled[2])
    assert (tmp_path / "file").read_text() == "in the way"
