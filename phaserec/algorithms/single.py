"""Iterations on a single spectrogram: Griffin-Lim and its relatives.

Sources are independent of one another here; no mixture is needed.
"""

from typing import Any

from phaserec import measures
from phaserec._typing import Measurable, Projectors
from phaserec._xp import Array
from phaserec.algorithms import combinators
from phaserec.algorithms.hyper import Count, NonNegative, Real
from phaserec.algorithms.registry import algorithm


def magnitude_error(S: Array, p: Measurable, **_: Any) -> Array:
    """Squared distance between the magnitudes of the signal of S and the target."""
    return measures.magnitude_error(p.cons(S), p)


@algorithm(cite="Griffin & Lim, IEEE Trans. ASSP 1984", objective=magnitude_error, descends=True)
def griffin_lim(S: Array, p: Projectors) -> Array:
    """Griffin-Lim: magnitude, then consistency."""
    return p.cons(p.mag(S))


@algorithm(memory=2, cite="Perraudin, Balazs & Søndergaard, WASPAA 2013", objective=magnitude_error)
def fast_griffin_lim(state: tuple, p: Projectors, momentum: Real = 0.99) -> tuple:
    """Fast Griffin-Lim: Griffin-Lim with momentum (the paper's α)."""
    return combinators.momentum(griffin_lim, momentum)(state, p)


@algorithm(memory=2, cite="Nenov, Nguyen & Balazs, ICASSP 2023", objective=magnitude_error)
def accelerated_griffin_lim(
    state: tuple, p: Projectors, alpha: Real = 0.99, beta: Real = 0.99, gamma: Real = 1.25
) -> tuple:
    """Accelerated Griffin-Lim: fast Griffin-Lim with over-relaxation γ."""
    return combinators.momentum(griffin_lim, alpha, beta, gamma)(state, p)


@algorithm(cite="Masuyama, Yatabe & Oikawa, IEEE SPL 2019", objective=magnitude_error)
def admm(Y: Array, p: Projectors, rho: NonNegative = 0.1) -> Array:
    """ADMM for consistent spectrograms; ρ = 0 is Douglas-Rachford splitting.

    The dual variable of the paper is ``U = Y − Z``, so Y is the whole state.
    """
    Z = (rho * Y + p.cons(Y)) / (1 + rho)
    return p.mag(2 * Z - Y) + Y - Z


@algorithm(cite="Luke, Inverse Problems 2005", objective=magnitude_error)
def raar(X: Array, p: Projectors, beta: Real = 0.9) -> Array:
    """Relaxed averaged alternating reflections."""
    M = p.mag(X)
    R2 = 2 * M - X
    R1R2 = 2 * p.cons(R2) - R2
    return beta / 2 * (X + R1R2) + (1 - beta) * M


@algorithm(cite="Elser, JOSA A 2003", objective=magnitude_error)
def difference_map(X: Array, p: Projectors, beta: Real = 0.8) -> Array:
    """Difference map, with the relaxations 1/β that make it converge fastest."""
    M, C = p.mag(X), p.cons(X)
    f2 = M + (M - X) / beta
    f1 = C - (C - X) / beta
    return X + beta * (p.cons(f2) - p.mag(f1))


@algorithm(memory=1, cite="Peer, Welker & Gerkmann, IWAENC 2022", objective=magnitude_error)
def hybrid(state: tuple, p: Projectors, n_explore: Count = 5, n_refine: Count = 5) -> tuple:
    """Hybrid schedule: RAAR to explore and Griffin-Lim to refine, in turns."""
    return combinators.alternate((raar, n_explore), (griffin_lim, n_refine))(state, p)
