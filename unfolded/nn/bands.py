"""Frequency bands as the ear has them."""

import numpy as np

from phaserec._memory import check_memory


def mel_bands(n_bands: int, n_fft: int, sample_rate: float) -> np.ndarray:
    """Triangular bands, equally spaced on the mel scale (O'Shaughnessy 1987), of mean weight.

    Parameters
    ----------
    n_bands : int
        Number of bands, from 0 Hz to half the sample rate.
    n_fft : int
        Transform length.
    sample_rate : float
        Sample rate in Hz.

    Returns
    -------
    ndarray, shape (n_bands, F)
        Weights; each row sums to 1, or to 0 where a band is narrower than a bin.
    """
    check_memory(
        f"n_bands={n_bands} of n_fft={n_fft}", 16 * n_bands * (n_fft // 2 + 1), "use fewer of them"
    )
    mels = 2595 * np.log10(1 + np.fft.rfftfreq(n_fft, 1 / sample_rate) / 700)
    position = mels / (2595 * np.log10(1 + sample_rate / 1400)) * (n_bands - 1)
    weights = np.maximum(1 - np.abs(position - np.arange(n_bands)[:, None]), 0)
    total = weights.sum(axis=1, keepdims=True)
    return weights / np.where(total == 0, 1, total)
