"""Experiment A of docs/phases.rst: phases alone, from true magnitudes and a random start.

    python benchmarks/phases/alone.py SOUNDS ../shared/data -o docs/phases [--runs runs/phases]

SOUNDS is what benchmarks/enhancement/sounds.py makes. Networks that are not under --runs are
trained first (about 50 minutes each on one core). ``alone-HOP.csv`` there has a row for every file,
algorithm, start and number of iterations; ``alone.rst`` and ``alone.svg`` are made of it. Seconds
are those of one thread's processor per second of sound.
"""

import argparse
import csv
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _common import cell
from safetensors.torch import load_file
from torch import nn
from train_alone import LAYERS, N_FFT, NETWORK, RATE, train
from train_proximal import Proximal, admm
from train_proximal import train as train_proximals

from phaserec import STFT, Problem, audio, measures
from phaserec.algorithms import Algorithm
from phaserec.algorithms.registry import describe
from phaserec.evaluation.metrics import METRICS, Settings, Undefined
from phaserec.solving import prepare
from unfolded.layers.residuals import GatedResidual
from unfolded.priors.deep_griffin_lim import iteration
from unfolded.priors.networks import apply

HOPS = (512, 256)
CASES = [
    ("griffin-lim", "random", 100),
    ("fast-griffin-lim", "random", 100),
    ("admm", "random", 100),
    ("learned-admm", "random", LAYERS),
    ("deep-griffin-lim", "random", 20),
    ("griffin-lim", "pghi", 10),
    ("fast-griffin-lim", "pghi", 10),
    ("admm", "pghi", 100),
    ("deep-griffin-lim", "pghi", 20),
]
# Twice the frames, twice the time.
MOST = {("deep-griffin-lim", 256): LAYERS}
CHECKPOINTS = (0, 1, 2, 3, 5, 10, 20, 50, 100)
SCORES = ("pesq", "estoi", "convergence")
FIELDS = ("set", "file", "hop", "algorithm", "start", "iteration", "seconds", *SCORES)


def recordings(data: Path) -> Iterator[tuple[str, str, np.ndarray]]:
    """Set, name and samples at 16 kHz."""
    folders = {"VoiceBank": ["voicebank_demand/clean"], "LibriSpeech": []}
    folders["LibriSpeech"] = [f"librispeech_2mix/{s}" for s in ("s1", "s2")]
    for name, parts in folders.items():
        for part in parts:
            for path in sorted((data / part).glob("*.flac")):
                sound = audio.read(path)
                x = audio.resample(sound.samples[:1], sound.rate, RATE)[0]
                yield name, f"{path.parent.name}/{path.stem}", x.astype(np.float32)


def trained(runs: Path, sounds: Path, hop: int) -> dict[str, Algorithm]:
    """Algorithms with networks for a hop, which are trained if they are not there."""
    found: dict[str, nn.Module] = {}
    for name, make, learn in (
        ("deep-griffin-lim", lambda: GatedResidual(STFT(N_FFT, hop), *NETWORK), train),
        ("learned-admm", lambda: nn.ModuleList(Proximal() for _ in range(LAYERS)), train_proximals),
    ):
        folder = runs / f"{name}-{hop}"
        if not (folder / "done").exists():
            learn(sounds, folder, hop)
        found[name] = make().eval().requires_grad_(False)
        found[name].load_state_dict(load_file(folder / "model.safetensors"))
    return {
        "deep-griffin-lim": deep(found["deep-griffin-lim"]),
        "learned-admm": learned(found["learned-admm"]),
    }


def trajectory(
    p: Problem, algorithm: Any, start: str, n: int
) -> Iterator[tuple[int, float, np.ndarray]]:
    """Iteration, processor seconds until then, and waveforms, at each checkpoint."""
    begin = time.process_time()
    S = p.start(start, 0)
    spent = time.process_time() - begin
    yield 0, spent, p.waveforms(S)
    run = prepare(algorithm, p, n, init=S)
    each = None
    if isinstance(algorithm, str):  # on the kernel, where waveforms one by one cost more
        run.result()  # once, for what is made once
        begin = time.process_time()
        run.result()
        each = (time.process_time() - begin) / n
    begin = time.process_time()
    for k, x in enumerate(run.waveforms(), start=1):
        spent += time.process_time() - begin if each is None else each
        if k in CHECKPOINTS:
            yield k, spent, x
        begin = time.process_time()


def learned(proximals: nn.ModuleList) -> Algorithm:
    """ADMM with a learned function for each iteration."""

    def learned_admm(state: tuple, p: Any) -> tuple:
        start, Y, k = state
        Y = admm(start if Y is None else Y, p, proximals[k or 0])
        return p.mag(Y), Y, (k or 0) + 1

    return describe(learned_admm, memory=2)


def deep(net: nn.Module) -> Algorithm:
    """Deep Griffin-Lim with a network."""

    def deep_griffin_lim(state: tuple, p: Any) -> tuple:
        return iteration(state, p, partial(apply, net))

    return describe(deep_griffin_lim, memory=1)


def rows(
    data: Path, hop: int, own: dict[str, Algorithm], done: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """A row for each checkpoint, of the files that are not done."""
    stft = STFT(N_FFT, hop)
    for name, file, x in recordings(data):
        if file in done:
            continue
        V = np.abs(stft(x[None]))
        p = Problem(V, stft=stft, length=len(x))
        tensors = Problem(torch.from_numpy(V), stft=stft, length=len(x))
        for algorithm, start, n in CASES:
            n = min(n, MOST.get((algorithm, hop), n))
            on = tensors if algorithm == "learned-admm" else p
            for k, seconds, y in trajectory(on, own.get(algorithm, algorithm), start, n):
                facts = {"set": name, "file": file, "hop": hop, "start": start}
                facts |= {"algorithm": algorithm, "iteration": k}
                facts["seconds"] = seconds * RATE / len(x)
                yield facts | scores(x, np.asarray(y[0]), p)


def scored(data: Path, sounds: Path, runs: Path, hop: int) -> list[dict[str, Any]]:
    """Rows of a hop; what is there is not made again."""
    path = runs / f"alone-{hop}.csv"
    part = path.with_suffix(".part")
    if not path.exists():
        before = read(part) if part.exists() else []
        # The last file may not be whole.
        done = list(dict.fromkeys(row["file"] for row in before))[:-1]
        own = trained(runs, sounds, hop)
        with part.open("w", newline="") as file:
            writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(row for row in before if row["file"] in done)
            for row in rows(data, hop, own, done):
                shown = {k: f"{v:.4f}" if isinstance(v, float) else v for k, v in row.items()}
                writer.writerow(shown)
                file.flush()
        part.rename(path)
    return read(path)


def read(path: Path) -> list[dict[str, Any]]:
    """Rows of a file, numbers as numbers."""
    with path.open(newline="") as file:
        found: list[dict[str, Any]] = [
            {key: value for key, value in row.items() if value} for row in csv.DictReader(file)
        ]
    for row in found:
        row |= {key: int(row[key]) for key in ("hop", "iteration")}
        row |= {key: float(row[key]) for key in ("seconds", *SCORES) if key in row}
    return found


def scores(x: np.ndarray, y: np.ndarray, p: Problem) -> dict[str, float]:
    """Wide-band PESQ, ESTOI, and spectral convergence in dB."""
    found = {"convergence": float(measures.spectral_convergence(p.stft(y[None]), p)[0])}
    for name in ("pesq", "estoi"):
        try:
            found[name] = METRICS[name].function(x, y, Settings(RATE))
        except (Undefined, ImportError):
            continue
    return found


def picked(found: list[dict], column: str, **facts: Any) -> np.ndarray:
    """Values of a column by file, in the rows that agree with the facts."""
    return np.array(
        [r[column] for r in found if column in r and all(r[k] == v for k, v in facts.items())]
    )


def page(found: list[dict]) -> str:
    """Tables in reStructuredText."""
    sets = list(dict.fromkeys(row["set"] for row in found))
    text = []
    for hop in HOPS:
        for name in sets:
            header = ["algorithm", "start", "iterations", "PESQ", "ESTOI", "convergence (dB)"]
            body = []
            for algorithm, start, most in CASES:
                for n in (0, 10, *(() if most > 20 else (20,)), 100):
                    facts = {"set": name, "hop": hop, "algorithm": algorithm, "start": start}
                    facts["iteration"] = n
                    again = n == 0 and algorithm != "griffin-lim"
                    if n > most or again or not len(picked(found, "seconds", **facts)):
                        continue
                    means = [
                        cell(picked(found, score, **facts), digits)
                        for score, digits in zip(SCORES, (2, 3, 1), strict=True)
                    ]
                    seconds = f"{picked(found, 'seconds', **facts).mean():.3f}"
                    label = "(start alone)" if n == 0 else algorithm
                    body.append([label, start, str(n), *means, seconds])
            text.append(table(f"{name}, hop {hop}.", [*header, "s per s"], body))
    header = ["set", "hop", "deep Griffin-Lim, 10, minus", "PESQ"]
    body = []
    for name in sets:
        for hop in HOPS:
            facts = {"set": name, "hop": hop, "start": "random"}
            ours = picked(found, "pesq", algorithm="deep-griffin-lim", iteration=10, **facts)
            for algorithm in ("griffin-lim", "fast-griffin-lim", "admm"):
                for n in (10, 100):
                    other = picked(found, "pesq", algorithm=algorithm, iteration=n, **facts)
                    body.append([name, str(hop), f"{algorithm}, {n}", cell(ours - other, 2)])
    text.append(table("Paired differences in PESQ, both from random phases.", header, body))
    return "\n".join(text)


def table(title: str, header: list[str], body: list[list[str]]) -> str:
    """A table in reStructuredText."""
    lines = [", ".join(f'"{cell}"' for cell in line) for line in [header, *body]]
    options = [f".. csv-table:: {title}", "   :header-rows: 1", ""]
    return "\n".join([*options, *(f"   {line}" for line in lines), ""])


def draw(found: list[dict], path: Path) -> None:
    """PESQ over iterations for both hops."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(HOPS), figsize=(9, 3.6), sharey=True)
    for axis, hop in zip(axes, HOPS, strict=True):
        for algorithm, start, most in CASES:
            most = min(most, MOST.get((algorithm, hop), most))
            places = [n for n in CHECKPOINTS if n <= most]
            facts = {"set": "VoiceBank", "hop": hop, "algorithm": algorithm, "start": start}
            means = [picked(found, "pesq", iteration=n, **facts).mean() for n in places]
            names = list(dict.fromkeys(case[0] for case in CASES))
            look = {"color": f"C{names.index(algorithm)}"}
            look["linestyle"] = "-" if start == "random" else "--"
            axis.plot(places, means, **look, label=f"{algorithm}, {start}")
        axis.set_xscale("symlog", linthresh=1)
        axis.set_xticks(CHECKPOINTS, [str(n) for n in CHECKPOINTS])
        axis.set(title=f"hop {hop}", xlabel="iterations")
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("wide-band PESQ")
    axes[-1].legend(fontsize="x-small")
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sounds", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("-o", "--output", type=Path, default=Path("docs/phases"))
    parser.add_argument("--runs", type=Path, default=Path("runs/phases"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    found = [row for hop in HOPS for row in scored(given.data, given.sounds, given.runs, hop)]
    given.output.mkdir(parents=True, exist_ok=True)
    (given.output / "alone.rst").write_text(page(found))
    draw(found, given.output / "alone.svg")
