"""The report of an evaluation: summary and scores as tables."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from phaserec.evaluation.metrics import METRICS, Metric
from phaserec.evaluation.scoring import Row
from phaserec.evaluation.summary import Statistic
from phaserec.report.chart import number
from phaserec.report.model import Report, Table


def scores_report(
    rows: Sequence[Row],
    statistics: Sequence[Statistic],
    failures: Mapping[str, str],
    metrics: Sequence[Metric],
    *,
    command: str,
) -> Report:
    """Show scores on a page.

    Parameters
    ----------
    rows : sequence of Row
        Scores.
    statistics : sequence of Statistic
        Their summary.
    failures : mapping of str to str
        Items without scores, and why.
    metrics : sequence of Metric
        The metrics, for units.
    command : str
        The command.

    Returns
    -------
    Report
        The report.
    """
    known = {c: entry for entry in (metrics or METRICS.values()) for c in entry.columns}
    items = len({row.item for row in rows})
    tables = []
    if statistics:
        tables.append(_summary(statistics, known))
    if rows:
        tables.append(_scores(rows, known))
    if failures:
        tables.append(Table("Not scored", ["item", "reason"], list(failures.items())))
    undefined = sorted({text for row in rows for text in row.notes})
    return Report(
        title="Evaluation",
        summary=f"{len(rows)} estimates of {items} items"
        + (f"; {len(failures)} items could not be scored." if failures else "."),
        command=command,
        tables=tables,
        notes=undefined,
    )


def _summary(statistics: Sequence[Statistic], known: Mapping[str, Metric]) -> Table:
    several = len({each.group for each in statistics}) > 1
    columns = ["metric", "mean", "95 % interval", "median", "95 % interval", "values", "undefined"]
    rows = []
    for each in statistics:
        values: list[Any] = [_titled(each.column, known), each.mean, _span(each.mean_interval)]
        values += [each.median, _span(each.median_interval), each.count, each.undefined]
        rows.append([each.group, *values] if several else values)
    note = "Intervals are of the percentile bootstrap over items. Means leave out infinite values."
    return Table("Summary", ["source", *columns] if several else columns, rows, note)


def _scores(rows: Sequence[Row], known: Mapping[str, Metric]) -> Table:
    sourced = any(row.source for row in rows)
    permuted = sourced and any(row.estimate != row.source for row in rows)
    records = []
    for row in rows:
        record: dict[str, Any] = {"item": row.item}
        if sourced:
            record["source"] = row.source
        if permuted:
            record["estimate"] = row.estimate
        values = {_titled(column, known): value for column, value in row.values.items()}
        records.append(record | values)
    return Table.of_records("Scores", records)


def _titled(column: str, known: Mapping[str, Metric]) -> str:
    unit = known[column].unit if column in known else ""
    return f"{column} ({unit})" if unit else column


def _span(ends: tuple[float, float]) -> str:
    return "–" if any(math.isnan(end) for end in ends) else " … ".join(map(number, ends))
