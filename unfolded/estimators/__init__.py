"""Estimators of magnitudes.

Each is a module ``network(mixture, spectrogram) -> magnitudes`` of the waveform ``(batch,
channel, time)`` and the complex spectrogram ``(batch, channel, F, T)`` of a mixture, that returns
``(batch, J, channel, F, T)``. It has ``n_sources`` and a ``config`` of the arguments, all of them
JSON, that make it again.
"""

import math
from typing import Any

import torch
from torch import nn

from phaserec._memory import check_memory
from unfolded.estimators.gru import GRUMasks
from unfolded.estimators.open_unmix import OpenUnmix
from unfolded.estimators.oracle import ExternalMagnitudes, oracle_magnitudes
from unfolded.nn.masks import MASKS, get_mask

NETWORKS = {"open-unmix": OpenUnmix, "gru": GRUMasks, "external": ExternalMagnitudes}


def build(name: str, arguments: dict[str, Any]) -> nn.Module:
    """Make a network, with random weights from torch's generator.

    Parameters
    ----------
    name : str
        A key of :data:`NETWORKS`.
    arguments : dict
        Arguments of its class.

    Returns
    -------
    nn.Module
        The network.

    Raises
    ------
    ValueError
        If an argument is not allowed, or the weights do not fit into memory.
    """
    kind: Any = NETWORKS[name]
    try:
        with torch.device("meta"):  # shapes alone
            weights = list(kind(**arguments).parameters())
        size: float = sum(p.numel() * p.element_size() for p in weights)
    except RuntimeError:  # beyond what torch counts
        size = math.inf
    check_memory(f"a network {name} of these sizes", size, "use a smaller hidden, n_layers, n_fft")
    network: nn.Module = kind(**arguments)
    return network


__all__ = [
    "MASKS",
    "NETWORKS",
    "ExternalMagnitudes",
    "GRUMasks",
    "OpenUnmix",
    "build",
    "get_mask",
    "oracle_magnitudes",
]
