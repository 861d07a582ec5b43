"""Means and medians of scores over items, with bootstrap confidence intervals."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from phaserec.evaluation.scoring import Row

EVERY = "all"
"""Group of the rows of every source."""

# Values that are drawn at once; bounds the memory.
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Statistic:
    """One column of one group of rows.

    Attributes
    ----------
    group : str
        Name of the source, or :data:`EVERY`.
    column : str
        Column of the values.
    count : int
        Values that are defined.
    undefined, infinite : int
        Values that are NaN (left out of everything), and defined ones that are ±inf (left out of
        the mean; the median counts them).
    mean, median : float
        NaN where no value is left.
    mean_interval, median_interval : tuple of float
        Ends of their confidence intervals.
    """

    group: str
    column: str
    count: int
    undefined: int
    infinite: int
    mean: float
    median: float
    mean_interval: tuple[float, float]
    median_interval: tuple[float, float]


def summary(
    rows: Sequence[Row], *, seed: int = 0, n_resamples: int = 2000, level: float = 0.95
) -> list[Statistic]:
    """Mean and median of every column, over all rows and over those of each source.

    Percentile bootstrap (Efron & Tibshirani, An Introduction to the Bootstrap, 1993, ch. 13) over
    items: the sources of one recording are drawn together, because they are not independent.

    Parameters
    ----------
    rows : sequence of Row
        Scores.
    seed : int, default 0
        Seed of the resampling.
    n_resamples : int, default 2000
        Number of resamples.
    level : float, default 0.95
        Confidence level.

    Returns
    -------
    list of Statistic
        By group and column: first all rows, then, where items have several sources, each source.

    Raises
    ------
    ValueError
        If ``n_resamples`` or ``level`` are out of range.
    """
    if n_resamples < 1 or not 0 < level < 1:
        raise ValueError(
            f"n_resamples={n_resamples} must be positive and level={level} between 0 and 1"
        )
    columns = list(dict.fromkeys(column for row in rows for column in row.values))
    sources = list(dict.fromkeys(row.source for row in rows))
    groups = {EVERY: list(rows)}
    if len(sources) > 1:
        groups |= {name: [row for row in rows if row.source == name] for name in sources}
    return [
        _statistic(group, column, _by_item(members, column), seed, n_resamples, level)
        for group, members in groups.items()
        for column in columns
    ]


def _by_item(rows: Sequence[Row], column: str) -> np.ndarray:
    """Values ``(items, sources)``, filled up with NaN."""
    items: dict[str, list[float]] = {}
    for row in rows:
        items.setdefault(row.item, []).append(row.values.get(column, math.nan))
    table = np.full((len(items), max(map(len, items.values()))), np.nan)
    for line, values in zip(table, items.values(), strict=True):
        line[: len(values)] = values
    return table


def _statistic(
    group: str, column: str, table: np.ndarray, seed: int, n_resamples: int, level: float
) -> Statistic:
    undefined = int(np.isnan(table).sum())
    finite = np.where(np.isfinite(table), table, np.nan)
    mean_interval, median_interval = _intervals(table, finite, seed, n_resamples, level)
    return Statistic(
        group,
        column,
        table.size - undefined,
        undefined,
        int(np.isinf(table).sum()),
        float(_means(finite.reshape(1, -1))[0]),
        float(_medians(table.reshape(1, -1))[0]),
        mean_interval,
        median_interval,
    )


def _intervals(
    table: np.ndarray, finite: np.ndarray, seed: int, n_resamples: int, level: float
) -> tuple[tuple[float, float], tuple[float, float]]:
    rng = np.random.default_rng(seed)
    n = len(table)
    block = max(1, _BLOCK // table.size)
    means, medians = [], []
    for start in range(0, n_resamples, block):
        count = min(block, n_resamples - start)
        drawn = rng.integers(n, size=(count, n))
        means.append(_means(finite[drawn].reshape(count, -1)))
        medians.append(_medians(table[drawn].reshape(count, -1)))
    tails = (1 - level) / 2, (1 + level) / 2
    return _quantiles(np.concatenate(means), tails), _quantiles(np.concatenate(medians), tails)


def _means(values: np.ndarray) -> np.ndarray:
    """Mean of each row over what is not NaN; NaN where nothing is left."""
    counts = np.sum(~np.isnan(values), axis=1)
    sums = np.nansum(values, axis=1)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def _medians(values: np.ndarray) -> np.ndarray:
    """Median of each row over what is not NaN; NaN where nothing is left."""
    ordered = np.sort(values, axis=1)  # NaN comes last
    counts = np.sum(~np.isnan(values), axis=1)
    low, high = np.maximum(counts - 1, 0) // 2, counts // 2
    high = np.minimum(high, np.maximum(counts - 1, 0))
    rows = np.arange(len(values))
    a, b = ordered[rows, low], ordered[rows, high]
    with np.errstate(invalid="ignore"):  # between −inf and +inf there is no middle
        return np.where(a == b, a, (a + b) / 2)


def _quantiles(values: np.ndarray, levels: tuple[float, float]) -> tuple[float, float]:
    """Values of the sample at both levels: nothing is interpolated, as some may be infinite."""
    defined = np.sort(values[~np.isnan(values)])
    if not defined.size:
        return math.nan, math.nan
    low, high = (min(int(level * defined.size), defined.size - 1) for level in levels)
    return float(defined[low]), float(defined[high])
