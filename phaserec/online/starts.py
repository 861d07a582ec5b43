"""Where the phases of a new frame start."""

from collections.abc import Callable
from typing import Any

import numpy as np

from phaserec._registry import Registry
from phaserec._typing import Generator
from phaserec.online.window import Past
from phaserec.projectors import magnitude
from phaserec.starts.gradient import TOLERANCE, along_frequency, along_time
from phaserec.starts.phases import random_phases
from phaserec.starts.queue import integrate, spreader
from phaserec.stft import STFT

NewFrame = Callable[[Past, np.ndarray, np.ndarray, np.ndarray | None], np.ndarray]
"""``start(past, S, V, X)``: the new frame ``(..., J, F)`` after those of the window S."""

STARTS: Registry[Callable[[STFT, Generator], NewFrame]] = Registry(
    "start of a new frame", "phaserec.online"
)


def register(name: str) -> Callable[[Any], Any]:
    """Register ``make(stft, rng) -> NewFrame`` under a name; it is made anew for each signal."""

    def added(make: Any) -> Any:
        STARTS.add(name, make, make)
        return make

    return added


@register("mixture")
def of_mixture(stft: STFT, rng: Generator) -> NewFrame:
    """The phase of the mixture."""

    def start(past: Past, S: np.ndarray, V: np.ndarray, X: np.ndarray | None) -> np.ndarray:
        assert X is not None
        return magnitude(np.broadcast_to(X[..., None, :], V.shape), V)

    return start


@register("overlap")
def of_overlap(stft: STFT, rng: Generator) -> NewFrame:
    """The phase of what the frames before have left on its samples (Beauregard et al., 2005)."""

    def start(past: Past, S: np.ndarray, V: np.ndarray, X: np.ndarray | None) -> np.ndarray:
        n_fft, hop, k = stft.n_fft, stft.hop_length, S.shape[-1]
        samples, gains = past.summed(S), past.gains(k, None)
        left = np.zeros((*samples.shape[:-1], n_fft), samples.dtype)
        if k or past.next:
            seen = (samples * gains)[..., k * hop :][..., :n_fft]
            left[..., : seen.shape[-1]] = seen
        spectrum = np.fft.rfft(left * past.window)
        return magnitude(spectrum.astype(np.result_type(V, np.complex64)), V)

    return start


@register("random")
def of_chance(stft: STFT, rng: Generator) -> NewFrame:
    """Random phases, uniform on the circle."""

    def start(past: Past, S: np.ndarray, V: np.ndarray, X: np.ndarray | None) -> np.ndarray:
        drawn: np.ndarray = V * random_phases(rng, V.shape, V.dtype.name)
        return drawn

    return start


@register("zero")
def of_nothing(stft: STFT, rng: Generator) -> NewFrame:
    """Phase zero."""

    def start(past: Past, S: np.ndarray, V: np.ndarray, X: np.ndarray | None) -> np.ndarray:
        return V.astype(np.result_type(V, np.complex64))

    return start


@register("rtpghi")
class RealTimeHeapIntegration:
    """Phase gradient heap integration from the frame before (Průša & Søndergaard, DAFx 2016).

    The phases of the frame before are those that the integration gave it, so that the phases are
    those of ``init="rtpghi"``.

    Parameters
    ----------
    stft : STFT
        The transform.
    rng : numpy Generator
        Source of the phases of faint bins.
    """

    def __init__(self, stft: STFT, rng: Generator) -> None:
        self.stft, self.rng = stft, rng
        self._items: dict[tuple[int, ...], _Item] = {}

    def __call__(
        self, past: Past, S: np.ndarray, V: np.ndarray, X: np.ndarray | None
    ) -> np.ndarray:
        """The new frame."""
        factors = random_phases(self.rng, V.shape, V.dtype.name)
        for index in np.ndindex(*V.shape[:-1]):
            item = self._items.setdefault(index, _Item(self.stft))
            phase, faint = item.next(V[index].astype(np.float64))
            factors[index][~faint] = np.exp(1j * phase[~faint])
        made: np.ndarray = V * factors
        return made


class _Item:
    """One source, frame after frame."""

    def __init__(self, stft: STFT) -> None:
        self.stft = stft
        self.peak = 0.0
        self.levels: list[np.ndarray] = []  # log-magnitudes of this frame and two before it
        self.phase = self.slope = np.zeros(0)
        self.faint = np.zeros(0, bool)

    def next(self, V: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Phases of a frame and where they are of no use."""
        self.peak = max(self.peak, float(V.max()))
        if self.peak == 0:
            return np.zeros_like(V), np.ones(V.shape, bool)
        least = max(TOLERANCE * self.peak, np.finfo(float).tiny)
        faint = least >= V
        self.levels = [*self.levels[-2:], np.log(np.maximum(V, least))]
        change = np.zeros_like(V)
        if len(self.levels) == 2:
            change = self.levels[1] - self.levels[0]
        elif len(self.levels) == 3:
            change = 0.5 * (3 * self.levels[2] - 4 * self.levels[1] + self.levels[0])
        slope = along_frequency(change, self.stft)
        known = np.zeros(0, np.int64)
        levels, slopes, phases, reached = self.levels[-1:], [slope], [np.zeros_like(V)], [faint]
        if self.phase.size:
            known = np.flatnonzero(~self.faint)
            levels, slopes = self.levels[-2:], [self.slope, slope]
            phases, reached = [self.phase, *phases], [np.ones_like(faint), faint]
        both = np.stack(levels)
        phase, done = np.stack(phases), np.stack(reached)
        advance = along_time(both, self.stft)
        integrate(spreader(both.size), both, advance, np.stack(slopes), phase, done, known)
        self.phase = phase[-1] - 2 * np.pi * np.round(phase[-1] / (2 * np.pi))
        self.slope, self.faint = slope, faint
        return self.phase, faint
