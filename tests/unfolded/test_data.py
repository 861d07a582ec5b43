"""Data sets: the same whatever reads them, exact sums, and what happens to bad files."""

import warnings

import numpy as np
import pytest
import soundfile
import torch

from unfolded.data import (
    AudioFileWarning,
    Augmentation,
    Batches,
    MixingDataset,
    PairedDataset,
    Pool,
    SpeakersDataset,
    SyntheticDataset,
    audio_files,
    files,
    loader,
)

RATE = 8000


@pytest.fixture(autouse=True)
def _nothing_reported():
    files._reported.clear()


def write(path, samples, rate=RATE):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.asarray(samples).T, rate, subtype="FLOAT")
    return path


def tone(seconds=1.0, rate=RATE, frequency=440.0, channels=1):
    wave = 0.1 * np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)
    return np.tile(wave, (channels, 1))


@pytest.fixture
def folders(tmp_path):
    """Speech and noise of several rates and channel counts, some shorter than an item."""
    rng = np.random.default_rng(0)
    write(tmp_path / "speech/a.wav", tone(3))
    write(tmp_path / "speech/deep/b.wav", tone(2, 16000, 300, 2), 16000)
    write(tmp_path / "speech/short.wav", tone(0.1))
    write(tmp_path / "noise/n.wav", 0.1 * rng.standard_normal((1, 2 * RATE)))
    write(tmp_path / "noise/m.wav", 0.1 * rng.standard_normal((2, 900)), 11025)
    return tmp_path


def mixing(folders, **kwargs):
    settings = {"items": 6, "seconds": 0.3, "rate": RATE, "augment": Augmentation(lowpass=0.5)}
    return MixingDataset(folders / "speech", folders / "noise", **settings | kwargs)


def items(dataset):
    return [dataset[k] for k in range(len(dataset))]


def same(one, other):
    return all(torch.equal(one[key], other[key]) for key in ("mixture", "sources"))


def every_kind(folders):
    rng = np.random.default_rng(1)
    for name in "pqr":
        clean = tone(0.5 + 0.1 * rng.random())
        write(folders / f"pairs/clean/{name}.wav", clean)
        write(folders / f"pairs/noisy/{name}.wav", clean + 0.01 * rng.standard_normal(clean.shape))
    return {
        "mixing": mixing(folders),
        "paired": PairedDataset(folders / "pairs", seconds=0.3, rate=RATE),
        "speakers": SpeakersDataset(folders / "speech", items=4, seconds=0.3, rate=RATE),
        "synthetic": SyntheticDataset(3, items=4, seconds=0.3, rate=RATE, channels=2),
    }


@pytest.mark.parametrize("kind", ["mixing", "paired", "speakers", "synthetic"])
def test_items_sum_exactly_and_depend_on_seed_epoch_and_index_alone(folders, kind):
    one, other = every_kind(folders)[kind], every_kind(folders)[kind]
    forwards = items(one)
    backwards = [other[k] for k in reversed(range(len(other)))][::-1]
    for item, again in zip(forwards, backwards, strict=True):
        assert same(item, again)
        sources = item["sources"]
        assert sources.shape == (len(one.names), one.channels, 2400)
        assert sources.dtype == torch.float32 and torch.isfinite(sources).all()
        assert torch.equal(item["mixture"], sources.sum(0))
    other.set_epoch(1)
    assert not any(same(a, b) for a, b in zip(forwards, items(other), strict=True))
    other.set_epoch(0)
    other.seed = 1
    assert not any(same(a, b) for a, b in zip(forwards, items(other), strict=True))


def test_workers_change_nothing(folders):
    dataset = mixing(folders)

    def batches(workers, epoch):
        dataset.set_epoch(epoch)
        order = Batches(len(dataset), 2, seed=3, epoch=epoch)
        return list(loader(dataset, order, workers=workers))

    for epoch in (0, 1):
        for one, other in zip(batches(0, epoch), batches(2, epoch), strict=True):
            assert same(one, other)
            assert one["sources"].shape == (2, 2, 1, 2400)


def test_an_iterator_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    list(loader(SyntheticDataset(items=2, seconds=0.01), Batches(2, 1)))
    assert torch.equal(before, torch.get_rng_state())


def test_the_ratio_of_speech_and_noise_is_the_one_asked_for(folders):
    for augment in (None, Augmentation()):
        for item in items(mixing(folders, snr=(7, 7), augment=augment)):
            speech, noise = item["sources"].double().square().mean((1, 2))
            assert 10 * float(torch.log10(speech / noise)) == pytest.approx(7, abs=1e-3)


def test_augmentation_changes_sign_gain_and_speed(folders):
    write(folders / "only/a.wav", tone(3))
    plain = {"speed": 0.0, "polarity": False, "second_noise": 0.0, "equaliser": 0.0}
    gain = Augmentation(gain=(6, 6), **plain)
    for quiet, loud in zip(
        items(mixing(folders, augment=None)), items(mixing(folders, augment=gain)), strict=True
    ):
        torch.testing.assert_close(loud["sources"], 10**0.3 * quiet["sources"])
    fast = MixingDataset(
        folders / "only",
        folders / "noise",
        items=12,
        seconds=1,
        rate=RATE,
        augment=Augmentation((0, 0), 0.5, False, 0, 0),
    )
    pitch = {int(np.abs(np.fft.rfft(item["sources"][0, 0])).argmax()) for item in items(fast)}
    assert len(pitch) > 3 and min(pitch) >= 219 and max(pitch) <= 661
    flipped = Augmentation((0, 0), 0, True, 0, 0)
    rng = np.random.default_rng(0)
    signs = {float(flipped.source(np.ones((1, 4)), rng)[0, 0]) for _ in range(20)}
    assert signs == {-1.0, 1.0}


@pytest.mark.parametrize("channels", [1, 2])
def test_other_rates_are_resampled_and_channels_reduced(tmp_path, channels):
    left, right = tone(1, 48000, 400), tone(1, 48000, 900)
    write(tmp_path / "a.wav", np.concatenate([left, right]), 48000)
    pool = Pool(audio_files(tmp_path, channels=channels), RATE, channels)
    drawn = pool.draw(np.random.default_rng(0), RATE // 2)
    assert drawn.shape == (channels, RATE // 2) and drawn.dtype == np.float32
    spectrum = np.abs(np.fft.rfft(drawn))
    peaks = [set(np.flatnonzero(row > 0.4 * row.max()) * 2) for row in spectrum]
    assert peaks == ([{400, 900}] if channels == 1 else [{400}, {900}])


def test_a_stretch_is_where_the_file_has_it(tmp_path):
    ramp = np.arange(5 * RATE)[None] / (5 * RATE)
    write(tmp_path / "a.wav", ramp)
    pool = Pool(audio_files(tmp_path), RATE)
    starts = set()
    for seed in range(5):
        drawn = pool.draw(np.random.default_rng(seed), 100)
        start = round(float(drawn[0, 0]) * 5 * RATE)
        np.testing.assert_array_equal(drawn[0], ramp[0, start : start + 100].astype(np.float32))
        starts.add(start)
    assert len(starts) == 5


def test_short_files_are_surrounded_by_zeros_or_repeated(tmp_path):
    write(tmp_path / "a.wav", np.arange(1, 11)[None] / 100)
    pool = Pool(audio_files(tmp_path), RATE)
    padded = pool.draw(np.random.default_rng(0), 50)[0]
    assert np.count_nonzero(padded) == 10
    np.testing.assert_allclose(padded[padded != 0], np.arange(1, 11) / 100, rtol=1e-6)
    looped = pool.draw(np.random.default_rng(0), 50, loop=True)[0]
    np.testing.assert_array_equal(looped[:40], looped[10:])


def test_pairs_are_whole_files_or_crops_of_the_same_place(tmp_path):
    rng = np.random.default_rng(0)
    clean, noise = rng.uniform(-0.5, 0.5, (2, 1, 5000))
    write(tmp_path / "clean/a.wav", clean)
    write(tmp_path / "noisy/a.wav", clean + 0.1 * noise)
    whole = PairedDataset(tmp_path, rate=RATE)[0]["sources"]
    np.testing.assert_allclose(whole[0], clean, atol=1e-6)
    np.testing.assert_allclose(whole[1], 0.1 * noise, atol=1e-6)
    crop = PairedDataset(tmp_path, rate=RATE, seconds=0.1)[0]["sources"][:, 0]
    start = int(np.abs(clean[0] - float(crop[0, 0])).argmin())
    assert start > 0
    np.testing.assert_allclose(crop[1], 0.1 * noise[0, start : start + 800], atol=1e-6)
    resampled = PairedDataset(tmp_path, rate=2 * RATE, channels=2)[0]["sources"]
    assert resampled.shape == (2, 2, 10000) and torch.equal(resampled[:, 0], resampled[:, 1])


def test_real_pairs_have_the_ratios_of_their_readme(data):
    whole = items(PairedDataset(data / "voicebank_demand"))
    assert len(whole) == 8
    power = torch.stack([item["sources"].square().mean((1, 2)) for item in whole])
    ratio = 10 * torch.log10(power[:, 0] / power[:, 1])
    assert 1 < ratio.min() < 3 and 16 < ratio.max() < 18


def test_real_speech_and_noise_mix(data):
    folder = data / "train"
    dataset = MixingDataset(folder / "speech", folder / "noise", items=8, augment=Augmentation())
    for item in items(dataset):
        assert item["sources"].shape == (2, 1, 64000)
        assert (item["sources"].square().mean((1, 2)) > 0).all()


def test_speakers_of_a_mixture_differ(tmp_path):
    for number, frequency in enumerate((300, 500, 700)):
        write(tmp_path / f"s{number}/a.wav", tone(1, RATE, frequency))
    dataset = SpeakersDataset(tmp_path, n_speakers=3, items=4, seconds=0.5, rate=RATE, level=(3, 3))
    for item in items(dataset):
        peaks = np.abs(np.fft.rfft(item["sources"][:, 0])).argmax(-1)
        assert {int(2 * peak) for peak in peaks} == {300, 500, 700}
        power = item["sources"].square().mean((1, 2))
        np.testing.assert_allclose(10 * torch.log10(power[0] / power[1:]), 3, atol=0.1)
    with pytest.raises(ValueError, match=r"3 speaker.*n_speakers=4"):
        SpeakersDataset(tmp_path, n_speakers=4)


def bad_files(folder):
    (folder / "text.wav").write_bytes(b"no audio at all")
    write(folder / "empty.wav", np.zeros((1, 0)))
    write(folder / "nan.wav", np.full((1, RATE), np.nan))
    soundfile.write(folder / "cut.flac", tone(4)[0], RATE)
    flac = (folder / "cut.flac").read_bytes()
    (folder / "cut.flac").write_bytes(flac[: len(flac) // 8])


def test_bad_files_are_named_once_and_left_out(folders):
    bad_files(folders / "speech")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        dataset = mixing(folders, items=60)
        first, second = items(dataset), items(dataset)
    text = [str(w.message) for w in caught if w.category is AudioFileWarning]
    assert len(text) == 4, text
    for name, reason in {
        "text.wav": "not a readable audio file",
        "empty.wav": "empty",
        "nan.wav": "NaN",
        "cut.flac": "ends before|cannot be read",
    }.items():
        (line,) = [line for line in text if name in line]
        assert any(word in line for word in reason.split("|"))
    assert all(same(a, b) for a, b in zip(first, second, strict=True))
    assert all(torch.isfinite(item["mixture"]).all() for item in first)


def test_a_folder_of_bad_files_is_an_error(tmp_path):
    write(tmp_path / "nan.wav", np.full((1, RATE), np.nan))
    pool = Pool(audio_files(tmp_path), RATE)
    with pytest.warns(AudioFileWarning), pytest.raises(ValueError, match=r"no readable.*nan\.wav"):
        pool.draw(np.random.default_rng(0), 10)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="holds no audio files"):
        audio_files(tmp_path / "empty")
    write(tmp_path / "zero/a.wav", np.zeros((1, 0)))
    with pytest.warns(AudioFileWarning), pytest.raises(ValueError, match="none of them usable"):
        audio_files(tmp_path / "zero")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        audio_files(tmp_path / "nowhere")
    write(tmp_path / "stereo/a.wav", tone(channels=2))
    with (
        pytest.warns(AudioFileWarning, match="2 channels, but 3"),
        pytest.raises(ValueError, match="none of them usable"),
    ):
        audio_files(tmp_path / "stereo", channels=3)


def test_pairs_without_a_partner_are_named(tmp_path):
    for name, lengths in {"a": (99, 99), "b": (99, None), "c": (None, 99), "d": (99, 98)}.items():
        for folder, length in zip(("clean", "noisy"), lengths, strict=True):
            if length is not None:
                write(tmp_path / folder / f"{name}.wav", np.ones((1, length)))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert len(PairedDataset(tmp_path, rate=RATE)) == 1
    named = sorted(str(w.message).split(" is left out")[0][-5:] for w in caught)
    assert named == ["b.wav", "c.wav", "d.wav"]


def test_silence_is_valid(tmp_path):
    write(tmp_path / "speech/a.wav", np.zeros((1, RATE)))
    write(tmp_path / "noise/a.wav", tone())
    dataset = MixingDataset(
        tmp_path / "speech", tmp_path / "noise", items=2, seconds=0.5, augment=Augmentation()
    )
    for item in items(dataset):
        assert torch.isfinite(item["mixture"]).all() and not item["sources"][0].any()
        assert item["sources"][1].any()


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"seconds": 0}, "seconds=0"),
        ({"seconds": float("nan")}, "seconds=nan"),
        ({"items": 0}, "items"),
        ({"snr": (5, -5)}, r"snr=\(5, -5\)"),
        ({"rate": 0}, "sample_rate"),
        ({"seed": -1}, "seed"),
    ],
)
def test_values_out_of_range_are_named(settings, text):
    with pytest.raises(ValueError, match=text):
        SyntheticDataset(**settings)
    with pytest.raises(ValueError, match=r"speed=2 must be between 0 and 0.5"):
        Augmentation(speed=2)


def test_batches_of_two_processes_are_those_of_one():
    whole = list(Batches(23, 4, seed=5, epoch=2))
    halves = [list(Batches(23, 4, seed=5, epoch=2, rank=rank, world=2)) for rank in (0, 1)]
    assert [a + b for a, b in zip(*halves, strict=True)] == whole
    assert len(whole) == 5 and len({k for batch in whole for k in batch}) == 20
    assert list(Batches(23, 4, seed=5, epoch=2, start=3)) == whole[3:]
    assert list(Batches(23, 4, seed=5, epoch=3)) != whole
    ordered = list(Batches(5, 2, shuffle=False))
    assert ordered == [[0, 1], [2, 3], [4]]
    with pytest.raises(ValueError, match="multiple of the number of processes, 2"):
        Batches(9, 3, world=2)
    with pytest.raises(ValueError, match="batch_size=4 is more than the 3"):
        Batches(3, 4)
