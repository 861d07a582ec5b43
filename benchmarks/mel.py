"""Sound from mel values: time, log-mel error and PESQ beside librosa's.

Speech of the folder of real audio, resampled to 22.05 kHz; 80 bands of power, 1024/256. First the
magnitudes (non-negative least squares), then 32 iterations, then some in which magnitudes follow.
Every task runs in turn on every file; means over files with 95 % intervals by bootstrap.
"""

import argparse
import os
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

RATE, N_FFT, HOP, N_MELS = 22050, 1024, 256, 80
JOINT = (4, 8, 16)


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="folder of real audio")
    parser.add_argument("--power", type=float, default=2.0, choices=[1.0, 2.0])
    parser.add_argument("--files", type=int, default=8)
    parser.add_argument("--json")
    return parser.parse_args()


def interval(values: Any) -> tuple[float, float]:
    """Mean, and half of the interval that holds 95 % of the means of resampled files."""
    import numpy as np

    values = np.asarray(values, float)
    draws = np.random.default_rng(0).choice(values, (2000, len(values))).mean(axis=1)
    low, high = np.percentile(draws, [2.5, 97.5])
    return float(values.mean()), float(high - low) / 2


def main() -> None:
    """Run, and print tables."""
    options = parsed()
    os.environ["PHASEREC_MACHINE"] = "kernel"
    from _timing import pin_threads

    pin_threads(1)
    import librosa
    import numpy as np
    import scipy.optimize
    import soundfile
    import soxr
    from _timing import save
    from pesq import pesq

    import phaserec
    from phaserec import STFT
    from phaserec.inverse import Bands

    stft = STFT(N_FFT, HOP)
    bands = Bands.mel(N_MELS, N_FFT, RATE, power=options.power)
    A, inverse = bands.matrix, librosa.feature.inverse
    common: dict[str, Any] = {"sr": RATE, "n_fft": N_FFT, "power": options.power}
    table: dict[str, list[tuple[float, ...]]] = {}

    def timed(name: str, task: Any, scores: Any) -> None:
        begin = time.perf_counter()
        result = task()
        seconds = time.perf_counter() - begin
        table.setdefault(name, []).append((seconds, *scores(result)))

    paths = sorted((options.data / "voicebank_demand" / "clean").glob("*.flac"))[: options.files]
    silence = bands(stft(np.full(RATE, 1e-3, np.float32)))
    phaserec.mel_to_audio(silence, n_fft=N_FFT, power=options.power, joint=1)  # compiles
    for path in paths:
        x, rate = soundfile.read(path, dtype="float32")
        x = soxr.resample(x, rate, RATE)
        S = np.abs(stft(x))
        M = bands(S)
        floor = 1e-6 * M.max()

        def of_magnitudes(V: Any, S: Any = S, M: Any = M) -> tuple[float, ...]:
            error = np.linalg.norm(V - S) / np.linalg.norm(S)
            rest = np.linalg.norm(A @ V**options.power - M) / np.linalg.norm(M)
            return 20 * float(np.log10(error)), float(rest)

        def of_sound(y: Any, x: Any = x, M: Any = M, floor: float = floor) -> tuple[float, ...]:
            ratio = np.maximum(bands(stft(y)), floor) / np.maximum(M, floor)
            error = 20 / options.power * float(np.abs(np.log10(ratio)).mean())
            reference, degraded = (soxr.resample(each, RATE, 16000) for each in (x, y))
            return error, float(pesq(16000, reference, degraded, "wb"))

        def scipy_magnitudes(M: Any = M) -> Any:
            columns = [scipy.optimize.nnls(A, m)[0] for m in M.T.astype(float)]
            return np.stack(columns, axis=-1) ** (1 / options.power)

        whole = {**common, "hop_length": HOP, "length": len(x)}
        timed("magnitudes: librosa", lambda M=M: inverse.mel_to_stft(M, **common), of_magnitudes)
        timed("magnitudes: scipy.optimize.nnls", scipy_magnitudes, of_magnitudes)
        timed("magnitudes: phaserec", lambda M=M: phaserec.mel_to_stft(M, **common), of_magnitudes)
        timed("sound: librosa", lambda M=M, o=whole: inverse.mel_to_audio(M, **o), of_sound)
        for joint in (0, *JOINT):
            timed(
                f"sound: phaserec, joint={joint}",
                lambda M=M, o=whole, j=joint: phaserec.mel_to_audio(M, joint=j, rng=0, **o),
                of_sound,
            )
    heads = {
        "magnitudes": ("distance, dB", "residual"),
        "sound": ("log-mel error, dB", "PESQ"),
    }
    for kind, columns in heads.items():
        print(f"{kind:<32}{'seconds':>10}{'times':>8}{columns[0]:>20}{columns[1]:>20}")
        base = np.array(table[f"{kind}: librosa"])[:, 0]
        for name, rows in table.items():
            if name.startswith(kind):
                values = np.array(rows)
                shown = "".join(
                    f"{mean:>12.3g} ± {half:<5.2g}" for mean, half in map(interval, values.T[1:])
                )
                times = np.median(base / values[:, 0])
                print(
                    f"{name.partition(': ')[2]:<32}{values[:, 0].mean():>10.3f}{times:>8.1f}{shown}"
                )
    save(options.json, {"power": options.power, "files": [p.name for p in paths], "rows": table})


if __name__ == "__main__":
    main()
