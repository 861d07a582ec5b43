"""The experiment of Magron & Virtanen (EUSIPCO 2023) on given speech, noise and magnitudes.

16 kHz, Hann 1024/256, mixtures at 10, 0 and −10 dB, σ in {0, 10⁻³ … 10³}, at most 20 iterations. σ
and the number of iterations are chosen for each algorithm and SNR on the validation part alone, by
the mean; medians of the speech's SDR (10 log10 ‖s‖²/‖s − ŝ‖², as published) are of the test part.
Parts share no speaker and no noise recording. Intervals are of a bootstrap over speech pieces and
noise pieces (Owen, Annals of Applied Statistics 2007), as mixtures share them.

    python benchmarks/eusipco2023.py --pairs DIR --magnitudes oracle -o docs/eusipco2023
    python benchmarks/eusipco2023.py --speech DIR --noise DIR --magnitudes model MODEL_FOLDER

--pairs takes a folder with clean/ and noisy/; the noise is their difference. Files belong to the
group that their names begin with, up to "_"; half of the groups are for validation.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from phaserec import STFT, Problem, audio, iterate, measures
from phaserec.commands.console import watched
from phaserec.corpus.fingerprints import fingerprint, overlaps
from phaserec.corpus.mixtures import Item
from phaserec.tuning.strategies import (
    SIGMAS,
    TOLERANCE,
    Search,
    candidates,
    fewest,
    search,
    summarise,
)

RATE = 16000
TRANSFORM = STFT(1024, 256)
SNRS = (10, 0, -10)
SOURCES = ("speech", "noise")
WEIGHTED = ("mix-incons", "mix-incons-hard-mag", "mag-incons-hard-mix")
ALGORITHMS = ("misi", *WEIGHTED, "incons-hard-mix")
MASK = "amplitude mask"

# Medians of the paper with Open-Unmix magnitudes (dB at 10, 0, −10 dB), and the optima found again
# from the validation scores that its authors published: σ, iterations.
PUBLISHED = {
    MASK: (18.7, 13.5, 7.7),
    "misi": (19.6, 14.1, 7.7),
    "mix-incons": (19.3, 13.7, 8.1),
    "mix-incons-hard-mag": (18.7, 13.8, 8.0),
    "mag-incons-hard-mix": (19.6, 14.1, 7.7),
    "incons-hard-mix": (19.6, 14.0, 7.6),
}
PUBLISHED_OPTIMA = {
    "misi": ((None, 2), (None, 2), (None, 1)),
    "mix-incons": ((10, 20), (10, 17), (10, 15)),
    "mix-incons-hard-mag": ((0.1, 20), (0.1, 16), (0.01, 19)),
    "mag-incons-hard-mix": ((1, 6), (1, 6), (10, 8)),
    "incons-hard-mix": ((None, 1), (None, 1), (None, 1)),
}


# Mixtures ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Recording:
    """A recording, and what it must not be parted from (speaker, noise)."""

    name: str
    group: str
    samples: np.ndarray


@dataclass(frozen=True)
class Mixture:
    """Speech and noise of one length, and the pieces they are."""

    name: str
    speech: np.ndarray
    noise: np.ndarray
    pieces: tuple[int, int]

    def sources(self, snr: float) -> np.ndarray:
        """Speech and noise at an SNR in dB, ``(2, time)``."""
        ratio = np.linalg.norm(self.speech) / np.linalg.norm(self.noise)
        return np.stack([self.speech, self.noise * ratio * 10 ** (-snr / 20)]).astype(np.float32)


def read_folder(folder: Path) -> list[Recording]:
    """First channels of the audio files of a folder at 16 kHz."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    if not files:
        raise ValueError(f"{folder} holds no files")
    return [
        Recording(path.stem, path.stem.partition("_")[0], audio.read(path, rate=RATE).samples[0])
        for path in files
    ]


def read_pairs(folder: Path) -> tuple[list[Recording], list[Recording]]:
    """Speech and noise of a folder with ``clean`` and ``noisy``."""
    speech = read_folder(folder / "clean")
    noisy = {recording.name: recording for recording in read_folder(folder / "noisy")}
    noise = [Recording(s.name, s.group, noisy[s.name].samples - s.samples) for s in speech]
    return speech, noise


def split(recordings: Sequence[Recording]) -> tuple[list[Recording], list[Recording]]:
    """Parts for validation and test, which share no group."""
    groups = sorted({recording.group for recording in recordings})
    if len(groups) < 2:
        raise ValueError(f"all of {groups[0]} is one group; two parts need two speakers or noises")
    first = set(groups[: (len(groups) + 1) // 2])
    parts = (
        [r for r in recordings if r.group in first],
        [r for r in recordings if r.group not in first],
    )
    shared = overlaps(*({r.name: fingerprint(r.samples[None]) for r in part} for part in parts))
    if shared:
        raise ValueError(f"validation and test share recordings: {shared}")
    return parts


def cut(recordings: Sequence[Recording], seconds: float) -> list[np.ndarray]:
    """Pieces of about this length that are not silent."""
    pieces = []
    for recording in recordings:
        count = max(round(len(recording.samples) / (seconds * RATE)), 1)
        floor = 1e-3 * np.mean(recording.samples**2)
        pieces += [p for p in np.array_split(recording.samples, count) if np.mean(p**2) > floor]
    return pieces


def mix(
    speech: Sequence[np.ndarray], noise: Sequence[np.ndarray], count: int, seed: int
) -> list[Mixture]:
    """Different combinations of speech and noise, as many as there are but no more than asked."""
    mixtures = []
    chosen = np.random.default_rng(seed).permutation(len(speech) * len(noise))[:count]
    for place in sorted(chosen):
        s, n = divmod(int(place), len(noise))
        length = min(len(speech[s]), len(noise[n]))
        mixtures.append(Mixture(f"{s}-{n}", speech[s][:length], noise[n][:length], (s, n)))
    return mixtures


# Magnitudes ----------------------------------------------------------------------------------

Magnitudes = Callable[[np.ndarray], np.ndarray]  # sources (2, time) -> (2, F, T)


def oracle(sources: np.ndarray) -> np.ndarray:
    """The true magnitudes."""
    return np.abs(TRANSFORM(sources))


def wiener(sources: np.ndarray) -> np.ndarray:
    """Magnitudes of the mixture times a decision-directed Wiener gain; nothing is trained.

    The noise's power is from a quantile over time of each frequency (Stahl, Fischer & Bippus,
    ICASSP 2000), the a-priori SNR is that of Ephraim & Malah (IEEE TASSP 1984). The noise gets
    what the speech leaves of the power. Quantile and smoothing are those of the best mean SDR of
    the amplitude mask on the validation part of VoiceBank pairs.
    """
    power = np.abs(TRANSFORM(sources.sum(axis=0))) ** 2
    # Such a quantile of an exponential distribution is its mean times −log(1 − 0.3).
    noise = np.quantile(power, 0.3, axis=1, keepdims=True) / -np.log(0.7)
    noise = np.maximum(noise, 1e-12)
    posterior = power / noise
    gains = np.empty_like(power)
    before = np.ones(len(power), power.dtype)
    for t in range(power.shape[1]):
        prior = 0.98 * before + 0.02 * np.maximum(posterior[:, t] - 1, 0)
        prior = np.maximum(prior, 10**-2.5)
        gains[:, t] = prior / (1 + prior)
        before = gains[:, t] ** 2 * posterior[:, t]
    return np.sqrt(power) * np.stack([gains, np.sqrt(1 - gains**2)])


def of_network(network: Any, targets: Sequence[str]) -> Magnitudes:
    """Magnitudes of a network of :mod:`unfolded.estimators`."""
    import torch

    if not set(SOURCES) <= set(targets):
        raise ValueError(f"the network estimates {', '.join(targets)}, not speech and noise")
    order = [list(targets).index(name) for name in SOURCES]

    def magnitudes(sources: np.ndarray) -> np.ndarray:
        mixture = torch.from_numpy(sources.sum(axis=0))[None, None]
        with torch.no_grad():
            estimates = network(mixture, TRANSFORM(mixture))
        return estimates[0, order, 0].numpy()

    return magnitudes


def model(folder: str) -> Magnitudes:
    """Magnitude network of a saved separator."""
    from unfolded import Separator

    separator = Separator.from_pretrained(folder)
    if separator.stft != TRANSFORM or separator.sample_rate != RATE:
        raise ValueError(
            f"{folder} is for {separator.stft} at {separator.sample_rate} Hz; the protocol has "
            f"{TRANSFORM} at {RATE} Hz"
        )
    return of_network(separator.estimator, separator.targets)


def open_unmix(path: str) -> Magnitudes:
    """Open-Unmix with weights from a file, or from a folder with speech*.pth and noise*.pth."""
    from unfolded.estimators import OpenUnmix

    place = Path(path)
    weights: Any = place
    if place.is_dir():
        weights = {name: next(iter(sorted(place.glob(f"{name}*"))), None) for name in SOURCES}
        missing = [name for name, file in weights.items() if file is None]
        if missing:
            raise ValueError(f"{path} holds no weights {missing[0]}*")
    network = OpenUnmix.from_published(weights, sample_rate=RATE)
    return of_network(network, network.targets)


def magnitudes_of(words: Sequence[str]) -> Magnitudes:
    """The estimator that ``--magnitudes`` names."""
    kind, *rest = words
    plain = {"oracle": oracle, "wiener": wiener}
    loaded = {"model": model, "umx": open_unmix}
    if kind in plain and not rest:
        return plain[kind]
    if kind in loaded and len(rest) == 1:
        return loaded[kind](rest[0])
    raise ValueError(f"--magnitudes {' '.join(words)}: oracle, wiener, model FOLDER or umx PATH")


# The experiment ------------------------------------------------------------------------------


def sweep(
    mixtures: Sequence[Mixture], magnitudes: Magnitudes, snr: float, n_iter: int, jobs: int | None
) -> Search:
    """Scores of every algorithm and σ after every iteration on mixtures at one SNR."""
    items = []
    for mixture in mixtures:
        sources = mixture.sources(snr)
        V = magnitudes(sources).astype(np.float32)
        whole = sources.sum(axis=0)
        items.append(Item(mixture.name, SOURCES, RATE, whole[None], sources[None], V[None]))
    steps = search(
        items,
        candidates(ALGORITHMS, {"sigma": SIGMAS}),
        n_iter,
        stft=TRANSFORM,
        score="snr",
        source="speech",
        jobs=jobs,
    )
    return watched(steps)


@dataclass(frozen=True)
class Setting:
    """A candidate of a search and a number of iterations."""

    candidate: int
    n_iter: int


def choose(found: Search, algorithm: str, sigma: float | None = None, *, least: int = 0) -> Setting:
    """The best setting of an algorithm by the mean over mixtures.

    With ``sigma`` at this σ alone; with ``least`` of so many iterations or more.
    """
    if algorithm == MASK:
        return Setting(0, 0)
    best, setting = -np.inf, Setting(0, 0)
    for k, candidate in enumerate(found.candidates):
        if candidate.algorithm != algorithm or sigma not in (None, candidate.hyper.get("sigma")):
            continue
        curve = summarise(found.scores[k], "mean")
        # One iteration suffices, as published.
        n = 1 if algorithm == "incons-hard-mix" else least + fewest(curve[least:])
        if curve[n] > best + TOLERANCE:
            best, setting = curve[n], Setting(k, n)
    return setting


def sigma_of(found: Search, setting: Setting) -> float | None:
    """σ of a setting."""
    return found.candidates[setting.candidate].hyper.get("sigma")


class Bootstrap:
    """Resamples of mixtures by their speech and noise pieces, the same for all statistics."""

    def __init__(self, mixtures: Sequence[Mixture], count: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        pieces = np.array([mixture.pieces for mixture in mixtures]).T
        weights = []
        for of_source in pieces:
            kinds, index = np.unique(of_source, return_inverse=True)
            chance = np.full(len(kinds), 1 / len(kinds))
            weights.append(rng.multinomial(len(kinds), chance, size=count)[:, index])
        self.weights = weights[0] * weights[1]

    def interval(self, values: np.ndarray) -> tuple[float, float, float]:
        """Median, and the middle 95 % of the medians of resamples."""
        medians = [np.median(np.repeat(values, weight)) for weight in self.weights if weight.any()]
        low, high = np.percentile(medians, [2.5, 97.5])
        return float(np.median(values)), float(low), float(high)


def rises(mixtures: Sequence[Mixture], magnitudes: Magnitudes, n_iter: int) -> dict[str, Any]:
    """In how many runs the objective, and the same sum of norms without squares, rises (float64).

    Runs over all σ > 0 and SNRs; a step counts from 1e-9 of the value on. Counted from the start,
    but for the hard mixing constraint, which the start does not fulfil: from the first iteration.
    """
    first = {"mix-incons": 0, "mix-incons-hard-mag": 0, "mag-incons-hard-mix": 1}
    counts = {}
    for algorithm, begin in first.items():
        term = measures.magnitude_error if begin else measures.mixing_error
        risen, runs, most = np.zeros(2, int), 0, 0.0
        for mixture in mixtures:
            for snr in SNRS:
                sources = mixture.sources(snr).astype(np.float64)
                p = Problem(magnitudes(sources), sources.sum(axis=0), stft=TRANSFORM)
                start = p.start()
                for sigma in SIGMAS[1:]:
                    steps = iterate(algorithm, p, n_iter, init=start, sigma=sigma)
                    pairs = [
                        (float(term(S, p)), float(measures.inconsistency(S, p)))
                        for S in (start, *steps)
                    ]
                    a, b = np.array(pairs[begin:]).T
                    for k, curve in enumerate((a + sigma * b, np.sqrt(a) + sigma * np.sqrt(b))):
                        growth = np.max(np.diff(curve) / curve[:-1])
                        risen[k] += growth > 1e-9
                    most = max(most, float(growth))
                    runs += 1
        counts[algorithm] = {
            "runs": runs,
            "squared": int(risen[0]),
            "unsquared": int(risen[1]),
            "unsquared_most": most,
        }
    return counts


def compare(
    validation: dict[int, Search], test: dict[int, Search], bootstrap: Bootstrap
) -> list[dict[str, Any]]:
    """What is reported of every algorithm at every SNR; figures in dB."""
    rows = []
    for algorithm in (MASK, *ALGORITHMS):
        for place, snr in enumerate(SNRS):
            known, held_out = validation[snr], test[snr]
            own = choose(known, algorithm)

            def scores(setting: Setting, found: Search = held_out) -> np.ndarray:
                return found.scores[setting.candidate, :, setting.n_iter]

            mask = held_out.scores[0, :, 0]
            row: dict[str, Any] = {
                "algorithm": algorithm,
                "snr": snr,
                "published": PUBLISHED[algorithm][place],
                "median": bootstrap.interval(scores(own)),
                "gain": bootstrap.interval(scores(own) - mask),
            }
            if algorithm != MASK:
                flattered = choose(held_out, algorithm)
                median = float(np.median(scores(own)))
                row |= {
                    "sigma": sigma_of(known, own),
                    "n_iter": own.n_iter,
                    "published_optimum": PUBLISHED_OPTIMA[algorithm][place],
                    "validation_median": float(np.median(scores(own, known))),
                    "test_choice": (sigma_of(held_out, flattered), flattered.n_iter),
                    "flattery": float(np.median(scores(flattered))) - median,
                    "flattery_of_mean": float(np.mean(scores(flattered)) - np.mean(scores(own))),
                }
                after = Setting(own.candidate, known.scores.shape[-1] - 1)
                row["at_most_iterations"] = float(np.median(scores(after)))
            if algorithm in WEIGHTED:
                last = choose(known, WEIGHTED[-1])
                same = choose(known, algorithm, sigma_of(known, last))
                row["shared_sigma"] = float(np.median(scores(same))) - median
                both = Setting(same.candidate, last.n_iter)
                row["shared_both"] = float(np.median(scores(both))) - median
            rows.append(row)
    return rows


# Tables and figures --------------------------------------------------------------------------


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A csv-table of reStructuredText."""
    lines = [".. csv-table::", "   :header: " + ", ".join(f'"{h}"' for h in header), ""]
    lines += ["   " + ", ".join(f'"{cell}"' for cell in row) for row in rows]
    return "\n".join(lines) + "\n\n"


def level(snr: int) -> str:
    """An SNR as text."""
    return f"{snr:+} dB" if snr else "0 dB"


def shown(sigma: float | None, n_iter: int) -> str:
    """A setting as text."""
    return f"{n_iter}" if sigma is None else f"{sigma:g}; {n_iter}"


def pages(rows: Sequence[dict[str, Any]]) -> str:
    """The tables of one kind of magnitudes."""
    by_algorithm = {name: [r for r in rows if r["algorithm"] == name] for name in PUBLISHED}
    dBs = list(map(level, SNRS))

    def interval(value: Sequence[float], sign: str = "") -> str:
        return "{:{s}.1f} [{:{s}.1f}, {:{s}.1f}]".format(*value, s=sign)

    def each(cell: Callable[[dict[str, Any]], str], names: Sequence[str]) -> list[list[str]]:
        return [[name, *map(cell, by_algorithm[name])] for name in names]

    text = "Median SDR of the speech in dB, 95 % interval, and in brackets as published.\n\n"
    text += table(
        ["", *dBs],
        each(lambda r: f"{interval(r['median'])} ({r['published']})", list(by_algorithm)),
    )
    text += "Median gain over the amplitude mask in dB, mixture by mixture.\n\n"
    text += table(["", *dBs], each(lambda r: interval(r["gain"], "+"), ALGORITHMS))
    text += "σ and iterations chosen on the validation part; in brackets the published optimum.\n\n"
    text += table(
        ["", *dBs],
        each(
            lambda r: f"{shown(r['sigma'], r['n_iter'])} ({shown(*r['published_optimum'])})",
            ALGORITHMS,
        ),
    )
    text += (
        "What sharing the σ of mag-incons-hard-mix changes in the median in dB, and (in brackets) "
        "sharing its number of iterations too.\n\n"
    )
    text += table(
        ["", *dBs],
        each(lambda r: f"{r['shared_sigma']:+.2f} ({r['shared_both']:+.2f})", WEIGHTED[:-1]),
    )
    text += (
        "What choosing on the test part would have added: to the median and, in brackets, to the "
        "mean that is chosen by, in dB.\n\n"
    )
    return text + table(
        ["", *dBs],
        each(lambda r: f"{r['flattery']:+.2f} ({r['flattery_of_mean']:+.2f})", ALGORITHMS),
    )


def curves(found: Search) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Mean SDR over σ at the best number of iterations, one at least, and what has no σ."""

    def score(algorithm: str, sigma: float | None = None) -> float:
        setting = choose(found, algorithm, sigma, least=1)
        return float(summarise(found.scores[setting.candidate, :, setting.n_iter], "mean"))

    swept = {name: [score(name, sigma) for sigma in SIGMAS] for name in WEIGHTED}
    return swept, {name: score(name) for name in (MASK, "misi", "incons-hard-mix")}


def figure(validation: dict[int, Search], path: Path) -> None:
    """Mean SDR on the validation part over σ, one panel for each SNR."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "eusipco2023"
    matplotlib.rcParams["svg.fonttype"] = "none"
    import matplotlib.pyplot as plt

    from phaserec import plot

    fig, axes = plt.subplots(1, len(SNRS), figsize=(12, 4), layout="constrained")
    for ax, snr in zip(axes, SNRS, strict=True):
        swept, levels = curves(validation[snr])
        plot.sigma_sweep(SIGMAS, swept, levels=levels, label="mean SDR (dB)", ax=ax)
        ax.set_title(level(snr))
        ax.get_legend().remove()
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=6)
    fig.savefig(path, metadata={"Date": None})


def main() -> None:
    """Run the experiment and write what it found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=Path, help="folder with clean/ and noisy/")
    parser.add_argument("--speech", type=Path, help="folder of speech, SPEAKER_….wav")
    parser.add_argument("--noise", type=Path, help="folder of noise, KIND_….wav")
    parser.add_argument("--magnitudes", nargs="+", default=["oracle"], metavar="WORD")
    parser.add_argument("--name", help="of the files to write [kind of magnitudes]")
    parser.add_argument("--count", type=int, default=50, help="mixtures of each part, at most")
    parser.add_argument("--seconds", type=float, default=2.0, help="length of pieces")
    parser.add_argument("--n-iter", type=int, default=20)
    parser.add_argument("--resamples", type=int, default=2000, help="of the bootstrap")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int)
    parser.add_argument("-o", "--output", type=Path, help="folder for tables and figures")
    arguments = parser.parse_args()
    if (arguments.pairs is None) == (arguments.speech is None or arguments.noise is None):
        parser.error("give --pairs, or --speech and --noise")
    try:
        run(arguments)
    except (ValueError, OSError) as error:
        parser.error(str(error))


def run(arguments: argparse.Namespace) -> None:
    """Run with parsed arguments."""
    magnitudes = magnitudes_of(arguments.magnitudes)
    if arguments.pairs is not None:
        speech, noise = read_pairs(arguments.pairs)
    else:
        speech, noise = read_folder(arguments.speech), read_folder(arguments.noise)
    parts = {}
    sizes = {}
    of_part = zip(("validation", "test"), split(speech), split(noise), strict=True)
    for seed, (part, voices, noises) in enumerate(of_part, start=arguments.seed):
        pieces = cut(voices, arguments.seconds), cut(noises, arguments.seconds)
        parts[part] = mix(*pieces, arguments.count, seed)
        sizes[part] = {
            "speakers": sorted({r.group for r in voices}),
            "noises": sorted({r.name for r in noises}),
            "pieces": [len(p) for p in pieces],
            "mixtures": len(parts[part]),
            "seconds": sum(len(m.speech) for m in parts[part]) / RATE,
        }
        print(f"{part}: {sizes[part]}", file=sys.stderr)
    found = {
        part: {
            snr: sweep(mixtures, magnitudes, snr, arguments.n_iter, arguments.jobs) for snr in SNRS
        }
        for part, mixtures in parts.items()
    }
    bootstrap = Bootstrap(parts["test"], arguments.resamples, arguments.seed)
    rows = compare(found["validation"], found["test"], bootstrap)
    text = pages(rows)
    print(text)
    results = {
        "magnitudes": arguments.magnitudes[0],
        "parts": sizes,
        "rows": rows,
        "sweep": {snr: curves(of_snr) for snr, of_snr in found["validation"].items()},
        "rises": rises(parts["validation"][:3], magnitudes, arguments.n_iter),
    }
    print(json.dumps(results["rises"], indent=2))
    if arguments.output is not None:
        name = arguments.name or arguments.magnitudes[0]
        arguments.output.mkdir(parents=True, exist_ok=True)
        (arguments.output / f"{name}.rst").write_text(text)
        (arguments.output / f"{name}.json").write_text(json.dumps(results, indent=1) + "\n")
        figure(found["validation"], arguments.output / f"{name}.svg")


if __name__ == "__main__":
    main()
