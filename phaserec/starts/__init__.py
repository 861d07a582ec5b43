"""Starts: initial phases by name, one function each.

A start is one function ``start(p, rng) -> S`` of a problem and a random generator. Registering it
with :func:`start` makes it a choice of ``init=`` and of ``--init``.
"""

from phaserec.starts.registry import STARTS, Start, find, names, start, usual

# isort: split
# Importing a family registers it, in the order of the choices.
from phaserec.starts.pghi import pghi
from phaserec.starts.plain import mixture, random, zero
from phaserec.starts.rtpghi import rtpghi, rtpghi_la

__all__ = [
    "STARTS",
    "Start",
    "find",
    "mixture",
    "names",
    "pghi",
    "random",
    "rtpghi",
    "rtpghi_la",
    "start",
    "usual",
    "zero",
]
