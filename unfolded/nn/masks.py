"""Activations that turn logits into masks of the mixture magnitudes, by name."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Mask:
    """A mask activation.

    Attributes
    ----------
    name : str
        Name.
    n_logits : int
        Logits a bin.
    high : float
        Largest value; the smallest is 0.
    function : callable
        Logits ``(..., n_logits)`` to masks ``(...)``.
    """

    name: str
    n_logits: int
    high: float
    function: Callable[[Tensor], Tensor]

    def __call__(self, logits: Tensor) -> Tensor:
        """Masks ``(...)`` of logits ``(..., n_logits)``."""
        return self.function(logits)


def _sigmoid(logits: Tensor) -> Tensor:
    return logits[..., 0].sigmoid()


def _relu(logits: Tensor) -> Tensor:
    return logits[..., 0].relu()


def _clipped(logits: Tensor) -> Tensor:
    return logits[..., 0].clamp(0, 2)


def _doubled_sigmoid(logits: Tensor) -> Tensor:
    return 2 * logits[..., 0].sigmoid()


def _convex_softmax(logits: Tensor) -> Tensor:
    shares = logits.softmax(-1)
    return shares[..., 1] + 2 * shares[..., 2]


# Masks above 1 are needed where sources cancel in the mixture; those up to 2, and the mean of
# {0, 1, 2} under a softmax, are from Wang, Le Roux, Wang & Hershey, Interspeech 2018.
MASKS: dict[str, Mask] = {
    mask.name: mask
    for mask in (
        Mask("sigmoid", 1, 1.0, _sigmoid),
        Mask("relu", 1, torch.inf, _relu),
        Mask("clipped", 1, 2.0, _clipped),
        Mask("doubled-sigmoid", 1, 2.0, _doubled_sigmoid),
        Mask("convex-softmax", 3, 2.0, _convex_softmax),
    )
}


def get_mask(name: str) -> Mask:
    """Find a mask activation by name.

    Parameters
    ----------
    name : {"sigmoid", "relu", "clipped", "doubled-sigmoid", "convex-softmax"}
        Name, with dashes or underscores.

    Returns
    -------
    Mask
        The activation.

    Raises
    ------
    ValueError
        If there is no such activation.
    """
    key = str(name).replace("_", "-").lower()
    if key not in MASKS:
        raise ValueError(f"mask={name!r} must be one of {', '.join(MASKS)}")
    return MASKS[key]
