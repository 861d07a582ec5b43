"""Search of the algorithm, its hyper-parameters and its number of iterations on known mixtures.

A candidate is an algorithm with values of its hyper-parameters. The loop over iterations is a
generator, so one run of the most iterations gives the score after every smaller number of them.
"""

import itertools
import math
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from phaserec import _html
from phaserec._typing import Value
from phaserec._words import suggestion
from phaserec._xp import as_int, to_numpy
from phaserec.algorithms import configure, resolve
from phaserec.corpus.mixtures import Item
from phaserec.corpus.workers import available_cores, one_thread
from phaserec.evaluation import METRICS, Metric, Settings, Undefined, by_source
from phaserec.evaluation import resolve as resolve_metrics
from phaserec.problem import Problem
from phaserec.solving import NotFinite, prepare
from phaserec.stft import STFT

STATISTICS: dict[str, Callable[..., Any]] = {"median": np.median, "mean": np.mean}
STRATEGIES = ("grid", "halving")

# In the unit of the score; smaller differences are rounding, where an algorithm has come to rest.
TOLERANCE = 1e-3

# σ of the published experiment (Magron & Virtanen, EUSIPCO 2023).
SIGMAS = (0.0, 1e-3, 1e-2, 1e-1, 1.0, 1e1, 1e2, 1e3)


@dataclass(frozen=True)
class Candidate:
    """An algorithm with values of its hyper-parameters; the others have their defaults."""

    algorithm: str
    hyper: dict[str, Value] = field(default_factory=dict)

    def __str__(self) -> str:
        values = (f"{k}={v:g}" if isinstance(v, float) else f"{k}={v}" for k, v in self.items)
        return " ".join([self.algorithm, *values])

    @property
    def items(self) -> list[tuple[str, Value]]:
        """Hyper-parameters by name."""
        return list(self.hyper.items())


@dataclass(frozen=True)
class Choice:
    """A candidate with a number of iterations, and its score on the items searched on."""

    candidate: Candidate
    n_iter: int
    score: float

    def __str__(self) -> str:
        return f"{self.candidate}, {self.n_iter} iterations, {self.score:.2f}"


@dataclass(frozen=True)
class Search:
    """What a search found.

    Attributes
    ----------
    candidates : tuple of Candidate
        What was tried.
    scores : ndarray, shape (candidates, items, n_iter + 1)
        After 0, 1, … iterations; NaN where a candidate did not run on an item.
    statistic : str
        How scores are summed up over items.
    """

    candidates: tuple[Candidate, ...]
    scores: np.ndarray
    statistic: str

    def __repr__(self) -> str:
        n, items, iterations = self.scores.shape
        return (
            f"Search({n} candidates, {items} items, {iterations - 1} iterations; best: "
            f"{self.ranking()[0]})"
        )

    def _repr_html_(self) -> str:
        """Every candidate, the best first."""
        cells = ((c.candidate, c.n_iter, f"{c.score:.2f}") for c in self.ranking())
        return _html.grid(["candidate", "iterations", f"{self.statistic} score"], cells)

    @property
    def iterations(self) -> int:
        """Iterations that were run, over all candidates and items."""
        return int(self.runs.sum()) * (self.scores.shape[-1] - 1)

    @property
    def runs(self) -> np.ndarray:
        """Items that each candidate ran on, ``(candidates,)``."""
        return np.count_nonzero(~np.isnan(self.scores[..., 0]), axis=1)

    def curve(self, k: int) -> np.ndarray:
        """Score of candidate k after 0, 1, … iterations over its items, ``(n_iter + 1,)``."""
        ran = ~np.isnan(self.scores[k, :, 0])
        return summarise(self.scores[k, ran], self.statistic)

    def ranking(self) -> list[Choice]:
        """Every candidate at its best number of iterations, the best first.

        Candidates that ran on more items come first; of equal ones the earlier does. Iterations
        are the fewest whose score is the highest, to :data:`TOLERANCE`.

        Raises
        ------
        ValueError
            If the score of no candidate is a number, so that nothing can be chosen.
        """
        choices = []
        for k, candidate in enumerate(self.candidates):
            curve = self.curve(k)
            n_iter = fewest(curve)
            choices.append((-self.runs[k], -curve[n_iter], n_iter, k, candidate))
        if all(score == np.inf for _, score, *_ in choices):
            raise ValueError(
                f"the {self.statistic} score over items is a number for no candidate; leave out "
                "items on which the score is undefined (silent estimates, too little speech), or "
                "choose another one"
            )
        return [Choice(c, n, float(-score)) for _, score, n, _, c in sorted(choices, key=_order)]


def _order(choice: tuple[Any, ...]) -> tuple[Any, ...]:
    return choice[:4]


def fewest(curve: np.ndarray) -> int:
    """Fewest iterations whose score is the highest, to :data:`TOLERANCE`.

    Parameters
    ----------
    curve : ndarray, shape (n_iter + 1,)
        Scores after 0, 1, … iterations.

    Returns
    -------
    int
        Number of iterations.
    """
    return int(np.argmax(curve >= curve.max() - TOLERANCE))


def summarise(scores: np.ndarray, statistic: str) -> np.ndarray:
    """Sum up scores over items; one that is not a number counts as the worst.

    Parameters
    ----------
    scores : ndarray, shape (items, ...)
        Scores.
    statistic : {"median", "mean"}
        How.

    Returns
    -------
    ndarray, shape (...)
        In the unit of the score.
    """
    if len(scores) == 0:
        return np.full(scores.shape[1:], -np.inf)
    with np.errstate(invalid="ignore"):
        value = STATISTICS[statistic](np.where(np.isnan(scores), -np.inf, scores), axis=0)
    return np.where(np.isnan(value), -np.inf, value)


def candidates(
    algorithms: Sequence[str], grid: Mapping[str, Sequence[Value]] | None = None
) -> list[Candidate]:
    """Every algorithm at every combination of the values of the hyper-parameters that it has.

    Parameters
    ----------
    algorithms : sequence of str
        Names.
    grid : mapping of str to sequence, optional
        Values by name of hyper-parameter. Words are read as the command line reads them.
        ``momentum`` goes with every algorithm.

    Returns
    -------
    list of Candidate
        Different ones, in order.

    Raises
    ------
    ValueError
        For an unknown algorithm, a value out of range, or a name no algorithm here has.

    Examples
    --------
    >>> from phaserec.tuning import candidates
    >>> [str(c) for c in candidates(["misi", "mix-incons"], {"sigma": [0.1, 1.0]})]
    ['misi', 'mix-incons sigma=0.1', 'mix-incons sigma=1']
    """
    grid = grid or {}
    if not algorithms:
        raise ValueError("algorithms must name at least one; `phaserec list` shows them")
    for name, values in grid.items():
        if len(values) == 0:
            raise ValueError(f"{name} needs at least one value")
    found: dict[str, Candidate] = {}
    used = set()
    for entry in map(resolve, algorithms):
        kinds = {h.name: h for h in entry.known}
        names = [name for name in grid if name in kinds]
        used.update(names)
        axes = (
            [kinds[name].parse(v) if isinstance(v, str) else v for v in grid[name]]
            for name in names
        )
        for values in itertools.product(*axes):
            candidate = Candidate(entry.name, dict(zip(names, values, strict=True)))
            configure(entry, candidate.hyper)
            found.setdefault(repr((candidate.algorithm, sorted(candidate.items))), candidate)
    for name in grid:
        if name not in used:
            known = {h.name for each in algorithms for h in resolve(each).known}
            raise ValueError(
                f"no hyper-parameter of {', '.join(algorithms)} is called {name!r}"
                + suggestion(name, known)
            )
    return list(found.values())


def search(
    items: Sequence[Item],
    candidates: Sequence[Candidate],
    n_iter: int,
    *,
    stft: STFT,
    strategy: str = "grid",
    score: str = "si-sdr",
    source: str | None = None,
    statistic: str = "median",
    seed: int = 0,
    jobs: int | None = None,
) -> Generator[float, None, Search]:
    """Score candidates after every number of iterations, items side by side on threads.

    ``"grid"`` runs every candidate on every item. ``"halving"`` is successive halving (Karnin,
    Koren & Somekh, ICML 2013; Jamieson & Talwalkar, AISTATS 2016): all candidates run on a few
    random items, the better half of them on twice as many, and so on until all items are used.

    Parameters
    ----------
    items : sequence of Item
        Validation mixtures with the same sources.
    candidates : sequence of Candidate
        What to try.
    n_iter : int
        Most iterations.
    stft : STFT
        Transform of the magnitudes.
    strategy : {"grid", "halving"}
        How to search.
    score : str
        Metric of :mod:`phaserec.evaluation` of one waveform of which more is better, mean over
        channels.
    source : str, optional
        Source that is scored; default the mean over sources.
    statistic : {"median", "mean"}
        How scores are summed up over items.
    seed : int, default 0
        Which items the halving begins with. The result does not depend on ``jobs``.
    jobs : int, optional
        Threads; default the processors at hand.

    Yields
    ------
    float
        Fraction done so far.

    Returns
    -------
    Search
        Scores.

    Raises
    ------
    ValueError
        For an unknown word, no items or candidates, or an item whose scored source is silent.
    """
    for name, value, known in (
        ("strategy", strategy, STRATEGIES),
        ("statistic", statistic, STATISTICS),
    ):
        if value not in known:
            raise ValueError(f"{name}={value!r} must be one of {', '.join(known)}")
    n_iter = as_int("n_iter", n_iter, 0)
    jobs = available_cores() if jobs is None else as_int("jobs", jobs, 1)
    if not len(items) or not candidates:
        raise ValueError(f"{len(items)} item(s) and {len(candidates)} candidate(s): nothing to do")
    scores = np.full((len(candidates), len(items), n_iter + 1), np.nan)
    found = Search(tuple(candidates), scores, statistic)
    score_item = partial(
        _score_item, items, n_iter=n_iter, stft=stft, metric=_metric(score), source=source
    )
    rounds = _rounds(len(candidates), len(items), strategy)
    order = np.arange(len(items))
    if strategy == "halving":
        order = np.random.default_rng(seed).permutation(len(items))
    yield from _play(found, rounds, order, score_item, jobs)
    return found


def _play(
    found: Search,
    rounds: Sequence[tuple[int, int]],
    order: np.ndarray,
    score_item: Callable[[int, list[Candidate]], np.ndarray],
    jobs: int,
) -> Iterator[float]:
    """Fill in the scores of a search, round by round; yields the fraction done."""
    alive = list(range(len(found.candidates)))
    # Of each round: candidates kept for it, and items it adds.
    sizes = [size for _, size in rounds]
    total = sum(k * n for (k, _), n in zip(rounds, np.diff([0, *sizes]), strict=True))
    done, before = 0, 0
    with ThreadPoolExecutor(jobs, initializer=one_thread) as pool:
        for kept, size in rounds:
            if kept < len(alive):
                best = sorted(alive, key=lambda k: (-found.curve(k).max(), k))
                alive = sorted(best[:kept])
            tried = [found.candidates[k] for k in alive]
            running = {pool.submit(score_item, int(i), tried): int(i) for i in order[before:size]}
            try:
                for future in as_completed(running):
                    found.scores[alive, running[future]] = future.result()
                    done += len(alive)
                    yield done / total
            finally:
                for future in running:
                    future.cancel()
            before = size


def given(
    items: Sequence[Item], *, stft: STFT, score: str, source: str | None, statistic: str
) -> float:
    """Score of the estimates as they were given, before any phase is recovered.

    Parameters
    ----------
    items : sequence of Item
        Mixtures with estimates.
    stft, score, source, statistic
        As for :func:`search`.

    Returns
    -------
    float
        In the unit of the score, over items.
    """
    metric = _metric(score)
    values = []
    for item in items:
        assert item.estimates is not None
        which = _which(item, source)
        settings = Settings(item.rate, stft)
        signals = item.references[:, which], item.estimates[:, which]
        values.append(_measured(metric, *signals, settings))
    return float(summarise(np.array(values), statistic))


def _which(item: Item, source: str | None) -> list[int]:
    """Numbers of the sources that are scored, none of them silent."""
    if source is not None and source not in item.sources:
        raise ValueError(
            f"source={source!r} is not one of {', '.join(item.sources)}"
            + suggestion(source, item.sources)
        )
    which = [j for j, name in enumerate(item.sources) if source in (None, name)]
    for j in which:
        if not item.references[:, j].any():
            raise ValueError(
                f"{item.name}: the source {item.sources[j]!r} is silent and cannot be scored"
            )
    return which


def _metric(score: str) -> Metric:
    """Metric that can decide between candidates."""
    fit = [
        entry.name
        for entry in METRICS.everything().values()
        if not (entry.joint or entry.improvement) and entry.better == "higher"
    ]
    if score not in fit:
        raise ValueError(f"score={score!r} must be one of {', '.join(fit)}")
    return resolve_metrics([score])[0]


def _rounds(n_candidates: int, n_items: int, strategy: str) -> list[tuple[int, int]]:
    """Candidates kept and items used in all, of each round of the search."""
    if strategy == "grid":
        return [(n_candidates, n_items)]
    count = 1 + min(math.ceil(math.log2(n_candidates)), int(math.log2(n_items)))
    return [
        (math.ceil(n_candidates / 2**r), math.ceil(n_items / 2 ** (count - 1 - r)))
        for r in range(count)
    ]


def _score_item(
    items: Sequence[Item],
    index: int,
    candidates: Sequence[Candidate],
    *,
    n_iter: int,
    stft: STFT,
    metric: Metric,
    source: str | None,
) -> np.ndarray:
    """Scores of candidates on one item, ``(candidates, n_iter + 1)``."""
    item = items[index]
    which = _which(item, source)
    references = item.references[:, which]
    problem = Problem(item.magnitudes, item.mixture, stft=stft)

    settings = Settings(item.rate, stft)

    def measure(waveforms: np.ndarray) -> float:
        return _measured(metric, references, waveforms[:, which], settings)

    # A candidate that diverges scores worst, without a word, as one whose score is undefined.
    scores = np.full((len(candidates), n_iter + 1), -np.inf)
    begun: dict[Any, float] = {}
    with np.errstate(all="ignore"):
        for k, candidate in enumerate(candidates):
            run = prepare(configure(candidate.algorithm, candidate.hyper), problem, n_iter)
            with suppress(NotFinite):
                if run.init not in begun:  # many candidates start from the same
                    begun[run.init] = measure(to_numpy(run.sound(run.start())))
                scores[k, 0] = begun[run.init]
                for n, waveforms in enumerate(run.waveforms(), start=1):
                    scores[k, n] = measure(to_numpy(waveforms))
    return scores


def _measured(
    metric: Metric, references: np.ndarray, estimates: np.ndarray, settings: Settings
) -> float:
    """Mean score of sources ``(channels, J, time)``; −inf, the worst, where it is no number."""
    try:
        with np.errstate(invalid="ignore"):
            score = float(np.mean(by_source(metric, references, estimates, settings)))
    except Undefined:
        return -np.inf
    return -np.inf if np.isnan(score) else score
