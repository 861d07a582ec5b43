"""Train proximal operators in unfolded ADMM, end to end through its iterations.

    python benchmarks/phases/train_proximal.py SOUNDS OUTPUT --hop 512

After Vial, Magron, Oberlin & Févotte (2022): where ADMM projects onto the target magnitudes, a
function of each bin's own magnitude and target gives what it becomes, one function for each
iteration. Learned is that the sound has the right magnitudes where frames overlap more.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from train_alone import LAYERS, N_FFT, RATE, SECONDS, pieces, recordings

from phaserec import STFT, Problem
from phaserec._typing import Projectors

RHO = 0.1
STEPS = 800
EAR = STFT(N_FFT, N_FFT // 8)


class Proximal(nn.Module):
    """Factor of the target magnitude in each bin; at first 1.

    Parameters
    ----------
    hidden : int, default 16
        Units.
    """

    def __init__(self, hidden: int = 16) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2, hidden), nn.SiLU(), nn.Linear(hidden, 1))
        nn.init.zeros_(self.net[-1].weight)
        nn.init.zeros_(self.net[-1].bias)

    def forward(self, U: Tensor, V: Tensor) -> Tensor:
        """Factors of magnitudes ``V`` where the estimate is ``U``, both ``(..., F, T)``."""
        mean = V.square().mean((-2, -1), True).sqrt() + 1e-12
        ratio = (U.abs() + 1e-3 * mean) / (V + 1e-3 * mean)
        seen = torch.stack([ratio.log(), (V / mean + 1e-4).log()], -1)
        return (1 + self.net(seen).squeeze(-1)).abs()


def admm(Y: Tensor, p: Projectors[Tensor], proximal: nn.Module) -> Tensor:
    """ADMM with a function in place of the projection onto the magnitudes."""
    Z = (RHO * Y + p.cons(Y)) / (1 + RHO)
    U = 2 * Z - Y
    return proximal(U, p.magnitudes) * p.mag(U) + Y - Z


def loudness(x: Tensor) -> Tensor:
    """Magnitudes as they are compared: the cube root of those where frames overlap by 7/8."""
    return (EAR(x).abs() + 1e-4).pow(1 / 3)


def train(sounds: Path, output: Path, hop: int, steps: int = STEPS, seed: int = 1) -> None:
    """Train the functions of all iterations."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    stft, length = STFT(N_FFT, hop), int(SECONDS[hop] * RATE)
    proximals = nn.ModuleList(Proximal() for _ in range(LAYERS))
    optimiser = torch.optim.Adam(proximals.parameters(), 3e-3)
    batches = pieces(recordings(sounds / "train" / "speech"), rng, length)
    output.mkdir(parents=True, exist_ok=True)
    begin, total = time.perf_counter(), 0.0
    with (output / "log.txt").open("a", buffering=1) as log:
        for step, x in zip(range(1, steps + 1), batches, strict=False):
            p = Problem(stft(x[:, None]).abs(), stft=stft, length=length)
            S = p.start("random", step)
            for proximal in proximals:
                S = admm(S, p, proximal)
            y = p.waveforms(p.mag(S))
            loss = (loudness(y) - loudness(x[:, None])).abs().mean()
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(proximals.parameters(), 1.0)
            optimiser.step()
            total += loss.item()
            if step % 50 == 0:
                print(f"{step} {time.perf_counter() - begin:.0f} s loss {total / 50:.4f}", file=log)
                total = 0.0
    save_file(proximals.state_dict(), output / "model.safetensors")
    (output / "done").touch()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sounds", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--hop", type=int, choices=tuple(SECONDS), required=True)
    given = parser.parse_args()
    torch.set_num_threads(1)
    train(given.sounds, given.output, given.hop)
