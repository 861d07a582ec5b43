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

from phaserec.kernels.cpu.caching import FOLDER, QuickCache, cache_folder, engine_digest

LOGGER = logging.getLogger("phaserec")

_LOCK = threading.Lock()


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
    name = "k" + hashlib.sha256((text + engine_digest(FOLDER)).encode()).hexdigest()[:24]
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
    entry._cache = QuickCache(entry.py_func)  # type: ignore[no-untyped-call]
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
