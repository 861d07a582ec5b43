"""Derivatives of the phase: differences, instantaneous frequency and group delay.

All are principal values of differences between neighbours, so they are wrapped. They take complex
spectrograms ``(..., F, T)``, numpy or torch, and keep gradients; where one of two neighbours is
zero the difference is 0, with gradient 0. Frames begin with their first sample, as in
:class:`phaserec.STFT`, librosa and torch.
"""

from typing import Any

import numpy as np

from phaserec._typing import ArrayT
from phaserec._xp import Array, as_array, is_complex, like, namespace
from phaserec.stft import STFT

KINDS = ("time", "frequency")


def difference(S: Array, kind: str = "time") -> Array:
    """Principal value of the difference of phases between neighbours.

    Parameters
    ----------
    S : array, shape (..., F, T)
        Complex spectrogram.
    kind : {"time", "frequency"}, default "time"
        Direction: from frame to frame, or from bin to bin.

    Returns
    -------
    array, shape (..., F, T − 1) or (..., F − 1, T)
        rad, in (−π, π].

    Raises
    ------
    ValueError
        If ``S`` is real or ``kind`` is unknown.

    Examples
    --------
    >>> import numpy as np
    >>> from phaserec import phase
    >>> phase.difference(np.array([[1, 1j, -1]]))
    array([[1.57079633, 1.57079633]])
    """
    S = _spectrogram(S)
    if kind == "time":
        return _angle(_turn(S[..., 1:], S[..., :-1]))
    if kind == "frequency":
        return _angle(_turn(S[..., 1:, :], S[..., :-1, :]))
    raise ValueError(f"kind={kind!r} is not one of {', '.join(map(repr, KINDS))}")


def instantaneous_frequency(S: Array, *, stft: STFT, sr: float = 1.0) -> Array:
    """Frequency at which the phase of each bin turns from frame to frame.

    Of all frequencies that turn it so, the nearest to the centre of the bin: right as long as it is
    less than ``sr / (2 hop_length)`` away.

    Parameters
    ----------
    S : array, shape (..., F, T)
        Complex spectrogram.
    stft : STFT
        The transform.
    sr : float, default 1
        Sample rate in Hz; with 1 the result is in cycles a sample.

    Returns
    -------
    array, shape (..., F, T − 1)
        Hz, between frame t and frame t + 1.

    Raises
    ------
    ValueError
        If ``S`` is real, has another number of bins, or ``sr`` is not positive.
    """
    _check_rate(sr)
    angle = _angle(products(S, stft, "time"))
    centres = like(np.arange(stft.n_bins)[:, None] * sr / stft.n_fft, angle)
    return centres + angle * (sr / (2 * np.pi * stft.hop_length))


def group_delay(S: Array, *, stft: STFT, sr: float = 1.0) -> Array:
    """Time of the energy in each bin after the centre of its frame.

    Parameters
    ----------
    S : array, shape (..., F, T)
        Complex spectrogram.
    stft : STFT
        The transform.
    sr : float, default 1
        Sample rate in Hz; with 1 the result is in samples.

    Returns
    -------
    array, shape (..., F − 1, T)
        Seconds, within ``n_fft / (2 sr)`` of the centre, between bin f and bin f + 1.

    Raises
    ------
    ValueError
        If ``S`` is real, has another number of bins, or ``sr`` is not positive.
    """
    _check_rate(sr)
    return _angle(products(S, stft, "frequency")) * (stft.n_fft / (2 * np.pi * sr))


def products(S: ArrayT, stft: STFT, kind: str) -> ArrayT:
    """Products of neighbouring bins, whose angle is the deviation of a phase derivative.

    ``S[f, t+1] S̄[f, t] e^{−2πi f H/N}`` turns by the instantaneous frequency less that of the
    bin, and ``S̄[f+1, t] S[f, t] e^{−2πi c/N}`` by the delay from the centre c = N/2 of the frame;
    sums of products are means of the derivative with the power as weight.

    Parameters
    ----------
    S : array, shape (..., F, T)
        Complex spectrogram.
    stft : STFT
        The transform.
    kind : {"time", "frequency"}
        Direction of the derivative.

    Returns
    -------
    array, shape (..., F, T − 1) or (..., F − 1, T)
        Complex products.

    Raises
    ------
    ValueError
        If ``S`` is real, has another number of bins, or ``kind`` is unknown.
    """
    values = _spectrogram(S)
    stft.check_bins("S", values.shape[-2])
    if kind == "time":
        xp = namespace(values)
        advance = 2 * np.pi * stft.hop_length / stft.n_fft * np.arange(stft.n_bins)[:, None]
        back = xp.asarray(np.exp(-1j * advance), dtype=values.dtype, device=values.device)
        return _turn(values[..., 1:], values[..., :-1]) * back
    if kind == "frequency":
        # A frame begins half a transform before its centre, which alternates the sign of bins.
        return -_turn(values[..., :-1, :], values[..., 1:, :])
    raise ValueError(f"kind={kind!r} is not one of {', '.join(map(repr, KINDS))}")


def _spectrogram(S: Array) -> Any:
    S = as_array("S", S)
    if not is_complex(S):
        raise ValueError("a phase derivative needs a complex spectrogram, got real values")
    if S.ndim < 2:
        raise ValueError(f"S of shape {tuple(S.shape)} must be (..., F, T)")
    return S


def _check_rate(sr: float) -> None:
    if not 0 < sr < np.inf:
        raise ValueError(f"sr={sr} must be a positive sample rate in Hz")


def _turn(S: ArrayT, before: ArrayT) -> ArrayT:
    """What turns one phase to the other, with the product of magnitudes."""
    return S * namespace(S).conj(before)


def _angle(product: ArrayT) -> ArrayT:
    """Angle in (−π, π], with gradient 0 where the number is 0."""
    xp = namespace(product)
    real, imag = xp.real(product), xp.imag(product)
    zero = (real == 0) & (imag == 0)
    one = xp.ones_like(real)
    # −0.0 would be the other side of the cut.
    return xp.atan2(xp.where(imag == 0, 0 * one, imag), xp.where(zero, one, real))
