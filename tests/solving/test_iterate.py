"""The loop is a generator, a step function is an algorithm, and combinators make algorithms."""

import functools
import inspect

import numpy as np
import pytest

import phaserec
from phaserec import Problem, iterate, momentum
from phaserec.algorithms import alternate, mag_incons_hard_mix, names, resolve
from phaserec.solving import prepare


@pytest.fixture
def p(make_problem, numpy64):
    return make_problem(numpy64)


@pytest.mark.parametrize("n_iter", [0, 1, 4, np.int64(2), 3.0])
def test_yields_one_spectrogram_an_iteration(n_iter, p):
    states = iterate("misi", p, n_iter)
    assert inspect.isgenerator(states)
    assert len(list(states)) == n_iter


def test_the_caller_may_stop_and_go_on(p):
    taken = []
    for S in iterate("misi", p, 10):
        taken.append(S)
        if len(taken) == 3:
            break
    *_, resumed = iterate("misi", p, 2, init=taken[-1])
    *_, through = iterate("misi", p, 5)
    np.testing.assert_allclose(resumed, through, atol=1e-12)


@pytest.mark.parametrize("name", names())
def test_what_was_yielded_stays_as_it_is(name, p):
    states, copies = [], []
    for S in iterate(name, p, 4):
        states.append(S)
        copies.append(S.copy())
    for S, copy in zip(states, copies, strict=True):
        np.testing.assert_array_equal(S, copy)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"algorithm": "fourier"}, "fourier"),
        ({"n_iter": -1}, "n_iter=-1"),
        ({"n_iter": 2.5}, "n_iter=2.5"),
        ({"n_iter": True}, "n_iter=True"),
        ({"n_iter": "many"}, "n_iter='many'"),
        ({"n_iter": float("nan")}, "n_iter=nan"),
        ({"n_iter": float("inf")}, "n_iter=inf"),
        ({"init": "noise"}, "init='noise'"),
        ({"rng": -1, "init": "random"}, "rng=-1"),
        ({"sigma": -1}, "sigma=-1"),
        ({"speed": 1}, "'speed'"),
    ],
)
def test_mistakes_are_found_before_the_first_iteration(arguments, message, p):
    with pytest.raises(ValueError, match=message):
        iterate(**({"algorithm": "aux", "problem": p, "n_iter": 1} | arguments))


def test_an_algorithm_that_mixes_needs_a_mixture(p):
    alone = Problem(p.magnitudes, stft=p.stft)
    with pytest.raises(ValueError, match="needs a mixture"):
        next(iterate("misi", alone, 1))


def test_no_iterations_give_the_start(p):
    np.testing.assert_array_equal(prepare("aux", p, 0).result(), p.waveforms(p.start()))
    for rng in (7, np.random.default_rng(7)):
        expected = p.waveforms(p.start("random", 7))
        np.testing.assert_allclose(prepare("aux", p, 0, init="random", rng=rng).result(), expected)


# -- step functions -------------------------------------------------------------------------------


def test_a_step_function_is_an_algorithm(p):
    def my_misi(S, p):
        return p.mix(p.mag(p.cons(S)))

    for step in (my_misi, lambda S, p: p.mix(p.mag(p.cons(S)))):
        for ours, named in zip(iterate(step, p, 3), iterate("misi", p, 3), strict=True):
            np.testing.assert_array_equal(ours, named)


def test_a_step_function_may_have_hyper_parameters(p):
    def relaxed(S, p, rho=0.5):
        return p.mix((1 - rho) * S + rho * p.mag(p.cons(S)))

    for ours, named in zip(iterate(relaxed, p, 3, rho=1), iterate("misi", p, 3), strict=True):
        np.testing.assert_allclose(ours, named, atol=1e-12)
    with pytest.raises(ValueError, match=r"relaxed.*'roh'.*did you mean 'rho'"):
        iterate(relaxed, p, 1, roh=1)
    with pytest.raises(ValueError, match="rho=nan"):
        iterate(relaxed, p, 1, rho=float("nan"))


def test_a_step_may_be_a_partial_function(p):
    step = functools.partial(mag_incons_hard_mix, sigma=0.3)
    named = iterate("mag-incons-hard-mix", p, 2, sigma=0.3)
    for ours, expected in zip(iterate(step, p, 2), named, strict=True):
        np.testing.assert_array_equal(ours, expected)


def test_a_step_may_be_an_object(p):
    class Scaled:
        def __init__(self, factor):
            self.factor = factor

        def __call__(self, S, p):
            return self.factor * p.mag(S)

    (S,) = iterate(Scaled(3), p, 1)
    np.testing.assert_allclose(abs(S), 3 * p.magnitudes)


def test_a_hyper_parameter_needs_a_default(p):
    with pytest.raises(ValueError, match="'rho'"):
        iterate(lambda S, p, rho: S, p, 1)


# -- the registry ---------------------------------------------------------------------------------


def test_registration(p, registry):
    @phaserec.algorithm(cite="Nobody 2026")
    def my_own_step(S, p, strength=2.0):
        """Do nothing of note."""
        return p.mag(S)

    assert "my-own-step" in names()
    entry = resolve("my_own_step")
    assert entry is resolve("my-own-step") is resolve(my_own_step)
    assert entry.cite == "Nobody 2026" and entry.summary == "Do nothing of note."
    assert [(h.name, h.default) for h in entry.hyper] == [("strength", 2.0)]
    (S,) = iterate("my-own-step", p, 1, strength=1.0)
    np.testing.assert_array_equal(S, p.mag(p.start()))
    assert my_own_step(S, p) is not S  # the decorator returns the function itself


def test_a_name_is_given_once(registry):
    def misi(S, p):
        return S

    with pytest.raises(ValueError, match="'misi' exists already"):
        phaserec.algorithm(misi)


def test_running_a_definition_twice_is_allowed(registry):
    # As when a notebook cell is run again.
    for factor in (1, 2):

        @phaserec.algorithm
        def run_again(S, p, factor=factor):
            return factor * S

    assert resolve("run-again").hyper[0].default == 2


def test_the_registry_keeps_its_order():
    assert names()[0] == "griffin-lim"
    assert len(names()) == len(set(names()))


# -- combinators ----------------------------------------------------------------------------------


def by_hand(F, c, n_iter, alpha):
    """Momentum, written out: c = t + α (t − t_previous)."""
    previous = None
    for _ in range(n_iter):
        t = F(c)
        c = t if previous is None else t + alpha * (t - previous)
        previous = t
        yield c


def test_momentum_accelerates_a_step_function(p):
    def step(S, p):
        return p.mag(p.mix(p.cons(S)))

    ours = iterate(momentum(step, alpha=0.7), p, 5)
    expected = by_hand(lambda S: step(S, p), p.start(), 5, 0.7)
    for S, by_hand_S in zip(ours, expected, strict=True):
        np.testing.assert_allclose(S, by_hand_S, atol=1e-12)


def test_momentum_on_an_algorithm_with_memory(p):
    # The state of the inner algorithm moves as one vector: here (c, n) of a schedule.
    hyper = {"n_explore": 2, "n_refine": 1}
    accelerated = iterate("hybrid", p, 6, momentum=0.5, **hyper)
    turn = iter(range(6))

    def step(S):
        name = "raar" if next(turn) % 3 < 2 else "griffin-lim"
        return next(iterate(name, p, 1, init=S))

    for S, expected in zip(accelerated, by_hand(step, p.start(), 6, 0.5), strict=True):
        np.testing.assert_allclose(S, expected, atol=1e-12)


def test_momentum_of_momentum(p):
    nested = iterate(momentum(momentum("misi", 0.3), 0.5), p, 5)
    state, previous = None, None
    for S in nested:
        # The inner state (c, t) as one array, the outer momentum on all of it.
        F = p.mix(p.mag(p.cons(p.start() if state is None else state[0])))
        inner_previous = F if state is None else state[1]
        t = np.stack([F + 0.3 * (F - inner_previous), F])
        state = t if previous is None else t + 0.5 * (t - previous)
        previous = t
        np.testing.assert_allclose(S, state[0], atol=1e-12)


def test_momentum_zero_of_an_algorithm_with_memory_changes_nothing(p):
    for name in ("fast-griffin-lim", "accelerated-griffin-lim", "hybrid"):
        pairs = zip(iterate(momentum(name, 0.0), p, 4), iterate(name, p, 4), strict=True)
        for ours, expected in pairs:
            np.testing.assert_allclose(ours, expected, atol=1e-12)


def test_momentum_passes_hyper_parameters_on(p):
    ours = iterate(momentum("mix-incons", 0.5), p, 3, sigma=2.0)
    expected = iterate("mix-incons", p, 3, sigma=2.0, momentum=0.5)
    for S, named in zip(ours, expected, strict=True):
        np.testing.assert_array_equal(S, named)


def test_alternate_takes_turns(p):
    schedule = alternate(("griffin-lim", 2), (lambda S, p: p.mix(S), 1))
    S = p.start()
    for i, ours in enumerate(iterate(schedule, p, 7)):
        S = p.mix(S) if i % 3 == 2 else p.cons(p.mag(S))
        np.testing.assert_array_equal(ours, S)


def test_alternate_refuses_memory():
    with pytest.raises(ValueError, match="fast-griffin-lim has memory"):
        alternate(("misi", 1), ("fast-griffin-lim", 1))


def test_alternate_needs_turns():
    for turns in ((), (("misi", 0),), (("misi", -2),)):
        with pytest.raises(ValueError, match=r"turn|count|number"):
            alternate(*turns)


def test_combinators_keep_their_name():
    assert momentum("misi").__name__ == "momentum_misi"
    assert alternate(("raar", 1), ("griffin-lim", 2)).__name__ == "alternate_raar_griffin_lim"


def test_a_hyper_parameter_may_be_trained(p):
    torch = pytest.importorskip("torch")
    sigma = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    alpha = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    tensors = Problem(torch.from_numpy(p.magnitudes), torch.from_numpy(p.mixture), stft=p.stft)
    *_, S = iterate("aux", tensors, 3, sigma=sigma, momentum=alpha)
    *_, plain = iterate("aux", p, 3, sigma=0.5, momentum=0.5)
    np.testing.assert_allclose(S.detach(), plain, atol=1e-10)
    torch.view_as_real(S).sum().backward()
    assert sigma.grad != 0 and alpha.grad != 0
