"""Audio files that can be used, and stretches of them."""

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from phaserec.audio import SUFFIXES
from phaserec.corpus import folders


class AudioFileWarning(UserWarning):
    """A file that cannot be used was left out."""


_reported: set[Path] = set()


def report(path: Path, reason: str) -> None:
    """Warn once a file (and process) that it is left out."""
    if path not in _reported:
        _reported.add(path)
        warnings.warn(f"{path} is left out: {reason}", AudioFileWarning, stacklevel=2)


@dataclass(frozen=True)
class AudioFile:
    """An audio file that can be opened.

    Attributes
    ----------
    path : Path
        Where it is.
    rate : int
        Sample rate in Hz.
    frames : int
        Length in samples.
    channels : int
        Number of channels.
    """

    path: Path
    rate: int
    frames: int
    channels: int

    def read(self, start: int, frames: int, channels: int) -> np.ndarray | None:
        """Read a stretch; a file that turns out to be damaged is reported.

        Parameters
        ----------
        start, frames : int
            First sample and number of samples.
        channels : int
            Channels to return: the mean for one, the first ones otherwise; a mono file is
            repeated.

        Returns
        -------
        ndarray, shape (channels, frames), or None
            float32 samples, or None where the file cannot be read or is not finite.
        """
        try:
            samples, _ = soundfile.read(self.path, frames, start, dtype="float32", always_2d=True)
        except (soundfile.LibsndfileError, OSError) as error:
            report(self.path, f"it cannot be read ({error})")
            return None
        if len(samples) < frames:
            report(self.path, f"it ends before the {self.frames} samples that its header tells")
            return None
        if not np.isfinite(samples).all():
            report(self.path, "it holds NaN or infinite samples")
            return None
        if channels == 1:
            return samples.mean(axis=1, dtype=np.float32)[None]
        if self.channels == 1:
            return np.repeat(samples.T, channels, axis=0)
        return np.ascontiguousarray(samples.T[:channels])


def _probe(path: Path, channels: int) -> AudioFile | None:
    try:
        info = soundfile.info(str(path))
    except (soundfile.LibsndfileError, OSError) as error:
        report(path, f"it is not a readable audio file ({error})")
        return None
    if info.frames < 1:
        report(path, "it is empty")
        return None
    if 1 < info.channels < channels:
        report(path, f"it has {info.channels} channels, but {channels} are asked for")
        return None
    return AudioFile(path, info.samplerate, info.frames, info.channels)


def audio_files(path: str | Path, *, channels: int = 1) -> list[AudioFile]:
    """Usable audio files in a folder and its subfolders, or one file, sorted by name.

    Parameters
    ----------
    path : str or Path
        Folder or file. Only names that end like audio (``.wav``, ``.flac``, ``.ogg``, …) count.
    channels : int, default 1
        Channels that will be asked for.

    Returns
    -------
    list of AudioFile
        The files; damaged and empty ones are reported as :class:`AudioFileWarning`.

    Raises
    ------
    ValueError
        If there is no usable file.
    OSError
        If the path does not exist.
    """
    folder = Path(path)
    if not folder.exists():
        raise FileNotFoundError(f"{folder}: no such file or folder")
    names = [folder / name for name in folders.audio_files(folder)] if folder.is_dir() else [folder]
    names = [name for name in names if name.suffix.lower() in SUFFIXES and name.is_file()]
    found = [file for name in names if (file := _probe(name, channels)) is not None]
    if not found:
        held = f"{len(names)} audio file(s), none of them usable" if names else "no audio files"
        raise ValueError(f"{folder} holds {held}; files end with {', '.join(sorted(SUFFIXES))}")
    return found


def file_pairs(folder: str | Path, *, channels: int = 1) -> list[tuple[AudioFile, AudioFile]]:
    """Pairs of files with equal names, rates and lengths in ``clean/`` and ``noisy/``.

    Parameters
    ----------
    folder : str or Path
        Folder with the two subfolders.
    channels : int, default 1
        Channels that will be asked for.

    Returns
    -------
    list of (AudioFile, AudioFile)
        Clean and noisy files; others are reported as :class:`AudioFileWarning`.

    Raises
    ------
    ValueError, OSError
        If there is no pair.
    """
    folder = Path(folder)
    both = {
        name: {file.path.relative_to(folder / name): file for file in files}
        for name in ("clean", "noisy")
        if (files := audio_files(folder / name, channels=channels))
    }
    pairs = []
    for name, clean in both["clean"].items():
        noisy = both["noisy"].pop(name, None)
        if noisy is None:
            report(clean.path, f"there is no usable {folder / 'noisy' / name}")
        elif (clean.rate, clean.frames) != (noisy.rate, noisy.frames):
            report(
                clean.path,
                f"it has {clean.frames} samples at {clean.rate} Hz, but {noisy.path} has "
                f"{noisy.frames} at {noisy.rate} Hz",
            )
        else:
            pairs.append((clean, noisy))
    for noisy in both["noisy"].values():
        report(noisy.path, f"there is no usable file of its name in {folder / 'clean'}")
    if not pairs:
        raise ValueError(f"{folder}: no file of clean/ has a partner of its name in noisy/")
    return pairs
