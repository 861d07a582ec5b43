"""Networks of the priors: read from their files, and run on arrays."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from phaserec import STFT
from phaserec._xp import Array
from unfolded.layers.residuals import GatedResidual

_ARGUMENTS = "arguments"


def write(path: Path, network: GatedResidual) -> None:
    """Write the weights of a network, and the arguments it was made with.

    Parameters
    ----------
    path : Path
        A ``.safetensors`` file.
    network : GatedResidual
        The network.
    """
    own = {key: value for key, value in network.arguments.items() if key != "stft"}
    save_file(network.state_dict(), path, {_ARGUMENTS: json.dumps(own)})


def read(path: Path, stft: STFT) -> GatedResidual:
    """Read a network, for any transform.

    Parameters
    ----------
    path : Path
        As :func:`write` left it.
    stft : STFT
        Transform of the spectrograms.

    Returns
    -------
    GatedResidual
        The network in evaluation mode, whose weights are not trained.
    """
    with safe_open(path, "pt") as file:
        network = GatedResidual(stft, **json.loads(file.metadata()[_ARGUMENTS]))
    network.load_state_dict(load_file(path))
    return network.eval().requires_grad_(False)


def apply(network: nn.Module, S: Array, mag: Array, cons: Array, V: Array) -> Array:
    """Run a residual for one source after the other, on arrays or tensors.

    Parameters
    ----------
    network : nn.Module
        The residual.
    S, mag, cons : complex array or Tensor, shape (..., J, F, T)
        What it sees.
    V : array or Tensor, shape (..., J, F, T)
        Target magnitudes.

    Returns
    -------
    array or Tensor, shape (..., J, F, T)
        What is to be subtracted, in the precision of ``cons``.
    """
    if isinstance(cons, Tensor):
        network = network.to(cons.device)
        return network(S, mag, cons, None, V)
    given = [torch.from_numpy(np.ascontiguousarray(each)) for each in (S, mag, cons)]
    magnitudes = torch.from_numpy(np.ascontiguousarray(V))
    with torch.inference_mode():
        result: Any = network(*given, None, magnitudes)
    return result.numpy()
