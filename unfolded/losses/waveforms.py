"""Losses on waveforms."""

from typing import cast

from torch import Tensor

from unfolded.losses.norms import EPS, absolute, as_bool, energy_of
from unfolded.losses.registry import Loss, loss


@loss("wsdr")
class WSDR(Loss):
    """Weighted SDR of source and remainder, ``α L(y, ŷ) + (1 − α) L(x − y, x − ŷ)``.

    ``L(a, b) = −⟨a, b⟩ / (‖a‖ ‖b‖)`` and ``α = ‖y‖² / (‖y‖² + ‖x − y‖²)``; between −1 and 1.
    """

    cite = "Choi et al., ICLR 2019 (DCUNet)"
    needs_mixture = True

    def values(self, estimate: Tensor, reference: Tensor, mixture: Tensor | None) -> Tensor:
        """Formula on single signals, see :meth:`Loss.values`."""
        x = cast(Tensor, mixture)
        rest = x - reference
        energy, rest_energy = energy_of(reference), energy_of(rest)
        share = energy / (energy + rest_energy + EPS)
        return share * _cosine(reference, estimate) + (1 - share) * _cosine(rest, x - estimate)


@loss("si-sdr")
class SISDR(Loss):
    """Negative scale-invariant signal-to-distortion ratio in dB.

    Parameters
    ----------
    zero_mean : bool, default False
        Subtract the means of both signals first.
    """

    cite = "Le Roux, Wisdom, Erdogan & Hershey, ICASSP 2019"

    def __init__(self, zero_mean: bool = False) -> None:
        super().__init__()
        self.zero_mean = as_bool("zero_mean", zero_mean)

    def values(self, estimate: Tensor, reference: Tensor, mixture: Tensor | None) -> Tensor:
        """Formula on single signals, see :meth:`Loss.values`."""
        if self.zero_mean:
            estimate = estimate - estimate.mean(-1, keepdim=True)
            reference = reference - reference.mean(-1, keepdim=True)
        scale = (estimate * reference).sum(-1, keepdim=True)
        target = scale / (energy_of(reference).unsqueeze(-1) + EPS) * reference
        return _negative_decibel(energy_of(target), energy_of(estimate - target))


@loss("snr")
class SNR(Loss):
    """Negative signal-to-noise ratio ``10 log10(‖s‖² / ‖ŝ − s‖²)`` in dB."""

    def values(self, estimate: Tensor, reference: Tensor, mixture: Tensor | None) -> Tensor:
        """Formula on single signals, see :meth:`Loss.values`."""
        return _negative_decibel(energy_of(reference), energy_of(estimate - reference))


@loss("l1")
class L1(Loss):
    """Mean absolute error of waveforms."""

    def values(self, estimate: Tensor, reference: Tensor, mixture: Tensor | None) -> Tensor:
        """Formula on single signals, see :meth:`Loss.values`."""
        return absolute(estimate - reference) / reference.shape[-1]


@loss("wav")
class Wav(L1):
    """L1 distance of waveforms, ``‖ŝ − s‖``."""

    cite = "Wang, Wichern & Le Roux, IEEE SPL 2021"


@loss("l2")
class L2(Loss):
    """Mean squared error of waveforms."""

    def values(self, estimate: Tensor, reference: Tensor, mixture: Tensor | None) -> Tensor:
        """Formula on single signals, see :meth:`Loss.values`."""
        return energy_of(estimate - reference) / reference.shape[-1]


def _cosine(a: Tensor, b: Tensor) -> Tensor:
    norms = ((energy_of(a) + EPS) * (energy_of(b) + EPS)).sqrt()
    return -(a * b).sum(-1) / norms


def _negative_decibel(signal: Tensor, noise: Tensor) -> Tensor:
    return 10 * ((noise + EPS).log10() - (signal + EPS).log10())
