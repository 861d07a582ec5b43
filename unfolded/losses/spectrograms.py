"""Losses on spectrograms.

Norms are over the one-sided bins, as in the papers. Sums over samples and bins are divided by the
number of samples of the signal: the balance of the terms is that of the papers and the value does
not depend on the length.
"""

from collections.abc import Sequence
from typing import Any, ClassVar, cast

import torch
from torch import Tensor

from phaserec import STFT
from phaserec._xp import as_int
from phaserec.projectors import unit
from unfolded.losses.norms import EPS, absolute, as_bool
from unfolded.losses.registry import Compared, Loss, loss

_WANG = "Wang, Wichern & Le Roux, IEEE SPL 2021"


class SpectralLoss(Loss):
    """Base of the losses that are given complex spectrograms and transform the references.

    Parameters
    ----------
    stft : STFT, optional
        Transform of the estimates; default ``STFT()``.

    Raises
    ------
    ValueError
        If it is anything else.
    """

    compares: ClassVar[Compared] = "spectrograms"

    def __init__(self, stft: STFT | None = None) -> None:
        super().__init__()
        if not isinstance(stft, STFT | None):
            raise ValueError(f"stft={stft!r} must be a phaserec.STFT")
        self.stft = STFT() if stft is None else stft

    def extra_repr(self) -> str:
        """The transform, for printing."""
        return f"stft={self.stft}"

    def spectrum(self, estimate: Tensor) -> Tensor:
        """Spectrogram ``(..., F, T)`` of an estimate that may be a waveform."""
        return estimate if estimate.is_complex() else self.stft(estimate)

    def waveform(self, estimate: Tensor, reference: Tensor) -> Tensor:
        """Waveform ``(..., time)`` of an estimate that may be a spectrogram."""
        if not estimate.is_complex():
            return estimate
        return self.stft.inverse(estimate, length=reference.shape[-1])


@loss("ri")
class RI(SpectralLoss):
    """L1 distance of real and imaginary parts, ``‖R̂ − Re S‖ + ‖Î − Im S‖``."""

    cite = _WANG

    def values(self, estimate: Tensor, reference: Tensor, mixture: Tensor | None) -> Tensor:
        """Formula on single signals, see :meth:`Loss.values`."""
        return _ri(self.spectrum(estimate), self.stft(reference)) / reference.shape[-1]


@loss("ri-mag")
class RIMag(SpectralLoss):
    """RI plus the L1 distance of magnitudes, ``‖|R̂ + jÎ| − |S|‖``."""

    cite = _WANG

    def values(self, estimate: Tensor, reference: Tensor, mixture: Tensor | None) -> Tensor:
        """Formula on single signals, see :meth:`Loss.values`."""
        S_hat, S = self.spectrum(estimate), self.stft(reference)
        return (_ri(S_hat, S) + _mag(S_hat, S)) / reference.shape[-1]


@loss("ri-istft")
class RIiSTFT(SpectralLoss):
    """L1 distance of waveforms after the inverse transform, ``‖iSTFT(Ŝ) − s‖``."""

    cite = _WANG

    def values(self, estimate: Tensor, reference: Tensor, mixture: Tensor | None) -> Tensor:
        """Formula on single signals, see :meth:`Loss.values`."""
        return absolute(self.waveform(estimate, reference) - reference) / reference.shape[-1]


@loss("ri-istft-mag")
class RIiSTFTMag(SpectralLoss):
    """RI-iSTFT plus the magnitudes of the resulting waveform, ``‖|STFT(iSTFT(Ŝ))| − |S|‖``."""

    cite = _WANG

    def values(self, estimate: Tensor, reference: Tensor, mixture: Tensor | None) -> Tensor:
        """Formula on single signals, see :meth:`Loss.values`."""
        y = self.waveform(estimate, reference)
        after = _mag(self.stft(y), self.stft(reference))
        return (absolute(y - reference) + after) / reference.shape[-1]


@loss("mag-ri-istft")
class MagRIiSTFT(SpectralLoss):
    """RI-iSTFT plus the magnitudes before the inverse transform, ``‖|Ŝ| − |S|‖``."""

    cite = _WANG

    def values(self, estimate: Tensor, reference: Tensor, mixture: Tensor | None) -> Tensor:
        """Formula on single signals, see :meth:`Loss.values`."""
        y = self.waveform(estimate, reference)
        before = _mag(self.spectrum(estimate), self.stft(reference))
        return (absolute(y - reference) + before) / reference.shape[-1]


@loss("wav-mag")
class WavMag(RIiSTFTMag):
    """L1 distances of waveforms and of their magnitudes, ``‖ŝ − s‖ + ‖|STFT ŝ| − |S|‖``."""

    compares = "waveforms"


@loss("msa")
class MSA(SpectralLoss):
    """Magnitude spectrum approximation, ``‖|Ŝ| − |S|‖²``."""

    cite = "Weninger, Hershey, Le Roux & Schuller, GlobalSIP 2014"

    def values(self, estimate: Tensor, reference: Tensor, mixture: Tensor | None) -> Tensor:
        """Formula on single signals, see :meth:`Loss.values`."""
        error = self.spectrum(estimate).abs() - self.stft(reference).abs()
        return error.square().sum((-2, -1)) / reference.shape[-1]


@loss("psa")
class PSA(SpectralLoss):
    """Phase-sensitive spectrum approximation, ``‖|Ŝ| − |S| cos(∠S − ∠X)‖²``.

    Parameters
    ----------
    stft : STFT, optional
        Transform of the estimates; default ``STFT()``.
    truncate : bool, default False
        Clip the target to ``[0, |X|]`` (Wang et al., Interspeech 2018).
    """

    cite = "Erdogan, Hershey, Watanabe & Le Roux, ICASSP 2015"
    needs_mixture = True

    def __init__(self, stft: STFT | None = None, truncate: bool = False) -> None:
        super().__init__(stft)
        self.truncate = as_bool("truncate", truncate)

    def values(self, estimate: Tensor, reference: Tensor, mixture: Tensor | None) -> Tensor:
        """Formula on single signals, see :meth:`Loss.values`."""
        X = self.stft(cast(Tensor, mixture))
        target = (self.stft(reference) * unit(X).conj()).real
        if self.truncate:
            target = torch.minimum(target.clamp_min(0), X.abs())
        error = self.spectrum(estimate).abs() - target
        return error.square().sum((-2, -1)) / reference.shape[-1]


@loss("multi-resolution")
class MultiResolution(Loss):
    """Spectral convergence plus log-magnitude distance, mean over transform lengths.

    ``‖|S| − |Ŝ|‖ / ‖S‖`` (Frobenius) plus the mean of ``|log|S| − log|Ŝ||``, with Hann windows
    and a hop of a quarter of each length.

    Parameters
    ----------
    n_ffts : sequence of int, default (512, 1024, 2048)
        Lengths of the transforms.

    Raises
    ------
    ValueError
        If a length is not allowed, or there is none.
    """

    cite = "Yamamoto, Song & Kim, ICASSP 2020 (Parallel WaveGAN)"

    def __init__(self, n_ffts: Sequence[int] = (512, 1024, 2048)) -> None:
        super().__init__()
        if not isinstance(n_ffts, Sequence) or not n_ffts:
            raise ValueError(f"n_ffts={n_ffts!r} must be a list of one length at least")
        self.stfts = [STFT(as_int("n_ffts", n_fft, 1)) for n_fft in n_ffts]

    def values(self, estimate: Tensor, reference: Tensor, mixture: Tensor | None) -> Tensor:
        """Formula on single signals, see :meth:`Loss.values`."""
        total: Any = 0
        for stft in self.stfts:
            V_hat, V = stft(estimate).abs(), stft(reference).abs()
            error = (V - V_hat).square().sum((-2, -1))
            convergence = ((error + EPS) / (V.square().sum((-2, -1)) + EPS)).sqrt()
            logs = ((V + EPS).log() - (V_hat + EPS).log()).abs().mean((-2, -1))
            total = total + convergence + logs
        return total / len(self.stfts)


def _ri(S_hat: Tensor, S: Tensor) -> Tensor:
    error = S_hat - S
    return (error.real.abs() + error.imag.abs()).sum((-2, -1))


def _mag(S_hat: Tensor, S: Tensor) -> Tensor:
    return (S_hat.abs() - S.abs()).abs().sum((-2, -1))
