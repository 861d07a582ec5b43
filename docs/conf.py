"""Sphinx settings."""

import sys
from pathlib import Path

import phaserec

sys.path.insert(0, str(Path(__file__).parent / "_ext"))  # extensions of these pages alone

project = "phaserec"
author = "The phaserec developers"
release = version = phaserec.__version__
extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "numpydoc",
    "registry",
    "training",
]
autosummary_generate = True
numpydoc_show_class_members = False
html_theme = "alabaster"
exclude_patterns = ["_build", "choosing", "eusipco2023", "online", "phases"]
