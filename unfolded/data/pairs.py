"""Pairs of clean and noisy files."""

from pathlib import Path

import numpy as np

from unfolded.data.files import AudioFile, file_pairs
from unfolded.data.mixtures import Mixtures, samples_of
from unfolded.data.pool import TRIES, resampled


class PairedDataset(Mixtures):
    """Pairs of files in the layout of VoiceBank + DEMAND, J = 2: speech, noise.

    The folder holds ``clean/`` and ``noisy/`` with equal file names; noise is noisy − clean.

    Parameters
    ----------
    folder : str or Path
        Folder with the two subfolders.
    seconds : float, optional
        Length of a random crop, the end of shorter files being filled with zeros; default: whole
        files, which go into batches of one.
    rate : int, default 16000
        Sample rate in Hz; files of other rates are resampled.
    channels : int, default 1
        Number of channels.
    seed : int, default 0
        Seed.

    Raises
    ------
    ValueError, OSError
        If there is no usable pair.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        seconds: float | None = None,
        rate: int = 16000,
        channels: int = 1,
        seed: int = 0,
    ) -> None:
        self.pairs = file_pairs(folder, channels=channels)
        super().__init__(
            len(self.pairs), rate=rate, channels=channels, names=("speech", "noise"), seed=seed
        )
        self.length = None if seconds is None else samples_of(seconds, rate)

    def draw(self, rng: np.random.Generator, index: int) -> np.ndarray:
        """Speech and noise of a pair, ``(2, channel, time)``; another pair for a damaged one."""
        for _ in range(TRIES):
            pair = self._crop(rng, *self.pairs[index])
            if pair is not None:
                clean, noisy = pair
                return np.stack([clean, noisy - clean])
            index = int(rng.integers(len(self.pairs)))
        raise ValueError(
            f"no readable, finite pair in {TRIES} tries, such as {self.pairs[0][0].path}"
        )

    def _crop(
        self, rng: np.random.Generator, clean: AudioFile, noisy: AudioFile
    ) -> tuple[np.ndarray, np.ndarray] | None:
        frames, start = clean.frames, 0
        if self.length is not None:
            frames = min(int(np.ceil(self.length * clean.rate / self.rate)), frames)
            start = int(rng.integers(clean.frames - frames + 1))
        pair = [file.read(start, frames, self.channels) for file in (clean, noisy)]
        if pair[0] is None or pair[1] is None:
            return None
        both = resampled(np.concatenate([pair[0], pair[1]]), clean.rate, self.rate)
        if self.length is not None:
            both = both[:, : self.length]
            both = np.pad(both, ((0, 0), (0, self.length - both.shape[1])))
        return both[: self.channels], both[self.channels :]
