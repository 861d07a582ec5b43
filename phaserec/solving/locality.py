"""How far a frame's influence reaches: found by trial on a small problem.

A sentence is a function, and nothing but running it tells whether it looks at the whole signal. So
it runs twice, the second time with another last frame, and what differs to the last bit depends on
that frame.
"""

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from phaserec._xp import Array, to_numpy
from phaserec.algorithms import Configured, combinators
from phaserec.problem import Problem
from phaserec.starts.registry import Start
from phaserec.stft import STFT

# Iterations tried, and frames of the small problem in units of the depth of the transform: room for
# four transforms there and back in each.
_TRIED = 4
_ROOM = 24


def reach(algorithm: Configured, depth: int) -> int | None:
    """Frames to either side that a frame has influence on in one iteration.

    Parameters
    ----------
    algorithm : Configured
        The algorithm.
    depth : int
        Frames that a sample is seen by, :attr:`phaserec.STFT.depth`.

    Returns
    -------
    int or None
        Number of frames; None for an algorithm whose steps depend on the whole signal, such as
        conjugate gradients.

    Raises
    ------
    ValueError
        If it mixes and has one source only.
    """
    # Arrays fit the real problem only, and no number in them makes a sentence less local.
    values = {
        name: value
        if isinstance(value, int | float | str)
        else float(np.max(np.abs(to_numpy(value))))
        for name, value in algorithm.at_unit().values.items()
    }

    def steps(p: Problem) -> list[Array]:
        state = algorithm.entry.initial_state(p.start("random", 0))
        found = []
        for _ in range(_TRIED):
            state = algorithm.entry.step(state, p, **values)
            found.append(combinators.estimate(state))
        return found

    with np.errstate(all="ignore"):  # of a divergence the run itself tells
        spans = _spans(steps, depth)
    if None in spans:
        return None
    numbers = [span for span in spans if span is not None]
    most = max(b - a for a, b in zip([depth, *numbers], numbers, strict=False))
    # Projections of what is nearly consistent cancel there; of other problems they need not.
    return max(most, depth - 1) if most > 0 else 0


def start_reach(entry: Start, depth: int) -> int | None:
    """Frames to either side that a start reads to make one.

    Parameters
    ----------
    entry : Start
        The start.
    depth : int
        Frames that a sample is seen by.

    Returns
    -------
    int or None
        Number of frames; None for one that reads all.
    """
    return _spans(lambda p: [p.start(entry.name, 0)], depth)[0]


def _spans(made: Callable[[Problem], list[Array]], depth: int) -> list[int | None]:
    """Frames at the end of what is made that differ where the end of the problem does."""
    one, other = ([to_numpy(S) for S in made(p)] for p in _pair(depth))
    spans: list[int | None] = []
    for a, b in zip(one, other, strict=True):
        same = ((a == b) | (np.isnan(a) & np.isnan(b))).all(axis=(-3, -2))
        changed = np.flatnonzero(~same)
        span = len(same) - changed[0] if changed.size else 0
        # What all but reaches the beginning is taken to reach everything.
        spans.append(None if span > len(same) - 2 * depth else int(span))
    return spans


@lru_cache(maxsize=8)
def _pair(depth: int) -> tuple[Problem, Problem]:
    """Two problems that differ in the last frame."""
    stft = STFT(2 * depth, 2, window="hamming", strict=False)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 2 * (_ROOM * depth + 16)))
    V = np.abs(stft(x)) * rng.uniform(0.5, 1.5, (2, stft.n_bins, 1))
    later, mixture = V.copy(), x.sum(axis=0)
    later[..., -1] *= 3  # more than any before, so that what looks at the largest is found
    later[..., -1] += V.max()
    louder = mixture.copy()
    louder[-1] += 1
    return Problem(V, mixture, stft=stft), Problem(later, louder, stft=stft)
