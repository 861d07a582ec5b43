"""Combinators: what they make is what is done by hand."""

import numpy as np
import pytest

import phaserec
from phaserec import STFT, Problem
from phaserec.algorithms import ALGORITHMS, alternate, momentum, resolve, schedule
from phaserec.algorithms.combinators import estimate

STFT16 = STFT(16, 4)


def problem():
    rng = np.random.default_rng(0)
    sources = rng.standard_normal((2, 70))
    V = abs(STFT16(sources)) * rng.uniform(0.5, 1.5, (2, 9, 18))
    return Problem(V, sources.sum(0), stft=STFT16)


def numbers(entry):
    """Other values of the real hyper-parameters for each of three iterations."""
    known = [h for h in entry.hyper if h.range is not None and h.kind is float]
    known = [h for h in known if not isinstance(h.default, str)]
    return [{h.name: h.default * (1 + 0.1 * k) for h in known} for k in range(3)]


@pytest.mark.parametrize("machine", ["arrays", "kernel"])
@pytest.mark.parametrize("name", ALGORITHMS)
def test_iterations_with_values_of_their_own(name, machine):
    p, entry = problem(), resolve(name)
    values = numbers(entry)
    state = entry.initial_state(p.start(algorithm=entry))
    for k in range(5):
        state = entry.step(state, p, **values[k % 3])
    found = phaserec.solving.prepare(schedule(name, values), p, 5, machine=machine).result()
    np.testing.assert_allclose(found, p.waveforms(estimate(state)), rtol=0, atol=1e-12)


@pytest.mark.parametrize("machine", ["arrays", "kernel"])
@pytest.mark.parametrize("name", ["misi", "raar", "hybrid", "mix-incons"])
def test_momentum_of_their_own(name, machine):
    p = problem()
    state = p.start(), None, None
    for alpha in (0.3, 0.0, 0.6, 0.3):
        state = momentum(name, alpha)(state, p)
    step = schedule(name, [{"momentum": 0.3}, {}, {"momentum": 0.6}])
    found = phaserec.solving.prepare(step, p, 4, machine=machine).result()
    np.testing.assert_allclose(found, p.waveforms(estimate(state)), rtol=0, atol=1e-12)


def test_what_is_not_a_schedule():
    with pytest.raises(ValueError, match="one iteration at least"):
        schedule("misi", [])
    with pytest.raises(ValueError, match="no hyper-parameter 'sigma'"):
        schedule("misi", [{"sigma": 1.0}])
    with pytest.raises(ValueError, match="sigma=-1"):
        schedule("mix-incons", [{"sigma": 1.0}, {"sigma": -1.0}])
    with pytest.raises(ValueError, match="has memory"):
        alternate((momentum("misi"), 2))
