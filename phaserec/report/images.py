"""Spectrograms as WebP images, small enough to embed.

Levels are shades of grey, which the page colours: so it can read them back where the pointer is.
"""

from dataclasses import dataclass
from io import BytesIO

import numpy as np

from phaserec.phase import products
from phaserec.plot import decibels
from phaserec.report.model import Track
from phaserec.stft import STFT

RANGE = 80.0  # dB
LEVELS = "magma"
"""matplotlib's name of the colours of levels."""

_WIDTH, _HEIGHT = 640, 260  # pixels at most
# What is lost is grain: a mean over 3 by 3 pixels is right to about 1 dB (rms).
_QUALITY = 28


@dataclass(frozen=True)
class View:
    """A kind of image.

    Attributes
    ----------
    key, title, legend : str
        Name in the page, on the tab, and what the colours mean.
    low, high : str
        Ends of the colour scale.
    colours : str
        matplotlib's name of the colour map.
    """

    key: str
    title: str
    legend: str
    low: str
    high: str
    colours: str

    @property
    def level(self) -> bool:
        """Whether the image holds levels in shades of grey."""
        return self.colours == LEVELS


def views(rate: int, stft: STFT) -> list[View]:
    """The kinds of images, in the order of their tabs.

    Parameters
    ----------
    rate : int
        Sample rate in Hz.
    stft : STFT
        The transform.

    Returns
    -------
    list of View
        The error, magnitude, and the two derivatives of the phase.
    """
    hertz = rate / (2 * stft.hop_length)
    delay = 500 * stft.n_fft / rate
    decibel = f"−{RANGE:.0f} dB", "0 dB", LEVELS
    return [
        View(
            "error",
            "Error",
            "Difference from the reference, phase included, on the scale of the magnitude; where "
            "there is no reference, difference of the magnitude from its target.",
            *decibel,
        ),
        View("magnitude", "Magnitude", "Level below the loudest point of the mixture.", *decibel),
        View(
            "frequency",
            "Phase over time",
            "Instantaneous frequency less the centre of the bin, from the advance of the phase "
            "between frames. White is none; quiet parts are dark.",
            f"−{hertz:.4g} Hz",
            f"+{hertz:.4g} Hz",
            "twilight_shifted",
        ),
        View(
            "delay",
            "Phase over frequency",
            "Group delay: time of the energy after the centre of the window, from the phase "
            "between bins. White is none; quiet parts are dark.",
            f"−{delay:.4g} ms",
            f"+{delay:.4g} ms",
            "twilight_shifted",
        ),
    ]


def transform(samples: np.ndarray, stft: STFT, length: int) -> np.ndarray:
    """Spectrogram of the beginning of a signal, as it is in that of the whole.

    Parameters
    ----------
    samples : ndarray, shape (channels, time)
        Waveform.
    stft : STFT
        The transform.
    length : int
        Samples to cover.

    Returns
    -------
    ndarray, shape (channels, F, T)
        Complex spectrogram.
    """
    return stft(samples[..., : length + stft.n_fft])[..., : stft.n_frames(length)]


def draw(track: Track, stft: STFT, length: int, top: float) -> dict[str, bytes]:
    """All images of a track.

    Parameters
    ----------
    track : Track
        The signal.
    stft : STFT
        The transform.
    length : int
        Samples to show, from the beginning.
    top : float
        Magnitude that is 0 dB; 0 for silence.

    Returns
    -------
    dict of str to bytes
        WebP files by the key of their view; no error where there is nothing to compare with.
    """
    S = transform(track.samples, stft, length)
    top = top or 1.0
    power = np.mean(np.abs(S) ** 2, axis=0)
    images = {"magnitude": _level(power, top)}
    for key, kind in (("frequency", "time"), ("delay", "frequency")):
        if S.shape[-1] == 1 and kind == "time":
            continue  # one frame does not advance
        images[key] = _phase(products(S, stft, kind).mean(axis=0), top)
    error = None
    if track.reference is not None:
        error = np.abs(S - transform(track.reference, stft, length))
    elif track.target is not None:
        error = np.abs(np.abs(S) - track.target[..., : S.shape[-1]])
    if error is not None:
        images["error"] = _level(np.mean(error**2, axis=0), top)
    return images


def colour_bar(colours: str) -> bytes:
    """A colour map from left to right, as a WebP file.

    Parameters
    ----------
    colours : str
        matplotlib's name of the colour map.

    Returns
    -------
    bytes
        The file.
    """
    return _webp(_colours(colours, np.linspace(0, 1, 128))[None])


def colour_table(colours: str) -> list[str]:
    """Red, green and blue of a colour map at equal distances, for a filter of SVG.

    Parameters
    ----------
    colours : str
        matplotlib's name of the colour map.

    Returns
    -------
    list of str
        Three lists of numbers between 0 and 1.
    """
    table = _colours(colours, np.linspace(0, 1, 33)) / 255
    return [" ".join(f"{value:.3g}" for value in channel) for channel in table.T]


def _level(power: np.ndarray, top: float) -> bytes:
    return _webp(255 * _scaled(np.sqrt(_pool(power)), top))


def _phase(product: np.ndarray, top: float) -> bytes:
    """Hue from the angle; shade from the level, black at the lower end of the range."""
    pooled = _pool(product)
    hue = _colours("twilight_shifted", np.angle(pooled) / (2 * np.pi) + 0.5)
    shade = np.minimum(4 / 3 * _scaled(np.sqrt(np.abs(pooled)), top), 1)
    return _webp(shade[..., None] * hue)


def _scaled(magnitude: np.ndarray, top: float) -> np.ndarray:
    """0 at the lower end of the range, 1 at ``top``."""
    return decibels(magnitude, top, RANGE) / RANGE + 1


def _pool(values: np.ndarray) -> np.ndarray:
    """Mean of blocks of ``(F, T)``, so that the image is not larger than needed."""
    n_bins, n_frames = values.shape
    rows, columns = -(-n_bins // _HEIGHT), -(-n_frames // _WIDTH)
    if rows > 1:
        values = np.add.reduceat(values, np.arange(0, n_bins, rows), axis=0) / rows
    if columns > 1:
        values = np.add.reduceat(values, np.arange(0, n_frames, columns), axis=1) / columns
    return values


def _colours(name: str, values: np.ndarray) -> np.ndarray:
    """Colours of a map of matplotlib for values between 0 and 1, ``(..., 3)`` up to 255."""
    from matplotlib import colormaps

    return 255 * colormaps[name](values)[..., :3]


def _webp(pixels: np.ndarray) -> bytes:
    """Encode grey ``(height, width)`` or colours ``(height, width, 3)``, low frequencies first."""
    from PIL import Image

    image = Image.fromarray(np.rint(pixels[::-1]).astype(np.uint8))
    buffer = BytesIO()
    image.save(buffer, "WEBP", quality=_QUALITY, method=6)
    return buffer.getvalue()
