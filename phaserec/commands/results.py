"""Results as files for other programs: CSV and JSON, or standard output for ``-``."""

import json
import math
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TextIO

from phaserec._files import check_apart, check_folder, write_files

STDOUT = "-"


def check_targets(*names: str | None) -> None:
    """Raise if it is clear now that a file cannot be written.

    Parameters
    ----------
    *names : str or None
        Files as typed; None is no file, ``"-"`` standard output.

    Raises
    ------
    OSError
        If one is a folder, or in a folder that cannot be written to.
    ValueError
        If two of them are one file.
    """
    given = [name for name in names if name is not None]
    places = [name if name == STDOUT else os.path.realpath(name) for name in given]
    for name, place in zip(given, places, strict=True):
        if places.count(place) > 1:
            raise ValueError(f"two results would go to {name}; name another file for one of them")
    for path in (Path(name) for name in given if name != STDOUT):
        if path.is_dir():
            raise IsADirectoryError(f"{path} is a folder; name a file")
        check_folder(str(path), path.parent)


def check_results_apart(
    names: Iterable[str | None], inputs: Iterable[str | os.PathLike[str]]
) -> None:
    """Raise ValueError if a result would replace a file that is read.

    Parameters
    ----------
    names : iterable of str or None
        Files of results as typed.
    inputs : iterable of str or path
        Files that are read.
    """
    check_apart([Path(name) for name in names if name not in (None, STDOUT)], inputs)


def words_to(*names: str | None) -> TextIO:
    """Where words for people go: standard output, or standard error if it has a result.

    Parameters
    ----------
    *names : str or None
        Files of results as typed.

    Returns
    -------
    TextIO
        The stream.
    """
    return sys.stderr if STDOUT in names else sys.stdout


def write_results(contents: Mapping[str, str | bytes]) -> None:
    """Write results, all files of them or none.

    Parameters
    ----------
    contents : mapping of str to str or bytes
        Contents by name as typed; that of ``"-"`` goes to standard output. Text is UTF-8.

    Raises
    ------
    OSError
        If a file cannot be written.
    """
    files = {Path(name): content for name, content in contents.items() if name != STDOUT}
    write_files(list(files), [c.encode() if isinstance(c, str) else c for c in files.values()])
    if STDOUT in contents:
        content = contents[STDOUT]
        # UTF-8 whatever the console has: other programs read it.
        sys.stdout.flush()
        sys.stdout.buffer.write(content.encode() if isinstance(content, str) else content)
        sys.stdout.buffer.flush()


def as_json(document: Any) -> str:
    """JSON text, which has no NaN and no infinity: give such numbers as :func:`number` does."""
    return json.dumps(document, indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def number(value: float) -> float | None:
    """A number as JSON has it, to four places; None where it is not finite."""
    return round(float(value), 4) if math.isfinite(value) else None
