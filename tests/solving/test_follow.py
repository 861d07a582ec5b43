"""What is measured at every iteration, beside the run that is written."""

import numpy as np
import pytest

from phaserec import invert, measures
from phaserec.algorithms import ALGORITHMS, resolve
from phaserec.solving import follow, prepare


def channels(p):
    """The same problem with an axis of channels."""
    return type(p)(p.magnitudes[None], p.mixture[None], stft=p.stft)


def test_the_points_are_the_measures_and_the_last_waveforms_the_result(make_problem, numpy64):
    p = channels(make_problem(numpy64))
    steps = list(follow(prepare("misi", p, 4)))
    points = [point for point, _ in steps]
    assert [point.iteration for point in points] == [0, 1, 2, 3, 4]
    result = invert(p.magnitudes, p.mixture, stft=p.stft, algorithm="misi", n_iter=4)
    np.testing.assert_array_equal(steps[-1][1], result)
    start, last = points[0], points[-1]
    S = p.start()
    np.testing.assert_array_equal(steps[0][1], p.waveforms(S))
    assert start.spectral_convergence == pytest.approx(
        float(measures.spectral_convergence(S, p)[0])
    )
    assert start.objective == pytest.approx(float(resolve("misi").objective(S, p)[0]))
    relative = measures.mixing_error(S, p) / measures.mixing_error(np.zeros_like(S), p)
    assert start.mixing_error == pytest.approx(float(10 * np.log10(relative[0])))
    assert last.mixing_error < -200 and last.inconsistency < start.inconsistency


@pytest.mark.parametrize("init", ["random", "mixture"])
@pytest.mark.parametrize("name", ALGORITHMS)
def test_followed_or_not_the_result_has_the_same_bits(name, init, make_problem, numpy64):
    p = channels(make_problem(numpy64, length=300))
    hyper = {"mu": 0.01} if name == "bregmisi" else {}
    plain = prepare(name, p, 5, init=init, rng=3, **hyper).result()
    *_, (_, waveforms) = follow(prepare(name, p, 5, init=init, rng=3, **hyper))
    np.testing.assert_array_equal(waveforms, plain)


def test_a_generator_goes_on_where_a_run_has_left_it(make_problem, numpy64):
    p = channels(make_problem(numpy64))
    rng = np.random.default_rng(3)
    one, two = (prepare("misi", p, 2, init="random", rng=rng).result() for _ in range(2))
    assert not np.array_equal(one, two)
    followed = np.random.default_rng(3)
    for expected in (one, two):
        *_, (_, ours) = follow(prepare("misi", p, 2, init="random", rng=followed))
        np.testing.assert_array_equal(ours, expected)


def test_without_a_mixture_there_is_nothing_to_mix(make_problem, numpy64):
    p = make_problem(numpy64)
    alone = type(p)(p.magnitudes, stft=p.stft)
    points = [point for point, _ in follow(prepare("griffin-lim", alone, 2, rng=0))]
    assert all(point.mixing_error is None for point in points)
    assert points[2].spectral_convergence < points[0].spectral_convergence


def test_silence_is_measured_without_warnings(make_problem, numpy64):
    p = make_problem(numpy64)
    silent = type(p)(0 * p.magnitudes, 0 * p.mixture, stft=p.stft)
    start, _ = next(follow(prepare("misi", silent, 1)))
    assert start.inconsistency == -np.inf and start.mixing_error == -np.inf


def test_the_objective_is_asked_with_the_hyper_parameters_of_the_run(make_problem, numpy64):
    p = channels(make_problem(numpy64))
    for momentum in (0.0, 0.5):
        run = prepare("mix-incons", p, 1, sigma=2.5, momentum=momentum)
        point, _ = next(follow(run))
        S = p.start()
        expected = measures.mixing_error(S, p) + 2.5 * measures.inconsistency(S, p)
        assert point.objective == pytest.approx(float(expected[0]))
