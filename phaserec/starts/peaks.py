"""Sinusoids in magnitude spectrograms: the peaks of frames, the bins around them, and their phases.

Everything is vectorised over sources and frequencies; only phases need a loop over frames.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from phaserec._typing import Framed

# Offsets in bins at which the interpolation of a window is tabulated.
_OFFSETS = np.linspace(-0.5, 0.5, 129)


@dataclass(frozen=True)
class Sinusoids:
    """The sinusoid that each bin belongs to.

    Attributes
    ----------
    peak : ndarray of int, shape (..., F, T)
        Bin of its peak; the bin itself in frames without peaks.
    frequency : ndarray, shape (..., F, T)
        Its frequency in bins, float64.
    """

    peak: np.ndarray
    frequency: np.ndarray

    def unwrapped(self, hop: float, onset: np.ndarray, begun: np.ndarray) -> np.ndarray:
        """Phases that go on from frame to frame.

        The bins of a peak go on from the phase that its bin had in the frame before, locked: in the
        middle of a frame they are in phase. A peak that was within a bin of where it is now is
        taken for a linear chirp: its frequency is the mean over both frames, else its own.

        Parameters
        ----------
        hop : float
            Hop over the length of the transform.
        onset : ndarray of bool, shape (..., T)
            Frames that begin anew; the first one does anyway.
        begun : ndarray, broadcastable to (..., F, T)
            Phases that these have, in cycles.

        Returns
        -------
        ndarray, shape (..., F, T)
            Phases in cycles, between 0 and 1.
        """
        begun = np.broadcast_to(begun, self.peak.shape)
        before = np.roll(self.frequency, 1, axis=-1)
        before = np.take_along_axis(before, self.peak, axis=-2)
        followed = np.abs(before - self.frequency) < 1
        advance = hop * np.where(followed, (before + self.frequency) / 2, self.frequency)
        # Frames begin at their first sample, which turns every other bin by half a cycle.
        advance += (np.arange(self.peak.shape[-2])[:, None] - self.peak) / 2
        cycles = np.array(begun % 1)
        for t in range(1, cycles.shape[-1]):
            last = np.take_along_axis(cycles[..., t - 1], self.peak[..., t], axis=-1)
            on = (last + advance[..., t]) % 1
            cycles[..., t] = np.where(onset[..., t, None], cycles[..., t], on)
        return cycles


def impulse(n_bins: int) -> np.ndarray:
    """Phases of an impulse in the middle of a frame, in cycles, ``(F, 1)``."""
    return np.arange(n_bins)[:, None] % 2 / 2


def sinusoids(V: np.ndarray, stft: Framed, threshold: float, *, valleys: bool) -> Sinusoids:
    """Find peaks by log-parabolic interpolation, and the bins around them.

    The parabola's bias, up to a hundredth of a bin, is that of the window, and taken off.

    Parameters
    ----------
    V : ndarray, shape (..., F, T)
        Magnitudes.
    stft : STFT
        Their transform.
    threshold : float
        Peaks exceed this fraction of the largest magnitude of their frame.
    valleys : bool
        Whether peaks are parted at the smallest magnitude between them. Else they are where the
        distances to both are as their magnitudes (Magron, Badeau & David, EUSIPCO 2015).

    Returns
    -------
    Sinusoids
        Of every bin.
    """
    n_bins = V.shape[-2]
    bins = np.arange(n_bins)[:, None]
    left, right = V[..., :-2, :], V[..., 2:, :]
    found = np.zeros(V.shape, bool)
    middle = V[..., 1:-1, :]
    loudest = V.max(axis=-2, keepdims=True)
    found[..., 1:-1, :] = (middle > left) & (middle >= right) & (middle > threshold * loudest)
    below = np.maximum.accumulate(np.where(found, bins, -1), axis=-2)
    above = np.where(found, bins, n_bins)[..., ::-1, :]
    above = np.minimum.accumulate(above, axis=-2)[..., ::-1, :]
    lower, upper = np.maximum(below, 0), np.minimum(above, n_bins - 1)
    if valleys:
        falling = np.ones(V.shape, bool)
        falling[..., 1:, :] = V[..., 1:, :] <= V[..., :-1, :]
        nearer = falling
    else:
        A, B = (np.take_along_axis(V, k, axis=-2) for k in (lower, upper))
        nearer = (bins - lower) * B <= (upper - bins) * A
    peak = np.where((above == n_bins) | ((below >= 0) & nearer), lower, upper)
    peak = np.where((below < 0) & (above == n_bins), bins, peak)
    offset = np.zeros(V.shape)
    offset[..., 1:-1, :] = np.where(found[..., 1:-1, :], _offset(left, middle, right, stft), 0)
    return Sinusoids(peak, np.take_along_axis(bins + offset, peak, axis=-2))


def _offset(a: np.ndarray, b: np.ndarray, c: np.ndarray, stft: Framed) -> np.ndarray:
    """Distance in bins from the middle of three magnitudes to the peak, where it is one."""
    measured, offsets = _table(stft)
    return np.interp(_parabola(a, b, c), measured, offsets)


def _parabola(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """Vertex of the parabola through three logarithms."""
    a, b, c = (np.log(np.maximum(x, 1e-300)) for x in (a, b, c))
    curvature = a - 2 * b + c
    return np.clip(0.5 * (a - c) / np.where(curvature < 0, curvature, -1), -0.5, 0.5)


@lru_cache(maxsize=64)
def _table(stft: Framed) -> tuple[np.ndarray, np.ndarray]:
    """What the parabola finds for a sinusoid at each offset from a bin, increasing."""
    n = np.arange(stft.n_fft) / stft.n_fft
    lobes = np.exp(2j * np.pi * np.outer(_OFFSETS, n)) * stft.window_values
    around = np.exp(-2j * np.pi * np.outer(n, [-1, 0, 1]))
    measured = _parabola(*np.abs(lobes @ around).T)
    # Windows whose lobes are no peaks have no use for a table.
    rising = bool(np.all(np.diff(measured) > 0))
    return (measured, _OFFSETS) if rising else (_OFFSETS, _OFFSETS)
