"""The first minute: wall time of first calls, with nothing compiled and with everything compiled.

``phaserec invert`` on a file of three seconds with every registered algorithm, each in a process of
its own, with an empty cache ("first") and with one that has been warmed up ("warm"). Then every
algorithm in turn in one process with an empty cache, single precision first: what a notebook feels.

    python benchmarks/first_call.py [--rounds 3] [--algo misi ...] [--json figures.json]
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import _timing

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--rounds", type=int, default=3)
parser.add_argument("--algo", nargs="+", help="[all that are registered]")
parser.add_argument("--json", help="file for the figures")
arguments = parser.parse_args()

import numpy as np  # noqa: E402

from phaserec import algorithms, audio  # noqa: E402

SECONDS = 3

IN_TURN = """
import sys, time
import numpy as np
import phaserec
stft = phaserec.STFT(1024, 256)
x = np.random.default_rng(0).standard_normal((2, 3 * 16000))
for dtype in ("float32", "float64"):
    sources = x.astype(dtype)
    V, mixture = abs(stft(sources)), sources.sum(0)
    for name in sys.argv[1:]:
        begin = time.perf_counter()
        phaserec.invert(V, mixture, stft=stft, algorithm=name, rng=0)
        print(dtype, name, time.perf_counter() - begin)
"""


def seconds(call: list[str], cache: Path) -> float:
    """Wall time of a process."""
    begin = time.perf_counter()
    environment = os.environ | {"PHASEREC_CACHE_DIR": str(cache)}
    subprocess.run(call, env=environment, check=True, capture_output=True)
    return time.perf_counter() - begin


def files(folder: Path) -> list[str]:
    """Three seconds of speech and noise, and their mixture."""
    mixture, sources = audio.example()
    paths = []
    for name, sound in {"mixture": mixture, **sources}.items():
        samples = np.resize(sound.samples, (1, SECONDS * sound.rate))
        path = folder / f"{name}.wav"
        audio.write([path], [samples], sound.rate)
        paths.append(str(path))
    return paths


def processes(names: list[str], folder: Path) -> dict[str, dict[str, float]]:
    """Every algorithm in processes of its own: median seconds, first and warm."""
    mixture, *sources = files(folder)
    warm = folder / "warm"
    table = {}
    for name in names:
        call = [sys.executable, "-m", "phaserec", "invert", mixture, "--estimates", *sources]
        call += ["--algo", name, "-o", str(folder / "out")]
        pinned = [*call, "--machine", "kernel"]
        seconds(pinned, warm)
        firsts, later = [], []
        for k in range(arguments.rounds):
            firsts.append(seconds(call, folder / f"empty-{name}-{k}"))
            later.append(seconds(call, warm))
        table[name] = {"first": statistics.median(firsts), "warm": statistics.median(later)}
    return table


def in_turn(names: list[str], folder: Path) -> dict[str, dict[str, float]]:
    """Every algorithm one after the other in one process."""
    call = [sys.executable, "-c", IN_TURN, *names]
    environment = os.environ | {"PHASEREC_CACHE_DIR": str(folder / "empty")}
    done = subprocess.run(call, env=environment, check=True, capture_output=True, text=True)
    table: dict[str, dict[str, float]] = {}
    for line in done.stdout.splitlines():
        dtype, name, value = line.split()
        table.setdefault(name, {})[dtype] = float(value)
    return table


def main() -> None:
    """Measure, print a table, and write the figures."""
    names = arguments.algo or algorithms.names()
    with tempfile.TemporaryDirectory() as folder:
        table = processes(names, Path(folder))
        for name, row in in_turn(names, Path(folder)).items():
            table[name] |= row
    print(_timing.machine()["processor"])
    print(f"{'seconds':26}{'first':>8}{'warm':>8}{'in turn, float32':>18}{'float64':>9}")
    for name, row in table.items():
        print(
            f"{name:26}{row['first']:8.2f}{row['warm']:8.2f}"
            f"{row['float32']:18.2f}{row['float64']:9.2f}"
        )
    for kind in ("first", "warm", "float32", "float64"):
        values = [row[kind] for row in table.values()]
        print(f"{kind:12} median {statistics.median(values):.2f}, most {max(values):.2f}")
    _timing.save(arguments.json, {"seconds": table})


if __name__ == "__main__":
    main()
