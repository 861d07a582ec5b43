"""Magnitudes of the true sources, in place of an estimator's."""

from torch import Tensor

from phaserec import STFT


def oracle_magnitudes(sources: Tensor, stft: STFT) -> Tensor:
    """Magnitudes of true sources.

    Parameters
    ----------
    sources : Tensor, shape (batch, J, channel, time)
        Waveforms.
    stft : STFT
        The transform.

    Returns
    -------
    Tensor, shape (batch, J, channel, F, T)
        Magnitudes.
    """
    return stft(sources).abs()
