"""One task for each entry of a corpus, which does what is missing or changed and nothing else.

A result is files, and a record of them that is written last: ``ENTRY.json`` with a digest of all
that they depend on. So a record says that its result is whole, whatever was killed when.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from phaserec import __version__
from phaserec._files import write_files
from phaserec.corpus.entries import Entry

_BLOCK = 1 << 20


@dataclass(frozen=True)
class Made:
    """What was made of an entry.

    Attributes
    ----------
    files : mapping of str to bytes
        Contents by path, relative to the folder of the results.
    document : mapping of str to object
        What is to be told of it, as JSON has it: the same whenever the inputs are the same.
    """

    files: Mapping[str, bytes]
    document: Mapping[str, object]


class Work(Protocol):
    """What is done to every entry; it is pickled, and equal entries give equal bytes."""

    @property
    def settings(self) -> Mapping[str, object]:
        """All that results depend on beside entries and the program, as JSON has it."""
        ...

    def __call__(self, entry: Entry) -> Made:
        """Make the result of an entry; ValueError or OSError where that cannot be."""
        ...


@dataclass(frozen=True)
class Record:
    """Of an entry that is done.

    Attributes
    ----------
    name : str
        Name of the entry.
    document : mapping of str to object
        What the work told of it.
    files : tuple of str
        Its files, relative to the folder of the results.
    found : bool
        Whether it was done already.
    """

    name: str
    document: Mapping[str, object]
    files: tuple[str, ...]
    found: bool


@dataclass(frozen=True)
class Task:
    """Do an entry, unless its record says that it is done: a function for any engine.

    It can be pickled, can be called for one entry any number of times, also at the same time, and
    leaves whole results only.

    Parameters
    ----------
    work : Work
        What is done, such as :class:`phaserec.InvertItem`.
    output : str or path
        Folder of the results.
    replace : bool, default True
        Whether results of other settings or other inputs are replaced.

    Examples
    --------
    ::

        task = Task(InvertItem("misi"), "recovered")
        for entry in Manifest("corpus.jsonl"):
            task(entry)
    """

    work: Work
    output: str | os.PathLike[str]
    replace: bool = True

    def __call__(self, entry: Entry) -> Record:
        """Do an entry.

        Parameters
        ----------
        entry : Entry
            The entry.

        Returns
        -------
        Record
            What there is now.

        Raises
        ------
        ValueError, OSError
            If it cannot be done; nothing new is there then.
        """
        place = self.record_path(entry)
        known = _read(place)
        # Files that change while they are read have another digest at the next run.
        inputs = _inputs(entry, known)
        digest = self._digest(entry, inputs)
        if known.get("task") == digest and self._whole(known):
            return Record(entry.name, known["result"], tuple(known["outputs"]), True)
        if known and not self.replace:
            raise ValueError(
                f"{place} is of other settings or inputs, and --no-overwrite is given; choose "
                "another folder"
            )
        made = self.work(entry)
        content = {
            "task": digest,
            "inputs": inputs,
            "outputs": {name: len(data) for name, data in made.files.items()},
            "result": made.document,
        }
        text = json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False) + "\n"
        # A record must not outlive the result that it is of.
        place.unlink(missing_ok=True)
        for name in set(known.get("outputs", ())) - set(made.files):
            with suppress(OSError):
                (Path(self.output) / name).unlink()
        # In this order they get their names. A file that a crash of the machine leaves empty is not
        # as long as its record says, or has none, and is made again: that is cheaper than waiting
        # for the disk with every entry.
        targets = [*(Path(self.output) / name for name in made.files), place]
        write_files(targets, [*made.files.values(), text.encode()], sync=False)
        return Record(entry.name, made.document, tuple(made.files), False)

    def record_path(self, entry: Entry) -> Path:
        """Where the record of an entry is."""
        return Path(self.output) / f"{entry.name}.json"

    def _digest(self, entry: Entry, inputs: list[dict[str, Any]]) -> str:
        facts = {
            "phaserec": __version__,
            "settings": self.work.settings,
            "entry": entry.description,
            "inputs": [found["blake2b"] for found in inputs],
        }
        text = json.dumps(facts, sort_keys=True, allow_nan=False)
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

    def _whole(self, known: Mapping[str, Any]) -> bool:
        """Whether all files of a record are there and as long as they were."""
        try:
            sizes = {n: os.stat(Path(self.output) / n).st_size for n in known["outputs"]}
        except OSError:
            return False
        return sizes == known["outputs"]


def _read(place: Path) -> dict[str, Any]:
    """A record; empty where there is none or it is damaged."""
    try:
        found = json.loads(place.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    form = {"task": str, "inputs": list, "outputs": dict, "result": dict}
    fits = isinstance(found, dict) and all(isinstance(found.get(k), t) for k, t in form.items())
    return found if fits else {}


def _inputs(entry: Entry, known: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What the files of an entry hold; those of a record's size and time are not read again."""
    seen = {
        (found.get("file"), found.get("size"), found.get("modified")): found
        for found in known.get("inputs", ())
        if isinstance(found, dict)
    }
    inputs = []
    for path in entry.paths:
        if not path.is_file():
            # One may wait for ever at the end of a pipe.
            kind = "is no file" if path.exists() else "no such file"
            raise FileNotFoundError(f"{path}: {kind}")
        status = path.stat()
        facts = {"file": str(path), "size": status.st_size, "modified": status.st_mtime_ns}
        same = seen.get((facts["file"], facts["size"], facts["modified"]))
        digest = same.get("blake2b") if same else None
        inputs.append(facts | {"blake2b": digest or _content(path)})
    return inputs


def _content(path: Path) -> str:
    digest = hashlib.blake2b(digest_size=16)
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
