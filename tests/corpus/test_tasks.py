"""Tasks and what runs them: done once, whole, and again when something has changed."""

import json
import os
import pickle
import signal
import subprocess
import sys
import threading
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pytest

from phaserec._files import remove_abandoned
from phaserec.corpus import Entry, Failed, Made, Task, run
from phaserec.corpus.running import Here
from phaserec.corpus.workers import Processes


@dataclass(frozen=True)
class Reversed:
    """Writes the bytes of a file backwards, one file for each name; commands in it are obeyed."""

    names: tuple[str, ...] = ("a", "b")

    @property
    def settings(self):
        return {"names": self.names}

    def __call__(self, entry):
        text = entry.recording.read_bytes()
        if text == b"bad":
            raise ValueError("it is bad")
        if text.startswith(b"die"):
            dead = Path(os.fsdecode(text[3:]))
            if not dead.exists():
                dead.touch()
                os.kill(os.getpid(), signal.SIGKILL)
        if text == b"die always":
            os._exit(3)
        files = {f"{entry.name}/{name}.txt": text[::-1] for name in self.names}
        return Made(files, {"length": len(text)})


@pytest.fixture
def entries(tmp_path, monkeypatch):
    """Seven entries, of which the third is in a folder."""
    monkeypatch.chdir(tmp_path)
    found = []
    for k, name in enumerate(["n0", "n1", "deep/n2", "n3", "n4", "n5", "n6"]):
        path = tmp_path / f"{k}.txt"
        path.write_bytes(b"text %d" % k)
        found.append(Entry(name, path))
    return found


@pytest.fixture
def task(tmp_path):
    return Task(Reversed(), tmp_path / "out")


def tree(top="out"):
    return {
        path.relative_to(top).as_posix(): path.read_bytes()
        for path in Path(top).rglob("*")
        if path.is_file()
    }


def found(task, entry):
    """Whether an entry was done already."""
    return task(entry).found


def test_what_is_done_is_found(task, entries):
    first = task(entries[2])
    assert (first.found, first.files) == (False, ("deep/n2/a.txt", "deep/n2/b.txt"))
    before = tree()
    assert set(before) == {"deep/n2/a.txt", "deep/n2/b.txt", "deep/n2.json"}
    assert task(entries[2]) == replace(first, found=True) and tree() == before


def test_any_change_is_done_again(task, entries):
    entry = entries[0]
    before = task(entry) and tree()
    # Settings, the entry, the input, and the result itself.
    assert not found(replace(task, work=Reversed(("a",))), entry)
    assert set(tree()) == {"n0/a.txt", "n0.json"}  # what is no longer made has gone
    assert not found(task, entry) and tree() == before
    assert not found(task, replace(entry, offset=1.0))
    assert not found(task, entry) and tree() == before
    entry.recording.write_bytes(b"0 txet")  # as long as before
    assert not found(task, entry) and Path("out/n0/a.txt").read_bytes() == b"text 0"
    Path("out/n0/b.txt").unlink()
    assert not found(task, entry)
    os.truncate("out/n0/b.txt", 3)
    assert not found(task, entry)
    Path("out/n0.json").write_text('{"task": 1}')
    assert not found(task, entry) and found(task, entry)


def test_a_file_that_was_only_touched_is_the_same(task, entries):
    task(entries[0])
    os.utime(entries[0].recording, ns=(1, 1))
    assert found(task, entries[0])


def test_nothing_is_replaced_where_that_is_not_wanted(task, entries):
    task(entries[0])
    before = tree()
    with pytest.raises(ValueError, match="other settings or inputs"):
        replace(task, work=Reversed(("a",)), replace=False)(entries[0])
    assert replace(task, replace=False)(entries[0]).found and tree() == before


def test_a_record_never_outlives_its_result(task, entries, monkeypatch):
    # Settings are changed, the new result is broken off between two files, and changed back.
    task(entries[0])
    rename = Path.replace

    def broken(self, target):
        if Path(target).name == "b.txt":
            raise KeyboardInterrupt
        return rename(self, target)

    entries[0].recording.write_bytes(b"other!")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path, "replace", broken)
        task(entries[0])
    assert not Path("out/n0.json").exists()
    entries[0].recording.write_bytes(b"text 0")
    assert not found(task, entries[0])
    assert tree()["n0/a.txt"] == tree()["n0/b.txt"] == b"0 txet"


def test_inputs_that_never_end_or_are_not_there(task, entries):
    os.mkfifo("pipe")
    with pytest.raises(OSError, match="pipe: is no file"):
        task(Entry("x", Path("pipe")))
    with pytest.raises(OSError, match="gone: no such file"):
        task(Entry("x", Path("gone")))


def test_abandoned_files_are_removed_and_others_stay(tmp_path):
    script = (
        "import os\nfrom pathlib import Path\nfrom phaserec._files import write_files\n"
        "def contents():\n    yield b'whole'\n    os.kill(os.getpid(), 9)\n"
        "write_files([Path('x/y'), Path('x/z')], contents())\n"
    )
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=False)
    (dead,) = (tmp_path / "x").iterdir()
    # The same of a process that runs, and of another machine.
    stem, machine, rest = dead.name.rpartition(".y.")[0], *dead.name[3:].split("-", 1)
    token = rest.partition("-")[2]
    alive = [f"{stem}.y.{machine}-{os.getpid()}-{token}", f"{stem}.y.00000000-{rest}", ".mine.part"]
    for name in alive:
        (tmp_path / "x" / name).touch()
    remove_abandoned(tmp_path)
    assert {path.name for path in (tmp_path / "x").iterdir()} == set(alive)


# What runs tasks ------------------------------------------------------------------------------


def outcomes(task, entries, executor, window=4):
    return {entry.name: outcome for entry, outcome in run(task, entries, executor, window=window)}


@pytest.mark.parametrize("make", [Here, partial(ThreadPoolExecutor, 3), partial(Processes, 2)])
def test_every_executor_gives_the_same(task, entries, make):
    entries[3].recording.write_bytes(b"bad")
    with make() as executor:
        done = outcomes(task, entries, executor)
    assert set(done) == {entry.name for entry in entries}
    assert done.pop("n3") == Failed("it is bad") and not Path("out/n3.json").exists()
    assert all(not record.found for record in done.values())
    expected = Task(Reversed(), "expected")
    for entry in entries:
        if entry.name != "n3":
            expected(entry)
    assert tree() == tree("expected")


def test_a_process_that_dies_loses_nothing(task, entries, tmp_path):
    # One dies once, one always: the first is done in the end, and the second named.
    entries[1].recording.write_bytes(b"die" + os.fsencode(tmp_path / "dead"))
    entries[4].recording.write_bytes(b"die always")
    Path(" always").touch()
    with Processes(2) as executor:
        done = outcomes(task, entries, executor)
    assert done.pop("n4") == Failed("its process ended with exit code 3")
    assert len(done) == 6 and not any(isinstance(outcome, Failed) for outcome in done.values())
    assert Path("dead").exists() and not Path("out/n4").exists()


class Counting(Executor):
    """Notes how many calls wait, and answers them one by one."""

    def __init__(self):
        self.most, self.waiting = 0, []

    def submit(self, fn, /, *args):
        future = Future()
        self.waiting.append((future, partial(fn, *args)))
        self.most = max(self.most, len(self.waiting))
        threading.Timer(0.001, self.answer).start()
        return future

    def answer(self):
        future, call = self.waiting.pop(0)
        future.set_result(call())


def test_few_calls_wait_and_short_entries_go_together(task, entries):
    many = (replace(entries[0], name=f"m{k}") for k in range(300))
    taken = []

    def noted():
        for entry in many:
            taken.append(entry)
            yield entry

    executor = Counting()
    done = run(task, noted(), executor, window=3)
    next(done)
    assert len(taken) <= 3 * 64  # the others are asked for when their turn comes
    assert sum(1 for _ in done) == 299 and executor.most <= 3


class Full(Reversed):
    def __call__(self, entry):
        raise OSError(28, "No space left on device")


@pytest.mark.parametrize("make", [Here, partial(Processes, 1)])
def test_a_full_disk_ends_the_run(task, entries, make):
    with make() as executor, pytest.raises(OSError, match="No space left"):
        outcomes(replace(task, work=Full()), entries, executor)


class Gone(Executor):
    def submit(self, fn, /, *args):
        future = Future()
        future.cancel()
        future.set_running_or_notify_cancel()
        return future


def test_an_executor_that_goes_is_told(task, entries):
    with pytest.raises(OSError, match="goes on from where it ended"):
        outcomes(task, entries, Gone())
    pool = ThreadPoolExecutor(1)
    pool.shutdown()
    with pytest.raises(OSError, match="goes on from where it ended"):
        outcomes(task, entries, pool)


def test_what_waits_is_left_out_when_the_caller_stops(task, entries):
    with Processes(1) as executor:
        for _ in run(task, entries, executor, window=2):
            break
    assert len([name for name in tree() if name.endswith(".json")]) < len(entries)


def test_other_engines_pickle_the_task(task, entries):
    # What Ray, Spark and Beam do: send the callable and its arguments, and get the result.
    sent = pickle.loads(pickle.dumps((task, entries[0])))
    back = pickle.loads(pickle.dumps(sent[0](sent[1])))
    assert back == replace(task(entries[0]), found=False)


def test_two_runs_at_once_are_one(task, entries):
    for _ in range(3):
        with ThreadPoolExecutor(4) as pool:
            assert len(list(pool.map(task, entries * 4))) == 28
    records = [name for name in tree() if name.endswith(".json")]
    assert len(records) == 7 and not [name for name in tree() if name.endswith(".part")]
    assert all(found(task, entry) for entry in entries)
    assert json.loads(Path("out/n0.json").read_text())["outputs"] == {"n0/a.txt": 6, "n0/b.txt": 6}
