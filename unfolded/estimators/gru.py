"""A small causal mask estimator."""

from typing import Literal

import torch
from torch import Tensor, nn

from phaserec import STFT
from phaserec._xp import as_int
from unfolded.estimators.estimate import Estimate
from unfolded.estimators.registry import estimator
from unfolded.nn.bands import mel_bands
from unfolded.nn.masks import get_mask
from unfolded.nn.modules import Described
from unfolded.nn.running_norm import RunningNorm

# Compresses magnitudes: about −100 dB of full scale with common windows.
_FLOOR = 1e-5

# Seconds whose mean level is the reference of ``norm="running"``: some words with their pauses.
_PAST = 3.0


@estimator("gru")
class GRUMasks(Described):
    """Masks of the mixture magnitudes by a unidirectional GRU, one frame after another.

    Magnitudes are gathered into mel-spaced bands, compressed with a logarithm and normalised;
    nothing depends on later frames, on other items or on their number. Each channel is treated
    alone.

    Parameters
    ----------
    n_sources : int
        Number of sources J.
    stft : STFT
        Transform of the spectrograms.
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
    norm : {"running", "frame"}, default "running"
        Normalise frames by the level of the last three seconds, or each by its own. The level of
        a recording has no effect in either case; with ``"frame"`` the network cannot hear that
        parts of it are louder than others.
    gain : bool, default False
        Also give a gain of each bin between 0 and 2, at first 1, for what the layers leave: a
        second magnitude, which may be as small as the phases are wrong.

    Raises
    ------
    ValueError
        If a size is not a positive integer, or the mask or the norm is unknown.
    """

    def __init__(
        self,
        n_sources: int,
        *,
        stft: STFT,
        sample_rate: float,
        n_bands: int = 48,
        hidden: int = 128,
        n_layers: int = 2,
        mask: str = "sigmoid",
        norm: Literal["running", "frame"] = "running",
        gain: bool = False,
    ) -> None:
        super().__init__()
        self.n_sources = as_int("n_sources", n_sources, 1, 1000)
        if not sample_rate > 0:
            raise ValueError(f"sample_rate={sample_rate!r} must be positive, in Hz")
        if norm not in ("running", "frame"):
            raise ValueError(f"norm={norm!r} must be running or frame")
        self.stft = stft
        self.sample_rate = sample_rate
        self.mask = get_mask(mask)
        n_bands = as_int("n_bands", n_bands, 2)
        hidden, n_layers = as_int("hidden", hidden, 1), as_int("n_layers", n_layers, 1, 100)
        self.bands: Tensor
        bands = torch.from_numpy(mel_bands(n_bands, stft.n_fft, sample_rate))
        self.register_buffer("bands", bands.to(torch.get_default_dtype()), persistent=False)
        past = max(round(_PAST * sample_rate / stft.hop_length), 1)
        self.norm = RunningNorm(n_bands, past) if norm == "running" else nn.LayerNorm(n_bands)
        self.inlet = nn.Linear(n_bands, hidden)
        self.gru = nn.GRU(hidden, hidden, n_layers, batch_first=True)
        self.outlet = nn.Linear(hidden, self.n_sources * stft.n_bins * self.mask.n_logits)
        self.gain: nn.Linear | None = None
        if gain:
            self.gain = nn.Linear(hidden, self.n_sources * stft.n_bins)
            nn.init.zeros_(self.gain.weight)
            nn.init.zeros_(self.gain.bias)

    def forward(self, mixture: Tensor, spectrogram: Tensor) -> Tensor | Estimate:
        """Estimate magnitudes.

        Parameters
        ----------
        mixture : Tensor, shape (batch, channel, time)
            Waveform of the mixture; not used.
        spectrogram : Tensor, shape (batch, channel, F, T)
            Its complex spectrogram.

        Returns
        -------
        Tensor, shape (batch, J, channel, F, T), or Estimate
            Magnitudes; with their gain where there is one.

        Raises
        ------
        ValueError
            If F is not that of the transform.
        """
        batch, channels, n_bins, n_frames = spectrogram.shape
        self.stft.check_bins("spectrogram", n_bins)
        magnitudes = spectrogram.abs()
        frames = magnitudes.flatten(0, 1).transpose(1, 2)
        features = (frames @ self.bands.to(frames).T + _FLOOR).log().to(self.inlet.weight.dtype)
        hidden, _ = self.gru(self.inlet(self.norm(features)).tanh())
        shape = (batch, channels, n_frames, self.n_sources, n_bins)
        masks = self.mask(self.outlet(hidden).reshape(*shape, self.mask.n_logits))
        masked = masks.permute(0, 3, 1, 4, 2).to(magnitudes) * magnitudes.unsqueeze(1)
        if self.gain is None:
            return masked
        gain = 2 * self.gain(hidden).sigmoid().reshape(shape)
        return Estimate(masked, gain=gain.permute(0, 3, 1, 4, 2).to(magnitudes))
