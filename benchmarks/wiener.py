"""SDR of the Wiener family with true and with wrong powers; docs/wiener.rst has the figures.

κ and δ are chosen on mixtures of the training sounds, 4 s each: LJSpeech with five classes of
ESC-10, and three pairs of FSDD readers, all at 0 dB. What is reported are the pairs of VoiceBank +
DEMAND, the mixtures of two LibriSpeech speakers (of their sources, without the noise), and thirds
of a song. A score is the mean over both sources of a mixture of SDR (BSS Eval, 512 taps).

    python benchmarks/wiener.py DATA [--choose] [--json FILE]
"""

import argparse
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter

from phaserec import STFT, Problem, audio, measures
from phaserec.solving import prepare

N_FFT = {8000: 512, 16000: 1024, 44100: 2048}
N_ITER = 20
KAPPAS, DELTAS = (0.25, 0.5, 1.0, "auto"), (1.0, 3.0, 10.0, 30.0)
MODEL = {"init": "sinusoidal", "kappa": "auto"}
FAMILY: dict[str, dict[str, Any]] = {
    "amplitude mask": {"algorithm": "misi", "n_iter": 0},
    "wiener": {"algorithm": "wiener", "n_iter": 1},
    "anisotropic-wiener": {"algorithm": "anisotropic-wiener", "n_iter": 1, **MODEL},
    "consistent-wiener": {"algorithm": "consistent-wiener", "n_iter": N_ITER},
    "consistent-anisotropic-wiener": {
        "algorithm": "consistent-anisotropic-wiener",
        "n_iter": N_ITER,
        **MODEL,
    },
    "pu-iter": {"algorithm": "pu-iter", "n_iter": 50, "init": "sinusoidal"},
    "geometric start": {"algorithm": "misi", "n_iter": 0, "init": "geometric"},
    "misi": {"algorithm": "misi", "n_iter": N_ITER},
    "phase-constrained-misi": {"algorithm": "phase-constrained-misi", "n_iter": N_ITER},
}
PAIRS = [
    ("anisotropic-wiener", "wiener"),
    ("consistent-wiener", "wiener"),
    ("consistent-anisotropic-wiener", "consistent-wiener"),
    ("consistent-anisotropic-wiener", "anisotropic-wiener"),
]

Scene = tuple[np.ndarray, int]


def read(path: Path, start: float = 0.0, seconds: float | None = None) -> Scene:
    """Mono samples of a part of a file, and their rate."""
    sound = audio.read(path)
    x, first = sound.samples.mean(axis=0), round(start * sound.rate)
    return x[first : None if seconds is None else first + round(seconds * sound.rate)], sound.rate


def training(data: Path) -> Iterator[tuple[str, Scene]]:
    """Mixtures that hyper-parameters are chosen on."""
    speech, noises = data / "train" / "speech", sorted((data / "train" / "noise").glob("*.ogg"))
    parts = [
        (speech / f"ljspeech_0{i}.flac", 10 + 7 * i, noise, 20)
        for i, noise in enumerate(noises[::2])
    ]
    readers = [("george", "nicolas"), ("jackson", "theo"), ("lucas", "yweweler")]
    parts += [(speech / f"fsdd_{a}.flac", 5, speech / f"fsdd_{b}.flac", 15) for a, b in readers]
    for first, start, second, begin in parts:
        (a, rate), (b, _) = read(first, start, 4), read(second, begin, 4)
        yield first.stem, (np.stack([a, b * np.sqrt((a**2).sum() / (b**2).sum())]), rate)


def testing(data: Path) -> Iterator[tuple[str, Scene]]:
    """Mixtures that are reported, by kind."""
    for clean in sorted((data / "voicebank_demand" / "clean").glob("*.flac")):
        (s, rate), (x, _) = read(clean), read(data / "voicebank_demand" / "noisy" / clean.name)
        yield "speech in noise", (np.stack([s, x - s]), rate)
    for first in sorted((data / "librispeech_2mix" / "s1").glob("*.flac")):
        (a, rate), (b, _) = read(first), read(data / "librispeech_2mix" / "s2" / first.name)
        yield "two speakers", (np.stack([a, b]), rate)
    (a, rate), (b, _) = (read(data / "music" / f"{n}.flac") for n in ("vocals", "accompaniment"))
    third = len(a) // 3
    for k in range(3):
        part = slice(k * third, (k + 1) * third)
        yield "music", (np.stack([a[part], b[part]]), rate)


def problem(scene: Scene, error: float, seed: int) -> Problem:
    """True magnitudes, or with smooth log-normal errors of each source."""
    sources, rate = scene
    stft = STFT(N_FFT[rate])
    V = np.abs(stft(sources))
    noise = gaussian_filter(np.random.default_rng(seed).standard_normal(V.shape), (0, 3, 2))
    return Problem(V * np.exp(error * noise / noise.std()), sources.sum(0), stft=stft)


def score(scene: Scene, p: Problem, algorithm: str, n_iter: int, **options: Any) -> float:
    """Mean SDR over the sources, dB."""
    run = prepare(algorithm, p, n_iter, rng=0, machine="arrays", **options)
    return float(measures.sdr(scene[0], run.result()).mean())


def choose(data: Path) -> None:
    """Print what κ and δ do on the training mixtures."""
    scenes = [scene for _, scene in training(data)]
    problems = [problem(scene, 0.0, k) for k, scene in enumerate(scenes)]

    def mean(**run: Any) -> float:
        return float(np.mean([score(s, p, **run) for s, p in zip(scenes, problems, strict=True)]))

    for kappa in KAPPAS:
        print(f"κ {kappa}: {mean(**FAMILY['anisotropic-wiener'] | {'kappa': kappa}):.2f}")
    for delta in DELTAS:
        plain = mean(**FAMILY["consistent-wiener"], delta=delta)
        runs = (FAMILY["consistent-anisotropic-wiener"] | {"kappa": kappa} for kappa in KAPPAS)
        found = (f"{mean(**run, delta=delta):.2f}" for run in runs)
        print(f"δ {delta}: isotropic {plain:.2f}, {', '.join(map(str, KAPPAS))}:", *found)


def interval(values: np.ndarray) -> tuple[float, float, float]:
    """Mean, and its 95 % bootstrap interval over mixtures."""
    drawn = np.random.default_rng(0).choice(values, (10_000, len(values)))
    low, high = np.quantile(drawn.mean(axis=1), [0.025, 0.975])
    return float(values.mean()), float(low), float(high)


def report(data: Path, error: float) -> dict[str, dict[str, Any]]:
    """Scores of everything on the mixtures that nothing was chosen on."""
    values: dict[str, dict[str, list[float]]] = {}
    for k, (kind, scene) in enumerate(testing(data)):
        p = problem(scene, error, k)
        for name, run in FAMILY.items():
            values.setdefault(kind, {}).setdefault(name, []).append(score(scene, p, **run))
    kinds = {kind: {n: np.array(v) for n, v in rows.items()} for kind, rows in values.items()}
    kinds["all"] = {n: np.concatenate([rows[n] for rows in kinds.values()]) for n in FAMILY}
    table: Callable[[np.ndarray], str] = lambda v: "{:6.2f} [{:.2f}, {:.2f}]".format(*interval(v))  # noqa: E731
    for kind, rows in kinds.items():
        print(f"\n{kind}, {len(rows['wiener'])} mixtures, error of magnitudes {error}")
        for name, found in rows.items():
            print(f"    {name:<32}{table(found)}")
        for better, worse in PAIRS:
            print(f"    {better} − {worse}: {table(rows[better] - rows[worse])}")
    return {kind: {n: v.tolist() for n, v in rows.items()} for kind, rows in kinds.items()}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder of the audio, see its README")
    parser.add_argument("--choose", action="store_true", help="κ and δ on the training mixtures")
    parser.add_argument("--json", type=Path, help="file for the scores of each mixture")
    arguments = parser.parse_args()
    if arguments.choose:
        choose(arguments.data)
    else:
        found = {f"error {error}": report(arguments.data, error) for error in (0.0, 0.3)}
        if arguments.json:
            arguments.json.write_text(json.dumps(found))
