"""What a recording is known by, whatever its file format, name or level.

Two parts (docs/tuning.rst): a digest of the decoded samples, which finds equal recordings, and
landmarks, which find shared excerpts. Landmarks are hashes of the distances between successive
peaks of the waveform; a cut, a change of gain or of sample format leaves nearly all of them as
they were. Resampling, filtering and mixing with something else do not.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

# A peak is larger than every sample so many places to either side of it.
_REACH = 200
# Distances between peaks that make one landmark.
_GAPS = 6
# Landmarks, all different, that two recordings must share; periodic sounds have few.
_SHARED = 3
# Bits of a landmark: chance meetings of three of them do not happen.
_BITS = 48


@dataclass(frozen=True)
class Fingerprint:
    """Content of one channel.

    Attributes
    ----------
    digest : str
        Hash of the samples at 16 bits.
    landmarks : tuple of int
        Different hashes of the distances between successive peaks, ascending.
    """

    digest: str
    landmarks: tuple[int, ...] = field(repr=False)

    def sketch(self, size: int) -> "Fingerprint":
        """The same with at most ``size`` landmarks: the smallest, so that the choice is even."""
        return Fingerprint(self.digest, self.landmarks[:size])


def fingerprint(samples: np.ndarray) -> list[Fingerprint]:
    """Fingerprints of the channels of a recording that are not silent.

    Parameters
    ----------
    samples : ndarray, shape (channels, time)
        Real waveforms, full scale ±1.

    Returns
    -------
    list of Fingerprint
        One for each channel with a non-zero sample at 16 bits.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.random.default_rng(0).uniform(-0.5, 0.5, (1, 16000))
    >>> whole, part = fingerprint(x)[0], fingerprint(0.3 * x[:, 5000:12000])[0]
    >>> whole.digest == part.digest, shares(whole, part)
    (False, True)
    """
    found = []
    for channel in samples:
        words = np.round(np.asarray(channel, np.float64) * 32768).astype("<i4")
        if words.any():
            digest = hashlib.blake2b(words.tobytes(), digest_size=16).hexdigest()
            found.append(Fingerprint(digest, _landmarks(np.asarray(channel))))
    return found


def shares(a: Fingerprint, b: Fingerprint) -> bool:
    """Whether two channels are equal or share an excerpt (of about a second or more).

    Parameters
    ----------
    a, b : Fingerprint
        The channels.

    Returns
    -------
    bool
        True for equal samples at 16 bits, or three landmarks in common.
    """
    return a.digest == b.digest or len({*a.landmarks} & {*b.landmarks}) >= _SHARED


def overlaps(
    one: Mapping[str, Iterable[Fingerprint]], other: Mapping[str, Iterable[Fingerprint]]
) -> list[tuple[str, str]]:
    """Pairs of recordings, one of each set, that share content.

    Parameters
    ----------
    one, other : mapping of str to iterable of Fingerprint
        Channels of the recordings of the two sets, by name.

    Returns
    -------
    list of tuple of str
        Names ``(of one, of other)``, in their order.
    """
    holders: dict[str | int, list[tuple[str, int]]] = {}
    for name, channels in one.items():
        for k, channel in enumerate(channels):
            keys: list[str | int] = [channel.digest, *channel.landmarks]
            for key in keys:
                holders.setdefault(key, []).append((name, k))
    found = []
    for name, channels in other.items():
        pairs: dict[str, None] = {}
        for channel in channels:
            counts: dict[tuple[str, int], int] = {}
            for mark in channel.landmarks:
                for holder in holders.get(mark, ()):
                    counts[holder] = counts.get(holder, 0) + 1
            pairs.update((first, None) for first, _ in holders.get(channel.digest, ()))
            pairs.update((first, None) for (first, _), n in counts.items() if n >= _SHARED)
        found += [(first, name) for first in one if first in pairs]
    return found


def _landmarks(samples: np.ndarray) -> tuple[int, ...]:
    from scipy.ndimage import maximum_filter1d

    level = np.abs(samples)
    highest = maximum_filter1d(level, 2 * _REACH + 1, mode="constant")
    # Within a reach of the ends, what lies beyond could be larger.
    inside = slice(_REACH, len(level) - _REACH)
    peaks = np.flatnonzero((level == highest) & (level > 0))
    peaks = peaks[(peaks >= inside.start) & (peaks < inside.stop)]
    gaps = np.diff(peaks)
    if len(gaps) < _GAPS:
        return ()
    rows = np.lib.stride_tricks.sliding_window_view(gaps, _GAPS)
    marks = set()
    for row in rows:
        digest = hashlib.blake2b(row.astype("<i4").tobytes(), digest_size=_BITS // 8).digest()
        marks.add(int.from_bytes(digest, "big"))
    return tuple(sorted(marks))
