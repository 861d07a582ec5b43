"""A loss of one's own: distances of logarithmic mel bands."""

from torch import Tensor

from phaserec import STFT
from unfolded.losses import SpectralLoss, loss
from unfolded.nn.bands import mel_bands


@loss("log-mel")
class LogMel(SpectralLoss):
    """Mean absolute difference of the logarithms of mel bands.

    Parameters
    ----------
    stft : STFT, optional
        Transform of the estimates; default ``STFT()``.
    sample_rate : float, default 16000
        Sample rate in Hz.
    n_bands : int, default 40
        Number of bands.
    """

    def __init__(
        self, stft: STFT | None = None, sample_rate: float = 16000, n_bands: int = 40
    ) -> None:
        super().__init__(stft)
        self.bands = mel_bands(n_bands, self.stft.n_fft, sample_rate)  # (n_bands, F)

    def values(self, estimate: Tensor, reference: Tensor, mixture: Tensor | None) -> Tensor:
        """Values ``(...)`` of estimates ``(..., F, T)`` and references ``(..., time)``."""
        found, wanted = (
            (reference.new_tensor(self.bands) @ spectrogram.abs() + 1e-5).log()
            for spectrogram in (self.spectrum(estimate), self.stft(reference))
        )
        return (found - wanted).abs().mean((-2, -1))
