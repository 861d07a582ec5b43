"""Fixtures shared by the tests: back ends, small random problems and real audio."""

import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path

# Arrays are tiny here: threads would only wait for one another. Set before torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Short work would run on the arrays, and what is compiled already would decide what is tested.
os.environ.setdefault("PHASEREC_MACHINE", "kernel")

import numpy as np
import pytest
from hypothesis import settings

from phaserec import STFT, Problem
from phaserec.algorithms import ALGORITHMS
from phaserec.cli import main
from phaserec.evaluation import METRICS

# The same examples at every run and no wall-clock limits: a failure is always reproducible.
settings.register_profile(
    "deterministic", derandomize=True, deadline=None, database=None, max_examples=30
)
settings.load_profile("deterministic")


@dataclass(frozen=True)
class Backend:
    """A library and a precision that arrays are made in."""

    library: str
    precision: int

    def __call__(self, values):
        """Array of ``values``, real or complex, in this library and precision."""
        values = np.asarray(values)
        kind = "complex" if np.iscomplexobj(values) else "float"
        bits = 2 * self.precision if kind == "complex" else self.precision
        values = values.astype(f"{kind}{bits}")
        if self.library == "numpy":
            return values
        return pytest.importorskip("torch").from_numpy(values)

    @property
    def tol(self):
        """Relative rounding error allowed over a few iterations."""
        return 1e-4 if self.precision == 32 else 1e-10

    @property
    def real(self):
        return f"float{self.precision}"

    @property
    def complex(self):
        return f"complex{2 * self.precision}"


@pytest.fixture(
    scope="session",
    params=[("numpy", 32), ("numpy", 64), ("torch", 32), ("torch", 64)],
    ids=lambda param: f"{param[0]}{param[1]}",
)
def backend(request):
    """Each library at each precision; torch is skipped where it is not installed."""
    if request.param[0] == "torch":
        pytest.importorskip("torch", reason="torch is not installed")
    return Backend(*request.param)


@pytest.fixture(scope="session")
def numpy64():
    return Backend("numpy", 64)


@pytest.fixture(scope="session")
def make_backend():
    return Backend


def random_sources(batch=(), n_sources=2, length=61, seed=0):
    """White noise ``(*batch, J, time)``."""
    return np.random.default_rng(seed).standard_normal((*batch, n_sources, length))


def random_problem(backend, *, batch=(), n_sources=2, length=61, seed=0, oracle=False, **kwargs):
    """Small problem with a mixture; magnitudes are perturbed unless ``oracle``."""
    stft = kwargs.pop("stft", STFT(16, 4))
    sources = random_sources(batch, n_sources, length, seed)
    V = np.abs(stft(sources))
    if not oracle:
        V = V * np.random.default_rng(seed + 1).uniform(0.5, 1.5, V.shape)
    return Problem(backend(V), backend(sources.sum(-2)), stft=stft, **kwargs)


@pytest.fixture(scope="session")
def make_sources():
    return random_sources


@pytest.fixture(scope="session")
def make_problem():
    return random_problem


@pytest.fixture
def registry():
    """The registry of algorithms, put back afterwards."""
    before = dict(ALGORITHMS)
    yield ALGORITHMS
    ALGORITHMS.clear()
    ALGORITHMS.update(before)


@pytest.fixture
def metrics():
    """The registry of metrics, put back afterwards."""
    before = dict(METRICS)
    yield METRICS
    METRICS.clear()
    METRICS.update(before)


@pytest.fixture
def command(capsys, tmp_path, monkeypatch):
    """Run a command line in an empty folder; returns exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)

    def run(main, *args):
        code = 0
        try:
            main([str(arg) for arg in args])
        except SystemExit as stop:
            code = stop.code or 0
        captured = capsys.readouterr()
        # Whether an algorithm has been compiled before is of no interest here.
        lines = captured.err.splitlines(keepends=True)
        err = "".join(line for line in lines if not line.startswith("phaserec: compiling"))
        return code, captured.out, err

    return run


@pytest.fixture
def phaserec(command):
    """Run ``phaserec`` with arguments."""
    return partial(command, main)


@pytest.fixture(scope="session")
def data():
    """Folder of real audio, from PHASEREC_DATA; see its README."""
    default = Path(__file__).parents[1] / ".." / "shared" / "data"
    folder = Path(os.environ.get("PHASEREC_DATA", default)).resolve()
    if not folder.is_dir():
        pytest.skip(f"no real audio: set PHASEREC_DATA to its folder ({folder} does not exist)")
    return folder
