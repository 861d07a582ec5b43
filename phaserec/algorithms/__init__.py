"""Algorithms as sentences in three projectors, one file a family.

An algorithm is one function ``step(S, p, **hyper) -> S`` that holds the formula of its paper.
Registering it with :func:`algorithm` makes it a choice of :func:`phaserec.invert`, of the command
line and of the tests that hold for all algorithms.
"""

from phaserec.algorithms.combinators import alternate, momentum, schedule
from phaserec.algorithms.configured import Configured, configure
from phaserec.algorithms.hyper import MOMENTUM, Count, Hyper, NonNegative, Range, Real
from phaserec.algorithms.registry import (
    ALGORITHMS,
    Algorithm,
    AlgorithmLike,
    algorithm,
    names,
    resolve,
)

# isort: split
# Importing a family registers it, in the order of `phaserec list`.
from phaserec.algorithms.single import (
    accelerated_griffin_lim,
    admm,
    difference_map,
    fast_griffin_lim,
    griffin_lim,
    hybrid,
    raar,
)

# isort: split
from phaserec.algorithms.mixture import misi, misi_mix_first

# isort: split
from phaserec.algorithms.auxiliary import (
    aux,
    incons_hard_mix,
    mag_incons_hard_mix,
    mix_incons,
    mix_incons_hard_mag,
)

# isort: split
from phaserec.algorithms.bregman import bregmisi

# isort: split
from phaserec.algorithms.phase_models import phase_constrained_misi, pu_iter

# isort: split
from phaserec.algorithms.posterior import (
    anisotropic_wiener,
    consistent_anisotropic_wiener,
    consistent_wiener,
    wiener,
)

__all__ = [
    "ALGORITHMS",
    "MOMENTUM",
    "Algorithm",
    "AlgorithmLike",
    "Configured",
    "Count",
    "Hyper",
    "NonNegative",
    "Range",
    "Real",
    "accelerated_griffin_lim",
    "admm",
    "algorithm",
    "alternate",
    "anisotropic_wiener",
    "aux",
    "bregmisi",
    "configure",
    "consistent_anisotropic_wiener",
    "consistent_wiener",
    "difference_map",
    "fast_griffin_lim",
    "griffin_lim",
    "hybrid",
    "incons_hard_mix",
    "mag_incons_hard_mix",
    "misi",
    "misi_mix_first",
    "mix_incons",
    "mix_incons_hard_mag",
    "momentum",
    "names",
    "phase_constrained_misi",
    "pu_iter",
    "raar",
    "resolve",
    "schedule",
    "wiener",
]
