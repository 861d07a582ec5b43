"""Training and test mixtures: mixed on the fly, read in pairs, of several speakers, or synthetic.

An item depends on the seed, the epoch and its index alone: neither on the number of workers or
processes nor on the order in which items are asked for.
"""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from phaserec._xp import as_int
from phaserec.audio import SUFFIXES
from phaserec.corpus import folders

# Items of an epoch, whose order is in memory.
_MOST_ITEMS = 10**8
# How often an item draws again when it met a damaged or a silent stretch of audio.
_TRIES = 20


class AudioFileWarning(UserWarning):
    """A file that cannot be used was left out."""


_reported: set[Path] = set()


def _report(path: Path, reason: str) -> None:
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
            _report(self.path, f"it cannot be read ({error})")
            return None
        if len(samples) < frames:
            _report(self.path, f"it ends before the {self.frames} samples that its header tells")
            return None
        if not np.isfinite(samples).all():
            _report(self.path, "it holds NaN or infinite samples")
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
        _report(path, f"it is not a readable audio file ({error})")
        return None
    if info.frames < 1:
        _report(path, "it is empty")
        return None
    if 1 < info.channels < channels:
        _report(path, f"it has {info.channels} channels, but {channels} are asked for")
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
        for _ in range(_TRIES):
            which = int(np.searchsorted(self._ends, rng.random(), side="right"))
            file = self.files[min(which, len(self.files) - 1)]
            samples = self._stretch(file, rng, length, speed, loop)
            if samples is not None and samples.any():
                return samples
            silence = samples if silence is None else silence
        if silence is None:
            raise ValueError(
                f"no readable, finite audio in {_TRIES} tries among {len(self.files)} file(s), "
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
        samples = _resample(samples, rate, self.rate)[:, :length]
        # A whole stretch may miss a sample by rounding, which belongs to its end.
        room = length - samples.shape[1]
        left = int(rng.integers(room + 1)) if wanted > file.frames and not loop else 0
        return np.pad(samples, ((0, 0), (left, room - left)))


def _resample(samples: np.ndarray, rate: float, new_rate: float) -> np.ndarray:
    if rate == new_rate:
        return samples
    import soxr

    out = soxr.resample(np.ascontiguousarray(samples.T), rate, new_rate, quality="HQ")
    return np.ascontiguousarray(out.T)


def check_range(name: str, value: Sequence[float]) -> None:
    """Refuse a range that is not one.

    Parameters
    ----------
    name : str
        What it is called in the message.
    value : sequence of float
        The range.

    Raises
    ------
    ValueError
        Unless it is two finite numbers in order.
    """
    if len(value) != 2 or not np.isfinite(value).all() or value[0] > value[1]:
        raise ValueError(f"{name}={value!r} must be two finite numbers, the smaller one first")


@dataclass(frozen=True)
class Augmentation:
    """Random changes of training audio; every one can be turned off.

    Attributes
    ----------
    gain : tuple of float, default (-6, 6)
        Range in dB of the gain of the mixture and its sources.
    speed : float, default 0.05
        Largest relative change of speed (by resampling) of a source.
    polarity : bool, default True
        Flip the sign of each source at random.
    second_noise : float, default 0.3
        Probability of a second noise on top of the first.
    equaliser : float, default 3
        Largest gain in dB of a smooth random filter on each source.
    lowpass : float, default 0
        Probability that a source loses what is above a random frequency, between an eighth and
        a half of the sample rate.

    Raises
    ------
    ValueError
        If a value is out of range.
    """

    gain: tuple[float, float] = (-6.0, 6.0)
    speed: float = 0.05
    polarity: bool = True
    second_noise: float = 0.3
    equaliser: float = 3.0
    lowpass: float = 0.0

    def __post_init__(self) -> None:
        check_range("gain", self.gain)
        for name, high in (("speed", 0.5), ("second_noise", 1), ("equaliser", 40), ("lowpass", 1)):
            value = getattr(self, name)
            if not 0 <= value <= high:
                raise ValueError(f"{name}={value!r} must be between 0 and {high}")

    def random_speed(self, rng: np.random.Generator) -> float:
        """Speed to play a source at.

        Parameters
        ----------
        rng : Generator
            Source of randomness.

        Returns
        -------
        float
            Relative speed.
        """
        # A few steps only: resampling by an arbitrary ratio designs a filter each time.
        return 1 + self.speed * int(rng.integers(-4, 5)) / 4

    def source(self, samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Change the sign and colour of a source.

        Parameters
        ----------
        samples : ndarray, shape (channels, time)
            The source.
        rng : Generator
            Source of randomness.

        Returns
        -------
        ndarray, shape (channels, time)
            The source, changed.
        """
        if self.polarity and rng.random() < 0.5:
            samples = -samples
        frequency = np.fft.rfftfreq(samples.shape[-1])  # in cycles a sample
        response = np.ones_like(frequency)
        if self.equaliser > 0:
            # Five points an equal distance apart on a logarithmic axis over five octaves.
            octave = np.log2(np.maximum(frequency, 2.0**-6) / 2.0**-6)
            gains = rng.uniform(-self.equaliser, self.equaliser, 5)
            response = 10 ** (np.interp(octave, np.linspace(0, 5, 5), gains) / 20)
        if self.lowpass > 0 and rng.random() < self.lowpass:
            cutoff = rng.uniform(0.125, 0.5)
            response = response / np.sqrt(1 + (frequency / cutoff) ** 16)
        elif self.equaliser == 0:
            return samples
        spectrum = np.fft.rfft(samples) * response
        return np.fft.irfft(spectrum, n=samples.shape[-1]).astype(np.float32)

    def level(self, sources: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Scale the sources of a mixture together.

        Parameters
        ----------
        sources : ndarray, shape (J, channels, time)
            The sources.
        rng : Generator
            Source of randomness.

        Returns
        -------
        ndarray, shape (J, channels, time)
            The sources, scaled.
        """
        return _gain(rng.uniform(*self.gain)) * sources


NO_AUGMENTATION = Augmentation((0.0, 0.0), 0.0, False, 0.0, 0.0, 0.0)


def _gain(decibel: float) -> np.float32:
    return np.float32(10 ** (decibel / 20))


def _rms(samples: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))


def _at_snr(speech: np.ndarray, noise: np.ndarray, snr: float) -> np.ndarray:
    """Noise at ``snr`` dB below the speech; as it is where one of them is silent."""
    loud, quiet = _rms(speech), _rms(noise)
    if loud == 0 or quiet == 0:
        return noise
    return np.float32(loud / quiet) * _gain(-snr) * noise


class Mixtures(Dataset[dict[str, Tensor]], ABC):
    """Base of the data sets: items are ``{"mixture", "sources"}`` and sum exactly.

    ``mixture`` has shape (channel, time), ``sources`` (J, channel, time), both float32, and
    ``mixture`` is ``sources.sum(0)``.

    Parameters
    ----------
    n_items : int
        Items of an epoch.
    rate : int
        Sample rate in Hz.
    channels : int
        Number of channels.
    names : sequence of str
        Names of the J sources.
    seed : int
        Seed of everything random.
    """

    def __init__(
        self, n_items: int, *, rate: int, channels: int, names: Sequence[str], seed: int
    ) -> None:
        self.n_items = as_int("items", n_items, 1, _MOST_ITEMS)
        self.rate = as_int("sample_rate", rate, 1)
        self.channels = as_int("channels", channels, 1)
        self.seed = as_int("seed", seed, 0)
        self.names = tuple(names)
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Go to an epoch; its random draws are its own.

        Parameters
        ----------
        epoch : int
            Number of the epoch, from 0.
        """
        self.epoch = as_int("epoch", epoch, 0)

    def __len__(self) -> int:
        return self.n_items

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        if not 0 <= index < self.n_items:
            raise IndexError(f"index {index} is not between 0 and {self.n_items - 1}")
        rng = np.random.default_rng([self.seed, self.epoch, index])
        sources = torch.from_numpy(np.ascontiguousarray(self.draw(rng, index), dtype=np.float32))
        return {"mixture": sources.sum(0), "sources": sources}

    @abstractmethod
    def draw(self, rng: np.random.Generator, index: int) -> np.ndarray:
        """Sources of an item.

        Parameters
        ----------
        rng : Generator
            Source of randomness, the item's own.
        index : int
            Which item.

        Returns
        -------
        ndarray, shape (J, channel, time)
            Real samples.
        """


def _samples(seconds: float, rate: int) -> int:
    length = round(seconds * rate) if np.isfinite(seconds) else 0
    if length < 1:
        raise ValueError(f"seconds={seconds!r} must be positive and hold a sample at {rate} Hz")
    return length


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
        self.length = _samples(seconds, rate)
        self.augment = NO_AUGMENTATION if augment is None else augment
        self.speech = Pool(audio_files(speech, channels=channels), rate, channels)
        self.noise = Pool(audio_files(noise, channels=channels), rate, channels)

    def draw(self, rng: np.random.Generator, index: int) -> np.ndarray:
        """Speech and noise of an item, ``(2, channel, time)``."""
        augment = self.augment
        speech = self.speech.draw(rng, self.length, speed=augment.random_speed(rng))
        noise = self._noise(rng)
        if rng.random() < augment.second_noise:
            noise = noise + _at_snr(noise, self._noise(rng), rng.uniform(-5, 5))
        speech, noise = augment.source(speech, rng), augment.source(noise, rng)
        noise = _at_snr(speech, noise, rng.uniform(*self.snr))
        return augment.level(np.stack([speech, noise]), rng)

    def _noise(self, rng: np.random.Generator) -> np.ndarray:
        return self.noise.draw(rng, self.length, speed=self.augment.random_speed(rng), loop=True)


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
        self.length = None if seconds is None else _samples(seconds, rate)

    def draw(self, rng: np.random.Generator, index: int) -> np.ndarray:
        """Speech and noise of a pair, ``(2, channel, time)``; another pair for a damaged one."""
        for _ in range(_TRIES):
            pair = self._crop(rng, *self.pairs[index])
            if pair is not None:
                clean, noisy = pair
                return np.stack([clean, noisy - clean])
            index = int(rng.integers(len(self.pairs)))
        raise ValueError(
            f"no readable, finite pair in {_TRIES} tries, such as {self.pairs[0][0].path}"
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
        both = _resample(np.concatenate([pair[0], pair[1]]), clean.rate, self.rate)
        if self.length is not None:
            both = both[:, : self.length]
            both = np.pad(both, ((0, 0), (0, self.length - both.shape[1])))
        return both[: self.channels], both[self.channels :]


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
            _report(clean.path, f"there is no usable {folder / 'noisy' / name}")
        elif (clean.rate, clean.frames) != (noisy.rate, noisy.frames):
            _report(
                clean.path,
                f"it has {clean.frames} samples at {clean.rate} Hz, but {noisy.path} has "
                f"{noisy.frames} at {noisy.rate} Hz",
            )
        else:
            pairs.append((clean, noisy))
    for noisy in both["noisy"].values():
        _report(noisy.path, f"there is no usable file of its name in {folder / 'clean'}")
    if not pairs:
        raise ValueError(f"{folder}: no file of clean/ has a partner of its name in noisy/")
    return pairs


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
        self.length = _samples(seconds, rate)
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
        others = [_at_snr(first, voice, rng.uniform(*self.level)) for voice in voices[1:]]
        return self.augment.level(np.stack([first, *others]), rng)


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
        self.length = _samples(seconds, rate)

    def draw(self, rng: np.random.Generator, index: int) -> np.ndarray:
        """Sources of an item, ``(J, channel, time)``."""
        makers = (self._tone, self._noise)
        sources = [0.1 * makers[j % 2](rng) for j in range(len(self.names))]
        levelled = [sources[0]] + [
            _at_snr(sources[0], source, rng.uniform(*self.snr)) for source in sources[1:]
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


class Batches(Sampler[list[int]]):
    """Indices of the batches of one epoch, as one of several processes sees them.

    The batches of all processes together are those of one process.

    Parameters
    ----------
    n_items : int
        Items of an epoch.
    batch_size : int
        Items of a batch over all processes, a multiple of their number.
    shuffle : bool, default True
        Go through the items in a random order and leave out an incomplete last batch; otherwise
        in their own order, all of them.
    seed, epoch : int, default 0
        What the order depends on.
    rank, world : int, default 0 and 1
        Which process of how many.
    start : int, default 0
        Batches to leave out, when training goes on in the middle of an epoch.

    Raises
    ------
    ValueError
        If a batch does not split evenly or there is no whole batch.
    """

    def __init__(
        self,
        n_items: int,
        batch_size: int,
        *,
        shuffle: bool = True,
        seed: int = 0,
        epoch: int = 0,
        rank: int = 0,
        world: int = 1,
        start: int = 0,
    ) -> None:
        if batch_size < 1 or batch_size % world:
            raise ValueError(
                f"batch_size={batch_size} must be a positive multiple of the number of processes, "
                f"{world}"
            )
        if shuffle and n_items < batch_size:
            raise ValueError(
                f"batch_size={batch_size} is more than the {n_items} item(s) there are"
            )
        order = np.arange(n_items)
        if shuffle:
            order = np.random.default_rng([seed, epoch]).permutation(n_items)
            order = order[: n_items // batch_size * batch_size]
        each = batch_size // world
        batches = [order[at : at + batch_size] for at in range(0, len(order), batch_size)]
        mine = [batch[rank * each : (rank + 1) * each].tolist() for batch in batches[start:]]
        self.batches = [batch for batch in mine if batch]

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


def loader(
    dataset: Mixtures, batches: Batches, *, workers: int = 0, pin_memory: bool = False
) -> DataLoader[Any]:
    """Loader of batches ``{"mixture": (batch, channel, time), "sources": (batch, J, …)}``.

    Parameters
    ----------
    dataset : Mixtures
        The data set, at its epoch: the workers start with the iterator and keep that epoch.
    batches : Batches
        Which items.
    workers : int, default 0
        Processes that read; 0 reads in this one.
    pin_memory : bool, default False
        Put batches where a GPU fetches them fast.

    Returns
    -------
    DataLoader
        Iterable of batches.
    """
    # A generator of its own: otherwise each iterator takes a number from the global one.
    return DataLoader(
        dataset,
        batch_sampler=batches,
        num_workers=workers,
        pin_memory=pin_memory,
        generator=torch.Generator(),
    )
