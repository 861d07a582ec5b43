"""Drop-ins for the functions of ``librosa.feature.inverse``, with its parameters."""

from typing import Any, cast

import numpy as np

from phaserec._typing import ArrayT, DType, Seed, Window
from phaserec._xp import as_array, as_given, as_int, like, namespace
from phaserec.api import griffinlim, real_type
from phaserec.inverse.bands import Bands
from phaserec.inverse.filters import Norm, Scale
from phaserec.inverse.problem import BandProblem
from phaserec.solving import prepare
from phaserec.stft import STFT


def _bands(
    M: ArrayT,
    sr: float,
    n_fft: int,
    power: float,
    fmin: float,
    fmax: float | None,
    htk: bool,
    norm: Norm,
) -> Bands:
    """Bands of a mel spectrogram."""
    values = as_array("M", M)
    if values.ndim < 2:
        raise ValueError(f"M of shape {tuple(values.shape)} must be (..., n_mels, T)")
    scale: Scale = "htk" if htk else "slaney"
    n_mels = values.shape[-2]
    return Bands.mel(n_mels, n_fft, sr, fmin=fmin, fmax=fmax, scale=scale, norm=norm, power=power)


def mel_to_stft(
    M: ArrayT,
    *,
    sr: float = 22050,
    n_fft: int = 2048,
    power: float = 2.0,
    fmin: float = 0.0,
    fmax: float | None = None,
    htk: bool = False,
    norm: Norm = "slaney",
) -> ArrayT:
    """Magnitudes of a mel spectrogram, with the signature of librosa's function.

    Parameters
    ----------
    M : array, shape (..., n_mels, T)
        Mel spectrogram as of ``librosa.feature.melspectrogram``, numpy or torch.
    sr : float, default 22050
        Sample rate in Hz.
    n_fft : int, default 2048
        Transform length in samples.
    power : float, default 2
        Exponent of the magnitudes that were summed.
    fmin, fmax, htk, norm
        Of the filters, see :func:`phaserec.inverse.mel_filters`; ``htk`` is ``scale="htk"``.

    Returns
    -------
    array, shape (..., F, T)
        Magnitudes with these mel values, or values as near as can be.

    Raises
    ------
    ValueError
        If an argument is out of range, or ``M`` is in dB.
    """
    return as_given(_bands(M, sr, n_fft, power, fmin, fmax, htk, norm).magnitudes(M), M)


def mel_to_audio(
    M: ArrayT,
    *,
    sr: float = 22050,
    n_fft: int = 2048,
    hop_length: int | None = None,
    win_length: int | None = None,
    window: Window = "hann",
    center: bool = True,
    pad_mode: str = "constant",
    power: float = 2.0,
    n_iter: int = 32,
    length: int | None = None,
    dtype: DType | None = None,
    fmin: float = 0.0,
    fmax: float | None = None,
    htk: bool = False,
    norm: Norm = "slaney",
    joint: int = 0,
    rng: Seed = None,
) -> ArrayT:
    """Sound of a mel spectrogram, with the signature of librosa's function.

    Non-negative least squares, then fast Griffin-Lim.

    Parameters
    ----------
    M, sr, n_fft, power, fmin, fmax, htk, norm
        As for :func:`mel_to_stft`.
    hop_length, win_length, window, center, pad_mode
        The transform, see :class:`phaserec.STFT`; default hop ``n_fft // 4``.
    n_iter : int, default 32
        Number of iterations of fast Griffin-Lim.
    length : int, optional
        Length of the result in samples; default that of librosa.
    dtype : dtype, optional
        Real dtype of the result; default that of ``M``. (That of librosa is float32.)
    joint : int, default 0
        Iterations more in which the magnitudes follow too, on the way to what has the mel values
        (:class:`phaserec.inverse.BandProblem`). One costs some tens of the others.
    rng : Seed, optional
        Source of random phases.

    Returns
    -------
    array, shape (..., time)
        Waveforms.

    Raises
    ------
    ValueError
        If an argument is out of range, or ``M`` is in dB.

    Examples
    --------
    >>> import numpy as np
    >>> import phaserec
    >>> x = np.sin(np.arange(22050) * 0.1)
    >>> bands = phaserec.inverse.Bands.mel(80, 1024, 22050)
    >>> M = bands(phaserec.STFT(1024)(x))
    >>> phaserec.mel_to_audio(M, n_fft=1024, length=22050).shape
    (22050,)
    """
    bands = _bands(M, sr, n_fft, power, fmin, fmax, htk, norm)
    joint = as_int("joint", joint, 0)
    V = bands.magnitudes(M)
    y = griffinlim(
        V,
        n_iter=n_iter,
        hop_length=hop_length,
        win_length=win_length,
        n_fft=n_fft,
        window=window,
        center=center,
        length=length,
        pad_mode=pad_mode,
        rng=rng,
    )
    if joint:
        hop = max((win_length or n_fft) // 4, 1) if hop_length is None else hop_length
        stft = STFT(n_fft, hop, win_length, window, center, pad_mode=pad_mode)
        problem = BandProblem(bands, M, stft=stft, length=y.shape[-1])
        y = cast(ArrayT, prepare("fast-griffin-lim", problem, joint, init=stft(y)).result())
    if dtype is not None:
        return cast(ArrayT, namespace(y).astype(y, real_type(y, dtype), copy=False))
    return as_given(y, M)


def mfcc_to_mel(
    mfcc: ArrayT,
    *,
    n_mels: int = 128,
    dct_type: int = 2,
    norm: str | None = "ortho",
    ref: float = 1.0,
    lifter: float = 0.0,
) -> ArrayT:
    """Mel spectrogram, of power, of cepstral coefficients, with the signature of librosa's.

    Parameters
    ----------
    mfcc : array, shape (..., n_mfcc, T)
        Coefficients, numpy or torch.
    n_mels : int, default 128
        Number of mel bands.
    dct_type : {1, 2, 3}, default 2
        Kind of the cosine transform.
    norm : {"ortho", None}, default "ortho"
        Its normalisation.
    ref : float, default 1
        Power that 0 dB means.
    lifter : float, default 0
        Liftering of the coefficients: n was multiplied by ``1 + lifter/2 sin(π(n+1)/lifter)``.

    Returns
    -------
    array, shape (..., n_mels, T)
        Mel values; coefficients that are not there count as zero.

    Raises
    ------
    ValueError
        If an argument is out of range.
    """
    from scipy.fft import idct  # takes a moment to load

    C: Any = as_array("mfcc", mfcc)
    n_mels = as_int("n_mels", n_mels, 1)
    if C.ndim < 2 or C.shape[-2] > n_mels:
        raise ValueError(
            f"mfcc of shape {tuple(C.shape)} must be (..., n_mfcc, T) with at most n_mels={n_mels} "
            "coefficients"
        )
    if dct_type not in (1, 2, 3) or norm not in (None, "ortho") or not lifter >= 0 or not ref > 0:
        raise ValueError(
            f"dct_type={dct_type!r} must be 1, 2 or 3, norm={norm!r} None or 'ortho', "
            f"lifter={lifter!r} 0 or more, and ref={ref!r} positive"
        )
    count = C.shape[-2]
    matrix = idct(np.eye(count), type=dct_type, n=n_mels, axis=0, norm=norm)
    if lifter:
        lifted = 1 + lifter / 2 * np.sin(np.pi * np.arange(1, count + 1) / lifter)
        if np.any(np.abs(lifted) < 1e-6):
            raise ValueError(f"lifter={lifter!r} makes a coefficient zero, which cannot be undone")
        matrix = matrix / lifted
    return cast(ArrayT, ref * 10.0 ** (like(matrix, C) @ C / 10))


def mfcc_to_audio(
    mfcc: ArrayT,
    *,
    n_mels: int = 128,
    dct_type: int = 2,
    norm: str | None = "ortho",
    ref: float = 1.0,
    lifter: float = 0.0,
    sr: float = 22050,
    n_fft: int = 2048,
    hop_length: int | None = None,
    n_iter: int = 32,
    length: int | None = None,
    fmin: float = 0.0,
    fmax: float | None = None,
    htk: bool = False,
    rng: Seed = None,
) -> ArrayT:
    """Sound of mel-frequency cepstral coefficients, with the signature of librosa's function.

    Parameters
    ----------
    mfcc, n_mels, dct_type, norm, ref, lifter
        As for :func:`phaserec.inverse.mfcc_to_mel`.
    sr, n_fft, hop_length, n_iter, length, fmin, fmax, htk, rng
        As for :func:`mel_to_audio`.

    Returns
    -------
    array, shape (..., time)
        Waveforms.

    Raises
    ------
    ValueError
        If an argument is out of range.
    """
    M = mfcc_to_mel(mfcc, n_mels=n_mels, dct_type=dct_type, norm=norm, ref=ref, lifter=lifter)
    return mel_to_audio(
        M,
        sr=sr,
        n_fft=n_fft,
        hop_length=hop_length,
        n_iter=n_iter,
        length=length,
        fmin=fmin,
        fmax=fmax,
        htk=htk,
        rng=rng,
    )
