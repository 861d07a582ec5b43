"""When the fused kernel applies, and a whole inversion on it."""

from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import Any

import numba
import numpy as np

from phaserec import _caching as caching
from phaserec._coverage import gain_table
from phaserec._xp import Array, dtype_name, is_complex, is_torch_array, namespace, to_numpy
from phaserec.algorithms import Algorithm, Configured, configure
from phaserec.kernels.cpu import compiled
from phaserec.kernels.cpu.copies import Copies
from phaserec.kernels.cpu.engine import Cycle, Pass, iterate
from phaserec.kernels.cpu.fft import is_fast_size
from phaserec.kernels.cpu.lanes import lane_width
from phaserec.kernels.cpu.layout import TILE, Grid, aligned_zeros
from phaserec.kernels.cpu.rules import Rules
from phaserec.kernels.cpu.source import Code, write
from phaserec.kernels.program import Move, Plan, Program, Row, plan
from phaserec.kernels.trace import Node, trace
from phaserec.problem import Problem
from phaserec.starts.phases import random_phases
from phaserec.stft import STFT

# Starts that a program makes itself.
_MADE = ("mixture", "random", "zero")
# Blocks of frames whose random phases are made at a time.
_BLOCKS = 32
# Bins times passes; a million take about a millisecond on one core. Calls of 0.1 s let progress
# and Ctrl-C through; calls of less than 2 ms are not worth waking another thread.
_CALL = 100_000_000
_WORTH_THREADS = 2_000_000
# Passes of a call, however long the signal: with fewer at once each reads it from memory.
_AT_LEAST = 4


def unsuited(problem: Problem, init: Any, values: Mapping[str, Any]) -> str | None:
    """Why a problem is not one for the kernel: numbers on a CPU, no gradient, a size it has.

    Parameters
    ----------
    problem : Problem
        The problem.
    init : str or array
        Name of the start, or initial spectrogram.
    values : mapping of str to object
        Hyper-parameters.

    Returns
    -------
    str or None
        A reason; None for a problem that it takes.
    """
    if type(problem).mag is not Problem.mag:
        return "its magnitudes are not fixed, but projected otherwise"
    stft = problem.stft
    for name, value in values.items():
        if not _small(value):
            return f"{name} is an array" if hasattr(value, "shape") else f"{name} is too large"
    arrays = {
        "magnitudes": problem.magnitudes,
        "mixture": problem.mixture,
        "weights": problem.weights,
        "init": init,
    }
    arrays = {name: a for name, a in arrays.items() if hasattr(a, "shape")}
    for name, a in arrays.items():
        if not _plain(a):
            return (
                f"{name} is not plain numbers on a CPU: it is on a device, or asks for a gradient"
            )
    if stft.hop_length > stft.n_fft:
        return f"hop_length={stft.hop_length} is more than n_fft={stft.n_fft}"
    if not is_fast_size(stft.n_fft):
        return f"n_fft={stft.n_fft} is odd, or its half has a prime factor above 5"
    if stft.padding != "constant" and not _all_seen(stft):
        return f"centre padding is of kind {stft.padding!r} where frames hardly see some samples"
    for name, a in arrays.items():
        if not _in_range(to_numpy(a)):
            return f"squares of {name} overflow or vanish in {dtype_name(a)}"
    return None


def _all_seen(stft: STFT) -> bool:
    """Whether frames see every sample, far from the ends."""
    steady = gain_table(stft.window_values, stft.hop_length, stft.depth)[stft.depth - 1]
    return bool(np.all(steady > 0))


def _plain(a: Array) -> bool:
    """Whether an array is numbers that nothing else hangs on: no gradient, tangent or batch."""
    if not is_torch_array(a):
        return isinstance(a, np.ndarray)
    from torch._C._functorch import maybe_get_level
    from torch.autograd import forward_ad

    moving = forward_ad._current_level >= 0 and forward_ad.unpack_dual(a).tangent is not None  # type: ignore[no-untyped-call]
    return a.device.type == "cpu" and not a.requires_grad and not moving and maybe_get_level(a) < 0


def _small(value: Any) -> bool:
    """Whether a hyper-parameter is a word, or a number that any precision holds."""
    return isinstance(value, str) or (not hasattr(value, "shape") and abs(value) < 1e30)


def _in_range(a: np.ndarray) -> bool:
    """Whether squares of the values are far from overflow, and from vanishing as a whole."""
    peak = float(max(-a.min(), a.max()) if a.dtype.kind == "f" else np.abs(a).max())
    low, high = (1e-12, 1e12) if a.dtype in (np.float32, np.complex64) else (1e-120, 1e120)
    return peak == 0 or low < peak < high


def is_compiled(dtype: np.dtype) -> bool:
    """Whether the engine need not be compiled for a precision: in this process, or in the cache."""
    signature = _signature(dtype)
    if signature in iterate.overloads:
        return True
    return caching.is_kept(iterate._cache.file(signature, iterate.targetctx.codegen()))


@lru_cache(maxsize=2)
def _signature(dtype: np.dtype) -> tuple:
    """Types of the engine's arguments, which are the same for all sentences and sizes."""
    stft = STFT(16, 4)
    silence = aligned_zeros(1, dtype)
    silent = Pass(
        Rules(0, 0), hyper=(), signal=False, spectrogram=False, mixture=False, weights=False
    )
    step = Cycle(
        passes=[silent],
        planes=0,
        grid=_grid(stft, 4, 12, dtype),
        sources=1,
        v=np.zeros((1, 9, 4), dtype),
        w=None,
        signal=silence,
        side=silence,
        state=silence,
        coupled=False,
        sums=silence,
    )
    return step.types()


@dataclass(frozen=True)
class _Translation:
    """An algorithm as passes and their code.

    Attributes
    ----------
    plan : Plan
        The passes.
    codes : dict of int to Code
        Code of every program, by its ``id``.
    mixes : bool
        Whether samples of one source depend on those of others.
    mixture_row : bool
        Whether the side signals begin with the mixture.
    reads_spectrogram : bool
        Whether the mixture's spectrogram is read as it is.
    """

    plan: Plan
    codes: dict[int, Code]
    mixes: bool
    mixture_row: bool
    reads_spectrogram: bool


@lru_cache(maxsize=128)
def _translated(
    base: Algorithm,
    given: tuple[tuple[str, Any], ...],
    start: str,
    dtype: str,
    *,
    consistent: bool,
    weights: bool,
) -> _Translation:
    """Passes of an algorithm with the hyper-parameters that were given."""
    algorithm = configure(base, dict(given))
    passes = plan(trace(algorithm.entry, algorithm.values), start, consistent)
    reads_X = any(p.reads("X") for p in passes.programs)
    mixes = any(
        row.gain is not None for p in passes.programs for row in (p.signal, *p.sides, p.result)
    )
    # The mixture's samples serve both; a spectrogram that is not consistent is read as it is.
    mixture_row = mixes or (reads_X and consistent)
    codes = {
        id(p): write(p, mixture_row=mixture_row, dtype=dtype, weights=weights)
        for p in passes.programs
    }
    return _Translation(passes, codes, mixes, mixture_row, reads_X and not consistent)


class Fused:
    """An inversion on the fused kernel.

    Parameters
    ----------
    algorithm : Configured
        The algorithm.
    problem : Problem
        A problem that is not :func:`unsuited`.
    init : str or array
        Name of a start, or initial spectrogram.

    Raises
    ------
    Untraceable
        If the algorithm needs the array path.
    """

    def __init__(self, algorithm: Configured, problem: Problem, init: Any) -> None:
        # Phases of these starts are made where they are needed; others are given as a whole.
        self.kind = init if isinstance(init, str) and init in _MADE else "given"
        self.dtype = np.dtype(dtype_name(problem.magnitudes))
        translation = _translated(
            algorithm.base,
            tuple(algorithm.given.items()),
            self.kind,
            self.dtype.name,
            consistent=problem.mixture is not None and not is_complex(problem.mixture),
            weights=problem.weights is not None,
        )
        self.plan, self.codes = translation.plan, translation.codes
        self.mixture_row = translation.mixture_row
        self.reads_spectrogram = translation.reads_spectrogram
        if self.mixture_row or self.reads_spectrogram:
            problem.require_mixture()
        self.problem = problem
        self.padded = problem.stft.padding != "constant"
        self.values = {k: v for k, v in algorithm.values.items() if not isinstance(v, str)}
        self.passes = self.plan.programs
        # One layout of the stored spectrograms for all passes: sources together, or one by one.
        self.coupled = any(code.coupled for code in self.codes.values())
        self.batch = problem.magnitudes.shape[: -2 if problem.mixture is None else -3]
        self.init = init
        self.items = [(index, slice(None)) for index in np.ndindex(*self.batch)]
        together = self.coupled or translation.mixes or problem.mixture is None
        # Phases are drawn for all sources, frame after frame.
        if not together and self.kind != "random":
            # One source after another: fewer rows of samples are in use at a time, each of them on
            # a page of its own.
            each = [slice(j, j + 1) for j in range(problem.magnitudes.shape[-3])]
            self.items = [(index, source) for index, _ in self.items for source in each]

    @property
    def footprint(self) -> int:
        """Bytes for each frame that a run works in, besides arrays that are given and returned."""
        problem, stft = self.problem, self.problem.stft
        J = 1 if problem.mixture is None else problem.magnitudes.shape[-3]
        rows = 2 * self.mixture_row + J * (1 + max(len(p.sides) for p in self.passes))
        planes = max(len(p.stores) for p in self.passes)
        weights = 0 if problem.weights is None else 2
        # The groups of bins that states come in are not all full.
        bins = J * (stft.n_bins + 2 * TILE) * (2 * planes + weights)
        return self.dtype.itemsize * (rows * stft.hop_length + bins)

    def run(self, n_iter: int, rng: Any) -> Generator[float, None, Array]:
        """Do iterations, some at a time.

        Parameters
        ----------
        n_iter : int
            Number of iterations, one at least.
        rng : numpy Generator, RandomState or None
            Source of random phases.

        Yields
        ------
        float
            Fraction done so far.

        Returns
        -------
        array, shape (..., J, time)
            Waveforms, in the library of the magnitudes.
        """
        run = self._begin(rng, whole=False)
        for k, item in enumerate(self.items):
            for done in self._item(run, *item, n_iter):
                yield (k + done / n_iter) / len(self.items)
        return self._result(run)

    def trajectory(self, n_iter: int, rng: Any) -> Iterator[Array]:
        """Do iterations one at a time, and give the result of each.

        Parameters
        ----------
        n_iter : int
            Number of iterations, one at least.
        rng : numpy Generator, RandomState or None
            Source of random phases.

        Yields
        ------
        array, shape (..., J, time)
            Waveforms after one more iteration.
        """
        run = self._begin(rng, whole=True)
        items = [self._item(run, *item, n_iter, each=True) for item in self.items]
        for done in zip(*items, strict=True):
            if done[0]:
                yield self._result(run)
                run.waveforms = np.zeros_like(run.waveforms)

    def _begin(self, rng: Any, *, whole: bool) -> "_Run":
        """What iterations start from, and an empty result."""
        V = self.problem.magnitudes
        given = None
        # A batch is drawn as a whole, for the array path's phases.
        if self.kind == "given" or (self.kind == "random" and self.batch):
            given = to_numpy(self.problem.start(self.init, rng))
        elif self.kind == "random" and whole:
            *lead, n_bins, n_frames = V.shape
            phases = random_phases(rng, (n_frames, *lead, n_bins), self.dtype.name)
            given = np.moveaxis(phases, 0, -1)
        return _Run(rng, given, np.zeros((*V.shape[:-2], self.problem.length), self.dtype))

    def _result(self, run: "_Run") -> Array:
        like = self.problem.magnitudes
        if isinstance(like, np.ndarray):
            return run.waveforms
        return namespace(like).asarray(run.waveforms)

    def _item(
        self,
        begun: "_Run",
        index: tuple[int, ...],
        sources: slice,
        n_iter: int,
        *,
        each: bool = False,
    ) -> Iterator[int]:
        """Solve some sources of an item of the batch, and yield the iterations done.

        With ``each`` it does them one by one, and the waveforms are there after each.
        """
        problem, stft = self.problem, self.problem.stft
        length = problem.length
        if problem.lengths is not None:
            length = int(problem.lengths[index[: problem.lengths.ndim]])
        n_frames = stft.n_frames(length)
        shape = -1, stft.n_bins, n_frames
        V = to_numpy(problem.magnitudes)[index][..., :n_frames].reshape(shape)[sources]
        J = len(V)
        W = None
        if problem.weights is not None:
            W = np.broadcast_to(to_numpy(problem.weights), problem.magnitudes.shape)[index]
            W = W[..., :n_frames].reshape(shape)[sources].astype(self.dtype)
        grid = _grid(stft, n_frames, length, self.dtype)
        copies = _copies(stft, n_frames, length, self.dtype)
        mixture = None if problem.mixture is None else to_numpy(problem.mixture[index])
        n_sides = max(len(p.sides) for p in self.passes)
        side = grid.zeros(self.mixture_row + n_sides * J)
        if self.mixture_row:
            assert mixture is not None
            if is_complex(mixture):
                x = stft.inverse(mixture[:, :n_frames], length=length)
            else:
                x = mixture[:length]
            side[: grid.row_size] = grid.to_rows(x[None])
            if copies is not None:
                copies.show(side[: grid.row_size])
        planes = max(len(p.stores) for p in self.passes)
        state = grid.state(planes * J) if planes else aligned_zeros(1, self.dtype)
        signal = grid.zeros(J)
        sums = aligned_zeros(grid.geometry.gains.size * J if copies else 1, self.dtype)
        X = None
        if self.reads_spectrogram:
            assert mixture is not None
            X = mixture[None, :, :n_frames]

        def run(moves: tuple[Move, ...], n: int, result: bool) -> None:
            programs = [move.program for move in moves]
            if result:
                programs = [programs[0].last or programs[0]]
            turns = Cycle(
                passes=[self._pass(program, X is not None, result) for program in programs],
                planes=planes,
                grid=grid,
                sources=J,
                v=V,
                w=W,
                signal=signal,
                side=side,
                state=state,
                coupled=self.coupled,
                sums=sums,
            )
            threads = numba.get_num_threads() if n * V.size > _WORTH_THREADS else 1
            program = programs[0]
            if not program.reads("given"):
                turns.run(X, n, threads)
            elif begun.given is not None:
                start = begun.given[index][..., :n_frames].reshape(shape)[sources]
                turns.run(start, n, threads)
            else:
                turns.run_once(self._phase_parts(begun.rng, V.shape), _BLOCKS)
            if copies is not None:  # one pass at a time
                first = self.mixture_row * grid.row_size
                for k, row in enumerate(
                    (program.result if result else program.signal, *program.sides)
                ):
                    begin = first + (k - 1) * signal.size
                    rows = side[begin : begin + signal.size] if k else signal
                    copies.add(rows, sums, self._of_sums(row))
                copies.show(signal)

        def write() -> None:
            out = begun.waveforms[index].reshape(-1, problem.length)[sources]
            grid.from_rows(signal, out[:, :length])

        done = 0
        for moves, n, last in self._schedule(n_iter, V.size, each):
            ended = sum(moves[k % len(moves)].ends for k in range(n))
            if each and not last and ended and self._apart(moves[0].program):
                # The result takes the place of what the next pass reads: make it, and go back.
                kept = [array.copy() for array in (signal, side, state)]
                run(moves, 1, True)
                write()
                for array, before in zip((signal, side, state), kept, strict=True):
                    array[:] = before
                run(moves, 1, False)
            else:
                run(moves, n, last and n == 1)
                if last or (each and ended):
                    write()
            if ended:
                done += ended
                yield done

    def _schedule(
        self, n_iter: int, size: int, each: bool
    ) -> Iterator[tuple[tuple[Move, ...], int, bool]]:
        """Calls: passes that take turns, how many passes it does, and whether they are the last.

        Calls are short enough for progress and Ctrl-C.
        """
        left = n_iter - self.plan.started
        yield (Move(self.plan.start, bool(self.plan.started)),), 1, not left
        for move in self.plan.opening:
            if left:
                left -= move.ends
                yield (move,), 1, not left
        moves = self.plan.cycle
        passes = _passes(moves, left)
        at_once = 1 if each or self.padded else max(_AT_LEAST, _CALL // size)
        while passes:
            n = min(at_once, passes)
            # The last pass runs alone where it makes the result in place of the next one's signal.
            if n == passes > 1 and self._apart(moves[(n - 1) % len(moves)].program):
                n -= 1
            passes -= n
            yield moves[:n], n, not passes  # others need no code yet
            moves = moves[n % len(moves) :] + moves[: n % len(moves)]

    def _pass(self, program: Program, given: bool, result: bool) -> Pass:
        """A pass for the engine, where the mixture's spectrogram is ``given`` or made anew."""
        code = self.codes[id(program)]
        return Pass(
            rules=compiled.load(code.text),
            hyper=self._table(code, result),
            signal=program.reads("spec"),
            spectrogram=program.reads("given") or (given and program.reads("X")),
            mixture=program.reads("X") and not given,
            weights=program.reads("W") and self.problem.weights is not None,
        )

    def _apart(self, program: Program) -> bool:
        """Whether the pass that makes the result is not one like the others."""
        return program.last is not None or _differs(self.codes[id(program)])

    def _phase_parts(self, rng: Any, shape: tuple[int, ...]) -> Iterator[np.ndarray]:
        """Random phases ``(J, F, frames)``, some blocks of frames at a time."""
        *lead, n_bins, n_frames = shape
        size = _BLOCKS * lane_width(self.dtype)
        for first in range(0, n_frames, size):
            shape = min(size, n_frames - first), *lead, n_bins
            yield np.moveaxis(random_phases(rng, shape, self.dtype.name), 0, -1)

    def _of_sums(self, row: Row) -> tuple[float, float]:
        """What a row takes of a spectrogram that is transformed back, and of its mixing error."""
        parts = []
        for terms in (row.direct, row.mixed):
            made = [terms[source] for source in terms if source[0] == "synth"]
            parts.append(sum(_evaluate(node, self.values) for node in made))
        direct, error = parts
        return direct, 0.0 if row.gain is None else error

    def _table(self, code: Code, result: bool) -> list[float]:
        nodes = list(code.table)
        if result:
            nodes[len(nodes) - len(code.result) :] = code.result
        return [_evaluate(node, self.values) for node in nodes]


@dataclass
class _Run:
    """What belongs to one run of an inversion."""

    rng: Any
    given: np.ndarray | None  # initial spectrogram, or random phases, of the whole batch
    waveforms: np.ndarray


def _passes(moves: tuple[Move, ...], n_iter: int) -> int:
    """Passes that end so many iterations."""
    if not n_iter:
        return 0
    rounds, rest = divmod(n_iter - 1, sum(move.ends for move in moves))
    ended = accumulate(move.ends for move in moves)
    return rounds * len(moves) + 1 + next(k for k, n in enumerate(ended) if n == rest + 1)


def _differs(code: Code) -> bool:
    """Whether the pass that makes the result has another table."""
    return code.table[len(code.table) - len(code.result) :] != code.result


def _evaluate(node: Node, values: dict[str, Any]) -> float:
    if node.op == "const":
        return float(node.args[0])
    if node.op == "hyper":
        return float(values[node.args[0]])
    a, b = (_evaluate(n, values) for n in node.args)
    if node.op == "div":
        # As arrays have it: a formula without a finite value gives NaN samples, no exception.
        return float(np.divide(a, b))
    return {"add": a + b, "sub": a - b, "mul": a * b}[node.op]


@lru_cache(maxsize=16)
def _grid(stft: STFT, n_frames: int, length: int, dtype: np.dtype) -> Grid:
    shown = None
    if stft.padding != "constant":
        shown = stft.gains(length, np.zeros(1))
    return Grid(stft.window_values, stft.hop_length, n_frames, length, stft.offset, dtype, shown)


@lru_cache(maxsize=16)
def _copies(stft: STFT, n_frames: int, length: int, dtype: np.dtype) -> Copies | None:
    if stft.padding == "constant":
        return None
    return Copies(_grid(stft, n_frames, length, dtype), stft)
