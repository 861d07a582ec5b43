"""Compile ahead, for containers, class rooms, and whoever does not like to wait later."""

from collections.abc import Generator, Sequence
from itertools import product

import numpy as np

from phaserec.algorithms import ALGORITHMS, Configured, configure
from phaserec.problem import Problem
from phaserec.solving.dispatch import KERNEL
from phaserec.solving.prepared import prepare
from phaserec.starts import STARTS
from phaserec.stft import STFT

_DTYPES = ("float32", "float64")
# Bins for which no start does without compiled code.
_MANY = (513, 128)


def warm_up(names: Sequence[str] = ()) -> Generator[float, None, int]:
    """Compile the kernel for every start and precision, and the starts, and keep the code.

    Parameters
    ----------
    names : sequence of str, optional
        Algorithms; default all that are registered.

    Yields
    ------
    float
        Fraction done so far.

    Returns
    -------
    int
        Number of algorithms that the kernel takes.

    Raises
    ------
    ValueError
        If there is no such algorithm.
    """
    chosen = [configure(name, {}) for name in names or ALGORITHMS.everything()]
    starts = [*STARTS.everything(), "given"]
    cases = list(product(_DTYPES, chosen, starts))
    taken = set()
    long = Problem(np.ones(_MANY), stft=STFT())
    for entry in STARTS.values():
        if not entry.needs_mixture:
            long.start(entry.name, 0)
    for done, (dtype, algorithm, start) in enumerate(cases, start=1):
        if _compile(algorithm, start, dtype):
            taken.add(algorithm.base.name)
        yield done / len(cases)
    return len(taken)


def _compile(algorithm: Configured, start: str, dtype: str) -> bool:
    """Run a few iterations on next to nothing, which compiles all there is to compile."""
    stft = STFT(16, 4)
    V = np.ones((2, 9, 8), dtype)
    problem = Problem(V, np.ones(28, dtype), stft=stft)
    init = V.astype(np.result_type(dtype, np.complex64)) if start == "given" else start
    run = prepare(algorithm, problem, 3, init=init, rng=0, machine=KERNEL)
    if run.machine != KERNEL:
        return False
    run.result()
    return True
