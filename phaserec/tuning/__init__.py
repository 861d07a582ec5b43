"""Choosing algorithm, hyper-parameters and iterations by measuring on recordings one has."""

from phaserec.tuning.strategies import Candidate, Choice, Search, candidates, search

__all__ = ["Candidate", "Choice", "Search", "candidates", "search"]
