"""The Wiener family: sources as Gaussian variables, and their expected values given the mixture."""

from phaserec.wiener.coherence import estimated_concentration
from phaserec.wiener.gaussian import Prior, posterior_mean
from phaserec.wiener.gradients import advance, posterior_energy

__all__ = ["Prior", "advance", "estimated_concentration", "posterior_energy", "posterior_mean"]
