"""What an estimator gives."""

from typing import NamedTuple

from torch import Tensor


class Estimate(NamedTuple):
    """Magnitudes of the sources and, if an estimator has them, a start and a gain.

    A network that is trained on waveforms makes magnitudes small where its phases are wrong, which
    is what P_mag must not be given (Wang, Wichern & Le Roux, IEEE SPL 2021). With a gain it can
    say both: magnitudes as they are, and how much of each bin to put out.

    Attributes
    ----------
    magnitudes : Tensor, shape (batch, J, channel, F, T)
        Magnitudes, non-negative.
    start : Tensor, shape (batch, J, channel, F, T), or None
        Complex spectrograms, of which the phase is taken; None for the phase of the mixture.
    gain : Tensor, shape (batch, J, channel, F, T), or None
        Real factors of the spectrograms after the last layer; None for 1.
    """

    magnitudes: Tensor
    start: Tensor | None = None
    gain: Tensor | None = None
