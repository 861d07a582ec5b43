"""BregMISI takes gradient steps: its formulas are the gradients of its divergences."""

import numpy as np
import pytest

from phaserec import STFT, Problem, invert, iterate
from phaserec.algorithms import resolve

VARIANTS = [
    {"beta": beta, "d": d, "side": side, "mu": 0.1, "level": 1.0}
    for beta in (0.0, 0.5, 1.0, 2.0)
    for d in (1.0, 2.0)
    for side in ("right", "left")
]
every_variant = pytest.mark.parametrize(
    "variant", VARIANTS, ids=lambda v: f"{v['beta']}-{v['d']}-{v['side']}"
)


@every_variant
def test_the_step_is_the_gradient_of_the_divergence(variant, make_problem, make_backend):
    torch = pytest.importorskip("torch")
    p = make_problem(make_backend("torch", 64))
    S = p.start("random", 0).requires_grad_()
    resolve("bregmisi").objective(S, p, **variant).backward()
    # The objective counts one-sided bins twice; the step is taken bin by bin.
    gradient = S.grad / torch.from_numpy(p.stft.bin_weights)
    stepped = p.cons(p.mix(S.detach() - variant["mu"] * gradient))
    (ours,) = iterate("bregmisi", p, 1, init=S.detach(), **variant)
    torch.testing.assert_close(ours, stepped, rtol=1e-9, atol=1e-9)


@every_variant
def test_the_divergence_is_zero_at_the_target_only(variant, make_problem, numpy64):
    p = make_problem(numpy64)
    S = p.start("random", 0)
    objective = resolve("bregmisi").objective
    assert objective(S, p, **variant) == pytest.approx(0, abs=1e-9)
    assert objective(1.1 * S, p, **variant) > 1e-3
    assert objective(0.9 * S, p, **variant) > 1e-3


@every_variant
def test_the_oracle_is_a_fixed_point(variant, make_problem, make_sources, numpy64):
    p = make_problem(numpy64, oracle=True)
    S = p.stft(make_sources())
    (estimate,) = iterate("bregmisi", p, 1, init=S, **variant)
    np.testing.assert_allclose(estimate, S, atol=1e-9)


@every_variant
def test_silence(variant, backend):
    p = Problem(backend(np.zeros((2, 9, 16))), backend(np.zeros(61)), stft=STFT(16, 4))
    for S in iterate("bregmisi", p, 2, **variant):
        assert not np.any(np.asarray(S))


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("beta", [0.0, 1.0])
def test_kullback_leibler_and_itakura_saito_are_limits(beta, side, make_problem, numpy64):
    p = make_problem(numpy64)
    start, objective = p.start("random", 0), resolve("bregmisi").objective
    exact, near = (
        next(iterate("bregmisi", p, 1, init=start, beta=b, side=side, level=1.0))
        for b in (beta, beta + 1e-6)
    )
    np.testing.assert_allclose(near, exact, rtol=0, atol=1e-3)
    exact, near = (
        objective(2 * start, p, beta=b, side=side, d=1.0, mu=0.1, level=1.0)
        for b in (beta, beta + 1e-5)
    )
    assert near == pytest.approx(exact, rel=1e-3)


# -- the unit of the magnitudes -------------------------------------------------------------------

# Steps with a unit of their own, and one without.
STEPS = [{}, {"beta": 0.0, "d": 1.0}, {"beta": 1.5, "d": 1.0, "side": "right"}]
SIZES = {"float64": [1e-150, 1e-9, 7.0, 1e150], "float32": [1e-30, 1e-9, 7.0, 1e15, 1e30]}


def recordings(n_items=3):
    """Mixtures of different loudness ``(B, time)``, and magnitudes that no signal has."""
    rng = np.random.default_rng(0)
    stft, x = STFT(64, 16), rng.standard_normal((n_items, 2, 500))
    x *= np.array([1.0, 30.0, 1e-3])[:n_items, None, None]
    V = np.abs(stft(x))
    return V * rng.uniform(0.5, 1.5, V.shape), x.sum(1), stft


@pytest.mark.parametrize("machine", ["kernel", "arrays"])
@pytest.mark.parametrize("dtype", SIZES)
@pytest.mark.parametrize("hyper", STEPS, ids=str)
def test_the_result_follows_the_scale(hyper, dtype, machine):
    V, x, stft = recordings()

    def result(c):
        scaled = ((c * a).astype(dtype) for a in (V, x))
        arguments = {"stft": stft, "algorithm": "bregmisi", "n_iter": 8, **hyper}
        return invert(*scaled, machine=machine, **arguments) / c

    expected = result(1.0)
    peaks = np.abs(expected).max((-2, -1), keepdims=True)
    tol = 1e-12 if dtype == "float64" else 1e-5
    for c in SIZES[dtype]:
        np.testing.assert_allclose(result(c) / peaks, expected / peaks, rtol=0, atol=tol)


def test_the_items_of_a_batch_have_units_of_their_own():
    V, x, stft = recordings()
    together = invert(V, x, stft=stft, algorithm="bregmisi", beta=0.0, d=1.0)
    for item, v, mixture in zip(together, V, x, strict=True):
        alone = invert(v, mixture, stft=stft, algorithm="bregmisi", beta=0.0, d=1.0)
        np.testing.assert_allclose(item, alone, rtol=0, atol=1e-12 * np.abs(alone).max())


@pytest.mark.parametrize("hyper", STEPS, ids=str)
def test_a_level_is_a_change_of_the_step(hyper):
    # Both levels are small enough to hide epsilon.
    V, x, stft = recordings(1)
    full = {"beta": 1.0, "d": 2.0, "mu": 0.1} | hyper
    power = full["beta"] * full["d"] - 2
    ours, theirs = (
        invert(V, x, stft=stft, algorithm="bregmisi", **full | {"level": u, "mu": mu * u**power})
        for u, mu in ((1e-6, full["mu"]), (1e-7, full["mu"]))
    )
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-6)


def test_a_level_for_each_frequency():
    V, x, stft = recordings(1)
    one, each = (
        invert(V, x, stft=stft, algorithm="bregmisi", beta=0.0, d=1.0, level=level)
        for level in (2.0, np.full((stft.n_bins, 1), 2.0))
    )
    np.testing.assert_allclose(each, one, rtol=0, atol=1e-9)


@every_variant
def test_the_objective_does_not_see_the_scale(variant):
    V, x, stft = recordings()
    p, louder = Problem(V, x, stft=stft), Problem(1e5 * V, 1e5 * x, stft=stft)
    S = 1.5 * p.start()
    objective, hyper = resolve("bregmisi").objective, variant | {"level": "peak"}
    np.testing.assert_allclose(
        objective(1e5 * S, louder, **hyper), objective(S, p, **hyper), rtol=1e-9
    )


def test_gradients_follow_the_scale_and_see_the_unit():
    torch = pytest.importorskip("torch")
    stft = STFT(8, 4)
    x = 1e20 * torch.randn(2, 24, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    V = (1.1 * stft(x).abs()).requires_grad_()

    def run(V):
        return 1e-20 * invert(
            1e20 * V, x.sum(0), stft=stft, algorithm="bregmisi", beta=0.5, mu=0.01, n_iter=2
        )

    assert torch.autograd.gradcheck(run, (1e-20 * V).detach().requires_grad_())


@pytest.mark.parametrize("level", ["loud", 0.0, -1.0, float("nan")])
def test_levels_that_are_none(level):
    V, x, stft = recordings(1)
    with pytest.raises(ValueError, match=r"level=.* must be 'peak' or a number"):
        invert(V, x, stft=stft, algorithm="bregmisi", level=level)
