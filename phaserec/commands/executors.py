"""What works on a corpus: this process, processes of its own, or a cluster."""

import logging
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager

from phaserec._words import one_line
from phaserec._xp import as_int
from phaserec.corpus.running import Here
from phaserec.corpus.workers import CROWD, Processes, available_cores

# Batches for each process, so that none waits for the next one; and at least, for those to come.
_AHEAD = 2
_LEAST = 32
# Seconds to find a scheduler in.
_TIMEOUT = 10


@contextmanager
def opened(jobs: int | None, scheduler: str | None, count: int) -> Iterator[tuple[Executor, int]]:
    """The executor that was asked for; an exception ends what it is at.

    Parameters
    ----------
    jobs : int or None
        Number of processes, 1 for this one; default one for each core.
    scheduler : str or None
        Address of a Dask cluster.
    count : int
        Number of entries.

    Yields
    ------
    Executor
        The executor.
    int
        How many batches to submit at a time.

    Raises
    ------
    ValueError
        If there are both, or no such number of processes.
    OSError
        If the cluster does not answer.
    """
    if scheduler is not None:
        if jobs is not None:
            raise ValueError("--jobs are processes here, and --scheduler has its own; name one")
        with _cluster(scheduler) as found:
            yield found
        return
    wanted = available_cores() if jobs is None else as_int("--jobs", jobs, 1)
    # More processes than this gain nothing, and a machine can have too many.
    wanted = min(wanted, max(count, 1), CROWD * available_cores())
    if wanted == 1:
        yield Here(), 1
        return
    with Processes(wanted) as pool:
        yield pool, _AHEAD * wanted


@contextmanager
def _cluster(address: str) -> Iterator[tuple[Executor, int]]:
    from distributed import Client  # an extra

    # They would tell the end of a cluster at length, and each part has a level of its own.
    for name in logging.root.manager.loggerDict:
        if name.partition(".")[0] in ("distributed", "tornado"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        client = Client(address, timeout=_TIMEOUT, set_as_default=False)
    except (OSError, ValueError) as error:
        raise OSError(f"--scheduler {address} does not answer: {one_line(error)}") from error
    try:
        # Equal tasks of two runs are two: each looks for itself what is done.
        yield client.get_executor(pure=False), max(_AHEAD * sum(client.ncores().values()), _LEAST)
    finally:
        client.close(timeout=_TIMEOUT)
