"""Train the networks of deep Griffin-Lim as denoisers, without unrolling.

    python benchmarks/phases/train_alone.py SOUNDS OUTPUT --hop 512

SOUNDS is what benchmarks/enhancement/sounds.py makes. S is the true spectrogram of speech with
complex noise, or what a few layers of the network made of it; learned is what is to be subtracted
from ``C = P_cons P_mag S``. Scores of validation are those of K = 10 layers from random phases.
"""

import argparse
import copy
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile
import torch
from safetensors.torch import save_file
from scipy.signal import resample
from torch import Tensor

from phaserec import STFT, projectors
from phaserec.evaluation.metrics import METRICS, Settings
from unfolded.layers.residuals import GatedResidual, surroundings

RATE = 16_000
N_FFT = 1024
BATCH = 4
SECONDS = {512: 1.0, 256: 0.6}
LAYERS = 10
NETWORK = (16, 16, 4)
STEPS = {512: 3200, 256: 2400}


def recordings(folder: Path) -> list[np.ndarray]:
    """Speech with the full band."""
    return [
        soundfile.read(path, dtype="float32")[0]
        for pattern in ("ljspeech*", "espeak*")
        for path in sorted(folder.glob(pattern))
    ]


def pieces(sounds: list[np.ndarray], rng: np.random.Generator, length: int) -> Iterator[Tensor]:
    """Batches ``(BATCH, length)``; half of it real, at 0.75 to 1.3 times the speed."""
    real = sum(len(x) > 3 * 60 * RATE for x in sounds) or len(sounds)
    while True:
        batch = []
        while len(batch) < BATCH:
            pick = rng.integers(real if len(batch) % 2 else len(sounds))
            taken = int(length * rng.uniform(0.75, 1.3))
            begin = rng.integers(len(sounds[pick]) - taken)
            piece = sounds[pick][begin : begin + taken]
            if piece.std() > 1e-3:
                piece = resample(piece, length)
                batch.append(piece / piece.std())
        yield torch.from_numpy(np.stack(batch).astype(np.float32))


def noisy(T: Tensor, generator: torch.Generator) -> Tensor:
    """Truth with complex noise at −6 to 12 dB: white, or as loud as what is around."""
    shape = (T.shape[0], 1, 1)
    white = torch.randn(T.shape, dtype=T.dtype, generator=generator)
    shaped = torch.rand(shape, generator=generator) < 0.75
    level = torch.where(shaped, surroundings(T.abs()), T.abs().square().mean((-2, -1), True).sqrt())
    snr = -6 + 18 * torch.rand(shape, generator=generator)
    return T + white * level * 10 ** (-snr / 20)


def layer(
    net: torch.nn.Module, S: Tensor, V: Tensor, stft: STFT, length: int
) -> tuple[Tensor, ...]:
    """``C`` and ``N`` of one iteration."""
    mag = projectors.magnitude(S, V)
    cons = projectors.consistency(mag, stft, length)
    with torch.autocast("cpu", torch.bfloat16, enabled=net.training):
        return cons, net(S, mag, cons, None, V)


@torch.no_grad()
def validate(net: torch.nn.Module, sounds: list[np.ndarray], stft: STFT) -> float:
    """Mean wide-band PESQ of K layers from random phases."""
    length = int(2.5 * RATE)
    x = torch.from_numpy(np.stack([s[RATE // 2 :][:length] for s in sounds]))
    V = stft(x).abs()
    generator = torch.Generator().manual_seed(0)
    S = torch.polar(V, 2 * torch.pi * torch.rand(V.shape, generator=generator))
    for _ in range(LAYERS):
        C, N = layer(net, S, V, stft, length)
        S = C - N
    y = stft.inverse(projectors.magnitude(S, V), length=length).numpy()
    settings = Settings(RATE)
    return float(
        np.mean(
            [METRICS["pesq"].function(a, b, settings) for a, b in zip(x.numpy(), y, strict=True)]
        )
    )


def train(sounds: Path, output: Path, hop: int, steps: int | None = None, seed: int = 1) -> None:
    """Train one network; the average of its weights over the last steps is kept."""
    steps = STEPS[hop] if steps is None else steps
    torch.manual_seed(seed)
    generator, rng = torch.Generator().manual_seed(seed), np.random.default_rng(seed)
    stft = STFT(N_FFT, hop)
    length = int(SECONDS[hop] * RATE)
    net = GatedResidual(stft, *NETWORK)
    averaged = copy.deepcopy(net).eval()
    optimiser = torch.optim.AdamW(net.parameters(), 2e-3, betas=(0.9, 0.98), weight_decay=1e-3)
    warm, begin = 100, time.perf_counter()
    batches = pieces(recordings(sounds / "train" / "speech"), rng, length)
    valid = recordings(sounds / "valid" / "speech")[::3]
    output.mkdir(parents=True, exist_ok=True)
    log = (output / "log.txt").open("a", buffering=1)
    total = 0.0
    for step, x in zip(range(1, steps + 1), batches, strict=False):
        for group in optimiser.param_groups:
            group["lr"] = 2e-3 * min(step / warm, 0.5 + 0.5 * np.cos(np.pi * step / steps))
        T = stft(x)
        V = T.abs()
        S = noisy(T, generator)
        with torch.no_grad():  # what layers make of it, since that is what layers are given
            for _ in range(int(rng.integers(0, 3))):
                C, N = layer(net, S, V, stft, length)
                S = C - N
        C, N = layer(net, S, V, stft, length)
        loss = ((N - (C - T)).abs() / surroundings(V).sqrt()).mean()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        kept = min(0.995, step / (step + 10))
        for a, b in zip(averaged.parameters(), net.parameters(), strict=True):
            a.data.lerp_(b.data, 1 - kept)
        total += loss.item()
        if step % 100 == 0:
            score = f" pesq {validate(averaged, valid, stft):.3f}" if step % 300 == 0 else ""
            print(
                f"{step} {time.perf_counter() - begin:.0f} s loss {total / 100:.4f}{score}",
                file=log,
            )
            total = 0.0
    log.close()
    save_file(averaged.state_dict(), output / "model.safetensors")
    (output / "done").touch()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sounds", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--hop", type=int, choices=tuple(SECONDS), required=True)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(1)
    train(given.sounds, given.output, given.hop, given.steps, given.seed)
