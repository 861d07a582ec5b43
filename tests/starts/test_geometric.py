"""Two sources and their mixture: triangles in every bin."""

import numpy as np
import pytest

from phaserec import STFT, Problem, measures


def pair(stft, seed=0):
    rng = np.random.default_rng(seed)
    time = np.arange(4000) / 8000
    first = np.sin(2 * np.pi * 700 * time + 5 * np.sin(2 * np.pi * 3 * time))
    return np.stack([first, 0.3 * rng.standard_normal(4000)])


def test_sums_and_magnitudes_are_right_where_there_is_a_triangle(make_problem, backend):
    p = make_problem(backend, batch=(2,))
    S, V = np.asarray(p.start("geometric")), np.asarray(p.magnitudes)
    np.testing.assert_allclose(np.abs(S), V, rtol=1e-3, atol=1e-4)
    X = np.asarray(p.X)
    short, long = abs(V[:, 0] - V[:, 1]), V.sum(1)
    inside = (short < np.abs(X)) & (np.abs(X) < long)
    np.testing.assert_allclose(S.sum(1)[inside], X[inside], atol=1e-3 * np.abs(X).max())
    assert inside.any() and not inside.all()
    # Elsewhere both lie on the line of the mixture, as near to it as can be.
    nearest = np.where(np.abs(X) >= long, long, short)
    np.testing.assert_allclose(np.abs(S.sum(1))[~inside], nearest[~inside], atol=1e-3)
    across = (S * np.conj(X)[:, None]).imag / np.abs(X)[:, None]
    assert np.abs(across[np.stack([~inside, ~inside], 1)]).max() < 2e-2


def test_signs_are_chosen_by_consistency():
    stft = STFT(256, 32)
    sources = pair(stft)
    p = Problem(np.abs(stft(sources)), sources.sum(0), stft=stft)
    found, mask = (
        measures.si_sdr(sources, p.waveforms(p.start(name))).mean()
        for name in ("geometric", "mixture")
    )
    assert found > mask + 5


def test_it_is_for_two_sources(make_problem, numpy64):
    with pytest.raises(ValueError, match=r"init='geometric' is for two sources.*J=3.*'mixture'"):
        make_problem(numpy64, n_sources=3).start("geometric")


def test_silence(numpy64, make_problem):
    p = make_problem(numpy64)
    assert not np.any(Problem(0 * p.magnitudes, 0 * p.mixture, stft=p.stft).start("geometric"))
    silent = Problem(p.magnitudes, 0 * p.mixture, stft=p.stft).start("geometric")
    assert np.all(np.isfinite(silent))


def test_gradients_are_finite():
    torch = pytest.importorskip("torch")
    stft = STFT(16, 4)
    V = torch.rand(2, 9, 16)
    V[:, :, 10:] = 0
    x = torch.randn(61).requires_grad_()
    S = Problem(V.requires_grad_(), x, stft=stft).start("geometric")
    (torch.view_as_real(S) ** 2).sum().backward()
    assert torch.isfinite(V.grad).all() and torch.isfinite(x.grad).all()
