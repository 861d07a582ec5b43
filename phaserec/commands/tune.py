"""``phaserec tune``: from validation folders to a preset."""

import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from phaserec import __version__
from phaserec._files import check_apart, check_folder
from phaserec._memory import check_memory
from phaserec.algorithms import resolve
from phaserec.commands.console import watched
from phaserec.commands.options import Transform, without
from phaserec.corpus.fingerprints import Fingerprint, overlaps
from phaserec.corpus.mixtures import MixtureFolder
from phaserec.stft import STFT
from phaserec.tuning import presets
from phaserec.tuning.strategies import SIGMAS, Choice, Search, candidates, given, search, summarise

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
    path = _target(output)
    if test_estimates is not None and test is None:
        raise ValueError("--test-estimates goes with --test; name the folder of the mixtures too")
    stft = _transform(Transform(options))
    algorithms = [name.strip() for name in algo.split(",")]
    tried = candidates(algorithms, _grid(algorithms, without(options, Transform)))
    items = MixtureFolder(folder, stft, estimates)
    check_apart([path], items.paths)
    check_memory(
        f"--n-iter {n_iter} with {len(tried)} candidates on {len(items)} items",
        16 * max(n_iter, 0) * len(tried) * len(items),
        "try fewer iterations, or fewer values of the hyper-parameters",
    )
    known = _fingerprints(items)
    held_out = None
    if test is not None:
        held_out = MixtureFolder(test, stft, test_estimates)
        check_apart([path], held_out.paths)
        _refuse_shared(folder, known, test, _fingerprints(held_out))
    how: dict[str, Any] = {
        "stft": stft,
        "score": score,
        "source": source,
        "statistic": statistic,
        "jobs": jobs,
    }
    found = watched(search(items, tried, n_iter, strategy=strategy, seed=seed, **how))
    best = found.ranking()[0]
    start = float(found.curve(found.candidates.index(best.candidate))[0])
    as_given = _as_given(items, how)
    _print(found, start, as_given, f"{statistic} {score} of {source or 'all sources'}", items)
    tuning: dict[str, Any] = {
        "versions": _versions(),
        "score": score,
        "source": source,
        "statistic": statistic,
        "magnitudes": "oracle" if estimates is None else "estimates",
        "strategy": strategy,
        "seed": seed,
        "iterations_run": found.iterations,
        "items": len(items),
        "result": round(best.score, 4),
        "mixture_phase": round(start, 4),
        **({} if as_given is None else {"given": _number(as_given)}),
    }
    if held_out is not None:
        tuning["test"] = _tested(held_out, best, how)
    tuning["grid"] = _curves(found)
    tuning["files"] = presets.describe_files(known)
    candidate = best.candidate
    preset = presets.Preset(candidate.algorithm, best.n_iter, candidate.hyper, stft, tuning)
    presets.write(path, preset)
    print(path)


def _target(output: str) -> Path:
    path = Path(output)
    if path.is_dir():
        raise IsADirectoryError(f"-o {output} is a folder; name a file, such as preset.json")
    check_folder(f"-o {output}", path.parent)
    return path


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
    found: Search, start: float, as_given: float | None, what: str, items: MixtureFolder
) -> None:
    """Print the best candidates, below what there was before."""
    shown = found.ranking()[:_SHOWN]
    print(f"{what} in dB on the {len(items)} items of {items.folder}")
    width = max(15, *(len(str(choice.candidate)) for choice in shown)) + 2
    if as_given is not None:
        print(f"{'given estimates':<{width}}{'':>14}{as_given:9.2f}")
    print(f"{'mixture phase':<{width}}{'':>14}{start:9.2f}")
    for choice in shown:
        print(f"{choice.candidate!s:<{width}}{choice.n_iter:>3} iterations{choice.score:9.2f}")
    runs = int(found.runs.sum())
    print(f"{found.iterations} iterations in {runs} runs, scored after each iteration")


def _tested(held_out: MixtureFolder, best: Choice, how: dict[str, Any]) -> dict[str, Any]:
    """Scores of the choice on the test folder."""
    again = watched(search(held_out, [best.candidate], best.n_iter, **how))
    before, after = (float(summarise(again.scores[0], how["statistic"])[n]) for n in (0, -1))
    print(
        f"on the {len(held_out)} items of {held_out.folder}: {before:.2f} before, {after:.2f} after"
    )
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
            "scores": [_number(value) for value in found.curve(k)],
        }
        for k, candidate in enumerate(found.candidates)
    ]


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


def _number(value: float) -> float | None:
    """A score as JSON has it: no infinities."""
    return round(float(value), 4) if np.isfinite(value) else None
