"""When the fused kernel applies, and a whole inversion on it."""

import math
from functools import lru_cache
from typing import Any

import numpy as np

from phaserec._xp import Array, is_complex, is_torch_array, namespace, to_numpy
from phaserec.kernels import compiled, source
from phaserec.kernels.engine import run
from phaserec.kernels.layout import Grid
from phaserec.kernels.program import Plan, plan
from phaserec.kernels.source import Code
from phaserec.kernels.trace import Node, Untraceable, trace
from phaserec.stft import STFT


def largest_prime(n: int) -> int:
    """Largest prime factor of a positive integer."""
    factor, largest = 2, 1
    while n > 1:
        while n % factor == 0:
            n, largest = n // factor, factor
        factor += 1
    return largest


def applies(problem: Any, hyper: dict[str, Any], init: Any) -> bool:
    """Whether the problem is one for the kernel: numbers on a CPU, no gradient, a size it has.

    Parameters
    ----------
    problem : Problem
        The problem.
    hyper : dict
        Hyper-parameters.
    init : str or array
        Initial phase or spectrogram.

    Returns
    -------
    bool
        False sends it to the array path.
    """
    stft = problem.stft
    arrays = [problem.magnitudes, problem.mixture, init, *hyper.values()]
    given = [a for a in arrays if hasattr(a, "shape")]
    return (
        problem.weights is None
        and all(not hasattr(value, "shape") for value in hyper.values())
        and all(isinstance(a, np.ndarray) or _plain_tensor(a) for a in given)
        and stft.hop_length <= stft.n_fft
        and stft.n_fft % 2 == 0
        and largest_prime(stft.n_fft // 2) <= 5
    )


def _plain_tensor(a: Any) -> bool:
    return is_torch_array(a) and a.device.type == "cpu" and not a.requires_grad


class Fused:
    """An inversion on the fused kernel.

    Parameters
    ----------
    entry : Algorithm
        The algorithm.
    problem : Problem
        A problem for which :func:`applies` holds.
    init : str or array
        Initial phase or spectrogram.
    rng : object
        Source of random phases.
    hyper : dict
        Hyper-parameters.

    Raises
    ------
    Untraceable
        If the algorithm needs the array path.
    """

    def __init__(
        self, entry: Any, problem: Any, init: Any, rng: Any, hyper: dict[str, Any]
    ) -> None:
        self.problem = problem
        values = {h.name: hyper.get(h.name, h.default) for h in entry.hyper} | hyper
        self.values = {k: v for k, v in values.items() if not isinstance(v, str)}
        kind = init if isinstance(init, str) and init != "random" else "given"
        if problem.mixture is None and kind == "mixture":
            raise Untraceable("no mixture")
        consistent = problem.mixture is not None and not is_complex(problem.mixture)
        loop, first = trace(entry, values)
        self.plan: Plan = plan(loop, first, kind, consistent)
        passes = [p for p in (self.plan.start, self.plan.first, self.plan.loop) if p is not None]
        self.mixture_row = any(
            row.gain is not None for p in passes for row in (p.signal, *p.sides, p.result)
        )
        needs_mixture = self.mixture_row or any(p.reads("X") for p in passes)
        if needs_mixture and problem.mixture is None:
            problem.X  # noqa: B018  raises the error that says so
        self.dtype = to_numpy(problem.magnitudes).dtype
        self.codes = {
            id(p): source.write(p, mixture_row=self.mixture_row, dtype=self.dtype.name)
            for p in passes
        }
        # One layout of the stored spectrograms for all passes: sources together, or one by one.
        self.coupled = any(code.coupled for code in self.codes.values())
        self.given = to_numpy(problem.start(init, rng)) if kind == "given" else None

    def __call__(self, n_iter: int) -> Array:
        """Waveforms after ``n_iter`` iterations, one at least.

        Parameters
        ----------
        n_iter : int
            Number of iterations.

        Returns
        -------
        array, shape (..., J, time)
            Waveforms.
        """
        problem = self.problem
        V = to_numpy(problem.magnitudes)
        lead = V.shape[:-2] if problem.mixture is None else V.shape[:-3]
        out = np.zeros((*V.shape[:-2], problem.length), V.dtype)
        for index in np.ndindex(lead):
            out[index] = self._item(index, V[index], n_iter)
        if isinstance(problem.magnitudes, np.ndarray):
            return out
        return namespace(problem.magnitudes).asarray(out)

    def _item(self, index: tuple[int, ...], V: np.ndarray, n_iter: int) -> np.ndarray:
        problem, stft = self.problem, self.problem.stft
        length = problem.length
        if problem.lengths is not None:
            length = int(problem.lengths[index[: problem.lengths.ndim]])
        n_frames = stft.n_frames(length)
        V = V[..., :n_frames].reshape(-1, stft.n_bins, n_frames)
        grid = _grid(stft, n_frames, length, self.dtype)
        J = len(V)
        signal = grid.zeros(J)
        reads_X = any(p.reads("X") for p in (self.plan.start, self.plan.first, self.plan.loop) if p)
        X = to_numpy(problem.X[index])[..., :n_frames][None] if reads_X else None
        given = None if self.given is None else self.given[index][..., :n_frames].reshape(V.shape)
        n_sides = max(len(p.sides) for p in (self.plan.start, self.plan.loop))
        side = grid.zeros(self.mixture_row + n_sides * J)
        if self.mixture_row:
            side[: grid.row_size] = grid.to_rows(self._mixture(index, length)[None])
        planes = max(len(p.stores) for p in (self.plan.start, self.plan.loop))
        state = grid.state(planes * J) if planes else None
        schedule = [(self.plan.start, 1, False)]
        left = n_iter - self.plan.started
        if self.plan.first is not None:
            schedule.append((self.plan.first, 1, True))
            left -= 1
        schedule.append((self.plan.loop, left, True))
        schedule = [(p, n, analyse) for p, n, analyse in schedule if n > 0]
        last = len(schedule) - 1
        for k, (program, n, analyse) in enumerate(schedule):
            code = self.codes[id(program)]
            entry = compiled.load(code.text)
            common: dict[str, Any] = {
                "v": V,
                "x": given if program.reads("given") else X if program.reads("X") else None,
                "side": side,
                "state": state,
                "coupled": self.coupled,
                "analyse": analyse and program.reads("spec"),
            }
            ending = int(k == last and _differ(code))
            table = self._table(code, False)
            if n > ending:
                run(entry, grid, J, signal, hyper=table, iterations=n - ending, **common)
            if ending:
                run(entry, grid, J, signal, hyper=self._table(code, True), iterations=1, **common)
        waves = np.zeros((J, problem.length), self.dtype)
        waves[:, :length] = grid.from_rows(signal, J)
        return waves.reshape(*self.problem.magnitudes.shape[len(index) : -2], problem.length)

    def _mixture(self, index: tuple[int, ...], length: int) -> np.ndarray:
        mixture = self.problem.mixture[index]
        if is_complex(mixture):
            mixture = self.problem.stft.inverse(mixture, length=length)
        return to_numpy(mixture)[:length]

    def _table(self, code: Code, result: bool) -> list[float]:
        nodes = list(code.table)
        if result:
            nodes[len(nodes) - len(code.result) :] = code.result
        return [_evaluate(node, self.values) for node in nodes]


def _differ(code: Code) -> bool:
    n = len(code.result)
    return n > 0 and tuple(code.table[len(code.table) - n :]) != code.result


def _evaluate(node: Node, values: dict[str, Any]) -> float:
    if node.op == "const":
        return float(node.args[0])
    if node.op == "hyper":
        return float(values[node.args[0]])
    a, b = (_evaluate(n, values) for n in node.args)
    if node.op == "div":
        return a / b if b else math.nan
    return {"add": a + b, "sub": a - b, "mul": a * b}[node.op]


@lru_cache(maxsize=16)
def _grid(stft: STFT, n_frames: int, length: int, dtype: np.dtype) -> Grid:
    return Grid(stft.window_values, stft.hop_length, n_frames, length, stft.offset, dtype)
