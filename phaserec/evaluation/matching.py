"""Which file is the estimate of which: pairs of files, folders, and folders of sources."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from phaserec.corpus.folders import audio_files

Layout = Literal["files", "folders", "speakers"]
LAYOUTS: tuple[str, ...] = get_args(Layout)

_SPEAKER = re.compile(r"(s|spk|speaker|source)[-_ ]?\d+", re.IGNORECASE)


@dataclass(frozen=True)
class Item:
    """A recording: its true sources, their estimates, and perhaps their mixture.

    Attributes
    ----------
    name : str
        Name.
    sources : tuple of str
        Names of its J sources.
    references, estimates : tuple of Path
        J files each; with ``permute`` the order of the estimates is to be found.
    estimate_names : tuple of str
        Names of the estimates.
    mixture : Path, optional
        The mixture.
    """

    name: str
    sources: tuple[str, ...]
    references: tuple[Path, ...]
    estimates: tuple[Path, ...]
    estimate_names: tuple[str, ...]
    mixture: Path | None = None


@dataclass(frozen=True)
class Matches:
    """What was found.

    Attributes
    ----------
    items : list of Item
        Items that are complete, by name.
    missing : dict of str to str
        Items that cannot be scored, and why.
    unused : list of Path
        Estimates that belong to no reference.
    """

    items: list[Item]
    missing: dict[str, str]
    unused: list[Path]

    @property
    def files(self) -> list[Path]:
        """Every file that was found."""
        found = [path for item in self.items for path in (*item.references, *item.estimates)]
        found += [item.mixture for item in self.items if item.mixture is not None]
        return [*found, *self.unused]


def match(
    reference: str | Path,
    estimate: str | Path,
    *,
    mixture: str | Path | None = None,
    layout: Layout | None = None,
    target: str | None = None,
    permute: bool = False,
) -> Matches:
    """Match references with estimates by their names; endings of files do not count.

    Parameters
    ----------
    reference, estimate : str or Path
        Two files, or two folders.
    mixture : str or Path, optional
        Folder with a file for each item, or one file for all items.
    layout : {"files", "folders", "speakers"}, optional
        What an item is: every file (``DIR/ITEM.wav``), every folder of sources
        (``DIR/ITEM/SOURCE.wav``), or the files of one name in the folders of the speakers
        (``DIR/SPEAKER/ITEM.wav``). By default what the folder of references looks like: speakers
        where it holds folders s1, s2, … (others are then passed over); folders where several
        files of the same names are in each folder; else files.
    target : str, optional
        For the layout ``files``: the estimates are ``ITEM/TARGET.wav``, as ``unfolded separate``
        writes them.
    permute : bool, default False
        The names of the estimates in an item need not be those of the references.

    Returns
    -------
    Matches
        Items, and what has no partner.

    Raises
    ------
    ValueError
        If nothing matches, or files and folders are mixed.
    OSError
        If a path does not exist.
    """
    places = [Path(place) for place in (reference, estimate)]
    for place in [*places, *([Path(mixture)] if mixture is not None else [])]:
        if not place.exists():
            raise FileNotFoundError(f"{place}: no such file or folder")
    if places[0].is_dir() != places[1].is_dir():
        raise ValueError(f"{reference} and {estimate} must both be files or both be folders")
    whole = None if mixture is None else Path(mixture)
    if not places[0].is_dir():
        if whole is not None and whole.is_dir():
            raise ValueError(f"the mixture of two files is a file, but {mixture} is a folder")
        if permute or target is not None or layout not in (None, "files"):
            raise ValueError("two files are one source; permute, target and layout are for folders")
        one = Item(
            places[0].stem,
            ("",),
            (places[0],),
            (places[1],),
            ("",),
            whole,
        )
        return Matches([one], {}, [])
    return _match_folders(places[0], places[1], whole, layout, target, permute)


def _match_folders(
    reference: Path,
    estimate: Path,
    mixture: Path | None,
    layout: Layout | None,
    target: str | None,
    permute: bool,
) -> Matches:
    found = audio_files(reference, without=mixture)
    if not found:
        raise ValueError(f"{reference} holds no audio files")
    layout = _guess(found) if layout is None else layout
    if layout not in LAYOUTS:
        raise ValueError(f"layout={layout!r} is not one of {', '.join(LAYOUTS)}")
    if layout == "files" and permute:
        raise ValueError(
            f"every file of {reference} is an item of one source, so there is nothing to permute; "
            "use the layout folders or speakers"
        )
    if layout != "files" and target is not None:
        raise ValueError(f"target={target!r} is for the layout files, not {layout}")
    truth = _tree(reference, found, layout)
    guesses = _tree(estimate, audio_files(estimate), layout, target)
    one = mixture if mixture is not None and mixture.is_file() else None
    wholes = {}
    if mixture is not None and one is None:
        wholes = _tree(mixture, audio_files(mixture), "files")
    items, missing, unused = [], {}, []
    for name, sources in truth.items():
        candidates = guesses.pop(name, {})
        try:
            chosen = _partners(name, sources, candidates, estimate, permute)
            whole = one
            if mixture is not None and one is None:
                whole = _only(wholes.get(name, {}).get("", ()), f"mixture of {name} in {mixture}")
            references = tuple(_only(paths, f"reference {name}") for paths in sources.values())
            estimates = tuple(_only(candidates[key], f"estimate of {name}") for key in chosen)
        except LookupError as error:
            missing[name] = str(error.args[0])
            continue
        items.append(Item(name, tuple(sources), references, estimates, tuple(chosen), whole))
        unused += [path for key in candidates.keys() - set(chosen) for path in candidates[key]]
    unused += [path for left in guesses.values() for paths in left.values() for path in paths]
    if not items:
        example = next(iter(missing.values()))
        raise ValueError(f"no reference in {reference} has an estimate in {estimate}: {example}")
    return Matches(items, missing, sorted(unused))


def _partners(
    name: str,
    sources: Mapping[str, Sequence[Path]],
    candidates: Mapping[str, Sequence[Path]],
    folder: Path,
    permute: bool,
) -> list[str]:
    """Names of the estimates, in the order of the sources."""
    lacking = [source for source in sources if source not in candidates]
    if not lacking:
        return list(sources)
    if permute and len(candidates) == len(sources):
        return list(candidates)
    if permute and candidates:
        raise LookupError(f"it has {len(sources)} references but {len(candidates)} estimate(s)")
    whole = len(lacking) == len(sources)
    what = name if whole else f"source {', '.join(lacking)} of {name}"
    raise LookupError(f"{folder} holds no estimate of {what}")


def _only(paths: Sequence[Path], what: str) -> Path:
    if not paths:
        raise LookupError(f"no {what}")
    if len(paths) > 1:
        raise LookupError(f"{what} is not one file: {', '.join(str(path) for path in paths)}")
    return paths[0]


def _guess(paths: Sequence[Path]) -> Layout:
    """Layout of a folder of references with these files."""
    folders: dict[Path, set[str]] = {}
    for path in paths:
        folders.setdefault(path.parent, set()).add(path.stem)
    if Path() in folders:
        return "files"
    if _speakers(paths):
        return "speakers"
    names = next(iter(folders.values()))
    if len(names) > 1 and all(stems == names for stems in folders.values()):
        return "folders"
    return "files"


def _speakers(paths: Sequence[Path]) -> set[str]:
    """Folders named s1, s2, …, where there are several."""
    tops = {path.parts[0] for path in paths if _SPEAKER.fullmatch(path.parts[0])}
    return tops if len(tops) > 1 else set()


def _tree(
    folder: Path, paths: Sequence[Path], layout: Layout, target: str | None = None
) -> dict[str, dict[str, list[Path]]]:
    """Files by item and source."""
    tree: dict[str, dict[str, list[Path]]] = {}
    speakers = _speakers(paths) if layout == "speakers" else None
    for path in paths:
        if speakers and path.parts[0] not in speakers:
            continue  # the folder of the mixtures, say
        name, source = path.with_suffix("").as_posix(), ""
        if layout == "folders":
            name, source = path.parent.as_posix(), path.stem
        elif layout == "speakers":
            source, _, name = name.partition("/")
            if not name:
                raise ValueError(f"{folder / path} is in no folder of a speaker")
        elif target is not None:
            if path.stem != target:
                continue
            name = path.parent.as_posix()
        tree.setdefault(name, {}).setdefault(source, []).append(folder / path)
    return {name: dict(sorted(tree[name].items())) for name in sorted(tree)}
