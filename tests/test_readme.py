"""What the README promises: all its commands and code, in order, as a stranger runs them."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from configparser import ConfigParser
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import soundfile

from phaserec import STFT, audio
from phaserec.inverse import Bands

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
LENGTH = 24000  # of the files that the tests make

pytestmark = pytest.mark.skipif(not README.is_file(), reason="the README is not installed")


def blocks(language):
    """Contents of the fenced blocks of a language, ``""`` for those without one."""
    pieces = re.split(r"^```(.*)\n", README.read_text("utf-8"), flags=re.MULTILINE)
    return [text for name, text in zip(pieces[1::4], pieces[2::4], strict=True) if name == language]


def commands():
    """Words of each command of ``sh`` blocks; what pip installs is there already."""
    for block in blocks("sh"):
        for line in block.splitlines():
            for command in line.split("&&"):
                words = shlex.split(command, comments=True)
                # pytest is what runs this.
                if words[0] not in ("pip", "pytest"):
                    yield words


def trains(words):
    """Whether a command trains, or needs what was trained."""
    return words[1] == "train" or "runs/first/best" in words


@pytest.fixture
def folder(tmp_path):
    """Files of the names that the README uses, cut from the example that ships."""
    whole, sources = audio.example()
    cut = {name: sound.samples[0, :LENGTH] for name, sound in sources.items()}
    mixture = whole.samples[0, :LENGTH]

    def write(path, samples):
        path = tmp_path / path
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, samples, whole.rate, subtype="FLOAT")

    write("mixture.wav", mixture)
    write("noisy.wav", mixture)
    write("validation_folder/noisy/a.wav", mixture)
    write("validation_folder/clean/a.wav", cut["speech"])
    for name, samples in cut.items():
        write(f"{name}.wav", samples)
    write("references/a.wav", cut["speech"])
    write("estimates/a.wav", 0.9 * cut["speech"] + 0.1 * cut["noise"])
    np.savez(tmp_path / "spectrogram.npz", speech=np.abs(STFT()(cut["speech"])), length=LENGTH)
    mel = Bands.mel(80, 1024, 22050, log="ln")(STFT()(cut["speech"]))
    np.savez(tmp_path / "mel.npz", mel=mel, length=LENGTH)
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    return tmp_path


def run(words, folder):
    """Run a command of the package in a process of its own; what it printed."""
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        # Compiling is tested elsewhere.
        "PHASEREC_MACHINE": "arrays",
    }
    done = subprocess.run(
        [sys.executable, "-m", *words], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{shlex.join(words)}\n{done.stdout}{done.stderr}"
    assert "Traceback" not in done.stderr
    return done.stdout


def check_sound(path, length):
    samples, _ = soundfile.read(path)
    assert samples.shape == (length,), path
    assert np.all(np.isfinite(samples)) and np.abs(samples).max() > 1e-3, path


def perform(words, folder):
    """Run a command and see that it did what the README says; what it printed."""
    default = {"train": "runs/first", "separate": "separated", "invert": "recovered"}
    target = words[words.index("-o") + 1] if "-o" in words else default.get(words[1])
    if target is None:
        printed = run(words, folder)
        assert printed.strip(), words
        return printed
    target = folder / target
    shutil.rmtree(target, ignore_errors=True)  # of a command before this one
    printed = run(words, folder)
    if words[1] == "train":
        assert (target / "best/model.safetensors").is_file()
    elif words[1] in ("report", "tune"):
        assert target.stat().st_size > 500, words
    elif target.suffix:
        check_sound(target, LENGTH)
    else:
        names = {"speech", "remainder" if "--remainder" in words else "noise"}
        files = (path for path in target.rglob("*") if path.is_file())
        sounds = [path for path in files if path.suffix != ".json"]  # nor records of a corpus
        assert {path.stem for path in sounds} == names, words
        shipped = not {"mixture.wav", "noisy.wav", "validation_folder"} & set(words)
        for path in sounds:
            check_sound(path, audio.example()[0].samples.shape[-1] if shipped else LENGTH)
    return printed


def missing(words):
    """Packages of the extras that a command needs and that are not installed."""
    needed = {"report": ["jinja2", "matplotlib"], "evaluate": ["pesq", "pystoi"]}.get(words[1], [])
    needed = ["torch"] if words[0] == "unfolded" else needed
    return [name for name in needed if find_spec(name) is None]


def test_commands(folder):
    left = []
    for words in commands():
        if trains(words):
            continue
        if missing(words):
            left.append(f"{shlex.join(words)}: {', '.join(missing(words))}")
            continue
        printed = perform(words, folder)
        if words == ["phaserec", "list"]:
            assert "griffin-lim" in printed and "Griffin & Lim" in printed
        if words[1] == "evaluate":
            scores = (folder / "scores.csv").read_text("utf-8").splitlines()
            assert len(scores) == 2 and "sdr,si-sdr,pesq,estoi" in scores[0]
    if left:
        pytest.skip(f"not installed, the rest ran: {'; '.join(left)}")


@pytest.mark.slow
def test_training(folder):
    pytest.importorskip("torch", reason="torch is not installed")
    for words in filter(trains, commands()):
        perform(words, folder)


def test_the_printed_figures(folder):
    (shown,) = blocks("text")
    words = next(commands())
    assert words == ["phaserec", "invert", "--algo", "aux", "--sigma", "0.5"]
    printed = run(words, folder)

    def table(text):
        lines = [line.split("  ") for line in text.splitlines()]
        rows = [[cell.strip() for cell in line if cell.strip()] for line in lines]
        values = {row[0]: [float(c.split()[0]) for c in row[1:]] for row in rows if "dB" in row[-1]}
        return [row for row in rows if row and row[0] == "source"], values

    heading, values = table(shown)
    found_heading, found = table(printed)
    assert heading == found_heading and len(values) == 2
    for name, row in values.items():
        np.testing.assert_allclose(found[name], row, atol=0.02)


def test_code(folder):
    """The blocks of Python one after the other, with the arrays that a reader has."""
    torch = find_spec("torch") is not None
    before = (
        "import soundfile, numpy as np\n"
        "mixture, rate = soundfile.read('mixture.wav')\n"
        "estimates = np.stack([soundfile.read(f'{n}.wav')[0] for n in ('speech', 'noise')])\n"
    )
    after = (
        "assert sources.shape == estimates.shape and np.isfinite(sources).all()\n"
        "assert np.abs(sources.sum(0) - mixture).max() < 1e-9\n"
        "assert sound.ndim == 1 and np.isfinite(sound).all()\n"
        "own = phaserec.invert(magnitudes, mixture, stft=stft, algorithm='relaxed-misi')\n"
        "assert own.shape == sources.shape and not np.allclose(own, sources)\n"
    )
    if torch:
        after += (
            "import torch\n"
            "V = torch.from_numpy(magnitudes).requires_grad_()\n"
            "t = phaserec.invert(V, torch.from_numpy(mixture), stft=stft, n_iter=2, "
            "algorithm='relaxed-misi')\n"
            "t.square().sum().backward()\n"
            "assert V.grad.isfinite().all() and V.grad.abs().max() > 0\n"
        )
    code = blocks("python")
    assert len(code) == 2
    (folder / "readme.py").write_text(before + "".join(code) + after, "utf-8")
    run(["readme"], folder)


def test_extras_and_files_exist():
    text = README.read_text("utf-8")
    config = ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    known = set(config["options.extras_require"])
    used = {name for names in re.findall(r"'\.\[([\w,]+)\]'", text) for name in names.split(",")}
    assert used and used <= known
    table = text[text.index("| extra |") :].partition("\n\n")[0]
    first = [row.split("|")[1] for row in table.splitlines()]
    assert set(re.findall(r"`(\w+)`", " ".join(first))) == known
    for path in re.findall(r"`?\b(docs/[\w./]+\.\w+|constraints\.txt|CONTRIBUTING\.md)", text):
        assert (ROOT / path).is_file(), path


def test_the_structure_is_there():
    """Names of the overview, each in the package of its line or lines."""
    (overview,) = blocks("")
    package = None
    for line in overview.splitlines():
        head = re.match(r"(\w+)/", line)
        package = ROOT / head[1] if head else package
        assert package.is_dir(), package
        for name in re.findall(r"\w+\.py\b|\w+/", line[head.end() if head else 0 :]):
            assert (package / name).exists(), (package, name)
