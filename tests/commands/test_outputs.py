"""Outputs are whole or not there, and never replace what is read or what is no ordinary file."""

import json
import os
import stat
import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile

from phaserec import report
from phaserec._files import write_files
from phaserec.cli import main as phaserec_main
from phaserec.commands import results

RATE = 8000
SHORT = ["--n-iter", 1, "--algo", "misi"]


@pytest.fixture(autouse=True)
def _arrays(monkeypatch):
    monkeypatch.setenv("PHASEREC_MACHINE", "arrays")


@pytest.fixture
def run(command):
    """Run ``phaserec`` in a folder with a mixture and its sources, and the same as folders."""
    rng = np.random.default_rng(0)
    sources = 0.1 * rng.standard_normal((2, 3000))
    names = {"mix": sources.sum(0), "a": sources[0], "b": sources[1]}
    for folder in (".", "items/item", "truth", "guess"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        for name, x in names.items():
            soundfile.write(f"{folder}/{name}.wav", x, RATE, subtype="FLOAT")
    return lambda *args: command(phaserec_main, *args)


def assert_one_line(result, *words):
    code, out, err = result
    assert (code, out) == (2, "")
    errors = [line for line in err.splitlines() if "error: " in line]
    assert len(errors) == 1, err
    for word in words:
        assert word in errors[0], err


def contents():
    """Every file below the folder, hidden ones too."""
    return {str(p): p.read_bytes() for p in Path().rglob("*") if p.is_file()}


@pytest.mark.parametrize(
    "args",
    [
        ["evaluate", "truth", "guess", "--jobs", 1, "--csv", "truth/a.wav"],
        ["evaluate", "truth", "guess", "--jobs", 1, "--json", "guess/b.wav"],
        ["evaluate", "truth", "guess", "--jobs", 1, "--report", "truth/../guess/b.wav"],
        ["evaluate", "a.wav", "b.wav", "--mixture", "mix.wav", "--csv", "mix.wav"],
        ["tune", "items", "--n-iter", 1, "-o", "items/item/a.wav"],
        ["tune", "items", "--n-iter", 1, "-o", "items/item/mix.wav"],
        ["tune", "items", "--n-iter", 1, "--estimates", "given", "-o", "given/item/a.wav"],
        ["invert", "mix.wav", "--estimates", "a.wav", "b.wav", *SHORT, "-o", "."],
        ["invert", "mix.wav", "--estimates", "a.wav", "b.wav", *SHORT, "--report", "mix.wav"],
    ],
)
def test_inputs_are_never_outputs(run, args):
    for folder in ("truth", "guess"):
        os.unlink(f"{folder}/mix.wav")
    for folder in ("truth", "guess", "given/item"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        for name in "ab":
            Path(f"{folder}/{name}.wav").write_bytes(Path(f"{name}.wav").read_bytes())
    before = contents()
    assert_one_line(run(*args), "is one of the input files and would be replaced")
    assert contents() == before


def test_outputs_are_not_named_twice(run):
    args = ["evaluate", "a.wav", "b.wav", "--jobs", 1]
    assert_one_line(run(*args, "--csv", "t", "--json", "t"), "two results would go to t")
    args = ["invert", "mix.wav", "--estimates", "a.wav", "b.wav", *SHORT, "-o", "out"]
    assert_one_line(run(*args, "--report", "out/a.wav"), "two results would go to out/a.wav")
    assert not Path("out").exists()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
def test_pipes_are_written_to(run):
    os.mkfifo("pipe")
    heard = []
    reader = threading.Thread(target=lambda: heard.append(Path("pipe").read_text()))
    reader.start()
    code, _, err = run("evaluate", "a.wav", "b.wav", "--jobs", 1, "--json", "pipe")
    reader.join(10)
    assert code == 0, err
    assert json.loads(heard[0])["rows"] and stat.S_ISFIFO(os.stat("pipe").st_mode)
    assert run("evaluate", "a.wav", "b.wav", "--jobs", 1, "--csv", os.devnull)[0] == 0
    assert not Path(os.devnull).is_file()


def test_a_later_target_that_is_a_folder(run):
    Path("out/b.wav").mkdir(parents=True)
    before = contents()
    args = ["invert", "mix.wav", "--estimates", "a.wav", "b.wav", *SHORT, "-o", "out"]
    assert_one_line(run(*args), "b.wav is a folder")
    assert contents() == before and os.listdir("out") == ["b.wav"]


def full_disk(monkeypatch, module):
    """No room for what a module renders: it fails as a write to a full disk does."""

    def fails(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "render", fails)


@pytest.mark.parametrize("how", [["--trace"], ["--report", "page.html"]])
def test_a_start_that_overflows_is_not_written(run, how):
    np.savez("m.npz", v=np.full((33, 50), 3e38, np.float32), n_fft=64, rate=RATE)
    args = ["invert", "--magnitudes", "m.npz", "--algo", "griffin-lim", "--n-iter", 0]
    assert_one_line(run(*args, "--seed", 0, "-o", "out", *how), "magnitudes reach 3e+38")
    assert not Path("out").exists() and not Path("page.html").exists()


@pytest.mark.parametrize("output", ["out", "new/x.wav", "-"])
def test_a_disk_that_is_full_at_the_report_leaves_nothing(run, monkeypatch, output):
    pytest.importorskip("jinja2")
    before = contents()
    full_disk(monkeypatch, report)
    estimates = ["a.wav", "b.wav"] if output != "new/x.wav" else ["a.wav"]
    args = ["invert", "mix.wav", "--estimates", *estimates, "--algo", "griffin-lim", "--n-iter", 1]
    said = run(*args, "-o", output, "--report", "new/page.html")
    assert_one_line(said, "No space left on device")
    assert contents() == before
    assert not Path("out").exists() and not Path("new").exists()


def test_a_page_and_sounds_are_written_together(run):
    pytest.importorskip("jinja2")
    args = ["invert", "mix.wav", "--estimates", "a.wav", "b.wav", *SHORT]
    code, out, _ = run(*args, "-o", "out", "--report", "out/page.html")
    assert code == 0 and out.splitlines()[-3:] == ["out/a.wav", "out/b.wav", "out/page.html"]
    assert sorted(os.listdir("out")) == ["a.wav", "b.wav", "page.html"]


def test_a_disk_that_is_full_at_the_preset_leaves_nothing(run, monkeypatch):
    real = write_files

    def fails(paths, parts):
        def short():
            yield from parts
            raise OSError(28, "No space left on device")

        real([*paths, Path("never")], short())

    monkeypatch.setattr(results, "write_files", fails)
    before = contents()
    code, _, err = run("tune", "items", "--n-iter", 1, "--jobs", 1, "-o", "new/preset.json")
    assert code == 2 and "No space left" in err
    assert contents() == before and not Path("new").exists()


def test_a_report_replaces_no_input_and_mixes_no_single_source(run):
    args = ["report", "mix.wav", "--estimates", "a.wav", "b.wav", "--n-iter", 1]
    assert_one_line(run(*args, "-o", "a.wav"), "is one of the input files and would be replaced")
    args = ["report", "mix.wav", "--estimates", "a.wav", "--algo", "misi", "--n-iter", 1]
    assert_one_line(run(*args), "with one of them that is MIXTURE itself", "--remainder")
    assert not Path("report.html").exists()
