"""Scores as CSV, as JSON and as a table for the terminal."""

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from phaserec.evaluation.metrics import METRICS, Metric
from phaserec.evaluation.scoring import Row
from phaserec.evaluation.summary import EVERY, Statistic

# What spreadsheets begin a formula with.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def to_csv(rows: Sequence[Row]) -> str:
    """Rows as CSV, one line a source: item, source, estimate, the columns, and notes.

    Parameters
    ----------
    rows : sequence of Row
        Scores.

    Returns
    -------
    str
        Text. Values are ``nan``, ``inf`` and ``-inf`` where they are.
    """
    columns = _columns(rows)
    lines: list[list[object]] = [["item", "source", "estimate", *columns, "notes"]]
    for row in rows:
        values = [row.values.get(column, math.nan) for column in columns]
        lines.append([row.item, row.source, row.estimate, *values, "; ".join(row.notes)])
    return csv_text(lines)


def csv_text(lines: Iterable[Iterable[object]]) -> str:
    """Lines of cells as CSV that spreadsheets take for words and numbers, never for formulas.

    Parameters
    ----------
    lines : iterable of iterable
        Cells; words that begin like a formula get an apostrophe before them.

    Returns
    -------
    str
        Text.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([_harmless(cell) for cell in line] for line in lines)
    return text.getvalue()


def _harmless(cell: object) -> object:
    if not isinstance(cell, str):
        return cell
    plain = cell.replace("\r", " ")  # which older csv modules do not quote
    return f"'{plain}" if cell.startswith(_FORMULA) else plain


def to_json(
    rows: Sequence[Row],
    statistics: Sequence[Statistic],
    failures: Mapping[str, str] | None = None,
    metrics: Sequence[Metric] = (),
) -> str:
    """Everything as JSON, which has no NaN and no infinity: such values are null.

    Parameters
    ----------
    rows : sequence of Row
        Scores; framewise columns with all their frames. Columns that are infinite are named in
        ``infinite``, with their sign.
    statistics : sequence of Statistic
        Of :func:`summary`.
    failures : mapping of str to str, optional
        Items without scores, and why.
    metrics : sequence of Metric, optional
        The metrics, for units; default those registered that the columns belong to.

    Returns
    -------
    str
        Text.
    """
    columns = _columns(rows)
    known = {c: entry for entry in (metrics or METRICS.values()) for c in entry.columns}
    groups: dict[str, dict[str, Any]] = {}
    for each in statistics:
        groups.setdefault(each.group, {})[each.column] = {
            "count": each.count,
            "undefined": each.undefined,
            "infinite": each.infinite,
            "mean": _number(each.mean),
            "mean_interval": [_number(end) for end in each.mean_interval],
            "median": _number(each.median),
            "median_interval": [_number(end) for end in each.median_interval],
        }
    document = {
        "columns": {
            column: {"unit": known[column].unit, "better": known[column].better}
            for column in columns
            if column in known
        },
        "rows": [_plain(row) for row in rows],
        "summary": groups,
        "failed": [{"item": item, "reason": why} for item, why in (failures or {}).items()],
    }
    return json.dumps(document, indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def _plain(row: Row) -> dict[str, Any]:
    signs = {c: "+" if v > 0 else "-" for c, v in row.values.items() if math.isinf(v)}
    frames = {c: [_number(value) for value in values] for c, values in row.frames.items()}
    return {
        "item": row.item,
        "source": row.source,
        "estimate": row.estimate,
        "values": {column: _number(value) for column, value in row.values.items()},
        **({"infinite": signs} if signs else {}),
        **({"frames": frames} if frames else {}),
        "notes": list(row.notes),
    }


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def to_text(rows: Sequence[Row], statistics: Sequence[Statistic]) -> str:
    """Rows and their summary as a table of aligned columns.

    Parameters
    ----------
    rows : sequence of Row
        Scores.
    statistics : sequence of Statistic
        Of :func:`summary`.

    Returns
    -------
    str
        Text, with units in the second line.
    """
    columns = _columns(rows)
    known = {c: entry for entry in METRICS.values() for c in entry.columns}
    sourced = any(row.source for row in rows)
    titles = ["item", "source"] if sourced else ["item"]
    units = [known[column].unit if column in known else "" for column in columns]
    lines = [[*titles, *columns], [*("" for _ in titles), *units]]
    for row in rows:
        name = [row.item, row.source] if sourced else [row.item]
        # Of permuted estimates the reader wants to know which it was.
        if sourced and row.estimate != row.source:
            name[1] = f"{row.source} ← {row.estimate}"
        values = [row.values.get(column, math.nan) for column in columns]
        lines.append([*name, *map(_cell, values, units)])
    body = len(lines)
    for group in dict.fromkeys(each.group for each in statistics):
        found = {each.column: each for each in statistics if each.group == group}
        for title in ("mean", "median"):
            name = [title, group] if sourced else [title]
            lines.append([*name, *map(_cell, (getattr(found[c], title) for c in columns), units)])
            ends = zip(
                (getattr(found[c], f"{title}_interval") for c in columns), units, strict=True
            )
            spans = [f"{_cell(low, unit)}…{_cell(high, unit)}" for (low, high), unit in ends]
            lines.append([*("" for _ in titles[:-1]), "  95 %", *spans])
        if any(each.count - each.infinite < len(_group(rows, group)) for each in found.values()):
            for title in ("undefined", "infinite"):
                name = [title, group] if sourced else [title]
                lines.append([*name, *(str(getattr(found[c], title)) for c in columns)])
    return _aligned(lines, len(titles), rule=body)


def _group(rows: Sequence[Row], group: str) -> list[Row]:
    return [row for row in rows if group in (EVERY, row.source)]


def _aligned(lines: Sequence[Sequence[str]], left: int, *, rule: int) -> str:
    """Columns padded to one width, the first ones to the left, with a rule above the summary."""
    widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
    text = []
    for number, line in enumerate(lines):
        if number == rule:
            text.append("─" * (sum(widths) + 2 * (len(widths) - 1)))
        cells = [
            cell.ljust(width) if place < left else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        text.append("  ".join(cells).rstrip())
    return "\n".join(text) + "\n"


def _cell(value: float, unit: str) -> str:
    if not math.isfinite(value):
        return str(value)
    return f"{value:.2f}" if unit == "dB" else f"{value:.3f}"


def _columns(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(column for row in rows for column in row.values))
