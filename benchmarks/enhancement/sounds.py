"""Voices and noises for training the speech-enhancement model, from real and generated sound.

    python sounds.py REAL_FOLDER OUTPUT_FOLDER

REAL_FOLDER holds ``speech/`` and ``noise/``. OUTPUT_FOLDER gets ``train`` and ``valid``, each with
``speech/`` and ``noise/`` as 16 kHz WAV files: the real recordings, cut so that no second is in
both; voices of espeak-ng (which must be installed); and noises from formulas. ``natural/`` and
``crowded/`` are the same with fewer synthetic voices and with more crowds. Deterministic.
"""

import argparse
import io
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import soundfile
from scipy.signal import lfilter

from phaserec import audio

RATE = 16_000
# The share of every recording that is kept for validation: its end.
_HELD_OUT = 0.1
# Minutes of real speech recorded at less than the full rate, which lacks the upper half.
_NARROW_MINUTES = 10.0

_SUBJECTS = (
    "the old harbour", "a small engine", "my youngest sister", "every second letter",
    "the paper on the table", "an orange lamp", "their quiet neighbour", "the first snow",
    "some of the children", "the doctor from the village", "a heavy wooden door",
    "the choir", "nobody in this house", "the fox behind the barn", "a very long journey",
)  # fmt: skip
_VERBS = (
    "has never reached", "will follow", "could hardly see", "was painted like", "keeps asking for",
    "went past", "should have heard", "is looking for", "almost touched", "turned away from",
    "just remembered", "may be waiting for", "drew a picture of", "shook", "thought about",
)  # fmt: skip
_ENDINGS = (
    "before sunrise", "in the middle of the week", "without a word", "near the river",
    "for the third time", "although it was raining", "with great care", "and then stopped",
    "because of the noise", "at five past eight", "while everybody slept", "under a grey sky",
    "so we moved on", "as if it were a game", "on the other side of the bridge",
)  # fmt: skip
_VOICES = [
    f"{accent}+{variant}"
    for accent in ("en-us", "en-gb", "en-gb-scotland")
    for variant in ("m1", "m2", "m3", "m4", "m5", "m7", "f1", "f2", "f3", "f4")
]


def sentences(rng: np.random.Generator, count: int) -> str:
    """Sentences without much meaning, made of parts."""
    return " ".join(
        f"{rng.choice(_SUBJECTS)} {rng.choice(_VERBS)} {rng.choice(_SUBJECTS)} "
        f"{rng.choice(_ENDINGS)}."
        for _ in range(count)
    )


def voice(name: str, rng: np.random.Generator) -> np.ndarray:
    """About a minute of a synthetic voice, in stretches of different pitch and speed."""
    stretches = []
    for _ in range(6):
        settings = ["-p", str(rng.integers(10, 80)), "-s", str(rng.integers(120, 200))]
        spoken = subprocess.run(
            ["espeak-ng", "-v", name, *settings, "--stdout", sentences(rng, 4)],
            check=True,
            capture_output=True,
        ).stdout
        samples, rate = soundfile.read(io.BytesIO(spoken), dtype="float32")
        stretches.append(audio.resample(samples[None], rate, RATE)[0])
    return np.concatenate(stretches)


def coloured(rng: np.random.Generator, n: int) -> np.ndarray:
    """Noise with a random smooth spectrum that falls towards high frequencies."""
    f = np.fft.rfftfreq(n, 1 / RATE)
    octaves = np.log2(np.maximum(f, 20) / 20)
    knots = np.arange(10)
    gain = np.cumsum(rng.normal(-rng.uniform(0, 8), 4, len(knots)))
    spectrum = np.fft.rfft(rng.standard_normal(n)) * 10 ** (np.interp(octaves, knots, gain) / 20)
    return _level(np.fft.irfft(spectrum, n))


def swell(rng: np.random.Generator, n: int, seconds: float, depth: float) -> np.ndarray:
    """A smooth random gain that changes within about so many seconds."""
    knots = rng.normal(0, depth, int(n / RATE / seconds) + 3)
    return 10 ** (np.interp(np.arange(n) / RATE / seconds, np.arange(len(knots)), knots) / 20)


def wind(rng: np.random.Generator, n: int) -> np.ndarray:
    """Two coloured noises that come and go."""
    return sum(coloured(rng, n) * swell(rng, n, s, 6) for s in (3.0, 0.5))


def rumble(rng: np.random.Generator, n: int) -> np.ndarray:
    """A vehicle: low noise, an engine's harmonics with wandering pitch, some hiss."""
    pitch = rng.uniform(25, 90) * swell(rng, n, 2.0, 1.0)
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    engine = sum(rng.random() / k * np.sin(k * phase + rng.uniform(0, 6)) for k in range(1, 25))
    low = lfilter([1], [1, -rng.uniform(0.95, 0.995)], rng.standard_normal(n))
    parts = (
        _level(low),
        rng.uniform(0, 0.8) * _level(engine),
        rng.uniform(0, 0.2) * coloured(rng, n),
    )
    return sum(parts) * swell(rng, n, 1.0, 2)


def clatter(rng: np.random.Generator, n: int) -> np.ndarray:
    """Dishes, keys and steps: short decaying resonances over a soft background."""
    out = 0.05 * rng.uniform(0.2, 2) * coloured(rng, n)
    for _ in range(int(n / RATE * rng.uniform(0.5, 6))):
        length = int(RATE * rng.uniform(0.02, 0.4))
        t = np.arange(length) / RATE
        decay = np.exp(-t * rng.uniform(5, 12) * RATE / length)
        tones = sum(
            np.sin(2 * np.pi * rng.uniform(200, 7000) * t + k) for k in range(rng.integers(1, 6))
        )
        hit = decay * (tones + rng.uniform(0, 2) * rng.standard_normal(length))
        at = rng.integers(n - length)
        out[at : at + length] += hit * rng.lognormal(-1, 1)
    return out


def hum(rng: np.random.Generator, n: int) -> np.ndarray:
    """Machines: mains and fan harmonics with a coloured hiss."""
    t = np.arange(n) / RATE
    base = rng.choice([50.0, 60.0, 100.0, rng.uniform(80, 400)])
    tones = sum(
        rng.lognormal(-0.3 * k, 1) * np.sin(2 * np.pi * base * k * t + k) for k in range(1, 20)
    )
    return _level(tones) * rng.uniform(0.2, 1) + coloured(rng, n)


def babble(voices: list[np.ndarray]) -> Callable[[np.random.Generator, int], np.ndarray]:
    """A crowd: many voices at different distances, with the colour of a room."""

    def crowd(rng: np.random.Generator, n: int) -> np.ndarray:
        out = np.zeros(n)
        for _ in range(rng.integers(4, 12)):
            source = voices[rng.integers(len(voices))]
            start = rng.integers(len(source))
            talker = np.take(source, np.arange(start, start + n), mode="wrap")
            out += _level(talker) * rng.lognormal(0, 0.5) * swell(rng, n, 1.5, 4)
        tail = rng.standard_normal(RATE // 3) * np.exp(
            -np.arange(RATE // 3) / RATE * rng.uniform(10, 40)
        )
        size = n + len(tail)
        room = np.fft.irfft(np.fft.rfft(out, size) * np.fft.rfft(tail, size), size)[:n]
        dull = lfilter(
            [1], [1, -rng.uniform(0, 0.8)], rng.uniform(0, 1) * _level(out) + _level(room)
        )
        return _level(dull) + rng.uniform(0, 0.5) * coloured(rng, n)

    return crowd


def _level(samples: np.ndarray) -> np.ndarray:
    return samples / (np.sqrt(np.mean(samples**2)) + 1e-9)


def real(folder: Path) -> Iterator[tuple[str, np.ndarray, int]]:
    """Recordings at 16 kHz, with the rate they were made at."""
    for path in sorted(folder.iterdir()):
        samples, rate = soundfile.read(path, dtype="float32")
        yield path.stem, audio.resample(samples[None], rate, RATE)[0], rate


def write(folder: Path, kinds: Sequence[str], name: str, samples: np.ndarray) -> None:
    """Write the beginning for training and the end for validation."""
    samples = 0.5 * samples / np.abs(samples).max()
    cut = int(len(samples) * (1 - _HELD_OUT))
    for part, piece in (("train", samples[:cut]), ("valid", samples[cut:])):
        for kind in kinds:
            path = folder / part / kind / f"{name}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, piece, RATE, subtype="PCM_16")


def make(source: Path, folder: Path) -> None:
    """Write all sounds."""
    if shutil.which("espeak-ng") is None:
        raise SystemExit("sounds.py needs espeak-ng for its voices: install it, e.g. by apt-get")
    voices = []
    narrow = 0.0
    for name, samples, rate in real(source / "speech"):
        if rate < RATE:
            samples = samples[: max(int((_NARROW_MINUTES * 60 - narrow) / 4 * RATE), RATE)]
            narrow += len(samples) / RATE
        voices.append(samples)
        write(folder, ("speech", "natural"), name, samples)
    for number, name in enumerate(_VOICES):
        voices.append(voice(name, np.random.default_rng([1, number])))
        kinds = ("speech", "natural") if number % 4 == 0 else ("speech",)
        write(folder, kinds, f"espeak-{name}", voices[-1])
    for name, samples, _ in real(source / "noise"):
        write(folder, ("noise", "crowded"), name, samples)
    generators = {
        "coloured": coloured,
        "wind": wind,
        "rumble": rumble,
        "clatter": clatter,
        "hum": hum,
        "babble": babble([v[: int(len(v) * (1 - _HELD_OUT))] for v in voices]),
    }
    for order, (kind, generate) in enumerate(generators.items()):
        for number in range(90 if kind == "babble" else 12):
            rng = np.random.default_rng([2, order, number])
            folders = ("noise", "crowded") if number < 40 else ("crowded",)
            write(folder, folders, f"{kind}-{number:02}", generate(rng, 30 * RATE))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, help="folder with speech/ and noise/")
    parser.add_argument("output", type=Path, help="folder for the result")
    given = parser.parse_args()
    make(given.source, given.output)
