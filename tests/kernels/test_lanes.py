"""Vectors behave as numpy arrays of their length do."""

import os
import subprocess
import sys

import numpy as np
import pytest
from numba import njit
from numba.extending import intrinsic

from phaserec.kernels.cpu.lanes import (
    Emit,
    lane_width,
    load,
    select,
    split_pairs,
    spread,
    store,
    transpose,
    transpose_pairs,
)

DTYPES = ["float32", "float64"]


def emitted(function):
    """What is written as instructions, as a function of two lanes that compiled code may call."""

    @intrinsic
    def call(typingctx, a, b):
        def codegen(context, builder, signature, args):
            return function(*(Emit(builder, value) for value in args)).value

        return a(a, b), codegen

    return call


add = emitted(lambda x, y: x + y)
subtract = emitted(lambda x, y: x - y)
multiply = emitted(lambda x, y: x * y)
divide = emitted(lambda x, y: x / y)
root = emitted(lambda x, y: (x * x).sqrt())
inverse_root = emitted(lambda x, y: x.rsqrt())
tiniest = emitted(lambda x, y: x.smallest_normal())
negative = emitted(lambda x, y: -x)
larger = emitted(lambda x, y: x.where(x.at_least(y), y))
logarithm = emitted(lambda x, y: x.log())
exponential = emitted(lambda x, y: x.exp())
power = emitted(lambda x, y: x.power(y))
at_least_two = emitted(lambda x, y: x.where(x.at_least(2.0), 2.0))


@njit(error_model="numpy")
def arithmetic(a, b, s, out, width):
    """Every operation on lanes a and b and the scalar s, one lane of results after another."""
    x, y = load(a, 0), load(b, 0)
    store(out, 0 * width, x + y)
    store(out, 1 * width, x - y)
    store(out, 2 * width, x * y)
    store(out, 3 * width, x + s)
    store(out, 4 * width, s - x)
    store(out, 5 * width, s * x)
    store(out, 6 * width, 2 * x)
    store(out, 7 * width, spread(out, s))
    store(out, 8 * width, spread(out, 3))
    store(out, 9 * width, add(x, y))
    store(out, 10 * width, subtract(x, y))
    store(out, 11 * width, multiply(x, y))
    store(out, 12 * width, divide(x, y))
    store(out, 13 * width, root(x, y))
    store(out, 14 * width, tiniest(x, y))
    store(out, 15 * width, negative(x, y))


@njit(error_model="numpy")
def comparisons(a, b, s, out, width):
    x, y = load(a, 0), load(b, 0)
    store(out, 0 * width, select(x < y, x, y))
    store(out, 1 * width, select(x < s, 1.0, x))
    store(out, 2 * width, select(s < x, x, y))
    store(out, 3 * width, larger(x, y))
    store(out, 4 * width, at_least_two(x, y))


@njit(error_model="numpy")
def inverse_roots(a, out, count, width):
    for i in range(count):
        store(out, i * width, inverse_root(load(a, i * width), load(a, i * width)))


@njit(error_model="numpy")
def moved(a, source, out, target):
    store(out, target, load(a, source))


@njit(error_model="numpy")
def formula(a, b, s, out):
    x, y = load(a, 0), load(b, 0)
    store(out, 0, (x + s * y) * (1 + s))


@njit(error_model="numpy")
def tiles(a, start, stride, out, width, pairs, plane):
    transpose(a, start, stride, out, 0, 1)
    transpose(a, start, stride, out, 3 * width - 1, -2)
    transpose_pairs(a, start, stride, pairs, 1, 1, plane)
    split_pairs(a, start, pairs, 0, plane)


@pytest.fixture(params=DTYPES)
def dtype(request):
    return np.dtype(request.param)


def values(dtype, count=2, seed=0):
    """Lanes of values between −2 and 2, some of them equal, none small."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(0.5, 2, (count, lane_width(dtype))) * rng.choice([-1, 1], lane_width(dtype))
    x[-1, ::3] = x[0, ::3]
    return x.astype(dtype)


def test_a_lane_is_a_register_or_two(dtype):
    assert lane_width(dtype) * dtype.itemsize in (32, 64)


NARROW = """
import numpy as np
from phaserec import STFT, Problem
from phaserec.kernels.cpu.lanes import LANE_BYTES
from phaserec.solving import prepare
x = np.random.default_rng(0).standard_normal((2, 900))
for stft in (STFT(64, 16), STFT(240, 100)):
    p = Problem(abs(stft(x)), x.sum(0), stft=stft)
    for name in ("misi", "mix-incons", "bregmisi"):
        run = prepare(name, p, 3, machine="kernel")
        y = run.on_arrays().result()
        print(LANE_BYTES, abs(run.result() - y).max() / abs(y).max())
"""


def test_processors_with_narrower_registers(tmp_path):
    told = {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""}
    env = os.environ | told | {"PHASEREC_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", NARROW], capture_output=True, text=True, env=env, check=False
    )
    assert done.returncode == 0, done.stderr
    for line in done.stdout.splitlines():
        width, error = line.split()
        assert width == "32" and float(error) < 1e-10


def test_arithmetic(dtype):
    x, y = values(dtype)
    s, width = dtype.type(0.75), lane_width(dtype)
    out = np.zeros((16, width), dtype)
    arithmetic(x, y, s, out.ravel(), width)
    one = np.ones_like(x)
    tiny = np.finfo(dtype).smallest_normal
    expected = [x + y, x - y, x * y, x + s, s - x, s * x, 2 * x, s * one, 3 * one]
    expected += [x + y, x - y, x * y, x / y, np.sqrt(x * x), tiny * one, -x]
    # Single operations are rounded as IEEE 754 says, in numpy and here.
    np.testing.assert_array_equal(out, np.stack(expected))


def test_a_scalar_of_another_type_takes_the_type_of_the_lane():
    x, y = values(np.dtype("float32"))
    out = np.zeros(16, "float32")
    formula(x, y, 0.3, out)  # a Python number, double in numba
    s = np.float32(0.3)
    # Products and sums may be one operation here, with one rounding less.
    np.testing.assert_allclose(out, (x + s * y) * (1 + s), rtol=1e-6, atol=1e-6)


def test_comparisons(dtype):
    x, y = values(dtype)
    s, width = x[1], lane_width(dtype)
    out = np.zeros((5, width), dtype)
    comparisons(x, y, s, out.ravel(), width)
    expected = [
        np.where(x < y, x, y),
        np.where(x < s, 1, x),
        np.where(s < x, x, y),
        np.where(x >= y, x, y),
        np.where(x >= 2, x, 2),
    ]
    np.testing.assert_array_equal(out, np.stack(expected))
    assert 0 < np.count_nonzero(x == y) < width


def test_nothing_compares_with_nan(dtype):
    x, y = values(dtype)
    x[::2] = np.nan
    width = lane_width(dtype)
    out = np.zeros((5, width), dtype)
    comparisons(x, y, dtype.type(0), out.ravel(), width)
    np.testing.assert_array_equal(out[0, ::2], y[::2])
    np.testing.assert_array_equal(out[1, ::2], x[::2])
    np.testing.assert_array_equal(out[2:4, ::2], [y[::2], y[::2]])
    np.testing.assert_array_equal(out[4, ::2], np.full_like(y[::2], 2))


def test_special_values(dtype):
    width = lane_width(dtype)
    x, y = np.zeros((2, width), dtype)
    x[:4], y[:4] = [1, -1, 0, np.inf], [0, 0, 0, np.inf]
    out = np.zeros((16, width), dtype)
    arithmetic(x, y, dtype.type(1), out.ravel(), width)
    np.testing.assert_array_equal(out[12, :4], [np.inf, -np.inf, np.nan, np.nan])
    np.testing.assert_array_equal(out[1, 3], np.nan)


def test_rsqrt(dtype):
    # The whole range of normal numbers, and both neighbours of the powers of four, densely.
    info = np.finfo(dtype)
    width = lane_width(dtype)
    x = np.concatenate(
        [
            np.geomspace(info.smallest_normal, info.max / 2, 64 * width - 1),
            [info.max],
            np.linspace(1, 4, 64 * width),
        ]
    ).astype(dtype)
    x = np.clip(x, info.smallest_normal, info.max)
    out = np.zeros_like(x)
    inverse_roots(x, out, x.size // width, width)
    exact = 1 / np.sqrt(x.astype(np.longdouble))
    ulp = np.spacing(exact.astype(dtype)).astype(np.longdouble)
    assert np.max(np.abs(out - exact) / ulp) <= 2


def test_rsqrt_of_nothing_is_finite(dtype):
    width = lane_width(dtype)
    x = np.zeros(width, dtype)
    x[1::2] = np.finfo(dtype).smallest_subnormal
    out = np.zeros(width, dtype)
    inverse_roots(x, out, 1, width)
    assert np.all(np.isfinite(out)) and np.all(out > 0)


def test_loads_and_stores_at_any_offset(dtype):
    width = lane_width(dtype)
    a = np.random.default_rng(0).standard_normal(4 * width).astype(dtype)
    for source in range(2 * width + 1):
        for target in (0, 1, 3, width - 1, width + 1, 3 * width):
            out = np.full(4 * width, -7, dtype)
            moved(a, source, out, target)
            expected = np.full(4 * width, -7, dtype)
            expected[target : target + width] = a[source : source + width]
            np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize(("start", "gap"), [(0, 0), (1, 0), (3, 5)])
def test_tiles(dtype, start, gap):
    width = lane_width(dtype)
    stride = 2 * width + gap
    a = np.random.default_rng(0).standard_normal(start + width * stride).astype(dtype)
    out, plane = np.zeros((3 * width, width), dtype), 2 * width
    pairs = np.zeros((2 * plane, width), dtype)
    tiles(a, start, stride, out.ravel(), width, pairs.ravel(), plane)
    rows = np.stack([a[start + i * stride :][: 2 * width] for i in range(width)])
    square = rows[:, :width].T
    # Backwards in every other row, over what was there.
    expected = np.concatenate([square, np.zeros((2 * width, width), dtype)])
    expected[3 * width - 1 : width : -2] = square
    np.testing.assert_array_equal(out, expected)
    np.testing.assert_array_equal(pairs[1 : width + 1], rows[:, ::2].T)
    np.testing.assert_array_equal(pairs[plane + 1 : plane + width + 1], rows[:, 1::2].T)
    np.testing.assert_array_equal(pairs[[0, plane]], [rows[0, ::2], rows[0, 1::2]])


@njit(error_model="numpy")
def apply_log(a, out, count, width):
    for i in range(count):
        store(out, i * width, logarithm(load(a, i * width), load(a, i * width)))


@njit(error_model="numpy")
def apply_exp(a, out, count, width):
    for i in range(count):
        store(out, i * width, exponential(load(a, i * width), load(a, i * width)))


@njit(error_model="numpy")
def apply_power(a, b, out, count, width):
    for i in range(count):
        store(out, i * width, power(load(a, i * width), load(b, i * width)))


def ulps(values, exact, dtype):
    """Largest error in units in the last place."""
    unit = np.spacing(np.abs(exact).astype(dtype)).astype(np.longdouble)
    return np.max(np.abs(values.astype(np.longdouble) - exact) / unit)


def test_logarithms(dtype):
    info = np.finfo(dtype)
    x = np.concatenate(
        [np.geomspace(info.smallest_normal, info.max / 2, 4096), np.linspace(0.5, 2, 4096)]
    ).astype(dtype)
    x = np.clip(x, info.smallest_normal, info.max)
    out = np.zeros_like(x)
    apply_log(x, out, x.size // lane_width(dtype), lane_width(dtype))
    exact = np.log(x.astype(np.longdouble))
    assert ulps(out[exact != 0], exact[exact != 0], dtype) <= 3


def test_exponentials(dtype):
    info = np.finfo(dtype)
    low, high = np.log(float(info.smallest_normal)) + 0.1, np.log(float(info.max)) - 0.1
    x = np.concatenate([np.linspace(low, high, 4096), np.linspace(-1, 1, 4096)]).astype(dtype)
    out = np.zeros_like(x)
    apply_exp(x, out, x.size // lane_width(dtype), lane_width(dtype))
    assert ulps(out, np.exp(x.astype(np.longdouble)), dtype) <= 3


def test_powers(dtype):
    width = lane_width(dtype)
    rng = np.random.default_rng(0)
    x = np.exp(rng.uniform(-20, 20, 64 * width)).astype(dtype)
    y = rng.uniform(-2, 2, x.size).astype(dtype)
    out = np.zeros_like(x)
    apply_power(x, y, out, 64, width)
    # As many units in the last place as the exponent of the result has.
    np.testing.assert_allclose(out, x.astype(np.longdouble) ** y, rtol=40 * np.finfo(dtype).eps)


def test_functions_of_special_values(dtype):
    width = lane_width(dtype)
    x = np.ones(width, dtype)
    x[:6] = [0, -1, np.inf, -np.inf, np.nan, 1]
    out = np.zeros((2, width), dtype)
    apply_log(x, out[0], 1, width)
    np.testing.assert_array_equal(out[0, :6], [-np.inf, np.nan, np.inf, np.nan, np.nan, 0])
    apply_exp(x, out[1], 1, width)
    np.testing.assert_array_equal(out[1, [0, 2, 3, 4]], [1, np.inf, 0, np.nan])
    for exponent, expected in ((0.7, [0, np.nan, np.inf]), (-0.7, [np.inf, np.nan, 0])):
        apply_power(x, np.full(width, exponent, dtype), out[0], 1, width)
        np.testing.assert_array_equal(out[0, :3], expected)
        assert np.isnan(out[0, 4]) and out[0, 5] == 1
