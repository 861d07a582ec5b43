"""Integration of phase derivatives from the largest bin outwards, compiled for all but short work.

It is plain Python that numba compiles: for a second or two on a machine, once, and loading numba
takes half a second in every process. So few bins are done by Python itself, with the same result.
"""

from functools import cache
from typing import Any

import numpy as np

# Bins that Python does in the time in which numba is loaded.
_FEW = 20_000


def spreader(n_bins: int) -> Any:
    """The loop of :func:`integrate`, as Python or as machine code.

    Parameters
    ----------
    n_bins : int
        Bins of all calls.

    Returns
    -------
    callable
        The loop.
    """
    return _spread if n_bins < _FEW else _compiled()


@cache
def _compiled() -> Any:
    from phaserec._caching import jitted  # numba takes a moment to load

    return jitted(_spread)


def integrate(
    spread: Any,
    levels: np.ndarray,
    advance: np.ndarray,
    slope: np.ndarray,
    phase: np.ndarray,
    reached: np.ndarray,
    known: np.ndarray,
) -> None:
    """Give every bin a phase that has none: that of its largest neighbour plus the trapezoid rule.

    Bins that no path leads to begin a new region with phase 0, the largest first. Levels are
    compared in single precision; of equal ones the first goes first, in the order of frames and
    then of frequencies. It takes n log n for n bins.

    Parameters
    ----------
    spread : callable
        The loop, see :func:`spreader`.
    levels : ndarray, shape (T, F)
        What decides which bin goes first, not negative.
    advance : ndarray, shape (T, F)
        Derivative of the phase along time in rad a frame, float64.
    slope : ndarray, shape (T, F)
        Derivative of the phase along frequency in rad a bin, float64.
    phase : ndarray, shape (T, F)
        Phases in rad, float64; written to. All arrays are contiguous.
    reached : ndarray of bool, shape (T, F)
        Bins that have a phase, or need none; written to.
    known : ndarray of int
        Places, counted in frames and then in frequencies, of bins with a phase to go on from.
    """
    # One number for level and place: the bits of a float, read as a whole number, have the order of
    # what they stand for. The largest level is the least number.
    bits = levels.astype(np.float32).reshape(-1).view(np.int32).astype(np.int64)
    keys = (~bits << 32) + np.arange(bits.size)
    flat = (advance.reshape(-1), slope.reshape(-1), phase.reshape(-1), reached.reshape(-1))
    heap = np.empty(keys.size, np.int64)
    if known.size:
        heap[: known.size] = np.sort(keys[known])  # what is sorted is a heap
        spread(keys, heap, known.size, levels.shape[1], *flat)
    left = keys[~flat[-1]]
    if left.size:
        _begin(left.min(), spread, keys, heap, levels.shape[1], flat)
        # Nearly all is one region; only what it leaves is worth sorting.
        for key in np.sort(keys[~flat[-1]]):
            _begin(key, spread, keys, heap, levels.shape[1], flat)


def _begin(
    key: Any,
    spread: Any,
    keys: np.ndarray,
    heap: np.ndarray,
    n_bins: int,
    flat: tuple[np.ndarray, ...],
) -> None:
    """Begin a region at a bin, unless another has reached it."""
    place, reached = key & 0xFFFFFFFF, flat[-1]
    if not reached[place]:
        reached[place] = True
        heap[0] = key
        spread(keys, heap, 1, n_bins, *flat)


def _spread(
    keys: np.ndarray,
    heap: np.ndarray,
    size: int,
    n_bins: int,
    advance: np.ndarray,
    slope: np.ndarray,
    phase: np.ndarray,
    reached: np.ndarray,
) -> None:
    """Integrate over arrays ``(T · F,)`` from the bins in the heap, the least key first."""
    fresh = np.empty(4, np.int64)
    while size > 0:
        here = heap[0] & 0xFFFFFFFF
        column = here % n_bins
        found = 0
        for side in range(4):
            if side == 0:
                there, inside = here - n_bins, here >= n_bins
            elif side == 1:
                there, inside = here + n_bins, here + n_bins < len(keys)
            elif side == 2:
                there, inside = here - 1, column > 0
            else:
                there, inside = here + 1, column < n_bins - 1
            if not inside or reached[there]:
                continue
            if side < 2:
                step = 0.5 * (advance[here] + advance[there])
            else:
                step = 0.5 * (slope[here] + slope[there])
            phase[there] = phase[here] + step if side % 2 else phase[here] - step
            reached[there] = True
            fresh[found] = keys[there]
            found += 1
        # The first neighbour takes the place of the bin, or the last of the heap does; it sinks.
        if found > 0:
            key = fresh[0]
        else:
            size -= 1
            key = heap[size]
        at, below = 0, 1
        while below < size:
            if below + 1 < size and heap[below + 1] < heap[below]:
                below += 1
            if heap[below] >= key:
                break
            heap[at] = heap[below]
            at, below = below, 2 * below + 1
        heap[at] = key
        # The others are put at the end, and rise.
        for other in range(1, found):
            key = fresh[other]
            at = size
            size += 1
            while at > 0 and heap[(at - 1) // 2] > key:
                heap[at] = heap[(at - 1) // 2]
                at = (at - 1) // 2
            heap[at] = key
