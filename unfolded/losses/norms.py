"""What the formulas share."""

from torch import Tensor

# Added to energies and magnitudes before roots, logarithms and divisions, so that silence has
# finite gradients; far below any audible signal with samples in [−1, 1].
EPS = 1e-8


def absolute(error: Tensor) -> Tensor:
    return error.abs().sum(-1)


def energy_of(x: Tensor) -> Tensor:
    return x.square().sum(-1)


def need_waveform(name: str, estimate: Tensor) -> None:
    if estimate.is_complex():
        raise ValueError(f"loss {name} takes an estimate as a waveform, got a complex spectrogram")


def required(name: str, mixture: Tensor | None) -> Tensor:
    if mixture is None:
        raise ValueError(f"loss {name} needs a mixture")
    return mixture
