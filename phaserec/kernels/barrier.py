"""A barrier for compiled threads that hold no interpreter lock.

The barrier is one int64 array, fresh for every group of threads: nothing outlives a call, so
concurrent calls and forked processes cannot disturb each other.
"""

from __future__ import annotations

import os

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

# Arrivals and the abort flag sit on separate cache lines.
_ARRIVALS, _ABORT, _SIZE = 0, 16, 32
_SPINS = 4000

_YIELD = "SwitchToThread" if os.name == "nt" else "sched_yield"


@intrinsic
def _yield_thread(typingctx):
    """Offer the processor to another thread."""

    def codegen(context, builder, signature, args):
        # Named, not by address, so that the caller can be cached.
        kind = ir.FunctionType(ir.IntType(32), [])
        return builder.call(cgutils.get_or_insert_function(builder.module, kind, _YIELD), [])

    return types.int32(), codegen


@intrinsic
def _fetch_add(typingctx, array, index, amount):
    """Add to an int64 array element atomically and return the value before."""

    def codegen(context, builder, signature, args):
        data = context.make_array(array)(context, builder, args[0]).data
        return builder.atomic_rmw("add", builder.gep(data, [args[1]]), args[2], "seq_cst")

    return types.int64(array, types.intp, types.int64), codegen


@intrinsic
def _read(typingctx, array, index):
    """Read an int64 array element atomically."""

    def codegen(context, builder, signature, args):
        data = context.make_array(array)(context, builder, args[0]).data
        return builder.load_atomic(builder.gep(data, [args[1]]), "acquire", 8)

    return types.int64(array, types.intp), codegen


def make_barrier() -> np.ndarray:
    """Return a barrier for one group of threads."""
    return np.zeros(_SIZE, np.int64)


def abort(barrier: np.ndarray) -> None:
    """Let every thread pass from now on; their results are void."""
    barrier[_ABORT] = 1


@njit(cache=True, nogil=True)
def wait(barrier, threads):
    """Wait until ``threads`` threads have called; return False when aborted."""
    if threads == 1:
        return True
    ticket = _fetch_add(barrier, _ARRIVALS, 1)
    goal = (ticket // threads + 1) * threads
    spins = 0
    while _read(barrier, _ARRIVALS) < goal:
        if _read(barrier, _ABORT):
            return False
        spins += 1
        if spins > _SPINS:
            _yield_thread()
    return _read(barrier, _ABORT) == 0
