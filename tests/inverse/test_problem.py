"""Phases and magnitudes at once: the projection, what falls monotonically, and every algorithm."""

import numpy as np
import pytest

from phaserec import STFT, Problem, iterate, measures
from phaserec.algorithms import ALGORITHMS, configure
from phaserec.inverse import BandProblem, Bands
from phaserec.solving import needs_mixture, prepare

SIZE, RATE = 128, 8000


def problem(power=2, backend=np.asarray, **options):
    stft, bands = STFT(SIZE), Bands.mel(16, SIZE, RATE, power=power)
    rng = np.random.default_rng(power)
    x = rng.standard_normal(1500) * np.linspace(0.1, 1, 1500)
    values = backend(bands(stft(x)))
    return BandProblem(bands, values, stft=stft, length=1500, **options), x


@pytest.mark.parametrize("power", [1, 2])
def test_magnitudes_have_the_values_and_phases_stay(power):
    p, _ = problem(power, exact=True)
    S = p.stft(np.random.default_rng(1).standard_normal(1500))
    moved = p.mag(S)
    np.testing.assert_allclose(p.bands(moved), p.sums, rtol=1e-6)
    inside = np.abs(moved) > 1e-9
    np.testing.assert_allclose(np.angle(moved / S)[inside], 0, atol=1e-6)
    np.testing.assert_allclose(p.mag(moved), moved, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("power", [1, 2])
def test_the_truth_is_a_fixed_point(power):
    p, x = problem(power, exact=True)
    S = p.stft(x)
    np.testing.assert_allclose(p.mag(S), S, atol=1e-6 * np.abs(S).max())


@pytest.mark.parametrize("power", [1, 2])
def test_the_distance_never_rises(power):
    """P_mag is a projection onto a closed set, so Griffin-Lim on it descends as on magnitudes."""
    p, _ = problem(power, exact=True)
    errors = [measures.magnitude_error(p.cons(S), p) for S in iterate("griffin-lim", p, 25, rng=0)]
    assert np.all(np.diff(errors) <= 1e-9 * errors[0])
    assert errors[-1] < 0.5 * errors[0]


@pytest.mark.parametrize("power", [1, 2])
def test_closer_to_the_values_than_fixed_magnitudes(power):
    p, _ = problem(power)
    fixed = Problem(p.magnitudes, stft=p.stft, length=1500)

    def error(problem):
        *_, S = iterate("griffin-lim", problem, 40, rng=0)
        return np.abs(np.log(p.bands(p.cons(S)) / p.sums)).mean()

    assert error(p) < 0.5 * error(fixed)


def test_single_precision_and_torch_are_the_same(make_backend):
    p, _ = problem(exact=True)
    S = p.stft(np.random.default_rng(1).standard_normal(1500))
    for library, precision in [("numpy", 32), ("torch", 64)]:
        backend = make_backend(library, precision)
        other, _ = problem(backend=backend, exact=True)
        found = other.mag(backend(S))
        assert str(found.dtype).endswith(backend.complex)
        np.testing.assert_allclose(np.asarray(found), p.mag(S), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    "name", [n for n, e in ALGORITHMS.items() if e.step.__module__.startswith("phaserec.")]
)
def test_every_algorithm_runs(name):
    algorithm = configure(name, {})
    if needs_mixture(algorithm):
        pytest.skip(f"{name} needs a mixture")
    p, _ = problem()
    run = prepare(name, p, 3, rng=0)
    assert run.machine == "arrays"
    assert "not fixed" in run.choice.reasons["kernel"]
    assert run.result().shape == (1500,)


def test_tiny_values_are_scaled():
    """Squares of what is computed neither overflow nor vanish."""
    p, _ = problem()
    tiny = BandProblem(p.bands, p.sums.astype(np.float32) * 1e-30, stft=p.stft, length=1500)
    y = prepare("griffin-lim", tiny, 3, rng=0).result()
    like = prepare("griffin-lim", p, 3, rng=0).result()
    assert np.isclose(np.std(y), 1e-15 * np.std(like), rtol=0.1)


def test_bad_values_are_named():
    stft, values = STFT(SIZE), np.ones((16, 10))
    with pytest.raises(ValueError, match=r"power=1\.5"):
        BandProblem(Bands.mel(16, SIZE, RATE, power=1.5), values, stft=stft)
    with pytest.raises(ValueError, match=r"bands\.matrix"):
        BandProblem(Bands.mel(16, 2 * SIZE, RATE), values, stft=stft)
    with pytest.raises(ValueError, match="for 16 bands"):
        BandProblem(Bands.mel(16, SIZE, RATE), values.T, stft=stft)
