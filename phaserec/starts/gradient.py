"""Derivatives of the phase from magnitudes: exact for Gaussian windows, near for others.

A short-time Fourier transform with a Gaussian window is an analytic function times a known one, so
the derivatives of its phase are those of its log-magnitude, crosswise (Portnoff 1979; Průša, Balazs
& Søndergaard 2017). Another window is taken for the nearest Gaussian.

Arrays here are frames by frequencies, ``(T, F)``, of one source in float64.
"""

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from phaserec._typing import Framed, Generator, Measurable
from phaserec._xp import Array, dtype_name, namespace, to_numpy
from phaserec.starts.phases import joined, n_known, random_phases

TOLERANCE = 1e-4
"""Bins with this part of the largest magnitude, or less, are faint (80 dB down)."""


@lru_cache(maxsize=64)
def nearest_gaussian(stft: Framed) -> tuple[float, float]:
    """Gaussian ``exp(−π (n − c)² / γ)`` that is nearest to a window, both with peak 1.

    It is the one of least squares over all samples, outside of the window too, with the window's
    centre of energy. With γ = C n_fft², C is 0.2562 for Hann, 0.4149 for its square root, 0.2977
    for Hamming, 0.1794 for Blackman: a thousandth off what Průša et al. print; 2π std² for
    ``("gaussian", std)``.

    Parameters
    ----------
    stft : STFT
        Transform with the window; it may be shorter than n_fft.

    Returns
    -------
    gamma : float
        γ in samples².
    centre : float
        c in samples after the first of the frame.
    """
    window = stft.window_values / stft.window_values[np.argmax(np.abs(stft.window_values))]
    n = np.arange(stft.n_fft)
    centre = np.average(n, weights=window**2)
    squares = (n - centre) ** 2
    gamma = max(4 * np.pi * np.average(squares, weights=window**2), 1.0)
    # Where the derivative of the error is zero, γ is a function of itself; for a Gaussian the
    # distance is halved each time.
    for _ in range(60):
        moment = np.sum(window * squares * np.exp(-np.pi * squares / gamma))
        # A window of one sample, or one that changes its sign, may be near to none.
        gamma = max(4 * np.sqrt(2) * np.pi * moment, 1.0) ** (2 / 3)
    return float(gamma), float(centre)


def central(L: np.ndarray) -> np.ndarray:
    """Derivative of log-magnitudes ``(T, F)`` along time, from the frames before and after."""
    return np.gradient(L, axis=0) if len(L) > 1 else np.zeros_like(L)


def along_time(L: np.ndarray, stft: Framed) -> np.ndarray:
    """Derivative of the phase along time, from log-magnitudes along frequency.

    Parameters
    ----------
    L : ndarray, shape (T, F)
        Log-magnitudes.
    stft : STFT
        The transform.

    Returns
    -------
    ndarray, shape (T, F)
        rad a frame, not wrapped.
    """
    gamma, _ = nearest_gaussian(stft)
    # Below 0 Hz and above half the rate are the mirror images of a real signal.
    hop, n_fft, top = stft.hop_length, stft.n_fft, L.shape[1] - 1
    outer = [min(1, top), top - 1 if n_fft % 2 == 0 else top]
    sides = np.concatenate([L[:, outer[:1]], L, L[:, outer[1:]]], axis=1)
    bend = hop * n_fft / (2 * gamma) * (sides[:, 2:] - sides[:, :-2])
    return bend + 2 * np.pi * hop / n_fft * np.arange(L.shape[1])


def along_frequency(change: np.ndarray, stft: Framed) -> np.ndarray:
    """Derivative of the phase along frequency, from the change of log-magnitudes along time.

    Parameters
    ----------
    change : ndarray, shape (..., F)
        Derivative of log-magnitudes along time, a frame.
    stft : STFT
        The transform.

    Returns
    -------
    ndarray, shape (..., F)
        rad a bin, not wrapped; frames begin with their first sample, half a turn a bin before the
        centre of the usual windows.
    """
    gamma, centre = nearest_gaussian(stft)
    hop, n_fft = stft.hop_length, stft.n_fft
    return -gamma / (hop * n_fft) * change - 2 * np.pi * centre / n_fft


def with_phases(
    p: Measurable,
    rng: Generator,
    phases: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray],
    *,
    before: Array | None,
    causal: bool = False,
) -> Array:
    """Magnitudes with phases that are found for each source and channel by itself.

    Parameters
    ----------
    p : Problem
        The problem.
    rng : numpy Generator
        Source of the phases of faint bins.
    phases : callable
        ``phases(L, faint, known)`` in rad, of log-magnitudes and truth values ``(T, F)``; where
        ``faint`` is true they are not used. The first frame and the last are not silent. ``known``
        has the phases of the first frames, ``(n, F)``, n may be 0.
    before : array, shape (..., J, F, n), or None
        First frames of the result.
    causal : bool, default False
        Whether faint is what is so next to the largest bin up to each frame, not of all.

    Returns
    -------
    array, shape (..., J, F, T)
        Complex spectrogram; gradients reach the magnitudes.
    """
    given = to_numpy(p.magnitudes)
    *lead, n_bins, n_frames = given.shape
    angles = np.zeros((*lead, n_frames, n_bins))
    n = n_known(before)
    if before is not None:
        angles[..., :n, :] = np.swapaxes(np.angle(to_numpy(before)), -1, -2)
    faint = np.ones(angles.shape, bool)
    for item in np.ndindex(*lead):
        V = np.ascontiguousarray(given[item].T, np.float64)
        # Silence before and after, such as that of a ragged batch, is no part of the sound.
        heard = np.flatnonzero(V.any(axis=1))
        if not heard.size:
            continue
        part = slice(heard[0], heard[-1] + 1)
        V = V[part]
        peaks = V.max(axis=1, keepdims=True)
        least = TOLERANCE * (np.maximum.accumulate(peaks) if causal else peaks.max())
        least = np.maximum(least, np.finfo(float).tiny)
        faint[item][part] = least >= V
        known = angles[item][part][: max(n - heard[0], 0)]
        angles[item][part] = phases(np.log(np.maximum(V, least)), faint[item][part], known)
    precision = dtype_name(p.magnitudes)
    # Whole turns would cost single precision its digits.
    angles -= 2 * np.pi * np.round(angles / (2 * np.pi))
    angles = angles.astype(precision, copy=False)
    factors = np.empty(angles.shape, np.result_type(precision, np.complex64))
    np.cos(angles, out=factors.real)
    np.sin(angles, out=factors.imag)
    factors, faint = factors[..., n:, :], faint[..., n:, :]
    if faint.any():
        drawn = random_phases(rng, (n_frames - n, *lead, n_bins), precision)
        np.copyto(factors, np.moveaxis(drawn, 0, -2), where=faint)
    xp = namespace(p.magnitudes)
    factors = xp.asarray(np.swapaxes(factors, -1, -2), device=p.magnitudes.device)
    return joined(before, p.magnitudes[..., n:] * factors)
