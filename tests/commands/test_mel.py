"""``phaserec invert --mel`` and ``--analyse mel``."""

import json

import numpy as np
import pytest
import soundfile

from phaserec import STFT
from phaserec.inverse import Bands

RATE = 8000
X = np.random.default_rng(0).standard_normal(4000).astype(np.float32) * 0.1


@pytest.fixture(autouse=True)
def _arrays(monkeypatch):
    monkeypatch.setenv("PHASEREC_MACHINE", "arrays")


CONVENTIONS = {
    "librosa": (Bands.mel(20, 256, RATE), []),
    "torchaudio": (
        Bands.mel(20, 256, RATE, scale="htk", norm=None, log="ln", fmax=3500),
        ["--mel-scale", "htk", "--mel-norm", "none", "--log", "ln", "--fmax", 3500],
    ),
    "kaldi": (Bands.kaldi(20, 256, RATE), ["--mel-scale", "kaldi"]),
    "decibels of the peak": (
        Bands.mel(20, 256, RATE, log="db", ref=0.01, floor=1e-5),
        ["--log", "db", "--ref", 0.01, "--floor", 1e-5],
    ),
    "magnitudes": (Bands.mel(20, 256, RATE, power=1, log="db"), ["--mel-power", 1, "--log", "db"]),
}


@pytest.mark.parametrize("name", CONVENTIONS)
def test_values_of_a_file_are_what_the_sound_has(name, phaserec):
    bands, options = CONVENTIONS[name]
    values = bands(STFT(256)(X))
    np.savez("mel.npz", magnitudes=values, sr=RATE, n_fft=256, length=4000)
    code, out, err = phaserec("invert", "--mel", "mel.npz", "--seed", 1, "-o", "out.wav", *options)
    assert (code, out) == (0, "out.wav\n"), err
    y, rate = soundfile.read("out.wav")
    assert (y.size, rate) == (4000, RATE)
    error = np.abs(np.log(bands.linear(bands(STFT(256)(y))) / bands.linear(values))).mean()
    assert error < 0.1


def test_a_recording_is_analysed_and_made_again(phaserec):
    soundfile.write("noise.wav", np.stack([X, X[::-1]], axis=1), RATE, "FLOAT")
    options = ["--n-mels", 20, "--n-fft", 256, "--analyse", "mel", "--seed", 1]
    code, _, err = phaserec("invert", "noise.wav", *options, "--json", "done.json")
    assert code == 0, err
    y, _ = soundfile.read("recovered/noise.wav")
    assert y.shape == (4000, 2)
    bands = Bands.mel(20, 256, RATE)
    values = bands(STFT(256)(X))
    assert np.abs(np.log(bands(STFT(256)(y[:, 0])) / values)).mean() < 0.1
    with open("done.json") as file:
        done = json.load(file)
    assert done["algorithm"] == "fast-griffin-lim"
    assert (done["mel"]["n_mels"], done["mel"]["fmax"], done["machine"]) == (20, 4000, "arrays")


def test_magnitudes_of_a_recording(phaserec):
    soundfile.write("noise.wav", X, RATE, "FLOAT")
    np.save("magnitudes.npy", np.abs(STFT(256, 128)(X[None])))
    common = ["--n-fft", 256, "--hop-length", 128, "--algo", "admm", "--seed", 1]
    phaserec("invert", "noise.wav", "--analyse", "magnitudes", "-o", "a.wav", *common)
    given = ["--magnitudes", "magnitudes.npy", "--rate", RATE, "--length", X.size]
    phaserec("invert", *given, "-o", "b.wav", *common)
    a, b = soundfile.read("a.wav")[0], soundfile.read("b.wav")[0]
    np.testing.assert_allclose(a, b, atol=1e-6)


def test_fixed_magnitudes_are_those_of_least_squares(phaserec):
    bands = Bands.mel(20, 256, RATE)
    values = bands(STFT(256)(X))
    np.save("mel.npy", values)
    np.save("magnitudes.npy", bands.magnitudes(values))
    common = ["--rate", RATE, "--n-fft", 256, "--seed", 1]
    phaserec("invert", "--mel", "mel.npy", "--fixed", "-o", "a.wav", *common)
    phaserec("invert", "--magnitudes", "magnitudes.npy", "-o", "b.wav", *common)
    a, b = soundfile.read("a.wav")[0], soundfile.read("b.wav")[0]
    np.testing.assert_allclose(a, b, atol=1e-3 * np.abs(b).max())


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--mel", "mel.npy"], "--rate"),
        (["--mel", "mel.npy", "--rate", 8000, "--n-mels", 20], "--n-mels"),
        (["--mel", "mel.npy", "--magnitudes", "mel.npy"], "--magnitudes"),
        (["--mel", "mel.npy", "--analyse", "mel"], "leave out MIXTURE"),
        (["--analyse", "mel"], "--analyse mel needs MIXTURE"),
        (["speech.wav", "--analyse", "magnitudes", "--fixed"], "--fixed are for mel values"),
        (["--mel", "dB.npy", "--rate", 8000], "say which: log="),
        (["--mel", "mel.npy", "--rate", 8000, "--mel-power", 1.5], "power=1.5"),
        (["--mel", "mel.npy", "--rate", 8000, "--ref", 2], "--log db"),
        (["--mel", "mel.npy", "--rate", 8000, "--log", "db", "--floor", 0], "floor=0.0"),
        (["--mel", "mel.npy", "--rate", 8000, "--mel-scale", "kaldi", "--floor", 1], "kaldi has"),
        (["--mel", "missing.npy", "--rate", 8000], "missing.npy"),
    ],
)
def test_mistakes_are_one_line(options, named, phaserec):
    np.save("mel.npy", np.ones((20, 10)))
    np.save("dB.npy", -np.ones((20, 10)))
    code, out, err = phaserec("invert", *options)
    assert (code, out) == (2, "")
    assert err.startswith("phaserec: error: ") and err.count("\n") == 1
    assert named in err
