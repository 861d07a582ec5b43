"""Model and loss as one module."""

import torch
from torch import Tensor, nn

from unfolded.estimators import oracle_magnitudes
from unfolded.losses import PIT, compared
from unfolded.separator import Separator


class Objective(nn.Module):
    """Model and loss as one module, which is what several processes share.

    Under mixed precision only the estimator is in lower precision: transforms, layers and losses
    are computed in float32. A model without an estimator is trained on the true magnitudes.

    Parameters
    ----------
    model : Separator
        The separator.
    loss : nn.Module
        ``loss(estimate, reference, mixture) -> (batch,)``; it gets what it compares.
    every_layer : float, default 0
        Weight of the mean loss of the layers before the last, in :meth:`forward`.
    """

    def __init__(self, model: Separator, loss: nn.Module, every_layer: float = 0.0) -> None:
        super().__init__()
        self.every_layer = every_layer
        self.model = model
        self.loss = loss
        self.on_spectrograms = takes_spectrograms(model, loss)

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
        V = self._magnitudes(sources)
        if self.every_layer:
            estimates = self.model.trajectory(mixture, V)
            if not self.on_spectrograms:
                estimates = [self.model.waveforms(S, mixture.shape[-1]) for S in estimates]
        else:
            solve = self.model.spectrogram if self.on_spectrograms else self.model
            estimates = [solve(mixture, V)]
        with torch.autocast(mixture.device.type, enabled=False):
            *before, value = (self.loss(estimate, sources, mixture) for estimate in estimates)
        if before:
            value = value + self.every_layer * torch.stack(before).mean(0)
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


def takes_spectrograms(model: Separator, loss: nn.Module) -> bool:
    """Whether a loss is given the spectrograms of a model, before the inverse transform.

    Parameters
    ----------
    model : Separator
        The separator.
    loss : nn.Module
        The loss.

    Returns
    -------
    bool
        True where the loss compares spectrograms, unless the model learns windows: its transform
        is then not that of the loss, which transforms the waveforms itself.
    """
    learned = model.inversion is not None and model.inversion.transform is not None
    return compared(loss) == "spectrograms" and not learned
