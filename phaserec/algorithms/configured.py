"""An algorithm with its hyper-parameters, looked up, checked and accelerated once."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from phaserec._typing import Array, Measurable, Projectors, Value
from phaserec._xp import outlined
from phaserec.algorithms import combinators
from phaserec.algorithms.hyper import MOMENTUM
from phaserec.algorithms.levels import is_level
from phaserec.algorithms.registry import Algorithm, AlgorithmLike, resolve


@dataclass(frozen=True)
class Configured:
    """An algorithm that is ready to run.

    Attributes
    ----------
    base : Algorithm
        The algorithm as it is registered.
    entry : Algorithm
        What runs: ``base``, or ``base`` with momentum around it.
    values : dict
        Every hyper-parameter of ``entry``, defaults included.
    given : dict
        Those that were given.
    """

    base: Algorithm
    entry: Algorithm
    values: dict[str, Value]
    given: dict[str, Value]

    def __repr__(self) -> str:
        words = (
            f", {name}={value!r}"
            if isinstance(value, int | float | str)
            else f", {name}={outlined(value)}"
            for name, value in self.values.items()
        )
        return f"Configured({self.base.name!r}{''.join(words)})"

    @property
    def label(self) -> str:
        """Name and given hyper-parameters."""
        return " ".join([self.base.name, *(f"{k}={v}" for k, v in self.given.items())])

    @property
    def level(self) -> Value | None:
        """Its :data:`~phaserec.algorithms.levels.Level`; None where the unit does not matter."""
        return next((self.values[h.name] for h in self.base.hyper if is_level(h)), None)

    def at_unit(self) -> "Configured":
        """The same for magnitudes in the unit that its level asks for."""
        units: dict[str, Value] = {h.name: 1.0 for h in self.base.hyper if is_level(h)}
        return configure(self.base, self.given | units)

    def step(self, state: object, p: Projectors) -> object:
        """State after one more iteration.

        Raises
        ------
        ValueError
            If a hyper-parameter does not fit the spectrograms, or the step gives no state.
        """
        new = self.entry.step(state, p, **self._fitted(self.values, p))
        before, after = combinators.estimate(state), combinators.estimate(new)
        kept = len(new) if isinstance(new, tuple) else 0
        wanted = len(state) if isinstance(state, tuple) else 0
        if getattr(after, "shape", None) != before.shape or kept != wanted:
            form = "(S, *memory)" if wanted else "S"
            raise ValueError(
                f"a step of {self.base.name} gave {_described(new)}; it must return the next state "
                f"{form} with a spectrogram S of shape {tuple(before.shape)}"
            )
        return new

    def objective(self, S: Array, p: Measurable, start: Array) -> Array | None:
        """What the iteration minimises, per batch item; None where it has no objective.

        Parameters
        ----------
        S : array, shape (..., J, F, T)
            Complex spectrogram.
        p : Problem
            The problem.
        start : array, shape (..., J, F, T)
            Initial spectrogram of the run, whose phases some objectives keep to.

        Returns
        -------
        array, shape (...), or None
            The values.
        """
        if self.base.objective is None:
            return None
        own = {h.name: self.values[h.name] for h in self.base.hyper}
        extra = {"start": start} if self.base.reads_start else {}
        return self.base.objective(S, p, **self._fitted(own, p), **extra)

    def _fitted(self, values: Mapping[str, Value], p: Any) -> dict[str, Value]:
        """Hyper-parameters in the library and precision of a problem."""
        known = {h.name: h for h in self.entry.hyper}
        return {k: known[k].fit(v, p.magnitudes) if k in known else v for k, v in values.items()}


def _described(state: object) -> str:
    if isinstance(state, tuple):
        return f"({', '.join(_described(part) for part in state)})"
    shape = getattr(state, "shape", None)
    kind = "None" if state is None else f"a {type(state).__name__}"
    return kind if shape is None else f"{kind} of shape {tuple(shape)}"


def configure(algorithm: AlgorithmLike, given: Mapping[str, Value]) -> Configured:
    """Look an algorithm up, check its hyper-parameters, and accelerate it if asked to.

    Parameters
    ----------
    algorithm : str, callable or Algorithm
        The algorithm.
    given : dict
        Hyper-parameters; ``momentum``, where the algorithm has none of its own, goes around it.

    Returns
    -------
    Configured
        The algorithm with all its hyper-parameters.

    Raises
    ------
    ValueError
        For an unknown algorithm or hyper-parameter, or a value out of range.
    """
    base = resolve(algorithm)
    # A numpy scalar would impose its precision on the arrays; a Python number does not.
    given = {k: v.item() if isinstance(v, np.generic) else v for k, v in given.items()}
    base.check(given)
    own = dict(given)
    alpha: Value = 0.0 if base.has_momentum else own.pop(MOMENTUM.name, 0.0)
    values = {h.name: h.default for h in base.hyper} | own
    if isinstance(alpha, int | float) and alpha == 0:
        return Configured(base, base, values, given)

    def accelerated(state: Any, p: Projectors, momentum: Any, **hyper: Any) -> Any:
        return combinators.momentum(base, momentum)(state, p, **hyper)

    entry = replace(base, step=accelerated, memory=2, descends=False, hyper=base.known)
    return Configured(base, entry, values | {MOMENTUM.name: alpha}, given)
