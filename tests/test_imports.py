"""Importing is light, and the examples in the docstrings run."""

import doctest
import pkgutil
import subprocess
import sys
from importlib import import_module, metadata

import pytest

import phaserec


def loaded_by(code):
    """Top-level modules in a new process after running ``code``."""
    show = "import sys; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}; {show}"], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "code",
    ["import phaserec", "import phaserec; phaserec.invert; phaserec.Problem; phaserec.STFT"],
)
def test_heavy_packages_stay_out(code):
    assert not loaded_by(code) & {"torch", "matplotlib", "numba", "librosa", "museval", "pandas"}


def test_the_bare_import_does_not_load_scipy():
    assert not loaded_by("import phaserec") & {"scipy", "soundfile", "soxr", "click", "tqdm"}


def test_a_numpy_run_does_not_load_torch():
    code = (
        "import numpy, phaserec; "
        "phaserec.invert(numpy.ones((2, 9, 5)), numpy.ones(16), stft=phaserec.STFT(16), n_iter=2)"
    )
    assert not loaded_by(code) & {"torch", "matplotlib", "librosa"}


def test_every_public_name_exists():
    assert all(getattr(phaserec, name) is not None for name in phaserec.__all__)
    assert set(phaserec.__all__) <= set(dir(phaserec))


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'no_such_name'"):
        phaserec.no_such_name  # noqa: B018


def test_one_version():
    try:
        installed = metadata.version("phaserec")
    except metadata.PackageNotFoundError:
        pytest.skip("phaserec is not installed, only on the path")
    assert installed == phaserec.__version__


MODULES = [
    module.name
    for module in pkgutil.walk_packages(phaserec.__path__, "phaserec.")
    if module.name.rpartition(".")[2] not in ("cli", "__main__")
]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name, registry, metrics):
    result = doctest.testmod(import_module(name), verbose=False)
    assert result.failed == 0
