"""Starts that look at nothing but magnitudes and mixture."""

import numpy as np

from phaserec._typing import Generator, Measurable
from phaserec._xp import Array, complex_dtype, dtype_name, namespace
from phaserec.projectors import unit
from phaserec.starts.phases import joined, n_known, random_phases
from phaserec.starts.registry import start


@start(needs_mixture=True)
def mixture(p: Measurable, rng: Generator) -> Array:
    """The phase of the mixture in every source: the amplitude mask."""
    xp = namespace(p.magnitudes)
    return p.magnitudes * xp.expand_dims(unit(p.X), axis=-3)


@start
def random(p: Measurable, rng: Generator, before: Array | None = None) -> Array:
    """Phases uniform on the circle; the same seed gives the same ones in every back end."""
    V = p.magnitudes[..., n_known(before) :]
    *lead, n_bins, n_frames = V.shape
    phases = random_phases(rng, (n_frames, *lead, n_bins), dtype_name(V))
    S = V * namespace(V).asarray(np.moveaxis(phases, 0, -1), device=V.device)
    return joined(before, S)


@start
def zero(p: Measurable, rng: Generator) -> Array:
    """Phase zero in every bin."""
    xp = namespace(p.magnitudes)
    return xp.astype(p.magnitudes, complex_dtype(xp, p.magnitudes))
