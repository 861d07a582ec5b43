"""How far frames act, found by trial."""

import numpy as np
import pytest

from phaserec.algorithms import ALGORITHMS, configure
from phaserec.solving.locality import reach, start_reach
from phaserec.starts import STARTS


@pytest.mark.parametrize("depth", [2, 4, 5])
def test_one_transform_there_and_back_reaches_the_frames_that_overlap(depth):
    for name in ("misi", "griffin-lim", "raar", "difference-map", "hybrid", "bregmisi"):
        for momentum in ({}, {"momentum": 0.3}):
            assert reach(configure(name, momentum), depth) == depth - 1
    assert reach(configure("wiener", {}), depth) == 0


def test_two_transforms_reach_twice_as_far():
    twice = configure(lambda S, p: p.cons(p.mag(p.cons(p.mag(S)))), {})
    assert reach(twice, 4) == 6


def test_what_depends_on_everything_is_found():
    def loudest(S, p):
        return p.cons(p.mag(S)) * (1 + 1e-3 * np.abs(S).max())

    assert reach(configure(loudest, {}), 4) is None
    assert reach(configure("consistent-wiener", {}), 4) is None


def test_arrays_of_the_real_problem_do_not_disturb():
    assert reach(configure("mag-incons-hard-mix", {"sigma": np.ones((513, 1))}), 4) == 3


def test_starts():
    assert start_reach(STARTS["zero"], 4) <= 1
    assert start_reach(STARTS["mixture"], 4) <= 4
    assert start_reach(STARTS["geometric"], 4) is not None
    assert start_reach(STARTS["pghi"], 4) is None


def test_everything_registered_has_an_answer():
    for name in ALGORITHMS:
        found = reach(configure(name, {}), 4)
        assert found is None or 0 <= found <= 6, name
