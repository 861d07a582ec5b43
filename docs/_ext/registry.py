"""The directives ``algorithms`` and ``starts``: tables of registries that cannot go out of date."""

import inspect
import math
from collections.abc import Iterable
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.rst import escape

from phaserec.algorithms import ALGORITHMS, Algorithm, Hyper
from phaserec.solving import structural_reason
from phaserec.starts import STARTS, Start


class AlgorithmsDirective(SphinxDirective):
    """A row for every registered algorithm."""

    def run(self) -> list[nodes.Node]:
        self.env.note_reread()  # the registry may have changed where the page has not
        header = ["Algorithm", "Hyper-parameters", "Objective", "Runs on"]
        rows = map(_algorithm, ALGORITHMS.values())
        return self.parse_text_to_nodes(list_table("32 26 22 20", header, rows))


class StartsDirective(SphinxDirective):
    """A row for every registered start."""

    def run(self) -> list[nodes.Node]:
        self.env.note_reread()
        rows = map(_start, STARTS.values())
        return self.parse_text_to_nodes(list_table("70 30", ["Start", "Needs"], rows))


def list_table(widths: str, header: list[str], rows: Iterable[list[list[str]]]) -> str:
    """Markup of a table whose cells are lists of paragraphs."""
    lines = [".. list-table::", "   :header-rows: 1", f"   :widths: {widths}", ""]
    for row in [[[title] for title in header], *rows]:
        for column, paragraphs in enumerate(row):
            mark = "     - " if column else "   * - "
            lines.append(mark + "\n\n       ".join(paragraphs))
    return "\n".join(lines)


def _start(entry: Start) -> list[list[str]]:
    make = f"{entry.make.__module__}.{entry.name.replace('-', '_')}"
    words = [entry.summary or "(no description)", *filter(None, [escape(entry.cite)])]
    needs = "a mixture" if entry.needs_mixture else "nothing"
    return [[f":func:`{entry.name} <{make}>`", *words], [needs]]


def _algorithm(entry: Algorithm) -> list[list[str]]:
    step = f"{entry.step.__module__}.{entry.name.replace('-', '_')}"
    # First lines of docstrings are markup already; all else is plain text.
    return [
        [
            f":func:`{entry.name} <{step}>`",
            entry.summary or "(no description)",
            escape(entry.cite) or "(no source given)",
        ],
        [*map(_hyper, entry.hyper), *_declared(entry)] or ["none"],
        _objective(entry),
        [_machine(entry)],
    ]


def _hyper(hyper: Hyper) -> str:
    allowed = [f"``{word}``" for word in hyper.allowed]
    if hyper.range is not None:
        low, high = hyper.range.low, hyper.range.high
        bounds = [f"≥ {low:g}"] * (low > -math.inf) + [f"≤ {high:g}"] * (high < math.inf)
        noun = "integer" if hyper.kind is int else "number"
        allowed.append(f"{noun} {' and '.join(bounds)}" if bounds else f"any {noun}")
    return f"``{hyper.name}={hyper.default}``: {', '.join(allowed)}"


def _declared(entry: Algorithm) -> list[str]:
    """The start that an algorithm declares."""
    return [] if entry.start is None else [f"``init``: ``{entry.start}`` unless another is given"]


def _objective(entry: Algorithm) -> list[str]:
    if entry.objective is None:
        return ["none"]
    summary = (inspect.getdoc(entry.objective) or "").partition("\n")[0]
    return [*filter(None, [summary]), "Never increases." if entry.descends else "May increase."]


def _machine(entry: Algorithm) -> str:
    reason = structural_reason(entry)
    return "fused kernel" if reason is None else f"arrays: {escape(reason)}"


def setup(app: Sphinx) -> dict[str, Any]:
    """Add the directives."""
    app.add_directive("algorithms", AlgorithmsDirective)
    app.add_directive("starts", StartsDirective)
    return {"parallel_read_safe": True}
