"""Measures against their definitions, written with full spectra and explicit matrices."""

import numpy as np
import pytest
import scipy.linalg

from phaserec import STFT, Problem
from phaserec.measures import (
    RunningSDR,
    inconsistency,
    magnitude_error,
    mixing_error,
    sdr,
    si_sdr,
    si_sdr_improvement,
    snr,
    spectral_convergence,
    two_sided_sum,
)

TRANSFORMS = [STFT(16, 4), STFT(15, 4)]
ids = ["even", "odd"]
WAVEFORM_MEASURES = [snr, si_sdr, sdr]


def signals(*shape, seed=0):
    """A reference and an estimate that has something of it."""
    rng = np.random.default_rng(seed)
    reference = rng.standard_normal(shape)
    return reference, 0.5 * reference + 0.3 * rng.standard_normal(shape)


def full(S, stft):
    """All n_fft bins of a one-sided spectrogram, by conjugate symmetry."""
    mirrored = S[..., 1 : (stft.n_fft + 1) // 2, :]
    return np.concatenate([S, np.conj(mirrored[..., ::-1, :])], axis=-2)


def squared_norm(S, axes=(-3, -2, -1)):
    return np.sum(np.abs(S) ** 2, axis=axes)


# -- spectrograms ---------------------------------------------------------------------------------


@pytest.mark.parametrize("stft", TRANSFORMS, ids=ids)
def test_norms_are_those_of_the_full_spectrum(stft, make_problem, numpy64):
    p = make_problem(numpy64, batch=(2,), stft=stft)
    S = p.start("random", 0)
    assert full(S, stft).shape[-2] == stft.n_fft
    np.testing.assert_allclose(
        mixing_error(S, p), squared_norm(full(p.X - S.sum(1), stft), (-2, -1))
    )
    np.testing.assert_allclose(inconsistency(S, p), squared_norm(full(S - p.cons(S), stft)))
    np.testing.assert_allclose(
        magnitude_error(2j * S, p), squared_norm(full(np.abs(2 * S) - p.magnitudes, stft))
    )
    distance = squared_norm(np.abs(full(p.cons(S), stft)) - full(p.magnitudes, stft))
    np.testing.assert_allclose(
        spectral_convergence(S, p),
        20 * np.log10(np.sqrt(distance) / np.sqrt(squared_norm(full(p.magnitudes, stft)))),
    )


@pytest.mark.parametrize("stft", TRANSFORMS, ids=ids)
def test_parseval(stft):
    # The two-sided energy of a frame is n_fft times that of its windowed samples.
    x = np.random.default_rng(0).standard_normal(60)
    p = Problem(np.abs(stft(x)), stft=stft, length=60)
    padded = np.concatenate([np.zeros(stft.offset), x, np.zeros(stft.n_fft)])
    energy = sum(
        np.sum((stft.window_values * padded[4 * t : 4 * t + stft.n_fft]) ** 2)
        for t in range(stft.n_frames(60))
    )
    assert two_sided_sum(np.abs(stft(x)) ** 2, p) == pytest.approx(stft.n_fft * energy, rel=1e-12)


def test_the_truth_has_no_errors(make_problem, make_sources, numpy64):
    p = make_problem(numpy64, batch=(2,), oracle=True)
    S = p.stft(make_sources((2,)))
    for measure in (mixing_error, inconsistency, magnitude_error):
        assert measure(S, p).shape == (2,)
        np.testing.assert_allclose(measure(S, p), 0, atol=1e-20)
    assert np.all(spectral_convergence(S, p) < -250)


def test_without_a_mixture_each_spectrogram_is_measured():
    stft = STFT(16, 4)
    V = np.abs(stft(signals(3, 2, 61)[0]))
    p = Problem(V, stft=stft)
    assert magnitude_error(p.start("zero"), p).shape == (3, 2)


def test_spectral_convergence_of_silence():
    p = Problem(np.zeros((9, 16)), stft=STFT(16, 4))
    assert spectral_convergence(p.start("zero"), p) == -np.inf
    assert spectral_convergence(p.stft(signals(60)[0]), p) == np.inf


def test_spectrogram_measures_are_the_same_in_torch(make_problem, make_backend):
    pytest.importorskip("torch")
    problems = [make_problem(make_backend(lib, 64), batch=(2,)) for lib in ("numpy", "torch")]
    for measure in (mixing_error, inconsistency, magnitude_error, spectral_convergence):
        values = [measure(2 * p.start("random", 0), p) for p in problems]
        np.testing.assert_allclose(*values, rtol=1e-10)


# -- waveforms ------------------------------------------------------------------------------------


def test_snr_and_si_sdr_by_definition():
    s, e = signals(300)
    assert snr(s, e) == pytest.approx(10 * np.log10(np.dot(s, s) / np.dot(s - e, s - e)))
    target = np.dot(e, s) / np.dot(s, s) * s
    noise = e - target
    assert si_sdr(s, e) == pytest.approx(
        10 * np.log10(np.dot(target, target) / np.dot(noise, noise))
    )


def test_si_sdr_does_not_see_the_scale():
    s, e = signals(300)
    for scale in (1e-3, -1.0, 1e3):
        assert si_sdr(s, scale * e) == pytest.approx(si_sdr(s, e))
        assert si_sdr(scale * s, e) == pytest.approx(si_sdr(s, e))
        assert sdr(s, scale * e) == pytest.approx(sdr(s, e), abs=1e-6)


def test_improvement():
    s, e = signals(2, 300)
    mixture = s + signals(2, 300, seed=1)[0]
    expected = si_sdr(s, e) - si_sdr(s, mixture)
    np.testing.assert_allclose(si_sdr_improvement(s, e, mixture), expected)


def test_sdr_with_one_tap_is_si_sdr():
    s, e = signals(4, 300)
    np.testing.assert_allclose(sdr(s, e, filter_length=1), si_sdr(s, e), rtol=1e-9)


@pytest.mark.parametrize("taps", [1, 2, 16, 400])
def test_sdr_is_a_projection_on_delayed_copies(taps):
    s, e = signals(300)
    delays = scipy.linalg.toeplitz(np.append(s, np.zeros(taps)), np.zeros(taps))
    padded = np.append(e, np.zeros(taps))
    target = delays @ np.linalg.lstsq(delays, padded)[0]
    expected = 10 * np.log10(np.sum(target**2) / np.sum((padded - target) ** 2))
    assert sdr(s, e, filter_length=taps) == pytest.approx(expected, rel=1e-6)


def test_sdr_allows_a_short_filter():
    s = signals(2000)[0]
    filtered = np.convolve(s, [0.5, -0.3, 0.2])[:2000]
    # Only the tail of the filter beyond the last sample is an error.
    assert sdr(s, filtered) > si_sdr(s, filtered) + 20


def test_sdr_never_falls_with_more_taps():
    s, e = signals(300)
    values = [float(sdr(s, e, filter_length=taps)) for taps in (1, 4, 16, 64)]
    assert np.all(np.diff(values) >= 0)


@pytest.mark.parametrize("measure", WAVEFORM_MEASURES)
def test_batch_equals_items(measure, backend):
    s, e = (backend(a) for a in signals(2, 3, 600))
    together = measure(s, e)
    assert tuple(together.shape) == (2, 3)
    for index in np.ndindex(2, 3):
        alone = float(measure(s[index], e[index]))
        assert float(together[index]) == pytest.approx(alone, rel=1e-4)


@pytest.mark.parametrize("measure", WAVEFORM_MEASURES)
def test_waveform_measures_are_the_same_in_torch(measure):
    torch = pytest.importorskip("torch")
    s, e = signals(2, 600)
    theirs = measure(torch.from_numpy(s), torch.from_numpy(e))
    np.testing.assert_allclose(theirs, measure(s, e), rtol=1e-8)


@pytest.mark.parametrize("measure", WAVEFORM_MEASURES)
def test_silence_and_perfection_are_no_errors(measure, backend):
    s = signals(1000)[0]
    s, zeros = backend(s), backend(np.zeros(1000))
    assert float(measure(zeros, s)) == -np.inf
    assert float(measure(zeros, zeros)) == -np.inf
    assert float(measure(s, s)) > (60 if backend.precision == 32 else 120)
    # The error of a silent estimate is the whole reference: 0 dB of SNR, but no part of the
    # reference is left for the measures that project.
    assert float(measure(s, zeros)) == (0 if measure is snr else -np.inf)


def test_one_silent_item_does_not_disturb_the_others():
    s, e = signals(3, 600)
    s[1] = 0
    for measure in WAVEFORM_MEASURES:
        values = measure(s, e)
        assert values[1] == -np.inf
        np.testing.assert_allclose(values[[0, 2]], measure(s[[0, 2]], e[[0, 2]]), rtol=1e-9)


def test_sdr_checks_its_arguments():
    s, e = signals(2, 300)
    with pytest.raises(ValueError, match="shape"):
        sdr(s, e[:, :200])
    with pytest.raises(ValueError, match="filter_length=0"):
        sdr(s, e, filter_length=0)


def test_sdr_of_pieces_is_that_of_the_whole():
    rng = np.random.default_rng(0)
    s = rng.standard_normal((2, 3, 5000))
    e = np.roll(s, 3, axis=-1) + 0.3 * rng.standard_normal(s.shape)
    e[0, 0] = 0
    running = RunningSDR(filter_length=16)
    for a in (0, 5, 700, 701, 4000):
        b = {0: 5, 5: 700, 700: 701, 701: 4000, 4000: 5000}[a]
        running.add(s[..., a:b], e[..., a:b])
    np.testing.assert_allclose(running.value, sdr(s, e, filter_length=16), atol=1e-6)
