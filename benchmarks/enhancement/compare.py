"""Table of enhancement methods on real pairs, all from the same magnitudes.

    python compare.py RUNS PAIRS [--json out.json] [--csv out.csv]

RUNS is the folder that ``train.py`` wrote (run both from the same place), PAIRS one with ``clean/``
and ``noisy/`` that nothing was trained on. σ and the number of iterations of the untrained
algorithms are chosen on the validation mixtures of the training, by mean SI-SDR of the speech.
"""

import argparse
import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from phaserec import Problem, audio, invert, measures, projectors
from phaserec.evaluation import score
from phaserec.solving import prepare
from phaserec.tuning.strategies import SIGMAS
from unfolded import Separator
from unfolded.data import file_pairs
from unfolded.training.build import build_dataset
from unfolded.training.reading import load_config

METRICS = ("si-sdr", "sdr", "pesq", "estoi")
PROBLEMS = ("mix-incons", "mix-incons-hard-mag", "mag-incons-hard-mix")
MOST_ITERATIONS = 20

Method = Callable[[np.ndarray], np.ndarray]


def load(runs: Path, name: str) -> Separator:
    """A trained model."""
    return Separator.from_pretrained(runs / name / "best")


@torch.no_grad()
def magnitudes(model: Separator, x: np.ndarray) -> np.ndarray:
    """Magnitudes (..., J, F, T) of a magnitude network for mixtures (..., time)."""
    mixture = torch.from_numpy(x.reshape(-1, 1, x.shape[-1]))
    V = model.estimator(mixture, model.stft(mixture))[:, :, 0].numpy()
    return V.reshape(*x.shape[:-1], *V.shape[1:])


def choose(model: Separator, config: Path, depth: int) -> dict[str, dict[str, Any]]:
    """Best hyper-parameters of every untrained algorithm on the validation mixtures.

    Once with any number of iterations and once with as many as the network has layers.
    """
    settings = load_config(config)
    assert settings.data.valid is not None
    data = build_dataset(settings.data.valid, settings.data, settings.seed + 1)
    items = [data[index] for index in range(len(data))]
    x = np.stack([item["mixture"][0].numpy() for item in items])
    speech = np.stack([item["sources"][0, 0].numpy() for item in items])
    p = Problem(magnitudes(model, x), x, stft=model.stft)
    candidates: list[tuple[str, dict[str, float]]] = [("misi", {})]
    candidates += [(name, {"sigma": sigma}) for name in PROBLEMS for sigma in SIGMAS]
    found: dict[str, dict[str, Any]] = {}
    for name, hyper in tqdm(candidates, desc="choosing", leave=False, disable=None):
        for n, y in enumerate(prepare(name, p, MOST_ITERATIONS, **hyper).waveforms(), start=1):
            value = float(measures.si_sdr(speech, y[:, 0]).mean())
            for title in (name, *([f"{name}, {depth} iterations"] if n == depth else [])):
                if value > found.get(title, {"validation": -np.inf})["validation"]:
                    found[title] = {
                        "algorithm": name,
                        "n_iter": n,
                        "hyper": hyper,
                        "validation": value,
                    }
    return found


def methods(runs: Path, choices: dict[str, dict[str, Any]]) -> Iterator[tuple[str, Method]]:
    """Every method by its title: speech (time,) from a noisy waveform (time,)."""
    frozen = load(runs, "magnitude")

    def trained(name: str) -> Method:
        model = load(runs, name)

        @torch.no_grad()
        def speech(x: np.ndarray) -> np.ndarray:
            out: np.ndarray = model(torch.from_numpy(x)[None, None])[0, 0, 0].numpy()
            return out

        return speech

    def rephased(name: str) -> Method:
        """The magnitudes that the layers end with, and the phase of the mixture."""
        model = load(runs, name)

        @torch.no_grad()
        def speech(x: np.ndarray) -> np.ndarray:
            mixture = torch.from_numpy(x)[None, None]
            S = projectors.magnitude(model.stft(mixture), model.spectrogram(mixture)[:, :, 0].abs())
            out: np.ndarray = model.stft.inverse(S, length=len(x))[0, 0].numpy()
            return out

        return speech

    def untrained(choice: dict[str, Any]) -> Method:
        def speech(x: np.ndarray) -> np.ndarray:
            y: np.ndarray = invert(
                magnitudes(frozen, x),
                x,
                stft=frozen.stft,
                algorithm=choice["algorithm"],
                n_iter=choice["n_iter"],
                **choice["hyper"],
            )
            return y[0]

        return speech

    yield "noisy", lambda x: x
    yield "amplitude mask", trained("magnitude")
    for title, choice in choices.items():
        sigma = "".join(f"σ = {value:g}, " for value in choice["hyper"].values())
        yield f"{title} ({sigma}{choice['n_iter']} it.)", untrained(choice)
    yield "unfolded, frozen magnitudes", trained("frozen")
    yield "end to end, K = 0, where the next two start", trained("natural")
    yield "end to end, K = 0", trained("ablation")
    depth = load(runs, "unfolded").config["inversion"]["n_layers"]
    yield f"end to end, K = {depth}, with the phase of the mixture", rephased("unfolded")
    yield f"end to end, K = {depth}", trained("unfolded")


def interval(values: np.ndarray) -> list[float]:
    """95 % bootstrap interval of the mean over the first axis."""
    picks = np.random.default_rng(0).integers(len(values), size=(10_000, len(values)))
    return [float(v) for v in np.percentile(values[picks].mean(axis=1), [2.5, 97.5])]


def compare(runs: Path, pairs: Path) -> dict[str, Any]:
    """Scores of every method on every pair."""
    depth = load(runs, "unfolded").config["inversion"]["n_layers"]
    choices = choose(load(runs, "magnitude"), runs / "magnitude" / "config.yaml", depth)
    files = [(clean.path, noisy.path) for clean, noisy in file_pairs(pairs)]
    table: dict[str, list[list[float]]] = {}
    for title, method in methods(runs, choices):
        table[title] = []
        for clean, noisy in files:
            reference, x = (audio.read(path) for path in (clean, noisy))
            estimate = method(x.samples[0])
            (row,) = score(reference.samples[0], estimate, x.rate, metrics=METRICS)
            table[title].append([row.values[name] for name in METRICS])
    return {
        "metrics": METRICS,
        "files": [c.name for c, _ in files],
        "choices": choices,
        "scores": table,
    }


def table(result: dict[str, Any]) -> list[list[str]]:
    """Rows of text; the last column is what the last method gains over each."""
    ours = np.array(list(result["scores"].values())[-1])
    rows = [["method", *(name.upper() for name in METRICS), "SI-SDR of the last − this"]]
    for title, scores in result["scores"].items():
        values = np.array(scores)
        gain = ours[:, 0] - values[:, 0]
        cells = [with_interval(column, "") for column in values.T]
        rows.append([title, *cells, with_interval(gain, "+")])
    return rows


def with_interval(values: np.ndarray, sign: str) -> str:
    """Mean with its interval."""
    low, high = interval(values)
    return f"{values.mean():{sign}.2f} [{low:{sign}.2f}, {high:{sign}.2f}]"


def markdown(rows: list[list[str]]) -> str:
    """The table in Markdown."""
    rows = [rows[0], ["---"] * len(rows[0]), *rows[1:]]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path, help="folder of train.py")
    parser.add_argument("pairs", type=Path, help="folder with clean/ and noisy/")
    parser.add_argument("--json", type=Path, help="file for all scores")
    parser.add_argument("--csv", type=Path, help="file for the table")
    given = parser.parse_args()
    result = compare(given.runs, given.pairs)
    rows = table(result)
    print(markdown(rows))
    if given.json is not None:
        given.json.write_text(json.dumps(result, indent=1))
    if given.csv is not None:
        with given.csv.open("w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(rows)
