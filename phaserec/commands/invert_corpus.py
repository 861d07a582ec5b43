"""``phaserec invert`` of a corpus: what is missing or changed, each written when it is done."""

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from phaserec import audio
from phaserec._files import check_folder, remove_abandoned
from phaserec.commands.devices import check_device
from phaserec.commands.executors import opened
from phaserec.commands.invert_item import InvertItem
from phaserec.commands.options import Corpus, Signals, Transform
from phaserec.commands.progress import Progress
from phaserec.commands.recovering import Recipe, check_outputs, print_scores
from phaserec.commands.results import STDOUT, as_json, check_targets, words_to, write_results
from phaserec.corpus.entries import Entry, shard
from phaserec.corpus.manifests import Manifest
from phaserec.corpus.mixtures import MixtureFolder
from phaserec.corpus.running import run as run_tasks
from phaserec.corpus.tasks import Record, Task
from phaserec.corpus.workers import Failed
from phaserec.solving import KERNEL, VARIABLE
from phaserec.stft import STFT


def run(
    recipe_for: Callable[[bool], Recipe],
    signals: Signals,
    corpus: Corpus,
    chosen: Transform,
    preset: str | None,
    output: str | None,
    no_overwrite: bool,
    subtype: str | None,
    json_file: str | None,
) -> int:
    """Do every entry of a corpus with the same seed; what is done stays when the rest is not.

    Parameters
    ----------
    recipe_for : callable
        What is done, where all entries are without a mixture and where not.
    signals : Signals
        The folder of the estimates where there is one.
    corpus : Corpus
        What the corpus is and what works on it.
    chosen : Transform
        The transform as typed.
    preset, output, no_overwrite, subtype, json_file
        Options of the command line.

    Returns
    -------
    int
        Number of entries that could not be done; each has been named on standard error.

    Raises
    ------
    ValueError, OSError
        For anything wrong with the corpus as a whole, when nothing has been written, or with what
        runs it; what is done then stays.
    """
    place = _place(corpus.shard)
    entries, alone = _entries(signals, corpus)
    recipe = recipe_for(alone)
    if recipe.beginning.device != "cpu":
        check_device(recipe.beginning.device)
    top = _output(output, signals, corpus)
    work = InvertItem(
        recipe.algorithm.base,
        recipe.n_iter,
        recipe.algorithm.given,
        stft=STFT() if recipe.transform is None else recipe.transform,
        init=recipe.beginning.init,
        seed=recipe.seed,
        device=recipe.beginning.device,
        machine=recipe.beginning.machine or os.environ.get(VARIABLE) or KERNEL,
        subtype=subtype,
        typed={name: value for name, value in vars(chosen).items() if value is not None},
    )
    # Processes elsewhere are in another folder.
    task = Task(work, os.path.abspath(top), replace=not no_overwrite)
    _check_apart(task, entries, preset, json_file, subtype, no_overwrite)
    remove_abandoned(top)
    total = len(range(place[0] - 1, len(entries), place[1]))
    documents: dict[str, dict[str, Any]] = {}
    failed: dict[str, str] = {}
    progress = Progress(total)
    try:
        with opened(corpus.jobs, corpus.scheduler, total) as (executor, window), progress.shown():
            mine = shard(iter(entries), place)
            for entry, outcome in run_tasks(task, mine, executor, window=window):
                lost = isinstance(outcome, Failed)
                progress.update(failed=lost, found=isinstance(outcome, Record) and outcome.found)
                if isinstance(outcome, Failed):
                    failed[entry.name] = outcome.reason
                    told: dict[str, Any] = {"error": outcome.reason}
                else:
                    told = _told(outcome, top)
                    if not outcome.found:
                        _print(told, words_to(json_file))
                if json_file is not None:
                    documents[entry.name] = {"example": entry.name} | told
    except KeyboardInterrupt:
        _note(f"{progress.done} of {total} done; the same command goes on from here")
        raise
    remove_abandoned(top)  # of processes that were killed in this run
    if json_file is not None:
        ordered = [documents[entry.name] for entry in shard(iter(entries), place)]
        write_results({json_file: as_json(ordered)})
    for name, reason in failed.items():
        _note(f"{name}: {reason}")
    if progress.found:
        _note(f"{progress.found} of {total} were done before")
    if failed:
        _note(f"{len(failed)} of {total} examples could not be done")
    return len(failed)


def _note(text: str) -> None:
    print(f"phaserec: {text}", file=sys.stderr)


def _place(words: str | None) -> tuple[int, int]:
    """Which job of how many."""
    first, slash, count = ("1/1" if words is None else words).partition("/")
    if not (slash and first.isdecimal() and count.isdecimal() and 1 <= int(first) <= int(count)):
        raise ValueError(f"--shard {words} must be I/N with I from 1 to N, such as 2/8")
    return int(first), int(count)


def _entries(signals: Signals, corpus: Corpus) -> tuple[Sequence[Entry] | Manifest, bool]:
    """The corpus, and whether all of it is without mixtures; refuses options about one mixture."""
    if corpus.batch is not None and signals.mixture is not None:
        raise ValueError(f"MIXTURE {signals.mixture} and --batch {corpus.batch}: name one of them")
    path = signals.folder if corpus.batch is None else corpus.batch
    assert path is not None
    only_one = {
        "--magnitudes": signals.magnitudes,
        "--references": signals.references,
        "--remainder": signals.remainder,
        "--rate": signals.rate,
        "--length": signals.length,
    }
    for option, value in only_one.items():
        if value:
            raise ValueError(
                f"{option} goes with one mixture, and {path} has many; name a file, or leave it out"
            )
    given = list(signals.estimates)
    if not os.path.isdir(path):
        if given:
            raise ValueError(f"--estimates goes with a folder, and {path} names its own; leave it")
        manifest = Manifest(path)
        return manifest, manifest.alone
    if len(given) > 1 or (given and not Path(given[0]).is_dir()):
        raise ValueError(
            f"--estimates {' '.join(given)}: for a folder of mixtures name one folder, with "
            "EXAMPLE/SOURCE.wav for each of them"
        )
    estimates = os.path.abspath(given[0]) if given else None
    return MixtureFolder(os.path.abspath(path), STFT(), estimates).entries, False


def _output(output: str | None, signals: Signals, corpus: Corpus) -> Path:
    """Folder of the results; raises if it is clear now that it cannot be one."""
    output = "recovered" if output is None else output
    top = Path(output)
    if output == "-" or top.suffix.lower() in audio.SUFFIXES:
        raise ValueError(f"-o {output} is no folder; name one for a corpus")
    for read in (corpus.batch, signals.folder, *signals.estimates):
        # What is written there would be an example of the next run.
        inside = read is not None and top.resolve().is_relative_to(Path(read).resolve())
        if inside and os.path.isdir(str(read)):
            raise ValueError(f"-o {output} is in {read}, which is read; choose another folder")
    check_folder(f"-o {output}", top)
    return top


def _check_apart(
    task: Task,
    entries: Iterable[Entry],
    preset: str | None,
    json_file: str | None,
    subtype: str | None,
    no_overwrite: bool,
) -> None:
    """Raise if an input, or what is to stay, would be replaced."""
    check_targets(json_file)
    others = [Path(json_file)] if json_file is not None and json_file != STDOUT else []
    for path in others:
        _check_no_result(path, task, entries)
    unknown = list(_unrecorded(task, entries))
    inputs: Iterable[str | Path] = []
    if unknown or others:  # a million files are not asked for nothing
        presets = [] if preset is None else [Path(preset)]
        inputs = chain(presets, chain.from_iterable(entry.paths for entry in entries))
    check_outputs(unknown, others, inputs, subtype, no_overwrite)


def _check_no_result(path: Path, task: Task, entries: Iterable[Entry]) -> None:
    real, top = path.resolve(), Path(task.output).resolve()
    if not real.is_relative_to(top):
        return
    for entry in entries:
        sound = real.parent == top / entry.name and real.suffix.lower() in audio.SUFFIXES
        if sound or real == top / f"{entry.name}.json":
            raise ValueError(f"{path} is named for two outputs; choose another one")


def _unrecorded(task: Task, entries: Iterable[Entry]) -> Iterator[Path]:
    """Files where results go that no record tells of."""
    if not os.path.isdir(task.output):
        return
    for entry in entries:
        folder = Path(task.output) / entry.name
        if folder.is_dir() and not task.record_path(entry).exists():
            yield from sorted(folder.glob("*.wav"))


def _told(record: Record, top: Path) -> dict[str, Any]:
    """The document of an example, with the paths of its files as they can be opened."""
    document: dict[str, Any] = {**record.document}
    sources = [s | {"file": str(top / s["file"])} for s in document["sources"]]
    return document | {"sources": sources}


def _print(told: dict[str, Any], stream: Any) -> None:
    sources = told["sources"]
    columns = {
        title: [_decibels(source["sdr"][title]) for source in sources]
        for title in sources[0].get("sdr", {})
    }
    if columns:
        print_scores([source["name"] for source in sources], columns, stream)
    for source in sources:
        print(source["file"], file=stream)


def _decibels(value: float | None) -> float:
    return float("nan") if value is None else value
