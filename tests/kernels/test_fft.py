"""The real transform of a lane of frames, against numpy's."""

import numpy as np
import pytest
from numba import njit

from phaserec.kernels.cpu.fft import (
    factorise,
    forward,
    inverse,
    is_fast_size,
    make_plan,
    merge,
    split,
)
from phaserec.kernels.cpu.lanes import lane_width
from phaserec.kernels.cpu.layout import Pairs

SIZES = [4, 6, 8, 10, 12, 16, 18, 20, 24, 30, 32, 36, 40, 48, 50, 54, 60, 64, 72, 90, 96, 100]
SIZES += [120, 128, 150, 162, 240, 250, 256, 400, 480, 486, 512, 640, 960, 1024, 1250, 1920, 2048]
SIZES += [4096]


@njit(nogil=True, error_model="numpy")
def analyse(plan, signal, offset, window, z, width, c, im):
    forward(plan, signal, 0, offset, window, z, 0)
    pairs = Pairs(first=0, count=plan.half // 2 + 1, half=plan.half)
    split(plan, z, 0, width, pairs, c, 0, im)


@njit(nogil=True, error_model="numpy")
def synthesise(plan, c, im, z, width, window):
    pairs = Pairs(first=0, count=plan.half // 2 + 1, half=plan.half)
    merge(plan, z, 0, width, pairs, c, 0, im)
    inverse(plan, z, 0, window)


def both(n, dtype, seed=0):
    """Frames, window, their spectrum by the kernel, and the frames that come back from it."""
    rng = np.random.default_rng(seed)
    dtype = np.dtype(dtype)
    width, plan = lane_width(dtype), make_plan(n, dtype)
    frames = rng.standard_normal((n, width)).astype(dtype)
    window = rng.uniform(0.5, 1.5, n).astype(dtype)
    half, pairs = plan.half, plan.half // 2 + 1
    # Samples in an order of the caller's: `offset` says where each is.
    order = rng.permutation(n)
    signal = np.empty((n, width), dtype)
    signal[order] = frames
    z = np.zeros(plan.rows * 2 * width, dtype)
    c = np.zeros(4 * pairs * width, dtype)
    analyse(plan, signal.ravel(), order * width, window / 2, z, width, c, 2 * pairs)
    re, im = c.reshape(2, 2 * pairs, width)
    spectrum = np.full((half + 1, width), np.nan, np.result_type(dtype, np.complex64))
    p = np.arange(pairs)
    spectrum[p], spectrum[half - p] = (re + 1j * im)[:pairs], (re + 1j * im)[pairs:]
    synthesise(plan, c, 2 * pairs, z, width, np.ones(n, dtype))
    back = z.reshape(-1, width)[plan.sample_row] / n
    return frames, window, spectrum, back


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n", SIZES)
def test_equals_numpy(n, dtype):
    frames, window, spectrum, back = both(n, dtype)
    windowed = (frames * window[:, None]).astype(np.float64)
    expected = np.fft.rfft(windowed, axis=0)
    tol = 20 * np.finfo(dtype).eps
    assert np.abs(spectrum - expected).max() <= tol * np.abs(expected).max()
    # The plain sum of the definition gives the frames back, windowed once.
    np.testing.assert_allclose(back, windowed, atol=tol * np.abs(windowed).max(), rtol=0)


def test_lanes_do_not_meet():
    # A frame that is not finite must leave its neighbours alone.
    n, dtype = 60, np.dtype("float64")
    width, plan = lane_width(dtype), make_plan(n, dtype)
    pairs = plan.half // 2 + 1
    signal = np.ones((n, width))
    signal[:, 1] = np.nan
    z, c = np.zeros(plan.rows * 2 * width), np.zeros(4 * pairs * width)
    analyse(plan, signal.ravel(), np.arange(n) * width, np.ones(n), z, width, c, 2 * pairs)
    synthesise(plan, c, 2 * pairs, z, width, np.ones(n))
    bad = np.isnan(z.reshape(-1, width)[plan.sample_row])
    assert bad[:, 1].all() and not np.delete(bad, 1, axis=1).any()


def test_sizes():
    for n in range(-2, 3000):
        rest = n // 2
        for prime in (2, 3, 5):
            while rest > 1 and rest % prime == 0:
                rest //= prime
        assert is_fast_size(n) == (n >= 4 and n % 2 == 0 and rest == 1)


def test_factors():
    for n in filter(is_fast_size, range(5000)):
        radix = factorise(n // 2)
        assert np.prod(radix) == n // 2 and set(radix) <= {2, 3, 4, 5, 8}


@pytest.mark.parametrize("n", [2, 3, 7, 14, 15, 22, 26, 1022, 1025])
def test_refused_sizes(n):
    assert not is_fast_size(n)
    with pytest.raises(ValueError, match="unsupported transform size"):
        make_plan(n, np.dtype("float32"))


@pytest.mark.parametrize("n", [4, 16, 100, 960])
def test_rows_are_a_permutation(n):
    plan = make_plan(n, np.dtype("float64"))
    for rows, size, bound in (
        (plan.frequency_row, n // 2, plan.rows),
        (plan.sample_row, n, 2 * plan.rows),
    ):
        assert len(set(rows.tolist())) == size and rows.min() >= 0 and rows.max() < bound
