"""The page: everything embedded in one HTML file, and nothing in it can reach the network."""

import base64
import hashlib
import math
import platform
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from importlib import metadata, resources
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from phaserec import __version__
from phaserec._files import check_folder, write_files
from phaserec.report import chart, images, sound
from phaserec.report.model import Panel, Report, Table, Track

_PACKAGES = ("numpy", "scipy", "numba", "soundfile", "torch")
_CHANNELS = 2  # what listeners have


def check_report(option: str, path: str, seconds: float = 30.0) -> None:
    """Raise unless a report can be made and written.

    Parameters
    ----------
    option : str
        Option that names the file, for the message.
    path : str
        The file.
    seconds : float, default 30
        Longest sound to embed.

    Raises
    ------
    ValueError
        If a package is missing or ``seconds`` is not positive.
    OSError
        If the file cannot be written there.
    """
    for package in ("jinja2", "matplotlib"):
        if find_spec(package) is None:
            raise ValueError(f"a report needs {package}: pip install 'phaserec[report]'")
    if not 0 < seconds < math.inf:
        raise ValueError(f"--report-seconds {seconds} must be positive and finite")
    if Path(path).is_dir():
        raise IsADirectoryError(f"{option} {path} is a folder; name a file such as report.html")
    check_folder(f"{option} {path}", Path(path).parent)


def save(report: Report, path: str | Path) -> None:
    """Write a report, whole or not at all.

    Parameters
    ----------
    report : Report
        What to show.
    path : str or Path
        HTML file; missing folders are made.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    content = render(report).encode()
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    write_files([Path(path)], [content])


def render(report: Report) -> str:
    """Make the page of a report.

    Parameters
    ----------
    report : Report
        What to show.

    Returns
    -------
    str
        HTML. All words of the report are escaped, and its content security policy allows
        nothing but what is embedded.
    """
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    parts = resources.files("phaserec.report")
    style, script = ((parts / name).read_text("utf-8") for name in ("style.css", "script.js"))
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["base64"] = lambda content: base64.b64encode(content).decode()
    template = environment.from_string((parts / "template.html").read_text("utf-8"))
    styles = chart.styles_of(report.charts)
    drawings = [chart.draw(one, styles) for one in report.charts]
    return template.render(
        report=report,
        # Part of the package, and what the policy names by its hash.
        style=Markup(style),
        script=Markup(script),
        policy=_policy(style, script),
        panel=None if report.panel is None else _panel(report.panel),
        charts=[drawing for drawing in drawings if drawing is not None],
        styles=styles,
        frame=chart.FRAME,
        tables=[_table(table) for table in report.tables],
        created=datetime.now().astimezone(),
        versions=_versions(),
    )


def _policy(style: str, script: str) -> str:
    def digest(text: str) -> str:
        return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

    return (
        f"default-src 'none'; script-src {digest(script)}; style-src {digest(style)}; "
        "img-src data:; media-src data:; base-uri 'none'; form-action 'none'"
    )


def _versions() -> dict[str, str]:
    versions = {"phaserec": __version__}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    versions["Python"] = platform.python_version()
    versions["platform"] = platform.platform()
    return versions


@dataclass(frozen=True)
class _Cell:
    text: str
    numeric: bool
    order: str


def _cell(value: Any) -> _Cell:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return _Cell("–", False, "")
    if isinstance(value, int | float | np.number) and not isinstance(value, bool):
        whole = isinstance(value, int | np.integer)
        text = f"{value:d}".replace("-", "−") if whole else chart.number(float(value))
        return _Cell(text, True, repr(float(value)))
    return _Cell(str(value), False, str(value))


def _table(table: Table) -> dict[str, Any]:
    rows = [[_cell(value) for value in row] for row in table.rows]
    numeric = [any(row[k].numeric for row in rows) for k in range(len(table.columns))]
    return {
        "title": table.title,
        "columns": table.columns,
        "rows": rows,
        "numeric": numeric,
        "note": table.note,
    }


def _panel(panel: Panel) -> dict[str, Any]:
    """Sound and images of the tracks, and sentences about what was left out."""
    first = panel.tracks[0].samples
    length = min(first.shape[-1], max(round(panel.seconds * panel.rate), 1))
    notes = []
    if length < first.shape[-1]:
        whole = first.shape[-1] / panel.rate
        notes.append(
            f"To keep the file small, sound and images are the first {length / panel.rate:.4g} of "
            f"{whole:.4g} seconds (--report-seconds). Scores and curves are of the whole."
        )
    if first.shape[0] > _CHANNELS:
        notes.append(f"Players play the first {_CHANNELS} of {first.shape[0]} channels.")
    peak = max(float(np.abs(track.samples[..., :length]).max()) for track in panel.tracks)
    scale = 1.0
    if peak > 1:
        scale = 0.99 / peak
        notes.append(
            f"All players are turned down by {-20 * math.log10(scale):.1f} dB, so that the loudest "
            "is not clipped."
        )
    top = float(np.abs(images.transform(first, panel.stft, length)).max())

    def encode(track: Track) -> tuple[sound.Sound, dict[str, bytes]]:
        heard = scale * track.samples[:_CHANNELS, :length]
        return (
            sound.encode(heard, panel.rate, lossless=panel.lossless),
            images.draw(track, panel.stft, length, top),
        )

    with ThreadPoolExecutor() as threads:
        encoded = list(threads.map(encode, panel.tracks))
    gains = _matching_gains(panel, length)
    groups: dict[str, list[dict[str, Any]]] = {}
    for number, (track, (heard, drawn)) in enumerate(zip(panel.tracks, encoded, strict=True)):
        name = track.label if track.group == track.label else f"{track.group}: {track.label}"
        shown = {
            "number": number,
            "label": track.label,
            "name": name,
            "sound": heard,
            "images": drawn,
            "gain": gains[number],
        }
        groups.setdefault(track.group, []).append(shown)
    views = [
        view
        for view in images.views(panel.rate, panel.stft)
        if any(view.key in drawn for _, drawn in encoded)
    ]
    return {
        "groups": groups,
        "views": views,
        # The page opens with something to look at: the mixture has no error.
        "first": next(n for n, (_, drawn) in enumerate(encoded) if views[0].key in drawn),
        "bars": {view.key: images.colour_bar(view.colours) for view in views},
        "table": images.colour_table(images.LEVELS),
        "range": images.RANGE,
        "rate": panel.rate,
        "seconds": length / panel.rate,
        "notes": notes,
    }


def _matching_gains(panel: Panel, length: int) -> list[float]:
    """Gain that brings each track down to the softest of its group; silence is left alone."""
    powers = [float(np.mean(np.square(t.samples[..., :length]))) for t in panel.tracks]
    heard = [
        (track.group, power)
        for track, power in zip(panel.tracks, powers, strict=True)
        if power > 1e-10
    ]
    gains = []
    for track, power in zip(panel.tracks, powers, strict=True):
        softest = min((p for group, p in heard if group == track.group), default=power)
        gains.append(round(math.sqrt(softest / power), 6) if power > 1e-10 else 1.0)
    return gains
