"""On real speech and music: oracle magnitudes recover the phases, and more iterations do better."""

import numpy as np
import pytest
import soundfile

from phaserec import STFT, Problem, iterate, mel_to_audio
from phaserec.inverse import BandProblem, Bands
from phaserec.measures import sdr

PAIRS = [
    *("p232_002", "p232_003", "p232_006", "p232_007", "p232_032"),
    *("p287_001", "p287_002", "p287_003"),
]
MIXTURES = [
    "1919-142785-0045_6319-275224-0016",
    "2803-154328-0017_8297-275155-0016",
    "2803-161169-0001_7976-110523-0004",
    "2902-9006-0008_2412-153954-0015",
]


def read(path):
    """Waveform ``(time,)`` in single precision."""
    if not path.is_file():
        pytest.skip(f"no real audio: {path} does not exist")
    return soundfile.read(path, dtype="float32")[0]


def oracle(sources, stft):
    """Problem with the true magnitudes of the sources."""
    return Problem(np.abs(stft(sources)), sources.sum(-2), stft=stft)


@pytest.mark.parametrize("name", PAIRS)
def test_speech_in_noise(name, data):
    folder = data / "voicebank_demand"
    clean, noisy = (read(folder / kind / f"{name}.flac") for kind in ("clean", "noisy"))
    p = oracle(np.stack([clean, noisy - clean]), STFT(1024))

    def speech_sdr(S):
        return float(sdr(clean, p.waveforms(S)[0]))

    masked = speech_sdr(p.start())
    for algorithm, hyper, gain in [
        ("misi", {}, 25),
        ("mag-incons-hard-mix", {"sigma": 1.0}, 12),
        ("aux", {"sigma": 0.5}, 5),
    ]:
        *_, S = iterate(algorithm, p, 20, **hyper)
        assert S.dtype == np.complex64
        assert speech_sdr(S) > masked + gain, algorithm


def rises(p, sources, checkpoints=(1, 5, 20)):
    """SDR of MISI at some iterations, per batch item: finite, and better each time."""
    values = []
    for n, S in enumerate(iterate("misi", p, checkpoints[-1]), start=1):
        if n in checkpoints:
            x = p.waveforms(S)
            assert x.shape == sources.shape
            assert np.all(np.isfinite(x))
            values.append(sdr(sources, x).mean(-1))
    assert np.all(np.diff(values, axis=0) > 0)


@pytest.mark.parametrize("name", MIXTURES)
def test_two_speakers(name, data):
    folder = data / "librispeech_2mix"
    mix, one, two = (read(folder / kind / f"{name}.flac") for kind in ("mix", "s1", "s2"))
    # The recording holds noise besides the speakers: it is the third source.
    sources = np.stack([one, two, mix - one - two])[:, :32000]
    p = Problem(np.abs(STFT(512)(sources)), mix[:32000], stft=STFT(512))
    rises(p, sources)


def test_stereo_music_is_a_batch(data):
    vocals, band = (read(data / "music" / f"{kind}.flac") for kind in ("vocals", "accompaniment"))
    # Vocals to the left, the accompaniment to the right: channels are a batch axis.
    left, right = np.stack([vocals, 0.5 * band]), np.stack([0.5 * vocals, band])
    sources = np.stack([left, right])[..., :132300]
    p = oracle(sources, STFT(2048))
    assert p.magnitudes.shape[:2] == (2, 2)
    rises(p, sources)


@pytest.mark.parametrize("power", [1, 2])
def test_mel_values_of_speech(power, data):
    """The error of the mel values falls at every iteration, and ends below librosa's."""
    librosa = pytest.importorskip("librosa")
    x = read(data / "voicebank_demand" / "clean" / "p232_007.flac")[8000:24000]
    stft, bands = STFT(1024), Bands.mel(80, 1024, 16000, power=power)
    M = bands(stft(x))
    floor = 1e-6 * M.max()

    def error(S):
        return np.abs(np.log(np.maximum(bands(S), floor) / np.maximum(M, floor))).mean()

    options = {"sr": 16000, "n_fft": 1024, "power": power, "length": len(x)}
    theirs = error(stft(librosa.feature.inverse.mel_to_audio(M, **options)))
    assert error(stft(mel_to_audio(M, rng=0, **options))) < theirs
    p = BandProblem(bands, M, stft=stft, length=len(x))
    errors = [error(p.cons(S)) for S in iterate("fast-griffin-lim", p, 20, rng=0)]
    assert np.all(np.diff(errors) < 0)
    assert errors[-1] < 0.7 * theirs
