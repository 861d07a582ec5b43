"""Centre padding as an index map: which sample of the signal is seen at a place beside it.

Each padded sample is zero or a copy of one sample. So the matrix of the transform keeps orthogonal
columns, and least squares remains a division: what frames add up beside the signal is added to the
samples that are seen there.
"""

import numpy as np

from phaserec._xp import ArrayT, add_at, namespace, zeros

MODES = ("constant", "reflect", "symmetric", "edge", "wrap")
"""Kinds of padding, with the names and the meaning that :func:`numpy.pad` gives them."""


def check_mode(mode: str) -> str:
    """Return the kind of padding if it is one, else raise ValueError."""
    if not isinstance(mode, str) or mode not in MODES:
        allowed = ", ".join(map(repr, MODES))
        raise ValueError(f"pad_mode={mode!r} must be one of {allowed}")
    return mode


def origins(places: np.ndarray, length: int, mode: str) -> np.ndarray:
    """Sample that is seen at each place.

    Parameters
    ----------
    places : ndarray of int
        Places, counted from the first sample of the signal; any number of them, on either side.
    length : int
        Samples of the signal, one at least. Copies go on where the signal is shorter than what
        is to be padded.
    mode : str
        Kind of padding, not ``"constant"``.

    Returns
    -------
    ndarray of int
        Samples, from 0 to ``length − 1``.
    """
    if mode == "edge":
        return np.clip(places, 0, length - 1)
    if mode == "wrap":
        return places % length
    # There and back again; "symmetric" says the samples at the ends twice.
    twice = int(mode == "symmetric")
    period = max(2 * (length - 1 + twice), 1)
    places = places % period
    return np.minimum(places, period - twice - places)


def pad(x: ArrayT, begin: int, end: int, mode: str) -> ArrayT:
    """Samples of a signal that goes on at both sides.

    Parameters
    ----------
    x : array, shape (..., time)
        Signal.
    begin, end : int
        Range of places, counted from the first sample; it holds a sample of the signal.
    mode : str
        Kind of padding.

    Returns
    -------
    array, shape (..., end − begin)
        Samples.
    """
    xp = namespace(x)
    length = x.shape[-1]
    missing = max(-begin, 0), max(end - length, 0)
    if mode == "constant":
        lead = x.shape[:-1]
        before, after = (zeros((*lead, n), x) for n in missing)
    else:
        places = np.arange(-missing[0], 0), np.arange(length, length + missing[1])
        indices = (xp.asarray(origins(p, length, mode), device=x.device) for p in places)
        before, after = (xp.take(x, index, axis=-1) for index in indices)
    return xp.concat([before, x[..., max(begin, 0) : end], after], axis=-1)


def fold(total: ArrayT, offset: int, length: int, mode: str) -> ArrayT:
    """Add what lies beside a signal to the samples that are seen there: the adjoint of :func:`pad`.

    Parameters
    ----------
    total : array, shape (..., places)
        Sums, ``offset`` of them before the signal; places at the end that are not there are zero.
    offset : int
        Places that are padded at either side.
    length : int
        Samples of the signal.
    mode : str
        Kind of padding.

    Returns
    -------
    array, shape (..., length)
        Sums at the samples.
    """
    end = offset + length
    signal = total[..., offset:end]
    if signal.shape[-1] < length:  # trailing samples that no frame reaches when the hop is large
        signal = pad(signal, 0, length, "constant")
    if mode == "constant":
        return signal
    beside = namespace(total).concat([total[..., :offset], total[..., end : end + offset]], axis=-1)
    places = np.arange(beside.shape[-1])
    places = np.where(places < offset, places - offset, places - offset + length)
    return add_at(signal, origins(places, length, mode), beside)
