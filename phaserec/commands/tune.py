"""From validation folders to a preset: what ``phaserec tune`` does."""

import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from phaserec import __version__
from phaserec._files import check_folder
from phaserec.algorithms import resolve
from phaserec.commands.console import watched
from phaserec.corpus.fingerprints import Fingerprint, overlaps
from phaserec.corpus.mixtures import MixtureFolder
from phaserec.stft import STFT
from phaserec.tuning import presets
from phaserec.tuning.strategies import SIGMAS, candidates, search, summarise

# Candidates shown.
_SHOWN = 10


def run(
    *,
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
    n_fft: int,
    hop_length: int | None,
    win_length: int | None,
    window: str,
    output: str,
    **words: str | None,
) -> None:
    """Search on the validation folder, score the choice on the test folder, write the preset.

    Parameters are the options of the command line; ``words`` are the values of hyper-parameters
    as typed, with commas between them.

    Raises
    ------
    ValueError, OSError
        For anything wrong with the input, or a test folder that shares recordings with the
        validation folder; nothing has been written then.
    """
    path = Path(output)
    if path.is_dir():
        raise IsADirectoryError(f"-o {output} is a folder; name a file, such as preset.json")
    check_folder(f"-o {output}", path.parent)
    if test_estimates is not None and test is None:
        raise ValueError("--test-estimates goes with --test; name the folder of the mixtures too")
    stft = STFT(n_fft, hop_length, win_length, window)
    algorithms = [name.strip() for name in algo.split(",")]
    tried = candidates(algorithms, _grid(algorithms, words))
    items = MixtureFolder(folder, stft, estimates)
    known = _fingerprints(items)
    options: dict[str, Any] = {
        "stft": stft,
        "score": score,
        "source": source,
        "statistic": statistic,
        "jobs": jobs,
    }
    held_out = None
    if test is not None:
        held_out = MixtureFolder(test, stft, test_estimates)
        _refuse_shared(folder, known, test, _fingerprints(held_out))
    found = watched(search(items, tried, n_iter, strategy=strategy, seed=seed, **options))
    ranking = found.ranking()
    best = ranking[0]
    what = f"{statistic} {score} of {source or 'all sources'}"
    print(f"{what} in dB on the {len(items)} items of {folder}")
    start = found.curve(found.candidates.index(best.candidate))[0]
    width = max(len(str(choice.candidate)) for choice in ranking[:_SHOWN]) + 2
    print(f"{'mixture phase':<{width}}{'':>14}{start:9.2f}")
    for choice in ranking[:_SHOWN]:
        print(f"{choice.candidate!s:<{width}}{choice.n_iter:>3} iterations{choice.score:9.2f}")
    runs = int(found.runs.sum())
    print(f"{found.iterations} iterations in {runs} runs, scored after each iteration")
    tuning: dict[str, Any] = {
        "versions": {
            "phaserec": __version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
        "score": score,
        "source": source,
        "statistic": statistic,
        "magnitudes": "oracle" if estimates is None else "estimates",
        "strategy": strategy,
        "seed": seed,
        "iterations_run": found.iterations,
        "items": len(items),
        "result": round(best.score, 4),
        "mixture_phase": round(float(start), 4),
    }
    if held_out is not None:
        again = watched(search(held_out, [best.candidate], best.n_iter, **options))
        before, after = (float(summarise(again.scores[0], statistic)[n]) for n in (0, -1))
        print(f"on the {len(held_out)} items of {test}: {before:.2f} before, {after:.2f} after")
        tuning["test"] = {
            "items": len(held_out),
            "mixture_phase": round(before, 4),
            "result": round(after, 4),
        }
    tuning["grid"] = [
        {
            "algorithm": candidate.algorithm,
            "hyper": candidate.hyper,
            "items": int(found.runs[k]),
            "scores": [_number(value) for value in found.curve(k)],
        }
        for k, candidate in enumerate(found.candidates)
    ]
    tuning["files"] = presets.describe_files(known)
    preset = presets.Preset(
        best.candidate.algorithm, best.n_iter, best.candidate.hyper, stft, tuning
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    presets.write(path, preset)
    print(path)


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
