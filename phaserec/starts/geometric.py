"""Geometry of two sources: magnitudes and the mixture leave two phases in every bin."""

from phaserec._typing import Generator, Measurable
from phaserec._xp import Array, namespace
from phaserec.projectors import unit
from phaserec.starts.registry import start

_ROUNDS = 5


@start(cite="arXiv 2507.02192", needs_mixture=True)
def geometric(p: Measurable, rng: Generator) -> Array:
    """Two sources whose sum is the mixture, bin by bin, signs chosen by consistency.

    With the magnitudes of both sources, the triangle that they make with the mixture leaves two
    solutions, mirrored at its phase; where there is no triangle, sources are collinear. From the
    amplitude mask, the solution that is nearer to a consistent spectrogram is taken, five times.
    """
    V = p.magnitudes
    if V.shape[-3] != 2:
        raise ValueError(
            f"init='geometric' is for two sources, and the magnitudes have J={V.shape[-3]}; use "
            "another start, such as 'mixture'"
        )
    xp = namespace(V)
    ahead = xp.expand_dims(unit(p.X), axis=-3)
    total = xp.expand_dims(xp.abs(p.X), axis=-3)
    # Components along the mixture, of the law of cosines, and across it.
    silent = total <= 0
    other = xp.flip(V, axis=-3)
    along = (total**2 + V**2 - other**2) / (2 * xp.where(silent, xp.ones_like(total), total))
    along = xp.where(silent, 0 * V, along)
    along = xp.where(along > V, V, xp.where(along < -V, -V, along))
    square = V**2 - along**2
    flat = square <= 0
    across = xp.where(flat, 0 * V, xp.sqrt(xp.where(flat, xp.ones_like(V), square)))
    opposite = xp.asarray([1.0, -1.0], dtype=V.dtype, device=V.device)[:, None, None]
    S = V * ahead
    for _ in range(_ROUNDS):
        # Both solutions are as long: the nearer one is on the same side.
        side = xp.imag(p.cons(S) * xp.conj(ahead)) * across * opposite
        side = xp.where(xp.sum(side, axis=-3, keepdims=True) < 0, -1.0, 1.0)
        S = (along + 1j * (across * opposite * side)) * ahead
    return S
