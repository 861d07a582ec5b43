"""The processes of a run."""

import os
from collections.abc import Mapping
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs

from unfolded.training.config import Config

if torch.distributed.is_available():
    # Its functions have the group of processes for a default argument. Imported after the group
    # is made, as DDP does, they would keep it and its threads after it was left; one that then
    # frees a tensor while Python ends aborts the process ("terminate called without an active
    # exception").
    import torch.distributed.nn.functional


def join_processes(config: Config) -> Accelerator:
    """The processes that were started together, or one.

    Parameters
    ----------
    config : Config
        The configuration.

    Returns
    -------
    Accelerator
        What they share.

    Raises
    ------
    ValueError
        If there are not as many as were started, or they cannot compute in the precision.
    """
    grows = any(stage.grow for stage in config.stages)
    accelerator = Accelerator(
        cpu=config.cpu or not _has_accelerator(),
        mixed_precision=config.precision,
        # The memory of the last layer in use has no effect: some parameters get no gradient.
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=grows)],
    )
    started, world = int(os.environ.get("WORLD_SIZE", "1")), accelerator.num_processes
    if started != world:
        raise ValueError(
            f"{started} processes were started (WORLD_SIZE), but accelerate runs {world} "
            f"on {accelerator.device}; set cpu=true, or use one process a GPU"
        )
    if config.precision == "fp16" and accelerator.device.type == "cpu":
        raise ValueError("precision='fp16' needs a GPU; on the CPU use 'bf16' or 'no'")
    return accelerator


def leave_processes() -> None:
    """Leave the group of processes, whose threads end with it."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def random_state(accelerator: Accelerator) -> dict[str, Any]:
    """State of torch's generators in this process."""
    state: dict[str, Any] = {"cpu": torch.get_rng_state()}
    if accelerator.device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(accelerator.device)
    return state


def set_random_state(accelerator: Accelerator, state: Mapping[str, Any]) -> None:
    """Set what :func:`random_state` gave."""
    torch.set_rng_state(state["cpu"])
    if accelerator.device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], accelerator.device)


def _has_accelerator() -> bool:
    # Several processes on the CPU are told by cpu=True alone.
    if hasattr(torch, "accelerator"):
        return bool(torch.accelerator.is_available())
    return torch.cuda.is_available()
