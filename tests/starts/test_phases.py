"""What says how random phases are drawn: seeds and generators of numpy."""

import numpy as np
import pytest

from phaserec import STFT, Problem
from phaserec.solving import prepare

STFT16 = STFT(16, 4)
P = Problem(np.abs(STFT16(np.random.default_rng(0).standard_normal((2, 61)))), stft=STFT16)

SEEDS = {
    "int": lambda: 7,
    "sequence": lambda: [7, 2**40],
    "array": lambda: np.array([7, 8]),
    "SeedSequence": lambda: np.random.SeedSequence(7, spawn_key=(1,)),
    "BitGenerator": lambda: np.random.Philox(7),
    "Generator": lambda: np.random.default_rng(7),
}


def run(rng):
    return prepare("griffin-lim", P, 2, init="random", rng=rng)


@pytest.mark.parametrize("make", SEEDS.values(), ids=SEEDS)
def test_phases_are_those_of_default_rng(make):
    start = P.start("random", make())
    np.testing.assert_array_equal(start, P.start("random", np.random.default_rng(make())))
    assert np.abs(start - P.start("random", 0)).max() > 0.1


@pytest.mark.parametrize("make", SEEDS.values(), ids=SEEDS)
def test_a_run_that_is_repeated_has_the_same_phases(make):
    prepared = run(make())
    first = prepared.result()
    np.testing.assert_array_equal(prepared.result(), first)
    np.testing.assert_array_equal(prepared.on_arrays().start(), P.start("random", make()))


@pytest.mark.parametrize("kind", ["int", "sequence", "SeedSequence"])
def test_a_seed_is_not_used_up(kind):
    seed = SEEDS[kind]()
    np.testing.assert_array_equal(run(seed).result(), run(seed).result())


@pytest.mark.parametrize("kind", ["BitGenerator", "Generator"])
def test_a_generator_goes_on(kind):
    rng = SEEDS[kind]()
    assert not np.array_equal(run(rng).result(), run(rng).result())


@pytest.mark.parametrize("rng", [-1, 1.5, "seed", [1, -1], [0.5], {"seed": 1}, np.random])
def test_what_is_no_seed(rng):
    with pytest.raises(ValueError, match=r"rng=.* must be None, .*SeedSequence"):
        run(rng)
