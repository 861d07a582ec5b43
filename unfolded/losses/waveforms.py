"""Losses on waveforms."""

from torch import Tensor

from unfolded.losses.norms import EPS, absolute, energy_of, need_waveform, required
from unfolded.losses.registry import loss
from unfolded.losses.spectrograms import _WANG


@loss(cite=_WANG)
def wav(estimate: Tensor, reference: Tensor, mixture: Tensor | None = None) -> Tensor:
    """L1 distance of waveforms, ``‖ŝ − s‖``."""
    return l1(estimate, reference)


@loss(cite="Choi et al., ICLR 2019 (DCUNet)")
def wsdr(estimate: Tensor, reference: Tensor, mixture: Tensor | None = None) -> Tensor:
    """Weighted SDR of source and remainder, ``α L(y, ŷ) + (1 − α) L(x − y, x − ŷ)``.

    ``L(a, b) = −⟨a, b⟩ / (‖a‖ ‖b‖)`` and ``α = ‖y‖² / (‖y‖² + ‖x − y‖²)``; between −1 and 1.
    """
    need_waveform("wsdr", estimate)
    x = required("wsdr", mixture)
    rest = x - reference
    energy, rest_energy = energy_of(reference), energy_of(rest)
    share = energy / (energy + rest_energy + EPS)
    return share * _cosine(reference, estimate) + (1 - share) * _cosine(rest, x - estimate)


@loss(cite="Le Roux, Wisdom, Erdogan & Hershey, ICASSP 2019")
def si_sdr(
    estimate: Tensor, reference: Tensor, mixture: Tensor | None = None, zero_mean: bool = False
) -> Tensor:
    """Negative scale-invariant signal-to-distortion ratio in dB."""
    need_waveform("si-sdr", estimate)
    if zero_mean:
        estimate = estimate - estimate.mean(-1, keepdim=True)
        reference = reference - reference.mean(-1, keepdim=True)
    scale = (estimate * reference).sum(-1, keepdim=True)
    target = scale / (energy_of(reference).unsqueeze(-1) + EPS) * reference
    return _negative_decibel(energy_of(target), energy_of(estimate - target))


@loss()
def snr(estimate: Tensor, reference: Tensor, mixture: Tensor | None = None) -> Tensor:
    """Negative signal-to-noise ratio ``10 log10(‖s‖² / ‖ŝ − s‖²)`` in dB."""
    need_waveform("snr", estimate)
    return _negative_decibel(energy_of(reference), energy_of(estimate - reference))


@loss()
def l1(estimate: Tensor, reference: Tensor, mixture: Tensor | None = None) -> Tensor:
    """Mean absolute error of waveforms."""
    need_waveform("l1", estimate)
    return absolute(estimate - reference) / reference.shape[-1]


@loss()
def l2(estimate: Tensor, reference: Tensor, mixture: Tensor | None = None) -> Tensor:
    """Mean squared error of waveforms."""
    need_waveform("l2", estimate)
    return energy_of(estimate - reference) / reference.shape[-1]


def _cosine(a: Tensor, b: Tensor) -> Tensor:
    norms = ((energy_of(a) + EPS) * (energy_of(b) + EPS)).sqrt()
    return -(a * b).sum(-1) / norms


def _negative_decibel(signal: Tensor, noise: Tensor) -> Tensor:
    return 10 * ((noise + EPS).log10() - (signal + EPS).log10())
