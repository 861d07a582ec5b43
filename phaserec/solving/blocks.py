"""Long problems, a block of frames after the other, in memory that does not grow with them.

An iteration lets a frame act on those that overlap it and on no others, so that K iterations of a
block with K times as many frames of *context* on either side give what they give on the whole: not
nearly, but the same numbers. What is not so local is found once for all blocks: the unit of
magnitudes, and starts, which go on from the frames that the block before has made.

Sentences that look at the whole signal at every step, such as conjugate gradients, have no exact
blocks. These get the context of one transform an iteration, and joints are cross-faded.
"""

import logging
import mmap
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from phaserec._memory import free_memory, in_words
from phaserec._typing import Generator, Init, Seed, Value
from phaserec._xp import Array, as_array, as_int, dtype_name, is_complex, like, to_numpy
from phaserec.algorithms import AlgorithmLike, Configured, configure
from phaserec.algorithms.hyper import is_array
from phaserec.algorithms.levels import reference
from phaserec.problem import Problem, resolved_length
from phaserec.solving.dispatch import ARRAYS, KERNEL, VARIABLE
from phaserec.solving.locality import reach, start_reach
from phaserec.solving.prepared import prepare, prepare_part
from phaserec.starts import Start, find
from phaserec.starts.phases import as_rng
from phaserec.stft import STFT

LOGGER = logging.getLogger("phaserec")

# Blocks begin at a multiple of this, so that frames share vectors with the same others as in the
# whole, and results are the same to the last bit.
_LANES = 16
# Frames that a block gives at least, and at most: with more, or with 64 times the context, what is
# done twice is next to nothing.
_LEAST, _MOST, _WORTH = 64, 8192, 64
# Share of the memory that is free which is used unasked.
_SHARE = 0.6
# Real numbers a bin, and bytes, that the arrays and the starts work in at most (measured); the
# starts of the first kind compute in the precision of the problem.
_ON_ARRAYS, _POSTERIOR = 24, 42
_PLAIN, _PLAIN_STARTS = 5, ("mixture", "random", "zero")
_START = 130
# Bytes of tables and code, whatever the size.
_FIXED = 1 << 23
# Work below which nothing is looked at: bytes of magnitudes.
_SMALL = 1 << 24


@dataclass(frozen=True)
class LongProblem:
    """A problem that is read a part at a time.

    Attributes
    ----------
    shape : tuple of int
        Shape of the magnitudes, ``(..., J, F, T)``.
    dtype : {"float32", "float64"}
        Precision that it is computed in.
    stft : STFT
        The transform.
    length : int
        Length of the signals in samples.
    part : callable
        ``part(first, last)``, the :class:`phaserec.Problem` of these frames, whose signals are
        samples :func:`samples_of` these. Frames do not decrease from call to call, but for a call
        with ``first=0``.
    has_mixture : bool
        Whether it has a mixture.
    beside : int
        Bytes a frame that are taken beside it where it is not cut, to read and to write it.
    """

    shape: tuple[int, ...]
    dtype: str
    stft: STFT
    length: int
    part: Callable[[int, int], Problem]
    has_mixture: bool
    beside: int = 0

    @classmethod
    def of(
        cls,
        magnitudes: Array,
        mixture: Array | None = None,
        *,
        stft: STFT,
        length: int | None = None,
        weights: Array | None = None,
    ) -> "LongProblem":
        """A problem of arrays, also of memory-mapped ones.

        Parameters
        ----------
        magnitudes, mixture, stft, length, weights
            As for :class:`phaserec.Problem`, of numpy; they are checked part by part.

        Returns
        -------
        LongProblem
            The problem.

        Raises
        ------
        ValueError
            If shapes disagree.
        """
        V, x = np.asanyarray(magnitudes), None if mixture is None else np.asanyarray(mixture)
        # One frame is enough to find what is wrong with shapes and types.
        kinds = [dtype_name(Problem(V[..., :1], stft=stft).magnitudes)]
        if x is not None:
            kinds.append(as_array("mixture", x[..., :1]).real.dtype.name)
        n_frames, whole = V.shape[-1], resolved_length(stft, V, x, length)

        def part(first: int, last: int) -> Problem:
            begin, end = samples_of(stft, first, last, n_frames, whole)
            given = None
            if x is not None:
                given = np.array(x[..., first:last] if is_complex(x) else x[..., begin:end])
            found = Problem(
                np.array(V[..., first:last]),
                given,
                stft=stft,
                length=end - begin,
                weights=None if weights is None else frames_of(weights, first, last, n_frames),
            )
            for array in (V, x):
                _let_go(array)
            return found

        dtype = np.result_type(*kinds).name
        return cls(V.shape, dtype, stft, whole, part, x is not None)


@dataclass(frozen=True)
class Block:
    """Frames that are computed, and samples that are taken of them.

    Attributes
    ----------
    first, last : int
        Frames ``first`` to ``last − 1``.
    begin, end : int
        Samples ``begin`` to ``end − 1`` of the whole, which no other block gives.
    """

    first: int
    last: int
    begin: int
    end: int


@dataclass(frozen=True)
class BlockedRun:
    """An algorithm on a long problem, with everything decided but the result.

    Attributes
    ----------
    algorithm : Configured
        The algorithm with its hyper-parameters.
    problem : LongProblem
        What it solves.
    n_iter : int
        Number of iterations.
    init : str or callable
        Name of the start; or ``init(first, last)``, which gives the initial spectrogram of frames.
    rng : numpy Generator or RandomState
        Source of random phases.
    machine : str or None
        What runs; None for a problem that is not cut.
    scale : float, array of shape (...), or None
        Factor on what is computed with, for algorithms with a level; None for others.
    blocks : tuple of Block
        The blocks.
    context : int
        Frames on either side of a block that are computed with it.
    exact : bool
        Whether that many make the result what it is on the whole.
    room : int
        Bytes that a block takes, estimated from above.
    """

    algorithm: Configured
    problem: LongProblem
    n_iter: int
    init: str | Callable[[int, int], Array]
    rng: Generator
    machine: str | None
    scale: float | Array | None
    blocks: tuple[Block, ...]
    context: int
    exact: bool
    room: int

    @property
    def facts(self) -> dict[str, Any]:
        """What was decided: numbers of blocks and frames, context, memory in bytes."""
        return {
            "blocks": len(self.blocks),
            "frames": max(b.last - b.first for b in self.blocks),
            "context": self.context,
            "exact": self.exact,
            "memory": self.room,
        }

    def waveforms(self) -> Iterator[np.ndarray]:
        """Waveforms, piece after piece.

        Yields
        ------
        ndarray, shape (..., J, time)
            The next samples of all sources; together they are the result.

        Raises
        ------
        ValueError
            As :func:`phaserec.invert`, when the part at fault is read.
        """
        fade = 0 if self.exact else self.context // 2 * self.problem.stft.hop_length
        known: Array | None = None  # start of the frames that are also in the next block
        tail: np.ndarray | None = None
        following = (*self.blocks[1:], None)
        for block, after in zip(self.blocks, following, strict=True):
            problem = self.problem.part(block.first, block.last)
            init = self._start(problem, block, known)
            known = None
            if after is not None and not isinstance(init, str):
                known = np.array(init[..., after.first - block.first :])
            run = prepare_part(
                self._fitted(block),
                problem,
                self.n_iter,
                init=init,
                rng=self.rng,
                machine=self.machine,
                scale=self.scale,
            )
            y = np.asarray(run.result())
            del problem, init, run
            offset = self.problem.stft.hop_length * block.first
            begin = block.begin if tail is None else block.begin - fade
            end = block.end if after is None else block.end + fade
            y = y[..., begin - offset : end - offset]
            if tail is not None and fade:
                rise = np.linspace(0, 1, 2 * fade, endpoint=False, dtype=y.dtype)
                y[..., : 2 * fade] *= rise
                y[..., : 2 * fade] += tail * (1 - rise)
            if fade and after is not None:
                tail = y[..., y.shape[-1] - 2 * fade :].copy()
                y = y[..., : y.shape[-1] - 2 * fade]
            yield y

    def result(self) -> np.ndarray:
        """Waveforms ``(..., J, time)``, all of them."""
        out = np.empty((*self.problem.shape[:-2], self.problem.length), self.problem.dtype)
        done = 0
        for piece in self.waveforms():
            out[..., done : done + piece.shape[-1]] = piece
            done += piece.shape[-1]
        return out

    def _start(self, problem: Problem, block: Block, known: Array | None) -> str | Array:
        """Start of a block that agrees with that of the block before."""
        if callable(self.init):
            return self.init(block.first, block.last)
        entry = find(problem, self.init)
        if len(self.blocks) == 1 or not entry.continues:
            return entry.name
        make: Any = entry.make
        return make(problem, self.rng, known)

    def _fitted(self, block: Block) -> Configured:
        """The algorithm, with those values of its hyper-parameters that belong to a block."""
        n_frames = self.problem.shape[-1]
        cut = {
            name: frames_of(value, block.first, block.last, n_frames)
            for name, value in self.algorithm.given.items()
            if is_array(value)
        }
        return configure(self.algorithm.base, self.algorithm.given | cut) if cut else self.algorithm


def samples_of(stft: STFT, first: int, last: int, n_frames: int, length: int) -> tuple[int, int]:
    """Samples whose own transform has frames ``first`` to ``last − 1`` of a signal.

    Frames that reach over their ends see padding there and not the signal.

    Parameters
    ----------
    stft : STFT
        The transform.
    first, last : int
        Range of frames.
    n_frames, length : int
        Frames and samples of the signal.

    Returns
    -------
    int, int
        First sample, and the one after the last.
    """
    begin = first * stft.hop_length
    return begin, length if last == n_frames else begin + stft.n_samples(last - first)


def frames_of(values: Any, first: int, last: int, n_frames: int) -> Any:
    """Part of what may have a value for each frame."""
    by_frame = np.ndim(values) > 0 and np.shape(values)[-1] == n_frames > 1
    return values[..., first:last] if by_frame else values


def prepare_blocks(
    algorithm: AlgorithmLike | Configured,
    problem: LongProblem,
    n_iter: int,
    *,
    init: Init | Callable[[int, int], Array] = None,
    rng: Seed = None,
    machine: str | None = None,
    memory: int | None = None,
    **hyper: Value,
) -> BlockedRun:
    """Find the blocks of a long problem, and decide everything that they have in common.

    Parameters
    ----------
    algorithm, n_iter, rng, machine, **hyper
        As for :func:`phaserec.invert`.
    problem : LongProblem
        The problem.
    init : str, complex array or callable, optional
        As for :func:`phaserec.invert`; or ``init(first, last)``, which gives the initial
        spectrogram ``(..., J, F, last − first)`` of some frames.
    memory : int, optional
        Bytes to work in, besides arrays that are given and returned; default more than half of what
        is free. A problem that fits is one block.

    Returns
    -------
    BlockedRun
        The run.

    Raises
    ------
    ValueError
        If not even a short block fits, or the problem has none: ``pad_mode="wrap"`` joins its ends,
        and a start of somebody else's may read all of it.
    """
    ready = algorithm if isinstance(algorithm, Configured) else configure(algorithm, hyper)
    n_iter = as_int("n_iter", n_iter, 0)
    n_frames = problem.shape[-1]
    bound = _SHARE * free_memory() if memory is None else memory
    probe = problem.part(0, min(n_frames, _LEAST))
    named = init is None or isinstance(init, str)
    entry = find(probe, init if isinstance(init, str) else None, ready.base) if named else None
    pinned = machine or os.environ.get(VARIABLE) or KERNEL
    each, pinned = _bytes_of_frame(ready, probe, n_iter, entry, pinned)
    begin: Any = entry.name if entry is not None else init
    if entry is None and not callable(begin):
        begin = _parts(begin, problem)
    found = BlockedRun(
        algorithm=ready,
        problem=problem,
        n_iter=n_iter,
        init=begin,
        rng=as_rng(rng),
        machine=machine,
        scale=None,
        blocks=(Block(0, n_frames, 0, problem.length),),
        context=0,
        exact=True,
        room=each * n_frames + _FIXED,
    )
    if found.room + problem.beside * n_frames <= bound:
        return found
    return _cut(replace(found, machine=pinned), entry, each, bound, memory)


def _cut(
    run: BlockedRun, entry: Start | None, each: int, bound: float, memory: int | None
) -> BlockedRun:
    """The run with more than one block."""
    problem, stft, n_frames = run.problem, run.problem.stft, run.problem.shape[-1]
    whole = f"memory of {in_words(run.room)} for all frames at once"
    if stft.padding == "wrap":
        raise ValueError(
            "pad_mode='wrap' joins the end of a signal to its beginning, so that it has no blocks; "
            f"use another padding, or give {whole}"
        )
    context, exact = _context(run, entry)
    least = min(2 * context + _LEAST, n_frames) * each + _FIXED
    if least > bound:
        given = f"memory={in_words(memory)}" if memory else f"{in_words(bound)} of memory to spare"
        raise ValueError(
            f"{given} is too little: {_LEAST} frames with {context} on either side, which "
            f"{run.algorithm.base.name} with n_iter={run.n_iter} needs, take {in_words(least)}; "
            "allow more memory, or use fewer iterations or a larger hop_length"
        )
    kept = min(int((bound - _FIXED) // each) - 2 * context, max(_MOST, _WORTH * context))
    count = -(-n_frames // max(kept // _LANES * _LANES, _LANES))
    size = -(-n_frames // (count * _LANES)) * _LANES
    hop, blocks = stft.hop_length, list[Block]()
    for a in range(0, n_frames, size):
        first, last = max(a - context, 0), min(a + size + context, n_frames)
        b = problem.length if a + size >= n_frames else (a + size) * hop
        # A remainder that is shorter than what a frame reaches has no joint of its own.
        if blocks and (n_frames - a) <= 2 * stft.depth:
            blocks[-1] = replace(blocks[-1], last=n_frames, end=problem.length)
            break
        blocks.append(Block(first, last, a * hop, b))
    found = replace(
        run,
        blocks=tuple(blocks),
        context=context,
        exact=exact,
        scale=_scale(run),
        room=max(b.last - b.first for b in blocks) * each + _FIXED,
    )
    LOGGER.info(
        "%s: %d blocks of up to %d frames, %d of context on either side, in about %s",
        run.algorithm.label,
        len(blocks),
        max(b.last - b.first for b in blocks),
        context,
        in_words(found.room),
    )
    if not exact:
        LOGGER.warning(
            "steps of %s depend on the whole signal: blocks are computed each for itself, and "
            "joints are cross-faded",
            run.algorithm.base.name,
        )
    return found


def _context(run: BlockedRun, entry: Start | None) -> tuple[int, bool]:
    """Frames on either side that a block is computed with, and whether no more would matter."""
    depth = run.problem.stft.depth
    far = reach(run.algorithm, depth)
    begun: int | None = 0
    if entry is not None and not entry.continues:
        begun = start_reach(entry, depth)
        if begun is None:
            raise ValueError(
                f"init={entry.name!r} reads the whole signal, and there is not memory for all of "
                "it; allow more memory, or use another start, such as 'random'"
            )
    # One depth where frames see padding in place of the signal, one for samples of the result.
    context = run.n_iter * (depth if far is None else far) + 2 * depth + (begun or 0)
    return -(-context // _LANES) * _LANES, far is not None


def _bytes_of_frame(
    algorithm: Configured, probe: Problem, n_iter: int, entry: Start | None, machine: str
) -> tuple[int, str]:
    """Bytes that a frame takes, from above, and the machine; from a run on a few of them."""
    run = prepare(algorithm, probe, n_iter, init="zero", machine=machine)
    shape, itemsize = probe.magnitudes.shape, np.dtype(dtype_name(probe.magnitudes)).itemsize
    bins = int(np.prod(shape[:-1]))
    sources = bins // shape[-2]
    samples = (3 if probe.mixture is None else 4) * sources * probe.stft.hop_length
    # The part of the magnitudes, what checks of it note, waveforms and what is made of them.
    size = bins * (itemsize + 2) + samples * itemsize
    working = run.choice.fused.footprint if run.machine == KERNEL else 0
    if run.machine == ARRAYS:
        working = bins * itemsize * (_POSTERIOR if algorithm.base.posterior else _ON_ARRAYS)
    made = 2 * bins * itemsize  # the start of a block, which the kernel reads
    if entry is not None:
        plain = entry.name in _PLAIN_STARTS
        made = bins * (_PLAIN * itemsize if plain else max(_START, 16 * itemsize))
        if run.machine == KERNEL and plain and not entry.continues:
            made = 0  # it makes these itself
    if run.machine == KERNEL:
        return size + max(working + 2 * bins * itemsize * (made > 0), made), run.machine
    return size + max(working, made), run.machine


def _scale(run: BlockedRun) -> float | Array | None:
    """What brings all magnitudes to the unit of an algorithm; None where blocks may differ."""
    level, problem = run.algorithm.level, run.problem
    if not isinstance(level, str) or not problem.has_mixture:
        return None
    n_frames, size = problem.shape[-1], run.blocks[0].last
    peak: Any = None
    for first in range(0, n_frames, size):
        part = problem.part(first, min(first + size, n_frames)).magnitudes
        here = np.max(to_numpy(part), axis=(-3, -2, -1), keepdims=True)
        peak = here if peak is None else np.maximum(peak, here)
    unit: Any = reference(like(peak, peak), level)
    return 1 / unit[..., 0, 0, 0]


def _parts(init: Any, problem: LongProblem) -> Callable[[int, int], Array]:
    """Parts of an initial spectrogram."""
    S = np.asanyarray(init)
    if S.shape != problem.shape:
        raise ValueError(
            f"init is {S.dtype} of shape {S.shape}, expected a complex array of the magnitudes' "
            f"shape {problem.shape}"
        )
    return lambda first, last: np.array(S[..., first:last])


def _let_go(array: np.ndarray | None) -> None:
    """Give back what has been read of a file that is mapped to be read, or all of it would stay."""
    base: Any = array
    if not isinstance(base, np.memmap) or base.mode != "r":
        return
    while isinstance(base, np.ndarray):
        base = base.base
    if isinstance(base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):  # not on Windows
        base.madvise(mmap.MADV_DONTNEED)


def is_small(magnitudes: np.ndarray) -> bool:
    """Whether a problem is far from what memory could be short of."""
    return magnitudes.nbytes <= _SMALL
