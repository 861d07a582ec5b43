"""Another package adds an algorithm, a start and a score: one edit in one file each."""

import json
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor, wait

import numpy as np
import pytest

from phaserec._registry import Registry, _declarations

ALGORITHM = '''
from typing import Annotated

from phaserec import algorithm
from phaserec.algorithms import Range


@algorithm(cite="Theirs, 2026")
def theirs(S, p, rho: Annotated[float, Range(0, 1)] = 0.5):
    """MISI, relaxed."""
    return p.mix((1 - rho) * S + rho * p.mag(p.cons(S)))
'''
START = '''
from phaserec import start


@start(cite="Theirs, 2026")
def upside_down(p, rng):
    """Every phase is that of minus one."""
    return -(1 + 0j) * p.magnitudes
'''
SCORE = '''
import numpy as np

from phaserec.evaluation import metric


@metric("peak-ratio", unit="dB")
def peak_ratio(reference, estimate, settings):
    """Largest sample of the reference over the largest error."""
    error = max(np.max(np.abs(estimate - reference)), 1e-9)
    return float(20 * np.log10(np.max(np.abs(reference)) / error))
'''
POINTS = """
[phaserec.algorithms]
theirs = their_package.their_algorithm

[phaserec.starts]
theirs = their_package.their_start

[phaserec.scores]
theirs = their_package.their_score
"""


@pytest.fixture(scope="module")
def theirs(tmp_path_factory):
    """Run Python in a process in which the package is installed."""
    site = tmp_path_factory.mktemp("site")
    package, info = site / "their_package", site / "their_package-1.0.dist-info"
    package.mkdir()
    info.mkdir()
    (package / "__init__.py").touch()
    (package / "their_algorithm.py").write_text(ALGORITHM)
    (package / "their_start.py").write_text(START)
    (package / "their_score.py").write_text(SCORE)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-package\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(POINTS)
    folder = tmp_path_factory.mktemp("work")
    paths = [str(site), *filter(None, [os.environ.get("PYTHONPATH")])]
    # Arrays: what is shown here needs no compiler.
    env = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "PHASEREC_MACHINE": "arrays"}

    def run(*arguments):
        return subprocess.run(
            [sys.executable, *arguments], cwd=folder, env=env, capture_output=True, text=True
        )

    return run, package, folder


def command(theirs, *arguments):
    run, _, folder = theirs
    done = run("-m", "phaserec.cli", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout, folder


def test_their_algorithm_and_start_run_by_name(theirs):
    out, _ = command(
        theirs, "invert", "--algo", "theirs", "--rho", "0.25", "--init", "upside-down", "--n-iter=2"
    )
    assert "theirs, rho=0.25, 2 iterations" in out


def test_their_algorithm_is_explained(theirs):
    out, _ = command(theirs, "list")
    entry = out[out.index("theirs") :].splitlines()
    assert entry[0].split() == ["theirs", "--rho", "0.5"]
    assert [line.strip() for line in entry[1:4]] == [
        "MISI, relaxed.",
        "Theirs, 2026",
        "on the fused kernel",
    ]
    out, _ = command(theirs, "invert", "--help")
    assert "theirs [0.5]" in out and "upside-down" in out


def test_their_range_is_checked(theirs):
    run, *_ = theirs
    done = run("-m", "phaserec.cli", "invert", "--algo", "theirs", "--rho", "2")
    assert done.returncode == 2 and "rho" in done.stderr


def test_their_score_is_evaluated_and_tuned(theirs):
    soundfile = pytest.importorskip("soundfile")
    *_, folder = theirs
    rng = np.random.default_rng(0)
    for place in ("set/mix", "set/s1", "set/s2", "est"):
        (folder / place).mkdir(parents=True, exist_ok=True)
    sources = 0.1 * rng.standard_normal((2, 4000))
    soundfile.write(folder / "set/mix/a.wav", sources.sum(0), 8000, subtype="FLOAT")
    for j, source in enumerate(sources, start=1):
        soundfile.write(folder / f"set/s{j}/a.wav", source, 8000, subtype="FLOAT")
    soundfile.write(folder / "est/a.wav", sources[0] + 0.01, 8000, subtype="FLOAT")
    out, _ = command(theirs, "evaluate", "set/s1", "est", "--metrics", "peak-ratio")
    assert "peak-ratio" in out
    command(
        theirs, "tune", "set", "--algo", "theirs", "--score", "peak-ratio", "--n-iter=2", "-o", "p"
    )
    assert json.loads((folder / "p").read_text())["algorithm"] == "theirs"


def test_their_algorithm_is_a_row_of_the_documentation_and_a_layer(theirs):
    pytest.importorskip("torch")
    run, *_ = theirs
    code = (
        "from phaserec import STFT\n"
        "from phaserec.algorithms import resolve\n"
        "from phaserec.solving import structural_reason\n"
        "from unfolded import UnfoldedInversion\n"
        "assert structural_reason(resolve('theirs')) is None\n"
        "net = UnfoldedInversion('theirs', 2, stft=STFT(16), n_sources=2)\n"
        "assert 'rho_' in net.layers[0].hyper\n"
    )
    done = run("-c", code)
    assert done.returncode == 0, done.stderr


def test_a_package_that_is_broken_is_named_and_others_work(theirs):
    run, package, _ = theirs
    broken = package / "their_start.py"
    try:
        broken.write_text("raise RuntimeError('no luck')\n")
        done = run("-c", "from phaserec import starts; print(starts.names())")
        assert done.returncode == 0
        assert "their_start" in done.stderr and "no luck" in done.stderr
        assert "'random'" in done.stdout and "upside-down" not in done.stdout
    finally:
        broken.write_text(START)


def test_folders_of_the_path_that_cannot_be_read_are_passed_over(tmp_path, monkeypatch):
    # Whoever may do anything can list any folder: the refusal is played.
    info = tmp_path / "readable" / "theirs-1.dist-info"
    info.mkdir(parents=True)
    (info / "entry_points.txt").write_text(POINTS)
    (tmp_path / "closed").mkdir()
    folders = [str(tmp_path / name) for name in ("closed", "gone", "readable")]
    listdir = os.listdir

    def refusing(folder):
        if folder == folders[0]:
            raise PermissionError(13, "Permission denied", folder)
        return listdir(folder)

    monkeypatch.setattr(sys, "path", folders)
    monkeypatch.setattr(os, "listdir", refusing)
    assert _declarations.__wrapped__() == POINTS


def test_a_second_thread_waits_for_what_packages_declare(monkeypatch):
    registry = Registry("thing", "nobody.things")
    begun, go_on = threading.Event(), threading.Event()

    class Slow:
        value = "slow.module"

        def load(self):
            begun.set()
            assert go_on.wait(10)
            assert registry.find("thing") is None  # it may ask while it is imported
            registry.add("thing", 1, print)

    monkeypatch.setattr("phaserec._registry._declared", lambda group: [Slow()])
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(registry.find, "thing")
        assert begun.wait(10)
        second = pool.submit(registry.find, "thing")
        early = wait([second], timeout=0.1).done
        go_on.set()
        assert not early and (first.result(), second.result()) == (1, 1)
