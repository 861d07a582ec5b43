"""Phase gradient heap integration: derivatives, the order, the causal kind, and real speech."""

import heapq

import numpy as np
import pytest
import soundfile

from phaserec import STFT, Problem, invert, iterate, measures
from phaserec.projectors import unit
from phaserec.starts import queue
from phaserec.starts.gradient import TOLERANCE, along_frequency, along_time, nearest_gaussian

NAMES = ("pghi", "rtpghi", "rtpghi-la")


@pytest.fixture(params=["python", "machine code"])
def machine(request, monkeypatch):
    """Either of the two that do the loop."""
    choose(monkeypatch, request.param)


def choose(monkeypatch, machine):
    """Pin what does the loop."""
    monkeypatch.setattr(queue, "_FEW", 0 if machine == "machine code" else 10**9)
    queue._compiled.cache_clear()


def noise(length=700, seed=0):
    return np.random.default_rng(seed).standard_normal(length)


# The nearest Gaussian


@pytest.mark.parametrize(
    ("window", "printed"),
    [("hann", 0.25645), (np.sqrt, 0.41532), ("hamming", 0.29794), ("blackman", 0.17954)],
)
@pytest.mark.parametrize(("n_fft", "win_length"), [(1024, None), (2048, 1024), (1025, 999)])
def test_gamma_is_that_of_the_table(window, printed, n_fft, win_length):
    n = win_length or n_fft
    if window is np.sqrt:
        window = np.sin(np.pi * np.arange(n) / n)
    gamma, centre = nearest_gaussian(STFT(n_fft, 64, win_length, window))
    assert gamma / n**2 == pytest.approx(printed, rel=2e-3)
    assert centre == pytest.approx((n_fft - n) // 2 + n / 2, abs=0.01)


@pytest.mark.parametrize("std", [20.0, 128.0])
def test_gamma_of_a_gaussian_is_its_own(std):
    gamma, centre = nearest_gaussian(STFT(1024, 16, window=("gaussian", std)))
    assert gamma == pytest.approx(2 * np.pi * std**2, rel=1e-6)
    assert centre == pytest.approx(512)
    scaled = nearest_gaussian(STFT(1024, 16, window=-5 * STFT(1024, 16).window_values))
    assert scaled == pytest.approx(nearest_gaussian(STFT(1024, 16)))


def test_windows_that_are_no_bell_have_one_too():
    for window in ("rect", np.arange(1, 65), np.eye(64)[3], np.sin(np.arange(64)), "flattop"):
        gamma, centre = nearest_gaussian(STFT(64, 1, window=window, strict=False))
        assert 0 < gamma < 64**2 and 0 <= centre < 64


# Derivatives


@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize("n_fft", [256, 255])
def test_derivatives_are_those_of_the_phase(n_fft, center):
    """Where a chirp is strong, phases move as the derivatives say, in both directions."""
    stft = STFT(n_fft, 8, window=("gaussian", 30), center=center)
    t = np.arange(3000)
    S = stft(np.cos(2 * np.pi * (0.1 * t + 3e-5 * t**2)))[:, 40:-40]
    L = np.log(np.abs(S)).T
    strong = L.max() - 2 < L
    for step, derivative, axis in [
        (S[:, 1:] / S[:, :-1], along_time(L, stft), 0),
        (S[1:] / S[:-1], along_frequency(np.gradient(L, axis=0), stft), 1),
    ]:
        mean = 0.5 * (np.delete(derivative, 0, axis) + np.delete(derivative, -1, axis))
        error = np.angle(step.T * np.exp(-1j * mean))
        both = np.delete(strong, 0, axis) & np.delete(strong, -1, axis)
        assert np.abs(error[both]).max() < 0.03


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("n_fft", [256, 255])
def test_a_tone_has_its_phases_but_for_a_constant(name, n_fft):
    stft = STFT(n_fft, 16, window=("gaussian", 30), center=False)
    S = stft(np.cos(2 * np.pi * 0.123 * np.arange(3000)))
    found = Problem(np.abs(S), stft=stft).start(name, 0)
    turn = found * np.conj(S)
    strong = np.abs(S) > 0.05 * np.abs(S).max()
    error = np.angle(turn * np.conj(np.sum(turn)))[strong]
    assert np.abs(error).max() < 1e-2


# The order


def literal(L, advance, slope, faint):
    """PGHI as the paper writes it, with a heap; phases ``(T, F)``.

    Levels are told apart to a part of a decibel; of equals the last that was found goes first.
    """
    level = np.floor(queue.FINENESS * (L.max() - L)).astype(int)
    todo = {tuple(b) for b in np.argwhere(~faint)}
    phase, count = np.zeros(L.shape), 0
    while todo:
        first = min(todo, key=lambda b: (level[b], b))
        todo.remove(first)
        waiting = [(level[first], 0, first)]
        while waiting:
            _, _, (t, f) = heapq.heappop(waiting)
            for dt, df in ((-1, 0), (1, 0), (0, -1), (0, 1)):
                other = (t + dt, f + df)
                if other in todo:
                    d = advance if dt else slope
                    phase[other] = phase[t, f] + (dt + df) * (d[t, f] + d[other]) / 2
                    todo.remove(other)
                    count += 1
                    heapq.heappush(waiting, (level[other], -count, other))
    return phase


@pytest.mark.parametrize("ties", [False, True])
def test_pghi_is_the_literal_one(machine, ties):
    stft = STFT(64, 8)
    V = np.abs(stft(noise())).astype(np.float32).astype(float)
    V[20] = 0  # two regions, and frequencies between them that are faint
    if ties:
        V = np.round(V)
    L = np.log(np.maximum(V, TOLERANCE * V.max())).T
    (gamma, _), hop, n_fft = nearest_gaussian(stft), stft.hop_length, stft.n_fft
    advance, slope = np.empty(L.shape), np.empty(L.shape)
    for t, f in np.ndindex(L.shape):
        up, down = L[t, f + 1 if f < 32 else 31], L[t, f - 1 if f > 0 else 1]
        advance[t, f] = hop * n_fft / (2 * gamma) * (up - down) + 2 * np.pi * hop * f / n_fft
        before, after = max(t - 1, 0), min(t + 1, len(L) - 1)
        change = (L[after, f] - L[before, f]) / (after - before)
        slope[t, f] = -gamma / (hop * n_fft) * change - np.pi  # (−1)^m: frames begin early
    faint = TOLERANCE * V.max() >= V.T
    expected = V * np.exp(1j * literal(L, advance, slope, faint)).T
    found = Problem(V, stft=stft).start("pghi", 0)
    np.testing.assert_allclose(found, expected, atol=1e-9 * V.max())


def test_machine_code_equals_python(monkeypatch):
    p = Problem(np.abs(STFT(64, 8)(noise())), stft=STFT(64, 8))
    for name in NAMES:
        results = []
        for machine in ("machine code", "python"):
            choose(monkeypatch, machine)
            results.append(p.start(name, 0))
        np.testing.assert_allclose(*results, atol=1e-12)


# Causality


@pytest.mark.parametrize(("name", "ahead"), [("rtpghi", 0), ("rtpghi-la", 1)])
def test_later_frames_change_nothing(name, ahead):
    stft, changed = STFT(64, 16), 20
    V = np.abs(stft(noise()))
    W = V.copy()
    W[:, changed:] = 1e3 * np.abs(stft(noise(seed=1)))[:, changed:]
    one, other = (Problem(each, stft=stft).start(name, 0) for each in (V, W))
    until = changed - ahead
    np.testing.assert_array_equal(one[:, :until], other[:, :until])
    assert np.abs(unit(one[:, until]) - unit(other[:, until])).max() > 1e-3


# What holds for all of them


@pytest.mark.parametrize("name", NAMES)
def test_magnitudes_are_kept_and_items_are_by_themselves(name, backend):
    stft = STFT(64, 16)
    V = np.abs(stft(np.stack([[noise(), 0 * noise()], [noise(seed=1), 1e-6 * noise(seed=2)]])))
    S = np.asarray(Problem(backend(V), stft=stft).start(name, 0))
    assert str(S.dtype) == backend.complex
    np.testing.assert_allclose(np.abs(S), V, rtol=1e-5, atol=1e-30)
    alone = np.asarray(Problem(backend(V[1, 1]), stft=stft).start(name, 0))
    np.testing.assert_allclose(S[1, 1], alone, rtol=1e-4, atol=1e-4 * V[1, 1].max())


@pytest.mark.parametrize("name", NAMES)
def test_loudness_does_not_matter(name):
    stft = STFT(64, 16)
    V = np.abs(stft(noise()))
    quiet, loud = (Problem(c * V, stft=stft).start(name, 0) for c in (2.0**-30, 2.0**30))
    np.testing.assert_allclose(2.0**60 * quiet, loud, atol=1e-9 * np.abs(loud).max())


@pytest.mark.parametrize("name", NAMES)
def test_the_quietest_numbers(name):
    V = np.full((33, 5), 5e-324)
    V[:, 3] = 0
    np.testing.assert_array_equal(np.abs(Problem(V, stft=STFT(64, 16)).start(name, 0)) > 0, V > 0)


@pytest.mark.parametrize("name", NAMES)
def test_a_ragged_batch_equals_its_items(name):
    stft, lengths = STFT(64, 16), [500, 700]
    x = np.stack([noise(), noise(seed=1)])
    V = np.abs(stft(x, lengths=lengths))
    S = Problem(V, stft=stft, length=700, lengths=lengths).start(name, 0)
    frames = stft.n_frames(500)
    alone = Problem(V[0, :, :frames], stft=stft, length=500).start(name, 0)
    np.testing.assert_allclose(S[0, :, :frames], alone, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_faint_bins_are_drawn(name):
    stft = STFT(64, 16)
    V = np.abs(stft(noise()))
    V[5] = 1e-9
    one, again, other = (Problem(V, stft=stft).start(name, seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, again)
    assert np.abs(unit(one[5]) - unit(other[5])).max() > 0.1
    np.testing.assert_array_equal(np.delete(one, 5, 0), np.delete(other, 5, 0))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (33, 1), (2, 4), (33, 2)])
def test_the_smallest(name, shape):
    n_fft = {1: 1, 2: 2, 33: 64}[shape[0]]
    stft = STFT(n_fft, 1, window="rect", center=False)
    S = Problem(np.ones(shape), stft=stft).start(name, 0)
    np.testing.assert_allclose(np.abs(S), 1)


def test_gradients_reach_the_magnitudes():
    torch = pytest.importorskip("torch")
    V = torch.rand(33, 9, dtype=torch.float64, requires_grad=True)
    S = Problem(V, stft=STFT(64, 16)).start("pghi", 0)
    (gradient,) = torch.autograd.grad(S.abs().sum(), V)
    torch.testing.assert_close(gradient, torch.ones_like(V))


def test_alone_and_before_an_algorithm():
    stft = STFT(64, 16)
    V = np.abs(stft(noise()))
    p = Problem(V, stft=stft)
    alone = invert(V, stft=stft, algorithm="griffin-lim", n_iter=0, init="pghi", rng=0)
    np.testing.assert_allclose(alone, p.waveforms(p.start("pghi", 0)), atol=1e-12)
    better = invert(V, stft=stft, algorithm="griffin-lim", n_iter=5, init="pghi", rng=0)
    errors = [measures.spectral_convergence(stft(x), p) for x in (alone, better)]
    assert errors[1] < errors[0]


# Real speech

CLEAN = [
    *("p232_002", "p232_003", "p232_006", "p232_007", "p232_032"),
    *("p287_001", "p287_002", "p287_003"),
]


def mean_error(recordings, start, hop, window="hann", n_iter=0):
    """Mean spectral convergence in dB of a start, or of fast Griffin-Lim from it."""
    stft, errors = STFT(1024, hop, window=window), []
    for x in recordings:
        p = Problem(np.abs(stft(x)), stft=stft, length=len(x))
        S = p.start(start, 0)
        if n_iter:
            *_, S = iterate("fast-griffin-lim", p, n_iter, init=S)
        errors.append(measures.spectral_convergence(S, p))
    return np.mean(errors)


@pytest.fixture(scope="module")
def speech(data):
    folder = data / "voicebank_demand" / "clean"
    if not folder.is_dir():
        pytest.skip(f"no real audio: {folder} does not exist")
    return [soundfile.read(folder / f"{name}.flac", dtype="float32")[0] for name in CLEAN]


@pytest.mark.parametrize(
    ("hop", "window", "most"),
    [(256, "hann", -21), (128, "hann", -26.5), (128, ("gaussian", 1024 / 7), -30)],
)
def test_clean_speech(speech, hop, window, most):
    assert mean_error(speech, "pghi", hop, window) <= most


def test_clean_speech_without_rumble(data):
    """Below 50 Hz, where a recording's noise meets its mirror image, phases are poor."""
    path = data / "train" / "speech" / "ljspeech_00.flac"
    if not path.is_file():
        pytest.skip(f"no real audio: {path} does not exist")
    x, _ = soundfile.read(path, dtype="float32", frames=30 * 16000)
    assert mean_error([x], "pghi", 64, ("gaussian", 1024 / 9)) <= -40


@pytest.mark.parametrize(("hop", "gain"), [(256, 4), (128, 10)])
def test_a_better_start_is_worth_many_iterations(speech, hop, gain):
    few = speech[:3]
    errors = {init: mean_error(few, init, hop, n_iter=50) for init in ("pghi", "random")}
    assert errors["pghi"] <= errors["random"] - gain


def test_looking_ahead_lies_between(speech):
    online, ahead, offline = (
        mean_error(speech[:3], name, 128) for name in ("rtpghi", "rtpghi-la", "pghi")
    )
    assert offline < ahead - 1 and ahead < online - 1
