"""What the experiments on recovered phase share: recordings, a training loop, means with intervals.

Recordings are those that ``benchmarks/enhancement/sounds.py`` makes: LJSpeech, FSDD and espeak-ng,
and noises. All at 8 kHz, Hann 512, hop 128.
"""

import json
import math
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from phaserec import STFT, audio, measures

RATE = 8000
TRANSFORM = STFT(512, 128)
# The reader of LJSpeech at several speeds counts as several voices.
SPEEDS = (0.75, 0.87, 1.0, 1.15, 1.3)
# Shares of natural speech, of digits and of synthetic voices in what is drawn.
SHARES = {"ljspeech": 0.5, "fsdd": 0.25, "espeak": 0.25}

Voices = dict[str, list[np.ndarray]]


def recording(path: Path, speed: float = 1.0) -> np.ndarray:
    """A mono recording, played at a speed, with a root mean square of one."""
    sound = audio.read(path)
    samples = audio.resample(sound.samples[0], round(sound.rate * speed), RATE)
    return (samples / max(_rms(samples), 1e-9)).astype(np.float32)


def voices(folder: Path) -> Voices:
    """Recordings of every voice, by a name that begins with a key of ``SHARES``."""
    found: Voices = {}
    for path in sorted(folder.glob("*.wav")):
        if path.stem.startswith("ljspeech"):
            for speed in SPEEDS:
                found.setdefault(f"ljspeech at {speed}", []).append(recording(path, speed))
        else:
            found[path.stem] = [recording(path)]
    return found


def draw_voices(rng: np.random.Generator, known: Voices, n: int) -> list[str]:
    """Names of n different voices."""
    kinds = {kind: [name for name in known if name.startswith(kind)] for kind in SHARES}
    shares = [SHARES[kind] / len(names) for kind, names in kinds.items() for _ in names]
    names = [name for names in kinds.values() for name in names]
    return list(rng.choice(names, n, replace=False, p=np.array(shares) / sum(shares)))


def stretch(rng: np.random.Generator, recordings: list[np.ndarray], length: int) -> np.ndarray:
    """A stretch out of recordings with a root mean square of one; pauses are drawn again."""
    for _ in range(50):
        whole = recordings[rng.integers(len(recordings))]
        begin = rng.integers(max(len(whole) - length, 0) + 1)
        piece = np.resize(whole[begin : begin + length], length)
        if _rms(piece) > 0.3:
            break
    return piece / max(_rms(piece), 1e-9)


def _rms(samples: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))


def train(
    network: nn.Module,
    loss: Callable[..., Tensor],
    batches: Iterable[tuple[Tensor, ...]],
    path: Path,
    *,
    rate: float,
    steps: int,
) -> float:
    """Train with Adam and a cosine schedule, or read what was trained before.

    Parameters
    ----------
    network : nn.Module
        What is trained: its parameters that require gradients.
    loss : callable
        Mean loss of a batch, ``loss(*batch)``.
    batches : iterable of tuple of Tensor
        One for each step.
    path : Path
        File of the weights; the seconds and losses lie beside it.
    rate : float
        Highest learning rate, after a twentieth of the steps.
    steps : int
        Number of steps.

    Returns
    -------
    float
        Seconds that the training took.
    """
    record = path.with_suffix(".json")
    if record.exists():
        network.load_state_dict(torch.load(path, weights_only=True))
        return float(json.loads(record.read_text())["seconds"])
    path.parent.mkdir(parents=True, exist_ok=True)
    trained = [p for p in network.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=rate)
    warm = max(steps // 20, 1)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda k: min((k + 1) / warm, 0.5 + 0.5 * math.cos(math.pi * k / steps)),
    )
    begin, losses = time.perf_counter(), []
    network.train()
    for _, batch in zip(range(steps), batches, strict=False):
        optimizer.zero_grad()
        value = loss(*batch)
        value.backward()
        nn.utils.clip_grad_norm_(trained, 5.0)
        optimizer.step()
        schedule.step()
        losses.append(value.item())
        if len(losses) % max(steps // 10, 1) == 0:
            recent = np.mean(losses[-max(steps // 10, 1) :])
            seconds = time.perf_counter() - begin
            print(f"{path.stem}: {len(losses)} steps, {seconds:.0f} s, {recent:.4f}", flush=True)
    network.eval()
    seconds = time.perf_counter() - begin
    torch.save(network.state_dict(), path)
    # Written last: a training that was interrupted has no record and is done again.
    record.write_text(json.dumps({"seconds": seconds, "losses": losses}))
    return seconds


def magnitude_snr(V: Tensor, truth: Tensor) -> Tensor:
    """SNR in dB of magnitudes ``(..., F, T)`` against the true ones, over two-sided spectra."""
    weights = torch.as_tensor(TRANSFORM.bin_weights).to(truth)
    error = (weights * (V - truth).square()).sum((-2, -1))
    return measures.decibel((weights * truth.square()).sum((-2, -1)), error)


def interval(values: Iterable[float]) -> tuple[float, float, float]:
    """Mean with the ends of its 95 % bootstrap interval over files."""
    data = np.asarray(list(values))
    drawn = np.random.default_rng(0).integers(len(data), size=(10_000, len(data)))
    low, high = np.quantile(data[drawn].mean(1), (0.025, 0.975))
    return float(data.mean()), float(low), float(high)


def cell(values: Iterable[float], digits: int = 1, sign: str = "") -> str:
    """Mean and interval, for a table."""
    mean, low, high = (f"{v:{sign}.{digits}f}" for v in interval(values))
    return f"{mean} [{low}, {high}]"
