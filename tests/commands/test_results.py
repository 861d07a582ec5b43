"""Results for other programs: CSV, JSON and pictures, in files and on standard output."""

import csv
import json
import math
from functools import partial

import numpy as np
import pytest
import soundfile

from phaserec import STFT
from phaserec.algorithms import ALGORITHMS
from phaserec.cli import main
from phaserec.evaluation import METRICS
from phaserec.starts import STARTS
from phaserec.tuning import presets

RATE = 8000


@pytest.fixture(autouse=True)
def arrays(monkeypatch):
    monkeypatch.setenv("PHASEREC_MACHINE", "arrays")


@pytest.fixture
def folder(tmp_path):
    """Two mixtures of two sources of 0.25 s."""
    for number in range(2):
        rng = np.random.default_rng(number)
        s = 0.1 * rng.standard_normal((2, RATE // 4))
        for name, samples in {"mix": s.sum(0), "s1": s[0], "s2": s[1]}.items():
            path = tmp_path / "set" / name / f"{number}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, samples, RATE, subtype="FLOAT")
    return tmp_path


@pytest.fixture
def tune(command, folder):
    return partial(command, main, "tune", "set", "--n-iter", 3, "--n-fft", 256)


def table(text):
    return list(csv.DictReader(text.splitlines()))


# -- tune ------------------------------------------------------------------------------------------


def test_every_candidate_is_in_the_table(tune, folder):
    code, out, err = tune(
        *("--algo", "misi,mix-incons", "--sigma", "0,1,10", "--momentum", "0,0.5"),
        *("--csv", "o/t.csv", "--json", "t.json"),
    )
    assert (code, err) == (0, "")
    assert out.splitlines()[-3:] == ["preset.json", "o/t.csv", "t.json"]
    rows = table((folder / "o" / "t.csv").read_text())
    fixed = ["n_iter", "score", "mixture_phase", "items"]
    assert list(rows[0]) == ["algorithm", "momentum", "sigma", *fixed]
    assert len(rows) == 2 + 6
    assert {row["sigma"] for row in rows if row["algorithm"] == "misi"} == {""}
    scores = [float(row["score"]) for row in rows]
    assert scores == sorted(scores, reverse=True)
    preset = presets.read(folder / "preset.json")
    document = json.loads((folder / "t.json").read_text())
    assert STFT(**document["stft"]) == preset.stft
    assert [c["score"] for c in document["candidates"]] == scores
    best = document["candidates"][0]
    assert (best["algorithm"], best["n_iter"], best["hyper"]) == (
        preset.algorithm,
        preset.n_iter,
        preset.hyper,
    )
    assert len(best["scores"]) == 4 and best["scores"][best["n_iter"]] == best["score"]
    assert "files" not in document and document["items"] == 2


def test_standard_output_holds_the_result_alone(tune):
    code, out, err = tune("--algo", "misi", "--json", "-")
    assert code == 0 and json.loads(out)["algorithm"] == "misi"
    assert "misi" in err and "preset.json" in err
    code, out, _ = tune("--algo", "misi", "--csv", "-", "--json", "t.json")
    assert [row["algorithm"] for row in table(out)] == ["misi"]
    code, out, _ = tune("--algo", "misi", "-o", "-")
    assert json.loads(out)["kind"] == "phaserec preset"


@pytest.mark.parametrize("name", ["t.png", "o/t.svg"])
def test_scores_over_sigma_are_drawn(tune, folder, name):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    code, out, err = tune("--algo", "aux,misi", "--sigma", "0,0.1,1", "--plot", name)
    assert (code, err) == (0, "") and out.endswith(f"{name}\n")
    begin = (folder / name).read_bytes()[:200]
    assert begin.startswith(b"\x89PNG") or b"<?xml" in begin


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--plot", "t.doc"], r"--plot t.doc must end in one of"),
        (["--plot", "t.png", "--algo", "misi"], "no candidate has one above 0"),
        (["--csv", "-", "--json", "-"], "two results would go to -"),
        (["--csv", "preset.json"], "two results would go to preset.json"),
        (["--csv", "set"], "set is a folder"),
        (["--csv", "set/s1/0.wav"], "set/s1/0.wav is one of the input files"),
    ],
)
def test_what_cannot_be_written_is_said_before_the_search(tune, folder, arguments, message):
    if "--plot" in arguments:
        pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    code, out, err = tune(*arguments)
    assert code == 2 and out == "" and len(err.splitlines()) == 1
    assert message in err
    assert sorted(path.name for path in folder.iterdir()) == ["set"]


# -- invert ----------------------------------------------------------------------------------------


@pytest.fixture
def invert(command, folder):
    files = [f"set/{name}/0.wav" for name in ("mix", "s1", "s2")]
    mixture, *estimates = files
    return partial(
        command, main, "invert", mixture, "--estimates", *estimates, "--n-fft", 256, "--n-iter", 2
    )


def test_what_was_done_can_be_done_again(invert, folder):
    done = ["--algo", "mix-incons", "--init", "random"]
    code, out, _ = invert(
        *done, "--json", "one.json", "--references", "set/s1/0.wav", "set/s2/0.wav"
    )
    assert code == 0 and "SDR" in out
    one = json.loads((folder / "one.json").read_text())
    assert (one["algorithm"], one["n_iter"], one["init"]) == ("mix-incons", 2, "random")
    assert one["hyper"] == {"sigma": 10.0} and one["machine"] == "arrays"
    assert STFT(**one["stft"]) == STFT(256)
    assert (one["rate"], one["channels"], one["length"]) == (RATE, 1, RATE // 4)
    assert [source["name"] for source in one["sources"]] == ["s1", "s2"]
    first = folder / one["sources"][0]["file"]
    assert set(one["sources"][0]["sdr"]) == {"given", "start", "after"}
    assert one["sources"][0]["sdr"]["given"] is None or one["sources"][0]["sdr"]["given"] > 100
    samples, _ = soundfile.read(first)
    invert(*done, "--seed", one["seed"], "-o", "again")
    again, _ = soundfile.read(folder / "again" / first.name)
    np.testing.assert_array_equal(again, samples)


def test_without_references_there_are_no_scores(invert):
    code, out, err = invert("--json", "-")
    document = json.loads(out)
    assert code == 0 and "sdr" not in document["sources"][0]
    assert "recovered" in err


def test_json_of_sound_on_standard_output_goes_to_a_file(invert, folder):
    code, _, err = invert("-o", "-", "--json", "-")
    assert code == 2 and "two results would go to -" in err
    (folder / "x.json").write_text("{}")
    code, _, err = invert("--json", "x.json", "--no-overwrite")
    assert code == 2 and "x.json exists" in err
    code, _, err = invert("--json", "set/s1/0.wav")
    assert code == 2 and "input" in err


# -- list and evaluate -----------------------------------------------------------------------------


def test_everything_with_a_name_is_listed(command, folder):
    code, out, _ = command(main, "list", "--json", "-")
    found = json.loads(out)
    assert code == 0
    assert [entry["name"] for entry in found["algorithms"]] == list(ALGORITHMS)
    assert [entry["name"] for entry in found["starts"]] == list(STARTS)
    assert [entry["name"] for entry in found["metrics"]] == list(METRICS)
    entries = {entry["name"]: entry for entry in found["algorithms"]}
    assert not entries["griffin-lim"]["needs_mixture"] and entries["misi"]["needs_mixture"]
    assert entries["mix-incons"]["hyper"][0] == {
        "name": "sigma",
        "default": 10.0,
        "type": "float",
        "words": [],
        "range": [0, None],
    }
    words = {h["name"]: h["words"] for h in entries["aux"]["hyper"]}
    assert "soft" in words["mixing"]
    code, out, _ = command(main, "list", "--json", "all.json")
    assert (code, out) == (0, "")
    assert json.loads((folder / "all.json").read_text()) == found


def test_scores_on_standard_output_are_alone(command, folder):
    arguments = ("evaluate", "set/s1", "set/s2", "--jobs", 1, "--metrics", "snr")
    code, out, err = command(main, *arguments, "--json", "-")
    assert code == 0 and len(json.loads(out)["rows"]) == 2
    assert "mean" in err
    code, _, err = command(main, *arguments, "--csv", "set/s1/1.wav")
    assert code == 2 and "set/s1/1.wav is one of the input files" in err
    code, out, _ = command(main, *arguments, "--csv", "-")
    assert code == 0 and all(math.isfinite(float(row["snr"])) for row in table(out))


# -- what is read ----------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["sr", "rate", "fs", "sample_rate", "samplerate", "sampling_rate"])
def test_a_file_of_magnitudes_says_its_rate_in_many_words(command, folder, key):
    np.savez(folder / "m.npz", voice=np.ones((33, 20), np.float16), n_fft=64, **{key: RATE})
    code, _, err = command(
        main, "invert", "--magnitudes", "m.npz", "--n-iter", 1, "-o", "x.wav", "--seed", 0
    )
    assert (code, err) == (0, "") and soundfile.info(folder / "x.wav").samplerate == RATE


def test_settings_that_contradict_or_are_none_are_named(command, folder):
    V = np.ones((33, 20), np.float32)
    for extra, message in (
        ({"sr": 8000, "fs": 16000}, "m.npz: fs=16000, but the rate is also 8000"),
        ({"sr": 8000, "sr2": 1}, "or a setting, one of rate, length, n_fft"),
    ):
        np.savez(folder / "m.npz", voice=V, n_fft=64, **extra)
        code, _, err = command(main, "invert", "--magnitudes", "m.npz")
        assert code == 2 and message in err
