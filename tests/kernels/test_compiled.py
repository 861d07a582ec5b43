"""Compiled code outlives its process: made once, found by the next, and never in the way."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from phaserec.kernels import cpu
from phaserec.kernels.cpu import caching, compiled

MODULES_OF_THE_KERNEL = sorted(path.name for path in Path(cpu.__file__).parent.glob("*.py"))

SCRIPT = """
import logging
logging.basicConfig(level=logging.INFO)
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
    # The engine's code is here too: beside its modules it would outlive their uninstallation.
    (engine,) = folder.glob("engine-*")
    assert list(engine.glob("engine._apply_gain-*.nbi"))
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


TEXT = """
def entry():
    pass

entry.py_func = entry
"""


@pytest.fixture
def named(tmp_path, monkeypatch):
    """Copy of the kernel's modules, and the name that a text has with it."""
    folder = tmp_path / "cpu"
    shutil.copytree(Path(cpu.__file__).parent, folder, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(compiled, "FOLDER", folder)
    monkeypatch.setattr(compiled, "_is_compiled", lambda path: True)
    monkeypatch.setattr(compiled, "QuickCache", lambda function: None)
    monkeypatch.setenv("PHASEREC_CACHE_DIR", str(tmp_path / "cache"))

    def name():
        # What a process remembers, the next one has forgotten.
        compiled._load.cache_clear()
        caching.engine_digest.cache_clear()
        return compiled.load(TEXT).__module__

    yield folder, name
    compiled._load.cache_clear()
    caching.engine_digest.cache_clear()


def test_the_same_modules_give_the_same_name(named):
    folder, name = named
    before = name()
    (folder / "notes.txt").write_text("no module")
    for path in folder.glob("*.py"):
        os.utime(path, (0, 0))
    assert name() == before


@pytest.mark.parametrize("module", MODULES_OF_THE_KERNEL)
def test_a_change_of_any_module_changes_the_name(named, module):
    folder, name = named
    before = name()
    with open(folder / module, "a") as file:
        file.write("\n")
    assert name() != before


def test_one_module_more_less_or_renamed_changes_the_name(named):
    folder, name = named
    names = [name()]
    (folder / "another.py").write_text("")
    names.append(name())
    (folder / "another.py").rename(folder / "other.py")
    names.append(name())
    (folder / "lanes.py").unlink()
    names.append(name())
    assert len(set(names)) == 4
