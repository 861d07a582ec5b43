"""Arrays as hyper-parameters, steps that are none, and arrays that are not plain: right, or a
clear error."""

import warnings

import numpy as np
import pytest

import phaserec
from phaserec import STFT, Problem, invert, iterate

F, J = 9, 2


def last(algorithm, problem, **hyper):
    (*_, S) = iterate(algorithm, problem, 3, **hyper)
    return S


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (np.full((F, 1), np.nan), "finite"),
        (np.full((F, 1), np.inf), "finite"),
        (np.full((F, 1), -1.0), "≥ 0"),
        (np.ones((F, 1)) * 1j, "complex128"),
        (np.ones((F, 1), bool), "bool"),
        (np.full((F, 1), "x"), "<U1"),
        (np.ones((F, 0)), r"shape \(9, 0\)"),
        (np.ma.masked_less(np.ones((F, 1)), 2), " masked array"),
    ],
)
def test_arrays_are_checked_like_numbers(make_problem, numpy64, value, words):
    with pytest.raises(ValueError, match=f"sigma (is a|has dtype).*{words}"):
        iterate("mag-incons-hard-mix", make_problem(numpy64), 3, sigma=value)


@pytest.mark.parametrize("shape", [(7, 1), (5,), (3, 1, 1), (4, 2, 9, 1)])
def test_arrays_that_do_not_fit(make_problem, numpy64, shape):
    with pytest.raises(ValueError, match=r"sigma has shape .* does not broadcast .*\(F, 1\)"):
        last("mag-incons-hard-mix", make_problem(numpy64), sigma=np.ones(shape))


def test_whole_numbers_are_whole_in_arrays(make_problem, numpy64, registry):
    @phaserec.algorithm
    def stepped(S, p, turns: int = 1):
        return p.cons(S)

    with pytest.raises(ValueError, match="turns is a ndarray of float64"):
        iterate("stepped", make_problem(numpy64), 1, turns=np.ones((F, 1)))


@pytest.mark.parametrize("shape", [(), (1,), (F, 1), (J, 1, 1)])
def test_arrays_of_one_value_are_that_value(make_problem, backend, shape):
    p = make_problem(backend)
    expected = last("mag-incons-hard-mix", p, sigma=0.3)
    for sigma in (np.full(shape, 0.3), backend(np.full(shape, 0.3))):
        found = last("mag-incons-hard-mix", p, sigma=sigma)
        assert found.dtype == expected.dtype
        np.testing.assert_allclose(np.asarray(found), np.asarray(expected), atol=10 * backend.tol)


def test_single_precision_stays(make_problem, make_backend):
    p = make_problem(make_backend("numpy", 32))
    for momentum in (0.5, np.full((F, 1), 0.5)):
        S = last("misi", p, momentum=momentum)
        assert S.dtype == np.complex64


def test_whole_arrays_become_real(make_problem, numpy64):
    p = make_problem(numpy64)
    found = last("mag-incons-hard-mix", p, sigma=np.ones((F, 1), int))
    np.testing.assert_allclose(found, last("mag-incons-hard-mix", p, sigma=1.0))


def test_tensors_do_not_go_with_numpy(make_problem, numpy64):
    torch = pytest.importorskip("torch")
    with pytest.raises(ValueError, match="sigma is Tensor, magnitudes is ndarray"):
        last("mag-incons-hard-mix", make_problem(numpy64), sigma=torch.ones(F, 1))


def test_gradients_reach_tensors_of_any_precision(make_problem, make_backend):
    torch = pytest.importorskip("torch")
    p = make_problem(make_backend("torch", 32))
    sigma = torch.full((F, 1), 0.3, dtype=torch.float64, requires_grad=True)
    last("mag-incons-hard-mix", p, sigma=sigma).abs().sum().backward()
    assert sigma.grad.shape == (F, 1) and bool(sigma.grad.abs().sum() > 0)


def nothing(S, p):
    p.cons(S)


def narrower(S, p):
    return S[..., :-1]


def pair(S, p):
    return S, S


@pytest.mark.parametrize(
    ("step", "words"),
    [
        (nothing, "nothing gave None; it must return the next state S with"),
        (narrower, r"narrower gave a ndarray of shape \(2, 9, 15\)"),
        (pair, r"pair gave \(a ndarray of shape"),
        (lambda S, p: 5, "gave a int"),
    ],
)
def test_steps_that_give_no_spectrogram(make_problem, numpy64, step, words, monkeypatch):
    problem = make_problem(numpy64)
    with pytest.raises(ValueError, match=words):
        last(step, problem)
    monkeypatch.setenv("PHASEREC_MACHINE", "arrays")
    with pytest.raises(ValueError, match=words):
        invert(problem.magnitudes, problem.mixture, stft=problem.stft, algorithm=step)


def test_steps_that_forget_their_memory(make_problem, numpy64, registry):
    @phaserec.algorithm(memory=1)
    def forgets(state, p):
        return p.cons(state[0])

    with pytest.raises(ValueError, match=r"forgets gave a ndarray .* state \(S, \*memory\)"):
        last("forgets", make_problem(numpy64))


def test_errors_of_steps_are_theirs(make_problem, numpy64):
    def fails(S, p):
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        last(fails, make_problem(numpy64))


def test_masked_arrays_are_refused():
    stft = STFT(16)
    V = np.ma.masked_less(np.ones((2, 9, 5)), 0.5)
    with pytest.raises(ValueError, match=r"magnitudes is a masked array.*filled"):
        Problem(V, stft=stft)
    with pytest.raises(ValueError, match="mixture is a masked array"):
        Problem(V.filled(0), np.ma.ones(16), stft=stft)


def test_matrices_are_arrays(make_problem, numpy64):
    stft = STFT(16)
    V = abs(np.random.default_rng(0).standard_normal((9, 5)))
    expected = invert(V, stft=stft, algorithm="griffin-lim", rng=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PendingDeprecationWarning)
        found = invert(np.matrix(V), stft=stft, algorithm="griffin-lim", rng=0)
    np.testing.assert_allclose(found, expected)


def test_sparse_tensors_are_refused():
    torch = pytest.importorskip("torch")
    with pytest.raises(ValueError, match=r"magnitudes is a sparse tensor.*to_dense"):
        Problem(torch.ones(9, 5).to_sparse(), stft=STFT(16))
