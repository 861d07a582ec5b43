"""Trained hyper-parameters, inside their ranges."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from phaserec.algorithms import (
    Hyper,
    Range,
)


class TrainedValue(nn.Module):
    """A number that is trained inside its range, starting at exactly the value given.

    With a lower bound it is ``low + scale · |raw|``; the scale is the distance of the start from
    the bound (1 for a start on it), so a step of an optimiser is relative to the start. The slope
    at ``raw = 0`` is taken as 1, hence a start at the bound is trained like any other.
    """

    def __init__(self, start: float, allowed: Range, shape: tuple[int, ...], dtype: Any) -> None:
        super().__init__()
        self.low, self.high = allowed.low, allowed.high
        bounded = self.low > -math.inf
        distance = start - self.low if bounded else start
        scale = distance if bounded and distance > 0 else 1.0
        self.scale: Tensor
        self.register_buffer("scale", torch.tensor(scale, dtype=dtype))
        self.raw = nn.Parameter(torch.full(shape, distance / scale, dtype=dtype))

    def forward(self) -> Tensor:
        value: Tensor = self.raw
        if self.low > -math.inf:
            value = self.low + self.scale * torch.where(value >= 0, value, -value)
        return value.clamp(max=self.high) if self.high < math.inf else value


def is_trained(h: Hyper, value: Any) -> bool:
    return h.range is not None and h.kind is float and not isinstance(value, str)
