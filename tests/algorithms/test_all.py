"""What holds for every registered algorithm; a new one is tested by being registered."""

import warnings

import numpy as np
import pytest

from phaserec import STFT, Problem, invert, iterate
from phaserec.algorithms import ALGORITHMS, NonNegative, configure, names, resolve

# Those of other packages, which entry points add, have tests of their own.
ALL = [name for name in names() if ALGORITHMS[name].step.__module__.startswith("phaserec.")]
DESCENDING = [name for name in ALL if ALGORITHMS[name].descends]
# Expected values given the mixture are not the sources.
KEEPING = [name for name in ALL if not ALGORITHMS[name].posterior]
# Done after one iteration: nothing moves that could gain momentum.
DONE_AT_ONCE = {"incons-hard-mix", "wiener", "anisotropic-wiener"}
ITERATIONS = 3


def last(algorithm, problem, n_iter=ITERATIONS, **kwargs):
    """Spectrogram after the last of ``n_iter`` iterations."""
    *_, S = iterate(algorithm, problem, n_iter, **kwargs)
    return S


def close(ours, expected, tol):
    """Equal to rounding, relative to the largest value."""
    ours, expected = np.asarray(ours), np.asarray(expected)
    np.testing.assert_allclose(ours, expected, atol=tol * max(np.abs(expected).max(), 1), rtol=0)


# -- shapes, libraries, batches -----------------------------------------------------------------


@pytest.mark.parametrize("batch", [(), (2,), (2, 1)])
@pytest.mark.parametrize("name", ALL)
def test_shape_and_dtype(name, batch, backend, make_problem):
    p = make_problem(backend, batch=batch)
    for S in iterate(name, p, ITERATIONS):
        assert type(S) is type(p.magnitudes)
        assert S.shape == p.magnitudes.shape
        assert str(S.dtype).endswith(backend.complex)
    x = invert(p.magnitudes, p.mixture, stft=p.stft, algorithm=name, n_iter=1)
    assert tuple(x.shape) == (*batch, 2, 61)
    assert str(x.dtype).endswith(backend.real)


@pytest.mark.parametrize("name", ALL)
def test_torch_equals_numpy(name, make_backend, make_problem):
    pytest.importorskip("torch")
    ours, theirs = (
        last(name, make_problem(make_backend(library, 64), batch=(2,), n_sources=3))
        for library in ("numpy", "torch")
    )
    close(theirs, ours, 1e-9)


@pytest.mark.parametrize("name", ALL)
def test_single_precision_is_near_double(name, make_backend, make_problem):
    ours, expected = (
        last(name, make_problem(make_backend("numpy", precision))) for precision in (32, 64)
    )
    close(ours, expected, 1e-3)


@pytest.mark.parametrize("name", ALL)
def test_batch_equals_items(name, backend, make_problem):
    p = make_problem(backend, batch=(2, 2))
    together = last(name, p)
    for index in np.ndindex(2, 2):
        item = Problem(p.magnitudes[index], p.mixture[index], stft=p.stft)
        close(together[index], last(name, item), 10 * backend.tol)


@pytest.mark.parametrize("name", ALL)
def test_ragged_batch_equals_items(name, backend, make_problem):
    # The magnitudes and the mixture go on beyond the shorter items: that must not matter.
    lengths = [61, 22, 47]
    p = make_problem(backend, batch=(3,), lengths=lengths)
    together, waveforms = last(name, p), p.waveforms(last(name, p))
    for item, length in enumerate(lengths):
        n_frames = p.stft.n_frames(length)
        V, x = p.magnitudes[item, ..., :n_frames], p.mixture[item, :length]
        alone = Problem(V, x, stft=p.stft)
        S = last(name, alone)
        close(together[item, ..., :n_frames], S, 10 * backend.tol)
        assert not np.any(np.asarray(together[item, ..., n_frames:]))
        close(waveforms[item, :, :length], alone.waveforms(S), 10 * backend.tol)
        assert not np.any(np.asarray(waveforms[item, :, length:]))


# -- descent ------------------------------------------------------------------------------------


def assert_descends(name, p, n_iter=12, seed=0, **hyper):
    """The objective never increases between iterations; up to rounding of the first value."""
    start = p.start("random", seed)
    states = iterate(name, p, n_iter, init=start, **hyper)
    values = np.array([configure(name, hyper).objective(S, p, start) for S in states])
    assert np.all(np.isfinite(values)) and np.all(values >= 0)
    assert np.all(np.diff(values, axis=0) <= 1e-10 * np.maximum(values[0], 1e-6))


@pytest.mark.parametrize("sigma", [0.0, 1e-3, 0.5, 10.0, 1e3])
@pytest.mark.parametrize("name", DESCENDING)
def test_objective_never_increases(name, sigma, numpy64, make_problem):
    hyper = {"sigma": sigma} if any(h.name == "sigma" for h in ALGORITHMS[name].hyper) else {}
    for seed, stft in enumerate([STFT(16, 4), STFT(15, 5), STFT(16, 3, 11), STFT(16, 8, None)]):
        p = make_problem(numpy64, batch=(2,), n_sources=1 + seed, seed=seed, stft=stft)
        assert_descends(name, p, seed=seed, **hyper)


def test_objective_never_increases_with_given_weights(numpy64, make_problem):
    share = np.random.default_rng(0).dirichlet(np.ones(3), (9, 16))
    p = make_problem(numpy64, n_sources=3, weights=np.moveaxis(share, -1, 0))
    for name in ("mix-incons", "mix-incons-hard-mag"):
        assert_descends(name, p, sigma=1.0)


SOFT = [(m, c, v) for m in ("off", "soft") for c in ("off", "soft") for v in ("off", "soft")]
ONE_HARD = [
    tuple("hard" if i == term else soft[i] for i in range(3))
    for term in range(3)
    for soft in SOFT
    if soft[term] == "off"
]
# Two hard terms descend where consistency and mixing commute.
COMBINATIONS = [*SOFT, *ONE_HARD, ("hard", "hard", "off"), ("hard", "hard", "soft")]


@pytest.mark.parametrize("terms", COMBINATIONS, ids="-".join)
@pytest.mark.parametrize(("sigma", "tau"), [(0.0, 1.0), (0.5, 0.1), (1e3, 1.0), (1.0, 1e3)])
def test_aux_descends(terms, sigma, tau, numpy64, make_problem):
    p = make_problem(numpy64, n_sources=3)
    chosen = dict(zip(("mixing", "consistency", "magnitude"), terms, strict=True))
    assert_descends("aux", p, sigma=sigma, tau=tau, **chosen)


# -- the oracle, silence and other special signals ----------------------------------------------


@pytest.mark.parametrize("momentum", [0, 0.9])
@pytest.mark.parametrize("name", KEEPING)
def test_the_oracle_is_a_fixed_point(name, momentum, make_sources, make_problem, backend):
    # Consistent, with the right magnitudes and the right sum: every projector keeps it.
    p = make_problem(backend, batch=(2,), oracle=True)
    truth = make_sources((2,))
    S = backend(p.stft(truth))
    for estimate in iterate(name, p, 2, init=S, momentum=momentum):
        close(estimate, S, 10 * backend.tol)
    close(p.waveforms(estimate), truth, 10 * backend.tol)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("init", ["mixture", "random", "zero"])
def test_silence_stays_silence(name, init, backend):
    stft = STFT(16, 4)
    p = Problem(backend(np.zeros((2, 2, 9, 16))), backend(np.zeros((2, 61))), stft=stft)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for S in iterate(name, p, ITERATIONS, init=init, rng=0):
            assert not np.any(np.asarray(S))
        assert not np.any(np.asarray(p.waveforms(S)))


@pytest.mark.parametrize("name", ALL)
def test_one_silent_source(name, backend, make_problem):
    p = make_problem(backend, n_sources=3)
    V = np.asarray(p.magnitudes).copy()
    V[1] = 0
    p = Problem(backend(V), p.mixture, stft=p.stft)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for S in iterate(name, p, ITERATIONS):
            assert np.all(np.isfinite(np.asarray(S)))


SINGLE = ["griffin-lim", "fast-griffin-lim", "accelerated-griffin-lim", "admm", "raar"]
HARD_MAGNITUDES = ["misi-mix-first", "mix-incons-hard-mag", "aux"]


@pytest.mark.parametrize("name", [*SINGLE, "difference-map", "hybrid", *HARD_MAGNITUDES])
def test_a_silent_source_stays_silent(name, numpy64, make_problem):
    # Where sources are independent, or magnitudes the last word.
    p = make_problem(numpy64, n_sources=3)
    V = p.magnitudes.copy()
    V[1] = 0
    assert not np.any(last(name, Problem(V, p.mixture, stft=p.stft))[1])


@pytest.mark.parametrize("length", [1, 2])
@pytest.mark.parametrize("name", ALL)
def test_shortest_signals(name, length, backend, make_problem):
    p = make_problem(backend, length=length)
    S = last(name, p)
    assert np.all(np.isfinite(np.asarray(S)))
    assert tuple(p.waveforms(S).shape) == (2, length)


# -- gradients ----------------------------------------------------------------------------------

SILENT_FROM = 20  # samples; the mixture of 40 is silent after, and so are the magnitudes


def half_silent(torch, name):
    """A function of all inputs whose derivative exists, and these inputs.

    The second half of the mixture is silent, and so are the magnitudes there; one source is
    silent everywhere. Only magnitudes away from zero and sounding samples are varied.
    """
    stft, rng = STFT(8, 2), np.random.default_rng(0)
    n_frames = stft.n_frames(40)
    sounding = np.zeros((3, stft.n_bins, n_frames), bool)
    sounding[:2, :, : stft.n_frames(SILENT_FROM)] = True
    values = torch.from_numpy(rng.uniform(0.5, 2.0, sounding.sum())).requires_grad_()
    samples = torch.from_numpy(rng.standard_normal(SILENT_FROM)).requires_grad_()
    where = torch.from_numpy(sounding)

    def solve(values, samples):
        V = torch.zeros(sounding.shape, dtype=torch.float64).masked_scatter(where, values)
        x = torch.cat([samples, torch.zeros(40 - SILENT_FROM, dtype=torch.float64)])
        # Gradients take the phases of a model for constants; those of the mixture they know.
        return torch.view_as_real(last(name, Problem(V, x, stft=stft), 2, init="mixture"))

    return solve, (values, samples)


@pytest.mark.parametrize("name", ALL)
def test_gradients_are_right(name):
    torch = pytest.importorskip("torch")
    solve, inputs = half_silent(torch, name)
    assert torch.autograd.gradcheck(solve, inputs, eps=1e-7, atol=1e-5)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("init", ["mixture", "zero"])
def test_gradients_of_silence_are_finite(name, init):
    torch = pytest.importorskip("torch")
    V = torch.zeros(2, 9, 16, requires_grad=True)
    x = torch.zeros(61, requires_grad=True)
    S = last(name, Problem(V, x, stft=STFT(16, 4)), init=init)
    (torch.view_as_real(S) ** 2 + torch.view_as_real(S)).sum().backward()
    for gradient in (V.grad, x.grad):
        assert gradient is None or torch.isfinite(gradient).all()


@pytest.mark.parametrize("name", ALL)
def test_gradients_of_half_silence_are_finite(name):
    torch = pytest.importorskip("torch")
    stft = STFT(8, 2)
    V = torch.rand(3, 5, 21, generator=torch.manual_seed(0))
    V[2], V[..., 11:] = 0, 0
    x = torch.cat([torch.ones(20), torch.zeros(20)]).requires_grad_()
    S = last(name, Problem(V.requires_grad_(), x, stft=stft))
    (torch.view_as_real(S) ** 2).sum().backward()
    for gradient in (V.grad, x.grad):
        assert gradient is None or torch.isfinite(gradient).all()


# -- hyper-parameters ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
def test_momentum_accelerates_any_algorithm(name, backend, make_problem):
    p = make_problem(backend)
    # From phases of their own: some keep those of the mixture.
    S, plain = (last(name, p, momentum=m, init="random", rng=0) for m in (0.9, 0))
    assert np.all(np.isfinite(np.asarray(S)))
    assert np.allclose(S, plain, rtol=1e-2) == (name in DONE_AT_ONCE)


@pytest.mark.parametrize("name", [n for n in ALL if n != "fast-griffin-lim"])
def test_no_momentum_is_the_plain_algorithm(name, numpy64, make_problem):
    p = make_problem(numpy64)
    np.testing.assert_array_equal(last(name, p, momentum=0), last(name, p))


def test_a_momentum_of_its_own_goes_to_the_step_however_it_is_declared(numpy64, make_problem):
    # Range and default are those of the momentum that goes around an algorithm without one.
    def mine(S, p, momentum: NonNegative = 0.0):
        return p.mag(p.cons(S)) * (1 + momentum)

    p = make_problem(numpy64)
    S = p.start()
    np.testing.assert_array_equal(last(mine, p, 1, momentum=0.5), 1.5 * p.mag(p.cons(S)))
    assert configure(mine, {"momentum": 0.5}).entry.memory == 0


@pytest.mark.parametrize("name", ALL)
def test_unknown_hyper_parameter(name, numpy64, make_problem):
    with pytest.raises(ValueError, match=f"{name}.*'speed'"):
        iterate(name, make_problem(numpy64), 1, speed=3)


@pytest.mark.parametrize("name", [n for n in ALL if ALGORITHMS[n].hyper])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, "much", None, [1.0], 1j, True])
def test_hyper_parameters_are_checked(name, value, numpy64, make_problem):
    p = make_problem(numpy64)
    for hyper in ALGORITHMS[name].hyper:
        with pytest.raises(ValueError, match=f"{hyper.name}=.* must be"):
            iterate(name, p, 1, **{hyper.name: value})


@pytest.mark.parametrize("name", [n for n in ALL if "sigma" in {h.name for h in resolve(n).hyper}])
@pytest.mark.parametrize("kind", [float, np.float64, np.float32])
def test_sigma_is_not_negative(name, kind, numpy64, make_problem):
    with pytest.raises(ValueError, match=r"sigma=.*-0\.5.*≥ 0"):
        iterate(name, make_problem(numpy64), 1, sigma=kind(-0.5))


@pytest.mark.parametrize("momentum", [-0.1, np.nan, "fast"])
def test_momentum_is_checked(momentum, numpy64, make_problem):
    with pytest.raises(ValueError, match="momentum="):
        iterate("misi", make_problem(numpy64), 1, momentum=momentum)


@pytest.mark.parametrize(
    ("given", "meant"),
    [("grifin-lim", "griffin-lim"), ("mag_incons", "mag-incons-hard-mix"), ("misy", "misi")],
)
def test_an_unknown_algorithm_suggests_a_near_one(given, meant, numpy64, make_problem):
    with pytest.raises(ValueError, match=f"{given}.*did you mean.*{meant}"):
        iterate(given, make_problem(numpy64), 1)


def test_an_unknown_hyper_parameter_suggests_a_near_one(numpy64, make_problem):
    with pytest.raises(ValueError, match=r"sigm.*did you mean 'sigma'"):
        iterate("aux", make_problem(numpy64), 1, sigm=1.0)
    with pytest.raises(ValueError, match=r"it has: momentum\); did you mean 'momentum'"):
        iterate("misi", make_problem(numpy64), 1, momentun=0.5)


@pytest.mark.parametrize("name", ALL)
def test_names_are_written_with_dashes_or_underscores(name):
    assert resolve(name.replace("-", "_")) is resolve(name.upper()) is ALGORITHMS[name]


@pytest.mark.parametrize("name", ALL)
def test_every_algorithm_says_what_it_is_and_where_it_is_from(name):
    assert ALGORITHMS[name].summary.endswith((".", "suffices."))
    assert ALGORITHMS[name].cite
