"""Newton's steps of :mod:`.least_squares` frame by frame, compiled: numbers on a CPU.

It is compiled once on a machine, which takes some seconds, and short work does not wait for that.
"""

import os
from collections import Counter
from typing import Any

import numba
import numpy as np

from phaserec._caching import is_kept, jitted
from phaserec.solving.dispatch import ARRAYS, KERNEL, VARIABLE

# Values of bins that the arrays do while this is compiled, and what they have done in vain.
_WORTH_COMPILING = 2_000_000
_WAITED: Counter[str] = Counter()


def suits(arguments: tuple, size: int) -> bool:
    """Whether compiled code is the quicker way, compiling included.

    Parameters
    ----------
    arguments : tuple
        Those of :func:`dual`.
    size : int
        Number of values of bins.

    Returns
    -------
    bool
        True also where ``PHASEREC_MACHINE`` asks for it.
    """
    told = os.environ.get(VARIABLE)
    if told == ARRAYS or os.environ.get("NUMBA_DISABLE_JIT", "0") not in ("", "0"):
        return False
    if told == KERNEL or _is_compiled(arguments):
        return True
    _WAITED["values"] += size
    return _WAITED["values"] >= _WORTH_COMPILING


def _is_compiled(arguments: tuple) -> bool:
    """Whether there is code, in this process or in the cache."""
    signature = tuple(numba.typeof(argument) for argument in arguments)
    if signature in dual.overloads:
        return True
    cache: Any = dual._cache
    return is_kept(cache.file(signature, dual.targetctx.codegen()))


@jitted
def dual(power, starts, bands, values, weights, r, m, base, shares, tolerance, limits, c):
    """Write c of every frame in place of where it starts from.

    Parameters
    ----------
    power : int
        p: 1, or 2.
    starts, bands, values : ndarray, shapes (F + 1,), (N,), (N,)
        Bands of every bin, those of bin f from ``starts[f]`` on, and the weights that they have.
    weights : ndarray, shape (F,)
        w.
    r, m, base : ndarray, shapes (n, F), (n, K), (n, K)
        Bins, bands, and what ε is a share of.
    shares : ndarray, shape (rounds,)
        Shares of the rounds.
    tolerance : float
        Relative accuracy of bands.
    limits : tuple of int, int, float
        Steps of a round and cuts of a step at most; what is nothing, relative to the loudest band.
    c : ndarray, shape (n, K)
        Start, and solution.
    """
    n_bins, n_bands = weights.size, m.shape[1]
    width = 1
    for f in range(n_bins):
        if starts[f + 1] > starts[f]:
            width = max(width, bands[starts[f + 1] - 1] - bands[starts[f]] + 1)
    steps, cuts, nothing = limits
    u, du, x = np.zeros(n_bins), np.zeros(n_bins), np.zeros(n_bins)
    sums, error, step = np.zeros(n_bands), np.zeros(n_bands), np.zeros(n_bands)
    B = np.zeros((width, n_bands))
    flat = B.ravel()
    # Where products of two bands of a bin go in the Jacobian.
    first = np.zeros(n_bins + 1, np.intp)
    for f in range(n_bins):
        count = starts[f + 1] - starts[f]
        first[f + 1] = first[f] + count * (count + 1) // 2
    places, products = np.zeros(first[n_bins], np.intp), np.zeros(first[n_bins])
    for f in range(n_bins):
        pair = first[f]
        for i in range(starts[f], starts[f + 1]):
            for j in range(i, starts[f + 1]):
                places[pair] = (bands[j] - bands[i]) * n_bands + bands[i]
                products[pair] = values[i] * values[j]
                pair += 1
    shrunk = 1 / weights
    for frame in range(m.shape[0]):
        target, near, now = m[frame], r[frame], c[frame]
        anchor = np.zeros(n_bands)
        loudest = target.max()
        for share in shares:
            ridge = share * base[frame]
            for _ in range(steps):
                # Bands and Jacobian at c.
                sums[:] = 0
                B[:] = 0
                for f in range(n_bins):
                    total = 0.0
                    for i in range(starts[f], starts[f + 1]):
                        total += values[i] * now[bands[i]]
                    u[f] = total
                    if power == 1:
                        x[f] = max(near[f] + total * shrunk[f], 0.0)
                        slope = shrunk[f]
                    else:
                        x[f] = (near[f] * weights[f] / (weights[f] - total)) ** 2
                        slope = 2 * x[f] / (weights[f] - total)
                    if x[f] == 0:
                        continue
                    for i in range(starts[f], starts[f + 1]):
                        sums[bands[i]] += values[i] * x[f]
                    for pair in range(first[f], first[f + 1]):
                        flat[places[pair]] += products[pair] * slope
                wrong = False
                for k in range(n_bands):
                    error[k] = sums[k] + ridge[k] * (now[k] - anchor[k]) - target[k]
                    allowed = tolerance * (sums[k] + target[k]) + nothing * loudest
                    wrong |= not abs(error[k]) <= allowed
                if not wrong:
                    break
                # The step: factors of a banded matrix, forwards and backwards.
                for k in range(n_bands):
                    B[0, k] += ridge[k]
                    step[k] = -error[k]
                for k in range(n_bands):
                    for i in range(1, min(width, n_bands - k)):
                        factor = B[i, k] / B[0, k]
                        for j in range(i, min(width, n_bands - k)):
                            B[j - i, k + i] -= factor * B[j, k]
                        step[k + i] -= factor * step[k]
                for k in range(n_bands - 1, -1, -1):
                    total = step[k]
                    for i in range(1, min(width, n_bands - k)):
                        total -= B[i, k] * step[k + i]
                    step[k] = total / B[0, k]
                # How far to go.
                slope, curvature, before, t = 0.0, 0.0, 0.0, 1.0
                for k in range(n_bands):
                    slope += error[k] * step[k]
                    curvature += ridge[k] * step[k] ** 2
                for f in range(n_bins):
                    total = 0.0
                    for i in range(starts[f], starts[f + 1]):
                        total += values[i] * step[bands[i]]
                    du[f] = total
                    before += x[f] * total
                    if power == 2 and total > 0:
                        t = min(t, 0.95 * (weights[f] - u[f]) / total)
                for _ in range(cuts):
                    there = slope - before + t * curvature
                    for f in range(n_bins):
                        v = u[f] + t * du[f]
                        if power == 1:
                            there += max(near[f] + v * shrunk[f], 0.0) * du[f]
                        else:
                            there += (near[f] * weights[f] / (weights[f] - v)) ** 2 * du[f]
                    if not there > -0.2 * slope:
                        break
                    t *= min(max(slope / (slope - there), 0.1), 0.7)
                for k in range(n_bands):
                    now[k] += t * step[k]
            anchor[:] = now
