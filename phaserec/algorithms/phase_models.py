"""Iterations that keep to the phases of a model: those of the initial spectrogram.

With ``init="sinusoidal"`` they are those of a sinusoidal model.
"""

from phaserec import measures
from phaserec._typing import Measurable, Number, Projectors
from phaserec._xp import Array, namespace
from phaserec.algorithms.hyper import NonNegative
from phaserec.algorithms.registry import algorithm
from phaserec.problem import shares


def _h(S: Array, p: Measurable) -> Array:
    """The mixing error h."""
    return measures.mixing_error(S, p)


@algorithm(
    cite="Magron, Badeau & David, IEEE/ACM TASLP 2018",
    objective=_h,
    descends=True,
    start="sinusoidal",
)
def pu_iter(S: Array, p: Projectors) -> Array:
    """PU-Iter: mixing error spread in proportion to the powers, at the target magnitudes.

    Every bin is by itself: what it ends in is near the phases of the start. As in the paper that
    is ``sinusoidal``; the mixture's phase would stay as it is.
    """
    return p.mag(p.mix(S, shares(p.magnitudes**2)))


def _constrained(S: Array, p: Measurable, sigma: Number, start: Array) -> Array:
    """m + σ Σ‖S_j − V_j e^{iμ_j}‖² of the signals of S, which sum to the mixture."""
    S = p.mix(p.cons(S))
    xp = namespace(S)
    away = S - p.mag(start)
    distance = measures.two_sided_sum(xp.real(away) ** 2 + xp.imag(away) ** 2, p)
    return measures.magnitude_error(S, p) + sigma * distance


@algorithm(
    memory=1,
    cite="Gunawan & Sen, IEEE SPL 2010; the constraint: Magron, Badeau & David, ICASSP 2016",
    objective=_constrained,
    descends=True,
)
def phase_constrained_misi(state: tuple, p: Projectors, sigma: NonNegative = 0.1) -> tuple:
    """MISI with a soft constraint on phases: σ pulls towards those of the start.

    The penalty ``σ Σ‖S_j − V_j e^{iμ_j}‖²`` is that of complex matrix factorisation under phase
    constraints. σ = 0 is MISI; σ → ∞ keeps the phases, but for what consistency and mixture forbid.
    """
    S, model = state
    model = p.mag(S) if model is None else model
    return p.mix((p.mag(p.cons(S)) + sigma * model) / (1 + sigma)), model
