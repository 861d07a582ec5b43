"""Mixtures of several speakers."""

from pathlib import Path

import numpy as np

from phaserec._xp import as_int
from unfolded.data.augmentation import NO_AUGMENTATION, Augmentation, check_range
from unfolded.data.files import AudioFile, audio_files
from unfolded.data.mixtures import Mixtures, at_snr, samples_of
from unfolded.data.pool import Pool


class SpeakersDataset(Mixtures):
    """Mixtures of J different speakers.

    Parameters
    ----------
    folder : str or Path
        Every subfolder, and every audio file beside them, is one speaker.
    n_speakers : int, default 2
        Number of speakers J in a mixture.
    items : int, default 1000
        Items of an epoch.
    seconds : float, default 4
        Length of an item.
    level : tuple of float, default (-5, 5)
        Range in dB of the level of the first speaker over each of the others.
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
        If there are fewer than J speakers with usable audio.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        n_speakers: int = 2,
        items: int = 1000,
        seconds: float = 4.0,
        level: tuple[float, float] = (-5.0, 5.0),
        augment: Augmentation | None = None,
        rate: int = 16000,
        channels: int = 1,
        seed: int = 0,
    ) -> None:
        n_speakers = as_int("n_speakers", n_speakers, 2, 1000)
        names = [f"speaker{j + 1}" for j in range(n_speakers)]
        super().__init__(items, rate=rate, channels=channels, names=names, seed=seed)
        check_range("level", level)
        self.level = level
        self.length = samples_of(seconds, rate)
        self.augment = NO_AUGMENTATION if augment is None else augment
        root = Path(folder)
        speakers: dict[str, list[AudioFile]] = {}
        for file in audio_files(root, channels=channels):
            speakers.setdefault(file.path.relative_to(root).parts[0], []).append(file)
        if len(speakers) < n_speakers:
            raise ValueError(
                f"{root} holds {len(speakers)} speaker(s), fewer than n_speakers={n_speakers}; "
                "every subfolder, or file beside them, is one speaker"
            )
        self.speakers = [Pool(files, rate, channels) for files in speakers.values()]

    def draw(self, rng: np.random.Generator, index: int) -> np.ndarray:
        """Sources of an item, ``(J, channel, time)``."""
        who = rng.choice(len(self.speakers), len(self.names), replace=False)
        voices = [
            self.augment.source(
                self.speakers[k].draw(rng, self.length, speed=self.augment.random_speed(rng)), rng
            )
            for k in who
        ]
        first = voices[0]
        others = [at_snr(first, voice, rng.uniform(*self.level)) for voice in voices[1:]]
        return self.augment.level(np.stack([first, *others]), rng)
