"""``phaserec invert``: one inversion from files to files."""

import secrets
import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from phaserec import __version__, audio
from phaserec._files import check_apart, check_folder, write_files
from phaserec._xp import to_numpy
from phaserec.algorithms import Configured, configure, resolve
from phaserec.commands.console import command_line, standard_output, watched
from phaserec.commands.following import Followed, follow_to_end, sdr
from phaserec.commands.inputs import Inputs, check_mixing, load
from phaserec.commands.options import Beginning, Signals, Transform, without
from phaserec.commands.results import (
    STDOUT,
    as_json,
    check_targets,
    number,
    words_to,
    write_results,
)
from phaserec.solving import Point, PreparedRun, prepare
from phaserec.starts import usual

_EXPLAINED = (
    "start: the true magnitudes with the phase of the mixture; after: with the recovered phases. "
    "Hear the difference in:"
)


def run(
    preset: str | None,
    algo: str | None,
    n_iter: int | None,
    output: str | None,
    no_overwrite: bool,
    subtype: str | None,
    trace: bool,
    json_file: str | None,
    report: str | None,
    seconds: float,
    **options: Any,
) -> None:
    """Read the inputs, recover the phases, report, and write the results.

    Parameters are the options of the command line; ``options`` holds those of the groups, and the
    hyper-parameters as typed.

    Raises
    ------
    ValueError, OSError
        For anything wrong with the input; nothing has been written then.
    """
    signals, chosen = Signals(options), Transform(options)
    beginning = Beginning(options)
    words = without(options, Signals, Transform, Beginning)
    algorithm, n_iter, transform = _chosen(signals, preset, algo, n_iter, words)
    given = load(signals, chosen, transform=transform)
    check_mixing([algorithm], given)
    output = _output(output, signals)
    targets = _targets(output, given.names)
    check_targets(*(map(str, targets) if targets else [output]), json_file, report)
    others = [Path(name) for name in (json_file, report) if name not in (None, STDOUT)]
    _check_targets(targets, subtype, signals, preset, others, no_overwrite)
    if report is not None:
        from phaserec.report import check_report  # has no part in other runs

        check_report("--report", report, seconds)
    # One seed for all that follows, so that every use of it starts from the same phases.
    seed = secrets.randbits(32) if beginning.seed is None else beginning.seed
    problem = given.problem(beginning.device)
    start = given.start(beginning.init, beginning.device)
    run = prepare(algorithm, problem, n_iter, init=start, rng=seed, machine=beginning.machine)
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
        before = to_numpy(problem.waveforms(problem.start(start, seed)))
    scores = {}
    if given.references is not None:
        scores = _scores(given, before, waveforms)
        _print_scores(given, scores, stream)
    if given.shipped:
        print(_EXPLAINED, file=stream)
    pages: dict[Path, bytes] = {}
    if json_file is not None:
        start_name = beginning.init or usual(problem)
        document = as_json(_document(run, given, targets, scores, start_name, seed))
        if json_file != STDOUT:
            pages[Path(json_file)] = document.encode()
    if report is not None and followed is not None:
        pages[Path(report)] = _page(given, before, followed, beginning.init, seed, seconds)
    _write(waveforms, given, targets, output, subtype, pages)
    for target in [*targets, *pages]:
        print(target, file=stream)
    if json_file == STDOUT:
        write_results({STDOUT: document})


def _page(
    given: Inputs,
    before: np.ndarray,
    followed: Followed,
    init: str | None,
    seed: int,
    seconds: float,
) -> bytes:
    """The page of a run."""
    from phaserec.commands.experiment import experiment
    from phaserec.report import render

    command = command_line()
    page = experiment(
        given, before, [followed], init=init, seed=seed, command=command, seconds=seconds
    )
    return render(page).encode()


def _chosen(
    signals: Signals,
    preset: str | None,
    algo: str | None,
    n_iter: int | None,
    words: dict[str, str | None],
) -> tuple[Configured, int, Any]:
    """Algorithm, iterations, and the transform of a preset (or None)."""
    tuned = None
    if preset is not None:
        from phaserec.tuning import presets  # has no part in other runs

        tuned = presets.read(preset)
    usual = tuned.algorithm if tuned else ("fast-griffin-lim" if signals.alone else "aux")
    entry = resolve(algo or usual)
    hyper = entry.parse(words)
    if tuned is not None and entry.name == tuned.algorithm:
        hyper = tuned.hyper | hyper
        n_iter = tuned.n_iter if n_iter is None else n_iter
    n_iter = 20 if n_iter is None else n_iter
    return configure(entry, hyper), n_iter, None if tuned is None else tuned.stft


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
    for point, scores, waveforms in steps:
        objective = "-" if point.objective is None else f"{point.objective:.6g}"
        shown = [] if scores is None else [f"{score:.2f} dB" for score in scores]
        _trace_line(str(point.iteration), objective, shown)
        yield point, scores, waveforms


def _trace_line(n: str, value: str, scores: Sequence[str]) -> None:
    print(f"{n:>9}  {value:>12}" + "".join(f"  {s:>12}" for s in scores), file=sys.stderr)


def _scores(given: Inputs, start: np.ndarray, after: np.ndarray) -> dict[str, np.ndarray]:
    """SDR ``(J,)`` of what was given, of the start, and of the result."""
    columns = {"start": sdr(given, start), "after": sdr(given, after)}
    if given.estimates is not None and not given.shipped:
        columns = {"given": sdr(given, given.estimates), **columns}
    return columns


def _document(
    run: PreparedRun,
    given: Inputs,
    targets: Sequence[Path],
    scores: Mapping[str, np.ndarray],
    init: str,
    seed: int,
) -> dict[str, Any]:
    """What was done, for ``--json``: enough to do it again."""
    files: Sequence[str | None] = [str(path) for path in targets] or [None] * len(given.names)
    return {
        "phaserec": __version__,
        "algorithm": run.algorithm.base.name,
        "hyper": run.algorithm.values,
        "n_iter": run.n_iter,
        "init": init,
        "seed": seed,
        "machine": run.machine,
        "stft": given.stft.settings,
        "rate": given.rate,
        "channels": len(given.magnitudes),
        "length": run.problem.length,
        "sources": [
            {
                "name": name,
                "file": files[j],
                **({"sdr": {k: number(v[j]) for k, v in scores.items()}} if scores else {}),
            }
            for j, name in enumerate(given.names)
        ],
    }


def _print_scores(given: Inputs, columns: Mapping[str, np.ndarray], stream: TextIO) -> None:
    """The table of scores."""
    width = max(len(name) for name in given.names) + 2
    print(f"{'source':<{width}}" + "".join(f"  SDR {title}" for title in columns), file=stream)
    for j, name in enumerate(given.names):
        values = "".join(f"{score[j]:8.2f} dB" for score in columns.values())
        print(f"{name:<{width}}{values}", file=stream)


def _check_targets(
    targets: Sequence[Path],
    subtype: str | None,
    signals: Signals,
    preset: str | None,
    others: Sequence[Path],
    no_overwrite: bool,
) -> None:
    """Raise if it is clear now that results cannot or must not be written."""
    for target in targets or [Path("standard.wav")]:
        audio.encoding(target, subtype)
    outputs = [*targets, *others]
    check_apart(outputs, [*signals.files, *([preset] if preset is not None else [])])
    replaced = [str(path) for path in outputs if path.is_file()]
    if replaced and no_overwrite:
        raise ValueError(f"{replaced[0]} exists, and --no-overwrite is given; choose another -o")
    if replaced:
        more = f" and {len(replaced) - 1} more" if len(replaced) > 1 else ""
        print(f"phaserec: note: {replaced[0]}{more} will be replaced", file=sys.stderr)


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


def _write(
    waveforms: np.ndarray,
    given: Inputs,
    targets: list[Path],
    output: str,
    subtype: str | None,
    pages: Mapping[Path, bytes],
) -> None:
    """Write sound and pages, all or nothing."""
    peak = float(np.abs(waveforms).max())
    kind = audio.encoding(targets[0] if targets else Path("standard.wav"), subtype)[1]
    if peak > 1 and not audio.is_float(kind):
        print(
            f"phaserec: warning: samples reach {peak:.2f} and are clipped in {kind}",
            file=sys.stderr,
        )
    sources = list(np.moveaxis(waveforms, 1, 0))
    sound = audio.encoded(targets, sources if targets else [], given.rate, subtype=subtype)
    write_files([*targets, *pages], chain(sound, pages.values()))
    if output == "-":
        joined = np.concatenate(sources)
        stream = standard_output()
        stream.write(audio.encode(joined, given.rate, subtype=kind))
        stream.flush()
