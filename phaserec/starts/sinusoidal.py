"""Sinusoidal phases: those of each frame follow from the frame before."""

from typing import Any

import numpy as np

from phaserec._typing import Generator, Measurable
from phaserec._xp import Array, complex_dtype, namespace, to_numpy
from phaserec.starts.peaks import impulse, sinusoids
from phaserec.starts.registry import start

_THRESHOLD = 0.01
# A frame is an onset where magnitudes rise by this fraction of their sum: chosen on mixtures of
# speech by the SDR of the anisotropic Wiener filter (docs/wiener.rst).
_RISE = 0.35


@start(cite="Magron, Badeau & David, EUSIPCO 2015", on_numpy=True)
def sinusoidal(p: Measurable, rng: Generator) -> Array:
    """Sinusoidal model: phases unwrapped from frame to frame at the frequencies of the peaks.

    The bins in the region of influence of a peak of frequency ν go on with ``μ_t = μ_{t−1} + 2πHν``
    from the phase of the peak in the frame before. A frame of a source in which magnitudes rise
    by more than 0.35 of their sum is an onset, and so is the first: it has the phases of the
    mixture, or without one those of an impulse in its middle. Gradients are those of magnitudes
    with phases that do not depend on them.
    """
    stft = p.stft
    V = to_numpy(p.magnitudes).astype(np.float64)
    begun = impulse(V.shape[-2])
    if p.mixture is not None:
        begun = np.angle(to_numpy(p.X))[..., None, :, :] / (2 * np.pi)
    found = sinusoids(V, stft, _THRESHOLD, valleys=False)
    return with_phases(p, found.unwrapped(stft.hop_length / stft.n_fft, onsets(V), begun))


def onsets(V: np.ndarray) -> np.ndarray:
    """Frames in which a source begins anew.

    Parameters
    ----------
    V : ndarray, shape (..., F, T)
        Magnitudes.

    Returns
    -------
    ndarray of bool, shape (..., T)
        The first frame is one always.
    """
    rise = np.maximum(np.diff(V, axis=-1), 0).sum(axis=-2)
    found = np.ones((*V.shape[:-2], V.shape[-1]), bool)
    found[..., 1:] = rise > _RISE * V[..., 1:].sum(axis=-2)
    return found


def with_phases(p: Measurable, cycles: np.ndarray) -> Array:
    """The magnitudes with phases of numpy, in cycles, in their library and precision."""
    V = p.magnitudes
    xp = namespace(V)
    phases: Any = np.exp(2j * np.pi * cycles)
    return V * xp.asarray(phases, dtype=complex_dtype(xp, V), device=V.device)
