"""Runs: an algorithm on a problem, prepared once, on the machine that dispatch finds for it."""

from phaserec.solving.dispatch import KERNEL, VARIABLE, needs_mixture, structural_reason
from phaserec.solving.finite import NotFinite
from phaserec.solving.follow import Point, follow
from phaserec.solving.prepared import PreparedRun, iterate, prepare
from phaserec.solving.warming import warm_up

__all__ = [
    "KERNEL",
    "VARIABLE",
    "NotFinite",
    "Point",
    "PreparedRun",
    "follow",
    "iterate",
    "needs_mixture",
    "prepare",
    "structural_reason",
    "warm_up",
]
