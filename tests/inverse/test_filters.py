"""Filter banks: librosa's to rounding, HTK's and Kaldi's by the formulas of their manuals."""

import numpy as np
import pytest

from phaserec.inverse import kaldi_filters, mel_filters

librosa = pytest.importorskip("librosa")


@pytest.mark.parametrize("htk", [False, True])
@pytest.mark.parametrize("norm", ["slaney", None, 1, np.inf])
@pytest.mark.parametrize("size", [(80, 1024, 22050, 0, None), (40, 512, 16000, 60, 7600.0)])
def test_those_of_librosa(size, norm, htk):
    n_mels, n_fft, rate, fmin, fmax = size
    ours = mel_filters(
        *(n_mels, n_fft, rate),
        fmin=fmin,
        fmax=fmax,
        norm=norm,
        scale="htk" if htk else "slaney",
    )
    theirs = librosa.filters.mel(
        sr=rate, n_fft=n_fft, n_mels=n_mels, fmin=fmin, fmax=fmax, norm=norm, htk=htk, dtype=float
    )
    np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12 * theirs.max())


def mel(hertz):
    """Mel of HTK's book, and of Kaldi's source, which writes it so."""
    return 1127 * np.log(1 + hertz / 700)


def kaldi_literally(n_mels, n_fft, rate, low, high):
    """Kaldi's MelBanks, bin by bin (feat/mel-computations.cc says what it computes)."""
    high = high + rate / 2 if high <= 0 else high
    delta = (mel(high) - mel(low)) / (n_mels + 1)
    bank = np.zeros((n_mels, n_fft // 2 + 1))
    for band in range(n_mels):
        left, centre, right = (mel(low) + (band + k) * delta for k in range(3))
        for k in range(n_fft // 2):  # not the highest bin
            m = mel(k * rate / n_fft)
            if left < m < right:
                below = m <= centre
                bank[band, k] = (
                    (m - left) / (centre - left) if below else (right - m) / (right - centre)
                )
    return bank


@pytest.mark.parametrize("limits", [(20, 0), (64, -400), (0, 7000)])
def test_those_of_kaldi(limits):
    low, high = limits
    ours = kaldi_filters(23, 512, 16000, fmin=low, fmax=high)
    np.testing.assert_allclose(ours, kaldi_literally(23, 512, 16000, low, high), atol=1e-9)


def test_those_of_htk_are_kaldis_from_zero():
    ours = mel_filters(26, 512, 16000, scale="htk", norm=None, edges="mel")
    np.testing.assert_allclose(
        ours[:, :-1], kaldi_literally(26, 512, 16000, 0, 0)[:, :-1], atol=1e-9
    )


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"n_mels": 0}, "n_mels=0"),
        ({"sample_rate": -1}, "sample_rate=-1"),
        ({"fmin": 9000}, "fmin=9000"),
        ({"scale": "bark"}, "scale='bark'"),
        ({"norm": "area"}, "norm='area'"),
        ({"edges": "log"}, "edges='log'"),
        ({"n_mels": 10**9}, "n_mels=1000000000"),
    ],
)
def test_bad_values_are_named(given, named):
    with pytest.raises(ValueError, match=named):
        mel_filters(**{"n_mels": 40, "n_fft": 512, "sample_rate": 16000, **given})
