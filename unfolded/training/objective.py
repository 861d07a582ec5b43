"""Model and loss as one module."""

from typing import Any

import torch
from torch import Tensor, nn

from unfolded.estimators import ExternalMagnitudes, oracle_magnitudes
from unfolded.losses.permutation import PIT
from unfolded.losses.registry import LOSSES, get_loss
from unfolded.separator import UnfoldedSeparator
from unfolded.training.config import LossConfig


class Objective(nn.Module):
    """Model and loss as one module, which is what several processes share.

    Under mixed precision only the magnitude network is in lower precision: transforms, layers
    and losses are computed in float32.

    Parameters
    ----------
    model : UnfoldedSeparator
        The separator.
    loss : callable
        ``loss(estimate, reference, mixture) -> (batch,)``.
    on_spectrograms : bool
        Whether the loss takes complex spectrograms, before the inverse transform; not for a model
        that learns windows, whose transform is not that of the loss.
    """

    def __init__(self, model: UnfoldedSeparator, loss: Any, on_spectrograms: bool) -> None:
        super().__init__()
        self.model = model
        self.loss = loss
        self.on_spectrograms = on_spectrograms

    def forward(self, mixture: Tensor, sources: Tensor) -> Tensor:
        """Loss of each item.

        Parameters
        ----------
        mixture : Tensor, shape (batch, channel, time)
            Mixtures.
        sources : Tensor, shape (batch, J, channel, time)
            True sources.

        Returns
        -------
        Tensor, shape (batch,)
            Losses.
        """
        V = self._magnitudes(mixture, sources)
        with torch.autocast(mixture.device.type, enabled=False):
            solve = self.model.spectrogram if self.on_spectrograms else self.model
            value: Tensor = self.loss(solve(mixture, V), sources, mixture)
        return value

    def evaluate(self, mixture: Tensor, sources: Tensor) -> tuple[Tensor, Tensor]:
        """Loss of each item, and the waveforms in the order of the sources.

        Parameters
        ----------
        mixture, sources
            As for :meth:`forward`.

        Returns
        -------
        losses : Tensor, shape (batch,)
            Losses.
        waveforms : Tensor, shape (batch, J, channel, time)
            Estimates.
        """
        V = self._magnitudes(mixture, sources)
        with torch.autocast(mixture.device.type, enabled=False):
            if self.on_spectrograms:
                estimate = self.model.spectrogram(mixture, V)
                waveforms = self.model.stft.inverse(estimate, length=mixture.shape[-1])
            else:
                waveforms = estimate = self.model(mixture, V)
            if not isinstance(self.loss, PIT):
                return self.loss(estimate, sources, mixture), waveforms
            losses, order = self.loss.best(estimate, sources, mixture)
        index = order[..., None, None].expand(-1, -1, *waveforms.shape[2:])
        return losses, waveforms.gather(1, index)

    def _magnitudes(self, mixture: Tensor, sources: Tensor) -> Tensor:
        network = self.model.magnitude_network
        with torch.autocast(mixture.device.type, enabled=False):
            if isinstance(network, ExternalMagnitudes):
                return oracle_magnitudes(sources, self.model.stft)
            X = self.model.stft(mixture)
        magnitudes: Tensor = network(mixture, X)
        return magnitudes.to(mixture.dtype)


def takes_spectrograms(config: LossConfig) -> bool:
    """Whether every term of a loss is one that tells a spectrogram from its waveform.

    Parameters
    ----------
    config : LossConfig
        The loss.

    Returns
    -------
    bool
        True where estimates are given to it before the inverse transform.
    """
    entries = [LOSSES[get_loss(name).name] for name in config.terms]
    return all("stft" in entry.hyper and entry.name != "wav-mag" for entry in entries)
