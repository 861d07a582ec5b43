"""``--import``: what a file or a module registers is there in every command."""

import os
import subprocess
import sys

import numpy as np
import pytest
import soundfile

MINE = '''
from phaserec import algorithm, start
from phaserec.evaluation import metric


@algorithm(cite="Me, 2026")
def my_misi(S, p, my_rho=0.5):
    """MISI, mine."""
    return p.mix((1 - my_rho) * S + my_rho * p.mag(p.cons(S)))


@start(cite="Me, 2026")
def my_start(p, rng):
    """Every phase is that of minus one."""
    return -(1 + 0j) * p.magnitudes


@metric("my-error", better="lower")
def my_error(reference, estimate, settings):
    """Largest error of a sample."""
    return abs(estimate - reference).max()
'''


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "my_file.py").write_text(MINE)
    (tmp_path / "my_module.py").write_text(MINE)
    x = 0.1 * np.random.default_rng(0).standard_normal(4000)
    soundfile.write(tmp_path / "a.wav", x, 8000, subtype="FLOAT")
    soundfile.write(tmp_path / "b.wav", x + 0.25, 8000, subtype="FLOAT")
    return tmp_path


def phaserec(folder, *arguments, program="phaserec"):
    code = f"from {program}.cli import main; main()"  # unlike -m, without the folder on the path
    return subprocess.run(
        [sys.executable, "-P", "-c", code, *arguments],
        cwd=folder,
        env=os.environ | {"PHASEREC_MACHINE": "arrays"},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("name", ["sub/my_file.py", "my_module"])
def test_an_algorithm_and_a_start_run_and_are_explained(folder, name):
    done = phaserec(
        folder,
        *("invert", f"--import={name}", "--algo", "my-misi", "--my-rho", "0.25"),
        *("--init", "my-start", "--n-iter", "1"),
    )
    assert done.returncode == 0, done.stderr
    assert "my-misi, my_rho=0.25, 1 iterations" in done.stdout
    assert "my-misi [0.5]" in phaserec(folder, "invert", "--help", "--import", name).stdout
    assert "Me, 2026" in phaserec(folder, "list", "--import", name).stdout
    assert "my-misi" not in phaserec(folder, "list").stdout


def test_a_score_is_computed_in_other_processes(folder):
    done = phaserec(
        folder, "evaluate", "a.wav", "b.wav", "--import", "sub/my_file.py", "--metrics", "my-error"
    )
    assert done.returncode == 0, done.stderr
    assert "0.250" in done.stdout


def test_several_are_imported(folder):
    (folder / "other.py").write_text(MINE.replace("my_", "your_").replace("my-", "your-"))
    done = phaserec(folder, "list", "--import", "my_module", "--import", "other")
    assert "my-misi" in done.stdout and "your-misi" in done.stdout


def test_layers_are_trained_with_it(folder):
    pytest.importorskip("torch", reason="torch is not installed")
    done = phaserec(folder, "train", "c.yaml", "--import", "my_module", program="unfolded")
    assert done.returncode == 2 and "c.yaml" in done.stderr and "import" not in done.stderr


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("nowhere.py", None, "no such file"),
        ("nowhere", None, "ModuleNotFoundError: No module named 'nowhere'"),
        ("broken.py", "1 / 0", "ZeroDivisionError"),
        ("unfinished.py", "def", "SyntaxError"),
        ("leaves.py", "raise SystemExit(3)", "SystemExit: 3"),
        ("json.py", "", "rename the file"),
        ("taken.py", MINE.replace("my_misi", "misi"), "'misi' exists already"),
    ],
)
def test_what_cannot_be_imported_is_one_line(folder, name, content, reason):
    if content is not None:
        (folder / name).write_text(content)
    done = phaserec(folder, "list", "--import", name)
    assert done.returncode == 2 and done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"phaserec: error: --import {name}: ") and reason in line
