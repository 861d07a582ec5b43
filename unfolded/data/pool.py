"""Audio files as one long recording to draw from."""

from collections.abc import Sequence

import numpy as np

from unfolded.data.files import AudioFile

# How often an item draws again when it met a damaged or a silent stretch of audio.
TRIES = 20


class Pool:
    """Audio files as one long recording to draw stretches from.

    Parameters
    ----------
    files : sequence of AudioFile
        The files.
    rate : int
        Sample rate in Hz of what is drawn.
    channels : int, default 1
        Channels of what is drawn.
    """

    def __init__(self, files: Sequence[AudioFile], rate: int, channels: int = 1) -> None:
        self.files = list(files)
        self.rate = rate
        self.channels = channels
        seconds = np.array([file.frames / file.rate for file in files])
        self._ends = np.cumsum(seconds) / seconds.sum()

    def draw(
        self, rng: np.random.Generator, length: int, *, speed: float = 1.0, loop: bool = False
    ) -> np.ndarray:
        """Draw a stretch at random; files count by their duration.

        Parameters
        ----------
        rng : Generator
            Source of randomness.
        length : int
            Samples, at the rate of the pool.
        speed : float, default 1
            How much faster (and higher) it is played.
        loop : bool, default False
            Repeat files that are too short; otherwise zeros surround them.

        Returns
        -------
        ndarray, shape (channels, length)
            float32 samples; silent only if silence is all that was found.

        Raises
        ------
        ValueError
            If every file that was tried is damaged.
        """
        silence = None
        for _ in range(TRIES):
            which = int(np.searchsorted(self._ends, rng.random(), side="right"))
            file = self.files[min(which, len(self.files) - 1)]
            samples = self._stretch(file, rng, length, speed, loop)
            if samples is not None and samples.any():
                return samples
            silence = samples if silence is None else silence
        if silence is None:
            raise ValueError(
                f"no readable, finite audio in {TRIES} tries among {len(self.files)} file(s), "
                f"such as {self.files[0].path}"
            )
        return silence

    def _stretch(
        self, file: AudioFile, rng: np.random.Generator, length: int, speed: float, loop: bool
    ) -> np.ndarray | None:
        rate = file.rate * speed
        wanted = int(np.ceil(length * rate / self.rate))
        start = int(rng.integers(max(file.frames - wanted, 0) + 1))
        samples = file.read(start, min(wanted, file.frames), self.channels)
        if samples is None:
            return None
        if loop and samples.shape[1] < wanted:
            begin = int(rng.integers(samples.shape[1]))
            samples = np.take(samples, np.arange(begin, begin + wanted), axis=1, mode="wrap")
        samples = resampled(samples, rate, self.rate)[:, :length]
        # A whole stretch may miss a sample by rounding, which belongs to its end.
        room = length - samples.shape[1]
        left = int(rng.integers(room + 1)) if wanted > file.frames and not loop else 0
        return np.pad(samples, ((0, 0), (left, room - left)))


def resampled(samples: np.ndarray, rate: float, new_rate: float) -> np.ndarray:
    if rate == new_rate:
        return samples
    import soxr

    out = soxr.resample(np.ascontiguousarray(samples.T), rate, new_rate, quality="HQ")
    return np.ascontiguousarray(out.T)
