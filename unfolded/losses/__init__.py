"""Training losses on waveforms and spectrograms, by name, and permutation invariance."""

from unfolded.losses import spectrograms, waveforms
from unfolded.losses.permutation import PIT
from unfolded.losses.registry import LOSSES, Loss, compared, get_loss, hyper_of, loss, names
from unfolded.losses.spectrograms import SpectralLoss
from unfolded.losses.weighted import Combined, combine

__all__ = [
    "LOSSES",
    "PIT",
    "Combined",
    "Loss",
    "SpectralLoss",
    "combine",
    "compared",
    "get_loss",
    "hyper_of",
    "loss",
    "names",
    "spectrograms",
    "waveforms",
]
