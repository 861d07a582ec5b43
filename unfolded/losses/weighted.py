"""Weighted sums of losses."""

from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from unfolded.losses.registry import Compared, compared, get_loss, hyper_of


class Combined(nn.Module):
    """Weighted sum of losses.

    It compares spectrograms where all of its parts do; otherwise all of them are given waveforms.

    Parameters
    ----------
    parts : dict of str to nn.Module
        Losses by name.
    weights : dict of str to float
        Weight of each.

    Attributes
    ----------
    parts : nn.ModuleList
        The losses.
    weights : dict of str to float
        Their weights by name, in the same order.
    """

    def __init__(self, parts: Mapping[str, nn.Module], weights: Mapping[str, float]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts.values())
        self.weights = {name: float(weights[name]) for name in parts}

    @property
    def compares(self) -> Compared:
        """What an estimate is: ``"waveforms"`` or ``"spectrograms"``."""
        kinds = {compared(part) for part in self.parts}
        return "spectrograms" if kinds == {"spectrograms"} else "waveforms"

    def forward(self, estimate: Tensor, reference: Tensor, mixture: Tensor | None = None) -> Tensor:
        """Value per batch item, as :meth:`Loss.forward`."""
        values = [
            weight * part(estimate, reference, mixture)
            for part, weight in zip(self.parts, self.weights.values(), strict=True)
        ]
        return torch.stack(values).sum(0)

    @property
    def pairwise(self) -> Callable[..., Tensor]:
        """Values of all pairs, as :meth:`Loss.pairwise`; only there where every part has it."""
        if not all(hasattr(part, "pairwise") for part in self.parts):
            raise AttributeError("a part of this loss has no method pairwise")
        return self._pairwise

    def _pairwise(
        self, estimate: Tensor, reference: Tensor, mixture: Tensor | None = None
    ) -> Tensor:
        values = [
            weight * cast(Any, part).pairwise(estimate, reference, mixture)
            for part, weight in zip(self.parts, self.weights.values(), strict=True)
        ]
        return torch.stack(values).sum(0)


def combine(weights: Mapping[str, float], **hyper: Any) -> Combined:
    """Weighted sum of losses.

    Parameters
    ----------
    weights : dict of str to float
        Weight of each loss by name, as for :func:`get_loss`.
    **hyper
        Hyper-parameters, each given to the losses that have it.

    Returns
    -------
    Combined
        ``loss(estimate, reference, mixture) -> (batch,)``.

    Raises
    ------
    ValueError
        If there is no loss, an unknown one, or a hyper-parameter that none of them has.
    """
    if not weights:
        raise ValueError("weights={} must name at least one loss")
    takes = {name: hyper_of(name) for name in weights}
    for given in hyper:
        if not any(given in has for has in takes.values()):
            raise ValueError(f"none of the losses {', '.join(weights)} has {given!r}")
    parts = {
        name: get_loss(name, **{key: hyper[key] for key in hyper if key in takes[name]})
        for name in weights
    }
    return Combined(parts, weights)
