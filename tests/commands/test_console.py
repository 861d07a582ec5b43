"""How commands end: whatever goes wrong is one line, and nothing is left behind."""

import os
import signal
import subprocess
import sys
import time
import zlib

import click
import pytest

from phaserec import audio
from phaserec.commands.console import run_command

ENVIRONMENT = {**os.environ, "PHASEREC_MACHINE": "arrays"}


def ended(command, error):
    """Run a command that raises an error."""

    @click.command()
    def fails():
        raise error

    return command(lambda args: run_command(fails, "phaserec", args))


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (RecursionError("maximum depth"), "RecursionError: maximum depth (--debug"),
        (MemoryError(), "out of memory"),
        (MemoryError("Unable to allocate 7 TiB"), "Unable to allocate 7 TiB"),
        (zlib.error("Error -3"), "error: Error -3 (--debug"),
        (KeyError("state"), "KeyError: 'state'"),
        (RuntimeError("two\nlines"), "two lines"),
        (AssertionError(), "AssertionError"),
        (ValueError(), "ValueError"),
        (ValueError("known=1 must be 2"), "error: known=1 must be 2\n"),
    ],
)
def test_any_error_is_one_line(command, error, words):
    code, out, err = ended(command, error)
    assert (code, out) == (2, "") and err.count("\n") == 1
    assert err.startswith("phaserec: error: ") and words in err


def test_debug_shows_any_error(command):
    @click.command()
    def fails():
        raise KeyError("state")

    with pytest.raises(KeyError):
        command(lambda args: run_command(fails, "phaserec", args), "--debug")


def shell(line, **options):
    """Run ``phaserec`` in a shell; {phaserec} is the command."""
    line = line.replace("{phaserec}", f"{sys.executable} -m phaserec")
    return subprocess.run(
        ["sh", "-c", line], capture_output=True, text=True, env=ENVIRONMENT, **options
    )


@pytest.mark.skipif(os.name != "posix", reason="closing streams is the shell's")
@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("{phaserec} list >&-", 0),
        ("{phaserec} list 2>&-", 0),
        ("{phaserec} invert --n-iter 1 <&- >&- 2>&-", 0),
        ("{phaserec} invert --n-iter 1 -o - >&-", 2),
        ("{phaserec} invert - <&-", 2),
        ("{phaserec} list --bogus 2>&-", 2),
        ("{phaserec} list --bogus 2>/dev/full", 2),
        ("{phaserec} list >/dev/full", 2),
        ("{phaserec} list | head -c 10; true", 0),
        ("{phaserec} invert --n-iter 1 -o - | head -c 10 >/dev/null; true", 0),
        ("{phaserec} list --bogus 2>&1 >/dev/null | true", 0),
    ],
)
def test_streams_that_are_closed_or_full(tmp_path, line, code):
    done = shell(line, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr and "Exception" not in done.stderr
    if "/dev/full" in line and code == 2 and "2>" not in line:
        assert done.stderr == "phaserec: error: No space left on device\n"


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="no such signals on this system")
@pytest.mark.parametrize(("kind", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_signals_leave_nothing_behind(command, phaserec, monkeypatch, kind, code):
    calls = []

    def encode(*args, **kwargs):
        calls.append(1)
        if len(calls) == 2:
            assert any(name.endswith(".part") for name in os.listdir("out"))
            os.kill(os.getpid(), kind)
            time.sleep(10)
        return b"first"

    monkeypatch.setattr(audio, "encode", encode)
    before = signal.getsignal(kind)
    # Whatever runs the tests may have nohup before it.
    signal.signal(kind, signal.SIG_DFL)
    try:
        assert phaserec("invert", "--n-iter", 0, "-o", "out")[::2] == (code, "")
        assert signal.getsignal(kind) == signal.SIG_DFL
    finally:
        signal.signal(kind, before)
    assert not os.path.exists("out")


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="no such signals on this system")
def test_a_signal_that_is_ignored_stays_ignored(command):
    @click.command()
    def hangs_up():
        os.kill(os.getpid(), signal.SIGHUP)

    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert command(lambda args: run_command(hangs_up, "phaserec", args)) == (0, "", "")
    finally:
        signal.signal(signal.SIGHUP, before)
