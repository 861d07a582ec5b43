"""How well frames see each sample: what the inverse transform divides by, and where it does not.

Positions are in columns of one hop, counted from the first sample of the first frame. All but the
first and the last few columns are seen alike, so a table of few columns serves any length.
"""

import numpy as np

SEEN = 1e-3
"""Samples belong to the signals of a problem where their summed squared window exceeds this
fraction of its maximum; the others are zero. At most this much is lost at an edge, and least
squares divides by nothing smaller (docs/ideas.rst has the measurements)."""


def square_table(window: np.ndarray, hop: int, n_frames: int) -> np.ndarray:
    """Summed squared window at each sample that frames reach.

    Parameters
    ----------
    window : ndarray, shape (n_fft,)
        Window of a frame.
    hop : int
        Samples between frames.
    n_frames : int
        Number of frames T.

    Returns
    -------
    ndarray, shape (min(T, D) + D − 1, hop)
        float64, with D = ⌈n_fft / hop⌉ the columns of a frame; :func:`table_rows` tells which row
        a column of the signal has.
    """
    squares = _squares(window, hop)
    depth = len(squares)
    totals = np.zeros((min(n_frames, depth) + depth - 1, hop))
    for frame in range(min(n_frames, depth)):
        totals[frame : frame + depth] += squares
    return totals


def gains_of(totals: np.ndarray, window: np.ndarray, hop: int) -> np.ndarray:
    """One over the summed squared window, 0 where a sample is not seen well enough.

    Parameters
    ----------
    totals : ndarray
        Summed squared windows.
    window : ndarray, shape (n_fft,)
        Window of a frame.
    hop : int
        Samples between frames.

    Returns
    -------
    ndarray
        float64, of the shape of ``totals``.
    """
    seen = totals > least_seen(window, hop)
    return np.where(seen, 1 / np.where(seen, totals, 1), 0)


def least_seen(window: np.ndarray, hop: int) -> float:
    """Summed squared window that a sample must have more of to be seen."""
    return SEEN * float(_squares(window, hop).sum(axis=0).max())


def gain_table(window: np.ndarray, hop: int, n_frames: int) -> np.ndarray:
    """Gains of the samples that frames reach: :func:`gains_of` of :func:`square_table`."""
    return gains_of(square_table(window, hop, n_frames), window, hop)


def _squares(window: np.ndarray, hop: int) -> np.ndarray:
    """Squared window in columns of one hop, ``(D, hop)``."""
    squares = np.zeros((-(-len(window) // hop), hop))
    squares.reshape(-1)[: len(window)] = np.asarray(window, np.float64) ** 2
    return squares


def table_rows(columns: np.ndarray, depth: int, n_frames: int) -> np.ndarray:
    """Row of the table of each column of a signal.

    Parameters
    ----------
    columns : ndarray of int
        Columns, between 0 and T + D − 2.
    depth : int
        Columns D of a frame.
    n_frames : int
        Number of frames T.

    Returns
    -------
    ndarray of int
        Rows: one for each column at either end, one for all between.
    """
    between = max(n_frames - depth, 0)
    return columns - np.clip(columns - (depth - 1), 0, between)
