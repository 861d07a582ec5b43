"""Networks that correct the magnitudes of a layer."""

import math
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn

from phaserec._registry import Registry
from phaserec._xp import as_int
from unfolded.nn.bands import mel_bands
from unfolded.nn.modules import Described

CORRECTIONS: Registry[type[nn.Module]] = Registry("correction", "unfolded.corrections")

KindT = TypeVar("KindT", bound=type[nn.Module])


def correction(name: str) -> Callable[[KindT], KindT]:
    """Register a class of corrections ``correction(V, S, total) -> magnitudes``.

    Parameters
    ----------
    name : str
        Its name in configurations.

    Returns
    -------
    callable
        Decorator that returns the class itself.

    Raises
    ------
    ValueError
        If the name is taken by a class of another module.
    """

    def register(kind: KindT) -> KindT:
        CORRECTIONS.add(name, kind, kind)
        return kind

    return register


@correction("magnitude-refinement")
class MagnitudeRefinement(Described):
    """Bounded multiplicative correction of magnitudes, ``V · exp(b tanh(net))``, at first 1.

    The network, a GRU in both directions of time, sees the target magnitudes, those of the current
    estimate and those of the mixture, gathered into bands and relative to the mean of the mixture
    in each frame, so that it does not depend on the level; it corrects bands. Silence stays zero
    inside it, so the end of a shorter item in a batch is like the end of the signal.

    Parameters
    ----------
    n_sources : int
        Number of sources J.
    n_fft : int
        Transform length; F = n_fft // 2 + 1.
    sample_rate : float
        Sample rate in Hz.
    n_bands : int, default 64
        Number of bands, at most F; mel-spaced from 0 Hz to half the sample rate.
    hidden : int, default 128
        Units of the GRU in each direction.
    bound : float, default log 8
        Largest logarithm b of a correction.

    Raises
    ------
    ValueError
        If a size or the sample rate is not positive.
    """

    def __init__(
        self,
        n_sources: int,
        n_fft: int,
        sample_rate: float,
        *,
        n_bands: int = 64,
        hidden: int = 128,
        bound: float = math.log(8),
    ) -> None:
        super().__init__()
        self.n_sources = as_int("n_sources", n_sources, 1)
        n_fft, hidden = as_int("n_fft", n_fft, 1), as_int("hidden", hidden, 1)
        if not 0 < sample_rate < math.inf:
            raise ValueError(f"sample_rate={sample_rate!r} must be positive, in Hz")
        self.bound = bound
        n_bands = min(as_int("n_bands", n_bands, 2), n_fft // 2 + 1)
        bands = torch.from_numpy(mel_bands(n_bands, n_fft, sample_rate))
        bands = bands.to(torch.get_default_dtype())
        self.bands: Tensor
        self.spread: Tensor
        self.register_buffer("bands", bands, False)
        self.register_buffer("spread", (bands / bands.sum(0)).T.contiguous(), False)
        # Without biases zeros stay zeros.
        self.inlet = nn.Linear((2 * n_sources + 1) * n_bands, hidden, bias=False)
        self.gru = nn.GRU(hidden, hidden, bias=False, batch_first=True, bidirectional=True)
        self.outlet = nn.Linear(2 * hidden, n_sources * n_bands)
        nn.init.zeros_(self.outlet.weight)
        nn.init.zeros_(self.outlet.bias)

    def forward(self, V: Tensor, S: Tensor, total: Tensor) -> Tensor:
        """Correct magnitudes.

        Parameters
        ----------
        V : Tensor, shape (..., J, F, T)
            Target magnitudes.
        S : Tensor, shape (..., J, F, T)
            Current estimate, complex.
        total : Tensor, shape (..., F, T)
            Magnitudes of the mixture.

        Returns
        -------
        Tensor, shape (..., J, F, T)
            Corrected magnitudes, between ``V exp(−b)`` and ``V exp(b)``.
        """
        total = total.unsqueeze(-3).expand(*V.shape[:-3], 1, *V.shape[-2:])
        parts = torch.cat([V, S.abs(), total], -3).to(self.bands.dtype)
        level = parts[..., -1:, :, :].mean(-2, keepdim=True) + 1e-8
        features = (self.bands @ parts / level).log1p().flatten(-3, -2)
        features = features.reshape(-1, *features.shape[-2:]).transpose(1, 2)
        hidden, _ = self.gru(self.inlet(features).tanh())
        bands = self.outlet(hidden).transpose(1, 2)
        bands = bands.reshape(*V.shape[:-2], self.bands.shape[0], V.shape[-1])
        return V * (self.bound * (self.spread @ bands).tanh()).to(V.dtype).exp()
