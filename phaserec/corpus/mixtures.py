"""Folders of mixtures with their true sources, for tuning: reading, targets.

They have one of the layouts of :mod:`phaserec.corpus.layouts` that holds mixtures. In pairs
(VoiceBank + DEMAND) the sources are ``speech`` and ``noise``, the noisy file minus the clean one.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from phaserec import _html, audio
from phaserec._files import distinct
from phaserec.corpus.entries import Entry
from phaserec.corpus.fingerprints import Fingerprint, fingerprint
from phaserec.corpus.folders import audio_files
from phaserec.corpus.layouts import arrange, arrange_like, guess
from phaserec.stft import STFT


@dataclass(frozen=True)
class Item:
    """A mixture, its true sources, and the magnitudes that an algorithm is given.

    Attributes
    ----------
    name : str
        Name of the item.
    sources : tuple of str
        Names of the J sources.
    rate : int
        Sample rate in Hz.
    mixture : ndarray, shape (channels, time)
        Mixture waveform.
    references : ndarray, shape (channels, J, time)
        True sources.
    magnitudes : ndarray, shape (channels, J, F, T)
        Target magnitudes.
    estimates : ndarray, shape (channels, J, time), or None
        What the magnitudes are of; None for those of the true sources.
    """

    name: str
    sources: tuple[str, ...]
    rate: int
    mixture: np.ndarray
    references: np.ndarray
    magnitudes: np.ndarray
    estimates: np.ndarray | None = None

    def __repr__(self) -> str:
        channels, length = self.mixture.shape
        return (
            f"Item({self.name!r}, {', '.join(self.sources)}, {channels} channel(s), "
            f"{self.rate} Hz, {length / self.rate:.3f} s)"
        )

    def _repr_html_(self) -> str:
        """Players of the mixture and of its sources."""
        tracks = {"mixture": self.mixture}
        tracks |= {name: self.references[:, j] for j, name in enumerate(self.sources)}
        players = (
            f"<p>{_html.text(name)}</p>{audio.Audio(samples, self.rate)._repr_html_()}"
            for name, samples in tracks.items()
        )
        return f"<b>{_html.text(self.name)}</b>{''.join(players)}"


@dataclass(frozen=True)
class _Files:
    """Files of an item; ``rest`` names the source that is what the others leave of the mixture."""

    name: str
    mixture: Path
    sources: dict[str, Path]
    rest: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the sources."""
        return (*self.sources, *([self.rest] if self.rest else []))


@dataclass(frozen=True)
class MixtureFolder(Sequence[Item]):
    """The items of a folder, read when they are asked for.

    Parameters
    ----------
    folder : str or path
        Folder with mixtures and sources.
    stft : STFT
        Transform of the magnitudes.
    estimates : str or path, optional
        Folder with ``item/source.wav`` for every item and source, as ``phaserec invert`` writes
        them, or ``source/item.wav``: their magnitudes are the targets. By default those of the
        true sources (oracle).

    Raises
    ------
    ValueError, OSError
        If the folder has none of the layouts, or items differ in their sources, or a file of the
        estimates is missing.
    """

    folder: str | os.PathLike
    stft: STFT
    estimates: str | os.PathLike | None = None

    def __post_init__(self) -> None:
        if self.estimates is not None:
            for files in self.files:
                self._estimates(files)

    @cached_property
    def files(self) -> tuple[_Files, ...]:
        """Files of every item, by name."""
        return _find(Path(self.folder))

    @property
    def paths(self) -> list[Path]:
        """Every file that is read."""
        found = [path for files in self.files for path in (files.mixture, *files.sources.values())]
        if self.estimates is not None:
            found += [path for files in self.files for path in self._estimates(files)]
        return found

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of the sources, the same in all items."""
        return self.files[0].names

    @property
    def entries(self) -> list[Entry]:
        """Files of every item; its sources are the estimates, or with other ones the references."""
        names = distinct([files.name for files in self.files])
        found = []
        for name, files in zip(names, self.files, strict=True):
            if self.estimates is None:
                given, truth = files.sources, {}
            else:
                paths = self._estimates(files)
                given, truth = dict(zip(files.names, paths, strict=True)), files.sources
            found.append(Entry(name, files.mixture, given, truth, remainder=files.rest))
        return found

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Item:  # type: ignore[override]
        files = self.files[index]
        whole, references = _read(files)
        if self.estimates is None:
            targets = references
        else:
            paths = self._estimates(files)
            targets = audio.stack({str(p): audio.read(p) for p in paths}, whole)
        return Item(
            f"{self.folder}: {files.name}",
            files.names,
            whole.rate,
            whole.samples,
            references,
            np.abs(self.stft(targets)),
            None if self.estimates is None else targets,
        )

    def fingerprints(self, index: int) -> dict[str, list[Fingerprint]]:
        """Content of an item.

        Parameters
        ----------
        index : int
            Which item.

        Returns
        -------
        dict of str to list of Fingerprint
            One for each channel that is not silent, of the mixture and of each source, under the
            paths of their files within the folder.
        """
        files = self.files[index]
        whole, references = _read(files)
        mixture = files.mixture.relative_to(self.folder).as_posix()
        found = {mixture: fingerprint(whole.samples)}
        for j, name in enumerate(files.names):
            path = files.sources.get(name)
            title = f"{mixture} ({name})" if path is None else path.relative_to(self.folder)
            found[str(title)] = fingerprint(references[:, j])
        return found

    def _estimates(self, files: _Files) -> list[Path]:
        assert self.estimates is not None
        found = self._arranged.get(files.name, {})
        for source in files.names:
            if source not in found:
                wanted = Path(self.estimates) / files.name / f"{source}.wav"
                raise FileNotFoundError(f"there is no estimate {wanted}")
        return [_one(found[source]) for source in files.names]

    @cached_property
    def _arranged(self) -> dict[str, dict[str, list[Path]]]:
        """Estimates by item and source."""
        assert self.estimates is not None
        names = [files.name for files in self.files]
        return arrange_like(Path(self.estimates), "folders", names)


def _find(folder: Path) -> tuple[_Files, ...]:
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder")
    paths = audio_files(folder)
    layout = guess(folder, paths)
    arranged = {} if layout == "files" else arrange(folder, paths, layout, every=True)
    rest = "noise" if layout == "pairs" else None
    # Where sources have folders, every mixture has all of them.
    wanted = {name: None for files in arranged.values() for name in files.sources}
    if layout == "pairs":
        wanted = {"speech": None}
    found = []
    for name, files in arranged.items():
        if not files.mixture or not (files.sources or layout != "folders"):
            continue
        mixture = _one(files.mixture)
        sources = {source: _one(paths) for source, paths in files.sources.items()}
        lacking = [source for source in wanted if source not in sources]
        if layout != "folders" and lacking:
            place = folder / ("clean" if layout == "pairs" else lacking[0])
            raise ValueError(f"{mixture} has no file of its name in {place}")
        found.append(_Files(name, mixture, sources, rest))
    if not found:
        raise ValueError(
            f"{folder} holds no mixtures with their sources: expected clean/ and noisy/ with files "
            "of equal names, or mix/ with s1/, s2/ …, or a folder for each item with mixture.wav "
            "and a file for each source; a manifest lists what is arranged otherwise"
        )
    names = found[0].names
    for item in found:
        if item.names != names:
            raise ValueError(
                f"{folder}: {item.name} has the sources {', '.join(item.names)}, but "
                f"{found[0].name} has {', '.join(names)}; all items must have the same"
            )
    return tuple(found)


def _one(paths: Sequence[Path]) -> Path:
    if len(paths) > 1:
        raise ValueError(f"{paths[0]} and {paths[1]} have one name; keep one of them")
    return paths[0]


def _read(files: _Files) -> tuple[audio.Audio, np.ndarray]:
    """Mixture and sources ``(channels, J, time)``."""
    whole = audio.read(files.mixture)
    references = audio.stack({str(p): audio.read(p) for p in files.sources.values()}, whole)
    if files.rest is not None:
        rest = whole.samples - references.sum(axis=1)
        references = np.concatenate([references, rest[:, None]], axis=1)
    return whole, references
