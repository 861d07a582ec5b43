"""Half precision is computed in single precision and given back as it came."""

import numpy as np
import pytest

import phaserec
from phaserec import STFT, Problem

STFT16 = STFT(16, 4)
X = np.random.default_rng(0).standard_normal((2, 61)).astype(np.float32)


def halves():
    yield "numpy16", lambda a: np.asarray(a, np.float16), lambda a: np.asarray(a, np.float32)
    torch = pytest.importorskip("torch", reason="torch is not installed")
    for name in ("float16", "bfloat16"):
        kind = getattr(torch, name)
        yield (
            name,
            lambda a, kind=kind: torch.as_tensor(np.asarray(a)).to(kind),
            lambda a: a.float(),
        )


@pytest.fixture(params=["numpy16", "float16", "bfloat16"])
def half(request):
    """Functions that make half precision, and single precision of the same numbers."""
    return next((to, up) for name, to, up in halves() if name == request.param)


def same(a, b):
    return bool((a == b).all())


def test_a_transform_is_that_of_single_precision(half):
    to, up = half
    x = to(X)
    S = STFT16(x)
    assert str(S.dtype).endswith("complex64")
    assert same(S, STFT16(up(x)))
    assert same(STFT16(x, lengths=[61, 40]), STFT16(up(x), lengths=[61, 40]))
    assert same(STFT16.frames(x, 2, 5), STFT16.frames(up(x), 2, 5))


def test_a_problem_holds_single_precision(half):
    to, up = half
    V, x = to(abs(STFT16(X))), to(X.sum(0))
    p = Problem(V, x, stft=STFT16)
    assert str(p.magnitudes.dtype).endswith("float32") and same(p.magnitudes, up(V))
    assert str(p.mixture.dtype).endswith("float32")


@pytest.mark.parametrize(
    "run",
    [
        lambda V, x: phaserec.invert(V, x, stft=STFT16, algorithm="misi", n_iter=3),
        lambda V, x: phaserec.misi(V, x, n_iter=3),
        lambda V, x: phaserec.griffinlim(V, n_iter=3, rng=0),
    ],
    ids=["invert", "misi", "griffinlim"],
)
def test_results_come_back_as_what_was_given(half, run):
    to, up = half
    V, x = to(abs(STFT16(X))), to(X.sum(0))
    y = run(V, x)
    assert y.dtype == V.dtype
    expected = run(up(V), up(x))
    assert str(expected.dtype).endswith("float32")
    assert same(y, to(expected))


def test_griffinlim_gives_the_dtype_that_is_asked_for(half):
    to, _ = half
    y = phaserec.griffinlim(to(abs(STFT16(X))), n_iter=1, rng=0, dtype="float64")
    assert str(y.dtype).endswith("float64")


def test_gradients_reach_half_precision():
    torch = pytest.importorskip("torch", reason="torch is not installed")
    V = torch.as_tensor(np.abs(STFT16(X))).to(torch.bfloat16).requires_grad_()
    y = phaserec.invert(V, torch.as_tensor(X.sum(0)), stft=STFT16, algorithm="misi", n_iter=2)
    assert y.dtype == torch.bfloat16
    y.float().square().sum().backward()
    assert V.grad.dtype == torch.bfloat16 and bool(torch.isfinite(V.grad).all())
    assert bool((V.grad != 0).any())
