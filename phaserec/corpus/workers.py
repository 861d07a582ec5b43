"""Processes as an executor, in which a crash fails one call, and results in order from them.

Each process gets one thread for linear algebra, takes one call at a time, and is replaced when it
dies. Nothing is inherited from the parent (``spawn``), so a script that uses this module needs the
usual ``if __name__ == "__main__":``.
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, TypeVar

_THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMBA_NUM_THREADS",
)

# Processes for each core at most.
CROWD = 4
# Seconds that a process has to put away what it was at.
_PATIENCE = 5.0
# Guards the environment, which processes that start inherit.
_STARTING = threading.Lock()

ResultT = TypeVar("ResultT")


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
    return _results(function, items, min(jobs, len(items), CROWD * available_cores()))


def _results(function: Callable[[Any], Any], items: Sequence[Any], jobs: int) -> Iterator[Any]:
    if not items:
        return
    pool = Processes(jobs)
    try:
        for future in [pool.submit(_attempt, function, item) for item in items]:
            try:
                yield future.result()
            except ProcessDied as error:
                yield Failed(str(error))
    finally:
        pool.kill()


class ProcessDied(ChildProcessError):
    """The process of a call ended before the call did."""


class Processes(Executor):
    """Processes of one thread each; one that dies fails its call only, and is replaced.

    Used with ``with``, it waits for all calls, or after an exception ends the processes.

    Parameters
    ----------
    jobs : int
        Number of processes at most; each starts when there is a call for it.
    """

    def __init__(self, jobs: int) -> None:
        # A thread for each process waits for its answers.
        self._threads = ThreadPoolExecutor(jobs)
        self._idle: list[_Worker] = []
        self._busy: list[_Worker] = []
        self._killed = False

    def submit(self, fn: Callable[..., ResultT], /, *args: Any, **kwargs: Any) -> "Future[ResultT]":
        """Call a function in one of the processes; all is pickled.

        Parameters
        ----------
        fn : callable
            The function.
        *args, **kwargs
            Its arguments.

        Returns
        -------
        Future
            Of its result; :class:`ProcessDied` where the process did not live to give one.
        """
        return self._threads.submit(self._call, partial(fn, *args, **kwargs))

    def _call(self, call: Callable[[], Any]) -> Any:
        try:
            worker = self._idle.pop()
        except IndexError:
            worker = _Worker()
        self._busy.append(worker)
        try:
            if self._killed:
                worker.end()
            result = worker.ask(call)
        except ProcessDied:
            self._busy.remove(worker)
            raise
        except BaseException:
            self._free(worker)
            raise
        self._free(worker)
        return result

    def _free(self, worker: "_Worker") -> None:
        self._idle.append(worker)
        self._busy.remove(worker)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls, and end the processes when all calls are done.

        Parameters
        ----------
        wait : bool, default True
            Whether to return when that is so; without it processes end with this one.
        cancel_futures : bool, default False
            Whether calls that have not begun are left out.
        """
        self._threads.shutdown(wait, cancel_futures=cancel_futures)
        while wait and self._idle:
            self._idle.pop().stop()

    def kill(self) -> None:
        """End all processes, whatever they are at; calls that have not begun are left out."""
        self._killed = True
        self._threads.shutdown(False, cancel_futures=True)
        for worker in tuple(self._busy):
            worker.end()
        self.shutdown()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.shutdown()
        else:
            self.kill()


class _Worker:
    """A process and the parent's end of its pipe."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(other,), daemon=True)
        with _one_thread(), _no_interrupt():
            self._process.start()
        other.close()  # or the end of the process would go unseen

    def ask(self, call: Callable[[], Any]) -> Any:
        """Result of a call; raises what it raises, or ProcessDied."""
        try:
            self._connection.send(call)
            result, error = self._connection.recv()
        except (EOFError, ConnectionError):
            self._process.join(_PATIENCE)
            code = self._process.exitcode
            ending = f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
            raise ProcessDied(f"its process ended with {ending}") from None
        if error is not None:
            raise error
        return result

    def end(self) -> None:
        """Make it end, whatever it is at."""
        self._process.terminate()
        timer = threading.Timer(_PATIENCE, self._process.kill)
        timer.daemon = True
        timer.start()

    def stop(self) -> None:
        """End it when it is at nothing."""
        self._connection.close()
        self._process.join()


@contextmanager
def _one_thread() -> Iterator[None]:
    """What is started inside inherits one thread; numerical libraries read it when they load."""
    with _STARTING:
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


@contextmanager
def _no_interrupt() -> Iterator[None]:
    """What is started inside does not hear Ctrl-C, also before it can ignore it."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def one_thread() -> None:
    """Leave the other processors to the other jobs: the kernel takes one from here on."""
    if os.environ.get("NUMBA_NUM_THREADS") == "1":  # as here, and there may be no kernel to load
        return
    import numba

    numba.set_num_threads(1)


def _serve(connection: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    signal.signal(signal.SIGTERM, _leave)
    while True:
        try:
            call = connection.recv()
        except (EOFError, ConnectionError):  # the parent has ended this, or was killed
            return
        outcome = _outcome(call)
        try:
            connection.send(outcome)
        except ConnectionError:
            return
        except Exception as error:  # it cannot be pickled
            connection.send((None, RuntimeError(f"{type(error).__name__}: {error}")))


def _leave(kind: int, frame: Any) -> None:
    """End through every ``finally``, so that no temporary file stays."""
    raise SystemExit(128 + kind)


def _outcome(call: Callable[[], Any]) -> tuple[Any, Exception | None]:
    """Result and error of a call."""
    try:
        return call(), None
    except Exception as error:
        return None, error


def _attempt(function: Callable[[Any], Any], item: Any) -> Any:
    try:
        return function(item)
    except (ValueError, OSError) as error:
        return Failed(" ".join(str(error).split()))
    except Exception as error:  # one item must not end the run of a thousand
        return Failed(" ".join(f"{type(error).__name__}: {error}".split()))
