"""Estimators of magnitudes.

Each is a module ``network(mixture, spectrogram) -> magnitudes`` of the waveform ``(batch,
channel, time)`` and the complex spectrogram ``(batch, channel, F, T)`` of a mixture, that returns
``(batch, J, channel, F, T)``. It has ``n_sources`` and a ``config`` of the arguments, all of them
JSON, that make it again.
"""

from unfolded.magnitude.gru import GRUMasks
from unfolded.magnitude.masks import MASKS, get_mask
from unfolded.magnitude.open_unmix import OpenUnmix
from unfolded.magnitude.oracle import ExternalMagnitudes, oracle_magnitudes

NETWORKS = {"open-unmix": OpenUnmix, "gru": GRUMasks, "external": ExternalMagnitudes}

__all__ = [
    "MASKS",
    "NETWORKS",
    "ExternalMagnitudes",
    "GRUMasks",
    "OpenUnmix",
    "get_mask",
    "oracle_magnitudes",
]
