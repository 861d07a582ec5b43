"""Geometry of the frames, and the memory layouts the kernels work on.

A signal is kept as rows ``y[source][r][q]`` with sample ``q * hop + r``, counted from the first
sample of the first frame: sample s of consecutive frames is then contiguous in q for any hop.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from phaserec._coverage import gain_table, table_rows
from phaserec.kernels.cpu.fft import Plan, make_plan
from phaserec.kernels.cpu.lanes import lane_width

# Bytes of a cache line.
_LINE = 64
# Pairs of bins handled at a time between the forward and the inverse transform.
PAIRS = 16
# Columns converted at a time between signals and rows: what is copied stays in cache.
_COLUMNS = 1024
# Lane rows of one (re or im) tile: both bins of every pair.
TILE = 2 * PAIRS


def aligned_zeros(size: int, dtype) -> np.ndarray:
    """Zeroed 1-D array that begins on a cache line."""
    dtype = np.dtype(dtype)
    raw = np.zeros(size * dtype.itemsize + _LINE, np.uint8)
    begin = -raw.ctypes.data % _LINE
    return raw[begin : begin + size * dtype.itemsize].view(dtype)


class Geometry(NamedTuple):
    """What the compiled loop knows about the frames (see :class:`Grid`)."""

    size: int  # samples of a frame
    hop: int
    frames: int
    width: int  # frames of a block, one per lane
    blocks: int
    spill: int  # blocks after its own that a frame can reach into
    columns: int  # stride of the rows of a signal
    offset: np.ndarray  # position in a signal of sample s of frame 0
    analysis: np.ndarray  # analysis window
    synthesis: np.ndarray  # synthesis window over the steady window-square sum
    gain_of: np.ndarray  # index in ``gains`` of each block of columns, or -1
    gains: np.ndarray  # [edge block][r][lane], steady over actual window-square sum
    ramp: np.ndarray  # 0, 1, 2, ... one lane


class Frames(NamedTuple):
    """A block of frames, one in each lane."""

    first: int
    end: int  # frames of the signal: from here on they do not exist
    width: int


class Pairs(NamedTuple):
    """Bins p and h - p of a real frame, p = first .. first + count - 1."""

    first: int
    count: int
    half: int  # h


class Grid:
    """Frames of one signal length: tables, and conversions between signals and rows.

    Parameters
    ----------
    window : array (n_fft,)
        Window, padded to the frame size.
    hop : int
        At most ``n_fft``.
    frames : int
        Number of frames T.
    length : int
        Samples of the signal.
    start : int
        Samples between the first sample of the first frame and that of the signal: ``n_fft // 2``
        for centred frames, 0 otherwise.
    dtype : numpy dtype
        float32 or float64.
    shown : ndarray (length,), optional
        Gains of the samples, where copies of them beside the signal are seen as well.
    """

    def __init__(self, window, hop: int, frames: int, length: int, start: int, dtype, shown=None):
        self.dtype = np.dtype(dtype)
        self.length, self.start = length, start
        size = len(window)
        width = lane_width(self.dtype)
        depth = -(-size // hop)
        blocks = -(-frames // width)
        spill = max(1, -(-(depth - 1) // width))
        # An odd number of lanes keeps the rows off each other's cache sets.
        columns = ((blocks + 2 * spill) | 1) * width
        self.depth, self.steady = depth, gain_table(window, hop, depth)[depth - 1]
        steady = self.steady
        sample = np.arange(size)
        gain_of, gains = self._gains(window, hop, frames, width, blocks + spill, shown)
        window = np.asarray(window, np.float64)
        self.plan: Plan = make_plan(size, self.dtype)
        self.geometry = Geometry(
            size=size,
            hop=hop,
            frames=frames,
            width=width,
            blocks=blocks,
            spill=spill,
            columns=columns,
            offset=sample % hop * columns + sample // hop,
            analysis=(0.5 * window).astype(self.dtype),
            synthesis=(window * steady[sample % hop] / size).astype(self.dtype),
            gain_of=gain_of,
            gains=gains,
            ramp=np.arange(width).astype(self.dtype),
        )

    def _gains(self, window, hop, frames, width, count, shown):
        """Tabulate the edge gains of the blocks that hold a sample that is not steady."""
        steady, depth = self.steady, self.depth
        table = gain_table(window, hop, frames)
        # Columns reached by every possible frame and wholly inside the signal, without copies.
        beside = self.start if shown is not None else 0
        first = max(depth - 1, -(-(self.start + beside) // hop))
        last = min(frames, (self.start + self.length - beside) // hop)
        gain_of = np.full(count, -1, np.int64)
        tables = []
        for block in range(count):
            q = np.arange(block * width, (block + 1) * width)
            if q[0] >= first and q[-1] < last:
                continue
            place = q * hop + np.arange(hop)[:, None] - self.start
            inside = (place >= 0) & (place < self.length)
            gain = np.zeros((hop, width))
            if shown is None:
                reached = q < frames + depth - 1
                gain[:, reached] = table[table_rows(q[reached], depth, frames)].T
            else:
                gain[inside] = shown[place[inside]]
            # The synthesis window has the steady gain already, which is 0 only where all are.
            gain = np.divide(gain, steady[:, None], out=np.zeros_like(gain), where=gain > 0)
            gain_of[block] = len(tables)
            tables.append(np.where(inside, gain, 0).ravel())
        gains = aligned_zeros(max(1, len(tables)) * hop * width, self.dtype)
        if tables:
            gains[:] = np.concatenate(tables)
        return gain_of, gains

    @property
    def row_size(self) -> int:
        """Elements of one signal in row layout."""
        return self.geometry.hop * self.geometry.columns

    def zeros(self, sources: int) -> np.ndarray:
        """Silent signals in row layout."""
        return aligned_zeros(sources * self.row_size, self.dtype)

    def to_rows(self, signal) -> np.ndarray:
        """Bring signals (sources, length) to row layout; samples no frame reaches become 0."""
        geo = self.geometry
        rows = self.zeros(len(signal))
        view = rows.reshape(len(signal), geo.hop, geo.columns)
        reach = min(self.length, geo.gain_of.size * geo.width * geo.hop - self.start)
        used = -(-(self.start + reach) // geo.hop)
        for target, values in zip(view, signal, strict=True):
            for a, b, inside in self._spans(used):
                part = np.zeros((b - a) * geo.hop, self.dtype)
                first = a * geo.hop - self.start
                part[inside] = values[first + inside.start : first + inside.stop]
                target[:, a:b] = part.reshape(b - a, geo.hop).T
        covered = np.zeros(geo.hop, bool)
        covered[np.flatnonzero(geo.synthesis) % geo.hop] = True
        view[:, ~covered] = 0
        for block in np.flatnonzero(geo.gain_of >= 0):
            gain = geo.gains.reshape(-1, geo.hop, geo.width)[geo.gain_of[block]]
            view[:, :, block * geo.width : (block + 1) * geo.width] *= gain != 0
        return rows

    def from_rows(self, rows: np.ndarray, out: np.ndarray) -> None:
        """Bring signals in row layout back to zeroed signals ``out`` (sources, length)."""
        geo = self.geometry
        view = rows.reshape(len(out), geo.hop, geo.columns)
        used = min(geo.columns, -(-(self.start + self.length) // geo.hop))
        for target, source in zip(out, view, strict=True):
            for a, b, inside in self._spans(used):
                first = a * geo.hop - self.start
                part = source[:, a:b].T.reshape(-1)[inside]
                target[first + inside.start : first + inside.start + part.size] = part

    def _spans(self, used: int) -> Iterator[tuple[int, int, slice]]:
        """Columns a … b some at a time, and which of their samples are the signal's."""
        hop = self.geometry.hop
        for a in range(0, used, _COLUMNS):
            b = min(a + _COLUMNS, used)
            first = max(self.start - a * hop, 0)
            last = min(self.start + self.length - a * hop, (b - a) * hop)
            if first < last:
                yield a, b, slice(first, last)

    @property
    def chunks(self) -> int:
        """Number of groups of ``PAIRS`` pairs of bins."""
        return -(-(self.plan.half // 2 + 1) // PAIRS)

    def state(self, sources: int) -> np.ndarray:
        """Zeroed state spectrograms: ``[block][group][chunk][source][re, im][bin][lane]``."""
        size = self.geometry.blocks * self.chunks * sources * 2 * TILE * self.geometry.width
        return aligned_zeros(size, self.dtype)


class Spectrogram(NamedTuple):
    """A caller's array (sources, F, T), never copied: flat data and strides counted in reals."""

    data: np.ndarray
    sources: int
    source_step: int
    bin_step: int
    frame_step: int
    origin: int  # frame that the array begins with


class _Writable:
    """Memory as if it were writable: a read-only flag would make numba compile a second version."""

    def __init__(self, array, size, dtype):
        self.owner = array
        self.__array_interface__ = {
            "data": (array.__array_interface__["data"][0], False),
            "shape": (size,),
            "typestr": dtype.str,
            "version": 3,
        }


def wrap(array: np.ndarray, origin: int = 0) -> Spectrogram:
    """A real or complex array (sources, F, T) as the kernels read it.

    Time or frequency must be contiguous; an array that is neither is copied.
    """
    steps = [s // array.itemsize for s in array.strides]
    unit = steps[2] == 1 or steps[1] == 1
    whole = all(s % array.itemsize == 0 for s in array.strides)
    if array.size == 0 or not unit or not whole or min(steps) < 0:
        array = np.ascontiguousarray(array)
        steps = [s // array.itemsize for s in array.strides]
    real = array.real.dtype
    pieces = array.itemsize // real.itemsize
    extent = 1 + sum((n - 1) * s for n, s in zip(array.shape, steps, strict=True))
    data = np.asarray(_Writable(array, extent * pieces, real))
    return Spectrogram(
        data=data,
        sources=array.shape[0],
        source_step=steps[0] * pieces,
        bin_step=steps[1] * pieces,
        frame_step=steps[2] * pieces,
        origin=origin,
    )


def no_spectrogram(dtype) -> Spectrogram:
    """What stands for an absent spectrogram."""
    return Spectrogram(
        data=np.zeros(1, dtype), sources=0, source_step=0, bin_step=0, frame_step=0, origin=0
    )
