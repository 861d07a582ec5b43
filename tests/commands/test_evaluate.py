"""``phaserec evaluate``: tables and files, exit codes, and what it says of bad input."""

import csv
import json
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile

from phaserec.cli import main
from phaserec.evaluation import METRICS, score
from phaserec.evaluation import metrics as metrics_module

RATE = 8000


@pytest.fixture
def evaluate(phaserec):
    """Run ``phaserec evaluate`` in an empty folder; returns exit code, stdout, stderr."""
    return partial(phaserec, "evaluate")


def signal(seed, length=2000):
    return 0.1 * np.random.default_rng(seed).standard_normal(length).astype("f4")


def write(path, samples, rate=RATE):
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.asarray(samples).T, rate, subtype="FLOAT")


def pairs(count=3, length=2000):
    """Folders ref, est and mix of single files."""
    for number in range(count):
        s, v = signal(number, length), signal(50 + number, length)
        write(f"ref/{number}.wav", s)
        write(f"mix/{number}.wav", s + v)
        write(f"est/{number}.wav", s + 0.1 * v)


def assert_one_line(result, *words):
    code, out, err = result
    assert (code, out) == (2, "")
    assert err.startswith("phaserec: error: ") and err.count("\n") == 1, err
    for word in words:
        assert word in err, err


def test_two_files(evaluate):
    pairs(1)
    code, out, err = evaluate("ref/0.wav", "est/0.wav", "--jobs", 1)
    assert (code, err) == (0, "")
    s, v = signal(0), signal(50)
    (row,) = score(s, s + np.float32(0.1) * v, RATE)
    words = out.splitlines()[2].split()
    assert words == ["0", f"{row.values['si-sdr']:.2f}", f"{row.values['sdr']:.2f}"]


def test_folders_with_a_mixture_give_table_csv_and_json(evaluate):
    pairs()
    args = ["ref", "est", "--mixture", "mix", "--csv", "o/t.csv", "--json", "t.json", "--jobs", 2]
    code, out, err = evaluate(*args)
    assert (code, err) == (0, "")
    assert out.splitlines()[0].split() == ["item", "si-sdr", "sdr", "si-sdri", "sdri"]
    rows = list(csv.DictReader(Path("o/t.csv").read_text().splitlines()))
    assert [row["item"] for row in rows] == ["0", "1", "2"]
    stored = json.loads(Path("t.json").read_text(), parse_constant=pytest.fail)
    for row, plain in zip(rows, stored["rows"], strict=True):
        assert float(row["sdri"]) == plain["values"]["sdri"] == pytest.approx(20, abs=5)
    median = stored["summary"]["all"]["sdri"]["median"]
    assert median == np.median([float(row["sdri"]) for row in rows])
    assert f"{median:.2f}" in out
    assert stored["failed"] == []
    again = evaluate(*args[:-1], 1)
    assert again == (code, out, err)
    assert stored == json.loads(Path("t.json").read_text())


def test_speakers_are_permuted(evaluate):
    for name, (first, second) in {"a": (0, 1), "b": (1, 0)}.items():
        sources = [signal(7 + ord(name)), signal(70 + ord(name))]
        for j, other in enumerate((first, second)):
            write(f"ref/s{j + 1}/{name}.wav", sources[j])
            write(f"est/s{other + 1}/{name}.wav", sources[j] + 0.1 * sources[1 - j])
        write(f"ref/mix/{name}.wav", sum(sources))
    code, out, err = evaluate("ref", "est", "--permute", "--mixture", "ref/mix", "--json", "t.json")
    assert (code, err) == (0, "")
    stored = json.loads(Path("t.json").read_text())
    found = [(row["item"], row["source"], row["estimate"]) for row in stored["rows"]]
    assert found == [("a", "s1", "s1"), ("a", "s2", "s2"), ("b", "s1", "s2"), ("b", "s2", "s1")]
    assert all(row["values"]["si-sdr"] > 15 for row in stored["rows"])
    assert "s1 ← s2" in out


def test_what_invert_writes_is_evaluated(evaluate):
    for name in ("speech", "noise"):
        write(f"ref/{name}.wav", signal(len(name)))
    write("mix.wav", signal(6) + signal(5))
    main(["invert", "mix.wav", "--estimates", "ref/speech.wav", "ref/noise.wav", "-o", "out"])
    args = ["ref", "out", "--layout", "folders", "--permute", "--mixture", "mix.wav"]
    code, out, err = evaluate(*args, "--metrics", "snr,snri")
    assert (code, err) == (0, "")
    lines = [line.split() for line in out.splitlines() if line.startswith(". ")]
    assert [line[1] for line in lines] == ["noise", "speech"]


def test_damaged_and_missing_files_are_reported_and_the_rest_goes_on(evaluate):
    pairs(6)
    Path("est/0.wav").unlink()
    Path("est/1.wav").write_text("broken")
    write("est/2.wav", signal(0, 1999))
    write("est/3.wav", signal(0), 16000)
    write("est/4.wav", np.stack([signal(0)] * 2))
    write("est/9.wav", signal(0))
    code, out, err = evaluate("ref", "est", "--metrics", "snr", "--json", "t.json", "--jobs", 2)
    assert code == 1
    lines = err.splitlines()
    assert lines[0] == "phaserec: est/9.wav belongs to no reference and is left out"
    expected = ["no estimate of 0", "1.wav is not a readable", "length 1999", "has 16000 Hz"]
    for line, words in zip(lines[1:], [*expected, "channels 2", "5 of 6"], strict=True):
        assert words in line
    assert out.splitlines()[1 + 1].split()[0] == "5"
    stored = json.loads(Path("t.json").read_text())
    assert [failed["item"] for failed in stored["failed"]] == list("01234")
    assert len(stored["rows"]) == 1


def test_nothing_scored_is_still_told(evaluate):
    pairs(1)
    Path("ref/0.wav").write_text("broken")
    code, out, err = evaluate("ref", "est", "--csv", "t.csv")
    assert (code, out) == (1, "") and "1 of 1 items" in err
    assert Path("t.csv").read_text() == "item,source,estimate,notes\n"


def test_rates_are_converted_on_request(evaluate):
    time = np.arange(16001) / 16000
    tone = 0.3 * np.sin(2 * np.pi * 440 * time)
    write("a.wav", tone, 16000)
    write("b.wav", tone[::2], 8000)
    code, _, err = evaluate("a.wav", "b.wav", "--metrics", "snr")
    assert code == 1 and "8000 Hz" in err and "common rate" in err
    code, out, err = evaluate("a.wav", "b.wav", "--metrics", "snr", "--rate", 11025)
    assert (code, err) == (0, "")
    assert float(out.splitlines()[2].split()[1]) > 30


def test_silence_is_told_once_and_left_out(evaluate):
    pairs(3)
    for number in range(2):
        write(f"ref/{number}.wav", 0 * signal(0))
    code, out, err = evaluate("ref", "est", "--json", "t.json")
    assert code == 0
    assert err == "phaserec: 0, 1: the reference is silent\n"
    stored = json.loads(Path("t.json").read_text(), parse_constant=pytest.fail)
    assert stored["summary"]["all"]["sdr"]["undefined"] == 2
    assert stored["summary"]["all"]["sdr"]["count"] == 1
    assert "nan" in out and "undefined" in out


def test_all_leaves_out_what_is_not_installed(evaluate, monkeypatch):
    pairs(1)
    monkeypatch.setattr(metrics_module, "find_spec", lambda name: None)
    code, out, err = evaluate("ref", "est", "--metrics", "all")
    assert code == 0
    assert out.split()[:5] == ["item", "si-sdr", "sdr", "snr", "spectral-convergence"]
    assert err == (
        "phaserec: pesq, stoi, estoi, bss, bss-sources left out: pip install 'phaserec[eval]'\n"
    )
    assert_one_line(evaluate("ref", "est", "--metrics", "pesq"), "pip install 'phaserec[eval]'")


def test_all_gives_every_metric(evaluate):
    if not all(entry.installed for entry in METRICS.values()):
        pytest.skip("not every package of the extra eval is installed")
    pairs(1, 9000)
    args = ["ref", "est", "--mixture", "mix", "--metrics", "all", "--json", "t.json"]
    code, _, err = evaluate(*args)
    assert code == 0, err
    (row,) = json.loads(Path("t.json").read_text())["rows"]
    columns = [column for entry in METRICS.values() for column in entry.columns]
    assert list(row["values"]) == columns and row["notes"] == []
    assert len(row["frames"]["bss-sdr"]) == 1


def test_mistakes_are_one_line(evaluate):
    pairs(1)
    write("file.wav", signal(0))
    cases = [
        ([], "REFERENCE"),
        (["ref"], "ESTIMATE"),
        (["ref", "gone"], "gone: no such file"),
        (["ref", "file.wav"], "both be files"),
        (["ref", "est", "--metrics", "sdrr"], "'sdrr'", "did you mean"),
        (["ref", "est", "--metrics", ","], "no metric"),
        (["ref", "est", "--metrics", "sdri"], "sdri need the mixture"),
        (["ref", "est", "--mixture", "gone"], "gone"),
        (["ref", "est", "--permute"], "nothing to permute"),
        (["ref", "est", "--layout", "trees"], "trees"),
        (["ref", "est", "--jobs", "0"], "jobs=0"),
        (["ref", "est", "--rate", "0"], "--rate 0"),
        (["ref", "est", "--hop-length", "1024"], "not invertible"),
        (["ref", "est", "--csv", "file.wav/t.csv"], "not a folder"),
        (["ref", "est", "--csv", "ref"], "ref is a folder"),
    ]
    for args, *words in cases:
        assert_one_line(evaluate(*args, "--json", "t.json") if args else evaluate(), *words)
    assert not Path("t.json").exists()


def test_the_help_imports_nothing_heavy():
    code = "import sys; from phaserec.cli import main; main(['evaluate', '--help'])\n"
    code = f"try:\n {code}finally:\n assert not {{'numpy', 'scipy', 'museval'}} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "--permute" in done.stdout
