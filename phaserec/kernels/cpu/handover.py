"""What the compiled threads of one call tell each other, without the interpreter lock.

All of it is one int64 array, the notes, fresh for every call: nothing outlives a call, so
concurrent calls and forked processes cannot disturb each other. A line of notes belongs to each
range of blocks and to the seam between it and the range before; a thread writes what it has done
after doing it, and whoever needs that waits for it.
"""

import os

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from phaserec._caching import jitted
from phaserec.kernels.cpu.sweep import moved

# Entries of a line, which is two cache lines long: processors fetch pairs.
LEFT = 0  # visits that remain of the range in this sweep
RANGES = 1  # sweeps whose range is done
SEAMS = 2  # sweeps whose seam with the range before is done
FIRST = 3  # first block of the range in the next sweep
MEETINGS = 4  # how often a thread has finished the range on either side of the seam
MOVES = 5  # sweeps after which the seam's next place is known
LINE = 16
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
    """Add to an int64 array element atomically: the value before."""

    def codegen(context, builder, signature, args):
        data = context.make_array(array)(context, builder, args[0]).data
        return builder.atomic_rmw("add", builder.gep(data, [args[1]]), args[2], "seq_cst")

    return types.int64(array, types.intp, types.int64), codegen


@intrinsic
def read(typingctx, array, index):
    """Read an int64 array element atomically."""

    def codegen(context, builder, signature, args):
        data = context.make_array(array)(context, builder, args[0]).data
        return builder.load_atomic(builder.gep(data, [args[1]]), "acquire", 8)

    return types.int64(array, types.intp), codegen


@intrinsic
def write(typingctx, notes, index, value):
    """Write an element atomically, after all that the thread has written before."""

    def codegen(context, builder, signature, args):
        data = context.make_array(notes)(context, builder, args[0]).data
        builder.store_atomic(args[2], builder.gep(data, [args[1]]), "release", 8)
        return context.get_dummy_value()

    return types.void(notes, types.intp, types.int64), codegen


def make_notes(bounds: list[int]) -> np.ndarray:
    """Notes of ranges that begin at the first blocks given, and end at the last one."""
    notes = np.zeros(len(bounds) * LINE, np.int64)
    notes[FIRST::LINE] = bounds
    return notes


def abort(notes: np.ndarray) -> None:
    """Let every thread pass from now on; their results are void."""
    notes[-1] = 1


@jitted
def wait(notes, part, entry, goal):
    """Wait until an entry has reached ``goal``; False when aborted."""
    spins = 0
    while read(notes, part * LINE + entry) < goal:
        if read(notes, notes.size - 1):
            return False
        spins += 1
        if spins > _SPINS:
            _yield_thread()
    return True


@jitted
def meet(notes, part, other, turn, levels, home, play):
    """Place the seam before ``part`` for the next sweep; False when aborted.

    Called by the threads on both sides of it once the own range is done, in the sweep ``turn`` of
    ``levels`` passes; ``other`` is the part of the other one. The first to come moves the seam
    into the range of the one that is behind, by half of what that one has left, within ``play`` of
    the place ``home`` that it had at first.
    """
    line = part * LINE
    if _fetch_add(notes, line + MEETINGS, 1) == 2 * turn:
        shift = read(notes, other * LINE + LEFT) // (2 * levels)
        if other < part:
            shift = -shift
        write(notes, line + FIRST, moved(read(notes, line + FIRST), home, play, shift))
        write(notes, line + MOVES, turn + 1)
    return wait(notes, part, MOVES, turn + 1)
