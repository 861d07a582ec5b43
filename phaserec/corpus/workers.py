"""Run a function over many items in processes: results in order, and a crash fails one item.

Each process gets one thread for linear algebra, takes one item at a time, and is replaced when it
dies. Nothing is inherited from the parent (``spawn``), so a script that uses this module needs the
usual ``if __name__ == "__main__":``.
"""

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any

_THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMBA_NUM_THREADS",
)

# Processes for each core at most.
_CROWD = 4


@dataclass(frozen=True)
class Failed:
    """What an item gives in place of a result.

    Attributes
    ----------
    reason : str
        Why, in one line.
    """

    reason: str


def available_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def run_ordered(
    function: Callable[[Any], Any], items: Sequence[Any], *, jobs: int | None = None
) -> Iterator[Any]:
    """Results of a function for each item, in the order of the items.

    Parameters
    ----------
    function : callable
        Of one item; function, items and results are pickled.
    items : sequence
        Items.
    jobs : int, optional
        Number of processes, at most four for each core; default one for each. Also one job is a
        process of its own, so that a crash of a C library is survived.

    Yields
    ------
    object
        Result, or :class:`Failed` where the function raised or its process died.

    Raises
    ------
    ValueError
        If ``jobs`` is not positive.
    """
    jobs = available_cores() if jobs is None else jobs
    if jobs < 1:
        raise ValueError(f"jobs={jobs} must be at least 1")
    # More processes than this gain nothing, and a machine can have too many.
    return _results(function, items, min(jobs, len(items), _CROWD * available_cores()))


def _results(function: Callable[[Any], Any], items: Sequence[Any], jobs: int) -> Iterator[Any]:
    workers: dict[Connection, _Worker] = {}
    done: dict[int, Any] = {}
    waiting = iter(range(len(items)))
    try:
        for _ in range(jobs):
            worker = _Worker(function)
            workers[worker.connection] = worker
            worker.send(next(waiting), items)
        for index in range(len(items)):
            while index not in done:
                for ready in wait(list(workers)):
                    assert isinstance(ready, Connection)
                    worker = workers.pop(ready)
                    number = worker.index
                    done[number], alive = worker.receive()
                    following = next(waiting, None)
                    if following is not None:
                        worker = worker if alive else _Worker(function)
                        workers[worker.connection] = worker
                        worker.send(following, items)
                    elif alive:
                        worker.stop()
            yield done.pop(index)
    finally:
        for worker in workers.values():
            worker.stop()


class _Worker:
    """A process, the parent's end of its pipe, and the item that it is at."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, other = context.Pipe()
        self.index = -1
        self._process = context.Process(target=_serve, args=(other, function), daemon=True)
        with _one_thread():
            self._process.start()
        other.close()  # or the end of the process would go unseen

    def send(self, index: int, items: Sequence[Any]) -> None:
        self.index = index
        with suppress(BrokenPipeError):  # receive() tells
            self.connection.send(items[index])

    def receive(self) -> tuple[Any, bool]:
        """The result, and whether the process goes on."""
        try:
            return self.connection.recv(), True
        except (EOFError, ConnectionError):
            self._process.join()
            code = self._process.exitcode
            ending = f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
            return Failed(f"its process ended with {ending}"), False

    def stop(self) -> None:
        self.connection.close()
        self._process.terminate()
        self._process.join()


@contextmanager
def _one_thread() -> Iterator[None]:
    """What is started inside inherits one thread; numerical libraries read it when they load."""
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _serve(connection: Connection, function: Callable[[Any], Any]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    while True:
        try:
            item = connection.recv()
        except EOFError:
            return
        connection.send(_attempt(function, item))


def _attempt(function: Callable[[Any], Any], item: Any) -> Any:
    try:
        return function(item)
    except (ValueError, OSError) as error:
        return Failed(" ".join(str(error).split()))
    except Exception as error:  # one item must not end the run of a thousand
        return Failed(" ".join(f"{type(error).__name__}: {error}".split()))
