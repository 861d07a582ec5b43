"""From other representations to magnitudes and sound: mel, log-mel, cepstra, any bands.

:class:`Bands` says what the values are, :func:`nnls` finds magnitudes, :class:`BandProblem` lets
phases and magnitudes agree with the values together, and :func:`by_gradient` inverts whatever torch
can differentiate.
"""

from phaserec.inverse.bands import Bands
from phaserec.inverse.filters import kaldi_filters, mel_filters
from phaserec.inverse.gradient import by_gradient
from phaserec.inverse.least_squares import nnls
from phaserec.inverse.mel import mel_to_audio, mel_to_stft, mfcc_to_audio, mfcc_to_mel
from phaserec.inverse.problem import BandProblem

__all__ = [
    "BandProblem",
    "Bands",
    "by_gradient",
    "kaldi_filters",
    "mel_filters",
    "mel_to_audio",
    "mel_to_stft",
    "mfcc_to_audio",
    "mfcc_to_mel",
    "nnls",
]
