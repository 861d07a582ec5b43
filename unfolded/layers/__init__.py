"""Inversion algorithms unfolded into layers with trainable parameters."""

from unfolded.layers.corrections import CORRECTIONS, MagnitudeRefinement, correction
from unfolded.layers.inversion import UnfoldedInversion
from unfolded.layers.problem import LayerProblem
from unfolded.layers.residuals import RESIDUALS, GatedResidual, residual

__all__ = [
    "CORRECTIONS",
    "RESIDUALS",
    "GatedResidual",
    "LayerProblem",
    "MagnitudeRefinement",
    "UnfoldedInversion",
    "correction",
    "residual",
]
