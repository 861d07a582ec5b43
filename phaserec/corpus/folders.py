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
        Whether the folders in it are searched too; links to folders are followed, except back to
        a folder that they are in.
    without : Path, optional
        A folder that is left out, with all that is in it.

    Returns
    -------
    list of Path
        Relative to the folder and in order; what is hidden or no ordinary file is left out.
    """
    found = []
    left_out = None if without is None else without.resolve()
    # Folders that each folder is in, and itself, by the way that led there.
    ways = {Path(folder): frozenset([Path(folder).resolve()])}
    for place, folders, files in os.walk(folder, followlinks=True):
        here = Path(place)
        inside = {
            name: (here / name).resolve() for name in folders if deep and not name.startswith(".")
        }
        folders[:] = [
            name for name, real in inside.items() if real != left_out and real not in ways[here]
        ]
        ways |= {here / name: ways[here] | {inside[name]} for name in folders}
        found += [
            (here / name).relative_to(folder)
            for name in files
            if not name.startswith(".")
            and Path(name).suffix.lower() in audio.SUFFIXES
            and (here / name).is_file()  # one may wait for ever at the end of a pipe
        ]
    return sorted(found)
