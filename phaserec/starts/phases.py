"""Random phases from an explicit generator, the same in every library."""

import numpy as np

from phaserec._typing import Generator, Seed


def random_phases(rng: Generator, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """Phase factors, uniform on the circle.

    The first axis is frames, so that drawing a few frames at a time gives the same phases.

    Parameters
    ----------
    rng : numpy Generator or RandomState
        As :func:`as_rng` gives it.
    shape : tuple of int
        Shape of the result.
    dtype : {"float32", "float64"}
        Precision.

    Returns
    -------
    ndarray
        complex64 or complex128.
    """
    if dtype == "float32" and isinstance(rng, np.random.Generator):
        angles: np.ndarray = rng.random(shape, dtype=np.float32)
    else:
        angles = rng.random(shape)
    angles = (2 * np.pi * angles).astype(dtype, copy=False)
    phases = np.empty(shape, np.result_type(np.complex64, dtype))
    np.cos(angles, out=phases.real)
    np.sin(angles, out=phases.imag)
    return phases


def as_rng(rng: Seed) -> Generator:
    """Random generator from an int seed, a Generator, a RandomState or None."""
    if isinstance(rng, np.random.Generator | np.random.RandomState):
        return rng
    if rng is None or (isinstance(rng, int | np.integer) and rng >= 0):
        return np.random.default_rng(rng)
    raise ValueError(
        f"rng={rng!r} must be None, a non-negative integer seed, numpy.random.Generator or "
        "numpy.random.RandomState"
    )
