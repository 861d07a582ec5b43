"""The fused pass over blocks of frames: everything for a block is done while it is in cache.

For each block: read and window the frames, transform, apply the bin rule, transform back, window
and overlap-add. The signal is updated in place: a finished block of columns is written after
the last frame that reads it.

Passes follow each other in a cycle, each with rules of its own. Which block goes through which pass
when is in :mod:`.sweep`, and how threads wait for each other in :mod:`.handover`. Sums are always
made in the same order.
"""

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numba import njit, typeof

from phaserec._caching import jitted
from phaserec.kernels.cpu import handover
from phaserec.kernels.cpu.fft import Plan, forward, inverse, merge, split
from phaserec.kernels.cpu.handover import FIRST, LEFT, LINE, RANGES, SEAMS, meet, read, wait, write
from phaserec.kernels.cpu.lanes import load, prefetch, select, spread, store
from phaserec.kernels.cpu.layout import (
    PAIRS,
    TILE,
    Frames,
    Geometry,
    Grid,
    Pairs,
    Spectrogram,
    aligned_zeros,
    no_spectrogram,
    wrap,
)
from phaserec.kernels.cpu.overlap import overlap_add
from phaserec.kernels.cpu.rules import Rules, call_finish, call_rule
from phaserec.kernels.cpu.sweep import (
    Share,
    divide,
    is_close,
    is_held,
    near_blocks,
    next_sweep,
    range_visits,
    seam_begins,
    shares,
    steps,
    visit,
)
from phaserec.kernels.cpu.tiles import load_complex, load_real


class Task(NamedTuple):
    """What the bin rule is given."""

    sources: int
    group: int  # sources given together: all of them, or 1
    plane: int  # elements of the state from one stored spectrogram to the next


# Entries of a pass in ``Data.cycle``: addresses of its rules, and what the bin rule looks at.
_RULE, _FINISH, _SIGNAL, _SPECTROGRAM, _MIXTURE, _WEIGHTS = range(6)


class Data(NamedTuple):
    """What all threads of a call work on."""

    plan: Plan
    geo: Geometry
    v: Spectrogram  # target magnitudes
    w: Spectrogram  # mixing weights of the caller's
    x: Spectrogram  # complex spectrogram of one or of all sources
    signal: np.ndarray  # the iterate in row layout
    side: np.ndarray  # whatever else the sample rule needs, in row layout
    state: np.ndarray  # state spectrograms, as ``Grid.state`` makes them
    cycle: np.ndarray  # [pass][entry]: the rules that take turns, as integers
    hyper: np.ndarray  # [pass][number]: their tables
    sums: np.ndarray  # [edge block][source][r][lane]: columns before their gains, if wanted
    task: Task


class Work(NamedTuple):
    """Buffers of one thread, but for ``tails``, which holds those of all."""

    z: np.ndarray  # spectra of a group of sources
    c: np.ndarray  # [source][re, im][bin][lane]: bins given to and taken from the rule
    v: np.ndarray  # [source][bin][lane]: target magnitudes
    w: np.ndarray  # the same: mixing weights
    x: np.ndarray  # [source][re, im][bin][lane]: given spectrogram
    tails: np.ndarray  # [part][odd sweep][level][source][r][column]: pending overlap-add
    held: np.ndarray  # [level][block][source][r][lane]: columns waiting for the range before


# What is done for every few bins stays in one function: numba counts references to all arrays that
# it hands to another one, inlined or not.
_inlined = njit(nogil=True, error_model="numpy", inline="always")


@jitted
def _drop_missing(geo, z, rows, valid):
    """Silence the lanes of frames that do not exist."""
    exists = load(geo.ramp, 0) < valid
    for row in range(rows):
        store(z, row * geo.width, select(exists, load(z, row * geo.width), 0.0))


@jitted
def _apply_gain(geo, block, tile, at, stride, rows, sums):
    """Correct the normalisation of a block of columns near an edge; the sums are kept if wanted."""
    edge = geo.gain_of[block]
    if edge < 0:
        return
    if sums.size > 1:
        for i in range(rows):
            store(sums, (edge * rows + i) * geo.width, load(tile, at + i * stride))
    for i in range(rows):
        gain = load(geo.gains, (edge * geo.hop + i % geo.hop) * geo.width)
        store(tile, at + i * stride, load(tile, at + i * stride) * gain)


@_inlined
def _advance(step, plan, geo, v, w, x, signal, side, state, hyper, task, work, block, pending):
    """Take a block of frames through a pass, up to the overlap-add from ``pending`` on."""
    width, sources, group = geo.width, task.sources, task.group
    all_pairs = plan.half // 2 + 1
    chunks = (all_pairs + PAIRS - 1) // PAIRS
    frames = Frames(first=block * width, end=geo.frames, width=width)
    if step[_MIXTURE]:
        # Cheaper than keeping the mixture's spectrogram: one transform for all sources.
        above = group * plan.rows
        forward(plan, side, frames.first, geo.offset, geo.analysis, work.z, above)
    for base in range(0, sources, group):
        for j in range(group):
            if step[_SIGNAL]:
                at = (base + j) * geo.hop * geo.columns + frames.first
                forward(plan, signal, at, geo.offset, geo.analysis, work.z, j * plan.rows)
        for chunk in range(chunks):
            first = chunk * PAIRS
            pairs = Pairs(first=first, count=min(PAIRS, all_pairs - first), half=plan.half)
            for j in range(group):
                re, im = 2 * j * TILE, (2 * j + 1) * TILE
                if step[_SIGNAL]:
                    split(plan, work.z, j * plan.rows, width, pairs, work.c, re, im)
                if v.sources:
                    load_real(v, base + j, frames, pairs, work.v, j * TILE)
                if step[_WEIGHTS]:
                    load_real(w, base + j, frames, pairs, work.w, j * TILE)
            if step[_MIXTURE]:
                split(plan, work.z, group * plan.rows, width, pairs, work.x, 0, TILE)
            for j in range(min(x.sources, group) if step[_SPECTROGRAM] else 0):
                source = min(base + j, x.sources - 1)
                load_complex(x, source, frames, pairs, work.x, 2 * j * TILE)
            s0 = ((block * sources + base) * chunks + chunk * group) * 2 * TILE
            if state.size > width:
                # Two chunks ahead: nearer ones are on their way, farther ones get lost.
                rows_ahead = s0 + 2 * group * 2 * TILE
                for i in range(group * 2 * TILE):
                    prefetch(state, (rows_ahead + i) * width)
            call_rule(
                step[_RULE],
                work.c,
                state,
                task.plane,
                s0,
                work.v,
                work.x,
                work.w,
                hyper,
                group,
                2 * pairs.count,
            )
            for j in range(group):
                re, im = 2 * j * TILE, (2 * j + 1) * TILE
                if chunk == 0:
                    # A real frame has no imaginary part in its first and last bin.
                    store(work.c, im * width, spread(work.c, 0))
                    store(work.c, (im + pairs.count) * width, spread(work.c, 0))
                merge(plan, work.z, j * plan.rows, width, pairs, work.c, re, im)
        if frames.first + width > frames.end:
            _drop_missing(geo, work.z, group * plan.rows * 2, frames.end - frames.first)
        for j in range(group):
            inverse(plan, work.z, j * plan.rows, geo.synthesis)
            to = pending + (base + j) * geo.hop * width * (geo.spill + 1)
            overlap_add(geo, plan, work.z, 2 * j * plan.rows, work.tails, to)


@_inlined
def _complete(step, geo, signal, side, sums, hyper, task, work, column, at, stride):
    """Store a block of columns that no later frame touches: its lanes begin at ``at``."""
    _apply_gain(geo, column, work.tails, at, stride, task.sources * geo.hop, sums)
    call_finish(
        step[_FINISH],
        work.tails,
        at,
        stride,
        signal,
        side,
        column * geo.width,
        geo.hop,
        geo.columns,
        hyper,
        task.sources,
    )


@jitted
def _hold(work, to, width, at, stride, rows):
    """Keep a block of columns that the range before adds to."""
    for i in range(rows):
        store(work.held, to + i * width, load(work.tails, at + i * stride))


@jitted
def _add_held(work, held, width, at, stride, rows):
    """Add a block of columns kept to what the range before has added to it."""
    for i in range(rows):
        to = at + i * stride
        later = load(work.held, held + i * width)
        store(work.tails, to, later + load(work.tails, to))


@jitted
def _end_range(notes, share, turn, levels, again):
    """Tell the neighbours that a range is done: its next bounds, or -1 when aborted."""
    part, play = share.part, share.play
    first, last = share.first, share.last
    after = part < share.parts - 1
    if after and not wait(notes, part + 1, SEAMS, turn):
        return -1, -1
    if play and again:
        # Before the neighbours may go on, so that none is a sweep ahead when a seam is placed.
        if part > 0:
            if not meet(notes, part, part - 1, turn=turn, levels=levels, home=first, play=play):
                return -1, -1
            first = read(notes, part * LINE + FIRST)
        if after:
            if not meet(notes, part + 1, part + 1, turn=turn, levels=levels, home=last, play=play):
                return -1, -1
            last = read(notes, (part + 1) * LINE + FIRST)
    write(notes, part * LINE + RANGES, turn + 1)
    if part > 0 and not wait(notes, part - 1, RANGES, turn + 1):
        return -1, -1
    return first, last


@jitted
def _slot(share, part, turn, level):
    """Number of the pending columns of a range in one level of a sweep."""
    odd = turn % 2 if share.parts > 1 else 0
    return (2 * part + odd) * share.depth + level


@jitted
def iterate(data, work, notes, share):
    """Run the passes of one thread.

    Parameters
    ----------
    data : Data
        What all threads work on.
    work : Work
        Buffers of this one.
    notes : 1-D array
        Notes of the call, :func:`.handover.make_notes`.
    share : sweep.Share
        What this thread does.
    """
    # Taken out once: numba counts references to arrays whenever they come out of a tuple of tuples,
    # in memory that all threads share.
    plan, geo, task = data.plan, data.geo, data.task
    v, w, x = data.v, data.w, data.x
    signal, side, state, sums = data.signal, data.side, data.state, data.sums
    cycle, tables = data.cycle, data.hyper
    width, spill = geo.width, geo.spill
    rows = task.sources * geo.hop
    stride = width * (spill + 1)
    next_first, next_last = share.first, share.last
    # From this block on the seam after the range must be done with the sweep before.
    free = share.last
    done = 0
    turn = 0
    while done < share.passes:
        sweep = next_sweep(share, spill, done, next_first, next_last)
        earlier = done
        done += sweep.levels
        if share.begins:
            begin = _slot(share, share.part, turn, 0) * rows * stride
            work.tails[begin : begin + sweep.levels * rows * stride] = 0
        left = range_visits(sweep)
        # The thread's own range; then, where another lies before it, the seam between the two.
        for seam in range(2):
            if seam:
                again = done < share.passes
                next_first, next_last = _end_range(notes, share, turn, sweep.levels, again)
                if next_last < 0:
                    return
            for place in range(steps(sweep, seam)):
                at = visit(sweep, seam, place)
                block = at.block
                pending = _slot(share, share.part - seam, turn, at.level) * rows * stride
                held = at.level * spill * rows * width
                number = (earlier + at.level) % len(cycle)
                step, hyper = cycle[number], tables[number]
                if at.low <= block < at.high:
                    if not seam:
                        must_wait = sweep.after and block >= free
                        if must_wait and not wait(notes, share.part + 1, SEAMS, turn):
                            return
                        write(notes, share.part * LINE + LEFT, left)
                        left -= 1
                    _advance(
                        step,
                        plan,
                        geo,
                        v,
                        w,
                        x,
                        signal,
                        side,
                        state,
                        hyper,
                        task,
                        work,
                        block=block,
                        pending=pending,
                    )
                    for i in range(rows):
                        # The next block reaches one line further than this one did.
                        prefetch(signal, i * geo.columns + (block + 2) * width)
                    if is_held(sweep, seam, at):
                        to = held + (block - at.low) * rows * width
                        _hold(work, to, width, pending, stride, rows)
                    else:
                        _complete(
                            step,
                            geo,
                            signal,
                            side,
                            sums,
                            hyper,
                            task,
                            work,
                            block,
                            pending,
                            stride,
                        )
                for k in range(spill if is_close(sweep, seam, at) else 0):
                    # Columns that the blocks before have begun.
                    begun = pending + (k + 1) * width
                    if seam:
                        _add_held(work, held + k * rows * width, width, begun, stride, rows)
                    _complete(
                        step,
                        geo,
                        signal,
                        side,
                        sums,
                        hyper,
                        task,
                        work,
                        at.high + k,
                        begun,
                        stride,
                    )
        free = seam_begins(sweep)
        turn += 1
        write(notes, share.part * LINE + SEAMS, turn)


class Pass(NamedTuple):
    """What a pass does.

    Attributes
    ----------
    rules : Rules
        Machine code of its rules.
    hyper : sequence of float
        Their table.
    signal : bool
        Whether the bin rule looks at the current signal.
    spectrogram : bool
        Whether it looks at the spectrogram that the call is given.
    mixture : bool
        Whether it looks at that of the mixture, which the side signals begin with.
    weights : bool
        Whether it looks at the caller's mixing weights.
    """

    rules: Rules
    hyper: Sequence[float]
    signal: bool
    spectrogram: bool
    mixture: bool
    weights: bool


@dataclass(frozen=True)
class Cycle:
    """Passes that take turns, with everything they work on.

    Attributes
    ----------
    passes : sequence of Pass
        The passes.
    planes : int
        Stored spectrograms in ``state``.
    grid : Grid
        The frames.
    sources : int
        Number of sources J.
    v : ndarray, shape (J, F, T)
        The caller's magnitudes.
    w : ndarray, shape (J, F, T), or None
        The caller's mixing weights, where there are any.
    signal, side, state : ndarray
        Signals in row layout and state spectrograms, updated in place.
    coupled : bool
        Whether the bin rules take all sources of a bin together.
    sums : ndarray
        Where sums at the edges are kept; of size 1 where they are not.
    """

    passes: Sequence[Pass]
    planes: int
    grid: Grid
    sources: int
    v: np.ndarray
    w: np.ndarray | None
    signal: np.ndarray
    side: np.ndarray
    state: np.ndarray
    coupled: bool
    sums: np.ndarray

    def run(self, x: np.ndarray | None, passes: int, threads: int) -> None:
        """Run passes on several threads.

        Parameters
        ----------
        x : ndarray, shape (1 or J, F, T), or None
            Complex spectrogram that the rules read.
        passes : int
            Number of passes: the first of the cycle, and so on in turn.
        threads : int
            Number of threads, at most.
        """
        geo = self.grid.geometry
        division = divide(
            geo.blocks,
            geo.spill,
            passes=passes,
            threads=threads,
            stretch=self._stretch,
            # Where the sums of a column have more than two terms, where a range begins shows in
            # their last bits.
            movable=geo.size <= geo.hop * geo.width,
        )
        parts = shares(division, passes)
        notes = handover.make_notes(division.bounds)
        depth = division.depth
        tails = self._tails(2 * len(parts) * depth if len(parts) > 1 else depth)
        data = self._data(x, origin=0)
        calls = [
            (data, self._work(tails, levels=depth if share.part else 0), notes, share)
            for share in parts
        ]
        _run_together(calls, notes)

    def run_once(self, parts: Iterable[np.ndarray], blocks: int) -> None:
        """Run the first pass on a spectrogram that comes in parts.

        Parameters
        ----------
        parts : iterable of ndarray, shape (1 or J, F, frames)
            Complex spectrogram, ``blocks`` blocks of frames at a time.
        blocks : int
            Blocks of each part but the last.
        """
        geo = self.grid.geometry
        work, notes = self._work(self._tails(1), levels=0), handover.make_notes([0, geo.blocks])
        for first, x in zip(range(0, geo.blocks, blocks), parts, strict=True):
            last = min(first + blocks, geo.blocks)
            share = Share(
                part=0,
                parts=1,
                first=first,
                last=last,
                passes=1,
                depth=1,
                stretch=1,
                play=0,
                begins=first == 0,
                ends=last == geo.blocks,
            )
            data = self._data(x, origin=first * geo.width)
            iterate(data, work, notes, share)

    def types(self) -> tuple:
        """Types of the arguments of :func:`iterate`, as numba has them."""
        share = shares(divide(1, 1, passes=1, threads=1, stretch=1, movable=False), 1)[0]
        work, notes = self._work(self._tails(1), levels=0), handover.make_notes([0, 1])
        args = (self._data(None, origin=0), work, notes, share)
        return tuple(map(typeof, args))

    def _data(self, x: np.ndarray | None, *, origin: int) -> Data:
        return Data(
            plan=self.grid.plan,
            geo=self.grid.geometry,
            v=wrap(self.v),
            w=no_spectrogram(self.grid.dtype) if self.w is None else wrap(self.w),
            x=no_spectrogram(self.grid.dtype) if x is None else wrap(x, origin),
            signal=self.signal,
            side=self.side,
            state=self.state,
            cycle=np.array([(*each.rules, *each[2:]) for each in self.passes], np.int64),
            hyper=self._tables(),
            sums=self.sums,
            task=Task(
                sources=self.sources,
                group=self._group,
                plane=self.state.size // max(1, self.planes),
            ),
        )

    def _tables(self) -> np.ndarray:
        """Tables of the passes, one below the other."""
        numbers = max(1, *(len(each.hyper) for each in self.passes))
        tables = np.zeros((len(self.passes), numbers), self.grid.dtype)
        for table, each in zip(tables, self.passes, strict=True):
            table[: len(each.hyper)] = each.hyper
        return tables

    def _tails(self, count: int) -> np.ndarray:
        geo = self.grid.geometry
        size = count * self.sources * geo.hop * geo.width * (geo.spill + 1)
        return aligned_zeros(size, self.grid.dtype)

    def _work(self, tails: np.ndarray, *, levels: int) -> Work:
        geo, dtype, group = self.grid.geometry, self.grid.dtype, self._group
        spectra = group + any(each.mixture for each in self.passes)
        held = max(1, levels * geo.spill * self.sources * geo.hop * geo.width)
        return Work(
            z=aligned_zeros(spectra * self.grid.plan.rows * 2 * geo.width, dtype),
            c=aligned_zeros(group * 2 * TILE * geo.width, dtype),
            v=aligned_zeros(group * TILE * geo.width, dtype),
            w=aligned_zeros(group * TILE * geo.width if self.w is not None else 1, dtype),
            x=aligned_zeros(group * 2 * TILE * geo.width, dtype),
            tails=tails,
            held=aligned_zeros(held, dtype),
        )

    @property
    def _group(self) -> int:
        """Sources given to the bin rule together."""
        return self.sources if self.coupled else 1

    @property
    def _stretch(self) -> int:
        """Blocks that are near together with their signals, magnitudes and spectrograms."""
        size = sum(array.nbytes for array in (self.signal, self.side, self.v, self.state))
        return near_blocks(self.grid.geometry.blocks, size)


def _run_together(calls, notes) -> None:
    """Run the calls at once, the first in this thread; threads do not outlive the call."""
    failures = []

    def task(call):
        try:
            iterate(*call)
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
