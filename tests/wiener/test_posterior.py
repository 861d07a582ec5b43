"""What holds for the Wiener family: sums, limits, and the linear system that is solved."""

import numpy as np
import pytest

from phaserec import STFT, Problem, audio, iterate, measures
from phaserec.algorithms import ALGORITHMS, configure
from phaserec.wiener import estimated_concentration

FAMILY = [name for name in ALGORITHMS if ALGORITHMS[name].posterior]
KAPPAS = [0.0, 1e-3, 1.0, 50.0, 1e4, 1e8, "auto"]


def last(name, p, n_iter=3, init="random", **hyper):
    *_, S = iterate(name, p, n_iter, init=init, rng=0, **hyper)
    return S


def test_the_family_is_registered():
    assert FAMILY == [
        "wiener",
        "anisotropic-wiener",
        "consistent-wiener",
        "consistent-anisotropic-wiener",
    ]


@pytest.mark.parametrize("kappa", KAPPAS)
@pytest.mark.parametrize("name", FAMILY)
def test_sources_sum_to_the_mixture(name, kappa, backend, make_problem):
    p = make_problem(backend, n_sources=3)
    hyper = {"kappa": kappa} if "anisotropic" in name else {}
    if hyper or kappa == 0:
        S = last(name, p, **hyper)
        error = np.abs(np.asarray(p.X - S.sum(-3))).max()
        assert error <= 100 * backend.tol * np.abs(np.asarray(p.X)).max()


def test_no_concentration_is_the_isotropic_model(numpy64, make_problem):
    p = make_problem(numpy64)
    np.testing.assert_allclose(last("anisotropic-wiener", p, kappa=0.0), last("wiener", p))
    for delta in (0.1, 10.0):
        np.testing.assert_allclose(
            last("consistent-anisotropic-wiener", p, kappa=0.0, delta=delta),
            last("consistent-wiener", p, delta=delta),
            atol=1e-10,
        )


def test_no_weight_is_without_consistency(numpy64, make_problem):
    p = make_problem(numpy64)
    np.testing.assert_allclose(last("consistent-wiener", p, delta=0.0), last("wiener", p))
    np.testing.assert_allclose(
        last("consistent-anisotropic-wiener", p, kappa=5.0, delta=0.0),
        last("anisotropic-wiener", p, kappa=5.0),
    )


def test_great_weight_is_consistent(numpy64, make_problem):
    p = make_problem(numpy64)
    S = last("consistent-wiener", p, 400, delta=1e4)
    assert measures.inconsistency(S, p) < 1e-6 * measures.inconsistency(last("wiener", p), p)


@pytest.mark.parametrize("name", ["anisotropic-wiener", "consistent-anisotropic-wiener"])
def test_great_concentration_gives_the_phases_of_the_start(name, numpy64, make_problem):
    # Where the mixture allows it: it is the sum of what the model says.
    p = make_problem(numpy64, oracle=True)
    model = p.start("random", 0)
    allowed = Problem(p.magnitudes, model.sum(0), stft=p.stft, length=61)
    hyper = {"delta": 1.0} if "consistent" in name else {}
    for kappa, tol in [(1e5, 1e-3), (1e8, 1e-6)]:
        S = last(name, allowed, init=model, kappa=kappa, **hyper)
        np.testing.assert_allclose(S, model, atol=tol * np.abs(model).max())
    assert np.abs(last(name, allowed, init=model, kappa=1.0) - model).max() > 0.1


def test_a_source_alone_is_the_mixture(numpy64, make_problem):
    p = make_problem(numpy64, n_sources=1)
    for name in FAMILY:
        np.testing.assert_allclose(last(name, p)[0], p.X, atol=1e-12)


def dense(p, phases, kappa, delta):
    """Solution of the whole linear system, written as one matrix with multipliers."""
    V, X = p.magnitudes, p.X
    J, F, T = V.shape
    size = J * F * T
    weights = np.broadcast_to(p.stft.bin_weights, (F, T)).ravel()
    theta = 2 * np.pi * np.arange(512) / 512
    density = np.exp(kappa * (np.cos(theta) - 1))
    circle = np.stack([np.cos(theta), np.sin(theta)])
    mean = circle @ density / density.sum()
    spread = (circle * density) @ circle.T / density.sum() - np.outer(mean, mean)
    H, b = np.zeros((2 * size, 2 * size)), np.zeros(2 * size)
    for k, (v, u) in enumerate(zip(V.ravel(), phases.ravel(), strict=True)):
        turn = np.array([[u.real, -u.imag], [u.imag, u.real]])
        own = np.linalg.inv(2 * v**2 * turn @ spread @ turn.T) * weights[k % (F * T)]
        rows = [k, size + k]
        H[np.ix_(rows, rows)] += own
        b[rows] += own @ (v * turn @ mean)
    for column in range(2 * size):
        e = np.zeros(2 * size)
        e[column] = 1
        S = (e[:size] + 1j * e[size:]).reshape(V.shape)
        away = delta * p.stft.bin_weights * (S - p.cons(S))
        H[:, column] += np.concatenate([away.real.ravel(), away.imag.ravel()])
    C = np.kron(np.eye(2), np.tile(np.eye(F * T), J))
    n = len(C)
    system = np.block([[H, C.T], [C, np.zeros((n, n))]])
    x = np.linalg.solve(system, np.concatenate([b, X.real.ravel(), X.imag.ravel()]))
    return (x[:size] + 1j * x[size : 2 * size]).reshape(V.shape)


@pytest.mark.parametrize("kappa", [0.0, 4.0])
def test_conjugate_gradients_solve_the_linear_system(kappa, numpy64, make_problem):
    p = make_problem(numpy64, stft=STFT(8, 2), length=13)
    start = p.start("random", 0)
    expected = dense(p, start / np.abs(start), kappa, 0.7)
    S = last("consistent-anisotropic-wiener", p, 150, init=start, kappa=kappa, delta=0.7, level=1.0)
    np.testing.assert_allclose(S, expected, atol=1e-8)


@pytest.mark.parametrize("momentum", [0.0, 0.5])
def test_they_reach_it_with_momentum_too(momentum, numpy64, make_problem):
    p = make_problem(numpy64)
    ready = configure("consistent-wiener", {"delta": 1.0})
    start = p.start()
    plain, other = (last("consistent-wiener", p, 200, delta=1.0, momentum=m) for m in (0, momentum))
    best = ready.objective(plain, p, start)
    assert ready.objective(other, p, start) == pytest.approx(best, rel=1e-6)


def test_the_result_follows_the_loudness(numpy64, make_problem):
    p = make_problem(numpy64)
    loud = Problem(1000 * p.magnitudes, 1000 * p.mixture, stft=p.stft)
    np.testing.assert_allclose(
        last("consistent-wiener", loud, delta=10.0),
        1000 * last("consistent-wiener", p, delta=10.0),
        atol=1e-8,
    )


def test_each_channel_by_itself(numpy64, make_problem):
    p = make_problem(numpy64, batch=(2,))
    start = p.start("random", 0)
    together = last("consistent-anisotropic-wiener", p, init=start, kappa="auto")
    for c in range(2):
        alone = Problem(p.magnitudes[c], p.mixture[c], stft=p.stft)
        found = last("consistent-anisotropic-wiener", alone, init=start[c], kappa="auto")
        np.testing.assert_allclose(together[c], found, atol=1e-10)


def test_concentrations_are_found_from_the_mixture():
    # Two sources whose phases lean towards a model as they were told to.
    rng = np.random.default_rng(0)
    shape = (2, 129, 200)
    V = rng.rayleigh(size=shape)
    model = np.exp(2j * np.pi * rng.random(shape))
    errors = np.stack([rng.vonmises(0, kappa, shape[1:]) for kappa in (6.0, 0.8)])
    X = (V * model * np.exp(1j * errors)).sum(0)
    kappa = estimated_concentration(V, model, X)
    np.testing.assert_allclose(kappa.ravel(), [6.0, 0.8], rtol=0.1)
    V[1] = 0
    assert np.all(np.isfinite(estimated_concentration(V, model, X)))


@pytest.mark.parametrize("kappa", [1.0, "auto"])
@pytest.mark.parametrize("name", ["anisotropic-wiener", "consistent-anisotropic-wiener"])
def test_gradients(name, kappa):
    torch = pytest.importorskip("torch")
    stft, rng = STFT(8, 4), np.random.default_rng(0)
    x = torch.from_numpy(rng.standard_normal((2, 17)))
    V = (stft(x).abs() + 0.3).requires_grad_()
    start = V.detach() * torch.exp(2j * torch.pi * torch.from_numpy(rng.random(V.shape)))
    concentration = torch.tensor([[[2.0]], [[0.5]]], dtype=torch.float64, requires_grad=True)

    def solve(V, mixture, concentration):
        value = concentration if kappa != "auto" else kappa
        S = last(name, Problem(V, mixture, stft=stft), 2, init=start, kappa=value)
        return torch.view_as_real(S) + 0 * concentration.sum()

    inputs = (V, x.sum(0).requires_grad_(), concentration)
    assert torch.autograd.gradcheck(solve, inputs, eps=1e-7, atol=1e-5)


@pytest.mark.parametrize("value", [-1.0, 2e8, "high", np.nan])
def test_concentrations_are_checked(value, numpy64, make_problem):
    with pytest.raises(ValueError, match=r"kappa=.* must be 'auto' or a number ≥ 0 ≤ 1e\+08"):
        last("anisotropic-wiener", make_problem(numpy64), kappa=value)


def test_they_need_a_mixture(numpy64, make_problem):
    p = make_problem(numpy64)
    for name in FAMILY:
        with pytest.raises(ValueError, match="needs a mixture"):
            last(name, Problem(p.magnitudes, stft=p.stft))


def test_consistency_pays_on_speech_in_noise(data):
    """One pair of VoiceBank + DEMAND with its true powers; docs/wiener.rst has all of them."""
    clean, noisy = (
        audio.read(data / "voicebank_demand" / kind / "p232_003.flac").samples[0]
        for kind in ("clean", "noisy")
    )
    stft, sources = STFT(1024), np.stack([clean, noisy - clean])
    p = Problem(np.abs(stft(sources)), sources.sum(0), stft=stft)
    plain, anisotropic, consistent, both = (
        measures.si_sdr(sources, p.waveforms(last(name, p, n, init="sinusoidal"))).mean()
        for name, n in zip(FAMILY, (1, 1, 10, 10), strict=True)
    )
    assert consistent > plain + 0.5 and both > anisotropic + 0.5
