"""Quality against iterations and against seconds: algorithm × start × window × overlap.

Magnitudes of real speech and music at n_fft 1024 (2048 above 24 kHz) are inverted; what is scored
is the spectral convergence after 0, 1, 2, 5, … iterations, and PESQ and ESTOI of speech after 0, 20
and the last. With --mixtures speech in noise is separated, with the true magnitudes of both and
with such as are off by a smooth random factor (log-normal, 0.3), and SI-SDR is scored. Seconds are
those of the start plus those of the iterations on the fused kernel.

--part choose takes what choices are made on (readings of one speaker; noise in classes), --part
report what they are reported on (the VoiceBank speakers, the music). Means over recordings have
95 % bootstrap intervals.

    python benchmarks/quality.py ../shared/data --part report -o docs/choosing
    python benchmarks/quality.py ../shared/data --part report --mixtures -o docs/choosing
    python benchmarks/quality.py ../shared/data --part report --full -o docs/choosing

Without --full: two windows and the algorithms and starts that matter, in minutes. With it all that
is registered, in hours; --window, --overlap, --algorithm, --start and --recording choose from that.
Rows are added to the CSV run by run, and what is in it is not done again.
"""

import argparse
import csv
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from _quality_page import CHECKPOINTS, SCORED, compact, draw, page
from scipy.ndimage import gaussian_filter

from phaserec import STFT, Problem, algorithms, audio, measures, starts
from phaserec.evaluation.metrics import METRICS, Settings, Undefined
from phaserec.solving import prepare, warm_up
from phaserec.solving.dispatch import needs_mixture

OVERLAPS = {50.0: 2, 75.0: 4, 87.5: 8, 93.75: 16}
WINDOWS: dict[str, Any] = {
    "hann": lambda n: "hann",
    "sqrt-hann": lambda n: np.sin(np.pi * np.arange(n) / n),
    "hamming": lambda n: "hamming",
    "blackman": lambda n: "blackman",
    "gauss": lambda n: ("gaussian", n / 8),
}
SMALL = {
    "window": ("hann", "gauss"),
    "overlap": (50.0, 75.0, 87.5, 93.75),
    "algorithm": ("griffin-lim", "fast-griffin-lim"),
    "start": ("random", "zero", "pghi", "rtpghi", "rtpghi-la"),
}
SMALL_MIXTURES = {
    "window": ("hann",),
    "overlap": (50.0, 75.0, 87.5),
    "algorithm": ("misi", "mag-incons-hard-mix", "mix-incons-hard-mag", "mix-incons"),
    "start": ("mixture", "pghi"),
}
SIGMA = 1.0
# Iterations that are timed.
TIMED = 20
CASE = ("recording", "duration", "magnitudes", "window", "overlap", "algorithm", "start")
SCORES = ("seconds", "convergence", "pesq", "estoi", "si_sdr")
NUMBERS = ("duration", "overlap", *SCORES)
FIELDS = ("kind", *CASE, "iteration", *SCORES)


@dataclass(frozen=True)
class Recording:
    """Sources ``(J, time)``; one for those that are inverted alone."""

    name: str
    kind: str
    rate: int
    sources: np.ndarray


def piece(path: Path, begin: float, seconds: float) -> tuple[np.ndarray, int]:
    """Part of a mono recording, in single precision."""
    sound = audio.read(path)
    first = int(begin * sound.rate)
    samples = sound.samples[0, first : first + int(seconds * sound.rate)]
    return samples.astype(np.float32), sound.rate


def recordings(data: Path, part: str, mixtures: bool, seconds: float) -> Iterator[Recording]:
    """What is inverted, or separated."""
    if part == "choose":
        noises = sorted((data / "train" / "noise").iterdir())
        for k, path in enumerate(sorted((data / "train" / "speech").glob("ljspeech_*.flac"))):
            x, rate = piece(path, 20, seconds)
            if not mixtures:
                yield Recording(path.stem, "speech", rate, x[None])
            else:
                noise, _ = piece(noises[k % len(noises)], 40, seconds)
                noise *= np.linalg.norm(x) / max(np.linalg.norm(noise), 1e-9)
                yield Recording(path.stem, "speech", rate, np.stack([x, noise]))
        return
    for path in sorted((data / "voicebank_demand" / "clean").glob("*.flac")):
        x, rate = piece(path, 0, seconds)
        if mixtures:
            noisy, _ = piece(data / "voicebank_demand" / "noisy" / path.name, 0, seconds)
            x = np.stack([x, noisy - x])
        yield Recording(path.stem, "speech", rate, np.atleast_2d(x))
    both = [piece(data / "music" / f"{n}.flac", 3, seconds) for n in ("vocals", "accompaniment")]
    if mixtures:
        yield Recording("music", "music", both[0][1], np.stack([x for x, _ in both]))
    else:
        for name, (x, rate) in zip(("vocals", "accompaniment"), both, strict=True):
            yield Recording(name, "music", rate, x[None])


def perturbed(V: np.ndarray, seed: int) -> np.ndarray:
    """Magnitudes times a smooth factor, independent for each source."""
    noise = np.random.default_rng(seed).standard_normal(V.shape)
    smooth = gaussian_filter(noise, (0, 4, 2))
    return (V * np.exp(0.3 * smooth / smooth.std())).astype(V.dtype)


def grid(mixtures: bool, full: bool) -> dict[str, Sequence[Any]]:
    """What is crossed."""
    if not full:
        return SMALL_MIXTURES if mixtures else SMALL
    return {
        "window": tuple(WINDOWS),
        "overlap": tuple(OVERLAPS),
        "algorithm": [
            name
            for name in algorithms.names()
            if needs_mixture(algorithms.configure(algorithms.resolve(name), {})) == mixtures
        ],
        "start": [
            name for name, entry in starts.STARTS.items() if mixtures or not entry.needs_mixture
        ],
    }


def trajectory(
    p: Problem, algorithm: str, start: str, n_iter: int
) -> Iterator[tuple[int, float, np.ndarray]]:
    """Iteration, seconds until then, and waveforms, at each checkpoint."""
    known = {h.name for h in algorithms.resolve(algorithm).hyper}
    hyper = {"sigma": SIGMA} if "sigma" in known else {}
    begin = time.perf_counter()
    S = p.start(start, 0)
    to_start = time.perf_counter() - begin
    yield 0, to_start, p.waveforms(S)
    timed = prepare(algorithm, p, min(TIMED, n_iter), init=S, machine="kernel", **hyper)
    begin = time.perf_counter()
    timed.result()
    each = (time.perf_counter() - begin) / timed.n_iter
    run = prepare(algorithm, p, n_iter, init=S, machine="kernel", **hyper)
    for n, x in enumerate(run.waveforms(), start=1):
        if n in CHECKPOINTS:
            yield n, to_start + n * each, x


def heard(recording: Recording, x: np.ndarray, stft: STFT) -> dict[str, float]:
    """PESQ and ESTOI of speech, where there are packages for them."""
    found = {}
    settings = Settings(recording.rate, stft)
    for name in ("pesq", "estoi"):
        try:
            found[name] = METRICS[name].function(recording.sources[0], x, settings)
        except (Undefined, ImportError):
            continue
    return found


def run(
    found: Iterable[Recording],
    duration: float,
    crossed: dict[str, Sequence[Any]],
    mixtures: bool,
    n_iter: int,
    scored: Sequence[int],
    done: set[tuple],
) -> Iterator[list[dict]]:
    """Rows of one run after the other, a row for each checkpoint, but for those that are done."""
    for recording in found:
        n_fft = 1024 if recording.rate <= 24000 else 2048
        mixture = recording.sources.sum(0) if mixtures else None
        for window in crossed["window"]:
            for overlap in crossed["overlap"]:
                hop = n_fft // OVERLAPS[overlap]
                stft = STFT(n_fft, hop, window=WINDOWS[window](n_fft))
                V = np.abs(stft(recording.sources))
                cases = {"true": V, "perturbed": perturbed(V, 0)} if mixtures else {"true": V}
                for magnitudes, given in cases.items():
                    p = Problem(given, mixture, stft=stft, length=recording.sources.shape[-1])
                    for algorithm in crossed["algorithm"]:
                        for start in crossed["start"]:
                            case = (recording.name, duration, magnitudes, window, overlap)
                            case = (*case, algorithm, start)
                            if case in done:
                                continue
                            facts = dict(zip(CASE, case, strict=True))
                            yield rows(recording, p, facts, mixtures, n_iter, scored)
        print(recording.name, flush=True)


def rows(
    recording: Recording,
    p: Problem,
    facts: dict[str, Any],
    mixtures: bool,
    n_iter: int,
    scored: Sequence[int],
) -> list[dict]:
    """A row for each checkpoint of one run."""
    found = []
    for n, seconds, x in trajectory(p, facts["algorithm"], facts["start"], n_iter):
        row = {"kind": recording.kind, **facts, "iteration": n, "seconds": seconds}
        if mixtures:
            row["si_sdr"] = float(measures.si_sdr(recording.sources, x).mean())
        else:
            row["convergence"] = float(measures.spectral_convergence(p.stft(x), p)[0])
            if recording.kind == "speech" and n in scored:
                row |= heard(recording, x[0], p.stft)
        found.append(row)
    return found


def read(path: Path, duration: float, n_iter: int) -> list[dict]:
    """Rows of a CSV, but for runs that were cut.

    Raises
    ------
    ValueError
        If they are of other recordings or go further.
    """
    if not path.is_file():
        return []
    lines = path.read_text().splitlines(keepends=True)
    found = []
    for row in csv.DictReader(line for line in lines if line.endswith("\n")):
        values: dict[str, Any] = {key: word for key, word in row.items() if word}
        values |= {key: float(values[key]) for key in NUMBERS if key in values}
        found.append(values | {"iteration": int(row["iteration"])})
    durations = {row["duration"] for row in found} - {duration}
    last = max((row["iteration"] for row in found), default=0)
    if durations or last > n_iter:
        raise ValueError(
            f"{path} has {last} iterations of {', '.join(map(str, durations or {duration}))} s; "
            "give the same --n-iter and --seconds, or another folder (-o)"
        )
    whole = {identity(row) for row in found if row["iteration"] == n_iter}
    return [row for row in found if identity(row) in whole]


def identity(row: dict) -> tuple:
    """What tells runs apart."""
    return tuple(row.get(key) for key in CASE)


def write(rows: Iterable[dict], file: Any) -> None:
    """Lines of a CSV."""
    for row in rows:
        cells = {k: f"{v:.4g}" if k in SCORES else v for k, v in row.items()}
        csv.DictWriter(file, FIELDS).writerow(cells)
    file.flush()


def measured(path: Path, runs: Iterable[list[dict]], before: list[dict]) -> list[dict]:
    """Rows of runs after those of before; a CSV has them as soon as they are there."""
    anew = path.with_suffix(".part")
    with anew.open("w", newline="") as file:
        csv.DictWriter(file, FIELDS).writeheader()
        write(before, file)
    os.replace(anew, path)
    found = list(before)
    with path.open("a", newline="") as file:
        for each in runs:
            write(each, file)
            found += each
    return found


def parsed(argv: Sequence[str] | None) -> argparse.Namespace:
    """Options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder of recordings")
    parser.add_argument("--part", choices=["choose", "report"], required=True)
    parser.add_argument("--mixtures", action="store_true", help="separate speech and noise")
    parser.add_argument("--full", action="store_true", help="everything that is registered")
    parser.add_argument("--window", nargs="+", choices=list(WINDOWS), help="some of them")
    parser.add_argument("--overlap", nargs="+", type=float, choices=list(OVERLAPS), help="in %%")
    parser.add_argument("--algorithm", nargs="+", metavar="NAME", help="some of them")
    parser.add_argument("--start", nargs="+", metavar="NAME", help="some of them")
    parser.add_argument("--recording", nargs="+", metavar="NAME", help="some of them")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each recording")
    parser.add_argument(
        "--n-iter", type=int, choices=CHECKPOINTS[1:], default=CHECKPOINTS[-1], help="the last one"
    )
    parser.add_argument(
        "--scored",
        nargs="*",
        type=int,
        choices=CHECKPOINTS,
        default=list(SCORED),
        help="iterations after which PESQ and ESTOI are found",
    )
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder to write to")
    return parser.parse_args(argv)


def chosen(given: argparse.Namespace) -> dict[str, Sequence[Any]]:
    """The grid, with what is asked for of it.

    Raises
    ------
    ValueError
        If something is asked for that is not in the grid.
    """
    crossed = dict(grid(given.mixtures, given.full))
    for key, values in crossed.items():
        wanted = getattr(given, key)
        if wanted is None:
            continue
        strange = [value for value in wanted if value not in values]
        if strange:
            raise ValueError(
                f"--{key} {strange[0]} is not one of {', '.join(map(str, values))}"
                + ("" if given.full else "; --full has more")
            )
        crossed[key] = [value for value in values if value in wanted]
    return crossed


def main(argv: Sequence[str] | None = None) -> None:
    """Run, and write rows, tables and figures."""
    given = parsed(argv)
    crossed = chosen(given)
    found = list(recordings(given.data, given.part, given.mixtures, given.seconds))
    if given.recording is not None:
        names = [each.name for each in found]
        for name in given.recording:
            if name not in names:
                raise ValueError(f"--recording {name} is not one of {', '.join(names)}")
        found = [each for each in found if each.name in given.recording]
    given.output.mkdir(parents=True, exist_ok=True)
    name = f"{'mixtures' if given.mixtures else 'single'}-{given.part}{'-full' * given.full}"
    stem = given.output / name
    for _ in warm_up(crossed["algorithm"]):
        pass
    before = read(stem.with_suffix(".csv"), given.seconds, given.n_iter)
    done = {identity(row) for row in before}
    runs = run(found, given.seconds, crossed, given.mixtures, given.n_iter, given.scored, done)
    table = measured(stem.with_suffix(".csv"), runs, before)
    made = compact(table) if given.full else page(table, given.mixtures)
    stem.with_suffix(".rst").write_text(made.rstrip() + "\n")
    if not (given.mixtures or given.full):
        draw(table, stem.with_suffix(".svg"))


if __name__ == "__main__":
    main()
