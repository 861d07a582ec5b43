"""Mixtures from formulas."""

import numpy as np

from phaserec._xp import as_int
from unfolded.data.augmentation import check_range
from unfolded.data.mixtures import Mixtures, at_snr, samples_of


class SyntheticDataset(Mixtures):
    """Mixtures computed from formulas, for trials without any audio.

    The first source is a harmonic tone in syllables, the second noise that falls by 6 dB an
    octave, and so on in turns.

    Parameters
    ----------
    n_sources : int, default 2
        Number of sources J.
    items : int, default 100
        Items of an epoch.
    seconds : float, default 1
        Length of an item.
    snr : tuple of float, default (-5, 15)
        Range in dB of the level of the first source over each of the others.
    rate : int, default 16000
        Sample rate in Hz.
    channels : int, default 1
        Number of channels, with one gain each.
    seed : int, default 0
        Seed.

    Raises
    ------
    ValueError
        If a value is out of range.
    """

    def __init__(
        self,
        n_sources: int = 2,
        *,
        items: int = 100,
        seconds: float = 1.0,
        snr: tuple[float, float] = (-5.0, 15.0),
        rate: int = 16000,
        channels: int = 1,
        seed: int = 0,
    ) -> None:
        names = [f"source{j + 1}" for j in range(as_int("n_sources", n_sources, 1, 1000))]
        if n_sources == 2:
            names = ["speech", "noise"]
        super().__init__(items, rate=rate, channels=channels, names=names, seed=seed)
        check_range("snr", snr)
        self.snr = snr
        self.length = samples_of(seconds, rate)

    def draw(self, rng: np.random.Generator, index: int) -> np.ndarray:
        """Sources of an item, ``(J, channel, time)``."""
        makers = (self._tone, self._noise)
        sources = [0.1 * makers[j % 2](rng) for j in range(len(self.names))]
        levelled = [sources[0]] + [
            at_snr(sources[0], source, rng.uniform(*self.snr)) for source in sources[1:]
        ]
        gains = rng.uniform(0.5, 1, (len(levelled), self.channels, 1))
        gains[:, 0] = 1
        return gains * np.stack(levelled)[:, None]

    def _tone(self, rng: np.random.Generator) -> np.ndarray:
        time = np.arange(self.length) / self.rate
        pitch = rng.uniform(100, 250)
        phase = 2 * np.pi * pitch * time + rng.uniform(1, 3) * np.sin(2 * np.pi * 3 * time)
        harmonics = range(1, max(int(0.3 * self.rate / pitch), 2))
        tone = sum(np.sin(k * phase + rng.uniform(0, 6.28)) / k for k in harmonics)
        syllables = 0.5 - 0.5 * np.cos(2 * np.pi * (4 * time + rng.random()))
        return np.asarray(tone * syllables, dtype=np.float32)

    def _noise(self, rng: np.random.Generator) -> np.ndarray:
        white = np.fft.rfft(rng.standard_normal(self.length))
        spectrum = white / np.sqrt(1 + (np.fft.rfftfreq(self.length) / 0.02) ** 2)
        return np.fft.irfft(spectrum, n=self.length).astype(np.float32)
