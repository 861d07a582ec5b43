"""Inversion algorithms of :mod:`phaserec` unfolded into trainable network layers."""
