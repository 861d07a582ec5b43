"""Audio files in and out: soundfile for the formats, soxr for the rates."""

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Protocol

import numpy as np
import soundfile

from phaserec import _html
from phaserec._files import open_whole, read_whole, write_files
from phaserec._memory import check_memory
from phaserec._xp import as_array, to_numpy

_CONTAINERS = {
    ".wav": "WAV",
    ".flac": "FLAC",
    ".ogg": "OGG",
    ".oga": "OGG",
    ".opus": "OGG",
    ".mp3": "MP3",
    ".aif": "AIFF",
    ".aiff": "AIFF",
    ".aifc": "AIFF",
    ".au": "AU",
    ".caf": "CAF",
    ".w64": "W64",
}

# Lengths from here on stand for unknown ones, as in a FLAC file that was written to a pipe.
_UNKNOWN = 2**62

SUFFIXES = frozenset(_CONTAINERS)
"""Endings of names that are taken for audio files when a folder is searched."""


# Samples that are read at a time to be passed over.
_PIECE = 1 << 16
# Bytes of the widest sample, and of a WAV file at most, headers aside.
_WIDEST = 8
_MOST_OF_WAV = (1 << 32) - (1 << 16)
# Samples a byte that no file has: silence in FLAC comes to 5000.
_DENSEST = 1 << 14
# Seconds at most that a notebook stores of a sound that it shows.
_HEARD = 60


@dataclass(frozen=True)
class Audio:
    """Samples of an audio file, or any to listen to: in notebooks it is a player.

    Attributes
    ----------
    samples : ndarray, shape (channels, time)
        float32 samples.
    rate : int
        Sample rate in Hz.
    """

    samples: np.ndarray
    rate: int

    @property
    def channels(self) -> int:
        """Number of channels."""
        return self.samples.shape[0]

    @property
    def length(self) -> int:
        """Samples of each."""
        return self.samples.shape[1]

    def __repr__(self) -> str:
        facts = ", ".join(f"{fact} {name}" for name, fact in self._facts().items())
        return f"Audio({facts})"

    @property
    def _channels(self) -> np.ndarray:
        """Samples ``(channels, time)``, also of tensors and of a single channel."""
        return np.atleast_2d(to_numpy(as_array("samples", self.samples)))

    def _facts(self) -> dict[str, str]:
        """What it is, without the numbers."""
        channels, length = self._channels.shape
        return {
            "channels" if channels > 1 else "channel": str(channels),
            "Hz": f"{self.rate}",
            "s": f"{length / self.rate:.3f}",
        }

    def _repr_html_(self) -> str:
        """A player of the beginning, below the course of the first channel."""
        samples = self._channels[:, : _HEARD * self.rate]
        drawn = _html.table("Audio", self._facts()) + _html.outline(samples[0])
        try:
            sound = encode(samples, self.rate, subtype="PCM_16", container="FLAC")
        except ValueError:  # too many channels, say
            return drawn
        player = f'<br/><audio controls src="{_html.embedded("audio/flac", sound)}"></audio>'
        cut = samples.shape[1] < self._channels.shape[1]
        return drawn + player + (f" the first {_HEARD} s" if cut else "")


def read(
    source: str | os.PathLike,
    *,
    rate: int | None = None,
    offset: float = 0.0,
    duration: float | None = None,
) -> Audio:
    """Read an audio file or an excerpt of it, or standard input for ``"-"``.

    Parameters
    ----------
    source : str or path
        File in any format that libsndfile reads, or ``"-"``.
    rate : int, optional
        Sample rate in Hz to convert to; default the file's.
    offset : float, default 0
        Where to begin, in seconds.
    duration : float, optional
        Seconds to read; default to the end. What a file lacks of them, as by rounding, is left out.

    Returns
    -------
    Audio
        Finite samples, at least one.

    Raises
    ------
    ValueError
        If the file is not audio, is empty or ends before the excerpt, or holds non-finite samples.
    OSError
        If it cannot be opened.
    """
    name = "standard input" if source == "-" else os.fspath(source)
    stream = read_whole(sys.stdin.buffer, name) if source == "-" else open_whole(name)
    with stream:
        try:
            with soundfile.SoundFile(stream) as file:
                found = file.samplerate
                first = round(offset * found)
                if 0 < file.frames <= first:
                    raise ValueError(
                        f"{name} lasts {file.frames / found:g} seconds, and offset={offset:g} is "
                        "behind its end"
                    )
                if first:
                    file.seek(first)
                count = -1 if duration is None else round((offset + duration) * found) - first
                samples = _samples(file, name, count)
        except soundfile.LibsndfileError as error:
            raise ValueError(f"{name} is not a readable audio file: {error.error_string}") from None
        except TypeError:  # its name ends with .raw
            raise ValueError(f"{name} has no header; convert it to WAV first") from None
    check_rate(f"{name}: rate", found)
    if not len(samples):
        raise ValueError(f"{name} is empty: it holds no samples")
    if not np.all(np.isfinite(samples)):
        raise ValueError(f"{name} holds NaN or infinite samples; repair the file first")
    if rate is not None and rate != found:
        samples, found = resample(samples.T, found, rate).T, rate
    return Audio(np.ascontiguousarray(samples.T), found)


def _samples(file: soundfile.SoundFile, name: str, count: int) -> np.ndarray:
    """So many samples ``(time, channels)`` of an open file from where it is; -1 is all."""
    if file.frames >= _UNKNOWN:
        raise ValueError(f"{name} does not tell how long it is; convert it to WAV first")
    wanted = file.frames if count < 0 else min(count, file.frames)
    check_memory(
        f"{name}, which tells of {wanted} samples in {file.channels} channel(s),",
        8 * wanted * file.channels,
        "cut it into shorter files, or repair its header",
    )
    return file.read(count, dtype="float32", always_2d=True)


class Reader:
    """An audio file that is read a part at a time, in order.

    Parameters
    ----------
    path : str or path
        File in any format that libsndfile reads.

    Attributes
    ----------
    name : str
        Its name.
    rate, channels, length : int
        Sample rate in Hz, number of channels, and of samples of each.

    Raises
    ------
    ValueError
        If the file is not audio, is empty or does not tell how long it is.
    OSError
        If it cannot be opened.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.name = os.fspath(path)
        self._open()
        self.rate, self.channels = self._file.samplerate, self._file.channels
        self.length: int = self._file.frames
        check_rate(f"{self.name}: rate", self.rate)
        if not self.length:
            raise ValueError(f"{self.name} is empty: it holds no samples")
        if self.length >= _UNKNOWN:
            raise ValueError(f"{self.name} does not tell how long it is; convert it to WAV first")

    def _open(self) -> None:
        """Begin at the beginning."""
        stream = open_whole(self.name)
        try:
            self._file = soundfile.SoundFile(stream)
        except soundfile.LibsndfileError as error:
            stream.close()
            raise ValueError(
                f"{self.name} is not a readable audio file: {error.error_string}"
            ) from None
        except TypeError:  # its name ends with .raw
            stream.close()
            raise ValueError(f"{self.name} has no header; convert it to WAV first") from None
        self._stream = stream
        self._begin, self._kept = 0, np.zeros((self._file.channels, 0), np.float32)

    def read(self, begin: int, end: int) -> np.ndarray:
        """Read samples ``begin`` to ``end − 1``.

        Formats with losses have no exact places to go to, so files are read in order, and from the
        beginning again where ``begin`` is before that of the last call.

        Parameters
        ----------
        begin, end : int
            Range of samples.

        Returns
        -------
        ndarray, shape (channels, end − begin)
            float32 samples.

        Raises
        ------
        ValueError
            If they are not finite, or the file ends before.
        """
        if begin < self._begin:
            self.close()
            self._open()
        have = self._begin + self._kept.shape[1]
        while have < begin:  # what nobody wants
            have += len(self._more(min(begin - have, _PIECE)))
            self._begin, self._kept = have, self._kept[:, :0]
        new = self._more(end - have).T if end > have else self._kept[:, :0]
        found = np.concatenate([self._kept[:, begin - self._begin :], new], axis=1)
        self._begin, self._kept = begin, found
        return found[:, : end - begin].copy()

    def _more(self, count: int) -> np.ndarray:
        try:
            samples: np.ndarray = self._file.read(count, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            raise ValueError(
                f"{self.name}, which tells of {self.length} samples, cannot be read: "
                f"{error.error_string}; repair the file first"
            ) from None
        if len(samples) < count:
            raise ValueError(f"{self.name} ends before the {self.length} samples that it tells of")
        if not np.all(np.isfinite(samples)):
            raise ValueError(f"{self.name} holds NaN or infinite samples; repair the file first")
        return samples

    @property
    def is_plausible(self) -> bool:
        """Whether a file of its size can have as many samples as it tells of."""
        here = self._stream.tell()
        size = self._stream.seek(0, os.SEEK_END)
        self._stream.seek(here)
        return self.length <= _DENSEST * size

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        self._stream.close()


class Writer:
    """An audio file that is written a part at a time.

    Parameters
    ----------
    place : Path
        File to write.
    path : Path
        Name that it will have; its ending says the kind of file.
    rate, channels, length : int
        Sample rate in Hz, number of channels, and of samples of each. A WAV file of more than
        4 GiB is an RF64 file, as the European Broadcasting Union has it for these.
    subtype : str, optional
        Sample format; default as for :func:`encoding`.

    Raises
    ------
    ValueError
        If the format cannot hold this rate or number of channels.
    OSError
        If the file cannot be written.
    """

    def __init__(
        self,
        place: Path,
        path: Path,
        rate: int,
        channels: int,
        length: int,
        *,
        subtype: str | None = None,
    ) -> None:
        self._path = path
        container, self.kind = encoding(path, subtype)
        if container == "WAV" and length * channels * _WIDEST > _MOST_OF_WAV:
            container = "RF64"
        self.peak = 0.0
        place.open("wb").close()  # tells better why it cannot be written
        try:
            self._file = soundfile.SoundFile(
                os.fspath(place), "w", rate, channels, self.kind, format=container
            )
        except soundfile.LibsndfileError as error:
            raise ValueError(
                f"{channels} channel(s) at {rate} Hz cannot be written as {container} "
                f"{self.kind}: {error.error_string}"
            ) from None

    def write(self, samples: np.ndarray) -> None:
        """Append samples ``(channels, time)``; formats without floating point clip beyond ±1."""
        self.peak = max(self.peak, float(np.abs(samples).max(initial=0.0)))
        if not is_float(self.kind):
            samples = np.clip(samples, -1, 1)
        try:
            self._file.write(samples.T)
        except (soundfile.LibsndfileError, AssertionError):  # the latter for what is not all there
            raise OSError(f"{self._path} cannot be written to its end; is the disk full?") from None

    def close(self) -> None:
        """Write what is left, and close the file."""
        self._file.close()


def check_rate(what: str, rate: int) -> None:
    """Raise unless files can have a sample rate.

    Parameters
    ----------
    what : str
        Where it comes from and what it is called there, for the message.
    rate : int
        Sample rate in Hz.

    Raises
    ------
    ValueError
        If it is less than 1, or 2³¹ or more.
    """
    if not 1 <= rate < 2**31:
        raise ValueError(f"{what} {rate} must be a sample rate in Hz, from 1 to {2**31 - 1}")


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

    check_memory(
        f"{samples.size} samples at {new_rate} in place of {rate} Hz",
        8 * samples.size * new_rate / rate,
        "choose a lower rate, or shorter files",
    )
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
    check_alike(files, whole)
    return np.stack([file.samples for file in files.values()], axis=1)


class _Recording(Protocol):
    """What is known of audio files, read or not."""

    @property
    def rate(self) -> int:
        """Sample rate in Hz."""

    @property
    def channels(self) -> int:
        """Number of channels."""

    @property
    def length(self) -> int:
        """Samples of each."""


def check_alike(files: Mapping[str, _Recording], whole: _Recording | None) -> None:
    """Raise ValueError where a recording differs in rate, channels or length.

    Parameters
    ----------
    files : mapping of str to Audio or Reader
        The sources by name.
    whole : Audio, Reader or None
        The mixture that they are to agree with; None is the first of them.
    """
    first = whole or next(iter(files.values()))
    title = "the mixture" if whole else next(iter(files))
    for name, file in files.items():
        for what, mine, wanted in (
            ("sample rate", file.rate, first.rate),
            ("number of channels", file.channels, first.channels),
            ("length", file.length, first.length),
        ):
            if mine != wanted:
                raise ValueError(
                    f"{name} has {what} {mine}, but {title} has {wanted}; they must agree"
                )


def encoding(path: Path, subtype: str | None = None) -> tuple[str, str]:
    """Kind of file that a name asks for, and its sample format.

    Parameters
    ----------
    path : Path
        Name of the file; its ending says the kind.
    subtype : str, optional
        Sample format, such as ``"PCM_16"``; default ``"FLOAT"``, or the usual one of a kind of
        file that does not have it.

    Returns
    -------
    str, str
        Container and sample format, as soundfile names them.

    Raises
    ------
    ValueError
        If the ending or the sample format is not known, or they do not go together.
    """
    container = _CONTAINERS.get(path.suffix.lower())
    if container is None:
        raise ValueError(
            f"{path} does not end like an audio file; use one of {', '.join(_CONTAINERS)}"
        )
    known = _subtypes(container)
    if path.suffix.lower() == ".opus":
        known = ["OPUS"]
    if subtype is None:
        subtype = "FLOAT" if "FLOAT" in known else soundfile.default_subtype(container)
        subtype = subtype if subtype in known else known[0]
    if subtype not in known:
        raise ValueError(
            f"subtype={subtype!r} is not one of those of {path.suffix} files: {', '.join(known)}"
        )
    return container, subtype


@cache
def _subtypes(container: str) -> list[str]:
    return list(soundfile.available_subtypes(container))


def is_float(subtype: str) -> bool:
    """Whether a sample format holds samples beyond ±1."""
    return subtype in ("FLOAT", "DOUBLE")


def encode(
    samples: np.ndarray,
    rate: int,
    *,
    subtype: str = "FLOAT",
    container: str = "WAV",
    compression: float | None = None,
) -> bytes:
    """Audio file as bytes.

    Parameters
    ----------
    samples : ndarray, shape (channels, time)
        Samples; formats without floating point clip beyond ±1.
    rate : int
        Sample rate in Hz.
    subtype : str, default "FLOAT"
        Sample format, such as ``"PCM_16"``.
    container : str, default "WAV"
        Kind of file, such as ``"FLAC"``.
    compression : float, optional
        From 0, least, to 1, most; default that of the encoder.

    Returns
    -------
    bytes
        Contents of the file.

    Raises
    ------
    ValueError
        If the format cannot hold this rate or number of channels.
    """
    buffer = BytesIO()
    if not is_float(subtype):
        samples = np.clip(samples, -1, 1)  # some encoders read beyond their tables
    try:
        soundfile.write(
            buffer,
            samples.T,
            rate,
            format=container,
            subtype=subtype,
            compression_level=compression,
        )
    except soundfile.LibsndfileError as error:
        raise ValueError(
            f"{len(samples)} channel(s) at {rate} Hz cannot be written as {container} {subtype}: "
            f"{error.error_string}"
        ) from None
    _forget_time(buffer)
    return buffer.getvalue()


def _forget_time(wave: BytesIO) -> None:
    """Clear the time of day in the chunk of peaks of a WAV file: equal sounds are equal files."""
    with wave.getbuffer() as content:
        place = 12 if bytes(content[:4]) == b"RIFF" else len(content)
        while place + 16 <= len(content):
            name = bytes(content[place : place + 4])
            if name == b"PEAK":
                content[place + 12 : place + 16] = bytes(4)
            if name in (b"PEAK", b"data"):
                return
            size = int.from_bytes(content[place + 4 : place + 8], "little")
            place += 8 + size + size % 2


def write(
    paths: Sequence[Path],
    waveforms: Sequence[np.ndarray],
    rate: int,
    *,
    subtype: str | None = None,
) -> None:
    """Write audio files, all of them or none: to temporary names first, then renamed.

    Parameters
    ----------
    paths : sequence of Path
        Where to write; the endings say the kinds of file.
    waveforms : sequence of ndarray, shape (channels, time)
        One for each path.
    rate : int
        Sample rate in Hz.
    subtype : str, optional
        Sample format, such as ``"PCM_16"``; default as for :func:`encoding`.

    Raises
    ------
    ValueError
        If a format is not known or cannot hold the samples.
    OSError
        If a file cannot be written.
    """
    write_files(paths, encoded(paths, waveforms, rate, subtype=subtype))


def encoded(
    paths: Sequence[Path],
    waveforms: Sequence[np.ndarray],
    rate: int,
    *,
    subtype: str | None = None,
) -> Iterator[bytes]:
    """Contents of audio files, one after the other, for :func:`phaserec._files.write_files`.

    Parameters
    ----------
    paths, waveforms, rate, subtype
        As for :func:`write`.

    Yields
    ------
    bytes
        Content of a file.

    Raises
    ------
    ValueError
        As :func:`write`.
    """
    for path, samples in zip(paths, waveforms, strict=True):
        container, kind = encoding(path, subtype)
        yield encode(samples, rate, subtype=kind, container=container)


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
