"""Sound to embed: small enough for a page, or as it is."""

from dataclasses import dataclass

import numpy as np

from phaserec import audio

_RATES = (8000, 12000, 16000, 24000, 48000)  # that Opus has
# kbit/s of one and of two channels, and of libsndfile's scale, for one channel.
_MONO, _STEREO = 48, 64
_LEAST, _MOST = 6, 256


@dataclass(frozen=True)
class Sound:
    """A file of sound.

    Attributes
    ----------
    content : bytes
        The file.
    kind : str
        Its MIME type.
    suffix : str
        How its name ends.
    """

    content: bytes
    kind: str
    suffix: str


def encode(samples: np.ndarray, rate: int, *, lossless: bool) -> Sound:
    """Encode what a page plays.

    Parameters
    ----------
    samples : ndarray, shape (channels, time)
        One or two channels within ±1.
    rate : int
        Sample rate in Hz.
    lossless : bool
        16-bit FLAC, rather than Opus at 48 kbit/s, or 64 of two channels.

    Returns
    -------
    Sound
        A file that browsers play.
    """
    if lossless:
        content = audio.encode(samples, rate, subtype="PCM_16", container="FLAC")
        return Sound(content, "audio/flac", "flac")
    wanted = next((known for known in _RATES if known >= rate), _RATES[-1])
    if wanted != rate:
        samples = audio.resample(samples, rate, wanted)
    each = _MONO if len(samples) == 1 else _STEREO / 2
    compression = (_MOST - each) / (_MOST - _LEAST)
    content = audio.encode(
        samples, wanted, subtype="OPUS", container="OGG", compression=compression
    )
    return Sound(content, "audio/ogg", "opus")
