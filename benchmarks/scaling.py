"""Cost per frame and memory against signal length, sources, n_fft and threads.

    python benchmarks/scaling.py [--longest 1000000] [--json out.json]

Cost is the slope between a short and a long run, in µs per frame (sources × T) and iteration.
Memory is the peak of a process of its own beyond the caller's arrays (magnitudes, mixture and
result), as a multiple of the magnitudes.
"""

import argparse
import json
import subprocess
import sys
import tracemalloc
from typing import Any

import _timing

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--longest", type=int, default=1_000_000, help="frames")
parser.add_argument("--rounds", type=int, default=5)
parser.add_argument("--json", help="file for the figures")
parser.add_argument(
    "--peak", nargs=3, metavar=("ALGORITHM", "SOURCES", "INIT"), help=argparse.SUPPRESS
)
arguments = parser.parse_args()

import numba  # noqa: E402
import numpy as np  # noqa: E402

from phaserec import STFT, Problem  # noqa: E402
from phaserec.solving import prepare  # noqa: E402


def problem(n_frames: int, sources: int = 1, n_fft: int = 1024, mixture: bool = True) -> Problem:
    """A problem with noisy magnitudes, made frame by frame so that nothing else is allocated."""
    rng = np.random.default_rng(0)
    stft = STFT(n_fft)
    V = np.empty((sources, n_frames, stft.n_bins), np.float32)
    for source in V:
        for frame in source:
            frame[:] = rng.random(stft.n_bins, np.float32)
    x = rng.standard_normal(stft.n_samples(n_frames), np.float32) if mixture else None
    return Problem(V.swapaxes(1, 2), x, stft=stft)


def costs(problems: dict[Any, Problem], name: str = "griffin-lim") -> dict[Any, float]:
    """µs per frame and iteration of several problems, taken in turn.

    Forty iterations lie between the two runs, so that what a call allocates does not count.
    """
    short, long = 2, 42
    tasks = {
        (key, n): lambda p=p, n=n: prepare(name, p, n, init="zero").result()  # type: ignore[misc]
        for key, p in problems.items()
        for n in (short, long)
    }
    seconds: dict[Any, float] = _timing.interleaved(tasks, arguments.rounds)
    return {
        key: 1e6
        * (seconds[key, long] - seconds[key, short])
        / (long - short)
        / (p.magnitudes.shape[0] * p.magnitudes.shape[-1])
        for key, p in problems.items()
    }


def peak(name: str, sources: int, init: str) -> None:
    """Print the peak memory beyond the caller's arrays over the magnitudes (in a child process)."""
    prepare(name, problem(40, sources), 3, init=init).result()  # compiled, loaded, warm
    p = problem(100_000 // sources, sources)
    V = p.magnitudes
    tracemalloc.start()
    result = prepare(name, p, 3, init=init).result()
    _, most = tracemalloc.get_traced_memory()
    print(json.dumps((most - result.nbytes) / V.nbytes))


def measure() -> dict[str, Any]:
    """All tables."""
    numba.set_num_threads(1)
    figures: dict[str, Any] = {
        "frames": {},
        "frames_stored": {},
        "sources": {},
        "n_fft": {},
        "threads": {},
        "memory": {},
    }
    print("Griffin-Lim, float32, 1024/256, J = 1, one thread")
    lengths = [10**k for k in range(2, 10) if 10**k <= arguments.longest]
    figures["frames"] = costs({n: problem(n) for n in lengths})
    for n, cost in figures["frames"].items():
        print(f"{n:>9} frames {cost:8.3f} µs")
    print("A σ-weighted problem (mix-incons), J = 2, which stores a spectrogram")
    short = {n: problem(n, 2) for n in lengths if n <= 100_000}
    figures["frames_stored"] = costs(short, "mix-incons")
    for n, cost in figures["frames_stored"].items():
        print(f"{n:>9} frames {cost:8.3f} µs")
    print("MISI by sources, 2000 frames each")
    figures["sources"] = costs({J: problem(2000, J) for J in (1, 2, 4, 8)}, "misi")
    for J, cost in figures["sources"].items():
        print(f"{J:>9} sources {cost:7.3f} µs")
    print("Griffin-Lim by n_fft, 2000 frames")
    sizes = (256, 512, 1024, 2048, 4096)
    figures["n_fft"] = costs({n_fft: problem(2000, 1, n_fft) for n_fft in sizes})
    for n_fft, cost in figures["n_fft"].items():
        print(f"{n_fft:>9} samples {cost:7.3f} µs")
    print("Griffin-Lim by threads, 10 000 frames")
    p = problem(10_000)
    for threads in sorted({1, 2, numba.config.NUMBA_NUM_THREADS}):
        if threads <= numba.config.NUMBA_NUM_THREADS:
            numba.set_num_threads(threads)
            figures["threads"][threads] = costs({threads: p})[threads]
            print(f"{threads:>9} threads {figures['threads'][threads]:7.3f} µs")
    print("Peak memory beyond the caller's arrays, as a multiple of the magnitudes")
    for name, sources, init in (
        ("griffin-lim", 1, "zero"),
        ("griffin-lim", 1, "random"),
        ("fast-griffin-lim", 1, "random"),
        ("misi", 2, "mixture"),
        ("mix-incons", 2, "mixture"),
        ("mix-incons-hard-mag", 2, "mixture"),
        ("mag-incons-hard-mix", 2, "mixture"),
    ):
        command = [sys.executable, __file__, "--peak", name, str(sources), init]
        out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        figures["memory"][f"{name} J={sources} {init}"] = json.loads(out)
        print(f"{name:>22} J={sources} {init:8} {json.loads(out):6.2f} ×")
    return figures


if __name__ == "__main__":
    if arguments.peak is not None:
        peak(arguments.peak[0], int(arguments.peak[1]), arguments.peak[2])
    else:
        _timing.save(arguments.json, measure())
