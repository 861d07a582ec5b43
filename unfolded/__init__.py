"""Inversion algorithms of :mod:`phaserec` unfolded into trainable network layers.

The names below load torch only when they are asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from phaserec._words import remedy

if TYPE_CHECKING:
    from unfolded.layers import UnfoldedInversion
    from unfolded.losses import PIT, combine, get_loss
    from unfolded.magnitude import ExternalMagnitudes, GRUMasks, OpenUnmix, oracle_magnitudes
    from unfolded.model import UnfoldedSeparator, shipped_models

_HOME = {
    "PIT": "unfolded.losses",
    "ExternalMagnitudes": "unfolded.magnitude",
    "GRUMasks": "unfolded.magnitude",
    "OpenUnmix": "unfolded.magnitude",
    "UnfoldedInversion": "unfolded.layers",
    "UnfoldedSeparator": "unfolded.model",
    "combine": "unfolded.losses",
    "get_loss": "unfolded.losses",
    "oracle_magnitudes": "unfolded.magnitude",
    "shipped_models": "unfolded.model",
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
