"""The running norm against its definition, frame by frame."""

import numpy as np
import pytest
import torch

from unfolded.nn.running_norm import RunningNorm


def literal(x, n_frames, eps):
    """Frames ``(T, features)``, each by the values of the last ``n_frames``."""
    out = np.empty_like(x)
    for t in range(len(x)):
        past = x[max(t + 1 - n_frames, 0) : t + 1]
        out[t] = (x[t] - past.mean()) / np.sqrt(past.var() + eps)
    return out


@pytest.mark.parametrize("n_frames", [1, 4, 50])
def test_it_is_the_norm_of_the_last_frames(n_frames):
    norm = RunningNorm(3, n_frames).double()
    x = 5 * torch.randn(2, 11, 3, dtype=torch.float64) - 7
    for item, found in zip(x.numpy(), norm(x).detach().numpy(), strict=True):
        np.testing.assert_allclose(found, literal(item, n_frames, 1e-3), atol=1e-9)


def test_chunks_with_their_past_equal_the_whole():
    norm = RunningNorm(3, 4)
    x = torch.randn(1, 20, 3)
    torch.testing.assert_close(norm(x[:, 7:])[:, 3:], norm(x)[:, 10:])
    # What is far in the past has no effect, however loud it was.
    x[:, 0] = 1e6
    torch.testing.assert_close(norm(x)[:, 4:], norm(x[:, 1:])[:, 3:], rtol=0, atol=0)


def test_a_constant_has_a_finite_gradient():
    x = torch.full((1, 9, 3), -11.5, requires_grad=True)
    y = RunningNorm(3, 4)(x)
    assert bool((y.abs() < 1e-4).all())
    y.square().sum().backward()
    assert bool(x.grad.isfinite().all())


def test_half_precision_has_the_moments_of_single():
    x = torch.randn(1, 30, 3) - 11
    half = RunningNorm(3, 8).bfloat16()(x.bfloat16())
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), RunningNorm(3, 8)(x), rtol=0.02, atol=0.15)


@pytest.mark.parametrize("n_frames", [0, 10**7])
def test_pasts_that_are_not_possible(n_frames):
    with pytest.raises(ValueError, match=f"n_frames={n_frames} must be from 1"):
        RunningNorm(3, n_frames)
