"""Folders of mixtures with their true sources, for tuning: layouts, reading, targets.

Three layouts are known:

* ``clean/`` and ``noisy/`` with files of equal names (VoiceBank + DEMAND): the sources are
  ``speech`` and ``noise``, the noisy file minus the clean one;
* ``mix/`` and one folder for each source, such as ``s1/`` and ``s2/``, with files of equal names;
* one folder for each item, with ``mixture`` (or ``mix``) and one file for each source.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from phaserec import audio
from phaserec.corpus.fingerprints import Fingerprint, fingerprint
from phaserec.corpus.folders import by_stem
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
        Folder in one of the layouts above.
    stft : STFT
        Transform of the magnitudes.
    estimates : str or path, optional
        Folder with ``item/source.wav`` for every item and source, as ``phaserec invert`` writes
        them: their magnitudes are the targets. By default those of the true sources (oracle).

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
        paths = []
        for source in files.names:
            found = by_stem(Path(self.estimates) / files.name).get(source)
            if found is None:
                wanted = Path(self.estimates) / files.name / f"{source}.wav"
                raise FileNotFoundError(f"there is no estimate {wanted}")
            paths.append(found)
        return paths


def _find(folder: Path) -> tuple[_Files, ...]:
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder")
    inside = {path.name: path for path in sorted(folder.iterdir()) if path.is_dir()}
    mixes = [name for name in inside if name in ("mix", "mixture")]
    if {"clean", "noisy"} <= set(inside):
        found = _parallel(inside["noisy"], {"speech": inside["clean"]}, rest="noise")
    elif mixes:
        others = {k: v for k, v in inside.items() if k not in mixes and by_stem(v)}
        found = _parallel(inside[mixes[0]], others)
    else:
        found = _item_folders(inside)
    if not found:
        raise ValueError(
            f"{folder} holds no mixtures with their sources: expected clean/ and noisy/ with files "
            "of equal names, or mix/ with s1/, s2/ …, or a folder for each item with mixture.wav "
            "and a file for each source"
        )
    names = found[0].names
    for files in found:
        if files.names != names:
            raise ValueError(
                f"{folder}: {files.name} has the sources {', '.join(files.names)}, but "
                f"{found[0].name} has {', '.join(names)}; all items must have the same"
            )
    return found


def _parallel(
    mixtures: Path, sources: dict[str, Path], rest: str | None = None
) -> tuple[_Files, ...]:
    of_source = {name: by_stem(folder) for name, folder in sources.items()}
    found = []
    for stem, mixture in by_stem(mixtures).items():
        for name, files in of_source.items():
            if stem not in files:
                raise ValueError(f"{mixture} has no file of its name in {sources[name]}")
        if of_source:
            of_item = {name: files[stem] for name, files in of_source.items()}
            found.append(_Files(stem, mixture, of_item, rest))
    return tuple(found)


def _item_folders(folders: dict[str, Path]) -> tuple[_Files, ...]:
    found = []
    for name, folder in folders.items():
        files = by_stem(folder)
        mixture = files.pop("mixture", None) or files.pop("mix", None)
        if mixture is not None and files:
            found.append(_Files(name, mixture, files))
    return tuple(found)


def _read(files: _Files) -> tuple[audio.Audio, np.ndarray]:
    """Mixture and sources ``(channels, J, time)``."""
    whole = audio.read(files.mixture)
    references = audio.stack({str(p): audio.read(p) for p in files.sources.values()}, whole)
    if files.rest is not None:
        rest = whole.samples - references.sum(axis=1)
        references = np.concatenate([references, rest[:, None]], axis=1)
    return whole, references
