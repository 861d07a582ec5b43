"""From which accuracy of the magnitudes on iterations find phases, untrained and trained.

Two speakers at 0 dB, whose mixture is known and whose magnitudes are wrong by a known amount:
unbiased, true ones times a smooth random factor; shrunk, those of the truncated phase-sensitive
mask times the same factor. The phase of the mixture is compared with MISI, with three layers of
MISI and a trained correction of spectrograms, and, as a control, with the same network equally
trained behind the phase of the mixture, which is shown no projector's result.

    python benchmarks/phases/controlled.py SOUNDS_FOLDER ../shared/data -o docs/phases

SOUNDS_FOLDER is what ``benchmarks/enhancement/sounds.py`` makes. What lies under --runs is not
trained again.
"""

import argparse
import csv
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _common import (
    RATE,
    TRANSFORM,
    Voices,
    cell,
    draw_voices,
    interval,
    magnitude_snr,
    stretch,
    train,
    voices,
)
from torch import Tensor, nn

from phaserec import audio, measures, projectors
from unfolded import Separator, UnfoldedInversion
from unfolded.layers.residuals import GatedResidual
from unfolded.losses import get_loss

KINDS = ("unbiased", "shrunk")
SNRS = tuple(np.arange(5.0, 30.1, 5.0))
LEVEL = 0.1
PHASE = "mixture's phase"
METHODS = ("MISI-3", "MISI-10", "trained", "control")


@dataclass(frozen=True)
class Size:
    """How much is trained, and on how much the rate is chosen."""

    residual: tuple[int, int, int] = (6, 8, 3)
    batch: int = 1
    seconds: float = 1.0
    steps: int = 900
    rates: tuple[float, ...] = (3e-3, 1e-2)
    trial: int = 60
    valid: int = 12
    snrs: tuple[float, ...] = SNRS


QUICK = Size((1, 1, 1), 1, 0.2, 2, (1e-3, 1e-2), 1, 1, (10.0, 20.0))


def smooth(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Gaussian noise ``(..., F, T)`` of variance one, averaged over ±4 frequencies, ±2 frames."""
    *first, n_bins, n_frames = shape
    noise = torch.randn(1, int(np.prod(first)), n_bins + 8, n_frames + 4, generator=generator)
    return (nn.functional.avg_pool2d(noise, (9, 5), 1) * 45**0.5).reshape(shape)


def strength(V: Tensor, noise: Tensor, snr: Tensor) -> Tensor:
    """How strong the noise must be for ``V exp(strength · noise)`` to have an SNR against V.

    Parameters
    ----------
    V, noise : Tensor, shape (..., F, T)
        Magnitudes and noise of variance one.
    snr : Tensor, shape (...)
        Magnitude SNR in dB, 5 at least.

    Returns
    -------
    Tensor, shape (..., 1, 1)
        Strengths.
    """
    wanted = 10 ** (-snr / 10)
    found = wanted.sqrt()
    for _ in range(20):
        # The error grows with the second to the third power: this halves what is missing at least.
        error = 10 ** (-magnitude_snr(V * (found[..., None, None] * noise).exp(), V) / 10)
        found = found * (wanted / error).sqrt()
    return found[..., None, None]


def shrunk(S: Tensor, X: Tensor) -> Tensor:
    """Magnitudes of the truncated phase-sensitive mask, ``(..., J, F, T)``."""
    X = X.unsqueeze(-3)
    return (S * projectors.unit(X).conj()).real.clamp_min(0).minimum(X.abs())


def magnitudes(sources: Tensor, kind: str, snr: Tensor, generator: torch.Generator) -> Tensor:
    """Magnitudes that are wrong by a known amount.

    Parameters
    ----------
    sources : Tensor, shape (..., J, time)
        True waveforms.
    kind : {"unbiased", "shrunk"}
        True magnitudes times a factor, or those of the mask times a factor of the same strength.
    snr : Tensor, shape (..., J)
        Magnitude SNR in dB of the unbiased ones.
    generator : torch.Generator
        Source of the factor.

    Returns
    -------
    Tensor, shape (..., J, F, T)
        Magnitudes.
    """
    S = TRANSFORM(sources)
    V, noise = S.abs(), smooth(S.shape, generator)
    given = V if kind == "unbiased" else shrunk(S, TRANSFORM(sources.sum(-2)))
    return given * (strength(V, noise, snr) * noise).exp()


def still(S: Any, p: Any) -> Any:
    """Step of the control: no projector moves the estimate."""
    return S


class WithoutProjectors(nn.Module):
    """A correction that is shown the estimate in place of what projectors make of it."""

    def __init__(self, residual: nn.Module) -> None:
        super().__init__()
        self.residual = residual

    def forward(self, S: Tensor, mag: Tensor, cons: Tensor, error: Tensor, V: Tensor) -> Tensor:
        """As :class:`unfolded.layers.residuals.GatedResidual`."""
        X = error + cons.sum(-3)
        return self.residual(S, S, S, X - S.sum(-3), V)


def untrained(n_layers: int) -> Separator:
    """MISI behind magnitudes that are given."""
    return Separator(None, "misi", n_layers, stft=TRANSFORM, sample_rate=RATE, trainable={})


def network(name: str, size: Size) -> Separator:
    """Three layers with one correction for all of them, behind magnitudes that are given."""
    torch.manual_seed(0)
    residual = GatedResidual(TRANSFORM, *size.residual, mixing=True)
    options = {"stft": TRANSFORM, "trainable": {}}
    if name == "trained":
        inversion = UnfoldedInversion("misi", 3, residual=residual, **options)
    else:
        inversion = UnfoldedInversion(still, 3, residual=WithoutProjectors(residual), **options)
    return Separator(None, inversion, sample_rate=RATE)


def batches(known: Voices, seed: int, size: int, seconds: float) -> Iterator[tuple[Tensor, Tensor]]:
    """Sources ``(batch, 2, time)`` of different voices, and magnitudes of any SNR and kind."""
    rng, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    length = int(seconds * RATE)
    while True:
        pairs = []
        for _ in range(size):
            names = draw_voices(rng, known, 2)
            pair = np.stack([stretch(rng, known[name], length) for name in names])
            pairs.append(LEVEL * pair * 10 ** (rng.uniform(-3, 3, (2, 1)) / 20))
        sources = torch.from_numpy(np.stack(pairs).astype(np.float32))
        snr = torch.from_numpy(rng.uniform(SNRS[0], SNRS[-1], (size, 1))).float().expand(-1, 2)
        yield sources, magnitudes(sources, KINDS[rng.integers(2)], snr, generator)


def value(separator: Separator, sources: Tensor, V: Tensor) -> Tensor:
    """Mean negative SNR of a batch."""
    mixture = sources.sum(1)
    return get_loss("snr")(separator(mixture, V), sources, mixture).mean()


def trained(name: str, sounds: Path, runs: Path, size: Size) -> Separator:
    """Train, with the rate that a short trial found better on the validation recordings."""
    known, held = (voices(sounds / part / "speech") for part in ("train", "valid"))
    valid = list(itertools.islice(batches(held, 1, 1, 2 * size.seconds), size.valid))
    seconds, found = 0.0, {}
    for rate in size.rates:
        separator = network(name, size)
        seconds += fit(separator, known, runs / f"{name}-trial-{rate}.pt", rate, size.trial, size)
        with torch.no_grad():
            found[rate] = np.mean([value(separator, *batch).item() for batch in valid])
    rate = min(found, key=found.__getitem__)
    separator = network(name, size)
    seconds += fit(separator, known, runs / f"{name}.pt", rate, size.steps, size)
    with torch.no_grad():
        last = np.mean([value(separator, *batch).item() for batch in valid])
    trials = ", ".join(f"{rate}: {-snr:.2f} dB" for rate, snr in found.items())
    print(f"{name}: {trials}; then {-last:.2f} dB on validation; {seconds:.0f} s", flush=True)
    return separator


def fit(
    separator: Separator, known: Voices, path: Path, rate: float, steps: int, size: Size
) -> float:
    """Train on pairs of voices; seconds."""
    return train(
        separator,
        lambda *batch: value(separator, *batch),
        batches(known, 0, size.batch, size.seconds),
        path,
        rate=rate,
        steps=steps,
    )


def reported(data: Path) -> Iterator[tuple[str, Tensor]]:
    """First speaker of each mixture with the second of each other one, at 0 dB ``(2, time)``."""
    folder = data / "librispeech_2mix"
    names = sorted(path.stem for path in (folder / "s1").glob("*.flac"))
    for one, other in itertools.permutations(names, 2):
        first = audio.read(folder / "s1" / f"{one}.flac", rate=RATE).samples[0]
        second = audio.read(folder / "s2" / f"{other}.flac", rate=RATE).samples[0]
        length = min(len(first), len(second))
        pair = np.stack([first[:length], second[:length]])
        pair = LEVEL * pair / np.sqrt(np.mean(pair**2, axis=-1, keepdims=True))
        yield f"{one}+{other}", torch.from_numpy(pair.astype(np.float32))


def scores(separators: dict[str, Separator], data: Path, size: Size) -> list[dict[str, Any]]:
    """Mean SI-SDR over both speakers, for every pair, kind and accuracy."""
    rows = []
    for number, (name, sources) in enumerate(reported(data)):
        mixture, truth = sources.sum(0), TRANSFORM(sources).abs()
        for kind, snr in itertools.product(KINDS, size.snrs):
            # One and the same factor, weaker or stronger.
            generator = torch.Generator().manual_seed(number)
            V = magnitudes(sources, kind, torch.full((2,), snr), generator)
            row = {"pair": name, "kind": kind, "snr": snr}
            row["magnitude SNR"] = magnitude_snr(V, truth).mean().item()
            for title, separator in separators.items():
                with torch.no_grad():
                    estimate = separator(mixture[None], V[None])[0]
                row[title] = measures.si_sdr(sources, estimate).mean().item()
            rows.append(row)
        print(name, flush=True)
    return rows


def gains(rows: list[dict[str, Any]], method: str, kind: str) -> np.ndarray:
    """SI-SDR over that with the mixture's phase, ``(pairs, SNRs)``."""
    some = [row for row in rows if row["kind"] == kind]
    n = len({row["pair"] for row in some})
    return np.array([row[method] - row[PHASE] for row in some]).reshape(n, -1)


def accuracies(rows: list[dict[str, Any]], kind: str) -> np.ndarray:
    """Magnitude SNRs, ``(pairs, SNRs)``."""
    some = [row for row in rows if row["kind"] == kind]
    return np.array([row["magnitude SNR"] for row in some]).reshape(
        len({row["pair"] for row in some}), -1
    )


def break_even(accuracy: np.ndarray, gain: np.ndarray) -> float:
    """Magnitude SNR in dB from which on the mean gain stays positive, by straight lines.

    Parameters
    ----------
    accuracy, gain : ndarray, shape (pairs, SNRs)
        Magnitude SNRs, which grow, and gains in dB.

    Returns
    -------
    float
        dB; −inf where every mean gain is positive, inf where the last is not.
    """
    x, y = accuracy.mean(0), gain.mean(0)
    below = np.flatnonzero(y <= 0)
    if not len(below):
        return -np.inf
    k = below[-1]
    if k == len(y) - 1:
        return np.inf
    return float(x[k] + (x[k + 1] - x[k]) * -y[k] / (y[k + 1] - y[k]))


def table(rows: list[dict[str, Any]], path: Path) -> None:
    """Mean of each point, and mean gains with their intervals."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["magnitudes", "their SNR", PHASE, *METHODS])
        for kind in KINDS:
            found = {method: gains(rows, method, kind) for method in METHODS}
            phase = [row[PHASE] for row in rows if row["kind"] == kind]
            phase = np.reshape(phase, found[METHODS[0]].shape)
            for k, snr in enumerate(accuracies(rows, kind).mean(0)):
                cells = [cell(found[method][:, k], 2, "+") for method in METHODS]
                writer.writerow([kind, f"{snr:.1f}", f"{phase[:, k].mean():.1f}", *cells])


def summary(rows: list[dict[str, Any]]) -> None:
    """Print what was to be found: differences in the mean over the curve, and where gains begin."""
    for kinds in (KINDS, *((kind,) for kind in KINDS)):
        for worse in ("MISI-3", "MISI-10", "control"):
            each = [gains(rows, "trained", k) - gains(rows, worse, k) for k in kinds]
            print(
                f"{' and '.join(kinds)}: trained − {worse}", cell(np.hstack(each).mean(1), 2, "+")
            )
    for kind in KINDS:
        x = accuracies(rows, kind)
        drawn = np.random.default_rng(0).integers(len(x), size=(2000, len(x)))
        for method, other in itertools.product(METHODS, (PHASE, "control")):
            if method == other:
                continue
            y = gains(rows, method, kind)
            y = y if other == PHASE else y - gains(rows, other, kind)
            found = [break_even(x[d], y[d]) for d in drawn]
            ends = np.quantile(found, (0.025, 0.975), method="nearest")
            begin = f"{break_even(x, y):.1f} dB on, {ends.round(1)}"
            print(f"{kind}: {method} is above {other} from {begin}")


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Gains over the mixture's phase against the accuracy of the magnitudes."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(9, 4), sharey=True)
    for axis, kind in zip(axes, KINDS, strict=True):
        x = accuracies(rows, kind).mean(0)
        for color, method in enumerate(METHODS):
            found = [interval(column) for column in gains(rows, method, kind).T]
            mean, low, high = np.array(found).T
            axis.plot(x, mean, f"C{color}", label=method)
            axis.fill_between(x, low, high, color=f"C{color}", alpha=0.2, linewidth=0)
        axis.axhline(0, color="black", linewidth=0.8)
        axis.set_title(f"{kind} magnitudes")
        axis.set_xlabel("magnitude SNR (dB)")
    axes[0].set_ylabel("SI-SDR over the mixture's phase (dB)")
    axes[0].legend(fontsize="small")
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    """Train, score, and write the table and the figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sounds", type=Path, help="what benchmarks/enhancement/sounds.py made")
    parser.add_argument("data", type=Path, help="folder of the audio, see its README")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder to write to")
    parser.add_argument("--runs", type=Path, default=Path("runs/phases"), help="trained networks")
    parser.add_argument("--quick", action="store_true", help="a trial of the script, in seconds")
    given = parser.parse_args()
    torch.set_num_threads(1)
    size = QUICK if given.quick else Size()
    separators = {
        PHASE: Separator(None, stft=TRANSFORM, sample_rate=RATE),
        **{f"MISI-{n}": untrained(n) for n in (3, 10)},
        **{n: trained(n, given.sounds, given.runs / "controlled", size) for n in METHODS[2:]},
    }
    rows = scores(separators, given.data, size)
    given.output.mkdir(parents=True, exist_ok=True)
    table(rows, given.output / "controlled.csv")
    draw(rows, given.output / "controlled.svg")
    summary(rows)


if __name__ == "__main__":
    main()
