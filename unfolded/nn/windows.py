"""A short-time Fourier transform whose analysis and synthesis windows are learned."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from phaserec import STFT
from phaserec._xp import like


class LearnedSTFT(nn.Module):
    """STFT with trainable windows that always reconstructs perfectly.

    Both windows are the given one times the exponential of trainable values, which start at 0.
    The inverse divides by the overlapped product of the two windows, so that it starts as the
    least-squares inverse (Griffin & Lim, IEEE TASSP 1984) and remains a left inverse where the
    given window sees the signal: the factors are positive, hence the divisor can never vanish
    where it did not at the start.

    Parameters
    ----------
    stft : STFT
        Transform to start from.
    dtype : torch.dtype, optional
        Floating-point type of the parameters; default that of torch.
    """

    def __init__(self, stft: STFT, *, dtype: torch.dtype | None = None) -> None:
        super().__init__()
        self.stft = stft
        self.log_analysis = nn.Parameter(torch.zeros(stft.n_fft, dtype=dtype))
        self.log_synthesis = nn.Parameter(torch.zeros(stft.n_fft, dtype=dtype))

    @property
    def bin_weights(self) -> np.ndarray:
        """How often each bin counts in the full two-sided spectrum, ``(F, 1)``."""
        return self.stft.bin_weights

    def windows(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Analysis and synthesis window ``(n_fft,)`` in the precision and on the device of x."""
        base = like(self.stft.window_values, x)
        return base * self.log_analysis.to(base).exp(), base * self.log_synthesis.to(base).exp()

    def forward(self, x: Tensor, *, lengths: Any = None) -> Tensor:
        """Transform waveforms.

        Parameters
        ----------
        x : Tensor, shape (..., time)
            Real waveforms.
        lengths : array_like of int, optional
            Valid samples of each item, shape equal to the leading axes of ``x``.

        Returns
        -------
        Tensor, shape (..., F, T)
            One-sided complex spectrogram.

        Raises
        ------
        ValueError
            If ``x`` is too short.
        """
        n_frames = self.stft.n_frames(x.shape[-1])
        samples = self.stft.padded(x, 0, n_frames, lengths)
        frames = samples.unfold(-1, self.stft.n_fft, self.stft.hop_length)[..., :n_frames, :]
        S = torch.fft.rfft(frames * self.windows(x)[0]).transpose(-1, -2)
        return S if lengths is None else S * self.stft.valid_frames(lengths, S)

    def inverse(self, S: Tensor, *, length: int, lengths: Any = None) -> Tensor:
        """Waveforms of spectrograms.

        Parameters
        ----------
        S : Tensor, shape (..., F, T)
            One-sided complex spectrogram.
        length : int
            Number of samples.
        lengths : array_like of int, optional
            Valid samples of each item, shape equal to the leading axes of ``S``.

        Returns
        -------
        Tensor, shape (..., length)
            Real waveforms.

        Raises
        ------
        ValueError
            If F is not that of the transform, or ``length`` disagrees with T.
        """
        self.stft.check_bins("S", S.shape[-2])
        length = self.stft.check_length(length, S.shape[-1])
        analysis, synthesis = self.windows(S)
        if lengths is None:
            valid = torch.ones_like(S[(0,) * (S.ndim - 2)].real[:1])
        else:
            valid = self.stft.valid_frames(lengths, S)
            S = S * valid
        frames = torch.fft.irfft(S.transpose(-1, -2), n=self.stft.n_fft) * synthesis
        products = valid.transpose(-1, -2) * (analysis * synthesis)
        total = self.stft.overlap_add(products, length, lengths)
        x = self.stft.overlap_add(frames, length, lengths)
        # The samples that count are those of the given window, whatever is learned.
        seen = self.stft.gains(length, x, lengths) > 0
        x = torch.where(seen, x / torch.where(seen, total, 1), 0)
        return x if lengths is None else x * _valid_samples(lengths, x)


def _valid_samples(lengths: Any, x: Tensor) -> Tensor:
    """Ones up to the length of each item; leading axes match from the left."""
    counts = torch.as_tensor(lengths, device=x.device)
    counts = counts.reshape(*counts.shape, *(1,) * (x.ndim - counts.ndim))
    return (torch.arange(x.shape[-1], device=x.device) < counts).to(x.dtype)
