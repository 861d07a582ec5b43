"""Estimators of magnitudes.

An estimator is any module ``estimator(mixture, spectrogram)`` of the waveform ``(batch, channel,
time)`` and the complex spectrogram ``(batch, channel, F, T)`` of a mixture. It returns magnitudes
``(batch, J, channel, F, T)``, or an :class:`Estimate` of magnitudes and a start.

Attributes that it may have tell a :class:`unfolded.Separator` what it need not be told again:
``stft``, ``sample_rate`` in Hz, ``targets`` (names of the sources) or ``n_sources``, and
``n_channels`` where it takes no other number of channels.
"""

from unfolded.estimators.estimate import Estimate
from unfolded.estimators.gru import GRUMasks
from unfolded.estimators.open_unmix import OpenUnmix
from unfolded.estimators.oracle import oracle_magnitudes
from unfolded.estimators.registry import ESTIMATORS, estimator
from unfolded.nn.masks import MASKS, get_mask

__all__ = [
    "ESTIMATORS",
    "MASKS",
    "Estimate",
    "GRUMasks",
    "OpenUnmix",
    "estimator",
    "get_mask",
    "oracle_magnitudes",
]
