"""Non-negative values with given sums over bands: batched, by Newton's method on the dual.

For a map A of F bins to K bands, values m of the bands and r of the bins, three questions are one:

* the least non-negative x with ``A x = m`` (least squares of the smallest norm): nearest to 0;
* the nearest magnitudes ``ρ`` to r with ``A ρ = m``;
* the nearest magnitudes ``ρ`` to r with ``A ρ² = m``, which is convex in ``ρ²``.

With c one number a band and ``u = Aᵀc``, the answers are ``max(r + u/w, 0)`` and ``r w/(w − u)``, w
the weights of the distance, and c solves ``A ρᵖ + εc = m``, the gradient of a convex function. Its
Jacobian is ``A diag(·) Aᵀ``, and of triangular filters that is tridiagonal: a step costs no more
than a few products with A, and a handful of steps do. With the small ε bands that no magnitudes
have are met as closely as can be: ``min ½‖ρ − r‖²_w + ‖A ρᵖ − m‖²/2ε``.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

import numpy as np

from phaserec._typing import Array, ArrayT
from phaserec._xp import (
    as_array,
    check_finite,
    dtype_name,
    is_complex,
    is_torch_array,
    namespace,
    to_numpy,
)

# ε of every round as a share of the largest Gram value. What a round gives is the anchor c₀ of the
# next, in which ``ε(c − c₀)`` takes the place of ``εc`` (Rockafellar 1976).
_EXACT = (1e-3, 1e-5, 1e-7, 1e-9)
_QUICK = (1e-5,)
_LOOSE = 1e-4
# Steps of a round, and cuts of a step, at most.
_STEPS, _CUTS = 40, 12
# Relative accuracy of the bands; and of those that are next to nothing, of the loudest of a frame.
_TOLERANCE = {"float32": 1e-6, "float64": 1e-9}
_NOTHING = 1e-12
# Values of a block of frames that are worked on at a time, which stay in a cache.
_BLOCK = 400_000
# Magnitudes that are to be scaled are at least this share of their neighbours.
_FAINT = 1e-5
# Maps of fewer non-zero values than this share are multiplied as sparse ones.
_SPARSE = 0.1


@dataclass(frozen=True)
class _Map:
    """A map of F bins to K bands with rows of an ordinary size, and what Newton's steps need.

    Attributes
    ----------
    rows : matrix, shape (K, F)
        A, each row divided by ``sizes``.
    columns : matrix, shape (F, K)
        Its transpose.
    sizes : array, shape (K, 1)
        Sizes.
    overlaps : list of matrix, shape (K − j, F)
        Products of rows k and k + j, for every j up to the last at which some overlap.
    weights : array, shape (F, 1)
        w.
    ridge : array, shape (K, 1)
        What ε is a share of, in the units of the rows.
    gram : array, shape (K, 1)
        Sums of ``A diag(1/w) Aᵀ`` over its columns.
    of_bins : tuple of ndarray
        Bands of every bin as compiled code reads them: where they start, which, and their weights.
    """

    rows: Any
    columns: Any
    sizes: Any
    overlaps: list
    weights: Any
    ridge: Any
    gram: Any
    of_bins: tuple


def _map(A: np.ndarray, weights: np.ndarray, x: Array) -> _Map:
    """A map, with the library and device of ``x``."""
    # Its bytes are read in less than a tenth of the time that making it takes.
    shape, data = A.shape, (A.tobytes(), weights.tobytes())
    if not is_torch_array(x):
        return _made(shape, *data, None, None)
    torch = namespace(x)
    with torch.inference_mode(False):  # others may need it in a backward pass
        return _made(shape, *data, torch, x.device)


@lru_cache(maxsize=8)
def _made(shape: tuple[int, int], A: bytes, weights: bytes, torch: Any, device: Any) -> _Map:
    """What :func:`_map` gives."""
    rows, w = np.frombuffer(A).reshape(shape), np.frombuffer(weights)
    sizes = rows.max(axis=1, keepdims=True)
    sizes = np.where(sizes == 0, 1, sizes)
    rows = rows / sizes
    most = max(rows.sum(axis=0).max(), 1)  # u is less than w where c is less than 1 then
    rows, sizes = rows / most, sizes * most
    gram = (rows / w) @ rows.T
    width = int(np.ptp(np.nonzero(gram), axis=0).max(initial=0))
    bins, which = np.nonzero(rows.T)
    starts = np.searchsorted(bins, np.arange(shape[1] + 1))
    whole = gram.sum(axis=1, keepdims=True)

    def made(values: np.ndarray) -> Any:
        if torch is None:
            return values
        return torch.asarray(values, dtype=torch.float64, device=device)

    def matrix(values: np.ndarray) -> Any:
        if torch is not None or np.count_nonzero(values) > _SPARSE * values.size:
            return made(values)
        from scipy.sparse import csr_array  # takes a moment to load

        return csr_array(values)

    return _Map(
        rows=matrix(rows),
        columns=matrix(rows.T),
        sizes=made(sizes),
        overlaps=[matrix(rows[: len(rows) - j] * rows[j:]) for j in range(width + 1)],
        weights=made(w[:, None].copy()),
        ridge=made(gram.max() * (sizes.min() / sizes) ** 2),
        gram=made(np.where(whole == 0, 1, whole)),
        of_bins=(starts, which, rows.T[bins, which]),
    )


class _Linear:
    """``ρ = max(r + u/w, 0)``: magnitudes, or whatever the bands sum.

    Parameters
    ----------
    bands : _Map
        The map.
    r : array, shape (F, n)
        What the answer is to be near to.
    m : array, shape (K, n)
        Bands, in the units of the rows.
    """

    power = 1

    def __init__(self, bands: _Map, r: Any, m: Any) -> None:
        self.bands, self.r, self.m = bands, r, m

    def some(self, frames: Any) -> Any:
        """The problem of some of the frames."""
        return type(self)(self.bands, self.r[:, frames], self.m[:, frames])

    def start(self) -> Any:
        """c of the first step: of each band by itself."""
        return self.m / self.bands.gram

    def ridge(self) -> Any:
        """What ε is a share of, broadcastable to ``(K, n)``."""
        return self.bands.ridge

    def reach(self, u: Any, du: Any) -> Any:
        """Longest step along ``du`` that has values, ``(n,)``."""
        return namespace(u).ones_like(u[0])

    def values(self, u: Any) -> Any:
        """ρ."""
        return namespace(u).clip(self.r + u / self.bands.weights, 0, None)

    def summed(self, u: Any) -> Any:
        """What is summed over bands."""
        return self.values(u)

    def slope(self, u: Any) -> Any:
        """Derivative of :meth:`summed` by u."""
        xp = namespace(u)
        return xp.astype(self.r + u / self.bands.weights > 0, u.dtype) / self.bands.weights


class _Squared(_Linear):
    """``ρ = r w/(w − u)`` with ``u < w``: magnitudes whose squares the bands sum."""

    power = 2

    def start(self) -> Any:
        # One over the gain that each band needs, between which the filters interpolate.
        xp = namespace(self.m)
        found = self.bands.rows @ self.r**2
        quiet = (found == 0) | (self.m == 0)
        one = xp.ones_like(found)
        return (
            1 - xp.clip(xp.where(quiet, one, found / xp.where(quiet, one, self.m)), 0, 1e8) ** 0.5
        )

    def ridge(self) -> Any:
        # c is a gain here, whatever the level of a band.
        return namespace(self.m).clip(self.m, _NOTHING, None)

    def reach(self, u: Any, du: Any) -> Any:
        xp = namespace(u)
        rising = du > 0
        room = (self.bands.weights - u) / xp.where(rising, du, xp.ones_like(du))
        return xp.clip(0.95 * xp.min(xp.where(rising, room, 2 + 0 * du), axis=0), 0, 1)

    def values(self, u: Any) -> Any:
        w = self.bands.weights
        return self.r * w / (w - u)

    def summed(self, u: Any) -> Any:
        return self.values(u) ** 2

    def slope(self, u: Any) -> Any:
        return 2 * self.summed(u) / (self.bands.weights - u)


def _factored(bands: _Map, slope: Any, ridge: Any) -> list:
    """Factors of ``A diag(slope) Aᵀ + ε``: of each row its pivot, and what is below it."""
    count = bands.rows.shape[0]
    B = [overlap @ slope for overlap in bands.overlaps]
    B[0] = B[0] + ridge
    factors = []
    for k in range(count):
        reach = min(len(B), count - k)
        pivot = B[0][k]
        below = [B[j][k] / pivot for j in range(1, reach)]
        for i, factor in enumerate(below, start=1):
            for j in range(i, reach):
                B[j - i][k + i] -= factor * B[j][k]
        factors.append((pivot, below))
    return factors


def _solved(factors: list, rhs: Any) -> Any:
    """Solution ``(K, n)`` for factors and right-hand sides ``(K, n)``."""
    x = [rhs[k] for k in range(len(factors))]
    for k, (_, below) in enumerate(factors):
        for i, factor in enumerate(below, start=1):
            x[k + i] = x[k + i] - factor * x[k]
    x = [row / pivot for row, (pivot, _) in zip(x, factors, strict=True)]
    for k in range(len(factors) - 1, -1, -1):
        for i, factor in enumerate(factors[k][1], start=1):
            x[k] = x[k] - factor * x[k + i]
    return namespace(rhs).stack(x)


def _dual(problem: _Linear, ridges: Sequence[float], tolerance: float) -> Any:
    """c of every frame, ``(K, n)``."""
    c = problem.start()
    if not is_torch_array(c) or c.device.type == "cpu":
        from phaserec.inverse import compiled  # numba takes a moment to load

        arguments = _arguments(problem, ridges, tolerance)
        if compiled.suits(arguments, math.prod(problem.r.shape)):
            compiled.dual(*arguments)
            return namespace(c).asarray(arguments[-1].T)
    anchor = 0 * c
    for ridge in ridges:
        c = anchor = _round(problem, ridge, c, anchor, tolerance)
    return c


def _arguments(problem: _Linear, ridges: Sequence[float], tolerance: float) -> tuple[Any, ...]:
    """What compiled code takes; c is the last, and holds the start."""
    bands = problem.bands
    start = problem.start()
    base = np.broadcast_to(to_numpy(problem.ridge()), start.shape)
    r, m, base, c, weights = (
        np.array(to_numpy(a).T, order="C")
        for a in (problem.r, problem.m, base, start, bands.weights[:, 0])
    )
    limits = _STEPS, _CUTS, _NOTHING
    return (
        problem.power,
        *bands.of_bins,
        weights,
        r,
        m,
        base,
        np.array(ridges),
        tolerance,
        limits,
        c,
    )


def warm_up() -> None:
    """Compile the code for numbers on a CPU, and keep it."""
    from phaserec.inverse import compiled

    one = np.ones((1, 1))
    problem = _Linear(_map(one, one, one), one, one)
    compiled.dual(*_arguments(problem, _EXACT, 1e-6))


def _round(problem: _Linear, share: float, c: Any, anchor: Any, tolerance: float) -> Any:
    """c with ``A ρᵖ + ε(c − anchor) = m``, by Newton's method with steps that do not go too far."""
    xp, bands = namespace(c), problem.bands
    found = c + 0
    left = xp.arange(c.shape[1], device=c.device)
    for _ in range(_STEPS):
        u = bands.columns @ c
        sums = bands.rows @ problem.summed(u)
        error = sums + share * problem.ridge() * (c - anchor) - problem.m
        allowed = tolerance * (sums + problem.m) + _NOTHING * xp.max(problem.m, axis=0)
        wrong = xp.any(xp.abs(error) > allowed, axis=0)
        found[:, left] = c
        if not bool(xp.any(wrong)):
            break
        if not bool(xp.all(wrong)):  # go on with those that are not done
            left, problem, anchor = left[wrong], problem.some(wrong), anchor[:, wrong]
            c, u, error = c[:, wrong], u[:, wrong], error[:, wrong]
        ridge = share * problem.ridge()
        step = -_solved(_factored(bands, problem.slope(u), ridge), error)
        c = c + _length(problem, ridge, u, step, error) * step
    return found


def _length(problem: _Linear, ridge: Any, u: Any, step: Any, error: Any) -> Any:
    """How far to go along a step ``(n,)``: all the way, or to where the function stops falling."""
    xp, bands = namespace(u), problem.bands
    slope = xp.sum(error * step, axis=0)
    curvature = xp.sum(ridge * step**2, axis=0)
    du = bands.columns @ step
    before = xp.sum(problem.summed(u) * du, axis=0)
    t = problem.reach(u, du)
    for _ in range(_CUTS):
        gained = xp.sum(problem.summed(u + t * du) * du, axis=0) - before
        there = slope + gained + t * curvature
        far = there > -0.2 * slope
        if not bool(xp.any(far)):
            break
        nearer = t * xp.clip(slope / xp.where(far, slope - there, xp.ones_like(t)), 0.1, 0.7)
        t = xp.where(far, nearer, t)
    return t


def nnls(A: np.ndarray, m: ArrayT) -> ArrayT:
    """Non-negative least squares: of all ``x ≥ 0`` with the least ``‖A x − m‖``, the smallest.

    By Newton's method on the dual problem (proximal point method, Rockafellar 1976), all frames at
    a time. Torch tensors have a gradient with respect to ``m``, by the implicit function theorem,
    and of first order.

    Parameters
    ----------
    A : ndarray, shape (K, F)
        Non-negative map, the same for all frames. The narrower the band of ``A Aᵀ``, the faster.
    m : array, shape (..., K, T)
        What the sums are to be, numpy or torch; negative values are met by zero.

    Returns
    -------
    array, shape (..., F, T)
        Solutions, with the library and precision of ``m``. What can be met is met to a relative
        1e-6 in single and 1e-9 in double precision, or 1e-12 of the largest value of its frame.

    Raises
    ------
    ValueError
        If ``A`` is not finite and non-negative, or does not go with ``m``.

    Examples
    --------
    >>> import numpy as np
    >>> from phaserec.inverse import nnls
    >>> nnls(np.array([[1.0, 1.0, 0.0], [0.0, 0.0, 2.0]]), np.array([[4.0], [2.0]])).round(6).T
    array([[2., 2., 1.]])
    """
    A, sums = check_map(A, m)
    return cast(ArrayT, _projected(_Linear, A, sums, None, np.ones((A.shape[1], 1)), _EXACT))


def nearest_magnitudes(
    A: np.ndarray,
    m: ArrayT,
    r: Array,
    *,
    power: int,
    weights: np.ndarray,
    exact: bool = False,
) -> ArrayT:
    """Magnitudes nearest to given ones whose powers have given sums.

    Parameters
    ----------
    A : ndarray, shape (K, F)
        Non-negative map.
    m : array, shape (..., K, T)
        Sums ``A ρᵖ``, non-negative.
    r : array, shape (..., F, T)
        Magnitudes that they are to be near to.
    power : {1, 2}
        p.
    weights : ndarray, shape (F, 1)
        Weights of the squared distance.
    exact : bool, default False
        Meet the sums as :func:`nnls` does, instead of to 1e-4 where the distance is not large.

    Returns
    -------
    array, shape (..., F, T)
        Magnitudes. Sums that no magnitudes have are met as closely as can be.

    Raises
    ------
    ValueError
        If ``power`` is neither 1 nor 2, or the map does not go with the sums.
    """
    A, sums = check_map(A, m)
    if power not in (1, 2):
        raise ValueError(f"power={power!r} must be 1 or 2 for magnitudes to be projected")
    kind = _Squared if power == 2 else _Linear
    ridges, tolerance = (_EXACT, None) if exact else (_QUICK, _LOOSE)
    return cast(ArrayT, _projected(kind, A, sums, r, weights, ridges, tolerance))


def check_map(A: np.ndarray, m: ArrayT) -> tuple[np.ndarray, ArrayT]:
    """A map in double precision and sums in a supported one, which go together.

    Parameters
    ----------
    A : ndarray, shape (K, F)
        Non-negative map.
    m : array, shape (..., K, T)
        Sums.

    Returns
    -------
    ndarray, array
        Both.

    Raises
    ------
    ValueError
        If they do not.
    """
    A = to_numpy(as_array("A", A)).astype(np.float64)
    m = cast(ArrayT, as_array("m", m))
    check_finite(A=A, m=m)
    if A.ndim != 2 or 0 in A.shape or A.min() < 0 or A.max() == 0:
        raise ValueError(
            f"A of shape {A.shape} must be a map (K, F) of non-negative weights, not all zero"
        )
    if is_complex(m) or m.ndim < 2 or m.shape[-2] != len(A) or 0 in m.shape:
        raise ValueError(
            f"m is {dtype_name(m)} of shape {tuple(m.shape)}, and must be real of shape "
            f"(..., {len(A)}, T), for the {len(A)} bands of A"
        )
    return A, m


def _projected(
    kind: type[_Linear],
    A: np.ndarray,
    m: Array,
    r: Array | None,
    weights: np.ndarray,
    ridges: Sequence[float],
    tolerance: float | None = None,
) -> Any:
    """Answers ``(..., F, T)`` for bands ``(..., K, T)`` near to bins ``(..., F, T)``, or to 0."""
    xp = namespace(m)
    bands = _map(A, weights, m)
    frames = _frames_last(xp.astype(m, xp.float64, copy=False)) / bands.sizes
    bins = None if r is None else _frames_last(xp.astype(r, xp.float64, copy=False))
    tolerance = _TOLERANCE[dtype_name(m)] if tolerance is None else tolerance
    size = max(_BLOCK // A.shape[1], 1)
    made = []
    for first in range(0, frames.shape[1], size):
        part = frames[:, first : first + size]
        near = 0 * (bands.columns @ part) if bins is None else bins[:, first : first + size]
        made.append(_block(kind, bands, part, near, ridges, tolerance))
    x = xp.concat(made, axis=1) if len(made) > 1 else made[0]
    x = xp.moveaxis(xp.reshape(x, (A.shape[1], *m.shape[:-2], m.shape[-1])), 0, -2)
    return xp.astype(x, m.dtype, copy=False)


def _frames_last(x: Any) -> Any:
    """``(bins, frames)`` of ``(..., bins, T)``."""
    xp = namespace(x)
    return xp.reshape(xp.moveaxis(x, -2, 0), (x.shape[-2], -1))


def _block(
    kind: type[_Linear], bands: _Map, m: Any, r: Any, ridges: Sequence[float], tolerance: float
) -> Any:
    """Answers ``(F, n)`` for some frames, computed at a level of 1."""
    xp = namespace(m)
    level = xp.max(m, axis=0)
    silent = level == 0
    level = xp.where(silent, xp.ones_like(level), level)
    m, r = m / level, r / level ** (1 / kind.power)
    r = xp.where(silent & (bands.columns @ xp.ones_like(m) > 0), xp.zeros_like(r), r)
    if kind is _Squared:  # silence cannot be scaled
        around = (bands.rows @ r**2 + m) / (bands.rows @ xp.ones_like(r))
        around = around.detach() if is_torch_array(around) else around
        r = xp.maximum(r, _FAINT * (bands.columns @ around) ** 0.5)
    problem = kind(bands, r, m)
    if is_torch_array(m) and (m.requires_grad or r.requires_grad):
        # By the implicit function theorem: one more step, whose length is zero, has the gradient.
        plain = kind(bands, r.detach(), m.detach())
        c = _dual(plain, ridges, tolerance)
        factors = _factored(bands, plain.slope(bands.columns @ c), _NOTHING)
        rest = bands.rows @ problem.summed(bands.columns @ c) - m
        c = c - _solved(factors, rest - rest.detach())
    else:
        c = _dual(problem, ridges, tolerance)
    return problem.values(bands.columns @ c) * level ** (1 / kind.power)
