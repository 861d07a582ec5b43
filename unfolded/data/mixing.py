"""Speech and noise mixed on the fly."""

from pathlib import Path

import numpy as np

from unfolded.data.augmentation import NO_AUGMENTATION, Augmentation, check_range
from unfolded.data.files import audio_files
from unfolded.data.mixtures import Mixtures, at_snr, samples_of
from unfolded.data.pool import Pool


class MixingDataset(Mixtures):
    """Speech and noise mixed on the fly, J = 2: speech, noise.

    Parameters
    ----------
    speech, noise : str or Path
        Folders; long files are read by the stretch.
    items : int, default 1000
        Items of an epoch.
    seconds : float, default 4
        Length of an item.
    snr : tuple of float, default (-5, 15)
        Range of the signal-to-noise ratio in dB.
    augment : Augmentation, optional
        Random changes; none by default.
    rate : int, default 16000
        Sample rate in Hz; files of other rates are resampled.
    channels : int, default 1
        Number of channels.
    seed : int, default 0
        Seed.

    Raises
    ------
    ValueError, OSError
        If a folder holds no usable audio, or a value is out of range.
    """

    def __init__(
        self,
        speech: str | Path,
        noise: str | Path,
        *,
        items: int = 1000,
        seconds: float = 4.0,
        snr: tuple[float, float] = (-5.0, 15.0),
        augment: Augmentation | None = None,
        rate: int = 16000,
        channels: int = 1,
        seed: int = 0,
    ) -> None:
        super().__init__(items, rate=rate, channels=channels, names=("speech", "noise"), seed=seed)
        check_range("snr", snr)
        self.snr = snr
        self.length = samples_of(seconds, rate)
        self.augment = NO_AUGMENTATION if augment is None else augment
        self.speech = Pool(audio_files(speech, channels=channels), rate, channels)
        self.noise = Pool(audio_files(noise, channels=channels), rate, channels)

    def draw(self, rng: np.random.Generator, index: int) -> np.ndarray:
        """Speech and noise of an item, ``(2, channel, time)``."""
        augment = self.augment
        speech = self.speech.draw(rng, self.length, speed=augment.random_speed(rng))
        noise = self._noise(rng)
        if rng.random() < augment.second_noise:
            noise = noise + at_snr(noise, self._noise(rng), rng.uniform(-5, 5))
        speech, noise = augment.source(speech, rng), augment.source(noise, rng)
        noise = at_snr(speech, noise, rng.uniform(*self.snr))
        return augment.level(np.stack([speech, noise]), rng)

    def _noise(self, rng: np.random.Generator) -> np.ndarray:
        return self.noise.draw(rng, self.length, speed=self.augment.random_speed(rng), loop=True)
