"""Where machine code is kept, who may have put it there, and what it depends on.

Code that is loaded runs with the rights of the user. So it comes from a folder that only the user
(or the administrator, in a container or a class room) may write to, in files whose content has not
changed since they were written; what is damaged is made anew. Where no such folder can be had,
code is compiled in every process and nothing else is different.
"""

import hashlib
import logging
import os
import pickle
import stat
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite
import numba
from numba.core import serialize
from numba.core.caching import NullCache
from numba.core.compiler import CompileResult
from numba.core.runtime.nrt import rtsys

VARIABLE = "PHASEREC_CACHE_DIR"

LOGGER = logging.getLogger("phaserec")


def cache_folder() -> Path | None:
    """Folder of compiled code, made if need be; None where there is none that can be trusted.

    Returns
    -------
    Path or None
        ``PHASEREC_CACHE_DIR``, or ``phaserec`` in the user's cache folder.
    """
    return _checked(os.environ.get(VARIABLE), _user_folder())


def _user_folder() -> Path | None:
    base = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA")
    with suppress(RuntimeError):  # a user without a home
        return (Path(base) if base else Path.home() / ".cache") / "phaserec"
    return None


@cache
def _checked(chosen: str | None, usual: Path | None) -> Path | None:
    """The folder, once it is known that nobody else can put code there."""
    folder = Path(chosen) if chosen else usual
    if folder is None:
        return None
    if not folder.is_absolute():
        LOGGER.warning("no compiled code is kept: %s is not an absolute path", folder)
        return None
    with suppress(OSError):  # it may be there already, and not be ours to write to
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
    try:
        found = folder.stat()
    except OSError:
        return None
    if os.name == "posix" and (
        found.st_uid not in (0, os.geteuid()) or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    ):
        LOGGER.warning("no compiled code is kept: others may write to %s", folder)
        return None
    return folder


def read(name: str) -> bytes | None:
    """Content that was kept under a name; None where there is none, or it is damaged."""
    folder = cache_folder()
    if folder is None:
        return None
    try:
        data = (folder / name).read_bytes()
    except OSError:
        return None
    digest, content = data[:32], data[32:]
    return content if hashlib.sha256(content).digest() == digest else None


def write(name: str, content: bytes) -> None:
    """Keep content under a name, whole or not at all; nothing happens where there is no place."""
    folder = cache_folder()
    if folder is None:
        return
    part = None
    try:
        handle, part = tempfile.mkstemp(prefix=".", dir=folder)
        with open(handle, "wb") as file:
            file.write(hashlib.sha256(content).digest() + content)
        os.replace(part, folder / name)
    except OSError:
        if part is not None:
            with suppress(OSError):
                os.unlink(part)


def is_kept(name: str) -> bool:
    """Whether something is kept under a name."""
    folder = cache_folder()
    return folder is not None and (folder / name).exists()


@cache
def folder_digest(folder: Path) -> str:
    """Digest of the modules of a folder, and of what compiles and keeps them."""
    digest = hashlib.sha256()
    for path in [*sorted(folder.glob("*.py")), Path(__file__)]:
        content = path.read_bytes()
        digest.update(f"{path.name} {len(content)} ".encode() + content)
    versions = (numba.__version__, llvmlite.__version__, sys.version)
    digest.update(repr(versions).encode())
    return digest.hexdigest()


class CodeCache(NullCache):
    """Code of a function, for numba to find; it is made anew when a module of its folder changes.

    Numba would put it beside the module: an uninstalled package then leaves a folder behind that
    Python takes for a package of that name, and an installation that cannot be written to could not
    be compiled at all. It would also load all that it can compile before it looks for code, for
    which that takes several times as long as loading it.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self._name = function.__qualname__
        self._folder = Path(function.__code__.co_filename).parent

    def file(self, signature: Any, codegen: Any) -> str:
        """Name of the file of a signature."""
        key = (signature, codegen.magic_tuple(), folder_digest(self._folder))
        return f"{self._name}-{hashlib.sha256(repr(key).encode()).hexdigest()[:24]}"

    def load_overload(self, signature: Any, context: Any) -> Any:
        """Machine code of a signature, or None."""
        rtsys.initialize(context)
        content = read(self.file(signature, context.codegen()))
        if content is None:
            _say_once()
            return None
        return CompileResult._rebuild(context, *pickle.loads(content))  # type: ignore[no-untyped-call]

    def save_overload(self, signature: Any, result: Any) -> None:
        """Keep machine code, where there is a place for it."""
        content = serialize.dumps(result._reduce())  # type: ignore[no-untyped-call]
        write(self.file(signature, result.library.codegen), content)


@cache
def _say_once() -> None:
    LOGGER.info("compiling for the first use …")


def jitted(function: Callable[..., Any]) -> Any:
    """Compile a function, which calls what is in its folder, when it is first called; keep it."""
    dispatcher: Any = numba.njit(nogil=True, error_model="numpy")(function)
    dispatcher._cache = CodeCache(function)
    return dispatcher
