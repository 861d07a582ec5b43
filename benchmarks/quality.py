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

Without --full: three windows, three overlaps and the algorithms and starts that matter, in minutes.
"""

import argparse
import csv
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter

from phaserec import STFT, Problem, algorithms, audio, measures, starts
from phaserec.evaluation.metrics import METRICS, Settings, Undefined
from phaserec.solving import prepare
from phaserec.solving.dispatch import needs_mixture

CHECKPOINTS = (0, 1, 2, 5, 10, 20, 50, 100)
SCORED = (0, 20, 100)
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
FIELDS = (
    *("recording", "kind", "magnitudes", "window", "overlap", "algorithm", "start"),
    *("iteration", "seconds", "convergence", "pesq", "estoi", "si_sdr"),
)


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


def grid(mixtures: bool, full: bool) -> dict[str, Any]:
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


def trajectory(p: Problem, algorithm: str, start: str) -> Iterator[tuple[int, float, np.ndarray]]:
    """Iteration, seconds until then, and waveforms, at each checkpoint."""
    known = {h.name for h in algorithms.resolve(algorithm).hyper}
    hyper = {"sigma": SIGMA} if "sigma" in known else {}
    begin = time.perf_counter()
    S = p.start(start, 0)
    to_start = time.perf_counter() - begin
    yield 0, to_start, p.waveforms(S)
    run = prepare(algorithm, p, CHECKPOINTS[-1], init=S, machine="kernel", **hyper)
    begin = time.perf_counter()
    run.result()
    each = (time.perf_counter() - begin) / CHECKPOINTS[-1]
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


def run(found: Iterator[Recording], crossed: dict[str, Any], mixtures: bool) -> Iterator[dict]:
    """A row for each checkpoint."""
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
                    facts = {
                        "recording": recording.name,
                        "kind": recording.kind,
                        "magnitudes": magnitudes,
                        "window": window,
                        "overlap": overlap,
                    }
                    for algorithm in crossed["algorithm"]:
                        for start in crossed["start"]:
                            yield from rows(recording, p, facts, algorithm, start, mixtures)
        print(recording.name, flush=True)


def rows(
    recording: Recording, p: Problem, facts: dict, algorithm: str, start: str, mixtures: bool
) -> Iterator[dict]:
    """A row for each checkpoint of one run."""
    for n, seconds, x in trajectory(p, algorithm, start):
        row = {**facts, "algorithm": algorithm, "start": start, "iteration": n, "seconds": seconds}
        if mixtures:
            row["si_sdr"] = float(measures.si_sdr(recording.sources, x).mean())
        else:
            row["convergence"] = float(measures.spectral_convergence(p.stft(x), p)[0])
            if recording.kind == "speech" and n in SCORED:
                row |= heard(recording, x[0], p.stft)
        yield row


def mean(values: list[float], digits: int) -> str:
    """Mean with its 95 % bootstrap interval over recordings, if there are several."""
    data = np.asarray(values)
    if len(data) == 1:
        return f"{data[0]:.{digits}f}"
    drawn = np.random.default_rng(0).integers(len(data), size=(2000, len(data)))
    low, high = np.quantile(data[drawn].mean(1), (0.025, 0.975))
    return f"{data.mean():.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def table(title: str, header: list[str], body: list[list[str]]) -> str:
    """A table in reStructuredText."""
    lines = [title, "", ".. csv-table::", f"   :header: {quoted(header)}", ""]
    return "\n".join([*lines, *(f"   {quoted(line)}" for line in body), "", ""])


def quoted(cells: list[str]) -> str:
    """Cells of a table."""
    return ", ".join(f'"{cell}"' for cell in cells)


def pick(found: list[dict], column: str, **facts: Any) -> dict[str, float]:
    """Values of a column by recording, in the rows that agree with the facts."""
    return {
        row["recording"]: row[column]
        for row in found
        if column in row and all(row[key] == value for key, value in facts.items())
    }


def ordered(found: list[dict], key: str) -> list[Any]:
    """Different values of a column, in their order."""
    return list(dict.fromkeys(row[key] for row in found))


def by_start(found: list[dict], column: str, title: str, keys: tuple[str, ...], n: int) -> str:
    """Means after n iterations: a line for each case, a column for each start."""
    names, digits = ordered(found, "start"), 2 if column in ("pesq", "estoi") else 1
    body = []
    for case in dict.fromkeys(tuple(row[key] for key in keys) for row in found):
        facts = dict(zip(keys, case, strict=True))
        values = [pick(found, column, start=s, iteration=n, **facts) for s in names]
        if all(values):
            body.append([*map(str, case), *(mean(list(v.values()), digits) for v in values)])
    return table(title, [*keys, *names], body)


def seconds_to(found: list[dict], reached: float, **facts: Any) -> float:
    """Seconds until a convergence is reached, between checkpoints by a straight line."""
    points = [
        (row["seconds"], row["convergence"])
        for row in found
        if all(row[key] == value for key, value in facts.items())
    ]
    before = points[0]
    for point in points:
        if point[1] <= reached:
            if point is before or before[1] <= reached:
                return point[0]
            share = (before[1] - reached) / (before[1] - point[1])
            return before[0] + share * (point[0] - before[0])
        before = point
    return float("inf")


def times(found: list[dict], target: float | None) -> list[list[str]]:
    """Seconds of fast Griffin-Lim to a target, over those from random phases: medians.

    Without a target it is what random phases come to in 50 iterations.
    """
    names, body = ordered(found, "start"), []
    for window in ordered(found, "window"):
        for overlap in ordered(found, "overlap"):
            facts = {"window": window, "overlap": overlap, "algorithm": "fast-griffin-lim"}
            usual = pick(found, "convergence", start="random", iteration=50, **facts)
            cells = []
            for start in names:
                ratios = []
                for name, reached in usual.items():
                    goal = reached if target is None else target
                    taken = [
                        seconds_to(found, goal, recording=name, start=s, **facts)
                        for s in (start, "random")
                    ]
                    ratios.append(taken[0] / taken[1] if np.isfinite(taken[0]) else np.inf)
                middle = float(np.median(ratios))
                cells.append(f"{middle:.2f}" if np.isfinite(middle) else "not in 100")
            body.append([window, str(overlap), *cells])
    return body


def page(found: list[dict], mixtures: bool) -> str:
    """All tables."""
    text = ""
    if mixtures:
        keys = ("magnitudes", "overlap", "algorithm")
        for kind in ordered(found, "kind"):
            some = [row for row in found if row["kind"] == kind]
            first = [row for row in some if row["algorithm"] == ordered(some, "algorithm")[0]]
            text += by_start(first, "si_sdr", f"SI-SDR in dB of the start, {kind}.", keys[:2], 0)
            title = f"SI-SDR in dB after 20 iterations, {kind}."
            text += by_start(some, "si_sdr", title, keys, 20)
        return text
    for kind in ordered(found, "kind"):
        some = [row for row in found if row["kind"] == kind]
        first = [row for row in some if row["algorithm"] == ordered(some, "algorithm")[0]]
        title = f"Spectral convergence in dB of the start alone, {kind}."
        text += by_start(first, "convergence", title, ("window", "overlap"), 0)
        for n in (20, 50):
            for algorithm in ordered(some, "algorithm"):
                chosen = [row for row in some if row["algorithm"] == algorithm]
                title = f"Spectral convergence in dB after {n} iterations of {algorithm}, {kind}."
                text += by_start(chosen, "convergence", title, ("window", "overlap"), n)
    fast = [row for row in found if row["algorithm"] == "fast-griffin-lim"]
    header = ["window", "overlap", *ordered(fast, "start")]
    title = (
        "Seconds of fast Griffin-Lim, start included, until it is where 50 iterations from random "
        "phases are, as a part of those: medians."
    )
    text += table(title, header, times(fast, None))
    title = (
        "The same until −30 dB. 0.00 is where random phases do not lead there in 100 iterations, "
        "and the start does."
    )
    text += table(title, header, times(fast, -30.0))
    speech = [row for row in fast if row["kind"] == "speech" and row["window"] == "hann"]
    for score in ("pesq", "estoi"):
        for n in SCORED:
            if any(score in row for row in speech):
                title = f"{score.upper()} after {n} iterations of fast Griffin-Lim, Hann."
                text += by_start(speech, score, title, ("overlap",), n)
    return text


def draw(found: list[dict], path: Path) -> None:
    """Spectral convergence of speech over seconds and over iterations, for every overlap."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    speech = [row for row in found if row["kind"] == "speech" and row["window"] == "hann"]
    overlaps = ordered(speech, "overlap")
    figure, axes = pyplot.subplots(
        2, len(overlaps), figsize=(3.2 * len(overlaps), 6), sharey="col", squeeze=False
    )
    for column, overlap in enumerate(overlaps):
        for k, start in enumerate(ordered(speech, "start")):
            for algorithm, style in zip(ordered(speech, "algorithm"), ("--", "-"), strict=False):
                facts = {"overlap": overlap, "start": start, "algorithm": algorithm}
                points = {
                    key: [
                        np.mean(list(pick(speech, key, iteration=n, **facts).values()))
                        for n in CHECKPOINTS
                    ]
                    for key in ("seconds", "convergence")
                }
                label = start if style == "-" else None
                look = {"color": f"C{k}", "linestyle": style, "label": label}
                axes[0, column].plot(CHECKPOINTS, points["convergence"], **look)
                axes[1, column].plot(points["seconds"], points["convergence"], **look)
        axes[0, column].set_title(f"Hann, overlap {overlap} %")
        axes[0, column].set_xscale("symlog")
        axes[0, column].set_xlabel("iterations")
        axes[1, column].set_xscale("log")
        axes[1, column].set_xlabel("seconds")
    for row in axes:
        row[0].set_ylabel("spectral convergence (dB)")
    axes[0, -1].legend(fontsize="small")
    figure.tight_layout()
    figure.savefig(path)


def main() -> None:
    """Run, and write rows, tables and figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder of recordings")
    parser.add_argument("--part", choices=["choose", "report"], required=True)
    parser.add_argument("--mixtures", action="store_true", help="separate speech and noise")
    parser.add_argument("--full", action="store_true", help="everything that is registered")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each recording")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder to write to")
    arguments = parser.parse_args()
    mixtures = arguments.mixtures
    found = list(
        run(
            recordings(arguments.data, arguments.part, mixtures, arguments.seconds),
            grid(mixtures, arguments.full),
            mixtures,
        )
    )
    arguments.output.mkdir(parents=True, exist_ok=True)
    stem = arguments.output / f"{'mixtures' if mixtures else 'single'}-{arguments.part}"
    with stem.with_suffix(".csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, FIELDS)
        writer.writeheader()
        for row in found:
            writer.writerow({k: f"{v:.4g}" if isinstance(v, float) else v for k, v in row.items()})
    stem.with_suffix(".rst").write_text(page(found, mixtures).rstrip() + "\n")
    if not mixtures:
        draw(found, stem.with_suffix(".svg"))


if __name__ == "__main__":
    main()
