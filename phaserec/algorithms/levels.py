"""The unit of magnitudes, for algorithms whose formula depends on it."""

from typing import Annotated, Literal, TypeAlias

from phaserec._typing import Array, Number
from phaserec._xp import namespace
from phaserec.algorithms.hyper import Hyper, Range

# Largest magnitudes of speech in noise (VoiceBank + DEMAND, samples in [−1, 1], n_fft=1024) are 42
# to 62, so that formulas published for such recordings keep their steps.
_PEAK = 50.0

_RANGE = Range(1e-12, 1e12)

Level: TypeAlias = Annotated[float, _RANGE] | Literal["peak"]
"""Hyper-parameter: the magnitude that counts as 1, or ``"peak"``: the largest counts as 50."""


def is_level(h: Hyper) -> bool:
    """Whether a hyper-parameter is a :data:`Level`."""
    return h.allowed == ("peak",) and h.range == _RANGE


def reference(V: Array, level: Number | str) -> Number:
    """Magnitude that counts as 1.

    Parameters
    ----------
    V : array, shape (..., J, F, T)
        Target magnitudes.
    level : float, array or {"peak"}
        As :data:`Level`.

    Returns
    -------
    float or array
        The level, or for ``"peak"`` one for each batch item, ``(..., 1, 1, 1)``; 1 for silence.
    """
    if not isinstance(level, str):
        return level
    xp = namespace(V)
    unit = xp.max(V, axis=tuple(range(-min(3, V.ndim), 0)), keepdims=True) / _PEAK
    return xp.where(unit >= xp.finfo(unit.dtype).smallest_normal, unit, xp.ones_like(unit))
