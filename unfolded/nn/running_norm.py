"""Normalisation by what was heard so far."""

import torch
from torch import Tensor, nn

# Frames that are averaged at most: beyond this no signal has any past that is left out.
_MOST_FRAMES = 1_000_000


class RunningNorm(nn.Module):
    """Normalises frames by mean and variance over all features of the frames up to their own.

    This is the cumulative layer norm of Conv-TasNet (Luo & Mesgarani, IEEE/ACM TASLP 2019) with a
    past of finite length, so that it follows slow changes of level and hears fast ones. Each item
    is normalised alone. A frame depends on the last ``n_frames`` frames, itself included, and on
    nothing else: a signal in chunks equals the whole where a chunk begins ``n_frames - 1`` frames
    early.

    Parameters
    ----------
    n_features : int
        Number of features, each of which is given a trained factor and offset afterwards.
    n_frames : int
        Number of frames that are averaged.
    eps : float, default 1e-3
        Added to the variance.

    Raises
    ------
    ValueError
        If ``n_frames`` is not from 1 to a million.
    """

    def __init__(self, n_features: int, n_frames: int, *, eps: float = 1e-3) -> None:
        super().__init__()
        if not 1 <= n_frames <= _MOST_FRAMES:
            raise ValueError(f"n_frames={n_frames} must be from 1 to {_MOST_FRAMES}")
        self.n_frames = n_frames
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(n_features))
        self.bias = nn.Parameter(torch.zeros(n_features))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise.

        Parameters
        ----------
        x : Tensor, shape (batch, T, features)
            Features.

        Returns
        -------
        Tensor, shape (batch, T, features)
            The same, normalised.
        """
        # Squares of a half precision would have no digits left after the mean is taken off.
        full = x if x.dtype in (torch.float32, torch.float64) else x.float()
        moments = torch.stack([full.mean(-1), full.square().mean(-1)], 1)
        # A sum over a window has no rounding errors that grow, as differences of running sums do.
        moments = nn.functional.pad(moments, (self.n_frames - 1, 0))
        sums = nn.functional.avg_pool1d(moments, self.n_frames, 1) * self.n_frames
        heard = torch.arange(1, x.shape[1] + 1, device=x.device).clamp(max=self.n_frames)
        mean, square = (sums / heard).unsqueeze(-1).unbind(1)
        variance = (square - mean.square()).clamp(min=0)
        normal = (full - mean) * (variance + self.eps).rsqrt()
        return normal.to(x.dtype) * self.weight + self.bias
