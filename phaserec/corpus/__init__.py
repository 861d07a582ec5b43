"""Folders of recordings: what is in them, what it is known by, and work on all of it."""

from phaserec.corpus.entries import Entry, shard
from phaserec.corpus.manifests import Manifest
from phaserec.corpus.running import run
from phaserec.corpus.tasks import Made, Record, Task
from phaserec.corpus.workers import Failed

__all__ = [
    "Entry",
    "Failed",
    "Made",
    "Manifest",
    "Record",
    "Task",
    "run",
    "shard",
]
