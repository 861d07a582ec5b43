"""A small causal mask estimator."""

from typing import Any

import torch
from torch import Tensor, nn

from phaserec._xp import as_int
from unfolded.nn.bands import mel_bands
from unfolded.nn.masks import get_mask

# Compresses magnitudes: about −100 dB of full scale with common windows.
_FLOOR = 1e-5


class GRUMasks(nn.Module):
    """Masks of the mixture magnitudes by a unidirectional GRU, one frame after another.

    Magnitudes are gathered into mel-spaced bands, compressed with a logarithm and normalised
    within each frame; nothing depends on later frames, on other items or on their number. Each
    channel is treated alone.

    Parameters
    ----------
    n_sources : int
        Number of sources J.
    n_fft : int
        Transform length; F = n_fft // 2 + 1.
    sample_rate : float
        Sample rate in Hz.
    n_bands : int, default 48
        Number of input bands.
    hidden : int, default 128
        Units a layer.
    n_layers : int, default 2
        Number of GRU layers.
    mask : str, default "sigmoid"
        Activation, see :mod:`unfolded.nn.masks`.

    Raises
    ------
    ValueError
        If a size is not a positive integer or the mask is unknown.
    """

    def __init__(
        self,
        n_sources: int,
        *,
        n_fft: int,
        sample_rate: float,
        n_bands: int = 48,
        hidden: int = 128,
        n_layers: int = 2,
        mask: str = "sigmoid",
    ) -> None:
        super().__init__()
        self.n_sources = as_int("n_sources", n_sources, 1, 1000)
        if not sample_rate > 0:
            raise ValueError(f"sample_rate={sample_rate!r} must be positive, in Hz")
        self.mask = get_mask(mask)
        self.config: dict[str, Any] = {
            "n_sources": n_sources,
            "n_fft": as_int("n_fft", n_fft, 1),
            "sample_rate": sample_rate,
            "n_bands": as_int("n_bands", n_bands, 2),
            "hidden": as_int("hidden", hidden, 1),
            "n_layers": as_int("n_layers", n_layers, 1, 100),
            "mask": self.mask.name,
        }
        n_bins = n_fft // 2 + 1
        self.bands: Tensor
        bands = torch.from_numpy(mel_bands(n_bands, n_fft, sample_rate))
        self.register_buffer("bands", bands.to(torch.get_default_dtype()), persistent=False)
        self.norm = nn.LayerNorm(n_bands)
        self.inlet = nn.Linear(n_bands, hidden)
        self.gru = nn.GRU(hidden, hidden, n_layers, batch_first=True)
        self.outlet = nn.Linear(hidden, n_sources * n_bins * self.mask.n_logits)

    def forward(self, mixture: Tensor, spectrogram: Tensor) -> Tensor:
        """Estimate magnitudes.

        Parameters
        ----------
        mixture : Tensor, shape (batch, channel, time)
            Waveform of the mixture; not used.
        spectrogram : Tensor, shape (batch, channel, F, T)
            Its complex spectrogram.

        Returns
        -------
        Tensor, shape (batch, J, channel, F, T)
            Magnitudes.

        Raises
        ------
        ValueError
            If F is not that of ``n_fft``.
        """
        batch, channels, n_bins, n_frames = spectrogram.shape
        if n_bins != self.bands.shape[1]:
            raise ValueError(
                f"spectrogram has F={n_bins} frequencies, but n_fft={self.config['n_fft']} gives "
                f"{self.bands.shape[1]}"
            )
        magnitudes = spectrogram.abs()
        frames = magnitudes.flatten(0, 1).transpose(1, 2)
        features = (frames @ self.bands.to(frames).T + _FLOOR).log().to(self.inlet.weight.dtype)
        hidden, _ = self.gru(self.inlet(self.norm(features)).tanh())
        shape = (batch, channels, n_frames, self.n_sources, n_bins, self.mask.n_logits)
        masks = self.mask(self.outlet(hidden).reshape(shape))
        return masks.permute(0, 3, 1, 4, 2).to(magnitudes) * magnitudes.unsqueeze(1)
