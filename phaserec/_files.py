"""Files are written whole or not at all, under plain names, and never over what is read."""

import hashlib
import os
import platform
import re
import secrets
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

# Bytes read at a time, and at most: of what has no length (the largest WAV file), and of settings.
_BLOCK = 1 << 20
_MOST = 1 << 32
_MOST_SETTINGS = 1 << 28
# Temporary names tell of the machine and the process that write them.
_PART = re.compile(r"\..+\.([0-9a-f]{8})-(\d+)-[0-9a-f]{8}\.part")


def write_files(paths: Sequence[Path], contents: Iterable[bytes], *, sync: bool = True) -> None:
    """Write files, all of them or none: to temporary names first, then renamed.

    What is no ordinary file, such as a device or a pipe, is written to and not replaced; a link
    stays, and the file that it points to is written. Folders are made, and none of them stays when
    nothing is written.

    Parameters
    ----------
    paths : sequence of Path
        Where to write.
    contents : iterable of bytes
        One for each path, asked for one after the other.
    sync : bool, default True
        Whether they are on the disk before they get their names, or a crash of the machine may
        leave an empty file; that takes some milliseconds for each.

    Raises
    ------
    OSError
        If a file cannot be written, or is a folder.
    """
    streams: list[tuple[Path, bytes]] = []
    with replacing(paths, sync=sync) as places:
        for place, content in zip(places, contents, strict=True):
            if _is_special(place):
                streams.append((place, content))
            else:
                place.write_bytes(content)
    for place, content in streams:
        try:
            place.write_bytes(content)
        except BrokenPipeError:
            raise OSError(f"{place}: who read it has gone before the end") from None


@contextmanager
def replacing(paths: Sequence[Path], *, sync: bool = True) -> Iterator[list[Path]]:
    """Temporary names for files, which become theirs at the end, all of them or none.

    What is no ordinary file keeps its name; links and folders are as for :func:`write_files`.

    Parameters
    ----------
    paths : sequence of Path
        Files to write.
    sync : bool, default True
        As for :func:`write_files`.

    Yields
    ------
    list of Path
        Where to write what is to be in each of them.

    Raises
    ------
    OSError
        If a file cannot be written, or is a folder.
    """
    targets = [Path(os.path.realpath(path)) for path in paths]
    for path, target in zip(paths, targets, strict=True):
        if target.is_dir():
            raise IsADirectoryError(f"{path} is a folder; name a file")
    places = [
        path if _is_special(path) else path.with_name(_temporary(path.name)) for path in targets
    ]
    parts = [
        (place, target) for place, target in zip(places, targets, strict=True) if place != target
    ]
    made: list[Path] = []
    try:
        for target in targets:
            _make_folder(target.parent, made)
        yield places
        for part, _ in parts:
            if sync:
                with part.open("rb") as file:
                    os.fsync(file.fileno())
        for part, target in parts:
            part.replace(target)
    finally:
        for part, _ in parts:
            part.unlink(missing_ok=True)
        for folder in reversed(made):
            with suppress(OSError):  # as a rule there is something in it
                folder.rmdir()


def _is_special(path: Path) -> bool:
    """Whether a path is a device or a pipe."""
    return path.exists() and not path.is_file()


def remove_abandoned(folder: str | os.PathLike[str]) -> None:
    """Remove the temporary files that killed processes of this machine left below a folder.

    Those of running processes and of other machines, which may be running, stay.

    Parameters
    ----------
    folder : str or path
        The folder; it need not exist.
    """
    if os.name == "nt":  # whether a process runs cannot be asked without ending it
        return
    for place, _, files in os.walk(folder):
        for name in files:
            found = _PART.fullmatch(name)
            if found and found[1] == _machine() and not _runs(int(found[2])):
                with suppress(OSError):
                    os.unlink(os.path.join(place, name))


def _temporary(name: str) -> str:
    return f".{name}.{_machine()}-{os.getpid()}-{secrets.token_hex(4)}.part"


@cache
def _machine() -> str:
    return hashlib.blake2b(platform.node().encode(), digest_size=4).hexdigest()


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass
    return True


def _make_folder(folder: Path, made: list[Path]) -> None:
    """Make a folder and those above it, and note which."""
    if not folder.exists():
        _make_folder(folder.parent, made)
        folder.mkdir(exist_ok=True)
        made.append(folder)


def open_whole(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a file to read at any place of it; a pipe or a device is read to its end first.

    Parameters
    ----------
    path : str or path
        The file.

    Returns
    -------
    file
        Open for reading.

    Raises
    ------
    ValueError
        If it is a folder, or does not end.
    OSError
        If it cannot be opened.
    """
    if not os.path.exists(path):
        raise FileNotFoundError(f"{path}: no such file")
    if os.path.isdir(path):
        raise ValueError(f"{path} is a folder, not a file")
    file = open(path, "rb")  # noqa: SIM115  for the caller to close
    if os.path.isfile(path):
        return file
    with file:
        return read_whole(file, os.fspath(path))


def read_whole(stream: BinaryIO, name: str, most: int = _MOST) -> BytesIO:
    """Read a stream to its end.

    Parameters
    ----------
    stream : file
        What to read.
    name : str
        Its name, for the message.
    most : int, optional
        Bytes that it may have at most.

    Returns
    -------
    BytesIO
        Its bytes, from the first one on.

    Raises
    ------
    ValueError
        If it is longer.
    """
    content = BytesIO()
    while block := stream.read(_BLOCK):
        content.write(block)
        if content.tell() > most:
            raise ValueError(f"{name} does not end within {most >> 20} MiB; name another file")
    content.seek(0)
    return content


def read_settings(path: str | os.PathLike[str]) -> bytes:
    """Read a file of settings, which is not long.

    Parameters
    ----------
    path : str or path
        The file.

    Returns
    -------
    bytes
        Its content.

    Raises
    ------
    ValueError
        If it has more than 256 MiB.
    OSError
        If it cannot be read, or is a folder.
    """
    with open(path, "rb") as file:
        return read_whole(file, os.fspath(path), _MOST_SETTINGS).getvalue()


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


def check_apart(outputs: Iterable[Path], inputs: Iterable[str | os.PathLike[str]]) -> None:
    """Raise ValueError if a file to write is one of those that are read, or is named twice.

    Parameters
    ----------
    outputs : iterable of Path
        Files to write.
    inputs : iterable of str or path
        Files that are read; ``"-"``, standard input, is none.
    """
    read = {_identity(path) for path in inputs if path != "-"}
    written = set()
    for path in outputs:
        identity = _identity(path)
        if identity is not None and identity in read:
            raise ValueError(
                f"{path} is one of the input files and would be replaced; choose another output"
            )
        if identity is not None and identity in written:
            raise ValueError(f"{path} is named for two outputs; choose another one")
        written.add(identity)


def _identity(path: str | os.PathLike[str]) -> object:
    """What a file is known by, however it is named; None for what is not replaced."""
    if os.path.isfile(path):
        found = os.stat(path)
        return found.st_dev, found.st_ino
    return None if os.path.exists(path) else os.path.realpath(path)


def check_name(name: str, what: str) -> str:
    """Name of a source that can be the name of a file in any folder.

    Parameters
    ----------
    name : str
        The name.
    what : str
        Where it comes from, for the message.

    Returns
    -------
    str
        The name.

    Raises
    ------
    ValueError
        If it has a separator or a control character, begins with a dot, or is empty.
    """
    named = isinstance(name, str) and name and not name.startswith(".")
    if not named or any(c in "/\\" or ord(c) < 32 for c in name):
        raise ValueError(
            f"{what}: {name!r} cannot be the name of a source, because files are named after it; "
            "choose one without / and \\ and without a dot in front"
        )
    return name


def distinct(names: Sequence[str]) -> list[str]:
    """The names with numbers where they repeat, so that no two files have one name.

    Parameters
    ----------
    names : sequence of str
        Names; case makes no difference, as on some systems.

    Returns
    -------
    list of str
        Different names, in order; those that do not repeat stay.
    """
    folded = [name.casefold() for name in names]
    taken = set(folded)
    found = []
    for number, name in enumerate(names, start=1):
        if folded.count(name.casefold()) > 1:
            while f"{name}-{number}".casefold() in taken:
                number += len(names)
            name = f"{name}-{number}"
            taken.add(name.casefold())
        found.append(name)
    return found
