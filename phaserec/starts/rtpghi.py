"""Phase gradient heap integration in real time: frame after frame, each from the one before."""

from collections.abc import Callable

import numpy as np

from phaserec._typing import Generator, Measurable
from phaserec._xp import Array
from phaserec.starts.gradient import along_frequency, along_time, central, with_phases
from phaserec.starts.queue import integrate, spreader
from phaserec.starts.registry import start

_CITE = "Průša & Søndergaard, DAFx 2016"


@start(cite=_CITE, on_numpy=True)
def rtpghi(p: Measurable, rng: Generator, before: Array | None = None) -> Array:
    """Real-time phase gradient heap integration: a frame's phases from it and earlier frames.

    As :func:`phaserec.starts.pghi.pghi`, but on one frame and the one before, whose phases are
    final. Derivatives along time come from this frame and the two before it, and what is faint is
    so next to the largest bin that has been.
    """
    return _by_frames(p, rng, before, _backward)


@start(cite=_CITE, on_numpy=True)
def rtpghi_la(p: Measurable, rng: Generator, before: Array | None = None) -> Array:
    """Real-time phase gradient heap integration with a look-ahead of one frame.

    Derivatives along time come from the frames before and after; nearly as good as offline.
    """
    return _by_frames(p, rng, before, central)


def _backward(L: np.ndarray) -> np.ndarray:
    """Derivative of ``(T, F)`` along time, of second order, from what has been."""
    change = np.zeros_like(L)
    change[1:2] = L[1:2] - L[:1]
    change[2:] = 0.5 * (3 * L[2:] - 4 * L[1:-1] + L[:-2])
    return change


def _by_frames(
    p: Measurable,
    rng: Generator,
    before: Array | None,
    derivative: Callable[[np.ndarray], np.ndarray],
) -> Array:
    """Integrate over two frames at a time, the first of them known."""
    stft = p.stft

    def phases(L: np.ndarray, faint: np.ndarray, given: np.ndarray) -> np.ndarray:
        phase, spread = np.zeros_like(L), spreader(L.size)
        phase[: len(given)] = given
        advance, slope = along_time(L, stft), along_frequency(derivative(L), stft)
        reached = faint.copy()
        reached[: len(given)] = True
        for t in range(len(given), len(L)):
            pair = slice(max(t - 1, 0), t + 1)
            known = np.flatnonzero(~faint[t - 1]) if t else np.zeros(0, np.int64)
            d_time, d_frequency = advance[pair], slope[pair]
            integrate(spread, L[pair], d_time, d_frequency, phase[pair], reached[pair], known)
        return phase

    return with_phases(p, rng, phases, before=before, causal=True)
