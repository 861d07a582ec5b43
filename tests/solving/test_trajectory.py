"""The waveforms after every iteration are those of the loop over arrays."""

import numpy as np
import pytest

from phaserec import iterate
from phaserec.algorithms import ALGORITHMS
from phaserec.solving import prepare

# With momentum only what other tests compile too; the rest takes a minute to compile.
QUICK = ("misi", "mix-incons")


@pytest.mark.parametrize(
    ("name", "hyper"),
    [(name, {}) for name in ALGORITHMS]
    + [
        pytest.param(name, {"momentum": 0.4}, marks=() if name in QUICK else pytest.mark.slow)
        for name in ALGORITHMS
    ],
)
def test_every_iteration(name, hyper, numpy64, make_problem):
    for batch, init in (((), "mixture"), ((2,), "mixture"), ((), "random")):
        p = make_problem(numpy64, batch=batch, length=300)
        run = list(prepare(name, p, 4, init=init, rng=1, **hyper).waveforms())
        loop = [p.waveforms(S) for S in iterate(name, p, 4, init=init, rng=1, **hyper)]
        assert len(run) == 4
        for one, other in zip(run, loop, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-10 * np.abs(other).max())
        np.testing.assert_allclose(run[-1], prepare(name, p, 4, init=init, rng=1, **hyper).result())


def test_results_are_kept_apart(numpy64, make_problem):
    run = prepare("misi", make_problem(numpy64), 3).waveforms()
    first = next(run)
    before = first.copy()
    assert not np.array_equal(next(run), before)
    np.testing.assert_array_equal(first, before)


def test_no_iterations_give_nothing(numpy64, make_problem):
    assert list(prepare("misi", make_problem(numpy64), 0).waveforms()) == []
