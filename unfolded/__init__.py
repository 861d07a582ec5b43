"""Inversion algorithms of :mod:`phaserec` unfolded into trainable network layers.

The names below load torch only when they are asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from phaserec._words import remedy

if TYPE_CHECKING:
    from unfolded.estimators import ExternalMagnitudes, GRUMasks, OpenUnmix, oracle_magnitudes
    from unfolded.layers.inversion import UnfoldedInversion
    from unfolded.losses.permutation import PIT
    from unfolded.losses.registry import combine, get_loss
    from unfolded.separator import UnfoldedSeparator, shipped_models

_HOME = {
    "PIT": "unfolded.losses",
    "ExternalMagnitudes": "unfolded.estimators",
    "GRUMasks": "unfolded.estimators",
    "OpenUnmix": "unfolded.estimators",
    "UnfoldedInversion": "unfolded.layers",
    "UnfoldedSeparator": "unfolded.separator",
    "combine": "unfolded.losses",
    "get_loss": "unfolded.losses",
    "oracle_magnitudes": "unfolded.estimators",
    "shipped_models": "unfolded.separator",
}

__all__ = [
    "PIT",
    "ExternalMagnitudes",
    "GRUMasks",
    "OpenUnmix",
    "UnfoldedInversion",
    "UnfoldedSeparator",
    "combine",
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
