"""Importing is light, and the examples in the docstrings run."""

import doctest
import inspect
import pkgutil
import subprocess
import sys
from importlib import import_module, metadata
from typing import Any, get_type_hints

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


@pytest.mark.parametrize("name", ["plot", "evaluation", "tuning", "report"])
def test_rooms_are_there_and_loaded_when_touched(name):
    code = f"import phaserec, sys; assert 'phaserec.{name}' not in sys.modules; phaserec.{name}"
    assert "phaserec" in loaded_by(code)


def public_functions():
    """Functions and methods behind the public names, by what one types to reach them."""
    found = {}

    def add(title, thing):
        if inspect.isfunction(thing):
            found[title] = thing
        elif isinstance(thing, property):
            found[title] = thing.fget
        elif inspect.isclass(thing):
            for name, member in vars(thing).items():
                if not name.startswith("_") or name in ("__init__", "__call__"):
                    add(f"{title}.{name}", member)

    for title in phaserec.__all__:
        thing = getattr(phaserec, title)
        if not inspect.ismodule(thing):
            add(title, thing)
            continue
        for name in getattr(thing, "__all__", vars(thing)):
            member = getattr(thing, name)
            if not name.startswith("_") and getattr(member, "__module__", "").startswith(
                thing.__name__
            ):
                add(f"{title}.{name}", member)
    return found


@pytest.mark.parametrize("title", public_functions())
def test_public_signatures_say_what_they_take(title):
    function = public_functions()[title]
    hints = get_type_hints(function)
    assert not [name for name, hint in hints.items() if "typing.Any" in repr(hint)]
    named = [name for name in inspect.signature(function).parameters if name not in ("self", "cls")]
    assert set(named) <= set(hints)
    assert Any not in hints.values()


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
