"""Audio files in and out: soundfile for the formats, soxr for the rates."""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from phaserec._files import write_files

SUFFIXES = frozenset(
    (
        ".wav",
        ".flac",
        ".ogg",
        ".oga",
        ".opus",
        ".mp3",
        ".aif",
        ".aiff",
        ".aifc",
        ".au",
        ".caf",
        ".w64",
    )
)
"""Endings of names that are taken for audio files when a folder is searched."""


@dataclass(frozen=True)
class Audio:
    """Samples of an audio file.

    Attributes
    ----------
    samples : ndarray, shape (channels, time)
        float32 samples.
    rate : int
        Sample rate in Hz.
    """

    samples: np.ndarray
    rate: int


def read(source: str | os.PathLike, *, rate: int | None = None) -> Audio:
    """Read an audio file, or standard input for ``"-"``.

    Parameters
    ----------
    source : str or path
        File in any format that libsndfile reads, or ``"-"``.
    rate : int, optional
        Sample rate in Hz to convert to; default the file's.

    Returns
    -------
    Audio
        Finite samples, at least one.

    Raises
    ------
    ValueError
        If the file is not audio, is empty or holds non-finite samples.
    OSError
        If it cannot be opened.
    """
    name = "standard input" if source == "-" else os.fspath(source)
    stream: Any = name
    if source == "-":
        stream = BytesIO(sys.stdin.buffer.read())
    elif os.path.isdir(name):
        raise ValueError(f"{name} is a folder, not an audio file")
    elif not os.path.exists(name):
        raise FileNotFoundError(f"{name}: no such file")
    try:
        samples, found = soundfile.read(stream, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise ValueError(f"{name} is not a readable audio file: {error.error_string}") from None
    if not len(samples):
        raise ValueError(f"{name} is empty: it holds no samples")
    if not np.all(np.isfinite(samples)):
        raise ValueError(f"{name} holds NaN or infinite samples; repair the file first")
    if rate is not None and rate != found:
        samples, found = resample(samples.T, found, rate).T, rate
    return Audio(np.ascontiguousarray(samples.T), found)


def resample(samples: np.ndarray, rate: int, new_rate: int) -> np.ndarray:
    """Resample with soxr's very high quality setting.

    Parameters
    ----------
    samples : ndarray, shape (..., time)
        Real waveforms.
    rate, new_rate : int
        Sample rates in Hz.

    Returns
    -------
    ndarray, shape (..., new time)
        Resampled waveforms.
    """
    import soxr

    flat = np.ascontiguousarray(samples.reshape(-1, samples.shape[-1]).T)
    out = soxr.resample(flat, rate, new_rate, quality="VHQ")
    return np.ascontiguousarray(out.T).reshape(*samples.shape[:-1], -1)


def stack(files: dict[str, Audio], whole: Audio | None) -> np.ndarray:
    """Waveforms of sources side by side.

    Parameters
    ----------
    files : dict of str to Audio
        The sources by name.
    whole : Audio or None
        The mixture whose rate, channels and length they must have; None is the first of them.

    Returns
    -------
    ndarray, shape (channels, J, time)
        Samples.

    Raises
    ------
    ValueError
        If one differs in rate, channels or length.
    """
    first = whole or next(iter(files.values()))
    title = "the mixture" if whole else next(iter(files))
    for name, file in files.items():
        for what, mine, wanted in (
            ("sample rate", file.rate, first.rate),
            ("number of channels", file.samples.shape[0], first.samples.shape[0]),
            ("length", file.samples.shape[1], first.samples.shape[1]),
        ):
            if mine != wanted:
                raise ValueError(
                    f"{name} has {what} {mine}, but {title} has {wanted}; they must agree"
                )
    return np.stack([file.samples for file in files.values()], axis=1)


def check_subtype(subtype: str) -> None:
    """Raise ValueError unless WAV files can have this sample format."""
    known = soundfile.available_subtypes("WAV")
    if subtype not in known:
        raise ValueError(f"subtype={subtype!r} is not one of {', '.join(known)}")


def encode(
    samples: np.ndarray, rate: int, *, subtype: str = "FLOAT", container: str = "WAV"
) -> bytes:
    """Audio file as bytes.

    Parameters
    ----------
    samples : ndarray, shape (channels, time)
        Samples; integer formats clip beyond ±1.
    rate : int
        Sample rate in Hz.
    subtype : str, default "FLOAT"
        Sample format, such as ``"PCM_16"``.
    container : str, default "WAV"
        Kind of file, such as ``"FLAC"``.

    Returns
    -------
    bytes
        Contents of the file.
    """
    buffer = BytesIO()
    soundfile.write(buffer, samples.T, rate, format=container, subtype=subtype)
    return buffer.getvalue()


def write(
    paths: Sequence[Path], waveforms: Sequence[np.ndarray], rate: int, *, subtype: str = "FLOAT"
) -> None:
    """Write WAV files, all of them or none: to temporary names first, then renamed.

    Parameters
    ----------
    paths : sequence of Path
        Where to write.
    waveforms : sequence of ndarray, shape (channels, time)
        One for each path.
    rate : int
        Sample rate in Hz.
    subtype : str, default "FLOAT"
        Sample format, such as ``"PCM_16"``.

    Raises
    ------
    OSError
        If a file cannot be written.
    """
    check_subtype(subtype)
    write_files(paths, (encode(samples, rate, subtype=subtype) for samples in waveforms))


def example() -> tuple[Audio, dict[str, Audio]]:
    """The example that ships: a mixture of synthetic speech and noise, and its sources.

    Returns
    -------
    Audio
        The mixture.
    dict of str to Audio
        The sources by name; they sum to the mixture.
    """
    folder = Path(__file__).parent / "example"
    sources = {name: read(folder / f"{name}.flac") for name in ("speech", "noise")}
    return read(folder / "mixture.flac"), sources
