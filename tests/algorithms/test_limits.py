"""At the ends of their hyper-parameters algorithms become other, simpler algorithms."""

from dataclasses import replace

import numpy as np
import pytest

from phaserec import Problem, iterate, momentum
from phaserec.algorithms import misi, mix_incons, mix_incons_hard_mag, resolve
from phaserec.measures import inconsistency, mixing_error

HUGE = 1e12


@pytest.fixture
def p(make_problem, numpy64):
    return make_problem(numpy64, batch=(2,), n_sources=3)


def same(p, one, other, n_iter=4, atol=1e-10, init="random"):
    """Two algorithms, ``name`` or ``(name, hyper)``, give the same iterates."""
    runs = [
        iterate(name, p, n_iter, init=init, rng=0, **hyper)
        for name, hyper in (a if isinstance(a, tuple) else (a, {}) for a in (one, other))
    ]
    for ours, expected in zip(*runs, strict=True):
        np.testing.assert_allclose(ours, expected, rtol=0, atol=atol)


# -- the auxiliary-function family, sigma to 0 and to infinity ------------------------------------

LIMITS = {
    "mix-incons, 0": ("mix-incons", 0, lambda S, p: p.mix(S, p.mixing_weights)),
    "mix-incons, ∞": ("mix-incons", HUGE, lambda S, p: p.cons(S)),
    "mix-incons-hard-mag, 0": (
        "mix-incons-hard-mag",
        0,
        lambda S, p: p.mag(p.mix(S, p.mixing_weights)),
    ),
    "mix-incons-hard-mag, ∞": ("mix-incons-hard-mag", HUGE, lambda S, p: p.mag(p.cons(S))),
    "mag-incons-hard-mix, 0": ("mag-incons-hard-mix", 0, lambda S, p: p.mix(p.mag(S))),
    "mag-incons-hard-mix, ∞": ("mag-incons-hard-mix", HUGE, "incons-hard-mix"),
    "aux, 0": ("aux", 0, lambda S, p: p.mag(p.mix(S, p.mixing_weights))),
    "aux, ∞": ("aux", HUGE, lambda S, p: p.mag(p.cons(S))),
}


@pytest.mark.parametrize(("name", "sigma", "limit"), LIMITS.values(), ids=list(LIMITS))
def test_sigma(name, sigma, limit, p):
    # Shares of the mixture near zero need a larger sigma; 1e-6 leaves room for them.
    same(p, (name, {"sigma": sigma}), limit, atol=1e-10 if sigma == 0 else 1e-6)


def test_hard_magnitudes_at_large_sigma_are_griffin_lim_per_source(p):
    # mag·cons after n turns, seen through one more cons, is cons·mag from the same start.
    for aux_S, gla_S in zip(
        iterate("aux", p, 3, init="random", rng=0, sigma=HUGE),
        iterate("griffin-lim", p, 3, init=p.cons(p.start("random", 0))),
        strict=True,
    ):
        np.testing.assert_allclose(p.cons(aux_S), gla_S, atol=1e-6)


AUX = {
    "mix-incons": {"magnitude": "off"},
    "mix-incons-hard-mag": {},
    "mag-incons-hard-mix": {"mixing": "hard", "magnitude": "soft", "tau": 1.0},
    "incons-hard-mix": {"mixing": "hard", "magnitude": "off"},
    "misi": {"mixing": "hard", "consistency": "hard"},
}


@pytest.mark.parametrize(("name", "terms"), AUX.items(), ids=list(AUX))
def test_aux_holds_the_named_problems(name, terms, p):
    named = {"sigma": 0.7} if any(h.name == "sigma" for h in resolve(name).hyper) else {}
    same(p, ("aux", {"sigma": 0.7, **terms}), (name, named))


def test_aux_projects_onto_one_hard_term(p):
    off = {"mixing": "off", "consistency": "off", "magnitude": "off"}
    same(p, ("aux", off | {"consistency": "hard"}), lambda S, p: p.cons(S))
    same(p, ("aux", off | {"magnitude": "hard"}), lambda S, p: p.mag(S))
    same(p, ("aux", off | {"mixing": "hard"}), lambda S, p: p.mix(S))
    same(p, ("aux", off), lambda S, p: S)


def test_aux_at_its_command_line_default_is_mix_incons_hard_mag(p):
    same(p, ("aux", {"sigma": 0.5}), ("mix-incons-hard-mag", {"sigma": 0.5}), init="mixture")


def test_aux_soft_in_all_terms_loses_one_as_its_weight_vanishes(p):
    soft = {"magnitude": "soft", "sigma": 0.7}
    same(p, ("aux", soft | {"tau": 0}), ("mix-incons", {"sigma": 0.7}))
    same(p, ("aux", soft | {"sigma": 0, "tau": HUGE}), lambda S, p: p.mag(S), atol=1e-6)


def test_incons_hard_mix_is_done_after_one_iteration(p):
    first, second = iterate("incons-hard-mix", p, 2, init="random", rng=0)
    np.testing.assert_allclose(second, first, atol=1e-12)


# -- MISI and its relatives -----------------------------------------------------------------------


def test_the_two_orders_of_misi_interleave(p):
    # As mixing and consistency commute, one order is the other seen half an iteration later.
    first = p.start("random", 0)
    for last_S, first_S in zip(
        iterate("misi", p, 4, init=p.mix(first)),
        iterate("misi-mix-first", p, 4, init=first),
        strict=True,
    ):
        np.testing.assert_allclose(last_S, p.mix(first_S), atol=1e-10)


def test_euclidean_bregmisi_is_misi(p):
    # d = 1, mu = 1: the gradient step is the magnitude projection. A small unit hides epsilon.
    for side in ("right", "left"):
        hyper = {"beta": 2.0, "d": 1.0, "mu": 1.0, "side": side, "level": 1e-4}
        same(p, ("bregmisi", hyper), lambda S, p: p.cons(p.mix(p.mag(S))), atol=1e-11)


def test_one_source_with_hard_mixture_is_the_mixture(p):
    alone = Problem(p.magnitudes[:, :1], p.mixture, stft=p.stft)
    for name in ("misi", "mag-incons-hard-mix", "incons-hard-mix", "bregmisi"):
        (S,) = iterate(name, alone, 1, init="random", rng=0)
        np.testing.assert_allclose(S[:, 0], p.X, atol=1e-10)


@pytest.mark.parametrize(
    "name", ["misi", "mag-incons-hard-mix", "incons-hard-mix", "bregmisi", "misi-mix-first"]
)
def test_estimates_sum_to_the_mixture(name, p):
    for S in iterate(name, p, 3, init="random", rng=0):
        total = p.waveforms(p.mix(S) if name == "misi-mix-first" else S).sum(-2)
        np.testing.assert_allclose(total, p.mixture, atol=1e-10)


# -- single spectrograms --------------------------------------------------------------------------


def test_fast_griffin_lim_without_momentum(p):
    same(p, ("fast-griffin-lim", {"momentum": 0}), "griffin-lim")


def test_accelerated_griffin_lim_without_relaxation(p):
    for beta in (0.0, 0.9):
        accelerated = {"alpha": 0.8, "beta": beta, "gamma": 1}
        same(p, ("accelerated-griffin-lim", accelerated), ("fast-griffin-lim", {"momentum": 0.8}))


def test_accelerated_griffin_lim_without_relaxation_and_momentum(p):
    plain = {"alpha": 0, "beta": 0.9, "gamma": 1}
    same(p, ("accelerated-griffin-lim", plain), "griffin-lim")


def test_admm_without_rho_is_douglas_rachford(p):
    def douglas_rachford(Y, p):
        return Y + p.mag(2 * p.cons(Y) - Y) - p.cons(Y)

    same(p, ("admm", {"rho": 0}), douglas_rachford)


def test_raar_without_relaxation_is_averaged_reflections(p):
    def reflect(projector, X):
        return 2 * projector(X) - X

    same(p, ("raar", {"beta": 1}), lambda X, p: (X + reflect(p.cons, reflect(p.mag, X))) / 2)
    same(p, ("raar", {"beta": 0}), lambda X, p: p.mag(X))


def test_difference_map_at_one_is_hybrid_input_output_like(p):
    def douglas_rachford(X, p):
        return X + p.cons(2 * p.mag(X) - X) - p.mag(X)

    same(p, ("difference-map", {"beta": 1}), douglas_rachford)


def test_hybrid_takes_turns(p):
    S = p.start("random", 0)
    ours = iterate("hybrid", p, 10, init=S, n_explore=3, n_refine=2)
    for turn in 2 * (3 * ["raar"] + 2 * ["griffin-lim"]):
        (S,) = iterate(turn, p, 1, init=S)
        np.testing.assert_allclose(next(ours), S, atol=1e-10)


# -- momentum and weights -------------------------------------------------------------------------


def test_fast_griffin_lim_is_griffin_lim_with_momentum(p):
    for alpha in (0.5, 0.99):
        fast = ("fast-griffin-lim", {"momentum": alpha})
        same(p, fast, momentum("griffin-lim", alpha))
        same(p, fast, ("griffin-lim", {"momentum": alpha}))


def test_the_first_iteration_with_momentum_is_a_plain_one(p):
    same(p, ("misi", {"momentum": 0.9}), "misi", n_iter=1)
    same(p, ("aux", {"momentum": 0.9}), momentum("aux", 0.9))
    same(p, momentum(misi, 0.0), "misi")


@pytest.mark.parametrize("step", [mix_incons, mix_incons_hard_mag])
@pytest.mark.parametrize("sigma", [0.0, 0.5, 10.0])
def test_weights_that_change_do_not_break_descent(step, sigma, p):
    rng = np.random.default_rng(0)

    def with_new_weights(S, p):
        share = rng.dirichlet(np.ones(3), (2, *p.magnitudes.shape[-2:]))
        return step(S, replace(p, weights=np.moveaxis(share, -1, 1)), sigma)

    values = np.array(
        [
            mixing_error(S, p) + sigma * inconsistency(S, p)
            for S in iterate(with_new_weights, p, 15, init="random", rng=0)
        ]
    )
    # Without consistency the mixing error is zero at once, up to rounding.
    assert np.all(np.diff(values, axis=0) <= 1e-10 * np.maximum(values[0], 1))
