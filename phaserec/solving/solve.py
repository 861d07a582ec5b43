"""Waveforms of a problem: the fused kernel where it applies, else the loop over arrays."""

from collections.abc import Generator, Iterator
from typing import Any

import numpy as np

from phaserec._xp import Array, as_int
from phaserec.problem import Problem
from phaserec.solving.finite import check_result
from phaserec.solving.iteration import iterate, prepare


def solution(
    algorithm: Any,
    problem: Problem,
    n_iter: int,
    *,
    init: Any = None,
    rng: Any = None,
    **hyper: Any,
) -> Generator[float, None, Array]:
    """Solve a problem step by step, by the fused kernel where it applies.

    Parameters
    ----------
    algorithm, problem, n_iter, init, rng, **hyper
        As for :func:`phaserec.iterate`.

    Yields
    ------
    float
        Fraction done so far.

    Returns
    -------
    array, shape (..., J, time)
        Waveforms.
    """
    entry, values = prepare(algorithm, hyper)
    n_iter = as_int("n_iter", n_iter, 0)
    kernel = fused(entry, problem, init, rng, values) if n_iter else None
    if kernel is not None:
        yield from kernel.run(n_iter)
        return _checked(kernel.result(), entry, problem, values)
    S = problem.start(init, rng)
    for done, current in enumerate(iterate(entry, problem, n_iter, init=S, **values), start=1):
        S = current
        yield done / n_iter
    with np.errstate(all="ignore"):  # the check says it better
        waveforms = problem.waveforms(S)
    return _checked(waveforms, entry, problem, values)


def trajectory(
    algorithm: Any,
    problem: Problem,
    n_iter: int,
    *,
    init: Any = None,
    rng: Any = None,
    **hyper: Any,
) -> Iterator[Array]:
    """Waveforms after every iteration, by the fused kernel where it applies.

    Parameters
    ----------
    algorithm, problem, n_iter, init, rng, **hyper
        As for :func:`phaserec.iterate`.

    Yields
    ------
    array, shape (..., J, time)
        Waveforms after one more iteration.
    """
    entry, values = prepare(algorithm, hyper)
    n_iter = as_int("n_iter", n_iter, 0)
    kernel = fused(entry, problem, init, rng, values) if n_iter else None
    if kernel is not None:
        for waveforms in kernel.trajectory(n_iter):
            yield _checked(waveforms, entry, problem, values)
        return
    for S in iterate(entry, problem, n_iter, init=problem.start(init, rng), **values):
        yield _checked(problem.waveforms(S), entry, problem, values)


def _checked(waveforms: Array, entry: Any, problem: Problem, hyper: dict[str, Any]) -> Array:
    check_result(waveforms, entry.name, hyper, problem.magnitudes, problem.mixture)
    return waveforms


def fused(entry: Any, problem: Problem, init: Any, rng: Any, hyper: dict[str, Any]) -> Any:
    """Put a problem on the fused kernel.

    Parameters
    ----------
    entry : Algorithm
        The algorithm, prepared.
    problem, init, rng
        As for :func:`phaserec.iterate`.
    hyper : dict
        Hyper-parameters, prepared.

    Returns
    -------
    phaserec.kernels.cpu.fused.Fused or None
        None where the array path has to solve it.
    """
    from phaserec.kernels.cpu import fused  # numba takes a moment to load

    if not fused.applies(problem, init, hyper):
        return None
    try:
        return fused.Fused(entry, problem, init, rng, hyper)
    except fused.Untraceable:
        return None


def solve(
    algorithm: Any,
    problem: Problem,
    n_iter: int,
    *,
    init: Any = None,
    rng: Any = None,
    **hyper: Any,
) -> Array:
    """Waveforms after ``n_iter`` iterations of an algorithm on a problem.

    Parameters
    ----------
    algorithm, problem, n_iter, init, rng, **hyper
        As for :func:`phaserec.iterate`.

    Returns
    -------
    array, shape (..., J, time)
        Waveforms.
    """
    steps = solution(algorithm, problem, n_iter, init=init, rng=rng, **hyper)
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            return stop.value
