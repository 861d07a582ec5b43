"""Random changes of training audio."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np


def check_range(name: str, value: Sequence[float]) -> None:
    """Refuse a range that is not one.

    Parameters
    ----------
    name : str
        What it is called in the message.
    value : sequence of float
        The range.

    Raises
    ------
    ValueError
        Unless it is two finite numbers in order.
    """
    if len(value) != 2 or not np.isfinite(value).all() or value[0] > value[1]:
        raise ValueError(f"{name}={value!r} must be two finite numbers, the smaller one first")


@dataclass(frozen=True)
class Augmentation:
    """Random changes of training audio; every one can be turned off.

    Attributes
    ----------
    gain : tuple of float, default (-6, 6)
        Range in dB of the gain of the mixture and its sources.
    speed : float, default 0.05
        Largest relative change of speed (by resampling) of a source.
    polarity : bool, default True
        Flip the sign of each source at random.
    second_noise : float, default 0.3
        Probability of a second noise on top of the first.
    equaliser : float, default 3
        Largest gain in dB of a smooth random filter on each source.
    lowpass : float, default 0
        Probability that a source loses what is above a random frequency, between an eighth and
        a half of the sample rate.

    Raises
    ------
    ValueError
        If a value is out of range.
    """

    # As for the other parts of a configuration.
    __pydantic_config__: ClassVar = {"extra": "forbid", "strict": True}

    gain: tuple[float, float] = (-6.0, 6.0)
    speed: float = 0.05
    polarity: bool = True
    second_noise: float = 0.3
    equaliser: float = 3.0
    lowpass: float = 0.0

    def __post_init__(self) -> None:
        check_range("gain", self.gain)
        for name, high in (("speed", 0.5), ("second_noise", 1), ("equaliser", 40), ("lowpass", 1)):
            value = getattr(self, name)
            if not 0 <= value <= high:
                raise ValueError(f"{name}={value!r} must be between 0 and {high}")

    def random_speed(self, rng: np.random.Generator) -> float:
        """Speed to play a source at.

        Parameters
        ----------
        rng : Generator
            Source of randomness.

        Returns
        -------
        float
            Relative speed.
        """
        # A few steps only: resampling by an arbitrary ratio designs a filter each time.
        return 1 + self.speed * int(rng.integers(-4, 5)) / 4

    def source(self, samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Change the sign and colour of a source.

        Parameters
        ----------
        samples : ndarray, shape (channels, time)
            The source.
        rng : Generator
            Source of randomness.

        Returns
        -------
        ndarray, shape (channels, time)
            The source, changed.
        """
        if self.polarity and rng.random() < 0.5:
            samples = -samples
        frequency = np.fft.rfftfreq(samples.shape[-1])  # in cycles a sample
        response = np.ones_like(frequency)
        if self.equaliser > 0:
            # Five points an equal distance apart on a logarithmic axis over five octaves.
            octave = np.log2(np.maximum(frequency, 2.0**-6) / 2.0**-6)
            gains = rng.uniform(-self.equaliser, self.equaliser, 5)
            response = 10 ** (np.interp(octave, np.linspace(0, 5, 5), gains) / 20)
        if self.lowpass > 0 and rng.random() < self.lowpass:
            cutoff = rng.uniform(0.125, 0.5)
            response = response / np.sqrt(1 + (frequency / cutoff) ** 16)
        elif self.equaliser == 0:
            return samples
        spectrum = np.fft.rfft(samples) * response
        return np.fft.irfft(spectrum, n=samples.shape[-1]).astype(np.float32)

    def level(self, sources: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Scale the sources of a mixture together.

        Parameters
        ----------
        sources : ndarray, shape (J, channels, time)
            The sources.
        rng : Generator
            Source of randomness.

        Returns
        -------
        ndarray, shape (J, channels, time)
            The sources, scaled.
        """
        return amplitude(rng.uniform(*self.gain)) * sources


NO_AUGMENTATION = Augmentation((0.0, 0.0), 0.0, False, 0.0, 0.0, 0.0)


def amplitude(decibel: float) -> np.float32:
    return np.float32(10 ** (decibel / 20))
