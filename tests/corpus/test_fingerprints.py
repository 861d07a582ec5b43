"""A recording is recognised in another format, at another level and from a part of it."""

import numpy as np
import pytest
import soundfile

from phaserec import audio
from phaserec.corpus.fingerprints import fingerprint, overlaps, shares

RATE = 16000


def noise(seed=0, seconds=3.0):
    """Coloured noise at −20 dB of full scale, ``(1, time)``."""
    white = np.random.default_rng(seed).standard_normal(int(seconds * RATE))
    smooth = np.convolve(white, np.hanning(9), "same")
    return 0.1 * (smooth / smooth.std())[None]


def one(samples):
    (found,) = fingerprint(samples)
    return found


@pytest.mark.parametrize(
    "name, subtype",
    [("x.wav", "PCM_16"), ("x.flac", "PCM_16"), ("x.aiff", "PCM_24"), ("y.wav", "FLOAT")],
)
def test_the_format_does_not_matter(name, subtype, tmp_path):
    x = np.round(noise() * 32768) / 32768
    soundfile.write(tmp_path / name, x.T, RATE, subtype=subtype)
    read = audio.read(tmp_path / name).samples
    assert one(read).digest == one(x).digest


def test_rounding_level_sign_and_cuts_do_not_matter():
    x = noise(seconds=5)
    rounded = np.round(x * 2000) / 2000
    for other in (rounded, 0.05 * x, -x, x[:, 20000:38001], np.pad(x, ((0, 0), (777, 31)))):
        assert one(other).digest != one(x).digest
        assert shares(one(x), one(other))
        # Also when only part of the landmarks has been kept.
        assert shares(one(x).sketch(32), one(other))


def test_different_recordings_share_nothing():
    prints = {str(seed): [one(noise(seed, 10))] for seed in range(20)}
    pairs = overlaps(prints, prints)
    assert pairs == [(name, name) for name in prints]


def test_tones_clicks_and_silence_are_not_taken_for_each_other():
    time = np.arange(4 * RATE) / RATE
    tone = 0.3 * np.sin(2 * np.pi * 20 * time)[None]
    other = tone * (1 + 0.1 * np.sin(2 * np.pi * 0.3 * time))
    clicks = np.zeros((1, len(time)))
    clicks[:, ::1000] = 0.5
    assert not shares(one(tone), one(other[:, 5000:]))
    assert not shares(one(clicks), one(-0.7 * clicks[:, 3:]))
    assert fingerprint(np.zeros((2, 5000))) == []
    assert fingerprint(np.full((1, 5000), 1e-6)) == []


def test_channels_are_told_apart_and_found_alone():
    stereo = np.concatenate([noise(1), noise(2)])
    first, second = fingerprint(stereo)
    assert not shares(first, second)
    assert overlaps({"stereo": [first, second]}, {"mono": fingerprint(noise(2))}) == [
        ("stereo", "mono")
    ]


def test_short_recordings_are_known_by_their_digest():
    for length in (1, 10, 401, 1000):
        x = noise(seconds=1)[:, :length]
        assert shares(one(x), one(x.astype(np.float32)))


def test_real_pairs(data):
    folder = data / "voicebank_demand"
    names = [path.name for path in sorted((folder / "clean").glob("*.flac"))]
    prints = {name: fingerprint(audio.read(folder / "clean" / name).samples) for name in names}
    assert names and overlaps(prints, prints) == [(name, name) for name in names]
    half = {}
    for name in names:
        x = audio.read(folder / "clean" / name).samples
        half[name] = fingerprint(0.5 * x[:, x.shape[1] // 2 :])
    assert overlaps(prints, half) == [(name, name) for name in names]
