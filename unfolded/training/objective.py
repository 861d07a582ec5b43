"""Model and loss as one module."""

from typing import Any

import torch
from torch import Tensor, nn

from unfolded.estimators import oracle_magnitudes
from unfolded.losses.permutation import PIT
from unfolded.losses.registry import LOSSES, get_loss
from unfolded.separator import Separator
from unfolded.training.config import LossConfig


class Objective(nn.Module):
    """Model and loss as one module, which is what several processes share.

    Under mixed precision only the estimator is in lower precision: transforms, layers and losses
    are computed in float32. A model without an estimator is trained on the true magnitudes.

    Parameters
    ----------
    model : Separator
        The separator.
    loss : callable
        ``loss(estimate, reference, mixture) -> (batch,)``.
    on_spectrograms : bool
        Whether the loss takes complex spectrograms, before the inverse transform; not for a model
        that learns windows, whose transform is not that of the loss.
    """

    def __init__(self, model: Separator, loss: Any, on_spectrograms: bool) -> None:
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
        solve = self.model.spectrogram if self.on_spectrograms else self.model
        estimate = solve(mixture, self._magnitudes(sources))
        with torch.autocast(mixture.device.type, enabled=False):
            value: Tensor = self.loss(estimate, sources, mixture)
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
        V = self._magnitudes(sources)
        if self.on_spectrograms:
            estimate = self.model.spectrogram(mixture, V)
            waveforms = self.model.stft.inverse(estimate, length=mixture.shape[-1])
        else:
            waveforms = estimate = self.model(mixture, V)
        with torch.autocast(mixture.device.type, enabled=False):
            if not isinstance(self.loss, PIT):
                return self.loss(estimate, sources, mixture), waveforms
            losses, order = self.loss.best(estimate, sources, mixture)
        index = order[..., None, None].expand(-1, -1, *waveforms.shape[2:])
        return losses, waveforms.gather(1, index)

    def _magnitudes(self, sources: Tensor) -> Tensor | None:
        """True magnitudes where there is no estimator."""
        if self.model.estimator is None:
            return oracle_magnitudes(sources, self.model.stft)
        return None


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
