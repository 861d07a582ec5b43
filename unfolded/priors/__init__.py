"""Iterations with what networks have learned about sound; importing them does not load torch."""
