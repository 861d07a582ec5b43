"""Phase gradient heap integration: phases from magnitudes alone, in one pass."""

import numpy as np

from phaserec._typing import Generator, Measurable
from phaserec._xp import Array
from phaserec.starts.gradient import along_frequency, along_time, central, with_phases
from phaserec.starts.queue import integrate, spreader
from phaserec.starts.registry import start

_NOTHING = np.zeros(0, np.int64)


@start(cite="Průša, Balazs & Søndergaard, IEEE/ACM TASLP 2017", on_numpy=True)
def pghi(p: Measurable, rng: Generator, before: Array | None = None) -> Array:
    """Phase gradient heap integration: derivatives of the phase from those of log-magnitudes.

    They are integrated by the trapezoid rule from the largest bin outwards, the largest of what has
    been found first, each source and channel by itself; bins 80 dB below the largest have random
    phases. The more frames overlap, and the nearer the window is to a Gaussian such as
    ``("gaussian", n_fft / 8)``, the better.
    """
    stft = p.stft

    def phases(L: np.ndarray, faint: np.ndarray, known: np.ndarray) -> np.ndarray:
        phase, reached, n = np.zeros_like(L), faint.copy(), len(known)
        phase[:n], reached[:n] = known, True
        # Only the last of the known frames has neighbours that are not.
        places = np.flatnonzero(~faint[n - 1]) + (n - 1) * L.shape[1] if n else _NOTHING
        advance, slope = along_time(L, stft), along_frequency(central(L), stft)
        integrate(spreader(L.size), L, advance, slope, phase, reached, places)
        return phase

    return with_phases(p, rng, phases, before=before)
