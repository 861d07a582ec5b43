"""The fused CPU kernel: one iteration for less than the price of its two transforms.

:mod:`.trace` and :mod:`.program` turn a sentence into what a pass does, :mod:`.source` writes that
as numba code and :mod:`.compiled` keeps it on disk. The code is made of :mod:`.lanes`, :mod:`.fft`,
:mod:`.tiles`, :mod:`.overlap` and :mod:`.layout`; :mod:`.engine` runs it over a signal, and
:mod:`.solver` over a problem.
"""
