"""What iterations bring behind a network, by the loss that it was trained with.

A network whose loss sees the waveform makes magnitudes small where its phase is wrong (Wang,
Wichern & Le Roux, IEEE SPL 2021). The same causal network, which gives complex spectrograms of
speech and noise, is trained with each of their losses, from the same seed with the same batches.
Then come iterations of MISI from its estimate, untrained and with a trained correction, behind the
frozen network. Scores are of the speech of VoiceBank + DEMAND at 8 kHz.

    python benchmarks/phases/compensation.py SOUNDS_FOLDER ../shared/data -o docs/phases

SOUNDS_FOLDER is what ``benchmarks/enhancement/sounds.py`` makes. What lies under --runs is not
trained again.
"""

import argparse
import csv
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

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
    recording,
    stretch,
    train,
    voices,
)
from torch import Tensor, nn

from phaserec import audio, measures, projectors
from unfolded import Estimate, Separator, UnfoldedInversion
from unfolded.layers.residuals import GatedResidual
from unfolded.losses import compared, get_loss
from unfolded.nn.running_norm import RunningNorm

# By their names in the paper. A network that gives spectrograms makes RI-iSTFT and Wav one and the
# same loss, and so RI-iSTFT+Mag and Wav+Mag.
LOSSES = {
    "RI": "ri",
    "RI+Mag": "ri-mag",
    "RI-iSTFT, Wav": "ri-istft",
    "RI-iSTFT+Mag, Wav+Mag": "ri-istft-mag",
    "Mag+RI-iSTFT": "mag-ri-istft",
}
ITERATIONS = (1, 3, 10)
MIXTURE = "(the mixture)"
SCORES = ("magnitude SNR", "of the noise", "phase SNR", "slope", "SI-SDR")
# The last two, which explain the others: projected once, and with the phase of the mixture.
GAINS = (*(f"MISI-{n}" for n in ITERATIONS), "trained", "P_mix alone", "mixture's phase")
DIGITS = {"slope": 2, **dict.fromkeys(GAINS, 2)}
# What a magnitude term does, by the loss without it.
DIFFERENCES = (
    ("RI+Mag", "RI"),
    ("RI-iSTFT+Mag, Wav+Mag", "RI-iSTFT, Wav"),
    ("Mag+RI-iSTFT", "RI-iSTFT, Wav"),
)
SNR = (-2.0, 17.0)
# Root mean square of a mixture; losses of the first power depend on it.
LEVEL = 0.1


@dataclass(frozen=True)
class Size:
    """How much is trained."""

    hidden: int = 128
    batch: int = 8
    seconds: float = 2.0
    steps: int = 1000
    residual: tuple[int, int, int] = (6, 8, 3)
    layers_batch: int = 1
    layers_seconds: float = 1.0
    layers_steps: int = 120


QUICK = Size(4, 2, 0.25, 2, (1, 1, 1), 1, 0.25, 2)


class ComplexMasks(nn.Module):
    """Complex masks of the mixture by a causal GRU, for each of the sources.

    It sees the logarithm of the magnitudes, and how phases go on: the advance from the frame before
    and from the frequency below, both without what a bin's centre frequency makes of it. So masks
    do not depend on a global phase.

    Parameters
    ----------
    n_sources : int
        Number of sources J.
    hidden : int
        Units of each of the two layers.
    """

    stft = TRANSFORM
    sample_rate = RATE

    def __init__(self, n_sources: int = 2, hidden: int = 128) -> None:
        super().__init__()
        self.n_sources = n_sources
        n_bins = self.stft.n_bins
        self.norm = RunningNorm(n_bins, 3 * RATE // self.stft.hop_length)
        self.inlet = nn.Linear(5 * n_bins, hidden)
        self.gru = nn.GRU(hidden, hidden, 2, batch_first=True)
        self.outlet = nn.Linear(hidden, n_sources * n_bins * 2)
        turns = torch.arange(n_bins) * self.stft.hop_length / self.stft.n_fft
        self.expected: Tensor
        self.register_buffer("expected", torch.polar(torch.ones(n_bins), 2 * torch.pi * turns))

    def forward(self, mixture: Tensor, spectrogram: Tensor) -> Estimate:
        """Complex estimates: their magnitudes, and as the start themselves."""
        frames = spectrogram.squeeze(1).transpose(1, 2)
        turned = projectors.unit(frames)
        along = turned * nn.functional.pad(turned, (0, 0, 1, 0))[:, :-1].conj()
        along = along * self.expected.conj()
        across = -turned * nn.functional.pad(turned, (1, 0))[..., :-1].conj()
        levels = self.norm((frames.abs() + 1e-5).log())
        parts = [levels, along.real, along.imag, across.real, across.imag]
        hidden, _ = self.gru(self.inlet(torch.cat(parts, -1)).tanh())
        masks = self.outlet(hidden).unflatten(-1, (self.n_sources, -1, 2))
        # At first every source is its share of the mixture.
        real, imaginary = masks.unbind(-1)
        S = torch.complex(real + 1 / self.n_sources, imaginary) * frames.unsqueeze(2)
        S = S.permute(0, 2, 3, 1).unsqueeze(2)
        return Estimate(S.abs(), S)


def batches(
    known: Voices, noises: list[np.ndarray], seed: int, size: int, seconds: float
) -> Iterator[tuple[Tensor, Tensor]]:
    """Mixtures ``(batch, time)`` and their speech and noise ``(batch, 2, time)``."""
    rng = np.random.default_rng(seed)
    length = int(seconds * RATE)
    while True:
        items = []
        for _ in range(size):
            (name,) = draw_voices(rng, known, 1)
            speech, noise = stretch(rng, known[name], length), stretch(rng, noises, length)
            noise = noise * 10 ** (-rng.uniform(*SNR) / 20)
            pair = np.stack([speech, noise])
            items.append(LEVEL * pair / np.sqrt(np.mean(pair.sum(0) ** 2)))
        sources = torch.from_numpy(np.stack(items).astype(np.float32))
        yield sources.sum(1), sources


def value(loss: nn.Module, separator: Separator, mixture: Tensor, sources: Tensor) -> Tensor:
    """Mean of a loss over a batch."""
    spectrograms = compared(loss) == "spectrograms"
    estimate = separator.spectrogram(mixture) if spectrograms else separator(mixture)
    return loss(estimate, sources, mixture).mean()


def pairs(data: Path) -> Iterator[tuple[str, Tensor]]:
    """Names of files, and their speech and noise ``(2, time)``."""
    for path in sorted((data / "voicebank_demand" / "clean").glob("*.flac")):
        speech, noisy = (
            audio.read(data / "voicebank_demand" / kind / path.name, rate=RATE).samples[0]
            for kind in ("clean", "noisy")
        )
        sources = np.stack([speech, noisy - speech]).astype(np.float32)
        yield path.stem, torch.from_numpy(LEVEL * sources / np.sqrt(np.mean(noisy**2)))


def phase_snr(S: Tensor, truth: Tensor) -> Tensor:
    """SNR in dB of the true magnitudes with the phase of an estimate; inf for the truth."""
    wrong = (projectors.unit(S) - projectors.unit(truth)) * truth.abs()
    weights = torch.as_tensor(TRANSFORM.bin_weights).to(wrong.real)
    energies = [(weights * z.abs().square()).sum((-2, -1)) for z in (truth, wrong)]
    return measures.decibel(*energies)


def slope(S: Tensor, truth: Tensor) -> Tensor:
    """Slope through the origin of the magnitudes on the true ones; below one: shrunk."""
    V = truth.abs()
    weights = torch.as_tensor(TRANSFORM.bin_weights).to(V)
    return (weights * V * S.abs()).sum((-2, -1)) / (weights * V.square()).sum((-2, -1))


def layers(size: Size) -> UnfoldedInversion:
    """Three layers of MISI with one small correction of spectrograms for all of them."""
    residual = GatedResidual(TRANSFORM, *size.residual, mixing=True)
    return UnfoldedInversion("misi", 3, stft=TRANSFORM, trainable={}, residual=residual)


def trained(sounds: Path, runs: Path, size: Size) -> dict[str, tuple[nn.Module, UnfoldedInversion]]:
    """The network of each loss, and the layers behind it."""
    known = voices(sounds / "train" / "speech")
    # The classes of ESC-10; those from formulas have a number.
    noises = [
        recording(path)
        for path in sorted((sounds / "train" / "noise").glob("*.wav"))
        if not path.stem[-1].isdigit()
    ]
    found, seconds = {}, 0.0
    for title, name in LOSSES.items():
        torch.manual_seed(0)
        network = ComplexMasks(hidden=size.hidden)
        loss = functools.partial(value, get_loss(name, stft=TRANSFORM), Separator(network))
        drawn = batches(known, noises, 0, size.batch, size.seconds)
        path = runs / f"{name}.pt"
        seconds += train(network, loss, drawn, path, rate=3e-3, steps=size.steps)
        network.requires_grad_(False)
        found[title] = network
    for title, name in LOSSES.items():
        torch.manual_seed(0)
        inversion = layers(size)
        loss = functools.partial(value, get_loss("snr"), Separator(found[title], inversion))
        drawn = batches(known, noises, 1, size.layers_batch, size.layers_seconds)
        path = runs / f"{name}-layers.pt"
        seconds += train(inversion, loss, drawn, path, rate=1e-2, steps=size.layers_steps)
        found[title] = (found[title], inversion)
    print(f"trained for {seconds:.0f} s")
    return found


def scores(found: dict[str, tuple[nn.Module, UnfoldedInversion]], data: Path) -> list[dict]:
    """Scores of the speech, for every file and loss."""
    rows = []
    for name, sources in pairs(data):
        mixture, truth = sources.sum(0), TRANSFORM(sources)
        X = TRANSFORM(mixture)
        rows.append({"file": name, "loss": MIXTURE, **facts(torch.stack([X, X]), truth, sources)})
        for title, (network, inversion) in found.items():
            separators = {f"MISI-{n}": Separator(network, "misi", n) for n in ITERATIONS}
            separators["trained"] = Separator(network, inversion)
            with torch.no_grad():
                S = Separator(network).spectrogram(mixture[None])[0]
                after = {
                    method: measures.si_sdr(sources[0], separator(mixture[None])[0, 0]).item()
                    for method, separator in separators.items()
                }
            row = facts(S, truth, sources)
            after["P_mix alone"] = si_sdr(projectors.mixing(S, X)[0], sources[0])
            after["mixture's phase"] = si_sdr(projectors.magnitude(X, S[0].abs()), sources[0])
            gains = {method: score - row["SI-SDR"] for method, score in after.items()}
            rows.append({"file": name, "loss": title, **row, **gains})
    return rows


def facts(S: Tensor, truth: Tensor, sources: Tensor) -> dict[str, float]:
    """What is scored of spectrograms ``(2, F, T)`` of speech and noise."""
    speech, noise = magnitude_snr(S.abs(), truth.abs()).tolist()
    return {
        "magnitude SNR": speech,
        "of the noise": noise,
        "phase SNR": phase_snr(S[0], truth[0]).item(),
        "slope": slope(S[0], truth[0]).item(),
        "SI-SDR": si_sdr(S[0], sources[0]),
    }


def si_sdr(S: Tensor, source: Tensor) -> float:
    """SI-SDR in dB of a spectrogram."""
    return measures.si_sdr(source, TRANSFORM.inverse(S, length=len(source))).item()


def of(rows: list[dict], loss: str, score: str) -> np.ndarray:
    """A score of every file."""
    return np.array([row[score] for row in rows if row["loss"] == loss])


def table(rows: list[dict], path: Path) -> None:
    """Means with intervals, and differences between losses with intervals of paired files."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["loss", *SCORES, *GAINS])
        first = [cell(of(rows, MIXTURE, s), DIGITS.get(s, 1)) for s in SCORES]
        writer.writerow([MIXTURE, *first, *("" for _ in GAINS)])
        for loss in LOSSES:
            plain = [cell(of(rows, loss, s), DIGITS.get(s, 1)) for s in SCORES]
            writer.writerow([loss, *plain, *(cell(of(rows, loss, g), 2, "+") for g in GAINS)])
        for one, other in DIFFERENCES:
            cells = [
                cell(of(rows, one, s) - of(rows, other, s), DIGITS.get(s, 1), "+")
                for s in (*SCORES, *GAINS)
            ]
            writer.writerow([f"{one} − {other}", *cells])


def draw(rows: list[dict], path: Path) -> None:
    """SI-SDR against magnitude SNR with what iterations make of it, and gains over iterations."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 4.2))
    places = (0, *ITERATIONS)
    for k, loss in enumerate(LOSSES):
        x, y = (of(rows, loss, s).mean() for s in ("magnitude SNR", "SI-SDR"))
        left.plot(x, y, "o", color=f"C{k}", label=loss)
        # Side by side, so that arrows do not hide one another.
        for n, (method, look) in enumerate(
            {"MISI-3": ":", "MISI-10": "--", "trained": "-"}.items()
        ):
            at = x + 0.02 * (n - 1)
            end = y + of(rows, loss, method).mean()
            look = {"arrowstyle": "->", "linestyle": look, "color": f"C{k}"}
            left.annotate("", (at, end), (at, y), arrowprops={**look, "shrinkA": 0, "shrinkB": 0})
            left.plot(at, end, alpha=0)  # annotations do not widen the axes
        found = [(0.0, 0.0, 0.0)] + [interval(of(rows, loss, f"MISI-{n}")) for n in ITERATIONS]
        mean, low, high = np.array(found).T
        right.plot(places, mean, "o-", color=f"C{k}", label=loss)
        right.fill_between(places, low, high, color=f"C{k}", alpha=0.12, linewidth=0)
        mean, low, high = interval(of(rows, loss, "trained"))
        bar = [[mean - low], [high - mean]]
        right.errorbar(3 + 0.15 * (k - 2), mean, bar, fmt="*", color=f"C{k}", markersize=9)
    left.set_xlabel("magnitude SNR of the estimate (dB)")
    left.set_ylabel("SI-SDR (dB)")
    left.legend(fontsize="small")
    right.axhline(0, color="black", linewidth=0.8)
    right.set_xlabel("iterations of MISI (stars: three trained layers)")
    right.set_ylabel("gain in SI-SDR (dB)")
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
    rows = scores(trained(given.sounds, given.runs / "compensation", size), given.data)
    given.output.mkdir(parents=True, exist_ok=True)
    table(rows, given.output / "compensation.csv")
    draw(rows, given.output / "compensation.svg")


if __name__ == "__main__":
    main()
