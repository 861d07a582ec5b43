"""Training losses on waveforms and spectrograms, by name, and permutation invariance."""

from unfolded.losses import spectrograms, waveforms
from unfolded.losses.permutation import PIT
from unfolded.losses.registry import (
    LOSSES,
    BatchLoss,
    Combined,
    Loss,
    combine,
    get_loss,
    loss,
    names,
)

__all__ = [
    "LOSSES",
    "PIT",
    "BatchLoss",
    "Combined",
    "Loss",
    "combine",
    "get_loss",
    "loss",
    "names",
    "spectrograms",
    "waveforms",
]
