"""An algorithm followed from iteration to iteration: what it minimises and how near it gets."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from phaserec import measures
from phaserec._xp import Array, to_numpy
from phaserec.solving.prepared import PreparedRun


@dataclass(frozen=True)
class Point:
    """Where an algorithm is after some iterations.

    Attributes
    ----------
    iteration : int
        Number of iterations done; 0 is the start.
    objective : float or None
        What the algorithm minimises, summed over channels; None where it has no objective.
    inconsistency, spectral_convergence : float
        Squared inconsistency and squared error of the magnitudes, in dB of the energy of the
        target magnitudes.
    mixing_error : float or None
        Squared mixing error in dB of the energy of the mixture.
    """

    iteration: int
    objective: float | None
    inconsistency: float
    spectral_convergence: float
    mixing_error: float | None


def follow(run: PreparedRun) -> Iterator[tuple[Point, np.ndarray]]:
    """Run an algorithm and measure it at the start and after every iteration.

    The waveforms are those of the run's machine, so the last ones are its result to the bit. The
    measures are of spectrograms, which exist on the arrays only; those are run beside it, from the
    same start.

    Parameters
    ----------
    run : PreparedRun
        The run; arrays ``(channels, J, F, T)``.

    Yields
    ------
    Point, ndarray of shape (channels, J, time)
        The measures and the waveforms, ``n_iter + 1`` times.
    """
    beside = run.on_arrays()
    first = beside.start()
    yield _measure(run, first, first, 0), to_numpy(run.sound(first))
    spectrograms = beside.from_start(first)
    if run.machine == beside.machine:
        for n, S in enumerate(spectrograms, start=1):
            yield _measure(run, first, S, n), to_numpy(run.sound(S))
        return
    pairs = zip(spectrograms, run.waveforms(), strict=True)
    for n, (S, waveforms) in enumerate(pairs, start=1):
        yield _measure(run, first, S, n), to_numpy(waveforms)


@np.errstate(all="ignore")  # of what overflows the check of the waveforms tells
def _measure(run: PreparedRun, start: Array, S: Array, n: int) -> Point:
    p = run.problem
    energy = _total(measures.two_sided_sum(p.magnitudes**2, p))
    mixing = None
    if p.mixture is not None:
        whole = _total(measures.mixing_error(0 * S, p))
        mixing = _decibel(_total(measures.mixing_error(S, p)), whole)
    objective = run.algorithm.objective(S, p, start)
    return Point(
        iteration=n,
        objective=None if objective is None else _total(objective),
        inconsistency=_decibel(_total(measures.inconsistency(S, p)), energy),
        spectral_convergence=_decibel(_total(measures.magnitude_error(p.cons(S), p)), energy),
        mixing_error=mixing,
    )


def _total(values: Array) -> float:
    return float(to_numpy(values).sum())


def _decibel(part: float, whole: float) -> float:
    if part == 0:
        return -np.inf
    return float(10 * np.log10(part / whole)) if whole else np.inf
