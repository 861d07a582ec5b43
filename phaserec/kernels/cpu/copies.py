"""Centre padding with copies of samples: what a pass leaves undone at both ends of a signal.

A pass makes signals of the frames' sums as if nothing lay beside them. Where copies do, least
squares adds what frames hold of a copy to the sample that it is a copy of, before it divides. The
sample rule is linear, so that is added afterwards, to the few samples that have copies; and the
copies are written beside the signal, where the frames of the next pass read them.
"""

from typing import Any

import numpy as np

from phaserec._padding import origins
from phaserec.kernels.cpu.layout import Grid
from phaserec.stft import STFT


class Copies:
    """Places beside a signal that frames see, and the samples that are seen there.

    Parameters
    ----------
    grid : Grid
        The frames; its gains count the windows that see copies.
    stft : STFT
        The transform, padded with copies.
    """

    def __init__(self, grid: Grid, stft: STFT) -> None:
        geo, self.grid = grid.geometry, grid
        end = grid.length + stft.offset
        places = np.concatenate([np.arange(-stft.offset, 0), np.arange(grid.length, end)])
        of = origins(places, grid.length, stft.padding)
        self._places, self._origins = (self._rows(p) for p in (places, of))
        # Sums of the columns there, and the factors that make of them what the samples lack.
        column, self._r = np.divmod(places + grid.start, geo.hop)
        edge = geo.gain_of[np.minimum(column // geo.width, geo.gain_of.size - 1)]
        reached = column < geo.frames + grid.depth - 1
        self._block, self._lane = np.where(reached, edge, 0), column % geo.width
        gains = stft.gains(grid.length, np.zeros(1))[of] / grid.steady[self._r]
        self._factors = np.where(reached, gains, 0).astype(grid.dtype)

    def _rows(self, places: np.ndarray) -> np.ndarray:
        """Positions in the rows of a signal."""
        geo = self.grid.geometry
        column, r = np.divmod(places + self.grid.start, geo.hop)
        return r * geo.columns + column

    def show(self, rows: np.ndarray) -> None:
        """Write the copies beside signals in row layout."""
        signals = rows.reshape(-1, self.grid.row_size)
        signals[:, self._places] = signals[:, self._origins]

    def add(self, rows: np.ndarray, sums: np.ndarray, mixing: Any) -> None:
        """Add what frames hold of the copies to signals in row layout.

        Parameters
        ----------
        rows : ndarray
            Signals of J sources.
        sums : ndarray
            Columns at the edges as :func:`.engine.iterate` leaves them.
        mixing : tuple of float
            What the sample rule takes of the sums, and of the mixing error of the sums.
        """
        geo = self.grid.geometry
        signals = rows.reshape(-1, self.grid.row_size)
        tiles = sums.reshape(-1, len(signals), geo.hop, geo.width)
        lacking = self._factors * tiles[self._block, :, self._r, self._lane].T
        direct, error = mixing
        lacking = direct * lacking - error * lacking.mean(axis=0)
        for signal, values in zip(signals, lacking.astype(self.grid.dtype), strict=True):
            np.add.at(signal, self._origins, values)
