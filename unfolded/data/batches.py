"""Batches of an epoch, the same for any number of processes."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Sampler

from unfolded.data.mixtures import Mixtures


class Batches(Sampler[list[int]]):
    """Indices of the batches of one epoch, as one of several processes sees them.

    The batches of all processes together are those of one process.

    Parameters
    ----------
    n_items : int
        Items of an epoch.
    batch_size : int
        Items of a batch over all processes, a multiple of their number.
    shuffle : bool, default True
        Go through the items in a random order and leave out an incomplete last batch; otherwise
        in their own order, all of them.
    seed, epoch : int, default 0
        What the order depends on.
    rank, world : int, default 0 and 1
        Which process of how many.
    start : int, default 0
        Batches to leave out, when training goes on in the middle of an epoch.

    Raises
    ------
    ValueError
        If a batch does not split evenly or there is no whole batch.
    """

    def __init__(
        self,
        n_items: int,
        batch_size: int,
        *,
        shuffle: bool = True,
        seed: int = 0,
        epoch: int = 0,
        rank: int = 0,
        world: int = 1,
        start: int = 0,
    ) -> None:
        if batch_size < 1 or batch_size % world:
            raise ValueError(
                f"batch_size={batch_size} must be a positive multiple of the number of processes, "
                f"{world}"
            )
        if shuffle and n_items < batch_size:
            raise ValueError(
                f"batch_size={batch_size} is more than the {n_items} item(s) there are"
            )
        order = np.arange(n_items)
        if shuffle:
            order = np.random.default_rng([seed, epoch]).permutation(n_items)
            order = order[: n_items // batch_size * batch_size]
        each = batch_size // world
        batches = [order[at : at + batch_size] for at in range(0, len(order), batch_size)]
        mine = [batch[rank * each : (rank + 1) * each].tolist() for batch in batches[start:]]
        self.batches = [batch for batch in mine if batch]

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


def loader(
    dataset: Mixtures, batches: Batches, *, workers: int = 0, pin_memory: bool = False
) -> DataLoader[Any]:
    """Loader of batches ``{"mixture": (batch, channel, time), "sources": (batch, J, …)}``.

    Parameters
    ----------
    dataset : Mixtures
        The data set, at its epoch: the workers start with the iterator and keep that epoch.
    batches : Batches
        Which items.
    workers : int, default 0
        Processes that read; 0 reads in this one.
    pin_memory : bool, default False
        Put batches where a GPU fetches them fast.

    Returns
    -------
    DataLoader
        Iterable of batches.
    """
    # A generator of its own: otherwise each iterator takes a number from the global one.
    return DataLoader(
        dataset,
        batch_sampler=batches,
        num_workers=workers,
        pin_memory=pin_memory,
        generator=torch.Generator(),
    )
