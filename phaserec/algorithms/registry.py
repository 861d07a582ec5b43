"""The registry: what an algorithm is, how it is declared, found and checked."""

import difflib
import inspect
import math
import numbers
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import (
    Annotated,
    Any,
    Literal,
    TypeVar,
    get_args,
    get_origin,
    get_type_hints,
    overload,
)

Step = Callable[..., Any]
StepT = TypeVar("StepT", bound=Step)


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
    default: Any
    kind: type
    allowed: tuple[str, ...]
    range: Range | None

    def parse(self, text: str) -> Any:
        """Value of a word from a command line."""
        if text in self.allowed or self.range is None:
            return text
        try:
            return self.kind(text)
        except ValueError:
            return text  # check() names the argument and what is allowed

    def check(self, value: Any) -> None:
        """Raise ValueError unless the value is allowed; arrays pass (they may be trained)."""
        if hasattr(value, "shape") and not isinstance(value, numbers.Real):
            return
        wanted = [repr(word) for word in self.allowed]
        if self.range is not None:
            low, high = self.range.low, self.range.high
            if _is_number(value, self.kind) and low <= value <= high:
                return
            noun = "an integer" if self.kind is int else "a number"
            bounds = [f"≥ {low:g}"] * (low > -math.inf) + [f"≤ {high:g}"] * (high < math.inf)
            wanted.append(" ".join([noun, *bounds]))
        if isinstance(value, str) and value in self.allowed:
            return
        raise ValueError(f"{self.name}={value!r} must be {' or '.join(wanted)}")


@dataclass(frozen=True)
class Algorithm:
    """A registered algorithm.

    Attributes
    ----------
    name : str
        Name on the command line; Python writes ``_`` for ``-``.
    step : callable
        The sentence: ``step(S, p, **hyper) -> S`` without memory, else
        ``step((S, *memory), p, **hyper) -> (S, *memory)``.
    memory : int
        Number of values kept from one iteration to the next besides S; each starts as None.
    cite : str
        Source of the algorithm.
    objective : callable or None
        ``objective(S, p, **hyper)``, what the iteration minimises, per batch item.
    descends : bool
        Whether the objective is proved never to increase from the first iteration on.
    hyper : tuple of Hyper
        Hyper-parameters.
    """

    name: str
    step: Step
    memory: int
    cite: str
    objective: Callable[..., Any] | None
    descends: bool
    hyper: tuple[Hyper, ...]

    @property
    def summary(self) -> str:
        """First line of the docstring."""
        return (inspect.getdoc(self.step) or "").partition("\n")[0]

    def start(self, S: Any) -> Any:
        """State before the first iteration."""
        return (S, *(None,) * self.memory) if self.memory else S

    def check(self, hyper: dict[str, Any]) -> None:
        """Raise ValueError for a hyper-parameter that does not exist or is out of range."""
        known = {h.name: h for h in self.hyper}
        for name, value in hyper.items():
            if name not in known:
                has = ", ".join(known) or "none"
                raise ValueError(
                    f"{self.name} has no hyper-parameter {name!r} (it has: {has})"
                    + suggestion(name, known)
                )
            known[name].check(value)


ALGORITHMS: dict[str, Algorithm] = {}


@overload
def algorithm(step: StepT, /) -> StepT: ...


@overload
def algorithm(
    *,
    memory: int = 0,
    cite: str = "",
    objective: Callable[..., Any] | None = None,
    descends: bool = False,
) -> Callable[[StepT], StepT]: ...


def algorithm(
    step: Step | None = None,
    *,
    memory: int = 0,
    cite: str = "",
    objective: Callable[..., Any] | None = None,
    descends: bool = False,
) -> Any:
    """Register a step function as an algorithm, under its name with dashes.

    Parameters
    ----------
    step : callable
        One iteration, ``step(S, p, **hyper) -> S``, written with the projectors ``p.mag``,
        ``p.cons`` and ``p.mix`` of a :class:`~phaserec.Problem`.
    memory : int, default 0
        Values kept between iterations besides S; the state is then a tuple ``(S, *memory)``
        whose memory starts as None.
    cite : str, optional
        Source of the algorithm.
    objective : callable, optional
        ``objective(S, p, **hyper)`` with the same hyper-parameters.
    descends : bool, default False
        Whether the objective never increases from the first iteration on.

    Returns
    -------
    callable
        The step function itself.

    Raises
    ------
    ValueError
        If the name is taken by another function.

    Examples
    --------
    >>> import phaserec
    >>> @phaserec.algorithm
    ... def relaxed_misi(S, p, rho=0.5):
    ...     return p.mix((1 - rho) * S + rho * p.mag(p.cons(S)))
    >>> phaserec.algorithms.resolve("relaxed-misi").hyper[0].default
    0.5
    """

    def register(step: Step) -> Step:
        entry = describe(step, memory=memory, cite=cite, objective=objective, descends=descends)
        taken = ALGORITHMS.get(entry.name)
        # The same module run twice (a notebook cell) may register again; another one may not.
        if taken is not None and taken.step.__module__ != step.__module__:
            raise ValueError(f"algorithm {entry.name!r} exists already, in {taken.step.__module__}")
        ALGORITHMS[entry.name] = entry
        return step

    return register if step is None else register(step)


def describe(
    step: Step,
    *,
    memory: int = 0,
    cite: str = "",
    objective: Callable[..., Any] | None = None,
    descends: bool = False,
) -> Algorithm:
    """Read name and hyper-parameters off a step function without registering it."""
    name = getattr(step, "__name__", type(step).__name__).replace("_", "-")
    hyper = getattr(step, "hyper", None)
    hyper = _hyper_parameters(step) if hyper is None else hyper
    return Algorithm(name, step, memory, cite, objective, descends, hyper)


def names() -> list[str]:
    """Names of the registered algorithms."""
    return list(ALGORITHMS)


def resolve(algorithm: Any) -> Algorithm:
    """Find an algorithm by name, with dashes or underscores, or describe a step function.

    Parameters
    ----------
    algorithm : str, callable or Algorithm
        Name, step function, or an algorithm itself.

    Returns
    -------
    Algorithm
        The entry.

    Raises
    ------
    ValueError
        If there is no such algorithm; near names are suggested.
    """
    if isinstance(algorithm, Algorithm):
        return algorithm
    if callable(algorithm):
        for entry in ALGORITHMS.values():
            if entry.step is algorithm:
                return entry
        return describe(algorithm, memory=getattr(algorithm, "memory", 0))
    name = str(algorithm).replace("_", "-").lower()
    if name not in ALGORITHMS:
        raise ValueError(
            f"unknown algorithm {algorithm!r}{suggestion(name, ALGORITHMS)}; "
            f"available: {', '.join(ALGORITHMS)}"
        )
    return ALGORITHMS[name]


def _hyper_parameters(step: Step) -> tuple[Hyper, ...]:
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


def _kind(hint: Any, default: Any) -> tuple[type, tuple[str, ...], Range | None]:
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


def _is_number(value: Any, kind: type) -> bool:
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        return False
    return not math.isinf(value) and (kind is float or isinstance(value, numbers.Integral))


def suggestion(name: str, known: Iterable[str]) -> str:
    """Words that suggest the nearest of the known names, or none.

    Parameters
    ----------
    name : str
        What was given.
    known : iterable of str
        What there is.

    Returns
    -------
    str
        ``"; did you mean …?"``, or nothing where no name is near.
    """
    near = difflib.get_close_matches(name, list(known), n=2, cutoff=0.5)
    return f"; did you mean {' or '.join(repr(n) for n in near)}?" if near else ""
