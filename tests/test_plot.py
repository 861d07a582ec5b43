"""Figures: what they show is what the signals are."""

import subprocess
import sys

import numpy as np
import pytest

from phaserec import STFT, phase, plot

matplotlib = pytest.importorskip("matplotlib", reason="matplotlib is not installed")
matplotlib.use("Agg")

from matplotlib import pyplot  # noqa: E402

RATE = 8000


@pytest.fixture(autouse=True)
def close():
    yield
    pyplot.close("all")


def tone(frequency, length=4000):
    return np.cos(2 * np.pi * frequency * np.arange(length) / RATE)


def test_a_spectrogram_is_in_decibels_on_axes_of_seconds_and_hertz():
    stft = STFT(256)
    S = stft(tone(1000))
    image = plot.spectrogram(S, stft=stft, sr=RATE, dynamic_range=60, cmap="gray")
    values = np.asarray(image.get_array())
    expected = 20 * np.log10(np.maximum(np.abs(S) / np.abs(S).max(), 1e-3))
    np.testing.assert_allclose(values, expected, atol=1e-9)
    left, right, low, high = image.get_extent()
    assert low + (high - low) * (32 + 0.5) / 129 == pytest.approx(1000)
    frame = 10
    assert left + (right - left) * (frame + 0.5) / S.shape[1] == pytest.approx(frame * 64 / RATE)
    assert image.get_clim() == (-60, 0) and image.get_cmap().name == "gray"
    assert image.axes is pyplot.gca() and image.axes.get_xlabel() == "time (s)"
    louder = plot.spectrogram(np.abs(S), ref=10 * np.abs(S).max(), ax=pyplot.figure().add_subplot())
    assert np.asarray(louder.get_array()).max() == pytest.approx(-20)
    assert louder.axes.get_ylabel() == "bin"


@pytest.mark.parametrize("n_fft", [256, 255])
@pytest.mark.parametrize("center", [True, False])
def test_the_time_derivative_is_the_frequency_of_a_tone(n_fft, center):
    """A tone between bins k and k + 1 is seen by both at its own frequency."""
    stft = STFT(n_fft, 16, center=center)
    frequency = 40.3 * RATE / n_fft
    image = plot.phase_derivative(stft(tone(frequency)), stft=stft, sr=RATE)
    angle = np.ma.filled(image.get_array(), np.nan)[:, 20:-20]
    for k in (40, 41):
        hertz = angle[k] * RATE / (2 * np.pi * 16)
        np.testing.assert_allclose(k * RATE / n_fft + hertz, frequency, atol=0.5)


@pytest.mark.parametrize("center", [True, False])
def test_the_frequency_derivative_is_the_time_of_a_click(center):
    stft = STFT(256, 64, center=center)
    x = np.zeros(4000)
    x[2010] = 1
    image = plot.phase_derivative(stft(x), stft=stft, sr=RATE, kind="frequency")
    angle = np.ma.filled(image.get_array(), np.nan)
    seen = np.flatnonzero(np.isfinite(angle).all(axis=0))
    assert len(seen) >= 3
    left, right, _, _ = image.get_extent()
    for t in seen:
        centre = (left + (right - left) * (t + 0.5) / angle.shape[1]) * RATE
        delay = angle[:, t] * 256 / (2 * np.pi)
        np.testing.assert_allclose(centre + delay, 2010, atol=1e-6)


def test_quiet_bins_are_blank_and_angles_are_wrapped():
    stft = STFT(256)
    image = plot.phase_derivative(stft(tone(1000)), stft=stft, dynamic_range=20)
    shown = np.isfinite(np.ma.filled(image.get_array(), np.nan))
    assert shown[32].all() and not shown[60:, 5:-5].any()
    noise = stft(np.random.default_rng(0).standard_normal(4000))
    angles = np.angle(phase.products(noise, stft, "time"))
    assert np.abs(angles).max() <= np.pi


def test_convergence_draws_a_curve_for_each_name():
    ax = plot.convergence({"misi": [3, 2, 1.5], "aux": [3, -np.inf]}, label="SDR (dB)", first=1)
    assert [line.get_label() for line in ax.lines] == ["misi", "aux"]
    np.testing.assert_array_equal(ax.lines[0].get_xydata(), [[1, 3], [2, 2], [3, 1.5]])
    assert np.isnan(ax.lines[1].get_ydata()[1])
    assert ax.get_ylabel() == "SDR (dB)"


def test_a_sigma_sweep_has_a_tick_of_its_own_for_zero():
    figure = pyplot.figure()
    ax = plot.sigma_sweep(
        [1, 0, 0.01], {"aux": [3, 1, 2]}, levels={"MISI": 4}, ax=figure.add_subplot(), lw=3
    )
    figure.canvas.draw()
    labels = dict(zip(ax.get_xticks(), (t.get_text() for t in ax.get_xticklabels()), strict=True))
    assert labels[0.001] == "0" and labels[0.01] == "$10^{-2}$" and len(labels) == 4
    curve, dots, zero, level = ax.lines
    np.testing.assert_array_equal(curve.get_xydata(), [[0.01, 2], [1, 3]])
    assert curve.get_linewidth() == 3
    np.testing.assert_array_equal(dots.get_xydata(), [[0.001, 1], [0.01, 2]])
    np.testing.assert_array_equal(zero.get_xydata(), [[0.001, 1]])
    assert set(level.get_ydata()) == {4} and level.get_label() == "MISI"


def test_bad_arguments_are_named():
    stft = STFT(16)
    S = stft(np.ones(50))
    for call, words in [
        (lambda: plot.spectrogram(S[None]), "S of shape"),
        (lambda: plot.spectrogram(S[:-1], stft=stft), "n_fft"),
        (lambda: plot.spectrogram(S, dynamic_range=0), "dynamic_range=0"),
        (lambda: plot.spectrogram(S, ref=-1.0), "ref=-1"),
        (lambda: plot.phase_derivative(np.abs(S), stft=stft), "complex"),
        (lambda: plot.phase_derivative(S, stft=stft, kind="space"), "kind='space'"),
        (lambda: plot.sigma_sweep([0, -1], {}), "not negative"),
        (lambda: plot.sigma_sweep([0], {}), "above 0"),
        (lambda: plot.sigma_sweep([0, 1], {"aux": [1]}), "'aux'"),
    ]:
        with pytest.raises(ValueError, match=words):
            call()


def test_silence_is_drawn():
    image = plot.spectrogram(np.zeros((9, 5)))
    assert np.all(np.asarray(image.get_array()) == -80)


def test_matplotlib_is_loaded_late_and_missed_with_a_remedy():
    code = (
        "import sys; import phaserec.plot, numpy; assert 'matplotlib' not in sys.modules\n"
        "sys.modules['matplotlib'] = None\n"
        "try: phaserec.plot.spectrogram(numpy.ones((9, 5)))\n"
        "except ValueError as error: print(error)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install 'phaserec[plot]'" in run.stdout
