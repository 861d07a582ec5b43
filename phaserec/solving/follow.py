"""An algorithm followed from iteration to iteration: what it minimises and how near it gets."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from phaserec import measures
from phaserec._xp import Array, to_numpy
from phaserec.algorithms import Algorithm
from phaserec.problem import Problem
from phaserec.solving.iteration import iterate


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
    sdr : ndarray, shape (J,), or None
        SDR in dB, mean over channels; None without references.
    """

    iteration: int
    objective: float | None
    inconsistency: float
    spectral_convergence: float
    mixing_error: float | None
    sdr: np.ndarray | None


def follow(
    entry: Algorithm,
    problem: Problem,
    n_iter: int,
    *,
    init: Any = None,
    rng: Any = None,
    references: np.ndarray | None = None,
    **hyper: Any,
) -> Iterator[tuple[Point, np.ndarray]]:
    """Run an algorithm and measure it at the start and after every iteration.

    Parameters
    ----------
    entry : Algorithm
        The algorithm.
    problem : Problem
        What to solve; arrays ``(channels, J, F, T)``.
    n_iter : int
        Number of iterations.
    init, rng
        As for :func:`phaserec.iterate`.
    references : ndarray, shape (channels, J, time), optional
        True sources.
    **hyper
        Hyper-parameters of the algorithm.

    Yields
    ------
    Point, ndarray of shape (channels, J, time)
        The measures and the waveforms, ``n_iter + 1`` times.
    """
    S = problem.start(init, rng)
    known = {h.name: hyper.get(h.name, h.default) for h in entry.hyper}
    steps = iterate(entry, problem, n_iter, init=S, **hyper)
    yield _measure(entry, problem, S, 0, known, references)
    for n, current in enumerate(steps, start=1):
        yield _measure(entry, problem, current, n, known, references)


@dataclass(frozen=True)
class Run:
    """An algorithm that was followed to its end.

    Attributes
    ----------
    entry : Algorithm
        The algorithm.
    hyper : dict
        Hyper-parameters that were given.
    points : sequence of Point
        Measures at the start and after each iteration.
    waveforms : ndarray, shape (channels, J, time)
        Its result.
    """

    entry: Algorithm
    hyper: dict[str, Any]
    points: Sequence[Point]
    waveforms: np.ndarray

    @classmethod
    def of_steps(
        cls, entry: Algorithm, hyper: dict[str, Any], steps: Iterable[tuple[Point, np.ndarray]]
    ) -> "Run":
        """Go through what :func:`follow` yields, and keep the last waveforms only."""
        points = []
        for point, last in steps:
            points.append(point)
            waveforms = last
        return cls(entry, hyper, points, waveforms)

    @property
    def label(self) -> str:
        """Name and given hyper-parameters."""
        given = (f"{name}={value}" for name, value in self.hyper.items())
        return " ".join([self.entry.name, *given])


def _measure(
    entry: Algorithm,
    p: Problem,
    S: Array,
    n: int,
    hyper: dict[str, Any],
    references: np.ndarray | None,
) -> tuple[Point, np.ndarray]:
    waveforms = to_numpy(p.waveforms(S))
    energy = _total(measures.two_sided_sum(p.magnitudes**2, p))
    mixing = None
    if p.mixture is not None:
        whole = _total(measures.mixing_error(0 * S, p))
        mixing = _decibel(_total(measures.mixing_error(S, p)), whole)
    point = Point(
        iteration=n,
        objective=None if entry.objective is None else _total(entry.objective(S, p, **hyper)),
        inconsistency=_decibel(_total(measures.inconsistency(S, p)), energy),
        spectral_convergence=_decibel(_total(measures.magnitude_error(p.cons(S), p)), energy),
        mixing_error=mixing,
        sdr=None if references is None else mean_sdr(references, waveforms),
    )
    return point, waveforms


def mean_sdr(references: np.ndarray, waveforms: np.ndarray) -> np.ndarray:
    """SDR of each source in dB, mean over channels.

    Parameters
    ----------
    references, waveforms : ndarray, shape (channels, J, time)
        True and estimated sources.

    Returns
    -------
    ndarray, shape (J,)
        dB.
    """
    return measures.sdr(references, waveforms).mean(axis=0)


def _total(values: Array) -> float:
    return float(to_numpy(values).sum())


def _decibel(part: float, whole: float) -> float:
    if part == 0:
        return -np.inf
    return float(10 * np.log10(part / whole)) if whole else np.inf
