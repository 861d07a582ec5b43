"""Single pass spectrogram inversion: phases of whole peaks follow from the frame before."""

import numpy as np

from phaserec._typing import Generator, Measurable
from phaserec._xp import Array, to_numpy
from phaserec.starts.peaks import impulse, sinusoids
from phaserec.starts.registry import start
from phaserec.starts.sinusoidal import with_phases


@start(cite="Beauregard, Harish & Wyse, IEEE DSP 2015", on_numpy=True)
def spsi(p: Measurable, rng: Generator, before: Array | None = None) -> Array:
    """Single pass spectrogram inversion: phases locked outwards from each peak to its valleys.

    As :func:`~phaserec.starts.sinusoidal.sinusoidal`, with every peak however small and without
    onsets or a mixture: the first frame is an impulse in its middle. Gradients are those of
    magnitudes with phases that do not depend on them.
    """
    stft = p.stft
    V = to_numpy(p.magnitudes).astype(np.float64)
    found = sinusoids(V, stft, 0.0, valleys=True)
    never = np.zeros((*V.shape[:-2], V.shape[-1]), bool)
    return with_phases(p, found, never, impulse(V.shape[-2]), before)
