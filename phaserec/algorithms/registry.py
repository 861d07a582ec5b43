"""The registry: what an algorithm is, how it is declared, found and checked."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias, TypeVar, overload

from phaserec import _html
from phaserec._registry import Registry
from phaserec._typing import Objective, Step, Value
from phaserec._words import suggestion
from phaserec.algorithms.hyper import MOMENTUM, Hyper, hyper_parameters

StepT = TypeVar("StepT", bound=Step)


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
    posterior : bool
        Whether it estimates expected values: magnitudes are then standard deviations and no
        constraint, so that true sources with their own magnitudes do not stay as they are.
    start : str or None
        Name of the start that ``init="auto"`` means; None for the usual one of a problem.
    hyper : tuple of Hyper
        Hyper-parameters.
    """

    name: str
    step: Step
    memory: int
    cite: str
    objective: Objective | None
    descends: bool
    posterior: bool
    start: str | None
    hyper: tuple[Hyper, ...]

    def __repr__(self) -> str:
        hyper = "".join(f", {h.name}={h.default!r}" for h in self.hyper)
        return f"Algorithm({self.name!r}{hyper})"

    def _repr_html_(self) -> str:
        """What it does, whose it is, and its hyper-parameters with their defaults."""
        facts = {"": self.summary, "source": self.cite or "(none given)"}
        if self.start is not None:
            facts["start"] = self.start
        facts |= {h.name: f"{h.default}" for h in self.known}
        return _html.table(self.name, facts)

    @property
    def summary(self) -> str:
        """First line of the docstring."""
        return (inspect.getdoc(self.step) or "").partition("\n")[0]

    @property
    def reads_start(self) -> bool:
        """Whether its objective depends on the initial spectrogram."""
        return (
            self.objective is not None and "start" in inspect.signature(self.objective).parameters
        )

    @property
    def known(self) -> tuple[Hyper, ...]:
        """Hyper-parameters that it takes: its own, and the momentum that goes with every one."""
        return self.hyper if self.has_momentum else (*self.hyper, MOMENTUM)

    @property
    def has_momentum(self) -> bool:
        """Whether it has a momentum of its own, however declared; others get it around them."""
        return any(h.name == MOMENTUM.name for h in self.hyper)

    def parse(self, words: Mapping[str, str | None]) -> dict[str, Value]:
        """Hyper-parameters as values of what was typed.

        Parameters
        ----------
        words : mapping of str to str or None
            Words by name; None where nothing was typed.

        Returns
        -------
        dict
            Values by name. What it does not know stays a word, for :meth:`check` to name.
        """
        kinds = {h.name: h for h in self.known}
        given = {name: word for name, word in words.items() if word is not None}
        return {
            name: kinds[name].parse(word) if name in kinds else word for name, word in given.items()
        }

    def initial_state(self, S: object) -> object:
        """State before the first iteration."""
        return (S, *(None,) * self.memory) if self.memory else S

    def check(self, hyper: Mapping[str, Value]) -> None:
        """Raise ValueError for a hyper-parameter that does not exist or is out of range."""
        known = {h.name: h for h in self.known}
        for name, value in hyper.items():
            if name not in known:
                raise ValueError(
                    f"{self.name} has no hyper-parameter {name!r} (it has: {', '.join(known)})"
                    + suggestion(name, known)
                )
            known[name].check(value)


AlgorithmLike: TypeAlias = str | Step | Algorithm
"""An algorithm: its name, a step function, or itself."""

ALGORITHMS: Registry[Algorithm] = Registry("algorithm", "phaserec.algorithms")


@overload
def algorithm(step: StepT, /) -> StepT: ...


@overload
def algorithm(
    *,
    memory: int = 0,
    cite: str = "",
    objective: Objective | None = None,
    descends: bool = False,
    posterior: bool = False,
    start: str | None = None,
) -> Callable[[StepT], StepT]: ...


def algorithm(
    step: StepT | None = None,
    *,
    memory: int = 0,
    cite: str = "",
    objective: Objective | None = None,
    descends: bool = False,
    posterior: bool = False,
    start: str | None = None,
) -> StepT | Callable[[StepT], StepT]:
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
        ``objective(S, p, **hyper)`` with the same hyper-parameters. One that has a parameter
        ``start`` is also given the initial spectrogram, for algorithms that keep to its phases.
    descends : bool, default False
        Whether the objective never increases from the first iteration on.
    posterior : bool, default False
        Whether magnitudes are standard deviations of a model and no constraint.
    start : str, optional
        Name of the start that ``init="auto"`` is to mean, for algorithms that the usual one of a
        problem does not suit. It may be registered later.

    Returns
    -------
    callable
        The step function itself.

    Raises
    ------
    ValueError
        If the name is taken by another function, or ``start`` is no name.

    Examples
    --------
    >>> import phaserec
    >>> @phaserec.algorithm
    ... def relaxed_misi(S, p, rho=0.5):
    ...     return p.mix((1 - rho) * S + rho * p.mag(p.cons(S)))
    >>> phaserec.algorithms.resolve("relaxed-misi").hyper[0].default
    0.5
    """

    def register(step: StepT) -> StepT:
        entry = describe(
            step,
            memory=memory,
            cite=cite,
            objective=objective,
            descends=descends,
            posterior=posterior,
            start=start,
        )
        ALGORITHMS.add(entry.name, entry, step)
        return step

    return register if step is None else register(step)


def describe(
    step: Step,
    *,
    memory: int = 0,
    cite: str = "",
    objective: Objective | None = None,
    descends: bool = False,
    posterior: bool = False,
    start: str | None = None,
) -> Algorithm:
    """Read name and hyper-parameters off a step function without registering it."""
    if start is not None and not (isinstance(start, str) and start):
        raise ValueError(f"start={start!r} must be the name of a start, or None")
    name = getattr(step, "__name__", type(step).__name__).replace("_", "-")
    hyper = getattr(step, "hyper", None)
    hyper = hyper_parameters(step) if hyper is None else hyper
    begun = None if start is None else start.replace("_", "-").lower()
    return Algorithm(name, step, memory, cite, objective, descends, posterior, begun, hyper)


def names() -> list[str]:
    """Names of the registered algorithms."""
    return list(ALGORITHMS.everything())


def resolve(algorithm: AlgorithmLike) -> Algorithm:
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
        return describe(
            algorithm,
            memory=getattr(algorithm, "memory", 0),
            start=getattr(algorithm, "declared_start", None),
        )
    name = str(algorithm).replace("_", "-").lower()
    found = ALGORITHMS.find(name)
    if found is None:
        raise ValueError(
            f"unknown algorithm {algorithm!r}{ALGORITHMS.near(name)}; "
            f"available: {', '.join(ALGORITHMS)}"
        )
    return found
