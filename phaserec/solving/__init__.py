"""Runs: an algorithm on a problem, prepared once, on the machine that dispatch finds for it."""

from phaserec.solving.dispatch import structural_reason
from phaserec.solving.finite import NotFinite
from phaserec.solving.follow import Point, follow
from phaserec.solving.prepared import PreparedRun, iterate, prepare

__all__ = [
    "NotFinite",
    "Point",
    "PreparedRun",
    "follow",
    "iterate",
    "prepare",
    "structural_reason",
]
