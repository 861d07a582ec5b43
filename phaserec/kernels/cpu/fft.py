"""Real FFT of one lane of frames at once, in place, between a signal and a buffer of rows.

A real frame of ``n = 2 h`` samples is transformed as ``h`` complex values ``x[2m] + i x[2m+1]``.
The buffer holds complex rows ``[row][re, im][lane]``. The forward transform decimates in
frequency and leaves the spectrum in digit-reversed rows; the inverse runs the transposed graph
from those rows back to natural order, so that nothing is ever reordered: element-wise work in
between only needs the table of rows. The inverse is the forward transform with real and
imaginary parts exchanged.

The first forward pass reads the signal and applies the analysis window, the last inverse pass
applies the synthesis window. After the first pass each sub-block is finished while it is in the
nearest cache.
"""

import math
from typing import NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from phaserec._caching import jitted
from phaserec.kernels.cpu.lanes import Pointer, is_real_array, load, store

RADICES = (8, 5, 4, 3, 2)
# One spare row per sub-block: the rows of a butterfly would otherwise fall on the same cache set.
GAP = 1


class Plan(NamedTuple):
    """Tables of one transform size and type (see :func:`make_plan`)."""

    half: int  # h = n / 2
    rows: int  # complex rows of a buffer
    radix: np.ndarray  # radix of each pass
    twiddle: np.ndarray  # (re, im) factors of all passes
    start: np.ndarray  # position of each pass in ``twiddle``
    frequency_row: np.ndarray  # row of complex frequency k
    sample_row: np.ndarray  # lane row of real sample s (two to a complex row)
    turn: np.ndarray  # (re, im) of exp(-2 i pi p / n), p = 0 .. h // 2


def factorise(half: int) -> list[int] | None:
    """Radices of a half-length transform, or None when it is not supported."""
    counts = {}
    for prime in (2, 3, 5):
        counts[prime] = 0
        while half % prime == 0 and half > 1:
            half //= prime
            counts[prime] += 1
    if half != 1 or not sum(counts.values()):
        return None
    eights, rest = divmod(counts[2], 3)
    fours, twos = (0, 0) if rest == 0 else (1, 0) if rest == 2 else (2, 0) if eights else (0, 1)
    if fours == 2:
        eights -= 1
    return [8] * eights + [5] * counts[5] + [4] * fours + [3] * counts[3] + [2] * twos


def is_fast_size(n: int) -> bool:
    """Whether frames of ``n`` samples can be transformed here."""
    return n >= 4 and n % 2 == 0 and factorise(n // 2) is not None


def make_plan(n: int, dtype) -> Plan:
    """Tables for frames of ``n`` samples.

    Parameters
    ----------
    n : int
        Even frame size whose half has no prime factor above 5.
    dtype : numpy dtype
        float32 or float64.

    Returns
    -------
    Plan
        The tables.

    Raises
    ------
    ValueError
        If the size is not supported.
    """
    half = n // 2
    radix = factorise(half)
    if n % 2 or radix is None:
        raise ValueError(f"unsupported transform size: {n}")
    twiddle, start, size = [], [], half
    for r in radix:
        part = size // r
        start.append(sum(len(t) for t in twiddle))
        j, k = np.meshgrid(np.arange(1, part), np.arange(1, r), indexing="ij")
        angle = -2 * math.pi * ((j * k) % size) / size
        twiddle.append(np.stack([np.cos(angle), np.sin(angle)], -1).ravel())
        size = part
    part = half // radix[0]
    natural = np.arange(half)

    def digit_reversed(k, level, size):
        if level == len(radix):
            return np.zeros_like(k)
        sub = size // radix[level]
        # Only the first level is spread over the spare rows.
        step = sub + GAP if level == 0 else sub
        return (k % radix[level]) * step + digit_reversed(k // radix[level], level + 1, sub)

    row = natural // part * (part + GAP) + natural % part
    angle = -2 * math.pi * np.arange(half // 2 + 1) / n
    return Plan(
        half=half,
        rows=half + radix[0] * GAP,
        radix=np.array(radix, np.int64),
        twiddle=np.concatenate([*twiddle, [0.0]]).astype(dtype),
        start=np.array(start, np.int64),
        frequency_row=digit_reversed(natural, 0, half),
        sample_row=np.stack([2 * row, 2 * row + 1], -1).ravel(),
        turn=np.stack([np.cos(angle), np.sin(angle)], -1).ravel().astype(dtype),
    )


def dft(x):
    """Transform a list of 2, 3, 4, 5 or 8 complex values given as (re, im) pairs.

    Works on anything with ``+ - *`` and multiplication by a number.
    """
    return {2: _dft2, 3: _dft3, 4: _dft4, 5: _dft5, 8: _dft8}[len(x)](x)


def _add(a, b):
    return a[0] + b[0], a[1] + b[1]


def _sub(a, b):
    return a[0] - b[0], a[1] - b[1]


def _dft2(x):
    return [_add(x[0], x[1]), _sub(x[0], x[1])]


def _dft3(x):
    total, diff = _add(x[1], x[2]), _sub(x[1], x[2])
    sine = math.sin(2 * math.pi / 3)
    middle = x[0][0] - total[0] * 0.5, x[0][1] - total[1] * 0.5
    return [
        _add(x[0], total),
        (middle[0] + diff[1] * sine, middle[1] - diff[0] * sine),
        (middle[0] - diff[1] * sine, middle[1] + diff[0] * sine),
    ]


def _dft4(x):
    a, b = _add(x[0], x[2]), _sub(x[0], x[2])
    c, d = _add(x[1], x[3]), _sub(x[1], x[3])
    return [_add(a, c), (b[0] + d[1], b[1] - d[0]), _sub(a, c), (b[0] - d[1], b[1] + d[0])]


def _dft5(x):
    c1, c2 = math.cos(2 * math.pi / 5), math.cos(4 * math.pi / 5)
    s1, s2 = math.sin(2 * math.pi / 5), math.sin(4 * math.pi / 5)
    a, b = _add(x[1], x[4]), _sub(x[1], x[4])
    c, d = _add(x[2], x[3]), _sub(x[2], x[3])
    m1 = [x[0][p] + a[p] * c1 + c[p] * c2 for p in range(2)]
    m2 = [x[0][p] + a[p] * c2 + c[p] * c1 for p in range(2)]
    n1 = [b[p] * s1 + d[p] * s2 for p in range(2)]
    n2 = [b[p] * s2 - d[p] * s1 for p in range(2)]
    return [
        _add(_add(x[0], a), c),
        (m1[0] + n1[1], m1[1] - n1[0]),
        (m2[0] + n2[1], m2[1] - n2[0]),
        (m2[0] - n2[1], m2[1] + n2[0]),
        (m1[0] - n1[1], m1[1] + n1[0]),
    ]


def _dft8(x):
    even, odd = _dft4(x[0::2]), _dft4(x[1::2])
    root = math.sqrt(0.5)
    o1 = (odd[1][0] + odd[1][1]) * root, (odd[1][1] - odd[1][0]) * root
    o3 = (odd[3][1] - odd[3][0]) * root, (odd[3][0] + odd[3][1]) * root
    low = [_add(even[0], odd[0]), _add(even[1], o1)]
    low += [(even[2][0] + odd[2][1], even[2][1] - odd[2][0])]
    low += [(even[3][0] + o3[0], even[3][1] - o3[1])]
    high = [_sub(even[0], odd[0]), _sub(even[1], o1)]
    high += [(even[2][0] - odd[2][1], even[2][1] + odd[2][0])]
    high += [(even[3][0] - o3[0], even[3][1] + o3[1])]
    return low + high


class _Rows:
    """Complex rows of a buffer inside an intrinsic."""

    def __init__(self, pointer: Pointer, swapped: bool):
        self.pointer = pointer
        self.width = pointer.lane.width
        self.shifts = (self.width, 0) if swapped else (0, self.width)

    def _at(self, row):
        return self.pointer.builder.mul(row, ir.Constant(row.type, 2 * self.width))

    def read(self, row):
        at = self._at(row)
        return tuple(self.pointer.load(at, shift) for shift in self.shifts)

    def write(self, row, value):
        at = self._at(row)
        for part, shift in zip(value, self.shifts, strict=True):
            self.pointer.store(part, at, shift)


def _twiddled(x, pointer, at):
    """Multiply all values but the first by the consecutive (re, im) factors at a position."""
    out = [x[0]]
    for i, (re, im) in enumerate(x[1:]):
        wr, wi = pointer.splat(at, 2 * i), pointer.splat(at, 2 * i + 1)
        out.append((re * wr - im * wi, re * wi + im * wr))
    return out


def _emit_pass(builder, radix, part, blocks, butterfly):
    """Emit the loops of one pass for every radix, around ``butterfly(r, block, j, twiddles)``.

    ``twiddles`` is the position of the factors of column j in the pass's table, or None for
    column 0, whose factors are 1.
    """
    one = ir.Constant(part.type, 1)
    for r in RADICES:
        chosen = builder.icmp_signed("==", radix, ir.Constant(radix.type, r))
        with builder.if_then(chosen), cgutils.for_range(builder, blocks) as outer:
            butterfly(r, outer.index, ir.Constant(part.type, 0), None)
            with cgutils.for_range(builder, part, start=one) as inner:
                at = builder.sub(inner.index, one)
                at = builder.mul(at, ir.Constant(part.type, 2 * (r - 1)))
                butterfly(r, outer.index, inner.index, at)


def _spaced(builder, first, step, count):
    """The places ``first + i * step``, i < count."""
    out = [first]
    for _ in range(count - 1):
        out.append(builder.add(out[-1], step))
    return out


def _pass_intrinsic(inverse: bool):
    """Intrinsic that runs a pass inside the buffer."""

    def typed(typingctx, z, row, blocks, radix, part, twiddle, start):
        if not is_real_array(z):
            return None

        def codegen(context, builder, signature, args):
            row, blocks, radix, part = args[1:5]
            rows = _Rows(Pointer(context, builder, z, args[0]), inverse)
            factors = Pointer(context, builder, twiddle, args[5])

            def butterfly(r, block, j, at):
                size = builder.mul(part, ir.Constant(part.type, r))
                first = builder.add(builder.add(row, builder.mul(block, size)), j)
                places = _spaced(builder, first, part, r)
                x = [rows.read(place) for place in places]
                if at is not None:
                    at = builder.add(args[6], at)
                if inverse and at is not None:
                    x = _twiddled(x, factors, at)
                x = dft(x)
                if not inverse and at is not None:
                    x = _twiddled(x, factors, at)
                for place, value in zip(places, x, strict=True):
                    rows.write(place, value)

            _emit_pass(builder, radix, part, blocks, butterfly)
            return context.get_dummy_value()

        n = types.intp
        return types.void(z, n, n, n, n, twiddle, n), codegen

    return typed


_forward_pass = intrinsic(_pass_intrinsic(inverse=False))
_inverse_pass = intrinsic(_pass_intrinsic(inverse=True))


@intrinsic
def _gather_pass(typingctx, signal, at, offset, window, z, row, radix, part, twiddle):
    """First forward pass: read the samples of a lane of frames, window them, transform."""

    def codegen(context, builder, signature, args):
        y, offsets, gains, factors = (
            Pointer(context, builder, signature.args[i], args[i]) for i in (0, 2, 3, 8)
        )
        rows = _Rows(Pointer(context, builder, z, args[4]), False)
        at, row, radix, part = args[1], args[5], args[6], args[7]
        step = builder.add(part, ir.Constant(part.type, GAP))

        def butterfly(r, block, j, factor):
            x = []
            for m in _spaced(builder, j, part, r):
                sample = builder.shl(m, ir.Constant(m.type, 1))
                x.append(
                    tuple(
                        y.load(builder.add(at, offsets.scalar(sample, p))) * gains.splat(sample, p)
                        for p in range(2)
                    )
                )
            x = dft(x)
            if factor is not None:
                x = _twiddled(x, factors, factor)
            places = _spaced(builder, builder.add(row, j), step, r)
            for place, value in zip(places, x, strict=True):
                rows.write(place, value)

        _emit_pass(builder, radix, part, ir.Constant(part.type, 1), butterfly)
        return context.get_dummy_value()

    n = types.intp
    return types.void(signal, n, offset, window, z, n, n, n, twiddle), codegen


@intrinsic
def _window_pass(typingctx, z, row, radix, part, twiddle, window):
    """Last inverse pass: transform, apply the synthesis window, leave samples in the buffer."""

    def codegen(context, builder, signature, args):
        row, radix, part = args[1:4]
        rows = _Rows(Pointer(context, builder, z, args[0]), True)
        factors, gains = (Pointer(context, builder, signature.args[i], args[i]) for i in (4, 5))
        step = builder.add(part, ir.Constant(part.type, GAP))

        def butterfly(r, block, j, factor):
            places = _spaced(builder, builder.add(row, j), step, r)
            x = [rows.read(place) for place in places]
            if factor is not None:
                x = _twiddled(x, factors, factor)
            x = dft(x)
            for place, m, (im, re) in zip(places, _spaced(builder, j, part, r), x, strict=True):
                sample = builder.shl(m, ir.Constant(m.type, 1))
                rows.write(place, (im * gains.splat(sample, 1), re * gains.splat(sample)))

        _emit_pass(builder, radix, part, ir.Constant(part.type, 1), butterfly)
        return context.get_dummy_value()

    n = types.intp
    return types.void(z, n, n, n, twiddle, window), codegen


@jitted
def forward(plan, signal, at, offset, window, z, row):
    """Transform a lane of frames into the complex rows of ``z`` from ``row`` on.

    Parameters
    ----------
    plan : Plan
        Tables of the transform.
    signal : 1-D array
        Sample s of the frames of the lane is the lane vector at ``at + offset[s]``.
    at : int
        Where the frames begin.
    offset : array (n,)
        Where their samples are from there.
    window : array (n,)
        Analysis window times 1/2 (the factor that :func:`split` leaves out).
    z : 1-D array
        Buffer of complex rows.
    row : int
        The first one of this transform.
    """
    radix = plan.radix[0]
    part = plan.half // radix
    _gather_pass(signal, at, offset, window, z, row, radix, part, plan.twiddle)
    for block in range(radix):
        size = part
        for level in range(1, plan.radix.size):
            sub = size // plan.radix[level]
            first = row + block * (part + GAP)
            _forward_pass(
                z,
                first,
                part // size,
                plan.radix[level],
                sub,
                plan.twiddle,
                plan.start[level],
            )
            size = sub


@jitted
def inverse(plan, z, row, window):
    """Transform complex rows back to windowed samples, in place, without the factor 1/n.

    Sample s of the frames is left in lane row ``2 * row + plan.sample_row[s]``.
    """
    radix = plan.radix[0]
    part = plan.half // radix
    for block in range(radix):
        sub = 1
        for level in range(plan.radix.size - 1, 0, -1):
            size = sub * plan.radix[level]
            _inverse_pass(
                z,
                row + block * (part + GAP),
                part // size,
                plan.radix[level],
                sub,
                plan.twiddle,
                plan.start[level],
            )
            sub = size
    _window_pass(z, row, radix, part, plan.twiddle, window)


@jitted
def split(plan, z, row, width, pairs, c, re, im):
    """Turn complex rows into bins of the real spectrum.

    Bins p of ``pairs`` go to lane rows ``re + p - first`` and ``im + p - first`` of ``c``, and bins
    h - p ``count`` rows further.
    """
    count = pairs.count
    for i in range(count):
        p = pairs.first + i
        mirror = plan.half - p if p else 0
        a = (row + plan.frequency_row[p]) * 2 * width
        b = (row + plan.frequency_row[mirror]) * 2 * width
        ar, ai = load(z, a), load(z, a + width)
        br, bi = load(z, b), load(z, b + width)
        wr, wi = plan.turn[2 * p], plan.turn[2 * p + 1]
        sr, si = ar + br, ai - bi
        dr, di = ar - br, ai + bi
        tr, ti = wr * di + wi * dr, wi * di - wr * dr
        store(c, (re + i) * width, sr + tr)
        store(c, (im + i) * width, si + ti)
        store(c, (re + count + i) * width, sr - tr)
        store(c, (im + count + i) * width, ti - si)


@jitted
def merge(plan, z, row, width, pairs, c, re, im):
    """Turn bins of a real spectrum back into complex rows: :func:`split` backwards, times 2."""
    count = pairs.count
    for i in range(count):
        p = pairs.first + i
        mirror = plan.half - p if p else 0
        a = (row + plan.frequency_row[p]) * 2 * width
        b = (row + plan.frequency_row[mirror]) * 2 * width
        xr, xi = load(c, (re + i) * width), load(c, (im + i) * width)
        yr, yi = load(c, (re + count + i) * width), load(c, (im + count + i) * width)
        wr, wi = plan.turn[2 * p], plan.turn[2 * p + 1]
        er, ei = xr + yr, xi - yi
        gr, gi = xr - yr, xi + yi
        tr, ti = wr * gr + wi * gi, wr * gi - wi * gr
        # The mirrored row first: where both rows are one (p = 0) the second store must win.
        store(z, b, er + ti)
        store(z, b + width, tr - ei)
        store(z, a, er - ti)
        store(z, a + width, ei + tr)
