"""One recording of a corpus and the files that belong to it: what a manifest has a line for."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from phaserec import audio


@dataclass(frozen=True)
class Entry:
    """Files of an item of a corpus.

    Attributes
    ----------
    name : str
        What it is called in its corpus; parts between ``/`` become folders.
    recording : Path or None
        The mixture where there are sources or magnitudes, else a recording by itself.
    estimates : mapping of str to Path
        Estimated sources by name.
    references : mapping of str to Path
        True sources by name.
    magnitudes : Path or None
        File of magnitudes.
    remainder : str or None
        Name of the source that is what the others leave of the mixture, and has no file.
    offset : float
        Where the excerpt of every sound file begins, in seconds.
    duration : float or None
        Seconds of the excerpt; None is to the end.
    channels : tuple of int or None
        Channels of the recording, from 0; None is all.
    """

    name: str
    recording: Path | None = None
    estimates: Mapping[str, Path] = field(default_factory=dict)
    references: Mapping[str, Path] = field(default_factory=dict)
    magnitudes: Path | None = None
    remainder: str | None = None
    offset: float = 0.0
    duration: float | None = None
    channels: tuple[int, ...] | None = None

    @property
    def paths(self) -> list[Path]:
        """Every file that is read."""
        named = [self.recording, *self.estimates.values(), *self.references.values()]
        return [path for path in (*named, self.magnitudes) if path is not None]

    @property
    def alone(self) -> bool:
        """Whether there is no mixture: a recording by itself, or magnitudes."""
        return self.recording is None or not (self.estimates or self.magnitudes)

    @property
    def description(self) -> dict[str, object]:
        """What a result depends on beside the content of the files, as JSON has it."""
        return {
            "name": self.name,
            "estimates": list(self.estimates),
            "references": list(self.references),
            "magnitudes": self.magnitudes is not None,
            "remainder": self.remainder,
            "offset": self.offset,
            "duration": self.duration,
            "channels": self.channels,
        }

    def read(self) -> audio.Audio:
        """The recording, or its excerpt.

        Returns
        -------
        Audio
            Samples ``(channels, time)``.

        Raises
        ------
        ValueError, OSError
            If it cannot be read or lacks a channel.
        """
        assert self.recording is not None
        found = self._read(self.recording)
        if self.channels is None:
            return found
        if max(self.channels) >= len(found.samples):
            raise ValueError(
                f"{self.recording} has {len(found.samples)} channel(s), and channel "
                f"{max(self.channels)}, counted from 0, is asked for"
            )
        return audio.Audio(found.samples[list(self.channels)], found.rate)

    def sources(
        self, files: Mapping[str, Path], whole: audio.Audio
    ) -> tuple[list[str], np.ndarray]:
        """Sources and what they leave of the mixture, where that is one.

        Parameters
        ----------
        files : mapping of str to Path
            Estimates or references.
        whole : Audio
            The mixture.

        Returns
        -------
        list of str
            Their names.
        ndarray, shape (channels, J, time)
            Their samples.

        Raises
        ------
        ValueError, OSError
            If one cannot be read or does not agree with the mixture.
        """
        waves = audio.stack({str(path): self._read(path) for path in files.values()}, whole)
        names = list(files)
        if self.remainder is not None and self.remainder not in names:
            rest = whole.samples - waves.sum(axis=1)
            waves = np.concatenate([waves, rest[:, None]], axis=1)
            names.append(self.remainder)
        return names, waves

    @property
    def _read(self) -> "partial[audio.Audio]":
        return partial(audio.read, offset=self.offset, duration=self.duration)


def shard(entries: Iterator[Entry], place: tuple[int, int]) -> Iterator[Entry]:
    """Every n-th entry: those of one of n jobs of an array.

    Parameters
    ----------
    entries : iterator of Entry
        Entries, in the same order for all jobs.
    place : tuple of int
        Which job, from 1, and how many there are.

    Yields
    ------
    Entry
        Entries i, i + n, i + 2n, … counted from 1.
    """
    first, count = place
    for number, entry in enumerate(entries):
        if number % count == first - 1:
            yield entry
