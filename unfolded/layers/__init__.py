"""Inversion algorithms unfolded into layers with trainable parameters."""

from unfolded.layers.corrections import MagnitudeRefinement
from unfolded.layers.inversion import UnfoldedInversion
from unfolded.layers.problem import LayerProblem

__all__ = ["LayerProblem", "MagnitudeRefinement", "UnfoldedInversion"]
