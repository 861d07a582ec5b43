"""Sinusoidal phases: right for sinusoids and chirps, by peaks whose frequencies are right."""

import numpy as np
import pytest

from phaserec import STFT, Problem
from phaserec.starts.peaks import sinusoids
from phaserec.starts.sinusoidal import onsets

FS = 16000
TIME = np.arange(FS) / FS


def chirp(f, rate=0.0):
    return np.cos(2 * np.pi * (f * TIME + rate * TIME**2 / 2) + 0.3)


TRANSFORMS = [STFT(1024), STFT(1024, 128, 800), STFT(1000, 250, window="blackman")]


@pytest.mark.parametrize("stft", TRANSFORMS, ids=repr)
@pytest.mark.parametrize(("f", "rate"), [(1234.5, 0.0), (4003.0, 0.0), (2000.0, 30.0)])
@pytest.mark.parametrize("name", ["sinusoidal", "spsi"])
def test_sinusoids_and_slow_chirps_are_right_to_a_hundredth(name, f, rate, stft):
    S = stft(chirp(f, rate))
    V = np.abs(S)
    for mixture in (chirp(f, rate), None):
        p = Problem(V[None], mixture, stft=stft, length=FS)
        error = np.angle(p.start(name)[0] * np.conj(S))
        peaks, frames = V.argmax(axis=0), np.arange(V.shape[-1])
        error = error[peaks, frames][4:-4]
        error = np.angle(np.exp(1j * (error - error[0])))
        assert np.abs(error).max() < 1e-2


def test_phases_of_a_mixture_begin_at_its_own():
    stft = STFT(1024)
    x = chirp(1234.5)
    p = Problem(np.abs(stft(x))[None], x, stft=stft)
    S, V = p.start("sinusoidal")[0], p.magnitudes[0]
    error = np.angle(S * np.conj(stft(x)))[:, 4:-4][V[:, 4:-4] > 0.1 * V.max()]
    assert np.abs(error).max() < 0.02  # of the first frame, half of which is padding


def test_every_source_has_its_onsets():
    stft = STFT(512)
    x = np.stack([chirp(500.0), chirp(2000.0) * (TIME > 0.5)])
    found = onsets(np.abs(stft(x)))
    assert found[:, 0].all() and not found[0, 1:-3].any()
    (later,) = np.nonzero(found[1, 1:-3])
    assert np.all(np.abs((later + 1) * 128 / FS - 0.5) < 512 / FS) and len(later)


def test_onsets_take_the_phase_of_the_mixture():
    stft = STFT(512)
    x = np.stack([chirp(500.0), chirp(2000.0) * (TIME > 0.5)])
    V = np.abs(stft(x))
    p = Problem(V, x.sum(0), stft=stft)
    at = onsets(V)
    phases = p.start("sinusoidal") / np.where(V > 0, V, 1)
    expected = np.broadcast_to(np.exp(1j * np.angle(p.X)), V.shape)
    for j in range(2):
        sounding = V[j][:, at[j]] > 0
        found, wanted = (a[j][:, at[j]][sounding] for a in (phases, expected))
        np.testing.assert_allclose(found, wanted, atol=1e-12)


@pytest.mark.parametrize("window", ["hann", "hamming", "blackman", ("gaussian", 150.0)])
def test_frequencies_between_bins(window):
    stft = STFT(1024, window=window)
    for offset in (-0.49, -0.2, 0.0, 0.31, 0.5):
        V = np.abs(stft(np.cos(2 * np.pi * (100 + offset) / 1024 * np.arange(8192))))
        found = sinusoids(V, stft, 0.01, valleys=False).frequency[100, 8:-8]
        np.testing.assert_allclose(found, 100 + offset, atol=5e-4)


def literal(V, threshold, valleys):
    """Bin of the peak of each bin, with loops."""
    found = np.tile(np.arange(len(V))[:, None], V.shape[1])
    for t, frame in enumerate(V.T):
        peaks = [
            k
            for k in range(1, len(frame) - 1)
            if frame[k - 1] < frame[k] >= frame[k + 1] and frame[k] > threshold * frame.max()
        ]
        for k in range(len(frame)) if peaks else ():
            lower = max((q for q in peaks if q <= k), default=peaks[0])
            upper = min((q for q in peaks if q >= k), default=peaks[-1])
            if valleys:
                edge = lower + int(np.argmin(frame[lower : upper + 1]))
            else:
                edge = (frame[lower] * upper + frame[upper] * lower) / (frame[lower] + frame[upper])
            found[k, t] = lower if k <= edge else upper
    return found


@pytest.mark.parametrize(("threshold", "valleys"), [(0.01, False), (0.3, False), (0.0, True)])
def test_regions_of_influence(threshold, valleys):
    V = np.random.default_rng(0).rayleigh(size=(33, 40))
    V[:, 3] = 0
    V[:, 4] = np.arange(33)
    found = sinusoids(V, STFT(64), threshold, valleys=valleys)
    np.testing.assert_array_equal(found.peak, literal(V, threshold, valleys))
    np.testing.assert_array_equal(found.frequency[:, 3], np.arange(33))


@pytest.mark.parametrize("name", ["sinusoidal", "spsi"])
def test_batches_silence_and_libraries(name, backend, make_problem):
    p = make_problem(backend, batch=(2,), n_sources=3)
    S = p.start(name)
    assert type(S) is type(p.magnitudes) and str(S.dtype).endswith(backend.complex)
    np.testing.assert_allclose(np.abs(np.asarray(S)), np.asarray(p.magnitudes), rtol=1e-5)
    for c in range(2):
        alone = Problem(p.magnitudes[c], p.mixture[c], stft=p.stft)
        np.testing.assert_array_equal(np.asarray(alone.start(name)), np.asarray(S[c]))
    silent = Problem(0 * p.magnitudes, 0 * p.mixture, stft=p.stft)
    assert not np.any(np.asarray(silent.start(name)))


@pytest.mark.parametrize("name", ["sinusoidal", "spsi"])
def test_gradients_are_those_of_magnitudes(name):
    torch = pytest.importorskip("torch")
    stft = STFT(16, 4)
    V = torch.rand(2, 9, 16, requires_grad=True)
    p = Problem(V, torch.randn(61), stft=stft)
    S = p.start(name)
    (S.abs() ** 2).sum().backward()
    torch.testing.assert_close(V.grad, 2 * V.detach())
