"""Starts: initial phases by name, one function each.

A start is one function ``start(p, rng) -> S`` of a problem and a random generator. Registering it
with :func:`start` makes it a choice of ``init=`` and of ``--init``.
"""

from phaserec.starts.registry import AUTO, STARTS, Start, find, names, start, usual

# isort: split
# Importing a family registers it, in the order of the choices.
from phaserec.starts.plain import mixture, random, zero

# isort: split
from phaserec.starts.pghi import pghi
from phaserec.starts.rtpghi import rtpghi, rtpghi_la

# isort: split
from phaserec.starts.sinusoidal import sinusoidal
from phaserec.starts.spsi import spsi

# isort: split
from phaserec.starts.geometric import geometric

__all__ = [
    "AUTO",
    "STARTS",
    "Start",
    "find",
    "geometric",
    "mixture",
    "names",
    "pghi",
    "random",
    "rtpghi",
    "rtpghi_la",
    "sinusoidal",
    "spsi",
    "start",
    "usual",
    "zero",
]
