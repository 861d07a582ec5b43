"""The three projectors are projectors: idempotent, orthogonal where they should be, exact."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phaserec import STFT
from phaserec._padding import MODES
from phaserec.projectors import consistency, magnitude, mixing, unit

TRANSFORMS = [
    STFT(16, 4),
    STFT(16, 5),
    STFT(15, 4),
    STFT(16, 4, 11),
    STFT(16, 4, center=False),
    STFT(16, 4, window="blackman", center=False),
    STFT(16, 4, window=("kaiser", 14.0)),
    *(STFT(n_fft, 5, pad_mode=mode) for mode in MODES[1:] for n_fft in (15, 16)),
    *(STFT(80, 20, 70, window="blackman", pad_mode=mode) for mode in MODES),
]
ids = [
    f"{s.n_fft}-{s.hop_length}-{s.win_length}-{s.window}-{s.padding if s.center else None}"
    for s in TRANSFORMS
]


def complex_noise(shape, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal(shape) + 1j * rng.standard_normal(shape)


def inner(stft, A, B):
    """Real inner product over the full two-sided spectrum."""
    return np.sum(stft.bin_weights * (A.conj() * B).real)


@pytest.mark.parametrize("stft", TRANSFORMS, ids=ids)
@pytest.mark.parametrize("lengths", [None, [47, 20]])
def test_consistency_is_idempotent(stft, lengths, backend):
    S = backend(complex_noise((2, 3, stft.n_bins, stft.n_frames(47))))
    once = consistency(S, stft, 47, lengths)
    assert once.dtype == S.dtype and once.shape == S.shape
    twice = consistency(once, stft, 47, lengths)
    np.testing.assert_allclose(twice, once, atol=backend.tol)


@pytest.mark.parametrize("stft", TRANSFORMS, ids=ids)
@pytest.mark.parametrize("lengths", [None, [47, 20]])
def test_consistency_is_self_adjoint(stft, lengths):
    shape = (2, stft.n_bins, stft.n_frames(47))
    A, B = complex_noise(shape, 0), complex_noise(shape, 1)
    GA, GB = (consistency(S, stft, 47, lengths) for S in (A, B))
    assert inner(stft, GA, B) == pytest.approx(inner(stft, A, GB), rel=1e-12)


@pytest.mark.parametrize("stft", TRANSFORMS, ids=ids)
@pytest.mark.parametrize("lengths", [None, [47, 20]])
def test_spectrograms_of_signals_are_consistent(stft, lengths, backend):
    x = backend(np.random.default_rng(0).standard_normal((2, 47)))
    S = stft(stft.restrict(x, lengths), lengths=lengths)
    scale = np.abs(np.asarray(S)).max()
    np.testing.assert_allclose(consistency(S, stft, 47, lengths), S, atol=backend.tol * scale)


def test_mixing_sums_to_the_mixture_and_is_idempotent(backend):
    S, X = backend(complex_noise((2, 3, 9, 5))), backend(complex_noise((2, 9, 5), 1))
    weights = np.random.default_rng(2).dirichlet(np.ones(3), (2, 9, 5))
    for w in (None, backend(np.moveaxis(weights, -1, 1))):
        once = mixing(S, X, w)
        assert once.dtype == S.dtype
        np.testing.assert_allclose(once.sum(-3), X, atol=backend.tol)
        np.testing.assert_allclose(mixing(once, X, w), once, atol=backend.tol)


def test_mixing_moves_orthogonally_to_the_sources_that_sum_to_the_mixture():
    S, X = complex_noise((3, 9, 5)), complex_noise((9, 5), 1)
    along = complex_noise((3, 9, 5), 2)
    along = along - along.mean(0)  # directions that do not change the sum
    moved = mixing(S, X) - S
    assert abs(np.sum((moved.conj() * along).real)) < 1e-12


def test_mixing_and_consistency_commute_for_a_consistent_mixture(make_problem, numpy64):
    # The reason why both orders of MISI solve one problem.
    p = make_problem(numpy64)
    S = complex_noise(p.magnitudes.shape)
    np.testing.assert_allclose(p.cons(p.mix(S)), p.mix(p.cons(S)), atol=1e-12)


def test_magnitudes_are_exact_at_zero_bins_too(backend):
    S = complex_noise((2, 9, 5))
    S[:, ::2] = 0
    V = np.random.default_rng(1).uniform(0, 2, S.shape)
    V[:, :, 0] = 0
    S, V = backend(S), backend(V)
    projected = magnitude(S, V)
    assert projected.dtype == S.dtype
    np.testing.assert_allclose(abs(projected), V, rtol=1e-6 if backend.precision == 32 else 1e-15)
    np.testing.assert_array_equal(projected[:, ::2], backend(np.asarray(V)[:, ::2] + 0j))
    np.testing.assert_allclose(magnitude(projected, V), projected, rtol=4 * backend.tol)


def test_the_phase_of_zero_is_one(backend):
    zeros = np.array([0, -0.0, complex(0.0, -0.0), complex(-0.0, -0.0)])
    np.testing.assert_array_equal(unit(backend(zeros)), np.ones(4))


@pytest.mark.parametrize("precision", [32, 64])
def test_gradient_at_zero_is_zero(precision, make_backend):
    torch = pytest.importorskip("torch")
    torch_backend = make_backend("torch", precision)
    S = torch_backend(np.zeros((3, 4), complex)).requires_grad_()
    V = torch_backend(np.ones((3, 4))).requires_grad_()
    out = magnitude(S, V)
    (out.real + 2 * out.imag).sum().backward()
    assert torch.equal(S.grad, torch.zeros_like(S))
    assert torch.equal(V.grad, torch.ones_like(V))


@pytest.mark.parametrize("precision", [32, 64])
def test_no_value_is_too_small_for_a_gradient(precision, make_backend):
    # From subnormal numbers upwards: a unit phase, and a gradient that is a number.
    torch = pytest.importorskip("torch")
    lowest = -44 if precision == 32 else -322
    sizes = np.exp(np.log(10) * np.linspace(lowest, 0, 200))
    S = make_backend("torch", precision)(sizes * np.exp(1j * np.arange(200))).requires_grad_()
    out = unit(S)
    (out.real + 2 * out.imag).sum().backward()
    np.testing.assert_allclose(abs(out.detach()), 1, rtol=1e-5)
    assert torch.isfinite(torch.view_as_real(S.grad)).all()


@st.composite
def arrays(draw):
    """A transform, a signal length, and spectrograms of a batch of sources."""
    n_fft = draw(st.integers(2, 20))
    hop = draw(st.integers(1, max(n_fft // 2, 1)))
    center = draw(st.booleans())
    window = draw(st.sampled_from(["hann", "hamming", "rect"]))
    mode = draw(st.sampled_from(MODES))
    stft = STFT(n_fft, hop, None, window, center, strict=False, pad_mode=mode)
    length = draw(st.integers(1 if center else n_fft, 50))
    batch = draw(st.lists(st.integers(1, 2), max_size=2))
    n_sources = draw(st.integers(1, 3))
    shape = (*batch, n_sources, stft.n_bins, stft.n_frames(length))
    return stft, length, complex_noise(shape, draw(st.integers(0, 99)))


@given(arrays())
def test_all_three_for_any_shape(drawn):
    stft, length, S = drawn
    G = consistency(S, stft, length)
    assert G.shape == S.shape
    np.testing.assert_allclose(consistency(G, stft, length), G, atol=1e-9)
    # Orthogonal: what is taken away is orthogonal to what is left.
    assert abs(inner(stft, S - G, G)) <= 1e-9 * inner(stft, S, S)
    X = complex_noise((*S.shape[:-3], *S.shape[-2:]), 1)
    np.testing.assert_allclose(mixing(S, X).sum(-3), X, atol=1e-12)
    V = abs(complex_noise(S.shape, 2))
    np.testing.assert_allclose(abs(magnitude(G, V)), V, rtol=1e-12)
