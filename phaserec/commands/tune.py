"""``phaserec tune``: from validation folders to a preset."""

import csv
import io
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from phaserec import __version__, plot
from phaserec._memory import check_memory
from phaserec.algorithms import resolve
from phaserec.commands.console import watched
from phaserec.commands.options import Transform, without
from phaserec.commands.results import (
    STDOUT,
    as_json,
    check_results_apart,
    check_targets,
    number,
    words_to,
    write_results,
)
from phaserec.corpus.fingerprints import Fingerprint, overlaps
from phaserec.corpus.mixtures import MixtureFolder
from phaserec.evaluation import METRICS
from phaserec.stft import STFT
from phaserec.tuning import presets
from phaserec.tuning.strategies import (
    SIGMAS,
    Candidate,
    Choice,
    Search,
    candidates,
    given,
    search,
    summarise,
)

# Candidates shown.
_SHOWN = 10


def run(
    folder: str,
    test: str | None,
    estimates: str | None,
    test_estimates: str | None,
    algo: str,
    n_iter: int,
    strategy: str,
    score: str,
    source: str | None,
    statistic: str,
    seed: int,
    jobs: int | None,
    output: str,
    csv_file: str | None,
    json_file: str | None,
    plot_file: str | None,
    **options: Any,
) -> None:
    """Search on the validation folder, score the choice on the test folder, write the preset.

    Parameters are the options of the command line; ``options`` holds those of the transform, and
    the values of hyper-parameters as typed, with commas between them.

    Raises
    ------
    ValueError, OSError
        For anything wrong with the input, or a test folder that shares recordings with the
        validation folder; nothing has been written then.
    """
    if test_estimates is not None and test is None:
        raise ValueError("--test-estimates goes with --test; name the folder of the mixtures too")
    stft = _transform(Transform(options))
    algorithms = [name.strip() for name in algo.split(",")]
    tried = candidates(algorithms, _grid(algorithms, without(options, Transform)))
    results = (output, csv_file, json_file, plot_file)
    check_targets(*results)
    _check_plot(plot_file, tried)
    items = MixtureFolder(folder, stft, estimates)
    check_results_apart(results, items.paths)
    _check_size(n_iter, tried, items)
    known = _fingerprints(items)
    held_out = None if test is None else MixtureFolder(test, stft, test_estimates)
    if held_out is not None:
        check_results_apart(results, held_out.paths)
        _refuse_shared(folder, known, str(held_out.folder), _fingerprints(held_out))
    how: dict[str, Any] = {"stft": stft, "score": score, "source": source}
    how |= {"statistic": statistic, "jobs": jobs}
    found = watched(search(items, tried, n_iter, strategy=strategy, seed=seed, **how))
    best = found.ranking()[0]
    start = float(found.curve(found.candidates.index(best.candidate))[0])
    as_given = _as_given(items, how)
    what = _title(statistic, score, source)
    stream = words_to(output, csv_file, json_file)
    _print(found, start, as_given, what, items, stream)
    tuning: dict[str, Any] = {
        "versions": _versions(),
        **{name: how[name] for name in ("score", "source", "statistic")},
        "magnitudes": "oracle" if estimates is None else "estimates",
        "strategy": strategy,
        "seed": seed,
        "iterations_run": found.iterations,
        "items": len(items),
        "result": round(best.score, 4),
        "mixture_phase": round(start, 4),
        **({} if as_given is None else {"given": number(as_given)}),
    }
    if held_out is not None:
        tuning["test"] = _tested(held_out, best, how, stream)
    tuning |= {"grid": _curves(found), "files": presets.describe_files(known)}
    chosen = best.candidate
    preset = presets.Preset(chosen.algorithm, best.n_iter, chosen.hyper, stft, tuning)
    contents: dict[str, str | bytes] = {output: presets.text(preset)}
    if csv_file is not None:
        contents[csv_file] = _csv(found)
    if json_file is not None:
        contents[json_file] = as_json(_document(preset, found))
    if plot_file is not None:
        contents[plot_file] = _plot(plot_file, found, start, as_given, what)
    _deliver(contents, stream)


def _title(statistic: str, score: str, source: str | None) -> str:
    """What is counted, with its unit."""
    unit = METRICS[score].unit
    return f"{statistic} {score} of {source or 'all sources'}" + (f" in {unit}" if unit else "")


def _check_size(n_iter: int, tried: Sequence[Candidate], items: MixtureFolder) -> None:
    """Raise ValueError if the scores would not fit into memory."""
    check_memory(
        f"--n-iter {n_iter} with {len(tried)} candidates on {len(items)} items",
        16 * max(n_iter, 0) * len(tried) * len(items),
        "try fewer iterations, or fewer values of the hyper-parameters",
    )


def _deliver(contents: Mapping[str, str | bytes], stream: TextIO) -> None:
    """Write the results, and say where they are."""
    write_results(contents)
    for name in contents:
        if name != STDOUT:
            print(name, file=stream)


def _transform(chosen: Transform) -> STFT:
    return STFT(
        chosen.n_fft or 1024,
        chosen.hop_length,
        chosen.win_length,
        chosen.window or "hann",
        pad_mode=chosen.pad_mode or "constant",
    )


def _as_given(items: MixtureFolder, how: dict[str, Any]) -> float | None:
    """Score of the estimates themselves; None for true magnitudes."""
    if items.estimates is None:
        return None
    return given(items, **{name: value for name, value in how.items() if name != "jobs"})


def _versions() -> dict[str, str]:
    return {
        "phaserec": __version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }


def _print(
    found: Search,
    start: float,
    as_given: float | None,
    what: str,
    items: MixtureFolder,
    stream: TextIO,
) -> None:
    """Print the best candidates, below what there was before."""
    shown = found.ranking()[:_SHOWN]
    width = max(15, *(len(str(choice.candidate)) for choice in shown)) + 2
    runs = int(found.runs.sum())
    lines = [f"{what} on the {len(items)} items of {items.folder}"]
    if as_given is not None:
        lines.append(f"{'given estimates':<{width}}{'':>14}{as_given:9.2f}")
    lines.append(f"{'mixture phase':<{width}}{'':>14}{start:9.2f}")
    lines += [f"{c.candidate!s:<{width}}{c.n_iter:>3} iterations{c.score:9.2f}" for c in shown]
    if len(found.candidates) > _SHOWN:
        lines.append(
            f"and {len(found.candidates) - _SHOWN} more, in the preset (--csv for a table)"
        )
    lines.append(f"{found.iterations} iterations in {runs} runs, scored after each iteration")
    print("\n".join(lines), file=stream)


def _tested(
    held_out: MixtureFolder, best: Choice, how: dict[str, Any], stream: TextIO
) -> dict[str, Any]:
    """Scores of the choice on the test folder."""
    again = watched(search(held_out, [best.candidate], best.n_iter, **how))
    before, after = (float(summarise(again.scores[0], how["statistic"])[n]) for n in (0, -1))
    where = f"on the {len(held_out)} items of {held_out.folder}"
    print(f"{where}: {before:.2f} before, {after:.2f} after", file=stream)
    return {
        "items": len(held_out),
        "mixture_phase": round(before, 4),
        "result": round(after, 4),
    }


def _curves(found: Search) -> list[dict[str, Any]]:
    """Every candidate with its scores after every number of iterations."""
    return [
        {
            "algorithm": candidate.algorithm,
            "hyper": candidate.hyper,
            "items": int(found.runs[k]),
            "scores": [number(value) for value in found.curve(k)],
        }
        for k, candidate in enumerate(found.candidates)
    ]


def _csv(found: Search) -> str:
    """Every candidate at its best number of iterations, the best first."""
    text = io.StringIO()
    names = list(dict.fromkeys(name for c in found.candidates for name in c.hyper))
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["algorithm", *names, "n_iter", "score", "mixture_phase", "items"])
    for choice in found.ranking():
        k = found.candidates.index(choice.candidate)
        hyper = [choice.candidate.hyper.get(name, "") for name in names]
        before = number(found.curve(k)[0])
        line = [choice.candidate.algorithm, *hyper, choice.n_iter, number(choice.score)]
        writer.writerow([*line, before, int(found.runs[k])])
    return text.getvalue()


def _document(preset: presets.Preset, found: Search) -> dict[str, Any]:
    """What was found, without the fingerprints of the files; the candidates from the best on."""
    grid = preset.tuning["grid"]
    ranking = [(found.candidates.index(c.candidate), c) for c in found.ranking()]
    rest = {k: v for k, v in preset.tuning.items() if k not in ("grid", "files")}
    return {
        "algorithm": preset.algorithm,
        "n_iter": preset.n_iter,
        "hyper": preset.hyper,
        "stft": preset.stft.settings,
        **rest,
        "candidates": [
            {**grid[k], "n_iter": c.n_iter, "score": number(c.score)} for k, c in ranking
        ],
    }


def _check_plot(name: str | None, tried: Sequence[Candidate]) -> None:
    """Raise ValueError if it is clear now that scores over σ cannot be drawn."""
    if name is None:
        return
    try:
        from matplotlib.backend_bases import FigureCanvasBase
    except ImportError:
        raise ValueError("--plot needs matplotlib: pip install 'phaserec[plot]'") from None
    kinds = FigureCanvasBase.get_supported_filetypes()
    if Path(name).suffix[1:].lower() not in kinds:
        raise ValueError(f"--plot {name} must end in one of .{', .'.join(sorted(kinds))}")
    if not any(_sigma(c) for c in tried):
        raise ValueError(
            f"--plot {name} shows scores over sigma, and no candidate has one above 0; add an "
            "algorithm with --sigma, such as aux, or leave it out"
        )


def _sigma(candidate: Candidate) -> float | None:
    """Its σ; None where the algorithm has none."""
    value = candidate.hyper.get("sigma")
    return float(value) if isinstance(value, int | float) else None


def _plot(name: str, found: Search, start: float, as_given: float | None, what: str) -> bytes:
    """Scores over σ at the best number of iterations, a curve for each other choice."""
    from matplotlib.figure import Figure

    levels = {"mixture phase": start}
    if as_given is not None:
        levels = {"given estimates": as_given, **levels}
    curves: dict[str, dict[float, float]] = {}
    for choice in found.ranking():
        rest = {k: v for k, v in choice.candidate.hyper.items() if k != "sigma"}
        title = str(Candidate(choice.candidate.algorithm, rest))
        sigma = _sigma(choice.candidate)
        if sigma is None:
            levels[title] = choice.score
        else:
            score = choice.score if np.isfinite(choice.score) else np.nan
            curves.setdefault(title, {})[sigma] = score
    levels = {title: level for title, level in levels.items() if np.isfinite(level)}
    sigmas = sorted({sigma for scores in curves.values() for sigma in scores})
    scores = {k: [v.get(sigma, np.nan) for sigma in sigmas] for k, v in curves.items()}
    figure = Figure(layout="constrained")
    plot.sigma_sweep(sigmas, scores, levels=levels, label=f"{what} (dB)", ax=figure.add_subplot())
    buffer = io.BytesIO()
    figure.savefig(buffer, format=Path(name).suffix[1:].lower())
    return buffer.getvalue()


def _grid(algorithms: Sequence[str], words: Mapping[str, str | None]) -> dict[str, list[Any]]:
    """Values by name; σ has the published grid where it is used and not given."""
    grid: dict[str, list[Any]] = {
        name: [word.strip() for word in text.split(",")]
        for name, text in words.items()
        if text is not None
    }
    if "sigma" not in grid and any(
        hyper.name == "sigma" for name in algorithms for hyper in resolve(name).hyper
    ):
        grid["sigma"] = list(SIGMAS)
    return grid


def _fingerprints(items: MixtureFolder) -> dict[str, list[Fingerprint]]:
    found: dict[str, list[Fingerprint]] = {}
    for index in range(len(items)):
        found |= items.fingerprints(index)
    return found


def _refuse_shared(
    folder: str,
    known: Mapping[str, list[Fingerprint]],
    test: str,
    others: Mapping[str, list[Fingerprint]],
) -> None:
    pairs = overlaps(known, others)
    if pairs:
        shown = "; ".join(f"{Path(folder, a)} and {Path(test, b)}" for a, b in pairs[:4])
        more = f" and {len(pairs) - 4} more pairs" if len(pairs) > 4 else ""
        raise ValueError(
            f"--test {test} is not disjoint from {folder}, they share recordings: {shown}{more}; "
            "take them out of one of the two"
        )
