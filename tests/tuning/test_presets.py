"""Presets: written and read, damaged ones refused, and what they prove about an evaluation."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from phaserec import STFT, _files
from phaserec.corpus.fingerprints import fingerprint
from phaserec.tuning import presets
from phaserec.tuning.presets import Preset

RATE = 16000


def preset(**changes):
    fields = {
        "algorithm": "mag-incons-hard-mix",
        "n_iter": 3,
        "hyper": {"sigma": 0.25},
        "stft": STFT(512, 128, window="hamming"),
    }
    return Preset(**(fields | changes))


@pytest.fixture
def files(tmp_path):
    """Mixture and two estimates, which do not sum to it."""
    rng = np.random.default_rng(0)
    sources = 0.1 * rng.standard_normal((2, 6000))
    for name, samples in zip("ab", sources * [[0.9], [1.2]], strict=True):
        soundfile.write(tmp_path / f"{name}.wav", samples, RATE, subtype="FLOAT")
    soundfile.write(tmp_path / "mix.wav", sources.sum(0), RATE, subtype="FLOAT")
    return [str(tmp_path / f"{name}.wav") for name in ("mix", "a", "b")]


@pytest.fixture
def invert(files, tmp_path, capsys):
    """``phaserec invert`` on the files: the recovered samples, or the error line."""
    from phaserec.cli import main

    def run(*args, mixture=True):
        mix, a, b = files
        given = [mix, "--estimates", a, b] if mixture else []
        try:
            main(["invert", *given, *map(str, args), "-o", str(tmp_path / "out")])
        except SystemExit as stop:
            assert stop.code == 2
            (line,) = [s for s in capsys.readouterr().err.splitlines() if "compiling" not in s]
            return line
        return np.stack([soundfile.read(tmp_path / "out" / f"{n}.wav")[0] for n in "ab"])

    return run


@pytest.mark.parametrize(
    "one",
    [
        preset(),
        preset(algorithm="aux", n_iter=0, hyper={"mixing": "hard", "tau": 2.0, "momentum": 0.5}),
        preset(stft=STFT(8, 2, 4, window=(0.0, 0.5, 1.0, 0.5), center=False, strict=False)),
        preset(stft=STFT(64, pad_mode="reflect")),
        preset(stft=STFT(64, window=("kaiser", 8.0)), tuning={"score": "snr", "list": [1.5, None]}),
    ],
)
def test_what_is_written_is_read(one, tmp_path):
    presets.write(tmp_path / "p.json", one)
    assert presets.read(tmp_path / "p.json") == one


def test_people_can_read_it(tmp_path):
    name = "a [ b ].wav"
    tuning = {"grid": [{"scores": [1.0, 2.0, None]}], "files": {name: [{"digest": "[ 0 ]"}]}}
    presets.write(tmp_path / "p.json", preset(tuning=tuning))
    text = (tmp_path / "p.json").read_text()
    assert '\n  "algorithm": "mag-incons-hard-mix",\n  "n_iter": 3,\n' in text
    assert '"scores": [ 1.0, 2.0, null ]' in text
    assert presets.read(tmp_path / "p.json").tuning == tuning


def test_a_preset_by_hand_needs_no_tuning(tmp_path):
    contents = {
        "kind": "phaserec preset",
        "format": 1,
        "algorithm": "misi",
        "n_iter": 2,
        "hyper": {},
        "stft": {"n_fft": 256},
    }
    (tmp_path / "p.json").write_text(json.dumps(contents))
    assert presets.read(tmp_path / "p.json") == Preset("misi", 2, {}, STFT(256))


DAMAGE = [
    ({"kind": "recipe"}, "no preset"),
    ({"format": 2}, "format 2"),
    ({"algorithm": "misy"}, "did you mean 'misi'"),
    ({"algorithm": None}, "damaged"),
    ({"n_iter": -1}, "n_iter=-1"),
    ({"n_iter": "many"}, "n_iter"),
    ({"hyper": {"sigma": -1}}, "sigma=-1"),
    ({"hyper": {"sigma": "x"}}, "sigma='x'"),
    ({"hyper": {"colour": 1}}, "no hyper-parameter 'colour'"),
    ({"hyper": 3}, "damaged"),
    ({"stft": {"n_fft": 1024, "hop_length": 1024}}, "not invertible"),
    ({"stft": {"n_fft": 1024, "overlap": 3}}, "overlap"),
    ({"stft": None}, "damaged"),
    ({"tuning": []}, "tuning"),
]


@pytest.mark.parametrize("change, word", DAMAGE)
def test_a_damaged_preset_is_one_line(change, word, tmp_path, invert):
    path = tmp_path / "p.json"
    presets.write(path, preset())
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    line = invert("--preset", path)
    assert line.startswith(f"phaserec: error: {path} ") and word in line
    assert not (tmp_path / "out").exists()


def test_a_missing_key_or_no_json_is_one_line(tmp_path, invert):
    path = tmp_path / "p.json"
    presets.write(path, preset())
    text = path.read_text()
    contents = json.loads(text)
    for key in ("algorithm", "n_iter", "hyper", "stft"):
        path.write_text(json.dumps({k: v for k, v in contents.items() if k != key}))
        assert f"has no '{key}'" in invert("--preset", path)
    for bad in (b"", b"\xff\xfe", text[: len(text) // 2].encode(), b"[" * 100_000, b"3"):
        path.write_bytes(bad)
        assert "is no preset" in invert("--preset", path)
    assert "no such file" in invert("--preset", tmp_path / "gone.json")
    with pytest.raises(IsADirectoryError):
        presets.read(tmp_path)


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "p.json"
    presets.write(path, preset())
    before = path.read_text()

    def fail(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(_files.Path, "replace", fail)
    with pytest.raises(OSError, match="No space left"):
        presets.write(path, preset(n_iter=9))
    assert path.read_text() == before and [p.name for p in tmp_path.iterdir()] == ["p.json"]


def test_invert_takes_all_settings_from_a_preset(tmp_path, invert):
    presets.write(tmp_path / "p.json", preset())
    transform = ["--n-fft", 512, "--hop-length", 128, "--window", "hamming"]
    typed = invert("--algo", "mag-incons-hard-mix", "--sigma", 0.25, "--n-iter", 3, *transform)
    np.testing.assert_array_equal(invert("--preset", tmp_path / "p.json"), typed)


def test_options_override_a_preset(tmp_path, invert):
    presets.write(tmp_path / "p.json", preset())
    given = ["--preset", tmp_path / "p.json"]
    full = ["--algo", "mag-incons-hard-mix", "--sigma", 0.25, "--n-iter", 3, "--n-fft", 512]
    full += ["--hop-length", 128, "--window", "hamming"]
    for change in (
        ["--sigma", 8],
        ["--n-iter", 1],
        ["--momentum", 0.3],
        ["--hop-length", 64],
        ["--window", "hann"],
        ["--pad-mode", "reflect"],
        ["--algo", "mag_incons_hard_mix", "--sigma", 2],
    ):
        changed = invert(*given, *change)
        np.testing.assert_array_equal(changed, invert(*full, *change))
        assert not np.array_equal(changed, invert(*given))


def test_another_transform_or_algorithm_leaves_what_belongs_to_the_old_one(tmp_path, invert):
    presets.write(tmp_path / "p.json", preset())
    given = ["--preset", tmp_path / "p.json"]
    np.testing.assert_array_equal(
        invert(*given, "--n-fft", 256),
        invert(
            *("--algo", "mag-incons-hard-mix", "--sigma", 0.25, "--n-iter", 3),
            *("--n-fft", 256, "--window", "hamming"),
        ),
    )
    np.testing.assert_array_equal(
        invert(*given, "--algo", "misi"),
        invert("--algo", "misi", "--n-fft", 512, "--hop-length", 128, "--window", "hamming"),
    )


def test_magnitudes_know_their_own_transform(tmp_path, files, invert, capsys):
    presets.write(tmp_path / "p.json", preset(stft=STFT(1024)))
    waves = np.stack([soundfile.read(path)[0] for path in files[1:]])
    np.savez(tmp_path / "m.npz", a=abs(STFT(256)(waves[0])), b=abs(STFT(256)(waves[1])), n_fft=256)
    args = [files[0], "--magnitudes", tmp_path / "m.npz", "--preset", tmp_path / "p.json"]
    assert invert(*args, mixture=False).shape == (2, 6000)


def test_files_of_the_tuning_are_recognised(tmp_path):
    rng = np.random.default_rng(0)
    signals = {name: 0.1 * rng.standard_normal((3 * RATE, 1)) for name in ("seen", "new")}
    signals["cut"] = 0.4 * signals["seen"][RATE:]
    signals["same"] = signals["seen"]
    for name, samples in signals.items():
        suffix = ".flac" if name == "same" else ".wav"
        soundfile.write(tmp_path / f"{name}{suffix}", samples, RATE, subtype="PCM_16")
    known = presets.describe_files({"clean/x.wav": fingerprint(signals["seen"].T)})
    presets.write(tmp_path / "p.json", preset(tuning={"files": known}))
    assert (tmp_path / "p.json").stat().st_size < 2000
    paths = [tmp_path / name for name in ("new.wav", "cut.wav", "same.flac")]
    found = presets.overlap(presets.read(tmp_path / "p.json"), paths)
    assert found == [("clean/x.wav", str(path)) for path in paths[1:]]


@pytest.mark.parametrize("tuning", [{}, {"files": 3}, {"files": {"x": [{"digest": "0"}]}}])
def test_without_fingerprints_nothing_is_proved(tuning):
    with pytest.raises(ValueError, match="no fingerprints"):
        presets.overlap(preset(tuning=tuning), [Path("x.wav")])
