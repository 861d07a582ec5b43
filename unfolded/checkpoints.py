"""Reading and writing weights, without running what is in a file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from phaserec._files import write_files

WEIGHTS = "model.safetensors"
"""Name of the file of weights in the folder of a model."""


def read_state(path: Any) -> dict[str, Tensor]:
    """Read a state dict from a file.

    Parameters
    ----------
    path : str or path
        A ``.safetensors`` file, or one that ``torch.save`` wrote with nothing but weights in it;
        a training checkpoint with the entry ``state_dict`` gives that.

    Returns
    -------
    dict of str to Tensor
        Tensors by name, on the CPU.

    Raises
    ------
    ValueError
        If the file does not exist, is damaged, or holds anything but tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"checkpoint {str(path)!r} does not exist")
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except SafetensorError as error:
            raise ValueError(f"checkpoint {str(path)!r} is no safetensors file: {error}") from None
    try:
        # Nothing but weights: unpickling anything else could run code from the file.
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the kinds of a damaged archive are many
        reason = str(error).strip().partition("\n")[0]
        raise ValueError(
            f"checkpoint {str(path)!r} is damaged or holds more than weights, and is not loaded: "
            f"{type(error).__name__}: {reason}"
        ) from None
    if isinstance(state, Mapping) and isinstance(state.get("state_dict"), Mapping):
        state = state["state_dict"]
    if not isinstance(state, Mapping) or not all(isinstance(v, Tensor) for v in state.values()):
        raise ValueError(f"checkpoint {str(path)!r} is not a dictionary of tensors")
    return dict(state)


def write_state(state: Mapping[str, Tensor], path: Any) -> None:
    """Write a state dict as safetensors, whole or not at all.

    Parameters
    ----------
    state : dict of str to Tensor
        Tensors by name.
    path : str or path
        File.

    Raises
    ------
    ValueError
        If the state of a module holds anything but tensors.
    """
    tensors: dict[str, Tensor] = {}
    places = set()
    for name, tensor in state.items():
        if not isinstance(tensor, Tensor):
            raise ValueError(f"{name} is no tensor but {type(tensor).__name__}, and is not saved")
        tensor = tensor.detach().cpu().contiguous()
        place = tensor.untyped_storage().data_ptr()
        # The format has no references: what several names share is written for each of them.
        tensors[name] = tensor.clone() if place in places else tensor
        places.add(place)
    write_files([Path(path)], [save(tensors)])


def load_into(module: torch.nn.Module, state: Mapping[str, Tensor], name: str) -> None:
    """Load a state dict into a module, or say in one line what does not fit.

    Parameters
    ----------
    module : nn.Module
        Module.
    state : dict of str to Tensor
        Tensors by name.
    name : str
        What the state dict is, for the message.

    Raises
    ------
    ValueError
        If tensors are missing, unknown or of another shape.
    """
    own = module.state_dict()
    counters = {key for key in own if key.endswith("num_batches_tracked")}
    missing = sorted(own.keys() - state.keys() - counters)
    unknown = sorted(state.keys() - own.keys())
    shapes = [
        f"{key} is {tuple(state[key].shape)} in place of {tuple(own[key].shape)}"
        for key in own
        if key in state and state[key].shape != own[key].shape
    ]
    problems = [f"{len(missing)} tensors missing, such as {key}" for key in missing[:1]]
    problems += [f"{len(unknown)} unknown, such as {key}" for key in unknown[:1]]
    problems += shapes[:1]
    if problems:
        raise ValueError(f"{name} is of another architecture: {'; '.join(problems)}")
    module.load_state_dict(dict(state), strict=False)  # counters of old formats may be absent
