"""How the recordings of a folder are arranged: items, their sources and mixtures, by name.

Four layouts are known, the same for all commands:

``files``
   Every file is an item of one source: ``ITEM.wav``.
``folders``
   Every folder is an item, with a file for each source: ``ITEM/SOURCE.wav``. A file ``mixture``
   or ``mix`` in it is the mixture.
``speakers``
   Every source has a folder with a file for each item: ``s1/ITEM.wav``, ``s2/ITEM.wav``. A folder
   ``mix`` or ``mixture`` holds the mixtures.
``pairs``
   ``clean/ITEM.wav`` and ``noisy/ITEM.wav``: the source is ``speech``, the mixture the noisy file.

Items have any depth, such as ``s1/train/ITEM.wav``, and endings of files do not count.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from phaserec.corpus.folders import audio_files

Layout = Literal["files", "folders", "speakers", "pairs"]
LAYOUTS: tuple[str, ...] = get_args(Layout)

_MIXTURES = ("mix", "mixture")
_CLEAN, _NOISY = "clean", "noisy"
_SPEAKER = re.compile(r"(s|spk|speaker|source)[-_ ]?\d+", re.IGNORECASE)


@dataclass
class Files:
    """Files of an item; several under one name differ in their endings.

    Attributes
    ----------
    sources : dict of str to list of Path
        Files by name of source; the name is empty where an item is one file.
    mixture : list of Path
        Files of the mixture, none where there is none.
    """

    sources: dict[str, list[Path]] = field(default_factory=dict)
    mixture: list[Path] = field(default_factory=list)


def guess(folder: Path, paths: Sequence[Path]) -> Layout:
    """What a folder looks like.

    Parameters
    ----------
    folder : Path
        The folder.
    paths : sequence of Path
        Its audio files, relative to it.

    Returns
    -------
    str
        ``pairs`` and ``speakers`` by the names of the folders in it; ``folders`` where one of
        them holds a mixture and something else, or all of them several files of the same names;
        else ``files``.
    """
    inside = {path.name for path in folder.iterdir() if path.is_dir()}
    tops = {path.parts[0] for path in paths if len(path.parts) > 1}
    if {_CLEAN, _NOISY} <= inside:
        return "pairs"
    if tops.intersection(_MIXTURES) and tops.difference(_MIXTURES):
        return "speakers"
    stems: dict[Path, set[str]] = {}
    for path in paths:
        stems.setdefault(path.parent, set()).add(path.stem)
    if Path() in stems:
        return "files"
    if len(_numbered(tops)) > 1:
        return "speakers"
    if any(names.intersection(_MIXTURES) and len(names) > 1 for names in stems.values()):
        return "folders"
    first = next(iter(stems.values()), set())
    return "folders" if len(first) > 1 and all(n == first for n in stems.values()) else "files"


def arrange(
    folder: Path,
    paths: Sequence[Path],
    layout: Layout,
    *,
    target: str | None = None,
    every: bool = False,
) -> dict[str, Files]:
    """Files of a folder by item and source.

    Parameters
    ----------
    folder : Path
        The folder.
    paths : sequence of Path
        Its audio files, relative to it.
    layout : {"files", "folders", "speakers", "pairs"}
        How they are arranged.
    target : str, optional
        For ``files``: the items are folders, and ``ITEM/TARGET.wav`` is taken of each.
    every : bool, default False
        For ``speakers``: folders of any name are sources, also beside s1, s2, …

    Returns
    -------
    dict of str to Files
        Items in order, with their sources in order.

    Raises
    ------
    ValueError
        If a file is in no folder of a speaker.
    """
    tops = {path.parts[0] for path in paths}
    numbered = _numbered(tops)
    speakers = tops.difference(_MIXTURES) if every or len(numbered) < 2 else numbered
    found: dict[str, Files] = {}

    def add(item: str, source: str | None, path: Path) -> None:
        files = found.setdefault(item, Files())
        place = files.mixture if source is None else files.sources.setdefault(source, [])
        place.append(folder / path)

    for path in paths:
        whole = path.with_suffix("").as_posix()
        top, _, below = whole.partition("/")
        if layout == "files" and target is None:
            add(whole, "", path)
        elif layout == "files":
            if path.stem == target:
                add(path.parent.as_posix(), "", path)
        elif layout == "folders":
            add(path.parent.as_posix(), None if path.stem in _MIXTURES else path.stem, path)
        elif layout == "pairs":
            if top in (_CLEAN, _NOISY) and below:
                add(below, "speech" if top == _CLEAN else None, path)
        elif not below and not every:
            raise ValueError(f"{folder / path} is in no folder of a speaker")
        elif below and (top in _MIXTURES or top in speakers):
            add(below, None if top in _MIXTURES else top, path)
    return {
        name: Files(dict(sorted(found[name].sources.items())), found[name].mixture)
        for name in sorted(found)
    }


def arrange_like(
    folder: Path, layout: Layout, names: Collection[str], *, target: str | None = None
) -> dict[str, dict[str, list[Path]]]:
    """Estimates of the items of another folder, by item and source.

    Of pairs they are those of the speech: the noise has no file to be compared with.

    Parameters
    ----------
    folder : Path
        Folder of the estimates.
    layout : {"files", "folders", "speakers", "pairs"}
        Layout of the other folder. Estimates have the same, or ``ITEM/SOURCE.wav``, as commands
        write them, or ``SOURCE/ITEM.wav``; those of pairs also ``ITEM.wav``.
    names : collection of str
        Items of the other folder.
    target : str, optional
        As for :func:`arrange`.

    Returns
    -------
    dict
        Files by item and source, arranged in the way that finds most of the items.
    """
    paths = audio_files(folder)
    if layout == "files":
        arranged = arrange(folder, paths, layout, target=target)
        return {name: files.sources for name, files in arranged.items()}
    ways: list[Layout] = (
        ["speakers", "folders"] if layout == "speakers" else ["folders", "speakers"]
    )
    trees = []
    for way in ways:
        deep = [path for path in paths if way == "folders" or len(path.parts) > 1]
        arranged = arrange(folder, deep, way)
        trees.append({name: files.sources for name, files in arranged.items()})
    if layout == "pairs":
        trees = [_only_speech(tree) for tree in trees]
        single = arrange(folder, paths, "files")
        trees.append({name: {"speech": files.sources[""]} for name, files in single.items()})
    return max(trees, key=lambda tree: sum(name in tree for name in names))


def _only_speech(tree: dict[str, dict[str, list[Path]]]) -> dict[str, dict[str, list[Path]]]:
    return {name: {"speech": files["speech"]} for name, files in tree.items() if "speech" in files}


def _numbered(names: Collection[str]) -> set[str]:
    """Names of speakers: s1, s2, …"""
    return {name for name in names if _SPEAKER.fullmatch(name)}
