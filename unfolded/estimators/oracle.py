"""Magnitudes from outside: oracles, and the output of another program."""

from typing import Any

from torch import Tensor, nn

from phaserec import STFT
from phaserec._xp import as_int


def oracle_magnitudes(sources: Tensor, stft: STFT) -> Tensor:
    """Magnitudes of true sources.

    Parameters
    ----------
    sources : Tensor, shape (batch, J, channel, time)
        Waveforms.
    stft : STFT
        The transform.

    Returns
    -------
    Tensor, shape (batch, J, channel, F, T)
        Magnitudes.
    """
    return stft(sources).abs()


class ExternalMagnitudes(nn.Module):
    """Stands where a magnitude network stands, for magnitudes that are given at each call.

    Parameters
    ----------
    n_sources : int
        Number of sources J.
    """

    def __init__(self, n_sources: int) -> None:
        super().__init__()
        self.n_sources = as_int("n_sources", n_sources, 1, 1000)

    @property
    def config(self) -> dict[str, Any]:
        """Arguments that make this again."""
        return {"n_sources": self.n_sources}

    def forward(
        self, mixture: Tensor, spectrogram: Tensor, magnitudes: Tensor | None = None
    ) -> Tensor:
        """Check and pass on the magnitudes.

        Parameters
        ----------
        mixture : Tensor, shape (batch, channel, time)
            Waveform of the mixture.
        spectrogram : Tensor, shape (batch, channel, F, T)
            Its complex spectrogram.
        magnitudes : Tensor, shape (batch, J, channel, F, T)
            Magnitudes of the sources.

        Returns
        -------
        Tensor, shape (batch, J, channel, F, T)
            The same.

        Raises
        ------
        ValueError
            If they are missing or of another shape.
        """
        batch, *rest = spectrogram.shape
        wanted = (batch, self.n_sources, *rest)
        got = None if magnitudes is None else tuple(magnitudes.shape)
        if magnitudes is None or got != wanted:
            raise ValueError(
                f"magnitudes of shape {got} must be given with shape {wanted}, "
                "(batch, J, channel, F, T)"
            )
        return magnitudes
