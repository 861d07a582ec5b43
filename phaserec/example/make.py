"""Make the example: ``python -m phaserec.example.make`` (needs the program espeak-ng).

A synthetic voice says one sentence; the noise is generated: a slow swell of pink noise and a hum.
Sources are rounded to 16 bits before they are added, so the files sum to the mixture exactly.
"""

import subprocess
from io import BytesIO
from pathlib import Path

import numpy as np
import soundfile

from phaserec.audio import resample

RATE = 16000
SECONDS = 2.4
SENTENCE = "Magnitudes are easy to find; the phase is what we lost."


def speech() -> np.ndarray:
    """The sentence in the default English voice, ``(time,)``."""
    command = ["espeak-ng", "-v", "en-us", "-s", "185", "-p", "45", "--stdout", SENTENCE]
    wav = subprocess.run(command, check=True, capture_output=True).stdout
    voice, rate = soundfile.read(BytesIO(wav))
    voice = resample(voice, rate, RATE)[: int(SECONDS * RATE)]
    voice = np.pad(voice, (0, int(SECONDS * RATE) - len(voice)))
    return 0.25 * voice / np.abs(voice).max()


def noise() -> np.ndarray:
    """Pink noise that swells and falls over a mains hum, ``(time,)``."""
    rng = np.random.default_rng(2026)
    n = int(SECONDS * RATE)
    spectrum = np.fft.rfft(rng.standard_normal(n))
    spectrum[1:] /= np.sqrt(np.arange(1, len(spectrum)))
    spectrum[0] = 0
    pink = np.fft.irfft(spectrum, n)
    time = np.arange(n) / RATE
    swell = 1 + 0.6 * np.sin(2 * np.pi * 0.9 * time)
    hum = sum(np.sin(2 * np.pi * 60 * k * time + k) / k for k in range(1, 6))
    return 0.02 * swell * pink / pink.std() + 0.004 * hum


def main() -> None:
    """Write the three files beside this script."""
    folder = Path(__file__).parent
    sources = {"speech": speech(), "noise": noise()}
    integers = {name: np.round(x * 32767).astype(np.int16) for name, x in sources.items()}
    integers["mixture"] = integers["speech"] + integers["noise"]
    for name, samples in integers.items():
        soundfile.write(folder / f"{name}.flac", samples, RATE, subtype="PCM_16")


if __name__ == "__main__":
    main()
