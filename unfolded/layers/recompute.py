"""Layers computed a second time in the backward pass, in place of keeping what they made."""

from collections.abc import Callable, Iterator
from itertools import repeat
from typing import Any

from torch import Tensor
from torch.utils.checkpoint import checkpoint as recompute


def recomputed(run: Callable[..., Any], state: Any, *rest: Any) -> Any:
    """``run(state, *rest)``, computed a second time in the backward pass."""

    # Tensors are arguments of their own: torch then stores them as it stores saved tensors, and
    # the function, which lives as long as the graph, must not hold them.
    tensors = _tensors(state)
    outline = _with_tensors(state, repeat(tensors[0].new_empty(0)))

    def on_tensors(*given: Tensor) -> Any:
        return run(_with_tensors(outline, iter(given)), *rest)

    return recompute(on_tensors, *tensors, use_reentrant=False)


def _tensors(state: Any) -> list[Tensor]:
    """Tensors in a state, in order."""
    if isinstance(state, tuple):
        return [tensor for part in state for tensor in _tensors(part)]
    return [state] if isinstance(state, Tensor) else []


def _with_tensors(state: Any, tensors: Iterator[Tensor]) -> Any:
    """The state with its tensors replaced in order."""
    if isinstance(state, tuple):
        return tuple(_with_tensors(part, tensors) for part in state)
    return next(tensors) if isinstance(state, Tensor) else state
