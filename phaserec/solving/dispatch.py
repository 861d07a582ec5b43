"""Which machine runs an algorithm on a problem, and why another one cannot.

The *kernel* is the fused one of CPUs, :mod:`phaserec.kernels`; the *arrays* are the loop over
projectors on numpy or torch, which runs everything.
"""

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from phaserec._xp import to_numpy
from phaserec.algorithms import Algorithm, Configured, configure
from phaserec.kernels.program import plan
from phaserec.kernels.trace import Untraceable, trace
from phaserec.problem import NeedsMixture, Problem
from phaserec.stft import STFT

KERNEL, ARRAYS = "kernel", "arrays"
VARIABLE = "PHASEREC_MACHINE"
"""Environment variable that forces the arrays, for comparing and debugging."""

LOGGER = logging.getLogger("phaserec")


@dataclass(frozen=True)
class Choice:
    """A machine.

    Attributes
    ----------
    machine : {"kernel", "arrays"}
        What runs.
    reasons : mapping of str to str
        For each machine that could not be taken, why.
    fused : phaserec.kernels.cpu.fused.Fused or None
        The problem on the kernel, where that is the machine.
    """

    machine: str
    reasons: Mapping[str, str] = field(default_factory=dict)
    fused: Any = None


def choose(algorithm: Configured, problem: Problem, n_iter: int, init: Any, rng: Any) -> Choice:
    """Find the machine for a run.

    Parameters
    ----------
    algorithm : Configured
        The algorithm.
    problem : Problem
        What it is to solve.
    n_iter : int
        Number of iterations.
    init : str or array
        The start.
    rng : object
        Source of random phases.

    Returns
    -------
    Choice
        The machine, and reasons against the other.

    Raises
    ------
    ValueError
        If the environment variable names no machine.
    """
    found = _choose(algorithm, problem, n_iter, init, rng)
    reason = found.reasons.get(KERNEL)
    because = f", not on the kernel: {reason}" if reason else ""
    LOGGER.debug("%s runs on the %s%s", algorithm.label, found.machine, because)
    return found


def _choose(algorithm: Configured, problem: Problem, n_iter: int, init: Any, rng: Any) -> Choice:
    forced = os.environ.get(VARIABLE, "")
    if forced not in ("", ARRAYS):
        raise ValueError(f"{VARIABLE}={forced!r} must be {ARRAYS!r}, or not set")
    if forced:
        return _on_arrays(f"{VARIABLE} is set to {ARRAYS}")
    if not n_iter:
        return _on_arrays("there is nothing to iterate")
    from phaserec.kernels.cpu import fused  # numba takes a moment to load

    reason = fused.unsuited(problem, init, algorithm.values)
    if reason:
        return _on_arrays(reason)
    try:
        return Choice(KERNEL, {}, fused.Fused(algorithm, problem, init, rng))
    except Untraceable as error:
        return _on_arrays(str(error))


def _on_arrays(reason: str) -> Choice:
    return Choice(ARRAYS, {KERNEL: reason})


def needs_mixture(algorithm: Configured) -> bool:
    """Whether an algorithm reads the mixture: found by two iterations on next to nothing.

    Parameters
    ----------
    algorithm : Configured
        The algorithm; its hyper-parameters may turn mixing off.

    Returns
    -------
    bool
        False for those of single spectrograms, such as Griffin-Lim.
    """
    tiny = Problem(np.ones((1, 9, 4)), stft=STFT(16, 4))
    state = algorithm.entry.start(tiny.start("zero"))
    # Arrays fit the real problem only. Zeros may turn mixing off, so the largest number counts.
    values = {
        name: value
        if isinstance(value, int | float | str)
        else float(np.max(np.abs(to_numpy(value))))
        for name, value in algorithm.values.items()
    }
    try:
        for _ in range(2):  # memory may be used from the second one on
            state = algorithm.entry.step(state, tiny, **values)
    except NeedsMixture:
        return True
    return False


def structural_reason(entry: Algorithm) -> str | None:
    """Why an algorithm with its own hyper-parameters never runs on the kernel.

    Parameters
    ----------
    entry : Algorithm
        The algorithm.

    Returns
    -------
    str or None
        A sentence; None for one that the kernel takes.
    """
    try:
        algorithm = configure(entry, {})
        plan(*trace(algorithm.entry, algorithm.values), "random", True)
    except Untraceable as error:
        return str(error)
    return None
