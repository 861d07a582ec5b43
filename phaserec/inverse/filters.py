"""Filter banks on mel scales: those of librosa (Slaney's and HTK's formula), HTK and Kaldi."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from phaserec._memory import check_memory
from phaserec._xp import as_int

Scale = Literal["slaney", "htk"]
Edges = Literal["hertz", "mel"]
Norm = Literal["slaney"] | float | None

# Slaney's scale (Auditory Toolbox, 1998): 15 mel a kilohertz up to 1 kHz, then 27 a factor of 6.4.
_LINEAR, _KNEE, _STEP = 200 / 3, 1000.0, np.log(6.4) / 27


def _slaney(hertz: np.ndarray) -> np.ndarray:
    above = np.log(np.maximum(hertz, _KNEE) / _KNEE) / _STEP
    return np.where(hertz < _KNEE, hertz / _LINEAR, _KNEE / _LINEAR + above)


def _of_slaney(mel: np.ndarray) -> np.ndarray:
    above = np.maximum(mel - _KNEE / _LINEAR, 0)
    return np.where(above > 0, _KNEE * np.exp(_STEP * above), _LINEAR * mel)


def _htk(hertz: np.ndarray) -> np.ndarray:
    return 2595 * np.log10(1 + hertz / 700)


def _of_htk(mel: np.ndarray) -> np.ndarray:
    return 700 * (10 ** (mel / 2595) - 1)


@dataclass(frozen=True)
class _Scale:
    """A scale of frequency: mel of Hz, and back."""

    mel: Callable[[np.ndarray], np.ndarray]
    hertz: Callable[[np.ndarray], np.ndarray]


_SCALES = {"slaney": _Scale(_slaney, _of_slaney), "htk": _Scale(_htk, _of_htk)}


def mel_filters(
    n_mels: int,
    n_fft: int,
    sample_rate: float,
    *,
    fmin: float = 0.0,
    fmax: float | None = None,
    scale: Scale = "slaney",
    norm: Norm = "slaney",
    edges: Edges = "hertz",
) -> np.ndarray:
    """Triangular filters whose centres are equally spaced in mel.

    Parameters
    ----------
    n_mels : int
        Number of filters K.
    n_fft : int
        Transform length in samples; F = n_fft // 2 + 1.
    sample_rate : float
        Sample rate in Hz.
    fmin, fmax : float, optional
        Lowest and highest frequency in Hz; default 0 and half the sample rate. As in Kaldi, a
        negative ``fmax`` counts from half the sample rate.
    scale : {"slaney", "htk"}, default "slaney"
        Mel scale: linear up to 1 kHz and logarithmic above (Slaney 1998), or
        ``2595 log10(1 + f/700)`` (O'Shaughnessy 1987; HTK; Kaldi as ``1127 ln(1 + f/700)``).
    norm : {"slaney", None} or float, default "slaney"
        ``"slaney"``: of unit area in Hz. A number p: of unit p-norm. None: of peak 1.
    edges : {"hertz", "mel"}, default "hertz"
        The scale on which edges are straight: Hz (librosa, torchaudio) or mel (HTK, Kaldi).

    Returns
    -------
    ndarray, shape (K, F)
        Weights, float64 and non-negative. A filter between two bins is zero.

    Raises
    ------
    ValueError
        If an argument is out of range.

    Examples
    --------
    >>> from phaserec.inverse import mel_filters
    >>> mel_filters(80, 1024, 22050).shape
    (80, 513)
    """
    n_mels, n_fft = as_int("n_mels", n_mels, 1), as_int("n_fft", n_fft, 1)
    bins = n_fft // 2 + 1
    check_memory(f"n_mels={n_mels} of n_fft={n_fft}", 24 * n_mels * bins, "use fewer of them")
    if not np.isfinite(sample_rate) or sample_rate <= 0:
        raise ValueError(f"sample_rate={sample_rate!r} must be a positive number of Hz")
    half = sample_rate / 2
    top = half if fmax is None else fmax + half if fmax < 0 else fmax
    if not 0 <= fmin < top:
        raise ValueError(
            f"fmin={fmin!r} and fmax={fmax!r} must be frequencies in Hz, 0 <= fmin < fmax"
        )
    if scale not in _SCALES or edges not in ("hertz", "mel"):
        raise ValueError(
            f"scale={scale!r} must be 'slaney' or 'htk', and edges={edges!r} 'hertz' or 'mel'"
        )
    mel = _SCALES[scale]
    low, high = mel.mel(np.array([fmin, top], float))
    marks = np.linspace(low, high, n_mels + 2)
    hertz = mel.hertz(marks)
    axis = np.fft.rfftfreq(n_fft, 1 / sample_rate)
    if edges == "hertz":
        marks = hertz
    else:
        axis = mel.mel(axis)
    rise = (axis - marks[:-2, None]) / np.diff(marks)[:-1, None]
    fall = (marks[2:, None] - axis) / np.diff(marks)[1:, None]
    weights = np.maximum(np.minimum(rise, fall), 0)
    if norm is None:
        return weights
    if norm == "slaney":
        return weights * (2 / (hertz[2:] - hertz[:-2]))[:, None]
    if isinstance(norm, str) or not norm > 0:
        raise ValueError(f"norm={norm!r} must be 'slaney', None or a positive number")
    size = np.linalg.norm(weights, norm, axis=1, keepdims=True)
    return weights / np.where(size == 0, 1, size)


def kaldi_filters(
    n_mels: int,
    n_fft: int,
    sample_rate: float,
    *,
    fmin: float = 20.0,
    fmax: float = 0.0,
) -> np.ndarray:
    """Filters of Kaldi's filter bank: HTK's scale, straight in mel, of peak 1, from 20 Hz.

    Parameters
    ----------
    n_mels : int
        Number of filters K (``num_mel_bins``).
    n_fft : int
        Transform length in samples, even; Kaldi rounds the window up to a power of two.
    sample_rate : float
        Sample rate in Hz.
    fmin, fmax : float, optional
        ``low_freq`` and ``high_freq`` in Hz; 0 or less counts from half the sample rate.

    Returns
    -------
    ndarray, shape (K, F)
        Weights; that of the highest bin is zero, which Kaldi leaves out.

    Raises
    ------
    ValueError
        If an argument is out of range.
    """
    top = sample_rate / 2 + fmax if fmax <= 0 else fmax
    weights = mel_filters(
        n_mels, n_fft, sample_rate, fmin=fmin, fmax=top, scale="htk", norm=None, edges="mel"
    )
    weights[:, -1] = 0
    return weights
