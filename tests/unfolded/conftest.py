"""Fixtures of the tests of the networks, which are left out where torch is not installed."""

import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from phaserec import STFT

# pytest puts tests/ on the path, where this folder would pass for a package `unfolded` without
# __init__ if the real one were found only by the hook of an editable install.
sys.path.insert(0, str(Path(__file__).parents[2]))

if find_spec("torch") is None:
    collect_ignore_glob = ["test_*.py"]
else:
    import torch


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture
def small_stft():
    return STFT(8, 2)


@pytest.fixture
def small_problem(small_stft):
    """Magnitudes ``(J, F, T)`` that no sources have, and their mixture, float64."""
    sources = torch.randn(2, 9, dtype=torch.float64)
    V = small_stft(sources).abs()
    return V * (0.5 + torch.rand_like(V)), sources.sum(0)
