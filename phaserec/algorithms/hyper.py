"""Hyper-parameters: their ranges, how they are read off a step, parsed and checked."""

import inspect
import math
import numbers
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeGuard, cast, get_args, get_origin, get_type_hints

import numpy as np

from phaserec._typing import Array, Step, Value
from phaserec._xp import (
    as_array,
    dtype_name,
    is_complex,
    is_torch_array,
    like,
    namespace,
    same_backend,
)


@dataclass(frozen=True)
class Range:
    """Allowed values of a numeric hyper-parameter: ``low <= value <= high``, never NaN."""

    low: float = -math.inf
    high: float = math.inf


NonNegative = Annotated[float, Range(0)]
Real = Annotated[float, Range()]
Count = Annotated[int, Range(1)]


@dataclass(frozen=True)
class Hyper:
    """A hyper-parameter of an algorithm.

    Attributes
    ----------
    name : str
        Python name.
    default : object
        Default value.
    kind : type
        ``float``, ``int`` or ``str``.
    allowed : tuple
        Words that are allowed; empty where only numbers are.
    range : Range or None
        Allowed numbers; None where only words are allowed.
    """

    name: str
    default: float | str
    kind: type
    allowed: tuple[str, ...]
    range: Range | None

    def parse(self, text: str) -> float | str:
        """Value of a word from a command line."""
        if text in self.allowed or self.range is None:
            return text
        try:
            return self.kind(text)
        except ValueError:
            return text  # check() names the argument and what is allowed

    def check(self, value: Value) -> None:
        """Raise ValueError unless the value, or every value of an array, is allowed."""
        array = is_array(value)
        if array and self.range is not None and self._holds(value):
            return
        wanted = [repr(word) for word in self.allowed]
        if self.range is not None:
            low, high = self.range.low, self.range.high
            if not array and _is_number(value, self.kind) and low <= value <= high:
                return
            noun = "an integer" if self.kind is int else "a number"
            bounds = [f"≥ {low:g}"] * (low > -math.inf) + [f"≤ {high:g}"] * (high < math.inf)
            wanted.append(" ".join([noun, *bounds]))
        if isinstance(value, str) and value in self.allowed:
            return
        if array:
            raise ValueError(
                f"{self.name} is {_described(value)}; all its values must be finite, and each "
                f"{' or '.join(wanted)}"
            )
        raise ValueError(f"{self.name}={value!r} must be {' or '.join(wanted)}")

    def _holds(self, given: Any) -> bool:
        """Whether an array holds finite numbers in the range, one at least."""
        values = as_array(self.name, given)
        broken = self.kind is int and dtype_name(given).startswith("float")
        if 0 in values.shape or is_complex(values) or broken:
            return False
        assert self.range is not None
        xp = namespace(values)
        allowed = (values >= self.range.low) & (values <= self.range.high)
        return bool(xp.all(allowed & xp.isfinite(values)))

    def fit(self, value: Value, V: Array) -> Value:
        """Value in the library and precision of spectrograms, which it must broadcast against.

        Parameters
        ----------
        value : number, str or array
            A value that is allowed.
        V : array, shape (..., F, T)
            Magnitudes.

        Returns
        -------
        number, str or array
            Numbers and words as they are.

        Raises
        ------
        ValueError
            If an array is of another library or device, or does not broadcast.
        """
        if not is_array(value):
            return value
        values = cast(Array, value)
        if is_torch_array(values):
            same_backend(**{self.name: values, "magnitudes": V})
            values = namespace(V).astype(values, V.dtype, copy=False)
        else:
            values = like(values, V)
        try:
            fits = np.broadcast_shapes(tuple(values.shape), tuple(V.shape)) == tuple(V.shape)
        except ValueError:
            fits = False
        if not fits:
            raise ValueError(
                f"{self.name} has shape {tuple(values.shape)}, which does not broadcast to the "
                f"spectrograms' {tuple(V.shape)}; (F, 1) is a value for each frequency, and "
                "(J, 1, 1) one for each source"
            )
        return cast(Value, values)


MOMENTUM = Hyper("momentum", 0.0, float, (), Range(0))
"""Goes with every algorithm that has no momentum of its own, see :mod:`.configured`."""


def hyper_parameters(step: Step) -> tuple[Hyper, ...]:
    """Hyper-parameters of a step: what its signature has after state and problem.

    Parameters
    ----------
    step : callable
        ``step(S, p, **hyper)``.

    Returns
    -------
    tuple of Hyper
        In the order of the signature.

    Raises
    ------
    ValueError
        If one has no default, or an annotation that is no range and no words.
    """
    hints = get_type_hints(step, include_extras=True) if inspect.isfunction(step) else {}
    found = []
    for parameter in list(inspect.signature(step).parameters.values())[2:]:
        if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            continue
        if parameter.default is parameter.empty:
            raise ValueError(f"hyper-parameter {parameter.name!r} of {step!r} needs a default")
        kind, allowed, span = _kind(hints.get(parameter.name), parameter.default)
        found.append(Hyper(parameter.name, parameter.default, kind, allowed, span))
    return tuple(found)


def _kind(hint: Any, default: object) -> tuple[type, tuple[str, ...], Range | None]:
    """Type, allowed words and range behind an annotation (or, without one, the default)."""
    if get_origin(hint) is Annotated:
        kind, span = get_args(hint)
        return kind, (), span
    if get_origin(hint) is Literal:
        return str, get_args(hint), None
    plain = isinstance(default, int | float) and not isinstance(default, bool)
    if hint in (int, float) or (hint is None and plain):
        return (int if hint is int else float), (), Range()
    parts = [_kind(part, default) for part in get_args(hint)]
    if not parts:
        raise ValueError(
            f"annotate the hyper-parameter with default {default!r} as a number or Literal[...]"
        )
    words = tuple(word for _, allowed, _ in parts for word in allowed)
    spans = [(kind, span) for kind, _, span in parts if span is not None]
    return (spans[0][0], words, spans[0][1]) if spans else (str, words, None)


def is_array(value: object) -> bool:
    """Whether a hyper-parameter is an array and not a number."""
    return hasattr(value, "shape") and not isinstance(value, numbers.Real)


def _described(value: Any) -> str:
    return f"a {type(value).__name__} of {value.dtype} and shape {tuple(value.shape)}"


def _is_number(value: object, kind: type) -> TypeGuard[float]:
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        return False
    return not math.isinf(value) and (kind is float or isinstance(value, numbers.Integral))
