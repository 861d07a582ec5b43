"""Compiled entries on disk: written as modules once, found by every later process.

Numba caches a function beside the file that holds it, so generated source has to be a file too.
Its name is a digest of the text, of every module of this folder and of the versions of numba and
Python: what changes the machine code changes the name, and a file is never rewritten. Some of the
modules change no machine code, but no list has to be kept in step with what the text calls.
"""

import hashlib
import importlib.util
import logging
import os
import sys
import tempfile
import threading
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite
import numba
from numba.core.caching import FunctionCache
from numba.core.runtime.nrt import rtsys

LOGGER = logging.getLogger("phaserec")

_FOLDER = Path(__file__).parent
_LOCK = threading.Lock()


def cache_folder() -> Path:
    """Folder of compiled code: ``PHASEREC_CACHE_DIR``, or the user's cache folder."""
    chosen = os.environ.get("PHASEREC_CACHE_DIR")
    if chosen:
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA")
    return Path(base or Path.home() / ".cache") / "phaserec"


@cache
def _engine_digest(folder: Path) -> str:
    """Digest of the modules of a folder and of what compiles them."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.py")):
        content = path.read_bytes()
        digest.update(f"{path.name} {len(content)} ".encode() + content)
    versions = (numba.__version__, llvmlite.__version__, sys.version)
    digest.update(repr(versions).encode())
    return digest.hexdigest()


class _Cache(FunctionCache):
    """Numba's cache, less the loading of all that numba can compile.

    Numba prepares for compiling before it looks for machine code, for which that takes several
    times as long as loading it. Code that is not there makes numba prepare all the same.
    """

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Machine code of a signature, or None."""
        rtsys.initialize(target_context)
        with self._guard_against_spurious_io_errors():
            return self._load_overload(sig, target_context)  # type: ignore[no-untyped-call]


def load(text: str) -> Any:
    """Entry function of generated source, compiled now or before.

    Parameters
    ----------
    text : str
        Module with a jitted function ``entry``.

    Returns
    -------
    function
        Jitted; the machine code is loaded or made when it is first called.
    """
    with _LOCK:
        return _load(text)


@cache
def _load(text: str) -> Any:
    name = "k" + hashlib.sha256((text + _engine_digest(_FOLDER)).encode()).hexdigest()[:24]
    path = _place(cache_folder(), name, text)
    if not _is_compiled(path):
        LOGGER.info("compiling the kernel for its first use …")
    spec = importlib.util.spec_from_file_location(f"phaserec_generated_{name}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # The cache finds the module of a function by name.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    entry = module.entry
    entry._cache = _Cache(entry.py_func)  # type: ignore[no-untyped-call]
    return entry


def _is_compiled(path: Path) -> bool:
    """Whether numba has kept machine code of the module."""
    kept = os.environ.get("NUMBA_CACHE_DIR")
    folder = Path(kept) if kept else path.parent / "__pycache__"
    return next(folder.rglob(f"{path.stem}.*.nbi"), None) is not None


def _place(folder: Path, name: str, text: str) -> Path:
    """Put the source where it can be found again, or at least where it can be compiled."""
    path = folder / f"{name}.py"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            part = folder / f".{name}.{os.getpid()}.{threading.get_ident()}"
            part.write_text(text)
            part.replace(path)
    except OSError:
        path = Path(tempfile.mkdtemp(prefix="phaserec-")) / f"{name}.py"
        path.write_text(text)
    return path
