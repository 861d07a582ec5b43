"""Multiple input spectrogram inversion: alternating projections of sources and mixture."""

from phaserec import measures
from phaserec._typing import Measurable, Projectors
from phaserec._xp import Array
from phaserec.algorithms.registry import algorithm


def _mixed_magnitude_error(S: Array, p: Measurable) -> Array:
    """Squared magnitude error of the signals of S, which sum to the mixture.

    MISI is majorisation-minimisation of it (Wang et al., Interspeech 2018; Magron et al. 2021).
    """
    return measures.magnitude_error(p.mix(p.cons(S)), p)


@algorithm(cite="Gunawan & Sen, IEEE SPL 2010", objective=_mixed_magnitude_error, descends=True)
def misi(S: Array, p: Projectors) -> Array:
    """Multiple input spectrogram inversion, mixing last."""
    return p.mix(p.mag(p.cons(S)))


@algorithm(
    cite="Wang, Le Roux, Wang & Hershey, Interspeech 2018",
    objective=_mixed_magnitude_error,
    descends=True,
)
def misi_mix_first(S: Array, p: Projectors) -> Array:
    """Multiple input spectrogram inversion, mixing before the magnitudes."""
    return p.mag(p.mix(p.cons(S)))
