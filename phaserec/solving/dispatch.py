"""Which machine runs an algorithm on a problem, and why another one cannot.

The *kernel* is the fused one of CPUs, :mod:`phaserec.kernels`; the *arrays* are the loop over
projectors on numpy or torch, which runs everything. Their results differ in the last bits.

The kernel is compiled once on a machine, which takes some seconds. Short work does not wait for
that: it runs on the arrays, until it adds up to what compiling costs.
"""

import logging
import math
import os
from collections import Counter
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
MACHINES = (KERNEL, ARRAYS)
VARIABLE = "PHASEREC_MACHINE"
"""Environment variable that pins the machine where no argument does."""

# Bins times sources times iterations that the arrays do in the time that compiling takes.
_WORTH_COMPILING = 500_000_000
_WAITING = "compiling it takes longer; phaserec warm-up does that ahead"
_SAID: set[str | None] = set()
# What has run on the arrays for want of a compiled kernel, by precision.
_WAITED: Counter[str] = Counter()

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


def choose(
    algorithm: Configured,
    problem: Problem,
    n_iter: int,
    init: Any,
    machine: str | None = None,
) -> Choice:
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
    machine : {"kernel", "arrays"}, optional
        The machine to take, ``"kernel"`` wherever it can be and however long it has to be compiled;
        default that of the environment variable, or else the one that is done first.

    Returns
    -------
    Choice
        The machine, and reasons against the other.

    Raises
    ------
    ValueError
        If there is no such machine.
    """
    told = {"machine": machine, VARIABLE: os.environ.get(VARIABLE)}
    pinned = next((f"{name}={_checked(name, m)}" for name, m in told.items() if m), "")
    found = _choose(algorithm, problem, n_iter, init, pinned)
    reason = found.reasons.get(KERNEL)
    because = f", not on the kernel: {reason}" if reason else ""
    # What another run could change is worth a line, once.
    level = logging.INFO if reason == _WAITING and not _SAID else logging.DEBUG
    _SAID.add(reason)
    LOGGER.log(level, "%s runs on the %s%s", algorithm.label, found.machine, because)
    return found


def _checked(name: str, machine: str) -> str:
    if machine not in MACHINES:
        raise ValueError(f"{name}={machine!r} must be one of {', '.join(MACHINES)}, or not set")
    return machine


def _choose(
    algorithm: Configured,
    problem: Problem,
    n_iter: int,
    init: Any,
    pinned: str,
) -> Choice:
    if pinned.endswith(ARRAYS):
        return _on_arrays(f"{pinned} asks for the arrays")
    if not n_iter:
        return _on_arrays("there is nothing to iterate")
    if os.environ.get("NUMBA_DISABLE_JIT", "0") not in ("", "0"):
        return _on_arrays("NUMBA_DISABLE_JIT is set, and it cannot be compiled")
    from phaserec.kernels.cpu import fused  # numba takes a moment to load

    reason = fused.unsuited(problem, init, algorithm.values)
    if reason:
        return _on_arrays(reason)
    try:
        found = fused.Fused(algorithm, problem, init)
    except Untraceable as error:
        return _on_arrays(str(error))
    if not pinned and not fused.is_compiled(found.dtype):
        work = n_iter * math.prod(problem.magnitudes.shape)
        if _WAITED[found.dtype.name] + work < _WORTH_COMPILING:
            _WAITED[found.dtype.name] += work
            return _on_arrays(_WAITING)
    return Choice(KERNEL, {}, found)


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
    state = algorithm.entry.initial_state(tiny.start("zero"))
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
        algorithm = configure(entry, {}).at_unit()
        plan(trace(algorithm.entry, algorithm.values), "random", True)
    except Untraceable as error:
        return str(error)
    return None
