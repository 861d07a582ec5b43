"""Folders of mixtures: the three layouts, targets, and what is wrong with a folder."""

import shutil

import numpy as np
import pytest
import soundfile

from phaserec import STFT
from phaserec.corpus.mixtures import MixtureFolder
from phaserec.evaluation import match

RATE = 8000
STFT_ = STFT(256)


def write(path, samples):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples.T, RATE, subtype="FLOAT")


def waves(seed, sources=2, channels=1):
    """Sources ``(J, channels, time)``."""
    shape = (sources, channels, 3000)
    return 0.1 * np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def test_clean_and_noisy(tmp_path):
    for k, name in enumerate("ba"):
        speech, noise = waves(k)
        write(tmp_path / "clean" / f"{name}.wav", speech)
        write(tmp_path / "noisy" / f"{name}.wav", speech + noise)
    items = MixtureFolder(tmp_path, STFT_)
    assert len(items) == 2 and items.sources == ("speech", "noise")
    assert [files.name for files in items.files] == ["a", "b"]
    item = items[1]
    np.testing.assert_allclose(item.references[0], waves(0)[:, 0], atol=1e-7)
    np.testing.assert_allclose(item.references.sum(1), item.mixture, atol=1e-7)
    np.testing.assert_array_equal(item.magnitudes, np.abs(STFT_(item.references)))
    assert item.rate == RATE


def test_mix_and_sources(tmp_path):
    for k, name in enumerate("ab"):
        sources = waves(k, 3, channels=2)
        write(tmp_path / "mix" / f"{name}.wav", sources.sum(0))
        for j, source in enumerate(sources, start=1):
            write(tmp_path / f"s{j}" / f"{name}.flac.wav", source)
            (tmp_path / f"s{j}" / f"{name}.flac.wav").rename(tmp_path / f"s{j}" / f"{name}.wav")
    (tmp_path / "notes").mkdir()
    items = MixtureFolder(tmp_path, STFT_)
    assert items.sources == ("s1", "s2", "s3")
    assert items[0].references.shape == (2, 3, 3000)
    np.testing.assert_allclose(items[1].references[:, 2], waves(1, 3, 2)[2], atol=1e-7)


def items_of(folder, count=2):
    for k in range(count):
        sources = waves(k)
        write(folder / f"item{k}" / "mixture.wav", sources.sum(0))
        for name, source in zip(("voice", "band"), sources, strict=True):
            write(folder / f"item{k}" / f"{name}.wav", source)


def test_item_folders_and_estimates(tmp_path):
    items_of(tmp_path / "true")
    shutil.copytree(tmp_path / "true", tmp_path / "estimates")
    louder = 2 * waves(1)[1]
    write(tmp_path / "estimates" / "item1" / "band.wav", louder)
    items = MixtureFolder(tmp_path / "true", STFT_, tmp_path / "estimates")
    assert items.sources == ("band", "voice")
    np.testing.assert_allclose(items[1].magnitudes[:, 0], np.abs(STFT_(louder)), rtol=1e-6)
    np.testing.assert_allclose(items[1].references[:, 0], louder / 2, atol=1e-7)
    (tmp_path / "estimates" / "item0" / "voice.wav").unlink()
    with pytest.raises(FileNotFoundError, match=r"item0.voice\.wav"):
        MixtureFolder(tmp_path / "true", STFT_, tmp_path / "estimates")


def test_what_evaluate_reads_tune_reads(tmp_path):
    """Items in folders of folders, and estimates in a folder for each source."""
    for name in ("a", "deep/b"):
        sources = waves(len(name))
        write(tmp_path / "set" / "mix" / f"{name}.wav", sources.sum(0))
        for j, source in enumerate(sources, start=1):
            write(tmp_path / "set" / f"s{j}" / f"{name}.wav", source)
            write(tmp_path / "est" / f"s{j}" / f"{name}.wav", 2 * source)
    items = MixtureFolder(tmp_path / "set", STFT_, tmp_path / "est")
    assert [files.name for files in items.files] == ["a", "deep/b"]
    np.testing.assert_allclose(items[1].estimates, 2 * items[1].references, atol=1e-6)
    found = match(tmp_path / "set", tmp_path / "est").items
    assert [item.name for item in found] == [files.name for files in items.files]
    assert [item.mixture for item in found] == [files.mixture for files in items.files]


def test_content_is_known_by_the_files_within_the_folder(tmp_path):
    items_of(tmp_path)
    prints = MixtureFolder(tmp_path, STFT_).fingerprints(0)
    assert set(prints) == {"item0/mixture.wav", "item0/voice.wav", "item0/band.wav"}


def test_folders_that_will_not_do(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such folder"):
        len(MixtureFolder(tmp_path / "gone", STFT_))
    with pytest.raises(ValueError, match="expected clean/ and noisy/"):
        len(MixtureFolder(tmp_path, STFT_))
    items_of(tmp_path / "a")
    (tmp_path / "a" / "item1" / "band.wav").unlink()
    with pytest.raises(ValueError, match="item1 has the sources voice, but item0"):
        len(MixtureFolder(tmp_path / "a", STFT_))
    write(tmp_path / "b" / "noisy" / "x.wav", waves(0)[0])
    (tmp_path / "b" / "clean").mkdir()
    with pytest.raises(ValueError, match=r"x\.wav has no file of its name in .*clean"):
        len(MixtureFolder(tmp_path / "b", STFT_))
    write(tmp_path / "b" / "clean" / "x.wav", waves(0)[0][:, :-1])
    with pytest.raises(ValueError, match="length 2999"):
        MixtureFolder(tmp_path / "b", STFT_)[0]
    write(tmp_path / "b" / "clean" / "x.aiff", waves(0)[0])
    with pytest.raises(ValueError, match="one name"):
        len(MixtureFolder(tmp_path / "b", STFT_))
