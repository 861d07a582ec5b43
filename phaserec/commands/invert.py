"""One inversion from files to files: what ``phaserec invert`` does."""

import secrets
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from phaserec import audio
from phaserec._files import check_folder
from phaserec._xp import Array, to_numpy
from phaserec.algorithms import Algorithm, resolve
from phaserec.commands import inputs
from phaserec.commands.console import command_line, watched
from phaserec.commands.inputs import Inputs
from phaserec.problem import Problem
from phaserec.solving.follow import Point, Run, follow, mean_sdr
from phaserec.solving.iteration import prepare
from phaserec.solving.solve import solution


def run(
    *,
    mixture: str | None,
    estimates: Sequence[str],
    magnitudes: str | None,
    references: Sequence[str],
    preset: str | None,
    algo: str | None,
    n_iter: int | None,
    init: str | None,
    seed: int | None,
    window: str | None,
    output: str | None,
    subtype: str,
    device: str,
    trace: bool,
    report: str | None,
    seconds: float,
    rate: int | None,
    length: int | None,
    n_fft: int | None,
    hop_length: int | None,
    win_length: int | None,
    **words: str | None,
) -> None:
    """Read the inputs, recover the phases, report, and write the results.

    Parameters are the options of the command line; ``words`` are the hyper-parameters as typed.

    Raises
    ------
    ValueError, OSError
        For anything wrong with the input; nothing has been written then.
    """
    alone = mixture is None and magnitudes is not None
    tuned = None
    if preset is not None:
        from phaserec.tuning import presets  # has no part in other runs

        tuned = presets.read(preset)
    usual = tuned.algorithm if tuned else ("fast-griffin-lim" if alone else "aux")
    entry = resolve(algo or usual)
    hyper = parse_hyper(entry, words)
    if tuned is not None and entry.name == tuned.algorithm:
        hyper = tuned.hyper | hyper
        n_iter = tuned.n_iter if n_iter is None else n_iter
    n_iter = 20 if n_iter is None else n_iter
    prepare(entry, hyper)
    audio.check_subtype(subtype)
    given = inputs.load(
        mixture,
        estimates,
        magnitudes,
        references,
        window=window,
        transform=None if tuned is None else tuned.stft,
        rate=rate,
        length=length,
        n_fft=n_fft,
        hop_length=hop_length,
        win_length=win_length,
    )
    if output is None and mixture == "-":
        output = "-"
    shipped = mixture is None and magnitudes is None
    if output is None and not shipped:
        output = "recovered"
    targets = _targets(output, given.names)
    if report is not None:
        from phaserec.report import check_report

        check_report("--report", report, seconds)

    problem = given.problem(device)
    start = given.start(init, device)
    # One seed for all that follows, so that every use of it starts from the same phases.
    seed = secrets.randbits(32) if seed is None else seed
    followed: Run | None = None
    if trace or report is not None:
        followed = _followed(entry, problem, n_iter, start, seed, hyper, given, trace)
        waveforms = followed.waveforms
    else:
        waveforms = to_numpy(_solved(entry, problem, n_iter, start, seed, hyper))

    stream = sys.stderr if output == "-" else sys.stdout
    if shipped:
        print(
            f"The shipped example with the true magnitudes: {entry.name}, "
            + "".join(f"{name}={value}, " for name, value in hyper.items())
            + f"{n_iter} iterations",
            file=stream,
        )
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
            given, before, [followed], init=init, seed=seed, command=command_line(), seconds=seconds
        )
        save(page, report)
        print(report, file=stream)


def parse_hyper(entry: Algorithm, words: dict[str, str | None]) -> dict[str, Any]:
    """Hyper-parameters as values; words the algorithm does not know stay for the check to name.

    Parameters
    ----------
    entry : Algorithm
        The algorithm.
    words : dict of str to str or None
        Hyper-parameters as typed; None where nothing was.

    Returns
    -------
    dict
        Values by name.
    """
    kinds = {h.name: h for h in entry.hyper}
    given = {name: word for name, word in words.items() if word is not None}
    hyper = {
        name: kinds[name].parse(word) if name in kinds else word for name, word in given.items()
    }
    if "momentum" in hyper and "momentum" not in kinds:
        hyper["momentum"] = _number(given["momentum"])
    return hyper


def _number(word: str) -> float | str:
    try:
        return float(word)
    except ValueError:
        return word


def _solved(
    entry: Algorithm, problem: Problem, n_iter: int, start: Any, seed: int, hyper: dict[str, Any]
) -> Array:
    return watched(solution(entry, problem, n_iter, init=start, rng=seed, **hyper))


def _followed(
    entry: Algorithm,
    problem: Problem,
    n_iter: int,
    start: Any,
    seed: int,
    hyper: dict[str, Any],
    given: Inputs,
    trace: bool,
) -> Run:
    """Run an algorithm with measures at every iteration, printed with ``trace``."""
    steps = follow(
        entry, problem, n_iter, init=start, rng=seed, references=given.references, **hyper
    )
    if trace:
        steps = _traced(steps, given.names)
    from tqdm import tqdm  # other runs may be over before it is loaded

    hide = trace or not sys.stderr.isatty()
    return Run.of_steps(entry, hyper, tqdm(steps, total=n_iter + 1, disable=hide, leave=False))


def _traced(
    steps: Iterator[tuple[Point, np.ndarray]], names: Sequence[str]
) -> Iterator[tuple[Point, np.ndarray]]:
    for point, waveforms in steps:
        _trace(point, names)
        yield point, waveforms


def _trace(point: Point, names: Sequence[str]) -> None:
    if point.iteration == 0:
        _trace_line("iteration", "objective", names if point.sdr is not None else [])
    objective = "-" if point.objective is None else f"{point.objective:.6g}"
    scores = [] if point.sdr is None else [f"{score:.2f} dB" for score in point.sdr]
    _trace_line(str(point.iteration), objective, scores)


def _trace_line(n: str, value: str, scores: Sequence[str]) -> None:
    print(f"{n:>9}  {value:>12}" + "".join(f"  {s:>12}" for s in scores), file=sys.stderr)


def _print_scores(given: Inputs, before: np.ndarray, after: np.ndarray, stream: Any) -> None:
    assert given.references is not None
    width = max(len(name) for name in given.names) + 2
    print(f"{'source':<{width}}  SDR before   after", file=stream)
    scores = (mean_sdr(given.references, waveforms) for waveforms in (before, after))
    for name, old, new in zip(given.names, *scores, strict=True):
        print(f"{name:<{width}}  {old:7.2f} dB {new:7.2f} dB", file=stream)


def _targets(output: str | None, names: Sequence[str]) -> list[Path]:
    """Files to write; raises OSError if it is clear now that they cannot be."""
    if output in (None, "-"):
        return []
    assert output is not None
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
