"""BregMISI takes gradient steps: its formulas are the gradients of its divergences."""

import numpy as np
import pytest

from phaserec import STFT, Problem, iterate
from phaserec.algorithms import resolve

VARIANTS = [
    {"beta": beta, "d": d, "side": side, "mu": 0.1}
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
        next(iterate("bregmisi", p, 1, init=start, beta=b, side=side)) for b in (beta, beta + 1e-6)
    )
    np.testing.assert_allclose(near, exact, rtol=0, atol=1e-3)
    exact, near = (
        objective(2 * start, p, beta=b, side=side, d=1.0, mu=0.1) for b in (beta, beta + 1e-5)
    )
    assert near == pytest.approx(exact, rel=1e-3)
