"""Where machine code is kept, and what it depends on.

Everything compiled lives in the cache folder. Numba would put the code of a module's functions
beside the module: an uninstalled package then leaves a folder behind that Python takes for a
package of that name, and an installation that cannot be written to could not be compiled at all.
"""

import hashlib
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite
import numba
from numba.core.caching import CompileResultCacheImpl, FunctionCache, _CacheLocator
from numba.core.runtime.nrt import rtsys

FOLDER = Path(__file__).parent


def cache_folder() -> Path:
    """Folder of compiled code: ``PHASEREC_CACHE_DIR``, or the user's cache folder."""
    chosen = os.environ.get("PHASEREC_CACHE_DIR")
    if chosen:
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA")
    return Path(base or Path.home() / ".cache") / "phaserec"


@cache
def engine_digest(folder: Path) -> str:
    """Digest of the modules of a folder and of what compiles them."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.py")):
        content = path.read_bytes()
        digest.update(f"{path.name} {len(content)} ".encode() + content)
    versions = (numba.__version__, llvmlite.__version__, sys.version)
    digest.update(repr(versions).encode())
    return digest.hexdigest()


class QuickCache(FunctionCache):
    """Numba's cache, less the loading of all that numba can compile.

    Numba prepares for compiling before it looks for machine code, for which that takes several
    times as long as loading it. Code that is not there makes numba prepare all the same.
    """

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Machine code of a signature, or None."""
        rtsys.initialize(target_context)
        with self._guard_against_spurious_io_errors():
            return self._load_overload(sig, target_context)  # type: ignore[no-untyped-call]


class _Locator(_CacheLocator):
    """A folder for each state of the engine, in the cache folder."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._line = function.__code__.co_firstlineno

    def get_cache_path(self) -> str:
        return str(cache_folder() / f"engine-{engine_digest(FOLDER)[:16]}")

    def get_source_stamp(self) -> str:
        return engine_digest(FOLDER)

    def get_disambiguator(self) -> str:
        return str(self._line)

    @classmethod
    def from_function(cls, py_func: Any, py_file: Any) -> "_Locator":
        return cls(py_func)


class _Kept(CompileResultCacheImpl):
    _locator_classes = [_Locator]  # type: ignore[list-item]  # noqa: RUF012


class _EngineCache(QuickCache):
    """Code of the engine, for compiling the next sentence faster; without it that works too."""

    _impl_class = _Kept  # type: ignore[assignment]

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Machine code of a signature, or None."""
        with suppress(OSError):
            return super().load_overload(sig, target_context)
        return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep machine code, where there is a place for it."""
        with suppress(OSError):
            super().save_overload(sig, data)  # type: ignore[no-untyped-call]


def jitted(function: Callable[..., Any]) -> Any:
    """Compile a function of the engine when it is first called, and keep the code."""
    dispatcher: Any = numba.njit(nogil=True, error_model="numpy")(function)
    dispatcher._cache = _EngineCache(function)  # type: ignore[no-untyped-call]
    return dispatcher
