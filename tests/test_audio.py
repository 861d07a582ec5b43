"""Audio files: what is read, resampled and written."""

import numpy as np
import pytest
import soundfile

from phaserec import audio


def test_samples_come_back_channel_first(tmp_path):
    x = np.random.default_rng(0).uniform(-1, 1, (2, 300)).astype(np.float32)
    audio.write([tmp_path / "x.wav"], [x], 44100)
    back = audio.read(tmp_path / "x.wav")
    np.testing.assert_array_equal(back.samples, x)
    assert back.rate == 44100 and back.samples.dtype == np.float32


def test_resampling_keeps_a_tone(tmp_path):
    n = np.arange(8000)
    soundfile.write(tmp_path / "x.wav", 0.5 * np.sin(2 * np.pi * 440 * n / 8000), 8000, "FLOAT")
    back = audio.read(tmp_path / "x.wav", rate=22050)
    wanted = 0.5 * np.sin(2 * np.pi * 440 * np.arange(22050) / 22050)
    assert back.samples.shape == (1, 22050)
    inner = slice(2000, -2000)
    np.testing.assert_allclose(back.samples[0, inner], wanted[inner], atol=1e-3)


def test_unknown_subtype_names_the_known_ones(tmp_path):
    with pytest.raises(ValueError, match="PCM_16"):
        audio.write([tmp_path / "x.wav"], [np.zeros((1, 4))], 8000, subtype="PCM_17")
    assert list(tmp_path.iterdir()) == []


def test_interrupted_writing_leaves_the_old_file(tmp_path, monkeypatch):
    old, new = np.zeros((1, 4)), np.ones((1, 4))
    paths = [tmp_path / "a.wav", tmp_path / "b.wav"]
    audio.write(paths, [old, old], 8000)

    encode = audio.encode

    def encode_or_stop(samples, *args, **kwargs):
        if samples is not new:
            raise KeyboardInterrupt
        return encode(samples, *args, **kwargs)

    monkeypatch.setattr(audio, "encode", encode_or_stop)
    with pytest.raises(KeyboardInterrupt):
        audio.write(paths, [new, old], 8000)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.wav", "b.wav"]
    assert not audio.read(paths[0]).samples.any()
