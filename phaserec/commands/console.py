"""How a command line ends: results on stdout, one line for bad input, tracebacks on request."""

import gc
import os
import shlex
import signal
import sys
import threading
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, BinaryIO

import click

from phaserec._words import is_explained, one_line

# Seconds of a run without a progress bar.
_PATIENCE = 0.5
# Exit codes of signals that ask to stop, as shells know them; Windows has one of the two.
_ENDINGS = {
    getattr(signal, name): 128 + number
    for name, number in (("SIGTERM", 15), ("SIGHUP", 1))
    if hasattr(signal, name)
}


def run_command(command: click.Command, program: str, args: Sequence[str] | None = None) -> None:
    """Run a command; whatever goes wrong ends with one line on stderr and exit code 2.

    ``--debug`` anywhere among the arguments shows the traceback instead. SIGTERM and SIGHUP end
    with 143 and 129, after what was begun has been put away.

    Parameters
    ----------
    command : click.Command
        The command or group.
    program : str
        Its name in messages.
    args : sequence of str, optional
        Arguments; default those of the process.
    """
    # Modules make objects by the hundred thousand, of which none is garbage.
    gc.set_threshold(100_000)
    _open_closed_streams()
    given = list(sys.argv[1:] if args is None else args)
    debug = "--debug" in given
    if not {"-h", "--help"} & set(given):  # answers at once
        _show_log(program, debug)
    given = [arg for arg in given if arg != "--debug"]
    try:
        with _ending_on_signals():
            typed = shlex.join([program, *given])
            command.main(given, prog_name=program, standalone_mode=False, obj=typed)
            sys.stdout.flush()
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        sys.exit(0)
    except (click.Abort, KeyboardInterrupt):
        _end(f"{program}: interrupted", 130)
    except BrokenPipeError:  # the reader, `head` say, has seen enough
        _can_flush(sys.stdout)
    except Exception as error:
        if debug:
            raise
        _end(f"{program}: error: {_one_line(error)}", 2)


def _open_closed_streams() -> None:
    """Let standard streams that were closed before the start lead nowhere.

    Otherwise they are None, and files that are opened later get their numbers.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115  as long as we run


@contextmanager
def _ending_on_signals() -> Iterator[None]:
    """Leave through every ``finally`` when asked to stop, so that no temporary file stays."""

    def end(kind: int, frame: Any) -> None:
        for each in before:
            signal.signal(each, signal.SIG_IGN)  # putting away is not disturbed
        raise SystemExit(_ENDINGS[signal.Signals(kind)])

    before: dict[signal.Signals, Any] = {}
    if threading.current_thread() is threading.main_thread():
        # Who ignores a signal, such as nohup, wants it ignored.
        handlers = {kind: signal.getsignal(kind) for kind in _ENDINGS}
        before = {kind: was for kind, was in handlers.items() if was == signal.SIG_DFL}
    for kind in before:
        signal.signal(kind, end)
    try:
        yield
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)


def _end(line: str, code: int) -> None:
    """Say why and exit, also where nobody can be told."""
    with suppress(OSError):
        click.echo(line, err=True)
    for stream in (sys.stdout, sys.stderr):
        _can_flush(stream)
    sys.exit(code)


def _can_flush(stream: Any) -> bool:
    """Whether all could be written; if not, the rest leads nowhere, or Python would complain."""
    try:
        stream.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        return False
    return True


def _show_log(program: str, debug: bool) -> None:
    """Messages of the package's logger as lines on stderr: what takes long, or (debug) all."""
    import logging

    class ToStderr(logging.Handler):
        """Writes to standard error as it is at that moment."""

        def emit(self, record: logging.LogRecord) -> None:
            click.echo(self.format(record), err=True)

    logger = logging.getLogger("phaserec")
    handler = ToStderr()
    handler.setFormatter(logging.Formatter(f"{program}: %(message)s"))
    logger.handlers = [handler]
    logger.setLevel(logging.DEBUG if debug else logging.INFO)
    logger.propagate = False


def watched(steps: Generator[float, None, Any]) -> Any:
    """Result of a generator of fractions done, behind a progress bar if there is a terminal."""
    begin = time.monotonic()
    bar = None
    try:
        while True:
            done = next(steps)
            if bar is None and sys.stderr.isatty() and time.monotonic() - begin > _PATIENCE:
                from tqdm import tqdm  # takes longer than many a run

                bar = tqdm(total=100, unit="%", leave=False)
            if bar is not None:
                bar.update(int(100 * done) - bar.n)
    except StopIteration as stop:
        return stop.value
    finally:
        if bar is not None:
            bar.close()


def standard_output() -> BinaryIO:
    """Standard output for bytes.

    Raises
    ------
    OSError
        If it was closed before the start.
    """
    if getattr(sys.stdout, "name", "") == os.devnull:
        raise OSError("standard output is closed; name a file or a folder with -o")
    return sys.stdout.buffer


def command_line() -> str:
    """The command that is running, as it was typed."""
    return str(click.get_current_context().find_root().obj)


def _one_line(error: Exception) -> str:
    """What an error says, in one line."""
    if isinstance(error, click.ClickException):
        return " ".join(error.format_message().split())
    known = isinstance(error, MemoryError) or is_explained(error)
    return one_line(error) + ("" if known else " (--debug shows where)")
