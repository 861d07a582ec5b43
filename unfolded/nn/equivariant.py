"""Networks on complex spectrograms with the symmetries that spectrograms have.

A rotation of all phases, a delay by a hop and a shift by a bin of what goes in does the same to
what comes out.
"""

import torch
from torch import Tensor, nn

from phaserec import STFT


class TwistedConv(nn.Module):
    """Convolution of spectrograms over frequency and time that is linear over complex numbers.

    A signal that is shifted by a bin turns by ``2π hop / n_fft`` more from one frame to the next,
    so an ordinary convolution over time does one thing to one frequency and another to the next.
    Here frame ``t + d`` is turned back by ``2π k hop d / n_fft`` before it is weighed, which is how
    the consistency projector weighs frames too: ``out(k, t) = Σ w(e, d) z(k + e, t + d) exp(−2πi (k
    + e) hop d / n_fft)``.

    Parameters
    ----------
    stft : STFT
        Transform of the spectrograms.
    n_in, n_out : int
        Complex channels.
    kernel : tuple of int, default (1, 1)
        Odd numbers of frequencies and frames.
    """

    def __init__(self, stft: STFT, n_in: int, n_out: int, kernel: tuple[int, int] = (1, 1)) -> None:
        super().__init__()
        self.reach = kernel[1] // 2
        self.padding = (kernel[0] // 2, 0)
        scale = (2 * n_in * kernel[0] * kernel[1]) ** -0.5
        self.weight = nn.Parameter(scale * torch.randn(2, n_out, kernel[1] * n_in, kernel[0], 1))
        frames = torch.arange(-self.reach, self.reach + 1)
        turns = torch.arange(stft.n_bins)[:, None] * stft.hop_length * frames % stft.n_fft
        angles = -2 * torch.pi / stft.n_fft * turns.to(torch.float64)
        self.cos: Tensor
        self.sin: Tensor
        self.register_buffer("cos", angles.cos().to(self.weight.dtype), False)
        self.register_buffer("sin", angles.sin().to(self.weight.dtype), False)

    def forward(self, z: Tensor) -> Tensor:
        """Convolve.

        Parameters
        ----------
        z : Tensor, shape (batch, 2 n_in, F, T)
            Real parts, then imaginary parts.

        Returns
        -------
        Tensor, shape (batch, 2 n_out, F, T)
            Likewise.
        """
        a, b = self.weight
        weight = torch.cat([torch.cat([a, -b], 1), torch.cat([b, a], 1)])
        if self.reach:
            z = self._neighbours(z)
        return nn.functional.conv2d(z, weight, padding=self.padding)

    def _neighbours(self, z: Tensor) -> Tensor:
        """Frames around each, turned to it, as channels."""
        n_frames = z.shape[-1]
        padded = nn.functional.pad(z, (self.reach, self.reach))
        real, imaginary = [], []
        for d in range(2 * self.reach + 1):
            a, b = padded[..., d : d + n_frames].chunk(2, 1)
            if d != self.reach:
                cos, sin = self.cos[:, d, None].to(z.dtype), self.sin[:, d, None].to(z.dtype)
                a, b = a * cos - b * sin, a * sin + b * cos
            real.append(a)
            imaginary.append(b)
        return torch.cat([*real, *imaginary], 1)


def turned(z: Tensor, by: Tensor) -> Tensor:
    """Complex product of two tensors of real and imaginary parts, ``(batch, 2 n, F, T)``."""
    (a, b), (c, d) = z.chunk(2, 1), by.chunk(2, 1)
    return torch.cat([a * c - b * d, a * d + b * c], 1)


def relations(z: Tensor, w: Tensor) -> Tensor:
    """``z w*`` with sizes below one, which no rotation of both changes, ``(batch, 2 n, F, T)``."""
    (a, b), (c, d) = z.chunk(2, 1), w.chunk(2, 1)
    real, imaginary = a * c + b * d, b * c - a * d
    size = (1 + real.square() + imaginary.square()).rsqrt()
    return torch.cat([real * size, imaginary * size], 1)


class EquivariantBlock(nn.Module):
    """A complex convolution whose output is turned and scaled by what a real one sees.

    Complex channels are only ever filtered linearly and multiplied by functions of what no
    rotation changes, which the real channels hold.

    Parameters
    ----------
    stft : STFT
        Transform of the spectrograms.
    n_complex, n_real : int
        Channels.
    kernel : tuple of int
        Frequencies and frames of the complex convolution.
    dilation : int
        Step in frequency of the real convolution, of 3 × 3.
    """

    def __init__(
        self, stft: STFT, n_complex: int, n_real: int, kernel: tuple[int, int], dilation: int
    ) -> None:
        super().__init__()
        self.filter = TwistedConv(stft, n_complex, n_complex, kernel)
        self.partner = TwistedConv(stft, n_complex, n_complex)
        self.look = nn.Conv2d(
            n_real + 2 * n_complex, n_real, 3, padding=(dilation, 1), dilation=(dilation, 1)
        )
        self.gate = nn.Conv2d(n_real, 2 * n_complex, 1)

    def forward(self, z: Tensor, g: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
        """Filter.

        Parameters
        ----------
        z : Tensor, shape (batch, 2 n_complex, F, T)
            Complex channels: real parts, then imaginary parts.
        g : Tensor, shape (batch, n_real, F, T)
            Real channels.
        present : Tensor, shape (batch, 1, 1, T)
            1 for frames, 0 for what fills up a shorter item, which stays zero.

        Returns
        -------
        z, g : Tensor
            As given.
        """
        u = present * self.filter(z)
        seen = torch.cat([g, relations(u, self.partner(u))], 1)
        g = g + present * nn.functional.silu(self.look(seen))
        return z + turned(u, self.gate(g).tanh()), g
