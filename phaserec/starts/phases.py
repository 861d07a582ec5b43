"""Random phases from an explicit generator, the same in every library."""

import math
import sys
from copy import deepcopy
from functools import cached_property
from typing import Any, cast

import numpy as np

from phaserec._typing import Generator, Seed
from phaserec._xp import Array, is_torch_array, namespace


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
    if dtype == "float32" and not isinstance(rng, np.random.RandomState):
        angles: np.ndarray = rng.random(shape, dtype=np.float32)
    else:
        angles = rng.random(shape)
    angles = (2 * np.pi * angles).astype(dtype, copy=False)
    phases = np.empty(shape, np.result_type(np.complex64, dtype))
    np.cos(angles, out=phases.real)
    np.sin(angles, out=phases.imag)
    return phases


def n_known(before: Array | None) -> int:
    """Number of frames that have their phases."""
    return 0 if before is None else before.shape[-1]


def joined(before: Array | None, S: Array) -> Array:
    """Spectrogram of the frames that had their phases and of those that follow.

    Parameters
    ----------
    before : array, shape (..., F, n), or None
        First frames.
    S : array, shape (..., F, T - n)
        The other ones.

    Returns
    -------
    array, shape (..., F, T)
        ``S`` itself where none were known.
    """
    if before is None:
        return S
    return namespace(S).concat([before, S], axis=-1)


class RowPhases:
    """Angles of random phases that are drawn bin by bin, of some frames at a time.

    Parameters
    ----------
    rng : numpy Generator or RandomState
        As :func:`as_rng` gives it; it draws all that there are once, and keeps none.
    shape : tuple of int
        Shape ``(..., F, T)`` of the angles.
    """

    def __init__(self, rng: Generator, shape: tuple[int, ...]) -> None:
        self._shape = shape
        self._first = 0
        self._rows: list[Generator] = []
        for _ in range(math.prod(shape[:-1])):
            self._rows.append(deepcopy(rng))
            rng.random(shape[-1])

    def __call__(self, first: int, last: int) -> np.ndarray:
        """Angles ``(..., F, last − first)`` in turns, float64; ``first`` never decreases."""
        for row in self._rows:
            row.random(first - self._first)
        self._first = first
        drawn = [deepcopy(row).random(last - first) for row in self._rows]
        return np.stack(drawn).reshape(*self._shape[:-1], last - first)


class _OfTorch:
    """A numpy generator whose seed is drawn from one of torch when the first number is.

    Starts that draw nothing leave the generator of torch as it is.
    """

    def __init__(self, source: Any, seeds: list[int] | None = None) -> None:
        self._source = source
        self._seeds: list[int] = [] if seeds is None else seeds  # one, shared by all copies

    @cached_property
    def generator(self) -> Generator:
        """The generator, on the CPU wherever the source is."""
        import torch

        if not self._seeds:
            place = "cpu" if self._source is None else self._source.device
            seed = torch.randint(2**63 - 1, (), generator=self._source, device=place)
            self._seeds.append(int(seed))
        return np.random.default_rng(self._seeds[0])

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.generator, name)

    def __deepcopy__(self, memo: dict[int, Any]) -> Generator:
        if "generator" in vars(self):  # it may have drawn
            return deepcopy(self.generator, memo)
        return _OfTorch(self._source, self._seeds)


def as_rng(rng: Seed, arrays: Array | None = None) -> Generator:
    """Random generator of numpy from whatever says how phases are drawn.

    Parameters
    ----------
    rng : Seed, optional
        What :func:`numpy.random.default_rng` takes (an int or a sequence of them, a SeedSequence,
        BitGenerator or Generator), a RandomState, or a torch.Generator on any device, which gives
        the seed.
    arrays : array, optional
        What the phases are for: with tensors and without ``rng`` the seed is drawn from torch's
        default generator, so that ``torch.manual_seed`` is honoured.

    Returns
    -------
    numpy Generator or RandomState
        The generator, or what acts as one.

    Raises
    ------
    ValueError
        If ``rng`` is none of these.
    """
    if isinstance(rng, np.random.Generator | np.random.RandomState | _OfTorch):
        return rng
    torch = sys.modules.get("torch")  # without it there are neither generators nor tensors of it
    if torch is not None and isinstance(rng, torch.Generator):
        return _OfTorch(rng)
    if rng is None and arrays is not None and is_torch_array(arrays):
        return _OfTorch(None)
    try:
        return np.random.default_rng(cast(Any, rng))
    except (TypeError, ValueError):
        raise ValueError(
            f"rng={rng!r} must be None, a non-negative integer seed or a sequence of them, a "
            "SeedSequence, BitGenerator, Generator or RandomState of numpy.random, or a "
            "torch.Generator"
        ) from None
