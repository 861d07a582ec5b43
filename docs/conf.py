"""Sphinx settings."""

import phaserec

project = "phaserec"
author = "The phaserec developers"
release = version = phaserec.__version__
extensions = ["sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.mathjax", "numpydoc"]
autosummary_generate = True
numpydoc_show_class_members = False
html_theme = "alabaster"
exclude_patterns = ["_build", "eusipco2023"]
