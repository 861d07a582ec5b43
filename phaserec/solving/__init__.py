"""Iterations on a problem: prepared once, run by the kernel or on the arrays, and followed."""
