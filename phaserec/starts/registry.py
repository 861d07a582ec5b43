"""The registry of starts: how one is declared, found and made."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, overload

from phaserec._registry import Registry
from phaserec._typing import Declares, Init, Measurable, Seed
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
    on_numpy : bool
        Whether it looks at numbers, so that torch cannot record it in a program.
    """

    name: str
    make: Make
    cite: str
    needs_mixture: bool
    on_numpy: bool = False

    @property
    def summary(self) -> str:
        """First line of the docstring."""
        return (inspect.getdoc(self.make) or "").partition("\n")[0]

    @property
    def continues(self) -> bool:
        """Whether it can go on from frames that have their phases: it has an argument ``before``.

        That is a complex spectrogram ``(..., J, F, n)`` of the first n frames, or None.
        """
        return "before" in inspect.signature(self.make).parameters


STARTS: Registry[Start] = Registry("start", "phaserec.starts")


@overload
def start(make: MakeT, /) -> MakeT: ...


@overload
def start(
    *, cite: str = "", needs_mixture: bool = False, on_numpy: bool = False
) -> Callable[[MakeT], MakeT]: ...


def start(
    make: MakeT | None = None,
    *,
    cite: str = "",
    needs_mixture: bool = False,
    on_numpy: bool = False,
) -> MakeT | Callable[[MakeT], MakeT]:
    """Register a start under its name with dashes.

    Parameters
    ----------
    make : callable
        ``make(p, rng) -> S`` of a problem and a numpy generator: a complex spectrogram
        ``(..., J, F, T)``. One with an argument ``before=None`` is also given the first frames of
        it, where these are known; a start whose frames depend on all earlier ones needs that for
        long files, which are done in blocks.
    cite : str, optional
        Source of the start.
    needs_mixture : bool, default False
        Whether it reads the mixture; without one it is then refused.
    on_numpy : bool, default False
        Whether it looks at numbers, as whatever computes on numpy does; ``"auto"`` then means
        another start where torch records a program.

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
        STARTS.add(name, Start(name, make, cite, needs_mixture, on_numpy), make)
        return make

    return register if make is None else register(make)


def names() -> list[str]:
    """Choices of ``init``: ``"auto"`` and the registered starts."""
    return [AUTO, *STARTS.everything()]


AUTO = "auto"
"""Choice of ``init`` that is the usual start of an algorithm on a problem."""


def usual(p: Measurable, algorithm: Declares | None = None) -> str:
    """Name of the start that a problem has where none is chosen, or ``"auto"``.

    It is the one that the algorithm declares. Else, with a mixture, it is the mixture's phase, and
    without one phase gradient heap integration where frames overlap by half or more
    (docs/choosing.rst has the measurements), or random phases. Those that cannot be are passed
    over: what looks at numbers where torch records a program, and what reads a mixture where there
    is none.

    Parameters
    ----------
    p : Problem
        The problem.
    algorithm : phaserec.algorithms.Algorithm, optional
        The algorithm that is to start.

    Returns
    -------
    str
        Name of a registered start.

    Raises
    ------
    ValueError
        If the algorithm declares a start that does not exist.
    """
    if algorithm is not None and algorithm.start is not None:
        declared = STARTS.find(algorithm.start)
        if declared is None:
            raise ValueError(
                f"the algorithm {algorithm.name} declares start={algorithm.start!r}, which is not "
                f"registered{STARTS.near(algorithm.start)}; register it (--import, or an entry "
                "point), or give another init, such as 'random'"
            )
        if not (declared.on_numpy and is_traced()) and _has_mixture(declared, p):
            return declared.name
    if p.mixture is not None:
        return "mixture"
    return "pghi" if 2 * p.stft.hop_length <= p.stft.n_fft and not is_traced() else "random"


def _has_mixture(entry: Start, p: Measurable) -> bool:
    """Whether there is a mixture for a start, if it needs one."""
    return p.mixture is not None or not entry.needs_mixture


def begin(p: Measurable, init: Init, rng: Seed, algorithm: Declares | None = None) -> Array:
    """What ``Problem.start`` gives."""
    if init is not None and not isinstance(init, str):
        return _checked("init", init, p.magnitudes)
    entry = find(p, init, algorithm)
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


def find(p: Measurable, init: str | None, algorithm: Declares | None = None) -> Start:
    """Start of a name, for a problem that has what it needs.

    Parameters
    ----------
    p : Problem
        The problem.
    init : str or None
        Name, with dashes or underscores; ``"auto"`` and None are the usual start.
    algorithm : phaserec.algorithms.Algorithm, optional
        The algorithm that is to start, see :func:`usual`.

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
        name = usual(p, algorithm)
    found = STARTS.find(name)
    if found is None:
        choices = ", ".join(map(repr, names()))
        raise ValueError(
            f"init={init!r} is not one of {choices} or a complex array{STARTS.near(name)}"
        )
    if not _has_mixture(found, p):
        raise ValueError(
            f"init={init!r} needs a mixture; give one, or use another start, such as 'random'"
        )
    return found
