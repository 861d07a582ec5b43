"""``phaserec invert`` of a folder: one example after the other, each written when it is done."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from tqdm import tqdm

from phaserec import audio
from phaserec._files import check_folder, distinct
from phaserec._xp import to_numpy
from phaserec.commands.console import one_line
from phaserec.commands.devices import check_device
from phaserec.commands.inputs import Inputs, check_mixing, typed_transform
from phaserec.commands.options import Signals, Transform
from phaserec.commands.recovering import (
    Recipe,
    check_outputs,
    document,
    print_scores,
    scores,
    write,
)
from phaserec.commands.results import STDOUT, as_json, check_targets, words_to, write_results
from phaserec.corpus.mixtures import Item, MixtureFolder
from phaserec.stft import STFT


def run(
    recipe: Recipe,
    signals: Signals,
    chosen: Transform,
    preset: str | None,
    output: str | None,
    no_overwrite: bool,
    subtype: str | None,
    json_file: str | None,
) -> int:
    """Do every example of a folder with the same seed; what is done stays when the rest is not.

    Parameters
    ----------
    recipe : Recipe
        What is done.
    signals : Signals
        The folder, and that of the estimates where there is one.
    chosen : Transform
        The transform as typed.
    preset, output, no_overwrite, subtype, json_file
        Options of the command line.

    Returns
    -------
    int
        Number of examples that could not be done; each has been named on standard error.

    Raises
    ------
    ValueError, OSError
        For anything wrong with the folder as a whole; nothing has been written then.
    """
    if recipe.beginning.device != "cpu":
        check_device(recipe.beginning.device)
    otherwise = STFT() if recipe.transform is None else recipe.transform
    folder = _folder(signals, typed_transform(chosen, otherwise))
    places = _places(folder, output)
    check_targets(json_file)
    targets = [target for place in places for target in place]
    others = [Path(json_file)] if json_file not in (None, STDOUT) else []
    inputs = [*folder.paths, *([Path(preset)] if preset is not None else [])]
    check_outputs(targets, others, inputs, subtype, no_overwrite)
    documents: list[dict[str, Any]] = []
    failed: dict[str, str] = {}
    with tqdm(total=len(folder), disable=not sys.stderr.isatty(), leave=False) as bar:
        for index, place in enumerate(places):
            name = folder.files[index].name
            try:
                done = _example(folder, index, recipe, place, subtype, words_to(json_file))
            except (ValueError, OSError, MemoryError) as error:  # the others can be done
                failed[name] = one_line(error)
                done = {"error": failed[name]}
            documents.append({"example": name} | done)
            bar.update()
    if json_file is not None:
        write_results({json_file: as_json(documents)})
    for name, reason in failed.items():
        print(f"phaserec: {name}: {reason}", file=sys.stderr)
    if failed:
        print(
            f"phaserec: {len(failed)} of {len(folder)} examples could not be done", file=sys.stderr
        )
    return len(failed)


def _folder(signals: Signals, stft: STFT) -> MixtureFolder:
    """The examples; raises ValueError for options that are about one mixture."""
    assert signals.folder is not None
    alone = {
        "--magnitudes": signals.magnitudes,
        "--references": signals.references,
        "--remainder": signals.remainder,
        "--rate": signals.rate,
        "--length": signals.length,
    }
    for option, value in alone.items():
        if value:
            raise ValueError(
                f"{option} goes with one mixture, and {signals.folder} is a folder; name a file, "
                "or leave it out"
            )
    given = list(signals.estimates)
    if len(given) > 1 or (given and not Path(given[0]).is_dir()):
        raise ValueError(
            f"--estimates {' '.join(given)}: for a folder of mixtures name one folder, with "
            "EXAMPLE/SOURCE.wav for each of them"
        )
    return MixtureFolder(signals.folder, stft, given[0] if given else None)


def _places(folder: MixtureFolder, output: str | None) -> list[list[Path]]:
    """Files to write for each example; raises if it is clear now that they cannot be."""
    output = "recovered" if output is None else output
    top = Path(output)
    if output == "-" or top.suffix.lower() in audio.SUFFIXES:
        raise ValueError(f"-o {output} is no folder; name one for {len(folder)} examples")
    for read in (folder.folder, folder.estimates):
        # What is written there would be an example of the next run.
        if read is not None and top.resolve().is_relative_to(Path(read).resolve()):
            raise ValueError(f"-o {output} is in {read}, which is read; choose another folder")
    check_folder(f"-o {output}", top)
    examples = distinct([files.name for files in folder.files])
    sources = distinct(folder.sources)
    return [[top / example / f"{source}.wav" for source in sources] for example in examples]


def _example(
    folder: MixtureFolder,
    index: int,
    recipe: Recipe,
    targets: Sequence[Path],
    subtype: str | None,
    stream: TextIO,
) -> dict[str, Any]:
    """Read, invert and write one example; its document."""
    given = _inputs(folder[index], folder.stft)
    check_mixing([recipe.algorithm], given)
    run = recipe.prepared(given)
    waveforms = to_numpy(run.result())
    columns: dict[str, np.ndarray] = {}
    if given.references is not None:
        columns = scores(given, recipe.before(run), waveforms)
        print_scores(given, columns, stream)
    made = document(recipe, run, given, targets, columns)
    write(waveforms, given.rate, targets, subtype, {})
    for target in targets:
        print(target, file=stream)
    return made


def _inputs(item: Item, stft: STFT) -> Inputs:
    """An example: its sources are the estimates, or the references of those of another folder."""
    own = item.estimates is None
    return Inputs(
        title=item.name,
        names=list(item.sources),
        magnitudes=item.magnitudes,
        mixture=item.mixture,
        estimates=item.references if own else item.estimates,
        references=None if own else item.references,
        rate=item.rate,
        length=None,
        stft=stft,
    )
