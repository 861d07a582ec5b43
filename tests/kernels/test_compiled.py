"""Compiled code outlives its process: made once, found by the next, and never in the way."""

import errno
import hashlib
import os
import pickle
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from phaserec import _caching as caching
from phaserec.kernels import cpu

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
np.save(sys.argv[1], prepare("griffin-lim", p, 3, init="zero", machine="kernel").result())
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
    # What a sentence adds are two small functions for each pass; the engine is made once.
    assert list(folder.glob("*.o"))
    assert len(list(folder.glob("iterate-*"))) == 1
    # Nothing half written is left, and nobody else may put code there.
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]
    if os.name == "posix":
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


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


def entries(folder):
    return sorted(path for path in folder.iterdir() if path.is_file())


def test_damaged_entries_are_made_anew(filled, tmp_path):
    folder = tmp_path / "cache"
    shutil.copytree(filled[0], folder)
    for path in entries(folder):
        content = path.read_bytes()
        path.write_bytes(content[:100] + bytes([content[100] ^ 1]) + content[101:])
    said, result, _ = run(folder, tmp_path / "out.npy")
    assert "Traceback" not in said
    np.testing.assert_array_equal(result, filled[2])
    for path in entries(folder):
        content = path.read_bytes()
        assert hashlib.sha256(content[32:]).digest() == content[:32]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A cache folder of this process."""
    folder = tmp_path / "cache"
    monkeypatch.setenv(caching.VARIABLE, str(folder))
    yield folder
    caching._checked.cache_clear()


@pytest.mark.parametrize("damage", ["cut", "changed", "empty", "foreign", "gone"])
def test_what_is_damaged_is_not_read(folder, damage):
    assert caching.read("name") is None
    caching.write("name", b"content" * 20)
    assert caching.read("name") == b"content" * 20
    content = (folder / "name").read_bytes()
    (folder / "name").write_bytes(
        {
            "cut": content[: len(content) // 2],
            "changed": content[:-1] + b"!",
            "empty": b"",
            "foreign": pickle.dumps(("not", "ours")),
            "gone": content,
        }[damage]
    )
    if damage == "gone":
        (folder / "name").unlink()
    assert caching.read("name") is None
    caching.write("name", b"content")
    assert caching.read("name") == b"content"


posix = pytest.mark.skipif(os.name != "posix", reason="folders have owners and modes on POSIX only")


@posix
def test_what_others_have_put_there_is_not_run(filled, tmp_path):
    # Whatever lies there would run with the user's rights.
    folder = tmp_path / "cache"
    folder.mkdir()
    for path in entries(filled[0]):
        content = pickle.dumps(_Planted(tmp_path / "planted"))
        (folder / path.name).write_bytes(hashlib.sha256(content).digest() + content)
    folder.chmod(0o777)
    before = state(folder)
    said, result, _ = run(folder, tmp_path / "out.npy")
    assert f"others may write to {folder}" in said
    np.testing.assert_array_equal(result, filled[2])
    assert not (tmp_path / "planted").exists()
    assert state(folder) == before


class _Planted:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.write_text, (self.path, "planted")


@posix
@pytest.mark.parametrize("mode", [0o770, 0o707, 0o720, 0o777])
def test_a_folder_that_others_may_write_to_is_not_used(folder, mode):
    folder.mkdir()
    folder.chmod(mode)
    assert caching.cache_folder() is None
    caching.write("name", b"content")
    assert list(folder.iterdir()) == []
    assert caching.read("name") is None


@posix
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid(), reason="gives a folder away")
def test_a_folder_of_somebody_else_is_not_used(folder):
    folder.mkdir()
    os.chown(folder, 12345, 12345)
    assert caching.cache_folder() is None


def test_a_relative_folder_is_not_used(folder, monkeypatch, tmp_path):
    # It would be another one in every working directory, whoever that belongs to.
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(caching.VARIABLE, "cache")
    assert caching.cache_folder() is None
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_no_obstacle(folder):
    folder.write_text("in the way")
    assert caching.read("name") is None
    caching.write("name", b"content")
    assert folder.read_text() == "in the way"


@posix
def test_a_folder_that_cannot_be_written_to_serves_what_it_has(filled, tmp_path):
    folder = tmp_path / "cache"
    shutil.copytree(filled[0], folder)
    folder.chmod(0o500)
    try:
        said, result, _ = run(folder, tmp_path / "out.npy")
    finally:
        folder.chmod(0o700)
    assert said == ""
    np.testing.assert_array_equal(result, filled[2])


def test_a_full_disk_is_no_obstacle(folder, monkeypatch):
    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    caching.write("name", b"content")
    assert list(folder.iterdir()) == []
    assert caching.read("name") is None


@posix
def test_a_user_without_a_home_has_no_cache(tmp_path):
    # As in a container with a user id of its own.
    code = """
import os, pwd
os.environ.pop("HOME", None), os.environ.pop("XDG_CACHE_HOME", None)
os.environ.pop("PHASEREC_CACHE_DIR", None)
def unknown(uid):
    raise KeyError(uid)
pwd.getpwuid = unknown
from phaserec import _caching as caching
print(caching.cache_folder(), caching.read("name"), caching.write("name", b""))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["None"] * 3, done.stderr


@pytest.fixture
def digest(tmp_path):
    """Copy of the kernel's modules, and what their digest is."""
    folder = tmp_path / "cpu"
    shutil.copytree(Path(cpu.__file__).parent, folder, ignore=shutil.ignore_patterns("__pycache__"))
    yield folder, lambda: caching.folder_digest.__wrapped__(folder)


def test_the_same_modules_give_the_same_digest(digest):
    folder, value = digest
    before = value()
    (folder / "notes.txt").write_text("no module")
    for path in folder.glob("*.py"):
        os.utime(path, (0, 0))
    assert value() == before


@pytest.mark.parametrize("module", MODULES_OF_THE_KERNEL)
def test_a_change_of_any_module_changes_the_digest(digest, module):
    folder, value = digest
    before = value()
    with open(folder / module, "a") as file:
        file.write("\n")
    assert value() != before


def test_one_module_more_less_or_renamed_changes_the_digest(digest):
    folder, value = digest
    values = [value()]
    (folder / "another.py").write_text("")
    values.append(value())
    (folder / "another.py").rename(folder / "other.py")
    values.append(value())
    (folder / "lanes.py").unlink()
    values.append(value())
    assert len(set(values)) == 4


# -- short work does not wait -------------------------------------------------------------------

SHORT = """
import sys
import numpy as np
from phaserec import STFT, Problem
from phaserec.solving import dispatch, prepare
stft = STFT(64, 16)
V = abs(stft(np.random.default_rng(0).standard_normal(643)))
p = Problem(V, stft=stft, length=643)
machines = []
for _ in range(3):
    run = prepare("griffin-lim", p, 3, init="zero")
    machines.append(run.machine)
    dispatch._WORTH_COMPILING = 2.5 * 3 * V.size  # two and a half times this work
print(machines, run.choice.reasons, prepare("misi", p, 3, machine="arrays").machine)
"""


def test_short_work_runs_on_the_arrays_until_it_adds_up(filled, tmp_path):
    def machines(folder, **more):
        env = {**os.environ, "PHASEREC_CACHE_DIR": str(folder), **more}
        env = {name: value for name, value in env.items() if value}
        done = subprocess.run(
            [sys.executable, "-c", SHORT], capture_output=True, text=True, env=env, check=True
        )
        return done.stdout

    empty = tmp_path / "empty"
    assert "['arrays', 'arrays', 'kernel']" in machines(empty, PHASEREC_MACHINE="")
    assert "['kernel', 'kernel', 'kernel']" in machines(filled[0], PHASEREC_MACHINE="")
    assert "['kernel', 'kernel', 'kernel']" in machines(empty, PHASEREC_MACHINE="kernel")
    assert "['arrays', 'arrays', 'arrays']" in machines(filled[0], PHASEREC_MACHINE="arrays")


def test_warming_up_compiles_what_is_asked_for(tmp_path):
    folder = tmp_path / "cache"
    env = {**os.environ, "PHASEREC_CACHE_DIR": str(folder)}
    call = [sys.executable, "-m", "phaserec", "warm-up", "--algo", "misi"]
    done = subprocess.run(call, capture_output=True, text=True, env=env, check=True)
    assert done.stdout == f"1 algorithm compiled, in {folder}\n"
    assert len(list(folder.glob("iterate-*"))) == 2
    before = state(folder)
    subprocess.run(call, capture_output=True, env=env, check=True)
    assert state(folder) == before


FORK = """
import os, threading, time
from numba.core.compiler_lock import global_compiler_lock
from phaserec.algorithms import configure
from phaserec.kernels.cpu import compiled
from phaserec.kernels.cpu.source import write
from phaserec.kernels.program import plan
from phaserec.kernels.trace import trace
ready = configure("misi", {})
program = plan(trace(ready.entry, ready.values), "zero", True).start
text = write(program, mixture_row=True, dtype="float32").text
inside = threading.Event()
def compile_something():
    with compiled._LOCK, global_compiler_lock:
        inside.set()
        time.sleep(0.5)
threading.Thread(target=compile_something).start()
inside.wait()
child = os.fork()
if not child:
    compiled.load(text)
    os._exit(7)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@posix
def test_a_fork_while_another_thread_compiles(tmp_path):
    env = {**os.environ, "PHASEREC_CACHE_DIR": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", FORK],
        capture_output=True,
        text=True,
        env=env,
        timeout=60,
        check=True,
    )
    assert done.stdout == "7\n"
