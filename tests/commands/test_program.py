"""Both command lines on consoles of any encoding, and without the packages of an extra."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import soundfile


def run(*arguments, **env):
    return subprocess.run(
        [sys.executable, *arguments], env=os.environ | env, capture_output=True, text=False
    )


@pytest.fixture
def pair(tmp_path):
    x = 0.1 * np.random.default_rng(0).standard_normal(4000)
    for name in ("a.wav", "b.wav"):
        soundfile.write(tmp_path / name, x, 8000)
    return str(tmp_path / "a.wav"), str(tmp_path / "b.wav")


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-8"])
def test_any_console_can_be_written_to(pair, encoding):
    for arguments in (["list"], ["evaluate", *pair], ["evaluate", "--help"], ["tune", "--help"]):
        done = run("-m", "phaserec", *arguments, PYTHONIOENCODING=encoding, PYTHONUTF8="0")
        assert done.returncode == 0, done.stderr
        assert len(done.stdout) > 100 and done.stderr == b""


def test_what_cannot_be_written_is_a_question_mark(pair):
    table = run("-m", "phaserec", "evaluate", *pair, PYTHONIOENCODING="ascii").stdout.decode(
        "ascii"
    )
    assert "?????" in table and "\u2500" not in table


def test_results_for_programs_are_utf8_on_any_console():
    done = run("-m", "phaserec", "list", "--json", "-", PYTHONIOENCODING="ascii")
    assert "σ" in done.stdout.decode("utf-8") and json.loads(done.stdout)["algorithms"]


@pytest.mark.parametrize(
    ("package", "extra", "arguments"),
    [
        ("torch", "unfolded", ["unfolded", "separate", "a.wav"]),
        ("torch", "unfolded", ["unfolded", "train", "c.yaml"]),
        ("accelerate", "unfolded", ["unfolded", "train", "c.yaml"]),
        ("safetensors", "unfolded", ["unfolded", "separate", "a.wav"]),
        ("jinja2", "report", ["phaserec", "report"]),
        ("PIL", "report", ["phaserec", "report", "--n-iter", "1"]),
        ("pesq", "eval", ["phaserec", "evaluate", "a.wav", "a.wav", "--metrics", "pesq"]),
        ("pystoi", "eval", ["phaserec", "evaluate", "a.wav", "a.wav", "--metrics", "stoi"]),
        ("museval", "eval", ["phaserec", "evaluate", "a.wav", "a.wav", "--metrics", "bss"]),
    ],
)
def test_what_is_missing_is_named_with_its_remedy(package, extra, arguments, tmp_path, pair):
    program, *typed = arguments
    if program == "unfolded":
        pytest.importorskip("torch", reason="torch is not installed")
    typed = [pair[0] if word == "a.wav" else word for word in typed]
    code = (
        f"import os, sys; os.chdir({str(tmp_path)!r}); sys.modules[{package!r}] = None; "
        f"from {program}.cli import main; main({typed!r})"
    )
    done = run("-c", code, PHASEREC_MACHINE="arrays")
    lines = done.stderr.decode().splitlines()
    assert done.returncode == 2 and len(lines) == 1, lines
    assert package in lines[0] and f"pip install 'phaserec[{extra}]'" in lines[0]


def test_names_of_unfolded_say_what_to_install():
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "import unfolded\n"
        "try: unfolded.Separator\n"
        "except ImportError as error: print(error)"
    )
    assert b"pip install 'phaserec[unfolded]'" in run("-c", code).stdout


def test_another_missing_package_is_no_extra():
    code = (
        "import sys; sys.modules['soundfile'] = None; from phaserec.cli import main; "
        "main(['invert', '--n-iter', '1'])"
    )
    done = run("-c", code)
    assert done.returncode == 2 and b"soundfile" in done.stderr and b"pip" not in done.stderr
