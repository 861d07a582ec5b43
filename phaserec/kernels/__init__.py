"""Fused kernels: an iteration for less than the price of its two transforms.

:mod:`.trace` and :mod:`.program` turn a sentence into what a pass over the frames does, for any
machine; :mod:`.cpu` runs it.
"""
