"""``phaserec invert``: one inversion from files to files."""

import secrets
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from phaserec import audio
from phaserec._files import check_folder
from phaserec._xp import to_numpy
from phaserec.algorithms import Configured, configure, resolve
from phaserec.commands.console import command_line, watched
from phaserec.commands.following import Followed, follow_to_end, sdr
from phaserec.commands.inputs import Inputs, load
from phaserec.commands.options import (
    Beginning,
    Signals,
    Transform,
    without,
)
from phaserec.solving import Point, PreparedRun, prepare


def run(
    preset: str | None,
    algo: str | None,
    n_iter: int | None,
    output: str | None,
    subtype: str,
    trace: bool,
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
    signals, chosen = Signals.of(options), Transform.of(options)
    beginning = Beginning.of(options)
    words = without(options, Signals, Transform, Beginning)
    algorithm, n_iter, transform = _chosen(signals, preset, algo, n_iter, words)
    audio.check_subtype(subtype)
    given = load(signals, chosen, transform=transform)
    output = _output(output, signals)
    targets = _targets(output, given.names)
    if report is not None:
        from phaserec.report import check_report  # has no part in other runs

        check_report("--report", report, seconds)
    # One seed for all that follows, so that every use of it starts from the same phases.
    seed = secrets.randbits(32) if beginning.seed is None else beginning.seed
    problem = given.problem(beginning.device)
    start = given.start(beginning.init, beginning.device)
    run = prepare(algorithm, problem, n_iter, init=start, rng=seed)
    followed = None
    if trace or report is not None:
        followed = _followed(run, given, trace)
        waveforms = followed.waveforms
    else:
        waveforms = to_numpy(watched(run.progress()))
    stream = sys.stderr if output == "-" else sys.stdout
    if given.shipped:
        print(f"The shipped example with the true magnitudes: {_title(run)}", file=stream)
    if given.references is not None or report is not None:
        before = to_numpy(problem.waveforms(problem.start(start, seed)))
    if given.references is not None:
        _print_scores(given, before, waveforms, stream)
    _write(waveforms, given, targets, output, subtype)
    for target in targets:
        print(target, file=stream)
    if report is not None and followed is not None:
        from phaserec.commands.experiment import experiment
        from phaserec.report import save

        page = experiment(
            given,
            before,
            [followed],
            init=beginning.init,
            seed=seed,
            command=command_line(),
            seconds=seconds,
        )
        save(page, report)
        print(report, file=stream)


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


def _print_scores(given: Inputs, before: np.ndarray, after: np.ndarray, stream: TextIO) -> None:
    width = max(len(name) for name in given.names) + 2
    print(f"{'source':<{width}}  SDR before   after", file=stream)
    for name, old, new in zip(given.names, sdr(given, before), sdr(given, after), strict=True):
        print(f"{name:<{width}}  {old:7.2f} dB {new:7.2f} dB", file=stream)


def _output(output: str | None, signals: Signals) -> str | None:
    """Where results go: standard output for standard input, nowhere for the example."""
    if output is None and signals.mixture == "-":
        return "-"
    return "recovered" if output is None and not signals.shipped else output


def _targets(output: str | None, names: Sequence[str]) -> list[Path]:
    """Files to write; raises OSError if it is clear now that they cannot be."""
    if output is None or output == "-":
        return []
    path = Path(output)
    single = path.suffix.lower() == ".wav"
    if single and len(names) > 1:
        raise ValueError(f"-o {output} is one file for {len(names)} sources; name a folder")
    if path.is_dir() and single:
        raise IsADirectoryError(f"-o {output} is a folder but looks like a file; rename it")
    folder = path.parent if single else path
    check_folder(f"-o {output}", folder)
    return [path] if single else [folder / f"{name}.wav" for name in names]


def _write(
    waveforms: np.ndarray, given: Inputs, targets: list[Path], output: str | None, subtype: str
) -> None:
    peak = float(np.abs(waveforms).max())
    if output is not None and peak > 1 and subtype not in ("FLOAT", "DOUBLE"):
        print(
            f"phaserec: warning: samples reach {peak:.2f} and are clipped in {subtype}",
            file=sys.stderr,
        )
    if output == "-":
        joined = np.moveaxis(waveforms, 1, 0).reshape(-1, waveforms.shape[-1])
        sys.stdout.buffer.write(audio.encode(joined, given.rate, subtype=subtype))
        sys.stdout.buffer.flush()
    elif targets:
        targets[0].parent.mkdir(parents=True, exist_ok=True)
        audio.write(targets, list(np.moveaxis(waveforms, 1, 0)), given.rate, subtype=subtype)
