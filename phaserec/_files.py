"""Files are written whole or not at all."""

import os
import secrets
from collections.abc import Iterable, Sequence
from pathlib import Path


def write_files(paths: Sequence[Path], contents: Iterable[bytes]) -> None:
    """Write files, all of them or none: to temporary names first, then renamed.

    Parameters
    ----------
    paths : sequence of Path
        Where to write; the folders must exist.
    contents : iterable of bytes
        One for each path, asked for one after the other.

    Raises
    ------
    OSError
        If a file cannot be written.
    """
    parts = [path.with_name(f".{path.name}.{secrets.token_hex(4)}.part") for path in paths]
    try:
        for part, content in zip(parts, contents, strict=True):
            with part.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())  # or a crash of the machine leaves an empty file
        for part, path in zip(parts, paths, strict=True):
            part.replace(path)
    finally:
        for part in parts:
            part.unlink(missing_ok=True)


def check_folder(option: str, folder: Path) -> None:
    """Raise OSError if a folder, or the nearest one above that exists, cannot be written to.

    Parameters
    ----------
    option : str
        What was typed, for the message.
    folder : Path
        The folder; it need not exist yet.
    """
    nearest = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not nearest.is_dir():
        raise NotADirectoryError(f"{option}: {nearest} is not a folder")
    if not os.access(nearest, os.W_OK):
        raise PermissionError(f"{option}: no permission to write in {nearest}")
