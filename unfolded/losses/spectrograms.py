"""Losses on spectrograms.

Norms are over the one-sided bins, as in the papers. Sums over samples and bins are divided by the
number of samples of the signal: the balance of the terms is that of the papers and the value does
not depend on the length.
"""

from functools import cache
from typing import Any

import torch
from torch import Tensor

from phaserec import STFT
from phaserec._xp import as_int
from phaserec.projectors import unit
from unfolded.losses.norms import EPS, absolute, need_waveform, required
from unfolded.losses.registry import loss

_STFT = STFT()


_WANG = "Wang, Wichern & Le Roux, IEEE SPL 2021"


@loss(cite=_WANG)
def ri(
    estimate: Tensor, reference: Tensor, mixture: Tensor | None = None, stft: STFT = _STFT
) -> Tensor:
    """L1 distance of real and imaginary parts, ``‖R̂ − Re S‖ + ‖Î − Im S‖``."""
    return _ri(_spectrum(estimate, stft), stft(reference)) / reference.shape[-1]


@loss(cite=_WANG)
def ri_mag(
    estimate: Tensor, reference: Tensor, mixture: Tensor | None = None, stft: STFT = _STFT
) -> Tensor:
    """RI plus the L1 distance of magnitudes, ``‖|R̂ + jÎ| − |S|‖``."""
    S_hat, S = _spectrum(estimate, stft), stft(reference)
    return (_ri(S_hat, S) + _mag(S_hat, S)) / reference.shape[-1]


@loss(cite=_WANG)
def ri_istft(
    estimate: Tensor, reference: Tensor, mixture: Tensor | None = None, stft: STFT = _STFT
) -> Tensor:
    """L1 distance of waveforms after the inverse transform, ``‖iSTFT(Ŝ) − s‖``."""
    return absolute(_waveform(estimate, reference, stft) - reference) / reference.shape[-1]


@loss(cite=_WANG)
def ri_istft_mag(
    estimate: Tensor, reference: Tensor, mixture: Tensor | None = None, stft: STFT = _STFT
) -> Tensor:
    """RI-iSTFT plus the magnitudes of the resulting waveform, ``‖|STFT(iSTFT(Ŝ))| − |S|‖``."""
    y = _waveform(estimate, reference, stft)
    return (absolute(y - reference) + _mag(stft(y), stft(reference))) / reference.shape[-1]


@loss(cite=_WANG)
def mag_ri_istft(
    estimate: Tensor, reference: Tensor, mixture: Tensor | None = None, stft: STFT = _STFT
) -> Tensor:
    """RI-iSTFT plus the magnitudes before the inverse transform, ``‖|Ŝ| − |S|‖``."""
    y = _waveform(estimate, reference, stft)
    before = _mag(_spectrum(estimate, stft), stft(reference))
    return (absolute(y - reference) + before) / reference.shape[-1]


@loss(cite=_WANG)
def wav_mag(
    estimate: Tensor, reference: Tensor, mixture: Tensor | None = None, stft: STFT = _STFT
) -> Tensor:
    """L1 distances of waveforms and of their magnitudes, ``‖ŝ − s‖ + ‖|STFT ŝ| − |S|‖``."""
    need_waveform("wav-mag", estimate)
    return ri_istft_mag(estimate, reference, mixture, stft)


@loss(cite="Weninger, Hershey, Le Roux & Schuller, GlobalSIP 2014")
def msa(
    estimate: Tensor, reference: Tensor, mixture: Tensor | None = None, stft: STFT = _STFT
) -> Tensor:
    """Magnitude spectrum approximation, ``‖|Ŝ| − |S|‖²``."""
    error = _spectrum(estimate, stft).abs() - stft(reference).abs()
    return error.square().sum((-2, -1)) / reference.shape[-1]


@loss(cite="Erdogan, Hershey, Watanabe & Le Roux, ICASSP 2015")
def psa(
    estimate: Tensor,
    reference: Tensor,
    mixture: Tensor | None = None,
    stft: STFT = _STFT,
    truncate: bool = False,
) -> Tensor:
    """Phase-sensitive spectrum approximation, ``‖|Ŝ| − |S| cos(∠S − ∠X)‖²``.

    With ``truncate`` the target is clipped to ``[0, |X|]`` (Wang et al., Interspeech 2018).
    """
    X = stft(required("psa", mixture))
    target = (stft(reference) * unit(X).conj()).real
    if truncate:
        target = torch.minimum(target.clamp_min(0), X.abs())
    error = _spectrum(estimate, stft).abs() - target
    return error.square().sum((-2, -1)) / reference.shape[-1]


@loss(cite="Yamamoto, Song & Kim, ICASSP 2020 (Parallel WaveGAN)")
def multi_resolution(
    estimate: Tensor,
    reference: Tensor,
    mixture: Tensor | None = None,
    n_ffts: tuple[int, ...] = (512, 1024, 2048),
) -> Tensor:
    """Spectral convergence plus log-magnitude distance, mean over transform lengths.

    ``‖|S| − |Ŝ|‖ / ‖S‖`` (Frobenius) plus the mean of ``|log|S| − log|Ŝ||``, with Hann windows
    and a hop of a quarter of each length in ``n_ffts``.
    """
    need_waveform("multi-resolution", estimate)
    total: Any = 0
    for n_fft in n_ffts:
        stft = _hann(as_int("n_ffts", n_fft, 1))
        V_hat, V = stft(estimate).abs(), stft(reference).abs()
        error = (V - V_hat).square().sum((-2, -1))
        convergence = ((error + EPS) / (V.square().sum((-2, -1)) + EPS)).sqrt()
        logs = ((V + EPS).log() - (V_hat + EPS).log()).abs().mean((-2, -1))
        total = total + convergence + logs
    return total / len(n_ffts)


@cache
def _hann(n_fft: int) -> STFT:
    """Transform with a Hann window and a hop of a quarter, made once."""
    return STFT(n_fft)


def _ri(S_hat: Tensor, S: Tensor) -> Tensor:
    error = S_hat - S
    return (error.real.abs() + error.imag.abs()).sum((-2, -1))


def _mag(S_hat: Tensor, S: Tensor) -> Tensor:
    return (S_hat.abs() - S.abs()).abs().sum((-2, -1))


def _spectrum(estimate: Tensor, stft: STFT) -> Tensor:
    return estimate if estimate.is_complex() else stft(estimate)


def _waveform(estimate: Tensor, reference: Tensor, stft: STFT) -> Tensor:
    if not estimate.is_complex():
        return estimate
    return stft.inverse(estimate, length=reference.shape[-1])
