"""Run tasks over the entries of a corpus on any executor of :mod:`concurrent.futures`."""

import errno
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    wait,
)
from dataclasses import dataclass
from itertools import islice
from typing import Any

from phaserec._words import one_line
from phaserec.corpus.entries import Entry
from phaserec.corpus.tasks import Record, Task
from phaserec.corpus.workers import Failed, one_thread

# Seconds of work that go to a process at once, and entries at most.
_SECONDS = 0.2
_MOST = 64
# With these no other entry can be written either.
_FULL = {getattr(errno, name) for name in ("ENOSPC", "EDQUOT", "EROFS") if hasattr(errno, name)}

Outcome = tuple[Entry, Record | Failed]


class Here(Executor):
    """The executor that calls at once, in this process."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        """Call a function.

        Parameters
        ----------
        fn : callable
            The function.
        *args, **kwargs
            Its arguments.

        Returns
        -------
        Future
            Done, with the result or what was raised.
        """
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


@dataclass(frozen=True)
class _Batch:
    """Entries that go to a process together, and whether they were tried before."""

    entries: Sequence[Entry]
    again: bool = False


def run(
    task: Task, entries: Iterable[Entry], executor: Executor, *, window: int
) -> Iterator[Outcome]:
    """Do every entry; what is done first is yielded first.

    Short entries go to a process several at a time, and no more than ``window`` such batches are
    waiting or running, so that there may be a million entries. Those whose process dies are tried
    once more, one by one.

    Parameters
    ----------
    task : Task
        What is done.
    entries : iterable of Entry
        Entries, asked for when they can be done.
    executor : Executor
        What does it: of :mod:`concurrent.futures`, of Dask, or any with ``submit`` like theirs.
        Its processes must have this package and see the files.
    window : int
        Batches that are submitted at a time.

    Yields
    ------
    Entry, Record or Failed
        What there is of an entry now, or why it could not be done.

    Raises
    ------
    OSError
        If the disk is full, or the executor has gone. What is done stays.
    """
    waiting = iter(entries)
    ready: deque[_Batch] = deque()
    running: dict[Future[Any], _Batch] = {}
    size = 1
    most = 1 if isinstance(executor, Here) else _MOST
    try:
        while True:
            while len(running) < window:
                batch = ready.popleft() if ready else _Batch(list(islice(waiting, size)))
                if not batch.entries:
                    break
                running[_submitted(executor, task, batch)] = batch
            if not running:
                return
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                batch = running.pop(future)
                found = _found(future)
                if isinstance(found, Failed) and not batch.again:
                    ready.extend(_Batch([entry], again=True) for entry in batch.entries)
                elif isinstance(found, Failed):
                    yield batch.entries[0], found
                else:
                    outcomes, seconds = found
                    size = round(_SECONDS * len(outcomes) / max(seconds, 1e-9))
                    size = min(max(size, 1), most)
                    if rest := batch.entries[len(outcomes) :]:
                        ready.appendleft(_Batch(rest))
                    yield from zip(batch.entries, outcomes, strict=False)
    finally:
        for future in running:
            future.cancel()


def _submitted(executor: Executor, task: Task, batch: _Batch) -> "Future[Any]":
    crowd = not isinstance(executor, Here)
    try:
        return executor.submit(_do, task, batch.entries, crowd)
    except (RuntimeError, OSError) as error:  # that is how executors refuse
        raise _gone(error) from error


def _found(future: "Future[Any]") -> tuple[list[Record | Failed], float] | Failed:
    """Outcomes of a batch and how long it took, or why it has none."""
    try:
        return future.result()
    except (CancelledError, BrokenExecutor) as error:
        raise _gone(error) from error
    except OSError as error:
        if error.errno in _FULL:
            raise
        return Failed(one_line(error))
    except Exception as error:  # its process died, say; the kinds are the executor's own
        return Failed(one_line(error))


def _gone(error: Exception) -> OSError:
    reason = f" ({one_line(error)})" if str(error) else ""
    return OSError(
        f"what runs the tasks has gone{reason}; results stay, and the same command goes on from "
        "where it ended"
    )


def _do(task: Task, entries: Sequence[Entry], crowd: bool) -> tuple[list[Record | Failed], float]:
    """Outcomes of the first entries, and the seconds; raises if the disk is full.

    After a while the others are left to be asked for again: they may take longer than was thought.
    """
    if crowd:
        one_thread()
    begin = time.perf_counter()
    outcomes: list[Record | Failed] = []
    for entry in entries:
        try:
            outcomes.append(task(entry))
        except Exception as error:  # one entry must not end the run of a thousand
            if isinstance(error, OSError) and error.errno in _FULL:
                raise
            outcomes.append(Failed(one_line(error)))
        if time.perf_counter() - begin > _SECONDS:
            break
    return outcomes, time.perf_counter() - begin
