"""Small pieces of HTML that objects show in notebooks; nothing is loaded that they do not need."""

from collections.abc import Callable, Iterable, Mapping
from io import BytesIO
from typing import Any

import numpy as np


def table(title: str, facts: Mapping[str, object]) -> str:
    """A heading and names with their values.

    Parameters
    ----------
    title : str
        Heading.
    facts : mapping of str to object
        Values by name, shown as text.

    Returns
    -------
    str
        HTML.
    """
    lines = (f"<tr><th>{text(name)}</th><td>{text(fact)}</td></tr>" for name, fact in facts.items())
    return f"<b>{text(title)}</b><table>{''.join(lines)}</table>"


def grid(columns: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """Rows below the titles of their columns.

    Parameters
    ----------
    columns : iterable of str
        Titles.
    rows : iterable of iterable
        Cells, shown as text.

    Returns
    -------
    str
        HTML.
    """
    head = "".join(f"<th>{text(column)}</th>" for column in columns)
    body = ("".join(f"<td>{text(cell)}</td>" for cell in row) for row in rows)
    return f"<table><tr>{head}</tr>{''.join(f'<tr>{row}</tr>' for row in body)}</table>"


def embedded(kind: str, content: bytes) -> str:
    """A file as an address that holds it.

    Parameters
    ----------
    kind : str
        Media type, such as ``"image/png"``.
    content : bytes
        The file.

    Returns
    -------
    str
        ``data:`` address.
    """
    from base64 import b64encode

    return f"data:{kind};base64,{b64encode(content).decode()}"


def outline(samples: np.ndarray, *, width: int = 480, height: int = 60) -> str:
    """The course of a signal as a drawing, between its lowest and highest values.

    Parameters
    ----------
    samples : ndarray, shape (time,)
        Real values.
    width, height : int
        Size in pixels.

    Returns
    -------
    str
        SVG.
    """
    if not len(samples):
        return ""
    edges = np.linspace(0, len(samples), min(width, len(samples)) + 1).astype(int)[:-1]
    high, low = np.maximum.reduceat(samples, edges), np.minimum.reduceat(samples, edges)
    top, bottom = max(float(high.max()), 0.0), min(float(low.min()), 0.0)
    scale = (height - 2) / ((top - bottom) or 1)
    x = np.linspace(0.5, width - 0.5, len(edges))
    above, below = ((top - values) * scale + 1 for values in (high, low))
    pairs = [*zip(x, above, strict=True), *zip(x[::-1], below[::-1], strict=True)]
    points = " ".join(f"{a:.1f},{b:.1f}" for a, b in pairs)
    colour = "#4c72b0"
    return (
        f'<svg width="{width}" height="{height}"><polygon points="{points}" fill="{colour}" '
        f'stroke="{colour}"/></svg>'
    )


def picture(draw: Callable[[Any], object], *, width: float = 5, height: float = 2.5) -> str:
    """What matplotlib draws, as an image; nothing where it is not installed.

    Parameters
    ----------
    draw : callable
        Draws into the axes that it is given.
    width, height : float
        Size in inches.

    Returns
    -------
    str
        HTML.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return ""
    figure = Figure(figsize=(width, height), layout="constrained")
    draw(figure.add_subplot())
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=80)
    return f'<img src="{embedded("image/png", buffer.getvalue())}"/>'


def text(value: object) -> str:
    """Any value as text of a page.

    Parameters
    ----------
    value : object
        What to show.

    Returns
    -------
    str
        HTML without markup.
    """
    from html import escape

    return escape(str(value))
