"""Drop-ins for librosa's functions: their parameters, better magnitudes, and L-BFGS beside them."""

import inspect

import numpy as np
import pytest

import phaserec
from phaserec import STFT
from phaserec.inverse import Bands, by_gradient

librosa = pytest.importorskip("librosa")


@pytest.fixture(scope="module")
def mel():
    """Mel values of a sum of slides, and its magnitudes."""
    t = np.arange(8000) / 16000
    x = sum(
        np.sin(2 * np.pi * f * t * (1 + 0.2 * t)) / k for k, f in enumerate((210, 430, 2000), 1)
    )
    x = x + 0.01 * np.random.default_rng(0).standard_normal(x.size)
    S = np.abs(STFT(512)(x.astype(np.float32)))
    return librosa.feature.melspectrogram(S=S**2, sr=16000, n_mels=40), S


@pytest.mark.parametrize("name", ["mel_to_stft", "mel_to_audio", "mfcc_to_audio"])
def test_parameters_and_defaults_are_those_of_librosa(name):
    ours = inspect.signature(getattr(phaserec, name)).parameters
    theirs = inspect.signature(getattr(librosa.feature.inverse, name)).parameters
    given = {k: p.default for k, p in theirs.items() if p.kind is not p.VAR_KEYWORD}
    given.pop("dtype", None)  # follows the input here
    assert {k: ours[k].default for k in given} == given


def test_magnitudes_are_closer_than_those_of_librosa(mel):
    M, S = mel
    ours = phaserec.mel_to_stft(M, sr=16000, n_fft=512)
    theirs = librosa.feature.inverse.mel_to_stft(M, sr=16000, n_fft=512)
    assert ours.dtype == M.dtype
    assert ours.shape == theirs.shape
    assert np.linalg.norm(ours - S) < np.linalg.norm(theirs - S)
    np.testing.assert_allclose(Bands.mel(40, 512, 16000)(ours), M, rtol=1e-4)


@pytest.mark.parametrize("options", [{"htk": True, "norm": None}, {"power": 1.0}, {"fmax": 6000}])
def test_options_reach_the_filters(mel, options):
    _, S = mel
    power = options.get("power", 2.0)
    filters = {k: v for k, v in options.items() if k != "power"}
    M = librosa.feature.melspectrogram(S=S**power, sr=16000, n_mels=40, **filters)
    made = phaserec.mel_to_stft(M, sr=16000, n_fft=512, **options)
    again = librosa.feature.melspectrogram(S=made**power, sr=16000, n_mels=40, **filters)
    np.testing.assert_allclose(again, M, rtol=1e-4, atol=1e-9)


def test_sound_has_the_values_and_more_so_with_joint_iterations(mel):
    M, _ = mel
    bands = Bands.mel(40, 512, 16000)

    def error(y):
        return np.abs(np.log(bands(STFT(512)(y)) / M)).mean()

    options = {"sr": 16000, "n_fft": 512, "length": 8000}
    theirs = error(librosa.feature.inverse.mel_to_audio(M, **options))
    plain = error(phaserec.mel_to_audio(M, rng=0, **options))
    joint = error(phaserec.mel_to_audio(M, rng=0, joint=8, **options))
    assert joint < plain < theirs


def test_lengths_dtypes_and_tensors(mel, make_backend):
    M, _ = mel
    options = {"sr": 16000, "n_fft": 512, "n_iter": 2}
    theirs = librosa.feature.inverse.mel_to_audio(M, **options)
    assert phaserec.mel_to_audio(M, **options).shape == theirs.shape
    assert phaserec.mel_to_audio(M, dtype="float64", **options).dtype == np.float64
    torch32 = make_backend("torch", 32)
    y = phaserec.mel_to_audio(torch32(M), rng=0, **options)
    expected = phaserec.mel_to_audio(M, rng=0, **options)
    np.testing.assert_allclose(y.numpy(), expected, atol=1e-3 * np.abs(expected).max())
    half = phaserec.mel_to_audio(torch32(M).half(), joint=1, **options)
    assert str(half.dtype) == "torch.float16"


def test_cepstra_sound_like_the_mel_values_they_tell(mel):
    M, _ = mel
    mfcc = librosa.feature.mfcc(S=librosa.power_to_db(M, top_db=None), n_mfcc=40)
    options = {"sr": 16000, "n_fft": 512, "length": 8000, "rng": 0}
    y = phaserec.mfcc_to_audio(mfcc, n_mels=40, **options)
    expected = phaserec.mel_to_audio(M, **options)
    np.testing.assert_allclose(y, expected, atol=0.02 * np.abs(expected).max())


def test_decibels_are_refused(mel):
    with pytest.raises(ValueError, match="log='ln'"):
        phaserec.mel_to_audio(librosa.power_to_db(mel[0]), sr=16000, n_fft=512)
    with pytest.raises(ValueError, match="joint=-1"):
        phaserec.mel_to_audio(mel[0], sr=16000, n_fft=512, joint=-1)


def test_gradient_descent_finds_a_signal_with_the_values():
    stft, bands = STFT(128), Bands.mel(16, 128, 8000, log="ln", floor=1e-6)
    x = np.random.default_rng(2).standard_normal(1000)
    target = bands(stft(x))
    y = by_gradient(lambda y: bands(stft(y)), target, 1000, n_iter=150, rng=0)
    assert y.dtype == np.float64
    assert np.abs(bands(stft(y)) - target).mean() < 0.1
    better = by_gradient(lambda y: bands(stft(y)), target, 1000, n_iter=5, init=x)
    np.testing.assert_allclose(better, x)  # the truth is where it stays


def test_gradient_descent_names_what_is_wrong():
    with pytest.raises(ValueError, match="target of shape"):
        by_gradient(lambda y: y, np.ones(3), 5)
    with pytest.raises(ValueError, match="init of shape"):
        by_gradient(lambda y: y, np.ones(3), 3, init=np.ones(4))
