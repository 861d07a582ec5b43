"""``phaserec invert``: one inversion from files to files."""

import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from phaserec import audio
from phaserec._files import check_folder
from phaserec._xp import to_numpy
from phaserec.commands.console import command_line, standard_output, watched
from phaserec.commands.following import Followed, follow_to_end
from phaserec.commands.inputs import Inputs, check_mixing, load
from phaserec.commands.options import Beginning, Corpus, Mel, Signals, Transform, without
from phaserec.commands.recovering import (
    Recipe,
    check_outputs,
    document,
    print_scores,
    scores,
    write,
)
from phaserec.commands.results import STDOUT, as_json, check_targets, words_to, write_results
from phaserec.solving import Point, PreparedRun

_EXPLAINED = (
    "start: the true magnitudes with the phases of the mixture, or of --init; "
    "after: the result. Hear the difference in:"
)


def run(
    preset: str | None,
    algo: str | None,
    n_iter: int | None,
    output: str | None,
    no_overwrite: bool,
    subtype: str | None,
    trace: bool,
    memory: str | None,
    json_file: str | None,
    report: str | None,
    seconds: float,
    **options: Any,
) -> int:
    """Read the inputs, recover the phases, report, and write the results.

    Parameters are the options of the command line; ``options`` holds those of the groups, and the
    hyper-parameters as typed.

    Returns
    -------
    int
        Number of examples of a folder that could not be done; each has been named.

    Raises
    ------
    ValueError, OSError
        For anything wrong with the input; nothing has been written then.
    """
    signals, chosen = Signals(options), Transform(options)
    beginning, mel, corpus = Beginning(options), Mel(options), Corpus(options)
    words = without(options, Signals, Transform, Beginning, Mel, Corpus)
    if mel.given and preset is None:
        algo = algo or "fast-griffin-lim"
    if corpus.batch is not None or (signals.folder is not None and not mel.given):
        from phaserec.commands import invert_corpus  # has no part in other runs

        if trace or report is not None:
            raise ValueError("--trace and --report show one mixture, and a corpus has many")
        if mel.given:
            raise ValueError("--mel and --analyse are about one recording; leave --batch out")
        if memory is not None:
            raise ValueError("--memory is about one recording; a corpus is read file by file")
        # A random seed would make every run another one, which has nothing done.
        beginning.seed = 0 if beginning.seed is None else beginning.seed
        return invert_corpus.run(
            lambda alone: Recipe.chosen(alone, beginning, preset, algo, n_iter, words),
            signals,
            corpus,
            chosen,
            preset,
            output,
            no_overwrite,
            subtype,
            json_file,
        )
    for option, value in vars(corpus).items():
        if value is not None:
            raise ValueError(f"--{option} is about a corpus; name one with --batch")
    # One seed for all that follows, so that every use of it starts from the same phases.
    recipe = Recipe.chosen(signals.alone, beginning, preset, algo, n_iter, words)
    output = _output(output, signals)
    if not mel.given:
        from phaserec.commands import invert_long

        done = invert_long.run_if_long(
            recipe,
            signals,
            chosen,
            preset,
            no_overwrite,
            subtype,
            json_file,
            memory=memory,
            targets_of=partial(_targets, output),
            looks=[name for name, given in (("--trace", trace), ("--report", report)) if given],
        )
        if done:
            return 0
    if mel.given:
        from phaserec.commands import mel_inputs  # has no part in other runs

        given = mel_inputs.load(mel, signals, chosen, transform=recipe.transform)
    else:
        given = load(signals, chosen, transform=recipe.transform)
    check_mixing([recipe.algorithm], given)
    targets = _targets(output, given.names)
    check_targets(*(map(str, targets) if targets else [output]), json_file, report)
    others = [Path(name) for name in (json_file, report) if name not in (None, STDOUT)]
    inputs = [*signals.files, *(name for name in (preset, mel.mel) if name is not None)]
    check_outputs(targets, others, inputs, subtype, no_overwrite)
    if report is not None:
        from phaserec.report import check_report  # has no part in other runs

        check_report("--report", report, seconds)
    run = recipe.prepared(given)
    followed = None
    if trace or report is not None:
        followed = _followed(run, given, trace)
        waveforms = followed.waveforms
    else:
        waveforms = to_numpy(watched(run.progress()))
    stream = words_to(output, json_file)
    if given.shipped:
        print(f"The shipped example with the true magnitudes: {_title(run)}", file=stream)
    if given.references is not None or report is not None:
        before = recipe.before(run)
    columns: dict[str, np.ndarray] = {}
    if given.references is not None:
        columns = scores(given, before, waveforms)
        print_scores(given.names, columns, stream)
    if given.shipped:
        print(_EXPLAINED, file=stream)
    pages: dict[Path, bytes] = {}
    if json_file is not None:
        made = as_json(document(recipe, run, given, targets, columns))
        if json_file != STDOUT:
            pages[Path(json_file)] = made.encode()
    if report is not None and followed is not None:
        pages[Path(report)] = _page(given, before, followed, recipe, seconds)
    write(waveforms, given.rate, targets, subtype, pages)
    if output == "-":
        _stream(waveforms, given.rate, subtype)
    for target in [*targets, *pages]:
        print(target, file=stream)
    if json_file == STDOUT:
        write_results({STDOUT: made})
    return 0


def _page(
    given: Inputs,
    before: np.ndarray,
    followed: Followed,
    recipe: Recipe,
    seconds: float,
) -> bytes:
    """The page of a run."""
    from phaserec.commands.experiment import experiment
    from phaserec.report import render

    command = command_line()
    page = experiment(
        given,
        {followed.start: before},
        [followed],
        seed=recipe.seed,
        command=command,
        seconds=seconds,
    )
    return render(page).encode()


def _title(run: PreparedRun) -> str:
    given = "".join(f"{name}={value}, " for name, value in run.algorithm.given.items())
    return f"{run.algorithm.base.name}, {given}{run.n_iter} iterations"


def _followed(run: PreparedRun, given: Inputs, trace: bool) -> Followed:
    """Run an algorithm with measures at every iteration, printed with ``trace``."""
    steps = follow_to_end(run, given, bar=not trace)
    if trace:
        _trace_line("iteration", "objective", given.names if given.references is not None else [])
    return Followed.of(run, _traced(steps) if trace else steps)


def _traced(
    steps: Iterator[tuple[Point, np.ndarray | None, np.ndarray]],
) -> Iterator[tuple[Point, np.ndarray | None, np.ndarray]]:
    for point, values, waveforms in steps:
        objective = "-" if point.objective is None else f"{point.objective:.6g}"
        shown = [] if values is None else [f"{value:.2f} dB" for value in values]
        _trace_line(str(point.iteration), objective, shown)
        yield point, values, waveforms


def _trace_line(n: str, value: str, scores: Sequence[str]) -> None:
    print(f"{n:>9}  {value:>12}" + "".join(f"  {s:>12}" for s in scores), file=sys.stderr)


def _output(output: str | None, signals: Signals) -> str:
    """Where results go: standard output for standard input, else a folder."""
    if output is None:
        output = "-" if signals.mixture == "-" else "recovered"
    if output == "-":
        standard_output()  # raises if there is none
    return output


def _targets(output: str, names: Sequence[str]) -> list[Path]:
    """Files to write; raises OSError if it is clear now that they cannot be."""
    if output == "-":
        return []
    path = Path(output)
    single = path.suffix.lower() in audio.SUFFIXES
    if single and len(names) > 1:
        raise ValueError(f"-o {output} is one file for {len(names)} sources; name a folder")
    if path.is_dir() and single:
        raise IsADirectoryError(f"-o {output} is a folder but looks like a file; rename it")
    folder = path.parent if single else path
    check_folder(f"-o {output}", folder)
    return [path] if single else [folder / f"{name}.wav" for name in names]


def _stream(waveforms: np.ndarray, rate: int, subtype: str | None) -> None:
    """Write sources to standard output, one after the other as channels of one file."""
    kind = audio.encoding(Path("standard.wav"), subtype)[1]
    joined = np.concatenate(list(np.moveaxis(waveforms, 1, 0)))
    stream = standard_output()
    stream.write(audio.encode(joined, rate, subtype=kind))
    stream.flush()
