"""Spectrograms as PNG images with a palette, small enough to embed."""

from dataclasses import dataclass
from io import BytesIO

import numpy as np

from phaserec.plot import decibels, phase_products
from phaserec.report.model import Track
from phaserec.stft import STFT

_WIDTH, _HEIGHT = 700, 520  # pixels at most; more is not seen
_RANGE = 80.0  # dB
# Few colours keep the files small.
_LEVELS, _HUES, _SHADES = 48, 16, 5


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
        Magnitude, the two derivatives of the phase, and the error.
    """
    hertz = rate / (2 * stft.hop_length)
    delay = 500 * stft.n_fft / rate
    decibel = f"−{_RANGE:.0f} dB", "0 dB", "magma"
    return [
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
        View(
            "error",
            "Error",
            "Difference from the reference, phase included, on the scale of the magnitude; where "
            "there is no reference, difference of the magnitude from its target.",
            *decibel,
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
        PNG files by the key of their view; no error where there is nothing to compare with.
    """
    S = transform(track.samples, stft, length)
    top = top or 1.0
    power = np.mean(np.abs(S) ** 2, axis=0)
    images = {"magnitude": _level(power, top)}
    for key, kind in (("frequency", "time"), ("delay", "frequency")):
        if S.shape[-1] == 1 and kind == "time":
            continue  # one frame does not advance
        images[key] = _phase(phase_products(S, stft, kind).mean(axis=0), top)
    error = None
    if track.reference is not None:
        error = np.abs(S - transform(track.reference, stft, length))
    elif track.target is not None:
        error = np.abs(np.abs(S) - track.target[..., : S.shape[-1]])
    if error is not None:
        images["error"] = _level(np.mean(error**2, axis=0), top)
    return images


def colour_bar(colours: str) -> bytes:
    """A colour map from left to right, as a PNG file.

    Parameters
    ----------
    colours : str
        matplotlib's name of the colour map.

    Returns
    -------
    bytes
        The file.
    """
    return _png(np.arange(256)[None, :], _colours(colours, 256))


def _level(power: np.ndarray, top: float) -> bytes:
    level = decibels(np.sqrt(_pool(power)), top, _RANGE) / _RANGE + 1
    return _png(np.rint(level * (_LEVELS - 1)), _colours("magma", _LEVELS))


def _phase(product: np.ndarray, top: float) -> bytes:
    """Hue from the angle; shade from the level, black at the lower end of the range."""
    pooled = _pool(product)
    turn = np.angle(pooled) / (2 * np.pi) + 0.5
    hue = np.minimum((turn * _HUES).astype(int), _HUES - 1)
    level = decibels(np.sqrt(np.abs(pooled)), top, _RANGE) / _RANGE + 1
    shade = np.minimum((4 / 3 * level * _SHADES).astype(int), _SHADES - 1)
    shades = np.arange(_SHADES)[:, None, None] / (_SHADES - 1)
    palette = (shades * _colours("twilight_shifted", _HUES)).reshape(-1, 3)
    return _png(shade * _HUES + hue, palette)


def _pool(values: np.ndarray) -> np.ndarray:
    """Mean of blocks of ``(F, T)``, so that the image is not larger than needed."""
    n_bins, n_frames = values.shape
    rows, columns = -(-n_bins // _HEIGHT), -(-n_frames // _WIDTH)
    if rows > 1:
        values = np.add.reduceat(values, np.arange(0, n_bins, rows), axis=0) / rows
    if columns > 1:
        values = np.add.reduceat(values, np.arange(0, n_frames, columns), axis=1) / columns
    return values


def _colours(name: str, count: int) -> np.ndarray:
    """Colours of a map of matplotlib at equal distances, ``(count, 3)`` between 0 and 255."""
    from matplotlib import colormaps

    return 255 * colormaps[name](np.linspace(0, 1, count))[:, :3]


def _png(index: np.ndarray, palette: np.ndarray) -> bytes:
    """Encode colours ``(height, width)`` of a palette, low frequencies first."""
    from PIL import Image

    image = Image.fromarray(np.ascontiguousarray(index[::-1]).astype(np.uint8))
    image.putpalette(np.rint(palette).astype(np.uint8).tobytes())
    buffer = BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
