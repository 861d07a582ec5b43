"""Inversion algorithms unfolded into layers with trainable parameters."""

from unfolded.layers.corrections import CORRECTIONS, MagnitudeRefinement, correction
from unfolded.layers.inversion import UnfoldedInversion
from unfolded.layers.problem import LayerProblem

__all__ = [
    "CORRECTIONS",
    "LayerProblem",
    "MagnitudeRefinement",
    "UnfoldedInversion",
    "correction",
]
