"""Random phases from generators of torch, and from its global seed."""

import subprocess
import sys

import numpy as np
import pytest

import phaserec
from phaserec import STFT, Problem
from phaserec.solving import follow, prepare

torch = pytest.importorskip("torch", reason="torch is not installed")

STFT16 = STFT(16, 4)
V = np.abs(STFT16(np.random.default_rng(0).standard_normal((2, 61))))


def seeded(seed):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("make", [np.asarray, torch.from_numpy], ids=["numpy", "torch"])
def test_a_generator_of_torch_says_the_phases(make):
    p = Problem(make(V), stft=STFT16)
    first, again, other = (np.asarray(p.start("random", seeded(s))) for s in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.1
    np.testing.assert_allclose(np.abs(first), V)


def test_a_generator_goes_on():
    rng = seeded(0)
    p = Problem(torch.from_numpy(V), stft=STFT16)
    one, two = p.start("random", rng), p.start("random", rng)
    assert not torch.equal(one, two)


@pytest.mark.parametrize(
    "run",
    [
        lambda V, **rng: phaserec.invert(
            V, stft=STFT16, algorithm="griffin-lim", n_iter=2, init="random", **rng
        ),
        lambda V, **rng: phaserec.griffinlim(V, n_iter=2, **rng),
        lambda V, **rng: list(
            phaserec.iterate("griffin-lim", Problem(V, stft=STFT16), 2, init="random", **rng)
        )[-1],
    ],
    ids=["invert", "griffinlim", "iterate"],
)
def test_every_way_in_takes_it_and_heeds_the_global_seed(run):
    tensors = torch.from_numpy(V)
    assert torch.equal(run(tensors, rng=seeded(1)), run(tensors, rng=seeded(1)))
    torch.manual_seed(5)
    first, second = run(tensors), run(tensors)
    torch.manual_seed(5)
    assert torch.equal(run(tensors), first)
    assert not torch.equal(first, second)


def test_what_draws_nothing_leaves_the_global_generator_alone():
    x = torch.from_numpy(np.random.default_rng(1).standard_normal(61))
    before = torch.get_rng_state()
    phaserec.invert(torch.from_numpy(V), x, stft=STFT16, algorithm="misi", n_iter=2)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_followed_run_starts_from_the_same_phases():
    p = Problem(torch.from_numpy(V), stft=STFT16)
    run = prepare("griffin-lim", p, 2, rng=seeded(7))
    *_, (_, waveforms) = follow(run)
    expected = prepare("griffin-lim", p, 2, rng=seeded(7)).result()
    np.testing.assert_allclose(waveforms, expected.numpy(), atol=1e-10)


def test_numpy_arrays_ignore_the_seed_of_torch():
    p = Problem(V, stft=STFT16)
    torch.manual_seed(5)
    first = p.start("random")
    torch.manual_seed(5)
    assert np.abs(first - p.start("random")).max() > 0.1


def test_numpy_loads_its_generators_when_they_are_needed():
    code = "import sys, phaserec.starts; sys.exit('numpy.random' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_something_else_is_one_clear_error():
    with pytest.raises(ValueError, match=r"rng='seven' must be None.*torch\.Generator"):
        Problem(V, stft=STFT16).start("random", "seven")
