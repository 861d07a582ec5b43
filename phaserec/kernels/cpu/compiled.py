"""Machine code of rules: made once, kept as object code, found by every later process.

A rule is small and is made in a few hundredths of a second; numba's own front end, which takes ten
times as long, has no part in it. Its name is a digest of the text and of what compiles it.
"""

import hashlib
import os
import threading
from functools import cache
from typing import Any

import llvmlite.binding as llvm
import numba
from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import cpu_target

from phaserec import _caching as caching
from phaserec.kernels.cpu.rules import FINISH, RULE, Rules

_LOCK = threading.RLock()

# A process that is forked while another thread compiles would wait for ever for that thread.
if hasattr(os, "register_at_fork"):
    for _lock in (global_compiler_lock, _LOCK):
        os.register_at_fork(
            before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release
        )

_LIBRARIES: list[Any] = []  # their code is in use


def load(text: str) -> Rules:
    """Addresses of the functions of a text, compiled now or before.

    Parameters
    ----------
    text : str
        Module in LLVM's language with the functions of :data:`.rules.SIGNATURES`.

    Returns
    -------
    Rules
        Addresses, which are good as long as the process lives.
    """
    with _LOCK:
        return _load(text)


@cache
def _load(text: str) -> Rules:
    codegen = cpu_target.target_context.codegen()
    versions = (numba.__version__, llvm.llvm_version_info, *codegen.magic_tuple())
    name = hashlib.sha256(f"{versions}{text}".encode()).hexdigest()[:24]
    names = [f"phaserec_{name}_{function}" for function in (RULE, FINISH)]
    with global_compiler_lock:
        library = _kept(codegen, name)
        if library is None:
            for function, symbol in zip((RULE, FINISH), names, strict=True):
                text = text.replace(f'@"{function}"', f'@"{symbol}"')
            library = codegen.create_library(name)
            library.enable_object_caching()
            library.add_llvm_module(llvm.parse_assembly(text))
            library.finalize()
            _keep(library, name)
        _LIBRARIES.append(library)
        return Rules(*(library.get_pointer_to_function(symbol) for symbol in names))


def _kept(codegen: Any, name: str) -> Any:
    """Library of an earlier process, or None."""
    content = caching.read(f"{name}.o")
    if content is None:
        return None
    size = int.from_bytes(content[:8], "little")
    parts = content[8 : 8 + size], content[8 + size :]
    return codegen.unserialize_library((name, "object", parts))


def _keep(library: Any, name: str) -> None:
    code, interface = library.serialize_using_object_code()[2]
    caching.write(f"{name}.o", len(code).to_bytes(8, "little") + code + interface)
