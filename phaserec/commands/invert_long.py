"""``phaserec invert`` of files that do not fit into memory: read, done and written in blocks."""

import math
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from phaserec import audio
from phaserec._files import replacing
from phaserec._memory import as_bytes
from phaserec.commands.console import watched
from phaserec.commands.inputs import check_several
from phaserec.commands.long_inputs import LongInputs, open_long
from phaserec.commands.options import Signals, Transform
from phaserec.commands.recovering import (
    Recipe,
    check_outputs,
    described,
    print_scores,
    warn_of_clipping,
)
from phaserec.commands.results import STDOUT, as_json, check_targets, words_to, write_results
from phaserec.measures import RunningSDR
from phaserec.solving.blocks import BlockedRun, prepare_blocks

# Bins for which nobody asks how much memory there is.
_SHORT = 1 << 22
# Bytes a bin and a sample that whole files take on their way to an inversion and from it.
_BIN, _SAMPLE = 40, 32


def run_if_long(
    recipe: Recipe,
    signals: Signals,
    chosen: Transform,
    preset: str | None,
    no_overwrite: bool,
    subtype: str | None,
    json_file: str | None,
    *,
    memory: str | None,
    targets_of: Callable[[Sequence[str]], list[Path]],
    looks: Sequence[str],
) -> bool:
    """Do files that do not fit into memory; leave others to who reads them as a whole.

    Parameters
    ----------
    recipe, signals, chosen
        What is done, and to what.
    preset, no_overwrite, subtype, json_file, memory
        Options of the command line.
    targets_of : callable
        Files to write for names of sources; none for standard output.
    looks : sequence of str
        Options that need the whole file.

    Returns
    -------
    bool
        Whether it was done.

    Raises
    ------
    ValueError, OSError
        For anything wrong with the files; none has been written then.
    """
    bound = None if memory is None else as_bytes("--memory", memory)
    with ExitStack() as open_files:
        given = None
        if recipe.beginning.device == "cpu":
            given = open_long(signals, chosen, open_files, transform=recipe.transform)
        if given is None:
            if memory is not None and not signals.shipped:
                raise ValueError(
                    "--memory is for audio files and npy files of magnitudes on a cpu; npz files, "
                    "standard input and other devices are read as a whole"
                )
            return False
        run = _blocked(recipe, given, bound)
        if run is None or len(run.blocks) == 1:
            return False
        check_several([recipe.algorithm], given.names, mixture=given.problem.has_mixture)
        for name in looks:
            raise ValueError(
                f"{name} needs the whole file at once, and there is memory for a part of it; "
                "allow more with --memory, or cut the file"
            )
        targets = targets_of(given.names)
        if not targets:
            raise ValueError(
                "-o - needs the whole result at once, and there is memory for a part of it; name "
                "a folder"
            )
        check_targets(*map(str, targets), json_file)
        others = [Path(json_file)] if json_file not in (None, STDOUT) else []
        inputs = [*signals.files, *([] if preset is None else [preset])]
        check_outputs(targets, others, inputs, subtype, no_overwrite)
        with replacing([*targets, *others]) as places:
            columns = watched(_written(run, given, targets, places, subtype))
            document = as_json(_document(recipe, run, given, targets, columns))
            for place in places[len(targets) :]:
                place.write_text(document, encoding="utf-8")
    stream = words_to(json_file)
    if columns:
        print_scores(given.names, columns, stream)
    for target in [*targets, *others]:
        print(target, file=stream)
    if json_file == STDOUT:
        write_results({STDOUT: document})
    return True


def _blocked(recipe: Recipe, given: LongInputs, bound: int | None) -> BlockedRun | None:
    """The run; None for files that are too short to ask how much memory there is."""
    *lead, n_bins, n_frames = given.problem.shape
    sources = math.prod(lead)
    if bound is None and sources * n_bins * n_frames < _SHORT:
        return None
    beside = sources * (_BIN * n_bins + _SAMPLE * given.stft.hop_length)
    init = recipe.beginning.init
    return prepare_blocks(
        recipe.algorithm,
        replace(given.problem, beside=beside),
        recipe.n_iter,
        init=given.start if init == "estimates" else init,
        rng=recipe.seed,
        machine=recipe.beginning.machine,
        memory=bound,
    )


def _written(
    run: BlockedRun,
    given: LongInputs,
    targets: Sequence[Path],
    places: Sequence[Path],
    subtype: str | None,
) -> Generator[float, None, dict[str, np.ndarray]]:
    """Write the sources piece by piece; yields the fraction done, and returns SDR."""
    channels, length = run.problem.shape[0], run.problem.length
    scores = {
        name: RunningSDR()
        for name, waves in (("given", given.estimates), ("after", given.references))
        if waves is not None and given.references is not None
    }
    with ExitStack() as writing:
        writers = [
            writing.enter_context(
                closing(audio.Writer(place, target, given.rate, channels, length, subtype=subtype))
            )
            for place, target in zip(places, targets, strict=False)
        ]
        done = 0
        for piece in run.waveforms():
            for j, writer in enumerate(writers):
                writer.write(piece[:, j])
            part = done, done + piece.shape[-1]
            if given.references is not None:
                truth = given.references(*part)
                scores["after"].add(truth, piece)
                if given.estimates is not None:
                    scores["given"].add(truth, given.estimates(*part))
            done = part[1]
            yield done / length
    warn_of_clipping(max(writer.peak for writer in writers), writers[0].kind)
    return {name: score.value.mean(axis=0) for name, score in scores.items()}


def _document(
    recipe: Recipe,
    run: BlockedRun,
    given: LongInputs,
    targets: Sequence[Path],
    columns: Mapping[str, np.ndarray],
) -> dict[str, Any]:
    facts = {
        "init": run.init if isinstance(run.init, str) else "estimates",
        "machine": run.machine,
        "stft": given.stft.settings,
        "rate": given.rate,
        "channels": run.problem.shape[0],
        "length": run.problem.length,
        "memory": run.facts,
    }
    return described(recipe, facts, given.names, targets, columns)
