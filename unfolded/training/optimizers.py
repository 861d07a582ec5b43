"""Optimisers, and the course of the learning rate."""

from collections.abc import Sequence
from math import cos, pi

import torch
from torch import Tensor

from unfolded.training.config import OptimizerConfig


def rate_factor(config: OptimizerConfig, step: int, epoch_steps: int, epochs: int) -> float:
    """Learning rate of a step of a stage, relative to the first.

    Parameters
    ----------
    config : OptimizerConfig
        Schedule, decay and warm-up.
    step : int
        Step in the stage, from 0.
    epoch_steps, epochs : int
        Steps of an epoch, and epochs of the stage.

    Returns
    -------
    float
        Factor.
    """
    factor = 1.0
    if config.schedule == "cosine":
        factor = 0.5 + 0.5 * cos(pi * min(step / (epoch_steps * epochs), 1.0))
    elif config.schedule == "exponential":
        factor = config.decay ** (step // epoch_steps)
    return factor * min((step + 1) / (config.warmup + 1), 1.0)


def build_optimizer(
    config: OptimizerConfig, parameters: Sequence[Tensor], lr: float
) -> torch.optim.Optimizer:
    decay = config.weight_decay
    if config.name == "sgd":
        return torch.optim.SGD(parameters, lr, momentum=config.betas[0], weight_decay=decay)
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[config.name]
    return kind(parameters, lr, betas=config.betas, weight_decay=decay)
