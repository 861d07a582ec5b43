"""Integration of phase derivatives from the largest bin outwards, compiled for all but short work.

What comes next is held in buckets of nearly equal levels rather than in a heap: that takes linear
time and a fifth of a heap's, and the order within a tenth of a decibel does not matter.

The loop is plain Python that numba compiles: for a second or two on a machine, once, and loading
numba takes half a second in every process. So few bins are done by Python itself, with the same
result.
"""

from functools import cache
from typing import Any

import numpy as np

# Buckets for each factor of e in magnitude: 0.087 dB.
FINENESS = 100
# Bins that Python does sooner than numba is loaded.
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
    loaded = _compiled.cache_info().currsize
    return _spread if n_bins < _FEW and not loaded else _compiled()


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

    Bins that no path leads to begin a new region with phase 0, the largest first; of equal ones the
    first in the order of frames and then of frequencies. Within a region the last that was found
    goes first among equals.

    Parameters
    ----------
    spread : callable
        The loop, see :func:`spreader`.
    levels : ndarray, shape (T, F)
        Log-magnitudes, which decide what goes first.
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
    if reached.all():
        return
    below = FINENESS * (levels.max() - levels.reshape(-1))
    buckets = np.minimum(below, np.iinfo(np.uint16).max).astype(np.uint16)
    flat = (advance.reshape(-1), slope.reshape(-1), phase.reshape(-1), reached.reshape(-1))
    count, width = int(buckets.max()) + 1, levels.shape[1]
    left = np.flatnonzero(~flat[-1])
    # Nearly all is one region, from the largest bin; only what it leaves is worth sorting.
    spread(buckets, count, known, left[np.argmin(buckets[left])][None], width, *flat)
    left = left[~flat[-1][left]]
    if left.size:
        seeds = left[np.argsort(buckets[left], kind="stable")]  # by radix: linear time, too
        spread(buckets, count, known[:0], seeds, width, *flat)


def _spread(
    buckets: np.ndarray,
    n_buckets: int,
    known: np.ndarray,
    seeds: np.ndarray,
    n_bins: int,
    advance: np.ndarray,
    slope: np.ndarray,
    phase: np.ndarray,
    reached: np.ndarray,
) -> None:
    """Integrate over arrays ``(T · F,)``; the largest bins are in bucket 0."""
    # Each bucket is a list: its first bin, and after each bin the next.
    firsts = np.full(n_buckets, -1, np.int64)
    nexts = np.empty(len(buckets), np.int32)
    for place in known:
        bucket = buckets[place]
        nexts[place] = firsts[bucket]
        firsts[bucket] = place
    for k in range(-1, len(seeds)):  # what is known comes before any new region
        bucket = 0
        if k >= 0:
            seed = seeds[k]
            if reached[seed]:
                continue
            reached[seed] = True
            phase[seed] = 0.0
            bucket = int(buckets[seed])
            nexts[seed] = -1
            firsts[bucket] = seed
        while bucket < n_buckets:
            here = firsts[bucket]
            if here < 0:
                bucket += 1
                continue
            firsts[bucket] = nexts[here]
            column = here % n_bins
            for side in range(4):
                if side == 0:
                    there, inside = here - n_bins, here >= n_bins
                elif side == 1:
                    there, inside = here + n_bins, here + n_bins < len(buckets)
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
                found = int(buckets[there])
                nexts[there] = firsts[found]
                firsts[found] = there
                bucket = min(bucket, found)
