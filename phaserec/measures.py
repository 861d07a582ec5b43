"""Measures of spectrograms and of waveforms.

Spectrogram measures take complex spectrograms ``(..., J, F, T)`` with their problem; norms are
over the full two-sided spectrum and sums over sources, frequencies and frames, one value per batch
item. Waveform measures take ``(..., time)`` and give dB, one value per waveform.

All take numpy arrays, lists, or torch tensors, of one library each time, and keep gradients; half
precision is measured in float32.
"""

from typing import Any

import numpy as np

from phaserec._typing import ArrayT, Measurable
from phaserec._xp import (
    Array,
    as_array,
    is_complex,
    is_torch_array,
    is_traced,
    like,
    namespace,
    same_backend,
)

# Samples that are correlated at a time.
_AT_ONCE = 1 << 16


def two_sided_sum(bins: ArrayT, p: Measurable) -> ArrayT:
    """Sum real bins ``(..., J, F, T)`` over the two-sided spectrum, sources and frames.

    Parameters
    ----------
    bins : array, shape (..., J, F, T)
        Real values.
    p : Problem
        The problem; without a mixture J is a batch axis.

    Returns
    -------
    array, shape (...)
        Sums.
    """
    xp = namespace(bins)
    axes = (-2, -1) if p.mixture is None else (-3, -2, -1)
    return xp.sum(bins * like(p.stft.bin_weights, bins), axis=axes)


def _squared_norm(S: ArrayT, p: Measurable) -> ArrayT:
    if is_complex(S):
        xp = namespace(S)
        return two_sided_sum(xp.real(S) ** 2 + xp.imag(S) ** 2, p)
    return two_sided_sum(S**2, p)


def mixing_error(S: Array, p: Measurable) -> Array:
    """Squared mixing error ``h = ‖X − Σ_j S_j‖²``.

    Parameters
    ----------
    S : array, shape (..., J, F, T)
        Complex spectrograms of the sources.
    p : Problem
        The problem, with a mixture.

    Returns
    -------
    array, shape (...)
        One value per batch item.
    """
    S, xp = _spectrogram(S, p)
    return _squared_norm(xp.expand_dims(p.X - xp.sum(S, axis=-3), axis=-3), p)


def inconsistency(S: Array, p: Measurable) -> Array:
    """Squared inconsistency ``i = Σ_j ‖S_j − STFT(iSTFT(S_j))‖²``.

    Parameters
    ----------
    S : array, shape (..., J, F, T)
        Complex spectrograms.
    p : Problem
        The problem.

    Returns
    -------
    array, shape (...)
        One value per batch item.
    """
    S, _ = _spectrogram(S, p)
    return _squared_norm(S - p.cons(S), p)


def magnitude_error(S: Array, p: Measurable) -> Array:
    """Squared magnitude error ``m = Σ_j ‖|S_j| − V_j‖²``: the distance that P_mag moves S.

    Parameters
    ----------
    S : array, shape (..., J, F, T)
        Complex spectrograms.
    p : Problem
        The problem.

    Returns
    -------
    array, shape (...)
        One value per batch item.
    """
    S, xp = _spectrogram(S, p)
    return _squared_norm(xp.abs(S) - p.nearest(S), p)


def spectral_convergence(S: Array, p: Measurable) -> Array:
    """Spectral convergence ``20 log10(‖|G S| − V‖ / ‖V‖)`` in dB.

    Parameters
    ----------
    S : array, shape (..., J, F, T)
        Complex spectrograms; the signals they stand for are measured.
    p : Problem
        The problem.

    Returns
    -------
    array, shape (...)
        dB, one value per batch item; −inf for a perfect match and for silence met by silence.
    """
    S, _ = _spectrogram(S, p)
    return decibel(magnitude_error(p.cons(S), p), _squared_norm(p.magnitudes, p))


def snr(reference: ArrayT, estimate: ArrayT) -> ArrayT:
    """Signal-to-noise ratio ``10 log10(‖s‖² / ‖s − ŝ‖²)``.

    Parameters
    ----------
    reference, estimate : array, shape (..., time)
        Real waveforms.

    Returns
    -------
    array, shape (...)
        dB.
    """
    reference, estimate, xp = _waveforms(reference, estimate)
    error = xp.sum((reference - estimate) ** 2, axis=-1)
    return decibel(xp.sum(reference**2, axis=-1), error)


def si_sdr(reference: ArrayT, estimate: ArrayT) -> ArrayT:
    """Scale-invariant signal-to-distortion ratio (Le Roux et al., ICASSP 2019), means kept.

    Parameters
    ----------
    reference, estimate : array, shape (..., time)
        Real waveforms.

    Returns
    -------
    array, shape (...)
        dB; −inf for a silent reference or estimate.
    """
    reference, estimate, xp = _waveforms(reference, estimate)
    energy = xp.sum(reference**2, axis=-1, keepdims=True)
    scale = xp.sum(reference * estimate, axis=-1, keepdims=True)
    scale = scale / xp.where(energy == 0, xp.ones_like(energy), energy)
    target = scale * reference
    return decibel(xp.sum(target**2, axis=-1), xp.sum((estimate - target) ** 2, axis=-1))


def si_sdr_improvement(reference: ArrayT, estimate: ArrayT, mixture: ArrayT) -> ArrayT:
    """SI-SDR of the estimate over that of the mixture.

    Parameters
    ----------
    reference, estimate : array, shape (..., time)
        Real waveforms.
    mixture : array, shape broadcastable to (..., time)
        What the estimate was made from.

    Returns
    -------
    array, shape (...)
        dB.
    """
    return si_sdr(reference, estimate) - si_sdr(reference, mixture)


def sdr(reference: ArrayT, estimate: ArrayT, *, filter_length: int = 512) -> ArrayT:
    """Signal-to-distortion ratio of BSS Eval: a short filter of the reference is no error.

    The estimate is projected onto the delays 0 … ``filter_length − 1`` of the reference
    (Vincent, Gribonval & Févotte, IEEE TASLP 2006). ``filter_length=1`` is SI-SDR.

    Parameters
    ----------
    reference, estimate : array, shape (..., time)
        Real waveforms of one shape.
    filter_length : int, default 512
        Taps of the allowed filter.

    Returns
    -------
    array, shape (...)
        dB, float64; −inf for a silent reference or estimate.

    Raises
    ------
    ValueError
        If the shapes differ or ``filter_length`` is not positive.
    """
    reference, estimate, xp = _waveforms(reference, estimate)
    if reference.shape != estimate.shape or filter_length < 1:
        raise ValueError(
            f"reference {tuple(reference.shape)} and estimate {tuple(estimate.shape)} must have "
            f"one shape and filter_length={filter_length} be positive"
        )
    s, e = (xp.astype(a, xp.float64) for a in (reference, estimate))
    n = s.shape[-1] + filter_length
    spectrum = xp.fft.rfft(s, n=n, axis=-1)
    correlate = xp.fft.irfft(xp.conj(spectrum) * xp.fft.rfft(e, n=n, axis=-1), n=n, axis=-1)
    auto = xp.fft.irfft(xp.conj(spectrum) * spectrum, n=n, axis=-1)
    lags = np.arange(filter_length)
    lags = xp.asarray(np.abs(lags[:, None] - lags[None, :]).ravel(), device=s.device)
    gram = xp.reshape(xp.take(auto, lags, axis=-1), (*s.shape[:-1], filter_length, filter_length))
    # A whisper of diagonal loading keeps silent and band-limited references solvable.
    energy = auto[..., :1, None]
    loading = 1e-14 * energy + xp.where(energy == 0, xp.ones_like(energy), 0 * energy)
    gram = gram + loading * xp.eye(filter_length, dtype=xp.float64, device=s.device)
    taps = _solved(gram, correlate[..., :filter_length, None])[..., 0]
    target = xp.fft.irfft(spectrum * xp.fft.rfft(taps, n=n, axis=-1), n=n, axis=-1)
    padding = xp.zeros((*s.shape[:-1], filter_length), dtype=xp.float64, device=s.device)
    distortion = xp.concat([e, padding], axis=-1) - target
    return decibel(xp.sum(target**2, axis=-1), xp.sum(distortion**2, axis=-1))


def _solved(A: Any, b: Any) -> Any:
    """Solve symmetric systems that are positive definite but for rounding."""
    xp = namespace(A)
    if is_torch_array(A) and not is_traced():
        # The pivots that LU in torch gets from its library can be wrong; this needs none, and half
        # of the time.
        import torch

        factor, failed = torch.linalg.cholesky_ex(A)
        if not bool(failed.any()):
            return torch.cholesky_solve(b, factor)
    return xp.linalg.solve(A, b)


class RunningSDR:
    """What :func:`sdr` finds, of waveforms that come piece by piece; 150 dB at most.

    Parameters
    ----------
    filter_length : int, default 512
        Taps of the allowed filter.
    """

    def __init__(self, filter_length: int = 512) -> None:
        self._taps = filter_length
        self._last: Any = None
        self._cross = self._auto = self._energy = np.zeros(1)

    def add(self, reference: np.ndarray, estimate: np.ndarray) -> None:
        """Take the next samples ``(..., time)`` of both."""
        for a in range(0, reference.shape[-1], _AT_ONCE):
            part = slice(a, a + _AT_ONCE)
            self._add(reference[..., part].astype(float), estimate[..., part].astype(float))

    def _add(self, s: np.ndarray, e: np.ndarray) -> None:
        if self._last is None:
            self._last = np.zeros((*s.shape[:-1], self._taps - 1))
        before = self._last.shape[-1]
        longer = np.concatenate([self._last, s], axis=-1)
        self._last = longer[..., longer.shape[-1] - before :]
        # A correlation with what is there now, and what was before it as far as the filter reaches.
        n = longer.shape[-1] + self._taps
        spectrum = np.conj(np.fft.rfft(longer, n=n))
        sums = []
        for x in (e, s):
            x = np.concatenate([np.zeros((*x.shape[:-1], before)), x], axis=-1)
            sums.append(np.fft.irfft(spectrum * np.fft.rfft(x, n=n), n=n)[..., : self._taps])
        self._cross = self._cross + sums[0]
        self._auto = self._auto + sums[1]
        self._energy = self._energy + np.sum(e**2, axis=-1)

    @property
    def value(self) -> np.ndarray:
        """dB, ``(...)``; −inf for a silent reference or estimate."""
        lags = np.arange(self._taps)
        gram = self._auto[..., np.abs(lags[:, None] - lags)]
        energy = self._auto[..., :1, None]
        gram = gram + (1e-14 * energy + (energy == 0)) * np.eye(self._taps)
        taps = np.linalg.solve(gram, self._cross[..., None])[..., 0]
        target = np.sum(taps * self._cross, axis=-1)
        rest = np.maximum(self._energy - target, 1e-15 * self._energy)
        return decibel(np.maximum(target, 0), rest)


def _spectrogram(S: Array, p: Measurable) -> tuple[Any, Any]:
    """A spectrogram in a supported precision, and the library that it and the problem are of."""
    S = as_array("S", S)
    return S, same_backend(S=S, magnitudes=p.magnitudes)


def _waveforms(reference: Array, estimate: Array) -> tuple[Any, Any, Any]:
    """Waveforms in a supported precision, and the library that both are of."""
    reference, estimate = as_array("reference", reference), as_array("estimate", estimate)
    return reference, estimate, same_backend(reference=reference, estimate=estimate)


def decibel(signal: ArrayT, noise: ArrayT) -> ArrayT:
    """Ratio ``10 log10(signal / noise)`` of energies.

    Parameters
    ----------
    signal, noise : array
        Energies.

    Returns
    -------
    array
        dB; −inf where the signal is zero, +inf where the noise alone is.
    """
    xp = namespace(signal)
    one = xp.ones_like(signal)
    silent, clean = signal <= 0, noise <= 0
    ratio = 10 * xp.log10(xp.where(silent | clean, one, signal) / xp.where(clean, one, noise))
    inf = xp.full_like(signal, float("inf"))
    return xp.where(silent, -inf, xp.where(clean, inf, ratio))
