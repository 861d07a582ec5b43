"""Base of the data sets: mixtures that are the sum of their sources.

An item depends on the seed, the epoch and its index alone: neither on the number of workers or
processes nor on the order in which items are asked for.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from phaserec._xp import as_int
from unfolded.data.augmentation import amplitude

# Items of an epoch, whose order is in memory.
_MOST_ITEMS = 10**8


def _rms(samples: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))


def at_snr(speech: np.ndarray, noise: np.ndarray, snr: float) -> np.ndarray:
    """Noise at ``snr`` dB below the speech; as it is where one of them is silent."""
    loud, quiet = _rms(speech), _rms(noise)
    if loud == 0 or quiet == 0:
        return noise
    return np.float32(loud / quiet) * amplitude(-snr) * noise


class Mixtures(Dataset[dict[str, Tensor]], ABC):
    """Base of the data sets: items are ``{"mixture", "sources"}`` and sum exactly.

    ``mixture`` has shape (channel, time), ``sources`` (J, channel, time), both float32, and
    ``mixture`` is ``sources.sum(0)``.

    Parameters
    ----------
    n_items : int
        Items of an epoch.
    rate : int
        Sample rate in Hz.
    channels : int
        Number of channels.
    names : sequence of str
        Names of the J sources.
    seed : int
        Seed of everything random.
    """

    def __init__(
        self, n_items: int, *, rate: int, channels: int, names: Sequence[str], seed: int
    ) -> None:
        self.n_items = as_int("items", n_items, 1, _MOST_ITEMS)
        self.rate = as_int("sample_rate", rate, 1)
        self.channels = as_int("channels", channels, 1)
        self.seed = as_int("seed", seed, 0)
        self.names = tuple(names)
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Go to an epoch; its random draws are its own.

        Parameters
        ----------
        epoch : int
            Number of the epoch, from 0.
        """
        self.epoch = as_int("epoch", epoch, 0)

    def __len__(self) -> int:
        return self.n_items

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        if not 0 <= index < self.n_items:
            raise IndexError(f"index {index} is not between 0 and {self.n_items - 1}")
        rng = np.random.default_rng([self.seed, self.epoch, index])
        sources = torch.from_numpy(np.ascontiguousarray(self.draw(rng, index), dtype=np.float32))
        return {"mixture": sources.sum(0), "sources": sources}

    @abstractmethod
    def draw(self, rng: np.random.Generator, index: int) -> np.ndarray:
        """Sources of an item.

        Parameters
        ----------
        rng : Generator
            Source of randomness, the item's own.
        index : int
            Which item.

        Returns
        -------
        ndarray, shape (J, channel, time)
            Real samples.
        """


def samples_of(seconds: float, rate: int) -> int:
    length = round(seconds * rate) if np.isfinite(seconds) else 0
    if length < 1:
        raise ValueError(f"seconds={seconds!r} must be positive and hold a sample at {rate} Hz")
    return length
