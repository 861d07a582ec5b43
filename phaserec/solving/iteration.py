"""The loop over iterations, a generator: progress, metrics and stopping belong to the caller."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from phaserec._xp import Array, as_int
from phaserec.algorithms import Algorithm, Hyper, Range, combinators, resolve
from phaserec.problem import Problem
from phaserec.solving.finite import check_result

MOMENTUM = Hyper("momentum", 0.0, float, (), Range(0))


def iterate(
    algorithm: Any,
    problem: Problem,
    n_iter: int,
    *,
    init: Any = None,
    rng: Any = None,
    **hyper: Any,
) -> Iterator[Array]:
    """Yield the spectrogram after each iteration of an algorithm.

    Parameters
    ----------
    algorithm : str or callable
        Name or step function.
    problem : Problem
        What to solve.
    n_iter : int
        Number of iterations.
    init : {"mixture", "random", "zero"} or complex array, optional
        Initial phase or spectrogram, see :meth:`phaserec.Problem.start`.
    rng : int, numpy Generator or RandomState, optional
        Source of random phases.
    **hyper
        Hyper-parameters of the algorithm; ``momentum`` accelerates any algorithm.

    Yields
    ------
    array, shape (..., J, F, T)
        Complex spectrogram after one more iteration.

    Raises
    ------
    ValueError
        For an unknown algorithm or hyper-parameter, or a value out of range, before the first
        iteration; and after one that overflows or diverges.

    Examples
    --------
    >>> import numpy as np
    >>> from phaserec import STFT, Problem, iterate, measures
    >>> stft = STFT(256)
    >>> x = np.random.default_rng(0).standard_normal(2000)
    >>> p = Problem(abs(stft(x)), stft=stft)
    >>> errors = [measures.spectral_convergence(S, p) for S in iterate("griffin-lim", p, 5, rng=0)]
    >>> bool(np.all(np.diff(errors) < 0))
    True
    """
    entry, hyper = prepare(algorithm, hyper)
    n_iter = as_int("n_iter", n_iter, 0)
    state = entry.start(problem.start(init, rng))
    return _run(entry, state, problem, n_iter, hyper)


def prepare(algorithm: Any, hyper: dict[str, Any]) -> tuple[Algorithm, dict[str, Any]]:
    """Look an algorithm up, check its hyper-parameters, and accelerate it if asked to.

    Parameters
    ----------
    algorithm : str, callable or Algorithm
        The algorithm.
    hyper : dict
        Hyper-parameters; ``momentum``, where the algorithm has none of its own, wraps it.

    Returns
    -------
    Algorithm, dict
        The algorithm to run and the hyper-parameters of its step.

    Raises
    ------
    ValueError
        As :func:`iterate`.
    """
    entry = resolve(algorithm)
    # A numpy scalar would impose its precision on the arrays; a Python number does not.
    hyper = {k: v.item() if isinstance(v, np.generic) else v for k, v in hyper.items()}
    alpha = 0.0
    if "momentum" in hyper and all(h.name != "momentum" for h in entry.hyper):
        alpha = hyper.pop("momentum")
        MOMENTUM.check(alpha)
    entry.check(hyper)
    if isinstance(alpha, int | float) and alpha == 0:
        return entry, hyper

    def accelerated(state: Any, p: Problem, momentum: Any, **hyper: Any) -> Any:
        return combinators.momentum(entry, momentum)(state, p, **hyper)

    hyper["momentum"] = alpha
    known = (*entry.hyper, MOMENTUM)
    return replace(entry, step=accelerated, memory=2, descends=False, hyper=known), hyper


def _run(
    entry: Algorithm, state: Any, problem: Problem, n_iter: int, hyper: dict[str, Any]
) -> Iterator[Array]:
    for _ in range(n_iter):
        with np.errstate(all="ignore"):  # the check says it better
            state = entry.step(state, problem, **hyper)
        S = combinators.estimate(state)
        check_result(S, entry.name, hyper, problem.magnitudes, problem.mixture)
        yield S
