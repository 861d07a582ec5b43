"""One prepared run: algorithm, start and machine are found once, and all ways to run it read that.

The loop over iterations is a generator: progress, measures and stopping belong to the caller.
"""

from collections.abc import Generator, Iterator
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from phaserec._typing import Init, Seed, Value
from phaserec._xp import Array, as_int, dtype_name, is_torch_array, namespace
from phaserec.algorithms import AlgorithmLike, Configured, combinators, configure
from phaserec.algorithms.levels import reference
from phaserec.problem import Problem, times
from phaserec.solving.dispatch import ARRAYS, KERNEL, Choice, choose
from phaserec.solving.finite import check_result
from phaserec.starts import find
from phaserec.starts.phases import as_rng

# Sizes of magnitudes between which squares neither overflow nor vanish, even of what is a million
# times smaller; and the largest exponent of a scale.
_SIZES = {"float32": (1e-12, 1e12, 120), "float64": (1e-120, 1e120, 1000)}


class Phases:
    """Source of random phases that gives every run the same ones.

    The first run takes from the caller's generator, so that the next problem gets other phases.

    Parameters
    ----------
    rng : numpy Generator, RandomState or None
        The caller's generator.
    """

    def __init__(self, rng: Seed) -> None:
        self.kept = deepcopy(rng)
        self._first: list[Seed] = [rng]

    def take(self) -> Seed:
        """Generator of a run."""
        return self._first.pop() if self._first else deepcopy(self.kept)


@dataclass(frozen=True)
class PreparedRun:
    """An algorithm on a problem, with everything decided but the result.

    Attributes
    ----------
    algorithm : Configured
        The algorithm with its hyper-parameters.
    problem : Problem
        What it solves.
    n_iter : int
        Number of iterations.
    init : str or complex array
        Name of the start, or the initial spectrogram.
    phases : Phases
        Source of random phases, the same ones for every run.
    choice : Choice
        The machine, and why not another.
    scale : float or array, shape (...)
        Factor, of each batch item in an array, on what is computed with; results are divided by
        it. For algorithms with a level it brings magnitudes to that unit, for others it is a power
        of two where squares of the problem's numbers would overflow or vanish.
    """

    algorithm: Configured
    problem: Problem
    n_iter: int
    init: str | Array
    phases: "Phases"
    choice: Choice
    scale: float | Array = 1.0

    def __repr__(self) -> str:
        start = self.init if isinstance(self.init, str) else "given"
        return (
            f"PreparedRun({self.algorithm.label}, {self.n_iter} iterations from {start}, on the "
            f"{self.machine}: {self.problem})"
        )

    @property
    def machine(self) -> str:
        """Name of the machine, ``"kernel"`` or ``"arrays"``."""
        return self.choice.machine

    @cached_property
    def inner(self) -> tuple[Configured, Problem]:
        """The algorithm and the problem that is computed with."""
        return _scaled(self.algorithm, self.problem, self.scale)

    def start(self) -> Array:
        """Initial spectrogram ``(..., J, F, T)``."""
        init = self.init if isinstance(self.init, str) else times(self.scale, self.init)
        return self._unscaled(self.inner[1].start(init, self.phases.take()))

    def spectrograms(self) -> Iterator[Array]:
        """Spectrogram ``(..., J, F, T)`` after each iteration, always on the arrays.

        Yields
        ------
        array
            One for each iteration.
        """
        return self.from_start(self.start())

    def from_start(self, S: Array) -> Iterator[Array]:
        """The same from an initial spectrogram that has been made.

        Parameters
        ----------
        S : array, shape (..., J, F, T)
            Initial spectrogram.

        Yields
        ------
        array
            One for each iteration.
        """
        algorithm, problem = self.inner
        state = algorithm.entry.initial_state(times(self.scale, S))
        for _ in range(self.n_iter):
            with np.errstate(all="ignore"):  # the check says it better
                state = algorithm.step(state, problem)
            yield self._checked(self._unscaled(combinators.estimate(state)))

    def waveforms(self) -> Iterator[Array]:
        """Waveforms ``(..., J, time)`` after each iteration.

        Yields
        ------
        array
            One for each iteration; the last one is :meth:`result`.
        """
        if self.machine == KERNEL:
            steps = self.choice.fused.trajectory(self.n_iter, self.phases.take())
            yield from map(self._checked, map(self._unscaled, steps))
        else:
            yield from map(self.sound, self.spectrograms())

    def progress(self) -> Generator[float, None, Array]:
        """Run step by step.

        Yields
        ------
        float
            Fraction done so far.

        Returns
        -------
        array, shape (..., J, time)
            Waveforms after the last iteration.
        """
        if self.machine == KERNEL:
            done = yield from self.choice.fused.run(self.n_iter, self.phases.take())
            return self._checked(self._unscaled(done))
        S = self.start()
        for done, current in enumerate(self.from_start(S), start=1):
            S = current
            yield done / self.n_iter
        return self.sound(S)

    def result(self) -> Array:
        """Waveforms ``(..., J, time)`` after the last iteration."""
        steps = self.progress()
        while True:
            try:
                next(steps)
            except StopIteration as stop:
                return stop.value

    def on_arrays(self) -> "PreparedRun":
        """The same run, from the same phases, on the arrays."""
        return replace(self, phases=Phases(self.phases.kept), choice=Choice(ARRAYS))

    def sound(self, S: Array) -> Array:
        """Waveforms ``(..., J, time)`` of spectrograms ``(..., J, F, T)``; finite ones."""
        with np.errstate(all="ignore"):  # the check says it better
            waveforms = self.problem.waveforms(S)
        return self._checked(waveforms)

    def _unscaled(self, values: Array) -> Array:
        with np.errstate(over="ignore"):  # the check says it better
            return values if _is_one(self.scale) else times(1 / self.scale, values)

    def _checked(self, values: Array) -> Array:
        check_result(values, self.algorithm, self.problem)
        return values


def prepare(
    algorithm: AlgorithmLike | Configured,
    problem: Problem,
    n_iter: int,
    *,
    init: Init = None,
    rng: Seed = None,
    machine: str | None = None,
    **hyper: Value,
) -> PreparedRun:
    """Look up, check and decide everything that a run needs.

    Parameters
    ----------
    algorithm : str, callable or Configured
        The algorithm; a configured one has its hyper-parameters already.
    problem, n_iter, init, rng, **hyper
        As for :func:`iterate`.
    machine : {"kernel", "arrays"}, optional
        As for :func:`phaserec.invert`.

    Returns
    -------
    PreparedRun
        The run.

    Raises
    ------
    ValueError
        As :func:`iterate`.
    """
    if isinstance(algorithm, Configured) and hyper:
        raise ValueError(f"{', '.join(hyper)}: a configured algorithm has its hyper-parameters")
    ready = algorithm if isinstance(algorithm, Configured) else configure(algorithm, hyper)
    n_iter = as_int("n_iter", n_iter, 0)
    return prepare_part(ready, problem, n_iter, init=init, rng=rng, machine=machine, scale=None)


def prepare_part(
    ready: Configured,
    problem: Problem,
    n_iter: int,
    *,
    init: Init,
    rng: Seed,
    machine: str | None,
    scale: float | Array | None,
) -> PreparedRun:
    """A run on a part of a problem.

    Parameters
    ----------
    ready, problem, n_iter, init, rng, machine
        As for :func:`prepare`.
    scale : float, array of shape (...), or None
        :attr:`PreparedRun.scale` of the whole problem; None for that of this part.

    Returns
    -------
    PreparedRun
        The run.
    """
    init, rng = _beginning(ready, problem, init, rng)
    scale = _scale(ready, problem) if scale is None else scale
    scaled = init if isinstance(init, str) else times(scale, init)
    choice = choose(*_scaled(ready, problem, scale), n_iter, scaled, machine)
    return PreparedRun(ready, problem, n_iter, init, Phases(rng), choice, scale)


def _beginning(
    algorithm: Configured, problem: Problem, init: Init, rng: Seed
) -> tuple[str | Array, Seed]:
    """Name of a start or initial spectrogram, and a generator; both checked."""
    rng = as_rng(rng, problem.magnitudes)
    if init is None or isinstance(init, str):
        return find(problem, init, algorithm.base).name, rng
    return problem.start(init), rng


def _scale(algorithm: Configured, problem: Problem) -> float | Array:
    """What brings magnitudes to the unit of an algorithm, or to an ordinary size; 1 if they are."""
    V, level = problem.magnitudes, algorithm.level
    if isinstance(level, str) and problem.mixture is not None:
        unit: Any = reference(V, level)
        return 1 / unit[..., 0, 0, 0]
    if level is not None:
        return 1 / level if isinstance(level, int | float) else 1.0
    peak = namespace(V).max(V)
    peak = float(peak.detach() if is_torch_array(peak) else peak)
    low, high, most = _SIZES[dtype_name(V)]
    if peak == 0 or low < peak < high:
        return 1.0
    return 2.0 ** float(np.clip(-np.round(np.log2(peak)), -most, most))


def _is_one(scale: float | Array) -> bool:
    return isinstance(scale, float) and scale == 1


def _scaled(
    algorithm: Configured, problem: Problem, scale: float | Array
) -> tuple[Configured, Problem]:
    """The algorithm for the problem with its numbers multiplied, and that problem."""
    if _is_one(scale):
        return algorithm, problem
    return algorithm.at_unit(), problem.scaled(scale)


def iterate(
    algorithm: AlgorithmLike,
    problem: Problem,
    n_iter: int,
    *,
    init: Init = None,
    rng: Seed = None,
    **hyper: Value,
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
    init : str or complex array, optional
        Name of a start or initial spectrogram, see :meth:`phaserec.Problem.start`; default
        (``"auto"``) the start that the algorithm declares, or the usual one of the problem.
    rng : Seed, optional
        Source of random phases: what :func:`numpy.random.default_rng` takes, a RandomState, or a
        torch.Generator; for tensors None is torch's default one.
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
    # Spectrograms after every iteration exist on the arrays only, so no other machine is asked.
    ready = configure(algorithm, hyper)
    n_iter = as_int("n_iter", n_iter, 0)
    init, rng = _beginning(ready, problem, init, rng)
    scale = _scale(ready, problem)
    run = PreparedRun(ready, problem, n_iter, init, Phases(rng), Choice(ARRAYS), scale)
    return run.spectrograms()
