"""What an estimator gives."""

from typing import NamedTuple

from torch import Tensor


class Estimate(NamedTuple):
    """Magnitudes of the sources and, if an estimator has one, where their phases start.

    Attributes
    ----------
    magnitudes : Tensor, shape (batch, J, channel, F, T)
        Magnitudes, non-negative.
    start : Tensor, shape (batch, J, channel, F, T), or None
        Complex spectrograms, of which the phase is taken; None for the phase of the mixture.
    """

    magnitudes: Tensor
    start: Tensor | None = None
