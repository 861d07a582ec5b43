"""Results are finite, or an error says why they are not."""

import numpy as np

from phaserec._xp import Array, dtype_name, namespace, to_numpy
from phaserec.algorithms import Configured
from phaserec.problem import Problem


class NotFinite(ValueError):
    """An iteration overflowed or diverged; the message names the cause."""


def check_result(values: Array, algorithm: Configured, problem: Problem) -> None:
    """Raise, with the cause, if what an algorithm gave is not finite.

    Parameters
    ----------
    values : array
        Spectrograms or waveforms.
    algorithm : Configured
        The algorithm.
    problem : Problem
        What it was given.

    Raises
    ------
    NotFinite
        If a value is NaN or infinite.
    """
    xp = namespace(values)
    if not bool(xp.all(xp.isfinite(values))):
        raise NotFinite(_cause(algorithm, problem))


def _cause(algorithm: Configured, problem: Problem) -> str:
    name, kind = algorithm.base.name, dtype_name(problem.magnitudes)
    # Beyond the square root of the largest number a square overflows.
    limit = float(np.finfo(kind).max) ** 0.5
    for argument, given in (("magnitudes", problem.magnitudes), ("mixture", problem.mixture)):
        peak = 0.0 if given is None else float(np.abs(to_numpy(given)).max())
        if not peak <= limit:
            return (
                f"{argument} reach {peak:.3g}, so that {name} overflows {kind}; scale magnitudes "
                "and mixture, for example to a largest value of 1"
            )
    numbers = {
        key: abs(value) if isinstance(value, int | float) else float(np.abs(to_numpy(value)).max())
        for key, value in algorithm.values.items()
        if not isinstance(value, str)
    }
    for key, largest in numbers.items():
        if largest > limit:
            return f"{key}={largest:.3g} is so large that {name} overflows {kind}"
    hyper = ", ".join(f"{key}={value:g}" for key, value in numbers.items()) or "its steps"
    return (
        f"{name} diverged to values that are not finite in {kind}: with {hyper} it does not "
        "converge on these magnitudes; use smaller steps (mu, momentum) or another algorithm"
    )
