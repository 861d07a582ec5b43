"""The waveforms after every iteration are those of the loop over arrays."""

import numpy as np
import pytest

from phaserec import iterate
from phaserec.algorithms import ALGORITHMS
from phaserec.solve import solve, trajectory


@pytest.mark.parametrize("name", list(ALGORITHMS))
@pytest.mark.parametrize("hyper", [{}, {"momentum": 0.4}], ids=["plain", "momentum"])
def test_every_iteration(name, hyper, numpy64, make_problem):
    for batch, init in (((), "mixture"), ((2,), "mixture"), ((), "random")):
        p = make_problem(numpy64, batch=batch, length=300)
        run = list(trajectory(name, p, 4, init=init, rng=1, **hyper))
        loop = [p.waveforms(S) for S in iterate(name, p, 4, init=init, rng=1, **hyper)]
        assert len(run) == 4
        for one, other in zip(run, loop, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-10 * np.abs(other).max())
        np.testing.assert_allclose(run[-1], solve(name, p, 4, init=init, rng=1, **hyper))


def test_results_are_kept_apart(numpy64, make_problem):
    run = trajectory("misi", make_problem(numpy64), 3)
    first = next(run)
    before = first.copy()
    assert not np.array_equal(next(run), before)
    np.testing.assert_array_equal(first, before)


def test_no_iterations_give_nothing(numpy64, make_problem):
    assert list(trajectory("misi", make_problem(numpy64), 0)) == []
