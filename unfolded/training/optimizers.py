"""Optimisers, and the course of the learning rate."""

from math import cos, pi
from typing import Any

import torch
from torch.optim.lr_scheduler import LambdaLR

from unfolded.separator import Separator
from unfolded.training.config import OptimizerConfig


def build_optimizer(config: OptimizerConfig, model: Separator, lr: float) -> torch.optim.Optimizer:
    """Optimiser of the parameters of a model that require gradients.

    Parameters
    ----------
    config : OptimizerConfig
        Its kind, and what groups of parameters have of their own.
    model : Separator
        The model.
    lr : float
        Learning rate where a group has no factor.

    Returns
    -------
    Optimizer
        With a group for the estimator and each of those of the layers that are not empty.
    """
    parts: dict[str, Any] = {} if model.inversion is None else model.inversion.parameter_groups()
    if model.estimator is not None:
        parts = {"estimator": [p for p in model.estimator.parameters() if p.requires_grad]} | parts
    groups = []
    for name, parameters in parts.items():
        own = getattr(config.groups, name)
        decay = config.weight_decay if own.weight_decay is None else own.weight_decay
        if parameters:
            group = {"params": parameters, "lr": lr * own.lr_factor, "weight_decay": decay}
            groups.append(group)
    if config.name == "sgd":
        return torch.optim.SGD(groups, lr, momentum=config.betas[0])
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[config.name]
    return kind(groups, lr, betas=config.betas)


def build_schedule(
    config: OptimizerConfig, optimizer: torch.optim.Optimizer, epoch_steps: int, epochs: int
) -> LambdaLR:
    """Course of the learning rate over a stage, for a step after each step of the optimiser.

    Parameters
    ----------
    config : OptimizerConfig
        Schedule, decay and warm-up.
    optimizer : Optimizer
        The optimiser, with the rates of its groups.
    epoch_steps, epochs : int
        Steps of an epoch, and epochs of the stage.

    Returns
    -------
    LambdaLR
        The schedule.
    """

    def factor(step: int) -> float:
        value = 1.0
        if config.schedule == "cosine":
            value = 0.5 + 0.5 * cos(pi * min(step / (epoch_steps * epochs), 1.0))
        elif config.schedule == "exponential":
            value = config.decay ** (step // epoch_steps)
        return value * min((step + 1) / (config.warmup + 1), 1.0)

    return LambdaLR(optimizer, factor)
