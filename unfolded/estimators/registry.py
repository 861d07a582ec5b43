"""Estimators by name."""

from collections.abc import Callable
from typing import TypeVar

from torch import nn

from phaserec._registry import Registry

ModuleT = TypeVar("ModuleT", bound=nn.Module)

ESTIMATORS: Registry[type[nn.Module]] = Registry("estimator", "unfolded.estimators")
"""Classes of estimators by name; packages declare theirs under ``unfolded.estimators``."""


def estimator(name: str) -> Callable[[type[ModuleT]], type[ModuleT]]:
    """Register a class of estimators, as a decorator.

    Parameters
    ----------
    name : str
        Name in configurations and files.

    Returns
    -------
    callable
        Decorator that returns the class.

    Raises
    ------
    ValueError
        If the name is taken by a class of another module.
    """

    def register(kind: type[ModuleT]) -> type[ModuleT]:
        ESTIMATORS.add(name, kind, kind)
        return kind

    return register
