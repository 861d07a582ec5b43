"""How a command line ends: results on stdout, one line for bad input, tracebacks on request."""

import gc
import os
import shlex
import sys
import time
from collections.abc import Generator, Sequence
from typing import Any

import click

# Seconds of a run without a progress bar.
_PATIENCE = 0.5


def run_command(command: click.Command, program: str, args: Sequence[str] | None = None) -> None:
    """Run a command; bad input ends with one line on stderr and exit code 2.

    ``--debug`` anywhere among the arguments shows the traceback instead.

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
    given = list(sys.argv[1:] if args is None else args)
    debug = "--debug" in given
    if not {"-h", "--help"} & set(given):  # answers at once
        _show_log(program, debug)
    given = [arg for arg in given if arg != "--debug"]
    try:
        typed = shlex.join([program, *given])
        command.main(given, prog_name=program, standalone_mode=False, obj=typed)
        sys.stdout.flush()
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        sys.exit(0)
    except BrokenPipeError:  # the reader, `head` say, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (click.ClickException, ValueError, OSError, ImportError) as error:
        if debug:
            raise
        click.echo(f"{program}: error: {_one_line(error)}", err=True)
        sys.exit(2)
    except (click.Abort, KeyboardInterrupt):
        click.echo(f"{program}: interrupted", err=True)
        sys.exit(130)


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


def command_line() -> str:
    """The command that is running, as it was typed."""
    return str(click.get_current_context().find_root().obj)


def _one_line(error: BaseException) -> str:
    text = error.format_message() if isinstance(error, click.ClickException) else str(error)
    if isinstance(error, OSError) and error.strerror:
        text = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return " ".join(text.split())
