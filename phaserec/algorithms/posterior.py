"""The Wiener family: expected sources given the mixture, with and without consistency.

Magnitudes are standard deviations here, ``v = V²``, and no constraint. Phases of the anisotropic
ones lean towards those of the initial spectrogram, which is by default that of a sinusoidal model.

Consistent Wiener filtering was the subject of the Japanese patent application JP2011170190.
"""

from typing import Annotated, Any, Literal, TypeAlias, cast

from phaserec import wiener as family
from phaserec._typing import Measurable, Number, Projectors
from phaserec._xp import Array
from phaserec.algorithms.hyper import NonNegative, Range
from phaserec.algorithms.levels import Level, reference
from phaserec.algorithms.registry import algorithm
from phaserec.projectors import unit
from phaserec.von_mises import LARGEST
from phaserec.wiener import Prior

Concentration: TypeAlias = Annotated[float, Range(0, LARGEST)] | Literal["auto"]
"""Hyper-parameter: von Mises concentration of the phases around those of the start, or ``"auto"``:
that of each source is estimated from the mixture."""


@algorithm(cite="Wiener 1949; Benaroya, Bimbot & Gribonval, IEEE TASLP 2006", posterior=True)
def wiener(S: Array, p: Projectors) -> Array:
    """Wiener filter: shares of the mixture in proportion to the powers; one iteration suffices."""
    return family.posterior_mean(Prior(p.magnitudes), p.X)


@algorithm(
    memory=1,
    cite="Magron, Badeau & David, ICASSP 2017",
    posterior=True,
    start="sinusoidal",
)
def anisotropic_wiener(state: tuple, p: Projectors, kappa: Concentration = 0.5) -> tuple:
    """Wiener filter of sources that lean towards the phases of the start; one iteration suffices.

    κ = 0 is the Wiener filter; with κ → ∞ the sources have these phases, but for what the mixture
    forbids.
    """
    S, phases = state
    X = p.X
    phases = unit(S) if phases is None else phases
    return family.posterior_mean(_prior(p, phases, kappa), X), phases


def _isotropic(S: Array, p: Measurable, delta: Number, level: Level) -> Array:
    """Negative log-posterior of the isotropic model + δ i."""
    return family.posterior_energy(S, p, Prior(p.magnitudes), _weight(p, delta, level))


@algorithm(
    memory=3,
    cite="Le Roux & Vincent, IEEE SPL 2013",
    objective=_isotropic,
    descends=True,
    posterior=True,
)
def consistent_wiener(
    state: tuple, p: Measurable, delta: NonNegative = 10.0, level: Level = "peak"
) -> tuple:
    """Wiener filter with a penalty δ on inconsistency, by conjugate gradients.

    δ = 0 is the Wiener filter. δ weighs squared magnitudes in the unit ``level``, as of
    :func:`~phaserec.algorithms.bregman.bregmisi`.
    """
    return family.advance(state, p, Prior(p.magnitudes), _weight(p, delta, level))


def _anisotropic(
    S: Array, p: Measurable, kappa: Concentration, delta: Number, level: Level, start: Array
) -> Array:
    """Negative log-posterior of the anisotropic model + δ i."""
    prior = _prior(p, unit(start), kappa)
    return family.posterior_energy(S, p, prior, _weight(p, delta, level))


@algorithm(
    memory=4,
    cite="Magron, Le Roux & Virtanen, WASPAA 2017",
    objective=_anisotropic,
    descends=True,
    posterior=True,
    start="sinusoidal",
)
def consistent_anisotropic_wiener(
    state: tuple,
    p: Measurable,
    kappa: Concentration = 0.5,
    delta: NonNegative = 10.0,
    level: Level = "peak",
) -> tuple:
    """Anisotropic Wiener filter with a penalty δ on inconsistency, by conjugate gradients.

    κ = 0 is ``consistent-wiener``, δ = 0 ``anisotropic-wiener``.
    """
    S, phases, *memory = state
    X = p.X  # asked for first, so that a missing mixture is named
    assert X is not None
    phases = unit(S) if phases is None else phases
    S, *memory = family.advance((S, *memory), p, _prior(p, phases, kappa), _weight(p, delta, level))
    return S, phases, *memory


def _prior(p: Projectors, phases: Array, kappa: Concentration) -> Prior:
    value: Any = kappa
    if isinstance(kappa, str):
        value = family.estimated_concentration(p.magnitudes, phases, p.X)
    return Prior(p.magnitudes, phases, value)


def _weight(p: Projectors, delta: Number, level: Level) -> Number:
    """δ in the unit of the magnitudes."""
    return delta / cast(Any, reference(p.magnitudes, level)) ** 2
