"""Audio files that are read and written part by part."""

import numpy as np
import pytest
import soundfile

from phaserec import audio


@pytest.fixture
def file(tmp_path):
    samples = np.round(np.random.default_rng(0).standard_normal((2, 90_000)) * 2**12) / 2**15
    soundfile.write(tmp_path / "x.wav", samples.T, 8000, "FLOAT")
    return tmp_path / "x.wav", samples.astype(np.float32)


def test_parts_are_those_of_the_whole(file):
    path, samples = file
    reader = audio.Reader(path)
    assert (reader.rate, reader.channels, reader.length) == (8000, 2, 90_000)
    # Onwards, overlapping, after a gap, within what is there, empty, and from the beginning again.
    for begin, end in [(0, 10), (5, 400), (5, 20), (80_000, 80_001), (90_000, 90_000), (3, 90_000)]:
        np.testing.assert_array_equal(reader.read(begin, end), samples[:, begin:end])
    with pytest.raises(ValueError, match="ends before"):
        reader.read(89_999, 90_001)
    reader.close()


def test_what_is_no_audio_is_told(tmp_path):
    (tmp_path / "x.wav").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="not a readable audio file"):
        audio.Reader(tmp_path / "x.wav")
    with pytest.raises(FileNotFoundError):
        audio.Reader(tmp_path / "y.wav")


@pytest.mark.parametrize(
    ("name", "subtype"), [("y.wav", None), ("y.wav", "PCM_16"), ("y.flac", None), ("y.w64", None)]
)
def test_what_is_written_in_parts_is_the_same_file(file, tmp_path, name, subtype):
    _, samples = file
    path = tmp_path / name
    writer = audio.Writer(tmp_path / "part", path, 8000, 2, 90_000, subtype=subtype)
    for k in range(0, 90_000, 7000):
        writer.write(samples[:, k : k + 7000])
    writer.close()
    audio.write([path], [samples], 8000, subtype=subtype)
    found, expected = audio.read(tmp_path / "part"), audio.read(path)
    np.testing.assert_array_equal(found.samples, expected.samples)
    assert writer.peak == abs(samples).max()


def test_wav_of_more_than_4_gib_is_rf64(tmp_path):
    writer = audio.Writer(tmp_path / "part", tmp_path / "y.wav", 8000, 2, 2**31)
    writer.write(np.zeros((2, 10), np.float32))
    writer.close()
    assert soundfile.info(tmp_path / "part").format == "RF64"
    with pytest.raises(ValueError, match="cannot be written as WAV"):
        audio.Writer(tmp_path / "part", tmp_path / "y.wav", 8000, 2000, 10)
