"""Networks that correct the spectrograms of a layer."""

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn

from phaserec import STFT
from phaserec._registry import Registry
from phaserec._xp import as_int, is_traced
from unfolded.nn.equivariant import EquivariantBlock, TwistedConv
from unfolded.nn.modules import Described

RESIDUALS: Registry[type[nn.Module]] = Registry("residual", "unfolded.residuals")

# Frames of all items at once: some hundred MiB for the networks that ship.
_STRETCH = 1000

KindT = TypeVar("KindT", bound=type[nn.Module])


def residual(name: str) -> Callable[[KindT], KindT]:
    """Register a class of residuals ``residual(S, mag, cons, error, V) -> spectrograms``.

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
        RESIDUALS.add(name, kind, kind)
        return kind

    return register


@residual("gated")
class GatedResidual(Described):
    """Gated convolutions over frequency and time; at first 0.

    A small network after that of deep Griffin-Lim (Masuyama, Yatabe, Koizumi, Oikawa & Harada,
    ICASSP 2019) with the symmetries of the problem built in: a rotation of all phases rotates what
    it gives, a gain scales it, delays and shifts in frequency move it, and each source is treated
    like any other. It sees spectrograms relative to the magnitudes around.

    Parameters
    ----------
    stft : STFT
        Transform of the spectrograms.
    n_complex, n_real : int, default 12 and 16
        Channels that carry phases and that do not.
    n_blocks : int, default 4
        Number of blocks.
    kernel : tuple of int, default (5, 3)
        Frequencies and frames of a convolution, odd.
    mixing : bool, default False
        Whether there is a mixture, whose error it then sees.

    Raises
    ------
    ValueError
        If a size is not positive.
    """

    def __init__(
        self,
        stft: STFT,
        n_complex: int = 12,
        n_real: int = 16,
        n_blocks: int = 4,
        *,
        kernel: tuple[int, int] = (5, 3),
        mixing: bool = False,
    ) -> None:
        super().__init__()
        self.stft = stft
        self.mixing = mixing
        n_complex, n_real = as_int("n_complex", n_complex, 1), as_int("n_real", n_real, 1)
        size = (as_int("kernel", kernel[0], 1), as_int("kernel", kernel[1], 1))
        n_in = 4 if mixing else 3
        self.inlet = TwistedConv(stft, n_in, n_complex)
        self.look = nn.Conv2d(n_in + 2, n_real, 3, padding=1)
        self.blocks = nn.ModuleList(
            EquivariantBlock(stft, n_complex, n_real, size, 1 + k % 2)
            for k in range(as_int("n_blocks", n_blocks, 1))
        )
        # Frames to each side that a frame depends on.
        self.reach = n_blocks * (size[1] // 2 + 1) + 1
        self.outlet = TwistedConv(stft, n_complex, 1)
        nn.init.zeros_(self.outlet.weight)

    def forward(
        self, S: Tensor, mag: Tensor, cons: Tensor, error: Tensor | None, V: Tensor
    ) -> Tensor:
        """What is to be subtracted.

        Parameters
        ----------
        S, mag, cons : Tensor, shape (..., J, F, T)
            Estimate before the iteration, P_mag of it, and P_cons of that, complex.
        error : Tensor, shape (..., F, T), or None
            Mixing error of ``cons``; None without a mixture.
        V : Tensor, shape (..., J, F, T)
            Target magnitudes.

        Returns
        -------
        Tensor, shape (..., J, F, T)
            Complex spectrograms.
        """
        shape = V.shape
        seen = [S, mag, cons]
        if self.mixing:
            error = torch.zeros_like(cons[..., 0, :, :]) if error is None else error
            seen.append(error.unsqueeze(-3).expand(shape))
        V = V.reshape(-1, 1, *shape[-2:]).to(self.outlet.weight.dtype)
        present = (V > 0).any(-2, keepdim=True).to(V.dtype)
        level = surroundings(V)
        z = torch.stack(seen, -3).reshape(-1, len(seen), *shape[-2:])
        z = torch.cat([z.real, z.imag], 1).to(V.dtype) / level
        real, imaginary = z.chunk(2, 1)
        sizes = real.square() + imaginary.square()
        loud = level.log()
        loud = loud - _mean(loud, present)
        g = present * torch.cat([sizes.add(1e-4).log(), V / level, loud], 1)
        real, imaginary = (level * self._filtered(z, g, present)).chunk(2, 1)
        # Back in the layer's precision, which may be more than the network's.
        out = torch.complex(real.to(S.real.dtype), imaginary.to(S.real.dtype))
        return out.reshape(shape)

    def _filtered(self, z: Tensor, g: Tensor, present: Tensor) -> Tensor:
        """What the convolutions make of it; a stretch at a time where nothing is learned."""
        n_frames = z.shape[-1]
        size = n_frames if torch.is_grad_enabled() or is_traced() else _STRETCH // len(z) + 1
        pieces = []
        for first in range(0, n_frames, size):
            begin, end = max(first - self.reach, 0), first + size + self.reach
            seen, g_seen, there = (each[..., begin:end] for each in (z, g, present))
            seen, g_seen = self.inlet(seen), there * self.look(g_seen)
            for block in self.blocks:
                seen, g_seen = block(seen, g_seen, there)
            pieces.append(self.outlet(seen)[..., first - begin : first - begin + size])
        return torch.cat(pieces, -1)


def surroundings(V: Tensor) -> Tensor:
    """Root mean square of the magnitudes around each bin, bounded below relative to all of them.

    Parameters
    ----------
    V : Tensor, shape (..., F, T)
        Magnitudes.

    Returns
    -------
    Tensor, shape (..., F, T)
        Of 5 frequencies and 5 frames, positive.
    """
    power = V.square().flatten(0, -3).unsqueeze(1)
    present = (power > 0).any(-2, keepdim=True).to(V.dtype).expand(power.shape)
    around, shares = (
        nn.functional.avg_pool2d(each, 5, 1, 2, count_include_pad=False)
        for each in (power, present)
    )
    mean = _mean(power, present[..., :1, :])
    tiny = torch.finfo(V.dtype).tiny
    return (around / shares.clamp(min=0.1) + 1e-5 * mean + tiny).sqrt().reshape(V.shape)


def _mean(x: Tensor, present: Tensor) -> Tensor:
    """Mean over the frames that are there, ``(batch, 1, 1, 1)``."""
    frames = present.sum((-2, -1), keepdim=True).clamp(min=1)
    return (x * present).sum((-2, -1), keepdim=True) / (frames * x.shape[-2])
