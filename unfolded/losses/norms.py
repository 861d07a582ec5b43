"""What the formulas share."""

from typing import Any

from torch import Tensor

# Added to energies and magnitudes before roots, logarithms and divisions, so that silence has
# finite gradients; far below any audible signal with samples in [−1, 1].
EPS = 1e-8


def absolute(error: Tensor) -> Tensor:
    return error.abs().sum(-1)


def energy_of(x: Tensor) -> Tensor:
    return x.square().sum(-1)


def as_bool(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{name}={value!r} must be true or false")
    return value
