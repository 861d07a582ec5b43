"""Inversion algorithms of :mod:`phaserec` unfolded into trainable network layers.

The names below load torch only when they are asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from phaserec._words import remedy

if TYPE_CHECKING:
    from unfolded.estimators import Estimate, GRUMasks, OpenUnmix, estimator, oracle_magnitudes
    from unfolded.layers.inversion import UnfoldedInversion
    from unfolded.losses.permutation import PIT
    from unfolded.losses.registry import get_loss
    from unfolded.losses.weighted import combine
    from unfolded.nn.modules import Described
    from unfolded.saving import shipped_models
    from unfolded.separator import Separator

_HOME = {
    "PIT": "unfolded.losses",
    "Described": "unfolded.nn.modules",
    "Estimate": "unfolded.estimators",
    "GRUMasks": "unfolded.estimators",
    "OpenUnmix": "unfolded.estimators",
    "Separator": "unfolded.separator",
    "UnfoldedInversion": "unfolded.layers",
    "combine": "unfolded.losses",
    "estimator": "unfolded.estimators",
    "get_loss": "unfolded.losses",
    "oracle_magnitudes": "unfolded.estimators",
    "shipped_models": "unfolded.saving",
}

__all__ = [
    "PIT",
    "Described",
    "Estimate",
    "GRUMasks",
    "OpenUnmix",
    "Separator",
    "UnfoldedInversion",
    "combine",
    "estimator",
    "get_loss",
    "oracle_magnitudes",
    "shipped_models",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        module = import_module(_HOME[name])
    except ModuleNotFoundError as error:
        text = remedy(error)
        if text is None:
            raise
        raise ImportError(f"unfolded.{name}: {text}") from error
    return getattr(module, name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
