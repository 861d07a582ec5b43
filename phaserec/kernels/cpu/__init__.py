"""The fused kernel of CPUs.

:mod:`.source` writes a program as numba code and :mod:`.compiled` keeps it on disk, where
:mod:`phaserec._caching` says. The code is made of :mod:`.lanes`, :mod:`.fft`, :mod:`.tiles`,
:mod:`.overlap` and :mod:`.layout`; :mod:`.engine` runs it over a signal, and :mod:`.fused` over a
problem. :mod:`.sweep` says which block goes through which pass when, :mod:`.handover` how
threads wait for each other.
"""
