"""Lists of recordings: CSV, JSON lines, Kaldi's ``wav.scp``, cuts of Lhotse, and folders.

A manifest is read twice: once to find all that is wrong with it, and then entry by entry, so that a
million of them need no memory. Relative paths are relative to the folder of the manifest.
"""

import csv
import gzip
import json
import math
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any, TextIO

from phaserec._files import check_name
from phaserec._words import suggestion
from phaserec.corpus.entries import Entry

_FILE, _MAGNITUDES = "audio_filepath", "magnitudes"
_NAMED = ("estimates", "references")
_KEYS = ("id", _FILE, *_NAMED, _MAGNITUDES, "offset", "duration")
# Kaldi's names of places in archives.
_IN_ARCHIVE = re.compile(r"\.ark:\d+$")

Row = tuple[int, Any]
"""Number of a line, and what it holds."""


class Manifest:
    """The entries of a file, in order; every time it is gone through the file is read.

    Parameters
    ----------
    path : str or path
        A file by its ending: ``.csv`` or ``.tsv``, ``.jsonl``, ``.ndjson`` or ``.json`` with an
        object on each line (also of Lhotse), or ``.scp``; also with ``.gz``.

    Raises
    ------
    ValueError
        If a line is wrong, or two entries have one name: which line, which key, and what helps.
    OSError
        If it cannot be read.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(os.path.abspath(path))
        self._title = os.fspath(path)
        self._rows, self._entry = self._form()
        if not self.path.is_file():
            raise FileNotFoundError(f"{self._title}: no such file")
        names: dict[str, int] = {}
        self.alone = True
        for number, entry in self._numbered():
            # Names that differ in case alone are one file on some systems.
            first = names.setdefault(entry.name.casefold(), number)
            if first != number:
                raise self._error(
                    number,
                    f"id: {entry.name!r} is also that of line {first}; give each its own id",
                )
            self.alone = self.alone and entry.alone
        if not names:
            raise ValueError(f"{self._title} lists nothing; write a line for each recording")
        self._count = len(names)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Entry]:
        return (entry for _, entry in self._numbered())

    def __repr__(self) -> str:
        return f"Manifest({self._title!r}, {len(self)} entries)"

    def _form(self) -> tuple[Callable[[TextIO], Iterator[Row]], Callable[[Any], Entry]]:
        """How lines are read, and what makes an entry of one."""
        endings = [ending.lower() for ending in self.path.suffixes]
        ending = next((e for e in reversed(endings) if e != ".gz"), "")
        if ending in (".csv", ".tsv"):
            return self._table, self._described
        if ending in (".jsonl", ".ndjson", ".json"):
            return self._objects, self._described_or_cut
        if ending == ".scp":
            return self._kaldi, self._segment
        raise ValueError(
            f"{self._title} is no manifest by its ending; name a folder, or a file that ends with "
            ".csv, .tsv, .jsonl, .json or .scp"
        )

    def _numbered(self) -> Iterator[tuple[int, Entry]]:
        with _opened(self.path) as file:
            rows = self._rows(file)
            number = 0
            while True:
                try:
                    number, row = next(rows)
                    entry = self._entry(row)
                except StopIteration:
                    return
                except UnicodeDecodeError:
                    raise ValueError(f"{self._title} is not UTF-8 text; convert it") from None
                except (EOFError, gzip.BadGzipFile) as error:
                    raise ValueError(f"{self._title} is damaged: {error}; copy it again") from None
                except _Wrong as error:
                    raise self._error(error.line or number, str(error)) from None
                yield number, entry

    def _error(self, line: int, text: str) -> ValueError:
        return ValueError(f"{self._title}:{line}: {text}")

    # Forms of files ---------------------------------------------------------------------------

    def _table(self, file: TextIO) -> Iterator[Row]:
        """Rows of CSV; ``estimates.NAME`` is a key of its own for each source."""
        tab = ".tsv" in self.path.suffixes
        reader = csv.reader(file, delimiter="\t" if tab else ",", strict=True)
        try:
            header = [name.strip() for name in next(reader, [])]
            known = [name for name in header if name.partition(".")[0] in _KEYS]
            if _FILE not in known and _MAGNITUDES not in known:
                raise _Wrong(f"the header has no column {_FILE} or {_MAGNITUDES}{_near(header)}", 1)
            doubled = next((name for name in header if header.count(name) > 1), None)
            if doubled is not None:
                raise _Wrong(f"two columns are called {doubled!r}; rename one", 1)
            for values in reader:
                if not any(values):
                    continue
                if len(values) != len(header):
                    raise _Wrong(
                        f"{len(values)} fields for {len(header)} columns; put quotes around "
                        "those with a separator in them",
                        reader.line_num,
                    )
                yield reader.line_num, _nested(dict(zip(header, values, strict=True)))
        except csv.Error as error:
            raise _Wrong(f"{error}; repair the quotes", reader.line_num) from None

    def _objects(self, file: TextIO) -> Iterator[Row]:
        """Objects of JSON lines."""
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                found = json.loads(line)
            except (json.JSONDecodeError, RecursionError) as error:
                what = getattr(error, "msg", "nested too deeply")
                raise _Wrong(f"no JSON ({what}); write one object on each line", number) from None
            if not isinstance(found, dict):
                raise _Wrong("not an object; write one object on each line", number)
            yield number, found

    def _kaldi(self, file: TextIO) -> Iterator[Row]:
        """Utterances of ``segments``, where that is beside, or recordings."""
        recordings: dict[str, str] = {}
        beside = self.path.with_name("segments")
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            name, _, place = line.strip().partition(" ")
            place = place.strip()
            if place.endswith("|") or place == "-" or _IN_ARCHIVE.search(place) or not place:
                raise _Wrong(
                    f"{name}: {place!r} is a command, an archive or nothing; write the sound to a "
                    "file, and name that",
                    number,
                )
            if beside.exists():
                recordings[name] = place
            else:
                yield number, (name, place, 0.0, None, None)
        if not beside.exists():
            return
        with _opened(beside) as lines:
            for number, line in enumerate(lines, start=1):
                words = line.split()
                if not words:
                    continue
                if len(words) not in (4, 5) or words[1] not in recordings:
                    raise ValueError(
                        f"{beside}:{number}: expected an utterance, a recording of {self._title}, "
                        "its begin and end in seconds, and if need be a channel"
                    )
                try:
                    begin, end = float(words[2]), float(words[3])
                    channel = int(words[4]) if len(words) == 5 else None
                except ValueError:
                    begin, end, channel = math.nan, math.nan, None
                if not (0 <= begin < math.inf and (end == -1 or begin < end < math.inf)):
                    raise ValueError(
                        f"{beside}:{number}: begin and end {words[2]} {words[3]} must be seconds, "
                        "begin before end; -1 is the end of the recording"
                    )
                rest = None if end == -1 else end - begin
                yield number, (words[0], recordings[words[1]], begin, rest, channel)

    # Entries ----------------------------------------------------------------------------------

    def _segment(self, row: tuple[str, str, float, float | None, int | None]) -> Entry:
        name, place, begin, duration, channel = row
        return Entry(
            _checked_name(name),
            self._path(_FILE, place),
            offset=begin,
            duration=duration,
            channels=None if channel is None else (channel,),
        )

    def _described_or_cut(self, row: Mapping[str, Any]) -> Entry:
        return self._cut(row) if "recording" in row and "start" in row else self._described(row)

    def _described(self, row: Mapping[str, Any]) -> Entry:
        """Entry of a row of JSON or CSV."""
        recording = self._path(_FILE, row.get(_FILE))
        magnitudes = self._path(_MAGNITUDES, row.get(_MAGNITUDES))
        offset = _number(row, "offset", 0.0, 0.0)
        duration = _number(row, "duration", None, math.ulp(0.0))
        estimates = self._named(row, "estimates", None)
        references = self._named(row, "references", [*estimates] or None)
        first = recording or magnitudes
        if first is None:
            raise _Wrong(f"it has neither {_FILE} nor {_MAGNITUDES}{_near(row)}; add one")
        if estimates and (magnitudes or not recording):
            raise _Wrong(f"estimates go with {_FILE}, and without {_MAGNITUDES}; correct the line")
        if references and not (estimates or magnitudes):
            raise _Wrong(f"references go with estimates or {_MAGNITUDES}; add those")
        if magnitudes and (offset or duration is not None) and not recording:
            offset, duration = 0.0, None  # NeMo's duration tells of the file
        if magnitudes and offset:
            raise _Wrong("offset: excerpts are of sound; make magnitudes of the excerpt")
        given = row.get("id")
        if given in (None, ""):
            given = f"{first.stem}-{offset:g}" if offset else first.stem
        return Entry(
            _checked_name(given),
            recording,
            estimates,
            references,
            magnitudes,
            offset=0.0 if offset is None else offset,
            duration=None if magnitudes else duration,
        )

    def _cut(self, row: Mapping[str, Any]) -> Entry:
        """Entry of a cut of Lhotse, of one recording as it is in a file."""
        recording = row["recording"]
        kind = row.get("type", "MonoCut")
        if kind not in ("MonoCut", "MultiCut", "Cut") or not isinstance(recording, dict):
            raise _Wrong(f"type: a {kind} is no part of one file; save the sound with Lhotse first")
        if recording.get("transforms") or row.get("transforms"):
            raise _Wrong("recording: it has transforms; save the sound with Lhotse first")
        found = row.get("channel", 0)
        channels = found if isinstance(found, list) else [found]
        sources = recording.get("sources")
        for source in sources if isinstance(sources, list) else []:
            if not isinstance(source, dict) or source.get("type") != "file":
                continue
            held = source.get("channels")
            if isinstance(held, list) and all(channel in held for channel in channels):
                return Entry(
                    _checked_name(row.get("id")),
                    self._path("source", source.get("source")),
                    offset=_number(row, "start", 0.0, 0.0) or 0.0,
                    duration=_number(row, "duration", None, math.ulp(0.0)),
                    channels=tuple(held.index(channel) for channel in channels),
                )
        raise _Wrong(
            f"recording: no source is a file with channel {found}; save the sound with Lhotse first"
        )

    def _path(self, key: str, value: Any) -> Path | None:
        if value is None or value == "":
            return None
        if not isinstance(value, str) or "\0" in value:
            raise _Wrong(f"{key}: {value!r} is no path; write a text")
        return self.path.parent / value

    def _named(self, row: Mapping[str, Any], key: str, like: list[str] | None) -> dict[str, Path]:
        """Files by source: an object, or a list, whose names are those of the files."""
        value = row.get(key)
        if value in (None, "", [], {}):
            return {}
        if not isinstance(value, list | dict):
            raise _Wrong(f"{key}: {value!r} is neither a list of files nor an object with names")
        named = value if isinstance(value, dict) else None
        paths = [self._path(key, place) for place in (value if named is None else named.values())]
        if None in paths:
            raise _Wrong(f"{key}: a file has no name; write its path")
        files = [path for path in paths if path is not None]
        names = [path.stem for path in files] if named is None else list(named)
        if named is None and like is not None and len(like) == len(names):
            names = like
        if like is not None and sorted(names) != sorted(like):
            raise _Wrong(f"{key}: they are of {', '.join(names)}, and estimates of {_listed(like)}")
        if len({name.casefold() for name in names}) < len(names):
            raise _Wrong(f"{key}: two files are called alike; write an object with names")
        try:
            for name in names:
                check_name(name, key)
        except ValueError as error:
            raise _Wrong(str(error)) from None
        found = dict(zip(names, files, strict=True))
        return found if like is None else {name: found[name] for name in like}


class _Wrong(Exception):
    """What is wrong with a line."""

    def __init__(self, text: str, line: int = 0) -> None:
        super().__init__(text)
        self.line = line


def _opened(path: Path) -> TextIO:
    if path.suffix.lower() == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    return open(path, encoding="utf-8-sig", newline="")


def _nested(row: dict[str, str]) -> dict[str, Any]:
    """A row of CSV as JSON has it."""
    found: dict[str, Any] = {key: value.strip() for key, value in row.items() if "." not in key}
    for key in _NAMED:
        found[key] = {
            name.partition(".")[2]: value.strip()
            for name, value in row.items()
            if name.startswith(f"{key}.") and value.strip()
        }
    return found


def _number(row: Mapping[str, Any], key: str, default: float | None, least: float) -> float | None:
    value = row.get(key)
    if value is None or value == "":
        return default
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not least <= number < math.inf:
        raise _Wrong(
            f"{key}: {value!r} must be seconds, {'0' if least == 0 else 'more than 0'}"
            f"{' or more' if least == 0 else ''}"
        )
    return number


def _checked_name(value: Any) -> str:
    """Name of an entry, which files are named after."""
    name = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
    parts = name.split("/")
    bad = any(not part or part.startswith(".") or len(part) > 200 for part in parts)
    if bad or parts[-1].lower().endswith(".json") or any(c == "\\" or ord(c) < 32 for c in name):
        raise _Wrong(
            f"id: {value!r} cannot be the name of files; write parts between / that are not empty, "
            "do not begin with a dot and do not end with .json"
        )
    return name


def _near(keys: Iterable[str]) -> str:
    found = (suggestion(key, [_FILE, _MAGNITUDES]) for key in keys if isinstance(key, str))
    return next((text for text in chain(found) if text), "")


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)
