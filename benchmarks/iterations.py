"""Cost of an iteration against the floor, librosa, and plain torch and numpy loops.

Everything is timed in one process, interleaved, with pinned threads. The floor is what the two real
FFTs of every frame cost in torch (MKL): ``rfft`` and ``irfft`` of (frames, n_fft). A row's cost is
the slope between a short and a long run of the public function, in µs per frame (sources × T) and
iteration; "call" is a whole call with 32 iterations, validation and initial phase included.

With --ratios: double over single precision on one thread, and one thread over several. Beside the
latter stands what the machine gives at that moment: arithmetic that shares nothing, on as many
threads. It falls to half where two cores are hyperthreads of one, which in a virtual machine comes
and goes.

    python benchmarks/iterations.py [--threads 1] [--sizes | --ratios] [--audio a.wav b.wav]
"""

import argparse
from collections.abc import Callable
from typing import Any

import _timing

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--threads", type=int, default=1)
parser.add_argument("--seconds", type=float, default=10.0, help="of audio at 16 kHz")
parser.add_argument("--sources", type=int, default=2)
parser.add_argument("--rounds", type=int, default=9)
parser.add_argument("--dtype", choices=["float32", "float64"], default="float32")
parser.add_argument("--sizes", action="store_true", help="Griffin-Lim over the table of sizes")
parser.add_argument("--ratios", action="store_true", help="float64 / float32, and threads")
parser.add_argument("--audio", nargs="+", help="recordings in turn as sources, instead of noise")
parser.add_argument("--json", help="file for the figures")
arguments = parser.parse_args()
_timing.pin_threads(arguments.threads)

import librosa  # noqa: E402
import numba  # noqa: E402
import numpy as np  # noqa: E402
import scipy.fft  # noqa: E402
import torch  # noqa: E402

from phaserec import STFT, Problem, algorithms, audio  # noqa: E402
from phaserec.solving import prepare  # noqa: E402

SHORT, LONG, CALL = 8, 40, 32

# Sizes and hops of the table; 160 is the usual 10 ms hop beside 400 at 16 kHz.
SIZES = [
    (n, hop)
    for n in (256, 400, 512, 960, 1024, 1920, 2048, 4096)
    for hop in ([n // 2, n // 4, n // 8] + [160] * (n == 400))
]

# Every registered algorithm, by itself and with momentum.
ALGORITHMS: dict[str, dict[str, Any]] = {
    f"{name}{'+momentum' * bool(hyper)}": {"algorithm": name, **hyper}
    for hyper in ({}, {"momentum": 0.5})
    for name in algorithms.names()
    if not hyper or "momentum" not in {h.name for h in algorithms.resolve(name).hyper}
}


class Case:
    """Sources, their magnitudes and what is timed on them."""

    def __init__(self, n_fft: int, hop: int, sources: int, dtype: str) -> None:
        rng = np.random.default_rng(0)
        length = int(arguments.seconds * 16000)
        self.stft = STFT(n_fft, hop)
        if arguments.audio is None:
            waves = rng.standard_normal((sources, length)).astype(dtype)
        else:
            given = [audio.read(path).samples[0] for path in arguments.audio]
            waves = np.stack([np.resize(given[j % len(given)], length) for j in range(sources)])
            waves = waves.astype(dtype)
        self.magnitudes = np.abs(self.stft(waves))
        self.problem = Problem(self.magnitudes, waves.sum(0), stft=self.stft)
        self.frames = sources * self.magnitudes.shape[-1]
        self.window = torch.hann_window(n_fft, dtype=getattr(torch, dtype))
        self.noise = torch.from_numpy(rng.standard_normal((self.frames, n_fft)).astype(dtype))

    def floor(self) -> None:
        """Both transforms of every frame."""
        torch.fft.irfft(torch.fft.rfft(self.noise), n=self.stft.n_fft)

    def phaserec(self, n_iter: int, algorithm: str, **hyper: Any) -> Any:
        """One of our algorithms."""
        run = prepare(algorithm, self.problem, n_iter, init="mixture", machine="kernel", **hyper)
        return run.result()

    def librosa(self, n_iter: int) -> Any:
        """Griffin-Lim of librosa."""
        return librosa.griffinlim(
            self.magnitudes, n_iter=n_iter, hop_length=self.stft.hop_length, momentum=0, init=None
        )

    def torch_loop(self, n_iter: int) -> Any:
        """Griffin-Lim as one writes it with torch.stft and torch.istft."""
        stft = self.stft
        settings = {"n_fft": stft.n_fft, "hop_length": stft.hop_length, "window": self.window}
        V = torch.from_numpy(self.magnitudes)
        S = V.to(torch.complex64 if V.dtype == torch.float32 else torch.complex128)
        for _ in range(n_iter):
            x = torch.istft(S, **settings, length=self.problem.length)
            S = torch.stft(x, **settings, pad_mode="constant", return_complex=True)
            S = V * S / S.abs().clamp_min(1e-12)
        return S

    def numpy_loop(self, n_iter: int) -> Any:
        """Griffin-Lim as one writes it with numpy and scipy.fft."""
        n_fft, hop = self.stft.n_fft, self.stft.hop_length
        window = self.stft.window_values.astype(self.magnitudes.dtype)
        V = np.ascontiguousarray(self.magnitudes.swapaxes(-1, -2))
        S = V.astype(np.result_type(V, np.complex64))
        n_frames = V.shape[-2]
        total = np.zeros((len(V), n_fft + hop * (n_frames - 1)), V.dtype)
        norm = np.full_like(total, 1e-8)
        for t in range(n_frames):
            norm[:, t * hop : t * hop + n_fft] += window**2
        for _ in range(n_iter):
            frames = scipy.fft.irfft(S, n=n_fft) * window
            total[:] = 0
            for t in range(n_frames):
                total[:, t * hop : t * hop + n_fft] += frames[:, t]
            total /= norm
            frames = np.lib.stride_tricks.sliding_window_view(total, n_fft, axis=-1)[:, ::hop]
            S = scipy.fft.rfft(frames * window)
            S *= V / np.maximum(np.abs(S), 1e-12)
        return S


def slopes(case: Case, tasks: dict[str, Callable[[int], Any]]) -> tuple[dict, dict]:
    """µs per frame and iteration of every task, and of a whole call of 32 iterations."""
    runs = {"floor": case.floor}
    for name, task in tasks.items():
        for n in (SHORT, LONG, CALL):
            runs[f"{name} {n}"] = lambda task=task, n=n: task(n)
    seconds = _timing.interleaved(runs, arguments.rounds)
    scale = 1e6 / case.frames
    each = {"floor": seconds["floor"] * scale}
    whole = {"floor": seconds["floor"] * scale}
    for name in tasks:
        each[name] = (
            (seconds[f"{name} {LONG}"] - seconds[f"{name} {SHORT}"]) / (LONG - SHORT) * scale
        )
        whole[name] = seconds[f"{name} {CALL}"] / CALL * scale
    return each, whole


def others(case: Case) -> dict[str, Callable[[int], Any]]:
    """The competition."""
    return {
        "librosa.griffinlim": case.librosa,
        "torch loop": case.torch_loop,
        "numpy loop": case.numpy_loop,
    }


def registered() -> dict[str, Any]:
    """Every algorithm at 1024/256."""
    case = Case(1024, 256, arguments.sources, arguments.dtype)
    tasks: dict[str, Callable[[int], Any]] = {
        title: lambda n, hyper=hyper: case.phaserec(n_iter=n, **hyper)
        for title, hyper in ALGORITHMS.items()
    }
    each, whole = slopes(case, tasks | others(case))
    print(_timing.machine()["processor"])
    print(f"1024/256, {arguments.dtype}, J={arguments.sources}, {arguments.threads} thread(s)")
    print(f"{'':26}{'µs/frame':>9}{'× floor':>9}{'librosa ÷':>11}{'torch ÷':>9}{'call':>8}")
    for name, cost in each.items():
        print(
            f"{name:26}{cost:9.3f}{cost / each['floor']:9.2f}"
            f"{each['librosa.griffinlim'] / cost:11.1f}{each['torch loop'] / cost:9.1f}"
            f"{whole[name]:8.3f}"
        )
    return {"iteration": each, "call": whole}


def sizes() -> dict[str, Any]:
    """Griffin-Lim against the others over all sizes."""
    table = {}
    print(f"Griffin-Lim, {arguments.dtype}, {arguments.threads} thread(s): µs per frame, iteration")
    print(f"{'n_fft/hop':>12}{'floor':>9}{'here':>9}{'librosa ÷':>11}{'torch ÷':>9}{'numpy ÷':>9}")
    for n_fft, hop in SIZES:
        case = Case(n_fft, hop, arguments.sources, arguments.dtype)
        here = {"here": lambda n, case=case: case.phaserec(n, "griffin-lim")}
        each, whole = slopes(case, here | others(case))
        table[f"{n_fft}/{hop}"] = {"iteration": each, "call": whole}
        ratios = [each[name] / each["here"] for name in others(case)]
        print(
            f"{f'{n_fft}/{hop}':>12}{each['floor']:9.3f}{each['here']:9.3f}"
            f"{ratios[0]:11.1f}{ratios[1]:9.1f}{ratios[2]:9.1f}"
        )
    return table


@numba.njit(parallel=True)
def busy(values: Any) -> None:
    """Arithmetic of every thread in its own first cache, some 10 ms."""
    for row in numba.prange(len(values)):
        # Rows lie far apart, so that no core's prefetcher reaches into another's.
        own = values[row, :2048]
        for _ in range(300_000):
            for i in range(own.size):
                own[i] = own[i] * np.float32(0.5) + np.float32(0.5)


def ratios() -> dict[str, Any]:
    """Every algorithm at 1024/256 against itself in double precision and on several threads."""
    cases = {d: Case(1024, 256, arguments.sources, d) for d in ("float32", "float64")}
    kinds = [("float32", 1), ("float64", 1), ("float32", arguments.threads)]
    values = np.ones((arguments.threads, 8192), np.float32)

    def run(name: str, dtype: str, threads: int, n_iter: int) -> None:
        numba.set_num_threads(threads)
        cases[dtype].phaserec(n_iter, **ALGORITHMS[name])

    runs: dict[Any, Callable[[], Any]] = {}
    for name in ALGORITHMS:
        for kind in kinds:
            for n in (SHORT, LONG):
                runs[name, *kind, n] = lambda a=(name, *kind, n): run(*a)  # type: ignore[misc]
        runs[name, "one"] = lambda: busy(values[:1])
        runs[name, "each"] = lambda: busy(values)  # on as many threads as the run before
    seconds: dict[Any, float] = _timing.interleaved(runs, arguments.rounds)
    several = f"{arguments.threads} threads: faster ×"
    print(f"1024/256, J={arguments.sources}, {arguments.seconds:g} s")
    print(f"{'':26}{'float64 ÷ float32':>18}{several:>22}{'arithmetic alone':>18}")
    table = {}
    for name in ALGORITHMS:
        one, double, split = (seconds[name, *k, LONG] - seconds[name, *k, SHORT] for k in kinds)
        machine = arguments.threads * seconds[name, "one"] / seconds[name, "each"]
        table[name] = {"float64": double / one, "threads": one / split, "arithmetic": machine}
        print(f"{name:26}{double / one:18.2f}{one / split:22.2f}{machine:18.2f}")
    return table


if __name__ == "__main__":
    figures = {"threads": arguments.threads, "dtype": arguments.dtype}
    if arguments.ratios:
        figures["ratios"] = ratios()
    elif arguments.sizes:
        figures["sizes"] = sizes()
    else:
        figures["algorithms"] = registered()
    _timing.save(arguments.json, figures)
