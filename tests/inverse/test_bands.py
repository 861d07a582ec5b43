"""Values of bands as librosa and Kaldi have them, and magnitudes that have the values."""

import numpy as np
import pytest

from phaserec import STFT
from phaserec.inverse import Bands, kaldi_filters, mfcc_to_mel

librosa = pytest.importorskip("librosa")
RATE, N_FFT = 16000, 512


@pytest.fixture(scope="module")
def S():
    """Magnitudes of noise that fades."""
    x = np.random.default_rng(0).standard_normal(6000) * np.linspace(1, 1e-3, 6000)
    return np.abs(STFT(N_FFT)(x))


@pytest.mark.parametrize("power", [1.0, 2.0])
@pytest.mark.parametrize("log", [None, "ln", "log10", "db"])
def test_magnitudes_have_the_values(S, power, log, make_backend):
    bands = Bands.mel(40, N_FFT, RATE, power=power, log=log, ref=2.0, floor=1e-6)
    values = bands(S)
    assert values.shape == (40, S.shape[-1])
    np.testing.assert_allclose(bands(bands.magnitudes(values)), values, rtol=1e-5, atol=1e-7)
    torch64 = make_backend("torch", 64)
    found = bands.magnitudes(torch64(values))
    np.testing.assert_allclose(found.numpy(), bands.magnitudes(values), rtol=1e-4, atol=1e-7)


def test_values_are_those_of_librosa(S):
    M = librosa.feature.melspectrogram(S=S**2, sr=RATE, n_mels=40)
    np.testing.assert_allclose(Bands.mel(40, N_FFT, RATE)(S), M, rtol=1e-6)
    dB = librosa.power_to_db(M, ref=0.5, amin=1e-4, top_db=None)
    ours = Bands.mel(40, N_FFT, RATE, log="db", ref=0.5, floor=1e-4)(S)
    np.testing.assert_allclose(ours, dB, rtol=1e-6, atol=1e-5)


def test_values_are_those_of_kaldi(S):
    literally = np.log(np.maximum(kaldi_filters(23, N_FFT, RATE) @ S**2, 1.1920928955078125e-07))
    np.testing.assert_allclose(Bands.kaldi(23, N_FFT, RATE)(S), literally)


def test_complex_spectrograms_have_the_values_of_their_magnitudes(S):
    bands = Bands.mel(40, N_FFT, RATE, power=1)
    np.testing.assert_allclose(bands(S * np.exp(1j)), bands(S), rtol=1e-12)


def test_gradients_at_silence():
    torch = pytest.importorskip("torch")
    bands = Bands.mel(6, 32, 8000, log="ln")
    values = bands(torch.zeros(17, 3, dtype=torch.float64)).requires_grad_()
    bands.magnitudes(values).sum().backward()
    assert torch.isfinite(values.grad).all()
    zeros = torch.zeros(6, 3, dtype=torch.float64, requires_grad=True)
    Bands.mel(6, 32, 8000).magnitudes(zeros).sum().backward()
    assert torch.isfinite(zeros.grad).all()


@pytest.mark.parametrize("lifter", [0, 22])
@pytest.mark.parametrize("kind", [2, 3])
def test_cepstra_are_those_of_librosa(S, kind, lifter):
    dB = librosa.power_to_db(librosa.feature.melspectrogram(S=S**2, sr=RATE, n_mels=40))
    mfcc = librosa.feature.mfcc(S=dB, n_mfcc=40, dct_type=kind, lifter=lifter)
    theirs = librosa.feature.inverse.mfcc_to_mel(mfcc, n_mels=40, dct_type=kind, lifter=lifter)
    ours = mfcc_to_mel(mfcc, n_mels=40, dct_type=kind, lifter=lifter)
    np.testing.assert_allclose(ours, theirs, rtol=1e-4)
    np.testing.assert_allclose(ours, 10 ** (dB / 10), rtol=1e-4)
    fewer = mfcc_to_mel(mfcc[:13], n_mels=40, dct_type=kind, lifter=lifter)
    theirs = librosa.feature.inverse.mfcc_to_mel(mfcc[:13], n_mels=40, dct_type=kind, lifter=lifter)
    np.testing.assert_allclose(fewer, theirs, rtol=1e-4)


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: Bands(-np.ones((2, 3))), "A of shape"),
        (lambda: Bands(np.ones((2, 3)), power=0), "power=0"),
        (lambda: Bands(np.ones((2, 3)), log="dB"), "log='dB'"),
        (lambda: Bands(np.ones((2, 3)), floor=-1), "floor=-1"),
        (lambda: Bands(np.ones((2, 3)))(np.ones((4, 5))), "S of shape"),
        (lambda: Bands(np.ones((2, 3))).magnitudes(np.ones((5, 2))), "transpose"),
        (lambda: Bands(np.ones((2, 3))).magnitudes(-np.ones((2, 5))), "say which: log="),
        (lambda: Bands(np.ones((2, 3)), log="ln").magnitudes(np.full((2, 5), 800.0)), "log='ln'"),
        (lambda: mfcc_to_mel(np.ones((41, 3)), n_mels=40), "n_mels=40"),
        (lambda: mfcc_to_mel(np.ones((4, 3)), lifter=-1), "lifter=-1"),
    ],
)
def test_bad_values_are_named(make, named):
    with np.errstate(over="ignore"), pytest.raises(ValueError, match=named):
        make()
