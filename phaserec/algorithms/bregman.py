"""MISI with Bregman divergences in place of the Euclidean distance of magnitudes."""

from typing import Literal

from phaserec import measures
from phaserec._typing import Measurable, Number, Projectors
from phaserec._xp import Array, namespace
from phaserec.algorithms.hyper import NonNegative, Real
from phaserec.algorithms.registry import algorithm

# Keeps powers and logarithms of silent bins finite; relative to samples in [−1, 1].
_EPS = 1e-8

Side = Literal["right", "left"]


def _powers(S: Array, p: Projectors, d: Number) -> tuple[Array, Array]:
    """A = (|S|² + ε)^{d/2} and the target R, the same of V."""
    xp = namespace(S)
    power = xp.real(S) ** 2 + xp.imag(S) ** 2
    return (power + _EPS) ** (d / 2), (p.magnitudes**2 + _EPS) ** (d / 2)


def _beta_divergence(x: Array, y: Array, beta: Number) -> Array:
    xp = namespace(x)
    if beta == 1:
        return x * xp.log(x / y) - x + y
    if beta == 0:
        return x / y - xp.log(x / y) - 1
    return (x**beta + (beta - 1) * y**beta - beta * x * y ** (beta - 1)) / (beta * (beta - 1))


def _divergence(S: Array, p: Measurable, beta: Number, d: Number, mu: Number, side: Side) -> Array:
    """Beta divergence between ``|S|^d`` and ``V^d`` over the two-sided spectrum."""
    A, R = _powers(S, p, d)
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
) -> Array:
    """MISI with a beta divergence of ``|S|^d``: a gradient step μ, then mixing and consistency.

    β = 2 is the Euclidean distance (d = 1, μ = 1 is MISI), 1 Kullback-Leibler, 0 Itakura-Saito;
    the target is the first (``right``) or the second (``left``) argument of the divergence. The
    result depends on the scale: samples are taken to be in [−1, 1].
    """
    xp = namespace(S)
    A, R = _powers(S, p, d)
    if side == "right":
        G = A ** (beta - 2) * (A - R)
    elif beta == 1:
        G = xp.log(A / R)
    else:
        G = (A ** (beta - 1) - R ** (beta - 1)) / (beta - 1)
    power = xp.real(S) ** 2 + xp.imag(S) ** 2 + _EPS
    return p.cons(p.mix(S - mu * d * S * power ** (d / 2 - 1) * G))
