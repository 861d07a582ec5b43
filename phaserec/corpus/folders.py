"""The recordings of a folder: one reader for all commands."""

import os
from pathlib import Path

from phaserec import audio


def audio_files(
    folder: str | os.PathLike[str], *, deep: bool = True, without: Path | None = None
) -> list[Path]:
    """Audio files of a folder by their endings, see :data:`phaserec.audio.SUFFIXES`.

    Parameters
    ----------
    folder : str or path
        The folder.
    deep : bool, default True
        Whether the folders in it are searched too; links to folders are followed.
    without : Path, optional
        A folder that is left out, with all that is in it.

    Returns
    -------
    list of Path
        Relative to the folder and in order; what is hidden or no ordinary file is left out.
    """
    found = []
    for place, folders, files in os.walk(folder, followlinks=True):
        here = Path(place)
        folders[:] = [
            name
            for name in folders
            if deep and not name.startswith(".") and not _same(here / name, without)
        ]
        found += [
            (here / name).relative_to(folder)
            for name in files
            if not name.startswith(".")
            and Path(name).suffix.lower() in audio.SUFFIXES
            and (here / name).is_file()  # one may wait for ever at the end of a pipe
        ]
    return sorted(found)


def _same(one: Path, other: Path | None) -> bool:
    return other is not None and one.resolve() == other.resolve()


def by_stem(folder: Path) -> dict[str, Path]:
    """Audio files of one folder by their names without endings, in order.

    Parameters
    ----------
    folder : Path
        The folder; one that does not exist has none.

    Returns
    -------
    dict of str to Path
        Files, with the folder.

    Raises
    ------
    ValueError
        If two files differ in their endings only.
    """
    files: dict[str, Path] = {}
    for name in audio_files(folder, deep=False):
        path = folder / name
        if path.stem in files:
            raise ValueError(f"{files[path.stem]} and {path} have one name; keep one of them")
        files[path.stem] = path
    return files
