"""Line charts as shapes for an inline SVG."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from phaserec.report.model import Chart

_MARKED = 60  # points of a curve that still get a mark each


@dataclass(frozen=True)
class Frame:
    """Size of a chart, and the edges of its axes.

    Attributes
    ----------
    width, height, left, right, top, bottom : int
        Units of the SVG.
    """

    width: int = 360
    height: int = 220
    left: int = 46
    right: int = 350
    top: int = 12
    bottom: int = 184


FRAME = Frame()


@dataclass(frozen=True)
class Curve:
    """A curve.

    Attributes
    ----------
    name : str
        Its name.
    style : int
        Number of its colour.
    path : str
        Path data of SVG.
    marks : list of tuple
        Position of each point, where there are few.
    values : list of tuple
        Iteration and text of each point.
    """

    name: str
    style: int
    path: str
    marks: list[tuple[float, float]]
    values: list[tuple[int, str]]


@dataclass(frozen=True)
class Drawing:
    """A chart ready to draw.

    Attributes
    ----------
    title, unit, description : str
        Words.
    curves : list of Curve
        Curves.
    last : int
        Last iteration.
    x_ticks, y_ticks : list of tuple
        Position and label.
    """

    title: str
    unit: str
    description: str
    curves: list[Curve]
    last: int
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]


def draw(chart: Chart, styles: Mapping[str, int]) -> Drawing | None:
    """Lay a chart out.

    Parameters
    ----------
    chart : Chart
        The chart.
    styles : mapping of str to int
        Number of the colour of each curve.

    Returns
    -------
    Drawing or None
        None where there is nothing to draw: fewer than two finite values in every curve.
    """
    curves = {
        name: [(n, float(v)) for n, v in enumerate(values) if v is not None and math.isfinite(v)]
        for name, values in chart.curves.items()
    }
    curves = {name: points for name, points in curves.items() if len(points) > 1}
    if not curves:
        return None
    last = max(points[-1][0] for points in curves.values())
    values = [v for points in curves.values() for _, v in points]
    y_values = ticks(min(values), max(values), 5)
    low, high = min(y_values[0], *values), max(y_values[-1], *values)

    def x(n: float) -> float:
        return round(FRAME.left + (FRAME.right - FRAME.left) * n / last, 1)

    def y(value: float) -> float:
        return round(FRAME.top + (FRAME.bottom - FRAME.top) * (high - value) / (high - low), 1)

    drawn = []
    for name, points in curves.items():
        path = ""
        for k, (n, v) in enumerate(points):
            gap = k == 0 or points[k - 1][0] != n - 1
            path += f"{'M' if gap else 'L'}{x(n)} {y(v)}"
        marks = [(x(n), y(v)) for n, v in points] if len(points) <= _MARKED else []
        texts = [(n, f"{number(v)} {chart.unit}") for n, v in points]
        drawn.append(Curve(name, styles[name], path, marks, texts))
    ends = "; ".join(
        f"{name}: {number(points[0][1])} to {number(points[-1][1])} {chart.unit}"
        for name, points in curves.items()
    )
    return Drawing(
        title=chart.title,
        unit=chart.unit,
        description=f"{chart.title} over {last} iterations. {ends}",
        curves=drawn,
        last=last,
        x_ticks=[(x(n), f"{n:g}") for n in ticks(0, last, 6) if n <= last and n == int(n)],
        y_ticks=[(y(v), number(v, short=True)) for v in y_values],
    )


def ticks(low: float, high: float, count: int) -> list[float]:
    """Round values that enclose a range.

    Parameters
    ----------
    low, high : float
        The range.
    count : int
        About how many.

    Returns
    -------
    list of float
        At least two, at equal distances of 1, 2 or 5 times a power of ten.
    """
    span = high - low or max(abs(high), 1.0)
    raw = span / (count - 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [n * step for n in range(first, max(last, first + 1) + 1)]


def number(value: float, *, short: bool = False) -> str:
    """A number with the minus sign of print, two decimals or as few as it needs (``short``)."""
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    text = f"{value:.6g}" if short else f"{value:.2f}"
    return text.replace("-", "−")


def styles_of(charts: Sequence[Chart]) -> dict[str, int]:
    """One number for each name, the same in all charts."""
    names = dict.fromkeys(name for chart in charts for name in chart.curves)
    return {name: number for number, name in enumerate(names)}
