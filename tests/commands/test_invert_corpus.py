"""``phaserec invert`` of a corpus: every example as if alone, whole, and in spite of the others."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from phaserec import STFT, audio
from phaserec._files import remove_abandoned
from phaserec.corpus.mixtures import MixtureFolder

RATE = 8000
HOW = ["--algo", "misi", "--n-iter", 3, "--init", "random", "--seed", 3]
MANY = [*HOW, "--jobs", 1]
ITEMS = {"x": "xs/x", "y": "y", "z": "z"}


@pytest.fixture(autouse=True)
def _arrays(monkeypatch):
    monkeypatch.setenv("PHASEREC_MACHINE", "arrays")


@pytest.fixture
def folder(tmp_path):
    """Three mixtures ``ITEM/mixture.wav`` of different length, with two sources each."""
    rng = np.random.default_rng(0)
    for k, item in enumerate(ITEMS.values()):
        a, b = 0.1 * rng.standard_normal((2, 3000 + 100 * k))
        save(tmp_path / "all" / item, a=a, b=b, mixture=a + b)
    return tmp_path / "all"


def save(folder, **sounds):
    folder.mkdir(parents=True, exist_ok=True)
    for name, samples in sounds.items():
        soundfile.write(folder / f"{name}.wav", samples, RATE, subtype="FLOAT")


def written(top="out"):
    """Names and bytes of all files below a folder, hidden ones too."""
    return {
        p.relative_to(top).as_posix(): p.read_bytes() for p in Path(top).rglob("*") if p.is_file()
    }


def sounds(top="out"):
    """Names and bytes of the files of sound."""
    return {name: content for name, content in written(top).items() if name.endswith(".wav")}


def done(item):
    """Files of an example that is done."""
    return [f"{item}/a.wav", f"{item}/b.wav", f"{item}.json"]


def alone(phaserec, folder, item, estimates, *more):
    """The files of an example by itself."""
    given = [f"{estimates}/{item}/{name}.wav" for name in "ab"]
    out = Path("alone") / item
    mixture = folder / item / "mixture.wav"
    assert phaserec("invert", mixture, "--estimates", *given, *HOW, "-o", out, *more)[0] == 0
    return {f"{item}/{name}": content for name, content in sounds(out).items()}


def test_every_example_is_what_it_is_alone(phaserec, folder):
    code, out, err = phaserec("invert", "all", *MANY, "-o", "out")
    assert (code, err) == (0, "")
    expected = {}
    for item in ITEMS.values():
        expected |= alone(phaserec, folder, item, folder)
    assert sounds() == expected
    assert out.split() == [str(Path("out") / name) for name in sorted(expected)]


def test_the_layouts_are_those_of_the_other_commands(phaserec, folder):
    for item in ITEMS.values():
        for name, source in {"a": "s1", "b": "s2", "mixture": "mix"}.items():
            place = Path("speakers") / source / f"{item}.wav"
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes((folder / item / f"{name}.wav").read_bytes())
    assert phaserec("invert", "all", *MANY, "-o", "out")[0] == 0
    assert phaserec("invert", "speakers", *MANY, "-o", "other")[0] == 0
    renamed = {"a.wav": "s1.wav", "b.wav": "s2.wav"}
    expected = {name[:-5] + renamed[name[-5:]]: samples for name, samples in sounds().items()}
    assert sounds("other") == expected


def test_estimates_of_another_folder_are_scored_with_the_first(phaserec, folder):
    for item in ITEMS.values():
        for name in "ab":
            samples = soundfile.read(folder / item / f"{name}.wav")[0]
            save(Path("guess") / item, **{name: 0.7 * samples})
    args = ["invert", "all", "--estimates", "guess", *MANY, "-o", "out", "--json", "-"]
    code, out, err = phaserec(*args)
    assert code == 0 and err.count("SDR given") == len(ITEMS)
    documents = json.loads(out)
    assert [d["example"] for d in documents] == sorted(ITEMS.values())
    for document in documents:
        item = document.pop("example")
        truth = [folder / item / f"{name}.wav" for name in "ab"]
        alone(phaserec, folder, item, "guess", "--references", *truth, "--json", "one.json")
        expected = json.loads(Path("one.json").read_text())
        for source, theirs in zip(document["sources"], expected["sources"], strict=True):
            assert source.pop("file") == str(Path("out") / item / f"{source['name']}.wav")
            theirs.pop("file")
        assert document == expected


def test_a_broken_example_does_not_stop_the_others(phaserec, folder):
    (folder / "y" / "a.wav").write_text("no sound")
    code, out, err = phaserec("invert", "all", *MANY, "-o", "out", "--json", "all.json")
    assert code == 1
    first, last = err.splitlines()
    assert first.startswith("phaserec: y: ") and "not a readable audio file" in first
    assert last == "phaserec: 1 of 3 examples could not be done"
    assert set(written()) == {*done("xs/x"), *done("z")}
    assert not Path("out/y").exists() and len(out.splitlines()) == 4
    documents = {d["example"]: d for d in json.loads(Path("all.json").read_text())}
    assert "not a readable" in documents["y"]["error"] and "sources" in documents["z"]


def test_an_interrupted_run_leaves_what_is_done(phaserec, folder, monkeypatch):
    # Only one example is in memory: the next is read when the one before has been written.
    read, seen = audio.read, []

    def noted(path, **excerpt):
        if Path(path).parent.name == "z":
            raise KeyboardInterrupt
        seen.append((Path(path).parent.name, len(written()) if Path("out").exists() else 0))
        return read(path, **excerpt)

    monkeypatch.setattr("phaserec.audio.read", noted)
    code, _, err = phaserec("invert", "all", *MANY, "-o", "out", "--json", "all.json")
    assert code == 130 and [line for line in err.splitlines() if line] == [
        "phaserec: 2 of 3 done; the same command goes on from here",
        "phaserec: interrupted",
    ]
    assert set(seen) == {("x", 0), ("y", 3)}
    assert set(written()) == {*done("xs/x"), *done("y")}
    assert not Path("all.json").exists()


def test_a_full_disk_ends_the_run_and_leaves_whole_examples(phaserec, folder, monkeypatch):
    # No other example could be written either.
    encode = audio.encode

    def encoded(samples, *args, **kwargs):
        if np.shape(samples)[-1] == 3100:
            raise OSError(28, "No space left on device")
        return encode(samples, *args, **kwargs)

    monkeypatch.setattr("phaserec.audio.encode", encoded)
    code, _, err = phaserec("invert", "all", *MANY, "-o", "out")
    assert (code, err) == (2, "phaserec: error: No space left on device\n")
    assert set(written()) == set(done("xs/x")) and not Path("out/y").exists()


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["-o", "-"], "-o - is no folder"),
        (["-o", "out.wav"], "-o out.wav is no folder"),
        (["-o", "all/out"], "-o all/out is in all, which is read"),
        (["-o", "all"], "choose another folder"),
        (["--estimates", "all/y/a.wav"], "name one folder"),
        (["--estimates", "all", "all"], "name one folder"),
        (["--estimates", "empty"], "there is no estimate"),
        (["--references", "all/y/a.wav"], "--references goes with one mixture"),
        (["--remainder"], "--remainder goes with one mixture"),
        (["--magnitudes", "m.npz"], "--magnitudes goes with one mixture"),
        (["--rate", "8000"], "--rate goes with one mixture"),
        (["--trace"], "show one mixture"),
        (["--report", "r.html"], "show one mixture"),
        (["--subtype", "MP3"], "MP3"),
        (["--n-iter", -1], "n_iter=-1"),
        (["--seed", -1], "rng=-1"),
        (["--device", "abacus"], "--device abacus"),
        (["--json", "all"], "all is a folder"),
        (["--json", "all/y/a.wav"], "is one of the input files"),
        (["--json", "out/y/a.wav", "-o", "out"], "named for two outputs"),
    ],
)
def test_bad_options_are_one_line_and_nothing_is_written(phaserec, folder, args, words):
    Path("empty").mkdir()
    before = written(".")
    code, out, err = phaserec("invert", "all", *MANY, *args)
    assert (code, out) == (2, "")
    assert err.startswith("phaserec: error: ") and err.count("\n") == 1 and words in err, err
    assert written(".") == before


def test_folders_without_examples(phaserec, tmp_path):
    save(tmp_path / "some", a=np.ones(100), b=np.ones(100))
    code, out, err = phaserec("invert", "some", *MANY)
    assert (code, out) == (2, "") and "some holds no mixtures with their sources" in err


def test_inputs_and_what_is_to_stay_are_not_replaced(phaserec, folder):
    Path("out/z").mkdir(parents=True)
    os.link(folder / "y" / "a.wav", "out/z/b.wav")
    before = written(".")
    code, _, err = phaserec("invert", "all", *MANY, "-o", "out")
    assert code == 2 and "is one of the input files" in err
    Path("out/z/b.wav").unlink()
    Path("out/z/b.wav").write_text("mine")
    code, _, err = phaserec("invert", "all", *MANY, "-o", "out", "--no-overwrite")
    assert code == 2 and "--no-overwrite" in err
    assert set(written(".")) == set(before) and Path("out/z/b.wav").read_text() == "mine"


def test_names_that_some_systems_take_for_one(folder):
    (folder / "z").rename(folder / "Y")
    names = [entry.name for entry in MixtureFolder(folder, STFT(256)).entries]
    assert len({name.casefold() for name in names}) == 3


# Manifests, resuming, and what works on a corpus --------------------------------------------------


@pytest.fixture
def manifest(folder):
    """The same three mixtures as lines."""
    rows = [
        {
            "id": item,
            "audio_filepath": f"all/{item}/mixture.wav",
            "estimates": {name: f"all/{item}/{name}.wav" for name in "ab"},
        }
        for item in sorted(ITEMS.values())
    ]
    Path("m.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return "m.jsonl"


@pytest.fixture
def expected(phaserec, folder):
    """All files of an uninterrupted run of the folder in this process."""
    assert phaserec("invert", "--batch", "all", *MANY, "-o", "whole")[0] == 0
    return written("whole")


def test_a_manifest_gives_the_files_of_the_folder(phaserec, expected, manifest):
    code, out, err = phaserec("invert", "--batch", manifest, *MANY, "-o", "out", "--json", "-")
    assert (code, err.count("out/"), written()) == (0, 6, expected)
    again = phaserec("invert", "--batch", manifest, *MANY, "-o", "out", "--json", "-")
    assert again == (0, out, "phaserec: 3 of 3 were done before\n") and written() == expected


def test_what_is_missing_or_changed_is_done(phaserec, expected, folder):
    assert phaserec("invert", "all", *MANY, "-o", "out")[0] == 0
    Path("out/y/a.wav").unlink()
    code, out, err = phaserec("invert", "all", *MANY, "-o", "out")
    assert (code, out.split()) == (0, ["out/y/a.wav", "out/y/b.wav"])
    assert err == "phaserec: 2 of 3 were done before\n" and written() == expected
    assert len(phaserec("invert", "all", *MANY, "--n-iter", 4, "-o", "out")[1].split()) == 6
    code, _, err = phaserec("invert", "all", *MANY, "-o", "out", "--no-overwrite")
    assert code == 1 and err.count("other settings or inputs") == 3


def test_shards_make_the_whole(phaserec, expected, manifest):
    names = []
    for part in ("1/2", "2/2"):
        args = ["--batch", manifest, *MANY, "-o", "out", "--shard", part, "--json", "part.json"]
        assert phaserec("invert", *args)[0] == 0
        names.append([d["example"] for d in json.loads(Path("part.json").read_text())])
    assert names == [["xs/x", "z"], ["y"]] and written() == expected


def test_recordings_by_themselves_and_magnitudes(phaserec, folder):
    sound = soundfile.read(folder / "y" / "a.wav", dtype="float32")[0]
    np.savez("v.npz", a=np.abs(STFT()(sound)), sr=RATE, length=len(sound))
    Path("m.csv").write_text(
        "id,audio_filepath,magnitudes,offset,duration\nwhole,all/y/a.wav,,,\n"
        "part,all/y/a.wav,,0.1,0.2\nvalues,,v.npz,,\n"
    )
    args = ["--batch", "m.csv", "--n-iter", 3, "--jobs", 1, "-o", "out", "--json", "all.json"]
    assert phaserec("invert", *args)[0] == 0
    whole, part, values = json.loads(Path("all.json").read_text())
    assert whole["algorithm"] == "fast-griffin-lim" and part["length"] == 0.2 * RATE
    one, other = (soundfile.read(d["sources"][0]["file"])[0] for d in (whole, values))
    assert np.array_equal(one, other) and len(one) == len(sound)


@pytest.mark.parametrize(("kind", "code"), [("SIGKILL", -9), ("SIGINT", 130)])
def test_a_run_that_is_killed_goes_on(phaserec, expected, manifest, kind, code):
    args = ["invert", "--batch", manifest, *map(str, HOW), "-o", "out"]
    call = [sys.executable, "-m", "phaserec", *args, "--jobs", "2"]
    # Killed as soon as there is something, which is as a rule between two examples or in one.
    with subprocess.Popen(call, stderr=subprocess.PIPE, text=True) as process:
        while not Path("out").exists() and process.poll() is None:
            time.sleep(0.001)
        process.send_signal(getattr(signal, kind))
        err = process.communicate()[1]
    assert process.returncode in (code, 0), err
    assert kind == "SIGKILL" or "Traceback" not in err  # a process may have been starting
    for name, content in written().items():
        assert name.endswith(".part") or content == expected[name]
    # Processes whose parent was killed end what they are at, beside the run that goes on.
    assert phaserec(*args, "--jobs", 1)[0] == 0
    until = time.monotonic() + 30
    while written() != expected and time.monotonic() < until:
        time.sleep(0.1)
        remove_abandoned("out")
    assert written() == expected


def test_a_cluster_gives_the_same_and_its_end_is_told(phaserec, expected, manifest):
    distributed = pytest.importorskip("distributed", reason="dask.distributed is not installed")
    how = {"n_workers": 1, "processes": False, "dashboard_address": None}
    with distributed.LocalCluster(**how) as cluster:
        address = cluster.scheduler_address
        args = ["--batch", manifest, *HOW, "-o", "out", "--scheduler", address]
        assert phaserec("invert", *args)[0] == 0
    assert written() == expected
    code, out, err = phaserec("invert", *args)
    assert (code, out) == (2, "") and err.count("\n") == 1 and "does not answer" in err


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["all", "--batch", "m.jsonl"], "name one of them"),
        (["--batch", "m.jsonl", "--estimates", "all"], "--estimates goes with a folder"),
        (["--batch", "m.jsonl", "--shard", "3/2"], "--shard 3/2 must be I/N"),
        (["--batch", "m.jsonl", "--shard", "2"], "--shard 2 must be I/N"),
        (["--batch", "m.jsonl", "--jobs", 0], "--jobs=0"),
        (["--batch", "m.jsonl", "--jobs", 1, "--scheduler", "tcp://x:1"], "name one"),
        (["--batch", "m.jsonl", "--mel", "m.npz"], "leave --batch out"),
        (["--batch", "gone.csv"], "gone.csv: no such file"),
        (["--batch", "m.jsonl", "--json", "out/y.json", "-o", "out"], "named for two outputs"),
        (["--jobs", 2], "--jobs is about a corpus"),
    ],
)
def test_bad_options_of_a_corpus(phaserec, manifest, args, words):
    before = written(".")
    code, out, err = phaserec("invert", *args)
    assert (code, out) == (2, "")
    assert err.startswith("phaserec: error: ") and err.count("\n") == 1 and words in err, err
    assert written(".") == before
