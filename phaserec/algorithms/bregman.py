"""MISI with Bregman divergences in place of the Euclidean distance of magnitudes."""

from typing import Literal

from phaserec import measures
from phaserec._typing import Measurable, Number, Projectors
from phaserec._xp import Array, namespace
from phaserec.algorithms.hyper import NonNegative, Real
from phaserec.algorithms.levels import Level, reference
from phaserec.algorithms.registry import algorithm

# Keeps powers and logarithms of silent bins finite, in units of the reference.
_EPS = 1e-8

Side = Literal["right", "left"]


def _powers(S: Array, p: Projectors, level: Level) -> tuple[Array, Array]:
    """``|S|² + ε`` and its target ``V² + ε``, in units of the reference."""
    xp = namespace(S)
    scale = 1 / reference(p.magnitudes, level)
    S, V = scale * S, scale * p.magnitudes
    return xp.real(S) ** 2 + xp.imag(S) ** 2 + _EPS, V**2 + _EPS


def _beta_divergence(x: Array, y: Array, beta: Number) -> Array:
    xp = namespace(x)
    if beta == 1:
        return x * xp.log(x / y) - x + y
    if beta == 0:
        return x / y - xp.log(x / y) - 1
    return (x**beta + (beta - 1) * y**beta - beta * x * y ** (beta - 1)) / (beta * (beta - 1))


def _divergence(
    S: Array, p: Measurable, beta: Number, d: Number, mu: Number, side: Side, level: Level
) -> Array:
    """Beta divergence between ``|S|^d`` and ``V^d`` over the two-sided spectrum."""
    A, R = (power ** (d / 2) for power in _powers(S, p, level))
    bins = _beta_divergence(R, A, beta) if side == "right" else _beta_divergence(A, R, beta)
    return measures.two_sided_sum(bins, p)


@algorithm(
    cite="Magron, Vial & Oberlin, EURASIP JASMP 2021",
    objective=_divergence,
)
def bregmisi(
    S: Array,
    p: Projectors,
    beta: Real = 1.0,
    d: NonNegative = 2.0,
    mu: NonNegative = 0.1,
    side: Side = "left",
    level: Level = "peak",
) -> Array:
    """MISI with a beta divergence of ``|S|^d``: a gradient step μ, then mixing and consistency.

    β = 2 is the Euclidean distance (d = 1, μ = 1 is MISI), 1 Kullback-Leibler, 0 Itakura-Saito;
    the target is the first (``right``) or the second (``left``) argument of the divergence.

    The size of the step depends on the unit of the magnitudes unless βd = 2. They are divided by
    ``level``: with ``peak`` the largest becomes 50, so that the result follows the loudness of
    the recording and is otherwise the same; 1 is the algorithm as published, for samples in
    [−1, 1]. A step μ at level 1 is ``μ level^(βd − 2)`` at another.
    """
    power, target = _powers(S, p, level)
    A, R = power ** (d / 2), target ** (d / 2)
    if side == "right":
        G = A ** (beta - 2) * (A - R)
    elif beta == 1:
        G = namespace(S).log(A / R)
    else:
        G = (A ** (beta - 1) - R ** (beta - 1)) / (beta - 1)
    return p.cons(p.mix(S - mu * d * S * power ** (d / 2 - 1) * G))
