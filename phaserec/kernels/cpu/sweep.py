"""Which block goes through which pass when: the geometry of a sweep.

A sweep over the blocks does several passes, its levels: each follows the one before at the
distance that frames reach ahead (the spill), a stretch of blocks at a time, so that what a stretch
needs comes from memory once a sweep. With several threads each takes a contiguous range of blocks.
Towards a range of another thread each level ends a spill earlier than the one before; the second of
the two threads does what is missing on both sides of the seam, once both have done their ranges,
while the first begins its next sweep at the other end. Between sweeps seams move away from the
faster thread.

All of this is arithmetic on the numbers of blocks, in functions that :mod:`.engine` compiles and
that are ordinary Python to everybody else.
"""

from collections.abc import Callable
from typing import NamedTuple, TypeVar

from numba.extending import register_jitable

_Function = TypeVar("_Function", bound=Callable)

# Iterations of a sweep, and the bytes of a stretch of blocks that each of them does in turn: about
# a second-level cache. The third is shared with others.
_DEPTH = 8
_NEAR = 1_000_000


def _compilable(function: _Function) -> _Function:
    """Let compiled functions call a function of Python."""
    register_jitable(nogil=True, error_model="numpy")(function)
    return function


class Division(NamedTuple):
    """How the threads of a call share its blocks and passes."""

    bounds: list[int]  # first blocks of the ranges at first, and the end of the last one
    depth: int  # most passes of a sweep
    stretch: int  # blocks that go through one of them before the next one follows
    play: int  # blocks that a seam may move from its first place


class Share(NamedTuple):
    """What one thread does in a call."""

    part: int  # number of its range
    parts: int
    first: int  # first block
    last: int  # one past the last block
    passes: int
    depth: int  # most passes of a sweep
    stretch: int
    play: int
    begins: bool  # False when columns are pending from the blocks of a call before
    ends: bool  # False when the blocks after the last range follow in another call


class Sweep(NamedTuple):
    """A sweep of one thread, over its range and the seam between it and the range before."""

    levels: int  # passes
    spill: int  # blocks after its own that a frame can reach into
    stretch: int
    first: int  # first block of the range
    last: int  # one past its last block
    before: bool  # whether another range lies before this one
    after: bool
    ends: bool  # whether the signal ends with the range


class Visit(NamedTuple):
    """One block in one pass of a sweep: none where it is not in ``low … high - 1``."""

    level: int
    block: int
    low: int  # first block of the level
    high: int  # one past its last block


def near_blocks(blocks: int, size: int) -> int:
    """Blocks of a stretch, when all blocks together take ``size`` bytes."""
    return max(1, _NEAR * blocks // size)


def equal_ranges(blocks: int, parts: int) -> list[int]:
    """First blocks of equal ranges, and the end of the last one."""
    return [blocks * part // parts for part in range(parts + 1)]


def divide(
    blocks: int, spill: int, *, passes: int, threads: int, stretch: int, movable: bool
) -> Division:
    """Share of each thread in a call.

    Parameters
    ----------
    blocks, spill : int
        Number of blocks, and how many of them a frame can reach ahead.
    passes : int
        Number of passes.
    threads : int
        Number of threads, at most.
    stretch : int
        Blocks that are near together.
    movable : bool
        Whether it makes no difference to the results where a seam is.

    Returns
    -------
    Division
        Ranges of at least two spills, which keep that much when their seams move.
    """
    # A range must be able to hold back the columns it shares with the range before.
    parts = max(1, min(threads, blocks // (2 * spill)))
    depth = min(_DEPTH, passes) if stretch < blocks else 1
    play = 0
    if parts > 1:
        # Deeper, the work on the seams would be too much, and they would meet.
        depth = min(depth, 1 + blocks // parts // (8 * spill))
        # A range keeps as much as its two seams take.
        play = (blocks // parts - 2 * depth * spill) // 2 if movable else 0
    bounds = equal_ranges(blocks, parts)
    return Division(bounds=bounds, depth=depth, stretch=stretch, play=play)


def shares(division: Division, passes: int) -> list[Share]:
    """Shares of all threads, in the order of their ranges."""
    parts = len(division.bounds) - 1
    return [
        Share(
            part=part,
            parts=parts,
            first=division.bounds[part],
            last=division.bounds[part + 1],
            passes=passes,
            depth=division.depth,
            stretch=division.stretch,
            play=division.play,
            begins=True,
            ends=True,
        )
        for part in range(parts)
    ]


@_compilable
def next_sweep(share: Share, spill: int, done: int, first: int, last: int) -> Sweep:
    """Sweep of a share after ``done`` passes, over the range as the seams are then."""
    after = share.part < share.parts - 1
    return Sweep(
        levels=min(share.depth, share.passes - done),
        spill=spill,
        stretch=share.stretch,
        first=first,
        last=last,
        before=share.part > 0,
        after=after,
        ends=share.ends and not after,
    )


@_compilable
def range_visits(sweep: Sweep) -> int:
    """Number of visits of a range."""
    levels = sweep.levels
    missing = sweep.spill * levels * (levels - 1) // 2
    return levels * (sweep.last - sweep.first) - (sweep.before + sweep.after) * missing


@_compilable
def steps(sweep: Sweep, seam: int) -> int:
    """Number of steps over a range, or over the seam before it; not all of them are visits."""
    if seam:
        return sweep.before * sweep.levels * 2 * sweep.levels * sweep.spill
    stretches = sweep.last - sweep.first + (sweep.levels - 1) * sweep.spill
    stretches = (stretches + sweep.stretch - 1) // sweep.stretch
    return stretches * sweep.stretch * sweep.levels


@_compilable
def visit(sweep: Sweep, seam: int, step: int) -> Visit:
    """Level and block of a step, a seam level by level, a range a stretch at a time."""
    levels, spill, stretch, first = sweep.levels, sweep.spill, sweep.stretch, sweep.first
    if seam:
        level = step // (2 * levels * spill)
        low, high = first - level * spill, first + level * spill
        return Visit(level=level, block=low + step % (2 * levels * spill), low=low, high=high)
    level = step // stretch % levels
    low = first + sweep.before * level * spill
    high = sweep.last - sweep.after * level * spill
    place = step // (levels * stretch) * stretch + step % stretch
    return Visit(level=level, block=first + place - level * spill, low=low, high=high)


@_compilable
def is_held(sweep: Sweep, seam: int, at: Visit) -> bool:
    """Whether a visit leaves columns to the seam, since blocks of the range before add to them."""
    return sweep.before and not seam and at.block < at.low + sweep.spill


@_compilable
def is_close(sweep: Sweep, seam: int, at: Visit) -> bool:
    """Whether the columns from ``high`` on that blocks have begun are complete after a step."""
    if seam:
        return at.block == at.high
    return sweep.ends and at.block == at.high - 1


@_compilable
def seam_begins(sweep: Sweep) -> int:
    """First block of the seam after the range: the next sweep waits for the seam before it."""
    return sweep.last - sweep.levels * sweep.spill


@_compilable
def moved(place: int, home: int, play: int, shift: int) -> int:
    """Next place of a seam that was at ``home`` at first."""
    return min(max(place + shift, home - play), home + play)
