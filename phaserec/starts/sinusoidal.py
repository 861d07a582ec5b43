"""Sinusoidal phases: those of each frame follow from the frame before."""

from typing import Any

import numpy as np

from phaserec._typing import Generator, Measurable
from phaserec._xp import Array, complex_dtype, namespace, to_numpy
from phaserec.starts.peaks import Sinusoids, impulse, sinusoids
from phaserec.starts.phases import joined, n_known
from phaserec.starts.registry import start

_THRESHOLD = 0.01
# A frame is an onset where magnitudes rise by this fraction of their sum: chosen on mixtures of
# speech by the SDR of the anisotropic Wiener filter (docs/wiener.rst).
_RISE = 0.35


@start(cite="Magron, Badeau & David, EUSIPCO 2015", on_numpy=True)
def sinusoidal(p: Measurable, rng: Generator, before: Array | None = None) -> Array:
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
    return with_phases(p, found, onsets(V), begun, before)


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


def with_phases(
    p: Measurable, found: Sinusoids, onset: np.ndarray, begun: np.ndarray, before: Array | None
) -> Array:
    """The magnitudes with phases that go on from frame to frame.

    Parameters
    ----------
    p : Problem
        The problem.
    found : Sinusoids
        The sinusoids of its magnitudes.
    onset : ndarray of bool, shape (..., J, T)
        Frames that begin anew.
    begun : ndarray, broadcastable to (..., J, F, T)
        Phases that these have, in cycles.
    before : array, shape (..., J, F, n), or None
        First frames of the result.

    Returns
    -------
    array, shape (..., J, F, T)
        Complex spectrogram in the library and precision of the magnitudes.
    """
    V, n = p.magnitudes, n_known(before)
    xp = namespace(V)
    if before is not None:
        onset, begun = onset.copy(), np.array(np.broadcast_to(begun, V.shape))
        onset[..., :n] = True
        begun[..., :n] = np.angle(to_numpy(before)) / (2 * np.pi)
    cycles = found.unwrapped(p.stft.hop_length / p.stft.n_fft, onset, begun)[..., n:]
    phases: Any = np.exp(2j * np.pi * cycles)
    phases = xp.asarray(phases, dtype=complex_dtype(xp, V), device=V.device)
    return joined(before, V[..., n:] * phases)
