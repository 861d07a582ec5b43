"""What is measured at every iteration."""

import numpy as np
import pytest

from phaserec import invert, measures
from phaserec.algorithms import resolve
from phaserec.solving.follow import Run, follow


def test_the_points_are_the_measures_and_the_last_waveforms_the_result(make_problem, numpy64):
    p = make_problem(numpy64)
    truth = p.waveforms(p.start("random", 1))[None]
    p = type(p)(p.magnitudes[None], p.mixture[None], stft=p.stft)
    entry = resolve("misi")
    run = Run.of_steps(entry, {}, follow(entry, p, 4, references=truth))
    assert [point.iteration for point in run.points] == [0, 1, 2, 3, 4]
    result = invert(p.magnitudes, p.mixture, stft=p.stft, algorithm="misi", n_iter=4)
    np.testing.assert_allclose(run.waveforms, result, rtol=0, atol=1e-10)
    start, last = run.points[0], run.points[-1]
    S = p.start()
    assert start.spectral_convergence == pytest.approx(
        float(measures.spectral_convergence(S, p)[0])
    )
    assert start.objective == pytest.approx(float(entry.objective(S, p)[0]))
    relative = measures.mixing_error(S, p) / measures.mixing_error(np.zeros_like(S), p)
    assert start.mixing_error == pytest.approx(float(10 * np.log10(relative[0])))
    np.testing.assert_allclose(last.sdr, measures.sdr(truth, run.waveforms)[0])
    assert last.mixing_error < -200 and last.inconsistency < start.inconsistency


def test_without_mixture_and_references_there_is_nothing_to_mix_or_score(make_problem, numpy64):
    p = make_problem(numpy64)
    alone = type(p)(p.magnitudes, stft=p.stft)
    points = [point for point, _ in follow(resolve("griffin-lim"), alone, 2, rng=0)]
    assert all(point.mixing_error is None and point.sdr is None for point in points)
    assert points[2].spectral_convergence < points[0].spectral_convergence


def test_silence_is_measured_without_warnings(make_problem, numpy64):
    p = make_problem(numpy64)
    silent = type(p)(0 * p.magnitudes, 0 * p.mixture, stft=p.stft)
    (_, start), *_ = [(w, point) for point, w in follow(resolve("misi"), silent, 1)]
    assert start.inconsistency == -np.inf and start.mixing_error == -np.inf


def test_the_label_names_what_was_given():
    run = Run(resolve("aux"), {"sigma": 0.5}, [], np.zeros((1, 1, 1)))
    assert run.label == "aux sigma=0.5"
