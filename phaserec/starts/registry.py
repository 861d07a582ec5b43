"""The registry of starts: how one is declared, found and made."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, cast, overload

from phaserec._registry import Registry
from phaserec._typing import Init, Measurable, Seed
from phaserec._xp import (
    Array,
    as_array,
    check_finite,
    complex_dtype,
    is_complex,
    is_traced,
    namespace,
    same_backend,
)
from phaserec.starts.phases import as_rng
from phaserec.stft import STFT


class Make(Protocol):
    """``make(p, rng) -> S``, a complex spectrogram ``(..., J, F, T)``."""

    def __call__(self, p: Any, rng: Any, /) -> Any: ...


MakeT = TypeVar("MakeT", bound=Make)


@dataclass(frozen=True)
class Start:
    """A registered start.

    Attributes
    ----------
    name : str
        Name as a choice of ``init``; Python writes ``_`` for ``-``.
    make : callable
        ``make(p, rng) -> S``, a complex spectrogram ``(..., J, F, T)``.
    cite : str
        Source of the start.
    needs_mixture : bool
        Whether it reads the mixture.
    """

    name: str
    make: Make
    cite: str
    needs_mixture: bool

    @property
    def summary(self) -> str:
        """First line of the docstring."""
        return (inspect.getdoc(self.make) or "").partition("\n")[0]


STARTS: Registry[Start] = Registry("start", "phaserec.starts")


@overload
def start(make: MakeT, /) -> MakeT: ...


@overload
def start(*, cite: str = "", needs_mixture: bool = False) -> Callable[[MakeT], MakeT]: ...


def start(
    make: MakeT | None = None, *, cite: str = "", needs_mixture: bool = False
) -> MakeT | Callable[[MakeT], MakeT]:
    """Register a start under its name with dashes.

    Parameters
    ----------
    make : callable
        ``make(p, rng) -> S`` of a problem and a numpy generator: a complex spectrogram
        ``(..., J, F, T)``.
    cite : str, optional
        Source of the start.
    needs_mixture : bool, default False
        Whether it reads the mixture; without one it is then refused.

    Returns
    -------
    callable
        The function itself.

    Raises
    ------
    ValueError
        If the name is taken by another function.

    Examples
    --------
    >>> from phaserec.starts import STARTS, start
    >>> @start(cite="nobody")
    ... def upside_down(p, rng):
    ...     return -1j * p.magnitudes
    >>> STARTS["upside-down"].cite
    'nobody'
    """

    def register(make: MakeT) -> MakeT:
        name = getattr(make, "__name__", type(make).__name__).replace("_", "-")
        STARTS.add(name, Start(name, make, cite, needs_mixture), make)
        return make

    return register if make is None else register(make)


def names() -> list[str]:
    """Choices of ``init``: ``"auto"`` and the registered starts."""
    return [AUTO, *STARTS.everything()]


AUTO = "auto"
"""Choice of ``init`` that is the usual start of a problem."""


def usual(p: Measurable) -> str:
    """Name of the start that a problem has where none is chosen, or ``"auto"``.

    With a mixture it is the mixture's phase. Without one it is phase gradient heap integration
    where frames overlap by half or more (docs/choosing.rst has the measurements), else random
    phases; these also where torch records a program, since the other looks at numbers.
    """
    if p.mixture is not None:
        return "mixture"
    stft = cast(STFT, p.stft)
    return "pghi" if 2 * stft.hop_length <= stft.n_fft and not is_traced() else "random"


def begin(p: Measurable, init: Init, rng: Seed) -> Array:
    """What ``Problem.start`` gives."""
    if init is not None and not isinstance(init, str):
        return _checked("init", init, p.magnitudes)
    entry = find(p, init)
    return _checked(f"start {entry.name}", entry.make(p, as_rng(rng, p.magnitudes)), p.magnitudes)


def _checked(name: str, S: Array, V: Array) -> Array:
    """An initial spectrogram in the precision of the magnitudes, or a ValueError."""
    S = as_array(name, S)
    xp = same_backend(**{"magnitudes": V, name: S})
    if tuple(S.shape) != tuple(V.shape) or not is_complex(S):
        raise ValueError(
            f"{name} is {S.dtype} of shape {tuple(S.shape)}, expected a complex array of the "
            f"magnitudes' shape {tuple(V.shape)}"
        )
    check_finite(**{name: S})
    return xp.astype(S, complex_dtype(namespace(V), V), copy=False)


def find(p: Measurable, init: str | None) -> Start:
    """Start of a name, for a problem that has what it needs.

    Parameters
    ----------
    p : Problem
        The problem.
    init : str or None
        Name, with dashes or underscores; ``"auto"`` and None are the usual start.

    Returns
    -------
    Start
        The entry.

    Raises
    ------
    ValueError
        If there is no such start, or it needs a mixture and there is none.
    """
    name = AUTO if init is None else init.replace("_", "-").lower()
    if name == AUTO:
        name = usual(p)
    found = STARTS.find(name)
    if found is None:
        choices = ", ".join(map(repr, names()))
        raise ValueError(
            f"init={init!r} is not one of {choices} or a complex array{STARTS.near(name)}"
        )
    if found.needs_mixture and p.mixture is None:
        raise ValueError(
            f"init={init!r} needs a mixture; give one, or use another start, such as 'random'"
        )
    return found
