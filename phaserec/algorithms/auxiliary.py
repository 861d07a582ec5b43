"""Auxiliary-function algorithms: mixing, consistency and magnitude terms, soft or hard.

Each minimises a weighted sum of ``h = ‖X − ΣS_j‖²``, ``i = Σ‖S_j − G S_j‖²`` and
``m = Σ‖|S_j| − V_j‖²`` under the hard constraints of its name (Magron & Virtanen, EUSIPCO 2023).
"""

from typing import Any, Literal

from phaserec._typing import Measurable, Number, Projectors
from phaserec._xp import Array
from phaserec.algorithms.hyper import NonNegative
from phaserec.algorithms.registry import algorithm
from phaserec.measures import inconsistency, magnitude_error, mixing_error

_CITE = "Magron & Virtanen, EUSIPCO 2023"

Term = Literal["off", "soft", "hard"]


def _h_plus_i(S: Array, p: Measurable, sigma: Number) -> Array:
    """h + σ i."""
    return mixing_error(S, p) + sigma * inconsistency(S, p)


@algorithm(cite=_CITE, objective=_h_plus_i, descends=True)
def mix_incons(S: Array, p: Projectors, sigma: NonNegative = 10.0) -> Array:
    """Soft mixing and consistency: h + σ i."""
    w = p.mixing_weights
    return (p.mix(S, w) + sigma * w * p.cons(S)) / (1 + sigma * w)


@algorithm(cite=_CITE, objective=_h_plus_i, descends=True)
def mix_incons_hard_mag(S: Array, p: Projectors, sigma: NonNegative = 0.1) -> Array:
    """Soft mixing and consistency at the target magnitudes: h + σ i, ``|S| = V``."""
    w = p.mixing_weights
    return p.mag(p.mix(S, w) + sigma * w * p.cons(S))


def _m_plus_i(S: Array, p: Measurable, sigma: Number) -> Array:
    """m + σ i."""
    return magnitude_error(S, p) + sigma * inconsistency(S, p)


@algorithm(cite=_CITE, objective=_m_plus_i, descends=True)
def mag_incons_hard_mix(S: Array, p: Projectors, sigma: NonNegative = 1.0) -> Array:
    """Soft magnitude and consistency of sources that sum to the mixture: m + σ i, ΣS = X."""
    return p.mix((p.mag(S) + sigma * p.cons(S)) / (1 + sigma))


def _i(S: Array, p: Measurable) -> Array:
    """The inconsistency i."""
    return inconsistency(S, p)


@algorithm(cite=_CITE, objective=_i, descends=True)
def incons_hard_mix(S: Array, p: Projectors) -> Array:
    """Consistency of sources that sum to the mixture: i, ΣS = X; one iteration suffices."""
    return p.mix(p.cons(S))


def _weighted_sum(
    S: Array,
    p: Measurable,
    sigma: Number,
    tau: Number,
    mixing: Term,
    consistency: Term,
    magnitude: Term,
) -> Array:
    """h + σ i + τ m over the soft terms."""
    return (
        (mixing == "soft") * mixing_error(S, p)
        + (consistency == "soft") * sigma * inconsistency(S, p)
        + (magnitude == "soft") * tau * magnitude_error(S, p)
    )


@algorithm(cite=_CITE, objective=_weighted_sum)
def aux(
    S: Array,
    p: Projectors,
    sigma: NonNegative = 0.5,
    tau: NonNegative = 1.0,
    mixing: Term = "soft",
    consistency: Term = "soft",
    magnitude: Term = "hard",
) -> Array:
    """General auxiliary-function algorithm: h + σ i + τ m, each term off, soft or hard.

    The default is ``mix-incons-hard-mag``. The soft terms are averaged with the weights of their
    majorisers; hard terms are projected onto afterwards, in the order consistency, magnitude,
    mixing. With at most one hard term, or with hard consistency and mixing, the objective never
    increases; hard magnitude with another hard term is alternating projection, as MISI is.

    Λ is the problem's where only soft terms and hard magnitudes use it; under hard consistency
    it must not vary over bins, and is 1/J.
    """
    average: Any = 0
    total: Any = 0
    if mixing == "soft":
        w = p.mixing_weights if consistency != "hard" else 1 / S.shape[-3]
        average, total = p.mix(S, w), 1
    else:
        w = 1
    if consistency == "soft":
        average, total = average + sigma * w * p.cons(S), total + sigma * w
    if magnitude == "soft":
        average, total = average + tau * w * p.mag(S), total + tau * w
    # With no weight on any soft term the majoriser is flat, and S is a minimum of it.
    S = S if isinstance(total, int | float) and total == 0 else average / total
    if consistency == "hard":
        S = p.cons(S)
    if magnitude == "hard":
        S = p.mag(S)
    return p.mix(S) if mixing == "hard" else S
