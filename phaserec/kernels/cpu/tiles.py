"""Small tiles of a caller's spectrogram as lane rows.

A tile holds, for the pairs p = first .. first + count - 1 of a block of frames, bin p in row
``p - first`` and bin h - p in row ``count + p - first``. Frames past the last one read as zero.
"""

from phaserec._caching import jitted
from phaserec.kernels.cpu.lanes import (
    load,
    prefetch,
    split_pairs,
    store,
    transpose,
    transpose_pairs,
)
from phaserec.kernels.cpu.layout import TILE


@jitted
def _slow_tile(source, at, frames, pairs, pieces, begin, tile, row):
    """Load pairs begin .. count - 1 one number at a time."""
    first, width = frames.first - source.origin, frames.width
    end = frames.end - source.origin
    for i in range(begin, pairs.count):
        for side in range(2):
            k = pairs.half - pairs.first - i if side else pairs.first + i
            for piece in range(pieces):
                to = (row + piece * TILE + side * pairs.count + i) * width
                for lane in range(width):
                    value = tile[0] * 0
                    if first + lane < end:
                        value = source.data[
                            at + k * source.bin_step + (first + lane) * source.frame_step + piece
                        ]
                    tile[to + lane] = value


@jitted
def load_real(source, index, frames, pairs, tile, row):
    """Load a tile of a real spectrogram into ``count * 2`` rows of ``tile`` from ``row`` on."""
    at = index * source.source_step
    frame, width, count = frames.first - source.origin, frames.width, pairs.count
    done = 0
    if frames.first + width <= frames.end:
        if source.frame_step == 1:
            for i in range(count):
                low = at + (pairs.first + i) * source.bin_step + frame
                high = at + (pairs.half - pairs.first - i) * source.bin_step + frame
                store(tile, (row + i) * width, load(source.data, low))
                store(tile, (row + count + i) * width, load(source.data, high))
                # The next block comes one whole block of work later.
                prefetch(source.data, low + 2 * width - 1)
                prefetch(source.data, high + 2 * width - 1)
            done = count
        else:
            step = source.frame_step
            at_frame = at + frame * step
            for i in range(0, count - width + 1, width):
                low = at_frame + pairs.first + i
                high = at_frame + pairs.half - pairs.first - i - width + 1
                for lane in range(width):
                    ahead = (width + lane) * step + width
                    prefetch(source.data, low + ahead)
                    prefetch(source.data, high + ahead)
                transpose(source.data, low, step, tile, row + i, 1)
                transpose(source.data, high, step, tile, row + count + i + width - 1, -1)
                done = i + width
    if done < count:
        _slow_tile(source, at, frames, pairs, 1, done, tile, row)


@jitted
def load_complex(source, index, frames, pairs, tile, row):
    """Load a tile of a complex spectrogram; imaginary parts go ``TILE`` rows further."""
    at = index * source.source_step
    frame, width, count = frames.first - source.origin, frames.width, pairs.count
    done = 0
    if frames.first + width <= frames.end:
        if source.frame_step == 2:
            for i in range(count):
                low = at + (pairs.first + i) * source.bin_step + 2 * frame
                high = at + (pairs.half - pairs.first - i) * source.bin_step + 2 * frame
                split_pairs(source.data, low, tile, row + i, TILE)
                split_pairs(source.data, high, tile, row + count + i, TILE)
                for ahead in (3 * width - 1, 4 * width - 1):
                    prefetch(source.data, low + ahead)
                    prefetch(source.data, high + ahead)
            done = count
        else:
            step = source.frame_step
            at_frame = at + frame * step
            for i in range(0, count - width + 1, width):
                low = at_frame + 2 * (pairs.first + i)
                high = at_frame + 2 * (pairs.half - pairs.first - i - width + 1)
                up = row + count + i + width - 1
                transpose_pairs(source.data, low, step, tile, row + i, 1, TILE)
                transpose_pairs(source.data, high, step, tile, up, -1, TILE)
                done = i + width
    if done < count:
        _slow_tile(source, at, frames, pairs, 2, done, tile, row)
