"""Sweeps in plain Python: on columns that remember which blocks were added to them, and when."""

from collections import Counter, defaultdict
from itertools import product

import numpy as np
import pytest
from numba import njit

from phaserec.kernels.cpu import sweep
from phaserec.kernels.cpu.sweep import (
    Division,
    Sweep,
    Visit,
    divide,
    equal_ranges,
    is_close,
    is_held,
    moved,
    near_blocks,
    next_sweep,
    range_visits,
    seam_begins,
    shares,
    steps,
    visit,
)


def one_range(first, last, *, levels=3, spill=1, stretch=4, before=False, after=False):
    """A sweep over a range."""
    return Sweep(
        levels=levels,
        spill=spill,
        stretch=stretch,
        first=first,
        last=last,
        before=before,
        after=after,
        ends=not after,
    )


def visits(now, seam=0):
    """The visits of a range or of its seam, in order."""
    found = (visit(now, seam, step) for step in range(steps(now, seam)))
    return [at for at in found if at.low <= at.block < at.high]


RANGES = [
    one_range(3, 3 + size, levels=levels, spill=spill, stretch=stretch, before=before, after=after)
    for size, levels, spill, stretch in product((16, 37), (1, 2, 4), (1, 2), (1, 5, 99))
    for before, after in product((False, True), repeat=2)
]


@pytest.mark.parametrize("parts", [1, 2, 3])
@pytest.mark.parametrize("stretch", [1, 7, 100])
@pytest.mark.parametrize(("levels", "spill"), [(1, 1), (4, 1), (3, 2), (8, 3)])
def test_ranges_and_seams_visit_every_block_once_in_every_level(levels, spill, stretch, parts):
    size = 2 * levels * spill
    for blocks in (parts * size, parts * size + 1, parts * size + 40):
        division = Division(equal_ranges(blocks, parts), depth=levels, stretch=stretch, play=0)
        counts = Counter()
        for share in shares(division, levels):
            now = next_sweep(share, spill, 0, share.first, share.last)
            for seam in range(2):
                counts.update((at.level, at.block) for at in visits(now, seam))
        assert counts == Counter(product(range(levels), range(blocks)))


def test_a_level_follows_the_one_before_at_the_distance_of_a_spill_at_least():
    for now in RANGES:
        newest = [now.first - 1] * now.levels
        for at in visits(now):
            assert at.block == newest[at.level] + 1 or at.block == at.low
            newest[at.level] = at.block
            below = newest[at.level - 1]
            assert at.level == 0 or below >= min(at.block + now.spill, now.last - 1)


def test_what_a_stretch_needs_is_near():
    # No level is a whole stretch further ahead of another than it has to be.
    for now in RANGES:
        newest = now.first
        for at in visits(now):
            newest = max(newest, at.block)
            assert newest - at.block < now.stretch + at.level * now.spill


def test_the_visits_of_a_range_are_counted():
    for now in RANGES:
        assert range_visits(now) == len(visits(now))


def test_a_seam_ends_each_level_once():
    for now, seam in product(RANGES, range(2)):
        ends = Counter(
            at.level
            for at in (visit(now, seam, step) for step in range(steps(now, seam)))
            if is_close(now, seam, at)
        )
        there = now.before if seam else not now.after
        assert ends == (Counter(range(now.levels)) if there else Counter())


# -- several threads ----------------------------------------------------------------------------


class Columns:
    """Stands in for a signal: which pass every block of columns is in, and its open sums.

    Follows what :func:`.engine.iterate` does with a signal, and fails where a visit finds columns
    of another pass than it should, or a sum is stored that is not that of all its blocks.
    """

    def __init__(self, blocks, spill, passes, division, rng):
        self.blocks, self.spill, self.passes = blocks, spill, passes
        self.division, self.rng = division, rng
        self.parts = len(division.bounds) - 1
        self.current = [0] * (blocks + spill)
        self.open = defaultdict(self.nothing)
        self.held = {}
        self.places = list(division.bounds)
        self.met, self.ranges, self.seams = Counter(), Counter(), Counter()
        self.counts = Counter()

    def nothing(self):
        return [set() for _ in range(self.spill + 1)]

    def store(self, column, number, blocks):
        assert blocks == set(range(max(0, column - self.spill), min(column + 1, self.blocks)))
        assert self.current[column] == number
        self.current[column] += 1

    def step(self, now, part, seam, odd, at, number):
        """One step of a thread."""
        pending = part - seam, odd, at.level
        if at.low <= at.block < at.high:
            self.counts[number, at.block] += 1
            read = self.current[at.block : at.block + self.spill + 1]
            assert set(read) == {number}
            self.open[pending] = [*self.open[pending][1:], set()]
            for column in self.open[pending]:
                assert at.block not in column
                column.add(at.block)
            if is_held(now, seam, at):
                self.held[part, at.level, at.block - at.low] = self.open[pending][0]
            else:
                self.store(at.block, number, self.open[pending][0])
        if is_close(now, seam, at):
            for k in range(self.spill):
                blocks = self.open[pending][k + 1]
                if seam:
                    blocks = blocks | self.held.pop((part, at.level, k))
                self.store(at.high + k, number, blocks)

    def meet(self, part, turn, levels):
        """Move a seam by whatever its threads make of their speeds."""
        home, play = self.division.bounds[part], self.division.play
        if self.met[part] == turn:
            self.met[part] += 1
            shift = int(self.rng.integers(-self.blocks, self.blocks + 1)) // (2 * levels)
            self.places[part] = moved(self.places[part], home, play, shift)
        return self.places[part]

    def thread(self, part):
        """One thread: after every step it says what it waits for."""
        share = shares(self.division, self.passes)[part]
        first, last = share.first, share.last
        free, done, turn = last, 0, 0
        while done < self.passes:
            now = next_sweep(share, self.spill, done, first, last)
            odd = turn % 2
            for level in range(now.levels):
                self.open[part, odd, level] = self.nothing()
            for step in range(steps(now, 0)):
                at = visit(now, 0, step)
                if now.after and at.low <= at.block < at.high and at.block >= free:
                    yield self.seams, part + 1, turn
                self.step(now, part, 0, odd, at, done + at.level)
                yield self.seams, part, 0
            if now.after:
                yield self.seams, part + 1, turn
            if share.play and done + now.levels < self.passes:
                first = self.meet(part, turn, now.levels) if now.before else first
                last = self.meet(part + 1, turn, now.levels) if now.after else last
            self.ranges[part] += 1
            if now.before:
                yield self.ranges, part - 1, turn + 1
            for step in range(steps(now, 1)):
                at = visit(now, 1, step)
                self.step(now, part, 1, odd, at, done + at.level)
                yield self.seams, part, 0
            free = seam_begins(now)
            done += now.levels
            turn += 1
            self.seams[part] += 1

    def run(self, choose):
        """Run all threads, ``choose`` saying which of those that may go on does."""
        threads = {part: self.thread(part) for part in range(self.parts)}
        waits = {part: next(thread) for part, thread in threads.items()}
        while waits:
            ready = [part for part, (notes, k, goal) in waits.items() if notes[k] >= goal]
            assert ready, "all wait"
            part = choose(ready)
            try:
                waits[part] = next(threads[part])
            except StopIteration:
                del waits[part]
        assert self.counts == Counter(product(range(self.passes), range(self.blocks)))
        assert set(self.current) == {self.passes} and not self.held


@pytest.mark.parametrize("spill", [1, 3])
@pytest.mark.parametrize("passes", [1, 3, 11])
@pytest.mark.parametrize("stretch", [1, 4, 60])
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads_do_every_pass_of_every_block_in_turn(threads, stretch, passes, spill):
    rng = np.random.default_rng(0)
    orders = [min, max, lambda ready: int(rng.choice(ready))]
    for blocks in (1, 2 * spill, 4 * spill + 1, 50):
        for choose, movable in product(orders, (False, True)):
            division = divide(
                blocks,
                spill,
                passes=passes,
                threads=threads,
                stretch=stretch,
                movable=movable,
            )
            Columns(blocks, spill, passes, division, rng).run(choose)


# -- division -----------------------------------------------------------------------------------


@pytest.mark.parametrize("spill", [1, 2, 5])
@pytest.mark.parametrize("passes", [1, 3, 50])
@pytest.mark.parametrize("stretch", [1, 30])
def test_divisions(stretch, passes, spill):
    for blocks, threads, movable in product(range(1, 130, 3), (1, 2, 3, 16), (False, True)):
        division = divide(
            blocks,
            spill,
            passes=passes,
            threads=threads,
            stretch=stretch,
            movable=movable,
        )
        bounds, depth, play = division.bounds, division.depth, division.play
        parts, sizes = len(bounds) - 1, np.diff(bounds)
        assert (bounds[0], bounds[-1]) == (0, blocks) and np.ptp(sizes) <= 1
        assert 1 <= parts <= threads and 1 <= depth <= min(passes, sweep._DEPTH)
        assert depth == 1 or stretch < blocks
        assert play == 0 or (play > 0 and movable and parts > 1)
        if parts > 1:
            # Both seams of a range as far inside as they may come.
            assert sizes.min() - 2 * play >= 2 * depth * spill


def test_long_signals_get_all_threads_and_levels():
    settings = {"passes": 20, "threads": 4, "stretch": 100}
    division = divide(4000, 1, **settings, movable=True)
    assert division.bounds == [0, 1000, 2000, 3000, 4000]
    assert division.depth == sweep._DEPTH and division.play > 400


def test_a_seam_moves_where_there_is_play():
    assert moved(50, 50, 20, 7) == 57 and moved(57, 50, 20, -17) == 40
    for place, shift in product(range(30, 71), range(-100, 101)):
        assert 30 <= moved(place, 50, 20, shift) <= 70


def test_a_stretch_is_as_many_blocks_as_fit():
    assert near_blocks(100, 10 * sweep._NEAR) == 10
    assert near_blocks(100, 1000 * sweep._NEAR) == 1


# -- compiled -----------------------------------------------------------------------------------


@njit
def compiled(now, seam):
    """Steps, and what each of them is, as the compiled loop has them."""
    count = steps(now, seam)
    out = np.zeros((count, 6), np.int64)
    for step in range(count):
        at = visit(now, seam, step)
        out[step, :4] = at.level, at.block, at.low, at.high
        out[step, 4] = is_held(now, seam, at)
        out[step, 5] = is_close(now, seam, at)
    return out, range_visits(now), seam_begins(now)


def test_compiled_sweeps_are_those_of_python():
    for now, seam in product(RANGES, range(2)):
        out, count, begins = compiled(now, seam)
        assert (count, begins) == (range_visits(now), seam_begins(now))
        assert len(out) == steps(now, seam)
        for step, row in enumerate(out.tolist()):
            at = visit(now, seam, step)
            assert Visit(*row[:4]) == at
            assert row[4:] == [is_held(now, seam, at), is_close(now, seam, at)]
