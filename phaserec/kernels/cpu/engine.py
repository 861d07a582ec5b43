"""The fused iteration: one pass over blocks of frames does everything for a block in cache.

For each block: read and window the frames, transform, apply the bin rule, transform back, window
and overlap-add.  The signal is updated in place: a finished block of columns is written after
the last frame that reads it.

Which block goes through which iteration when is in :mod:`.sweep`, and how threads wait for each
other in :mod:`.handover`.  Sums are always made in the same order.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from . import handover
from .fft import forward, inverse, merge, split
from .handover import FIRST, LEFT, LINE, RANGES, SEAMS, meet, read, wait, write
from .lanes import load, prefetch, select, spread, store
from .layout import PAIRS, TILE, Grid, aligned_zeros, no_spectrogram, wrap
from .overlap import overlap_add
from .sweep import (
    Sweep,
    divide,
    is_close,
    is_held,
    near_blocks,
    range_visits,
    seam_begins,
    steps,
    visit,
)
from .tiles import load_complex, load_real


class Job(NamedTuple):
    """What one thread does."""

    sources: int
    group: int  # sources given to the bin rule together: all of them, or 1
    analyse: int  # 0 when the rule does not look at the current signal
    mixed: int  # 1 when its complex spectrogram is that of the mixture in `side`
    iterations: int
    depth: int  # iterations of a sweep
    stretch: int  # blocks that go through one of them before the next one follows
    part: int
    parts: int
    play: int  # blocks that a seam may move from its first place
    first: int  # first block
    last: int  # one past the last block
    begins: int  # 0 when the columns pending from the blocks before are in `tails`
    ends: int  # 0 when more blocks follow in another call


class Work(NamedTuple):
    """Buffers of one thread, but for `tails`, which holds those of all."""

    z: np.ndarray  # spectra of a group of sources
    c: np.ndarray  # [source][re, im][bin][lane]: bins given to and taken from the rule
    v: np.ndarray  # [source][bin][lane]: target magnitudes
    x: np.ndarray  # [source][re, im][bin][lane]: given spectrogram
    tails: np.ndarray  # [part][odd sweep][level][source][r][column]: pending overlap-add
    held: np.ndarray  # [level][block][source][r][lane]: columns waiting for the range before


@njit(cache=True, nogil=True, error_model="numpy")
def _drop_missing(geo, z, rows, valid):
    """Silence the lanes of frames that do not exist."""
    exists = load(geo.ramp, 0) < valid
    for row in range(rows):
        store(z, row * geo.width, select(exists, load(z, row * geo.width), 0.0))


@njit(cache=True, nogil=True, error_model="numpy")
def _apply_gain(geo, block, tile, at, stride, rows):
    """Correct the normalisation of a block of columns near an edge."""
    edge = geo.gain_of[block]
    if edge < 0:
        return
    for i in range(rows):
        gain = load(geo.gains, (edge * geo.hop + i % geo.hop) * geo.width)
        store(tile, at + i * stride, load(tile, at + i * stride) * gain)


# Inlined: a function passed to a real call is a run-time address, and those are not cached.
@njit(nogil=True, error_model="numpy", inline="always")
def _advance(rule, plan, geo, v, x, signal, side, state, hyper, work, job, block, pending):
    """Take a block of frames through an iteration, up to the overlap-add from `pending` on."""
    width, sources, group = geo.width, job.sources, job.group
    pairs = plan.half // 2 + 1
    chunks = (pairs + PAIRS - 1) // PAIRS
    frame = block * width
    if job.mixed:
        # Cheaper than keeping the mixture's spectrogram: one transform for all sources.
        forward(plan, side, frame, geo.offset, geo.analysis, work.z, group * plan.rows)
    for base in range(0, sources, group):
        for j in range(group):
            if job.analyse:
                at = (base + j) * geo.hop * geo.columns + frame
                forward(plan, signal, at, geo.offset, geo.analysis, work.z, j * plan.rows)
        for chunk in range(chunks):
            first = chunk * PAIRS
            count = min(PAIRS, pairs - first)
            for j in range(group):
                re, im = 2 * j * TILE, (2 * j + 1) * TILE
                if job.analyse:
                    split(plan, work.z, j * plan.rows, width, first, count, work.c, re, im)
                if v.sources:
                    load_real(
                        v,
                        base + j,
                        frame,
                        geo.frames,
                        width,
                        first,
                        plan.half,
                        count,
                        work.v,
                        j * TILE,
                    )
            if job.mixed:
                above = group * plan.rows
                split(plan, work.z, above, width, first, count, work.x, 0, TILE)
            for j in range(min(x.sources, group)):
                load_complex(
                    x,
                    min(base + j, x.sources - 1),
                    frame - x.origin,
                    geo.frames - x.origin,
                    width,
                    first,
                    plan.half,
                    count,
                    work.x,
                    2 * j * TILE,
                )
            s0 = ((block * sources + base) * chunks + chunk * group) * 2 * TILE
            if state.size > width:
                # Two chunks ahead: nearer ones are on their way, farther ones get lost.
                rows_ahead = s0 + 2 * group * 2 * TILE
                for i in range(group * 2 * TILE):
                    prefetch(state, (rows_ahead + i) * width)
            rule(work.c, state, s0, work.v, work.x, hyper, group, 2 * count, width)
            for j in range(group):
                re, im = 2 * j * TILE, (2 * j + 1) * TILE
                if chunk == 0:
                    # A real frame has no imaginary part in its first and last bin.
                    store(work.c, im * width, spread(work.c, 0))
                    store(work.c, (im + count) * width, spread(work.c, 0))
                merge(plan, work.z, j * plan.rows, width, first, count, work.c, re, im)
        if frame + width > geo.frames:
            _drop_missing(geo, work.z, group * plan.rows * 2, geo.frames - frame)
        for j in range(group):
            inverse(plan, work.z, j * plan.rows, geo.synthesis)
            to = pending + (base + j) * geo.hop * width * (geo.spill + 1)
            overlap_add(geo, plan, work.z, 2 * j * plan.rows, work.tails, to)


@njit(cache=True, nogil=True, error_model="numpy")
def _end_range(notes, job, sweep, levels, again):
    """Tell the neighbours that a range is done; return its next bounds, or -1 when aborted."""
    part = job.part
    first, last = job.first, job.last
    if part < job.parts - 1 and not wait(notes, part + 1, SEAMS, sweep):
        return -1, -1
    if job.play and again:
        # Before the neighbours may go on, so that none is a sweep ahead when a seam is placed.
        if part > 0:
            if not meet(notes, part, part - 1, sweep, levels, first, job.play):
                return -1, -1
            first = read(notes, part * LINE + FIRST)
        if part < job.parts - 1:
            if not meet(notes, part + 1, part + 1, sweep, levels, last, job.play):
                return -1, -1
            last = read(notes, (part + 1) * LINE + FIRST)
    write(notes, part * LINE + RANGES, sweep + 1)
    if part > 0 and not wait(notes, part - 1, RANGES, sweep + 1):
        return -1, -1
    return first, last


# Inlined for the same reason.
@njit(nogil=True, error_model="numpy", inline="always")
def iterate(rule, finish, plan, geo, v, x, signal, side, state, hyper, work, notes, job):
    """Run the iterations of one thread.

    Parameters
    ----------
    rule : jitted ``rule(c, s, s0, v, x, hyper, sources, count, width)``
        Replaces ``count`` bins of ``sources`` sources in tile ``c``: element (j, part, i) is the
        lane vector at ``((2 * j + part) * TILE + i) * width``; the same in ``x``, and in the
        state ``s`` from lane row ``s0`` on; magnitudes are at ``(j * TILE + i) * width`` of ``v``.
    finish : jitted ``finish(tile, at, stride, signal, side, column, geo, hyper, sources)``
        Stores a finished block of columns: row i = j * hop + r is the lane vector at
        ``at + i * stride`` of ``tile``, and belongs at ``i * geo.columns + column`` of ``signal``.
    plan, geo
        `fft.Plan` and `layout.Geometry`.
    v, x : layout.Spectrogram
        Target magnitudes, and a complex spectrogram (of one or of all sources).
    signal, side : 1-D arrays
        Signals in row layout: the iterate, and whatever else `finish` needs.
    state : 1-D array
        State spectrogram, `Grid.state`.
    hyper : 1-D array
        Parameters of the algorithm.
    """
    width, spill = geo.width, geo.spill
    rows = job.sources * geo.hop
    stride = width * (spill + 1)
    tails = work.tails
    before, after = job.part > 0, job.part < job.parts - 1
    ends = job.ends and not after
    first, last = job.first, job.last
    next_first, next_last = first, last
    # From this block on the seam after the range must be done with the sweep before.
    free = last
    done = 0
    turn = 0
    while done < job.iterations:
        levels = min(job.depth, job.iterations - done)
        sweep = Sweep(levels, spill, job.stretch, first, last, before, after, ends)
        done += levels
        odd = turn % 2 if job.parts > 1 else 0
        if job.begins:
            begin = (2 * job.part + odd) * job.depth * rows * stride
            tails[begin : begin + levels * rows * stride] = 0
        left = range_visits(sweep)
        # The thread's own range; then, where another lies before it, the seam between the two.
        for seam in range(2):
            if seam:
                again = done < job.iterations
                next_first, next_last = _end_range(notes, job, turn, levels, again)
                if next_last < 0:
                    return
            for step in range(steps(sweep, seam)):
                at = visit(sweep, seam, step)
                pending = (2 * (job.part - seam) + odd) * job.depth + at.level
                pending *= rows * stride
                held = at.level * spill * rows * width
                if at.low <= at.block < at.high:
                    block = at.block
                    if not seam:
                        if after and block >= free and not wait(notes, job.part + 1, SEAMS, turn):
                            return
                        write(notes, job.part * LINE + LEFT, left)
                        left -= 1
                    _advance(
                        rule, plan, geo, v, x, signal, side, state, hyper, work, job, block, pending
                    )
                    for i in range(rows):
                        # The next block reaches one line further than this one did.
                        prefetch(signal, i * geo.columns + (block + 2) * width)
                    if is_held(sweep, seam, at):
                        to = held + (block - at.low) * rows * width
                        for i in range(rows):
                            store(work.held, to + i * width, load(tails, pending + i * stride))
                    else:
                        to = block * width
                        _apply_gain(geo, block, tails, pending, stride, rows)
                        finish(tails, pending, stride, signal, side, to, geo, hyper, job.sources)
                for k in range(spill if is_close(sweep, seam, at) else 0):
                    # Columns that the blocks before have begun.
                    column = at.high + k
                    begun = pending + (k + 1) * width
                    if seam:
                        for i in range(rows):
                            to = begun + i * stride
                            later = load(work.held, held + (k * rows + i) * width)
                            store(tails, to, later + load(tails, to))
                    _apply_gain(geo, column, tails, begun, stride, rows)
                    to = column * width
                    finish(tails, begun, stride, signal, side, to, geo, hyper, job.sources)
        free = seam_begins(sweep)
        first, last = next_first, next_last
        turn += 1
        write(notes, job.part * LINE + SEAMS, turn)


@dataclass(frozen=True)
class Pass:
    """A compiled entry with everything it works on.

    Attributes
    ----------
    entry : jitted function
        ``entry(plan, geo, v, x, signal, side, state, hyper, work, notes, job)``, which calls
        :func:`iterate` with its rules.
    grid : Grid
        The frames.
    sources : int
        Number of sources J.
    v : ndarray, shape (J, F, T)
        The caller's magnitudes.
    signal, side, state : ndarray
        Signals in row layout and state spectrograms, updated in place.
    hyper : sequence of float
        Table of the rules.
    coupled : bool
        Whether the bin rule takes all sources of a bin together.
    analyse : bool
        Whether it looks at the current signal.
    mixed : bool
        Whether the spectrogram it reads is that of the mixture, which ``side`` begins with.
    """

    entry: Any
    grid: Grid
    sources: int
    v: np.ndarray
    signal: np.ndarray
    side: np.ndarray
    state: np.ndarray
    hyper: Sequence[float]
    coupled: bool
    analyse: bool
    mixed: bool

    def run(self, x: np.ndarray | None, iterations: int, threads: int) -> None:
        """Run iterations on several threads.

        Parameters
        ----------
        x : ndarray, shape (1 or J, F, T), or None
            Complex spectrogram that the rule reads.
        iterations : int
            Number of iterations.
        threads : int
            Number of threads, at most.
        """
        geo = self.grid.geometry
        division = divide(
            geo.blocks,
            geo.spill,
            iterations=iterations,
            threads=threads,
            stretch=self._stretch,
            # Where the sums of a column have more than two terms, where a range begins shows in
            # their last bits.
            movable=geo.size <= geo.hop * geo.width,
        )
        bounds, depth, play = division.bounds, division.depth, division.play
        parts = len(bounds) - 1
        notes = handover.make_notes(bounds)
        tails = self._tails(2 * parts * depth if parts > 1 else depth)
        shared = self._shared(x, 0)
        calls = []
        for part in range(parts):
            span = bounds[part], bounds[part + 1]
            job = self._job(iterations, depth, part, parts, play, *span, 1, 1)
            calls.append((*shared, self._work(tails, depth if part else 0), notes, job))
        _run_together(self.entry, calls, notes)

    def run_once(self, parts: Iterable[np.ndarray], blocks: int) -> None:
        """Run one iteration on a spectrogram that comes in parts.

        Parameters
        ----------
        parts : iterable of ndarray, shape (1 or J, F, frames)
            Complex spectrogram, ``blocks`` blocks of frames at a time.
        blocks : int
            Blocks of each part but the last.
        """
        geo = self.grid.geometry
        work, notes = self._work(self._tails(1), 0), handover.make_notes([0, geo.blocks])
        for first, x in zip(range(0, geo.blocks, blocks), parts, strict=True):
            last = min(first + blocks, geo.blocks)
            ends = int(first == 0), int(last == geo.blocks)
            job = self._job(1, 1, 0, 1, 0, first, last, *ends)
            self.entry(*self._shared(x, first * geo.width), work, notes, job)

    def _shared(self, x: np.ndarray | None, origin: int) -> tuple:
        return (
            self.grid.plan,
            self.grid.geometry,
            wrap(self.v),
            no_spectrogram(self.grid.dtype) if x is None else wrap(x, origin),
            self.signal,
            self.side,
            self.state,
            np.array([*self.hyper, 0.0], self.grid.dtype),
        )

    def _tails(self, count: int) -> np.ndarray:
        geo = self.grid.geometry
        size = count * self.sources * geo.hop * geo.width * (geo.spill + 1)
        return aligned_zeros(size, self.grid.dtype)

    def _work(self, tails: np.ndarray, levels: int) -> Work:
        geo, dtype = self.grid.geometry, self.grid.dtype
        group = self.sources if self.coupled else 1
        held = max(1, levels * geo.spill * self.sources * geo.hop * geo.width)
        return Work(
            z=aligned_zeros((group + self.mixed) * self.grid.plan.rows * 2 * geo.width, dtype),
            c=aligned_zeros(group * 2 * TILE * geo.width, dtype),
            v=aligned_zeros(group * TILE * geo.width, dtype),
            x=aligned_zeros(group * 2 * TILE * geo.width, dtype),
            tails=tails,
            held=aligned_zeros(held, dtype),
        )

    def _job(self, iterations: int, depth: int, part: int, parts: int, *span: int) -> Job:
        group = self.sources if self.coupled else 1
        what = int(self.analyse), int(self.mixed)
        stretch = self._stretch
        return Job(self.sources, group, *what, iterations, depth, stretch, part, parts, *span)

    @property
    def _stretch(self) -> int:
        """Blocks that are near together with their signals, magnitudes and spectrograms."""
        size = sum(array.nbytes for array in (self.signal, self.side, self.v, self.state))
        return near_blocks(self.grid.geometry.blocks, size)


def _run_together(entry, calls, notes) -> None:
    """Run the calls at once, the first in this thread; threads do not outlive the call."""
    failures = []

    def task(call):
        try:
            entry(*call)
        except BaseException as error:
            failures.append(error)
            handover.abort(notes)

    others = []
    try:
        for call in calls[1:]:
            other = threading.Thread(target=task, args=(call,), daemon=True)
            other.start()
            others.append(other)
    except BaseException:
        # The threads already running would wait for ever for those that never came.
        handover.abort(notes)
        raise
    task(calls[0])
    for other in others:
        other.join()
    if failures:
        raise failures[0]
