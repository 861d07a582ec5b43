"""Streams: quality over look-ahead, real-time factor, and the slowest frame.

    python benchmarks/online.py ../shared/data -o docs/online

Speech in noise (VoiceBank + DEMAND, 16 kHz) is separated with true magnitudes, and clean speech is
inverted from magnitudes alone, with 5 iterations for each frame and 0 to 4 frames of look-ahead;
beside it 5 and 100 iterations on the whole file. Means over files with 95 % bootstrap intervals.
Times are those of one thread's processor.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from _quality_page import mean, table

from phaserec import STFT, Problem, audio, invert, measures
from phaserec.online import Stream

STFT_ = STFT(512, 128)
LOOK_AHEAD = (0, 1, 2, 4)
SEPARATE = ("misi-mix-first", "misi", "mag-incons-hard-mix")
INVERT = ("griffin-lim", "fast-griffin-lim", "admm")
SECONDS = 3.0
N_ITER = 5


def files(data: Path) -> list[np.ndarray]:
    """Speech and noise ``(2, time)``."""
    found = []
    for path in sorted((data / "voicebank_demand" / "clean").glob("*.flac")):
        clean, noisy = (
            audio.read(data / "voicebank_demand" / kind / path.name) for kind in ("clean", "noisy")
        )
        n = int(SECONDS * clean.rate)
        speech = clean.samples[0, :n]
        found.append(np.stack([speech, noisy.samples[0, :n] - speech]).astype(np.float32))
    return found


def streamed(
    algorithm: str, look_ahead: int, V: np.ndarray, X: np.ndarray | None, length: int
) -> np.ndarray:
    """A whole signal through a stream."""
    stream = Stream(algorithm, N_ITER, look_ahead, stft=STFT_, rng=0)
    return np.concatenate([stream.push(V, X), stream.flush(length)], -1)


def means(
    title: str, algorithms: tuple[str, ...], score: Callable[[str, int | None, int], list[float]]
) -> str:
    """Means for each look-ahead, and of whole files."""
    header = ["algorithm", *(f"look-ahead {n}" for n in LOOK_AHEAD), "whole, 5", "whole, 100"]
    body = []
    for name in algorithms:
        cells = [mean(score(name, n, N_ITER), 1) for n in LOOK_AHEAD]
        cells += [mean(score(name, None, n), 1) for n in (N_ITER, 100)]
        body.append([name, *cells])
    return table(title, header, body)


def times(sources: np.ndarray, rate: int) -> str:
    """Real-time factor and slowest frame of MISI at 256/128."""
    stft = STFT(256, 128)
    sources = np.tile(sources, 4)
    V, X = np.abs(stft(sources)), stft(sources.sum(0))
    stream = Stream("misi-mix-first", N_ITER, stft=stft)
    stream.push(V[..., :20], X[..., :20])
    taken = []
    for t in range(20, V.shape[-1]):
        begin = time.process_time()
        stream.push(V[..., t, None], X[..., t, None])
        taken.append(time.process_time() - begin)
    hop = 128 / rate
    return (
        f"Two sources at {rate} Hz, 256/128, {N_ITER} iterations, no look-ahead: real-time factor "
        f"{np.mean(taken) / hop:.3f}; slowest of {len(taken)} frames {1e3 * max(taken):.1f} ms, of "
        f"a hop of {1e3 * hop:.0f} ms.\n"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    given = parser.parse_args()
    found = files(given.data)

    def separated(name: str, look_ahead: int | None, n_iter: int) -> list[float]:
        scores = []
        for sources in found:
            V, X = np.abs(STFT_(sources)), STFT_(sources.sum(0))
            length = sources.shape[-1]
            if look_ahead is None:
                y = invert(V, sources.sum(0), stft=STFT_, algorithm=name, n_iter=n_iter)
            else:
                y = streamed(name, look_ahead, V, X, length)
            scores.append(float(measures.si_sdr(y[0], sources[0])))
        return scores

    def inverted(name: str, look_ahead: int | None, n_iter: int) -> list[float]:
        scores = []
        for sources in found:
            V, length = np.abs(STFT_(sources[:1])), sources.shape[-1]
            if look_ahead is None:
                y = invert(V, stft=STFT_, algorithm=name, n_iter=n_iter, length=length)
            else:
                y = streamed(name, look_ahead, V, None, length)
            problem = Problem(V, stft=STFT_, length=length)
            scores.append(float(measures.spectral_convergence(STFT_(y), problem)[0]))
        return scores

    given.output.mkdir(parents=True, exist_ok=True)
    text = means("SI-SDR of speech in dB, true magnitudes, 512/128.", SEPARATE, separated)
    title = "Spectral convergence in dB of speech alone, 512/128; streams start with rtpghi."
    text += means(title, INVERT, inverted)
    text += times(found[0], 16000)
    (given.output / "report.rst").write_text(text)
    print(text)
