"""Which file is the estimate of which: pairs of files, folders, and folders of sources."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from phaserec.corpus.folders import audio_files
from phaserec.corpus.layouts import LAYOUTS, Layout, arrange, arrange_like, guess


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
        Folder with a file for each item, or one file for all items; default what the folder of
        references holds.
    layout : {"files", "folders", "speakers", "pairs"}, optional
        How the references are arranged, see :mod:`phaserec.corpus.layouts`; default what the
        folder looks like. Estimates are arranged in the same way, or are ``ITEM/SOURCE.wav``.
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
    layout = guess(reference, found) if layout is None else layout
    if layout not in LAYOUTS:
        raise ValueError(f"layout={layout!r} is not one of {', '.join(LAYOUTS)}")
    if layout == "files" and permute:
        raise ValueError(
            f"every file of {reference} is an item of one source, so there is nothing to permute; "
            "use the layout folders or speakers"
        )
    if layout != "files" and target is not None:
        raise ValueError(f"target={target!r} is for the layout files, not {layout}")
    arranged = arrange(reference, found, layout)
    truth = {name: files.sources for name, files in arranged.items() if files.sources}
    guesses = arrange_like(estimate, layout, truth, target=target)
    one = mixture if mixture is not None and mixture.is_file() else None
    wholes = {name: files.mixture for name, files in arranged.items()}
    if mixture is not None and one is None:
        files_of = arrange(mixture, audio_files(mixture), "files")
        wholes = {name: files.sources[""] for name, files in files_of.items()}
    items, missing, unused = [], {}, []
    for name, sources in truth.items():
        candidates = guesses.pop(name, {})
        try:
            chosen = _partners(name, sources, candidates, estimate, permute)
            whole = one
            if one is None and (mixture is not None or wholes[name]):
                where = reference if mixture is None else mixture
                whole = _only(wholes.get(name, ()), f"mixture of {name} in {where}")
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
    others = ", ".join(candidates)
    hint = f"; it has {others}, which permute matches by their sound" if whole and others else ""
    raise LookupError(f"{folder} holds no estimate of {what}{hint}")


def _only(paths: Sequence[Path], what: str) -> Path:
    if not paths:
        raise LookupError(f"no {what}")
    if len(paths) > 1:
        raise LookupError(f"{what} is not one file: {', '.join(str(path) for path in paths)}")
    return paths[0]
