"""Tables and figures of what quality.py measures.

The rows are those of its CSV, numbers as numbers. The page of the small grid tells everything; that
of a larger one gives means, and differences of the same recordings with their intervals.
"""

from pathlib import Path
from typing import Any

import numpy as np

CHECKPOINTS = (0, 1, 2, 5, 10, 20, 50, 100)
SCORED = (0, 20, 100)


def mean(values: list[float], digits: int) -> str:
    """Mean with its 95 % bootstrap interval over recordings, if there are several."""
    data = np.asarray(values)
    if len(data) == 1:
        return f"{data[0]:.{digits}f}"
    drawn = np.random.default_rng(0).integers(len(data), size=(2000, len(data)))
    low, high = np.quantile(data[drawn].mean(1), (0.025, 0.975))
    return f"{data.mean():.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def table(title: str, header: list[str], body: list[list[str]]) -> str:
    """A table in reStructuredText."""
    lines = [title, "", ".. csv-table::", f"   :header: {quoted(header)}", ""]
    return "\n".join([*lines, *(f"   {quoted(line)}" for line in body), "", ""])


def quoted(cells: list[str]) -> str:
    """Cells of a table."""
    return ", ".join(f'"{cell}"' for cell in cells)


def pick(found: list[dict], column: str, **facts: Any) -> dict[str, float]:
    """Values of a column by recording, in the rows that agree with the facts."""
    return {
        row["recording"]: row[column]
        for row in found
        if column in row and all(row[key] == value for key, value in facts.items())
    }


def ordered(found: list[dict], key: str) -> list[Any]:
    """Different values of a column, in their order."""
    return list(dict.fromkeys(row[key] for row in found))


def by_start(found: list[dict], column: str, title: str, keys: tuple[str, ...], n: int) -> str:
    """Means after n iterations: a line for each case, a column for each start."""
    names, digits = ordered(found, "start"), 2 if column in ("pesq", "estoi") else 1
    body = []
    for case in dict.fromkeys(tuple(row[key] for key in keys) for row in found):
        facts = dict(zip(keys, case, strict=True))
        values = [pick(found, column, start=s, iteration=n, **facts) for s in names]
        if all(values):
            body.append([*map(str, case), *(mean(list(v.values()), digits) for v in values)])
    return table(title, [*keys, *names], body)


def seconds_to(found: list[dict], reached: float, **facts: Any) -> float:
    """Seconds until a convergence is reached, between checkpoints by a straight line."""
    points = [
        (row["seconds"], row["convergence"])
        for row in found
        if all(row[key] == value for key, value in facts.items())
    ]
    before = points[0]
    for point in points:
        if point[1] <= reached:
            if point is before or before[1] <= reached:
                return point[0]
            share = (before[1] - reached) / (before[1] - point[1])
            return before[0] + share * (point[0] - before[0])
        before = point
    return float("inf")


def times(found: list[dict], target: float | None) -> list[list[str]]:
    """Seconds of fast Griffin-Lim to a target, over those from random phases: medians.

    Without a target it is what random phases come to in 50 iterations.
    """
    names, body = ordered(found, "start"), []
    for window in ordered(found, "window"):
        for overlap in ordered(found, "overlap"):
            facts = {"window": window, "overlap": overlap, "algorithm": "fast-griffin-lim"}
            usual = pick(found, "convergence", start="random", iteration=50, **facts)
            cells = []
            for start in names:
                ratios = []
                for name, reached in usual.items():
                    goal = reached if target is None else target
                    taken = [
                        seconds_to(found, goal, recording=name, start=s, **facts)
                        for s in (start, "random")
                    ]
                    ratios.append(taken[0] / taken[1] if np.isfinite(taken[0]) else np.inf)
                middle = float(np.median(ratios))
                cells.append(f"{middle:.2f}" if np.isfinite(middle) else "not in 100")
            body.append([window, str(overlap), *cells])
    return body


def page(found: list[dict], mixtures: bool) -> str:
    """All tables."""
    text = ""
    if mixtures:
        keys = ("magnitudes", "overlap", "algorithm")
        for kind in ordered(found, "kind"):
            some = [row for row in found if row["kind"] == kind]
            first = [row for row in some if row["algorithm"] == ordered(some, "algorithm")[0]]
            text += by_start(first, "si_sdr", f"SI-SDR in dB of the start, {kind}.", keys[:2], 0)
            title = f"SI-SDR in dB after 20 iterations, {kind}."
            text += by_start(some, "si_sdr", title, keys, 20)
        return text
    for kind in ordered(found, "kind"):
        some = [row for row in found if row["kind"] == kind]
        first = [row for row in some if row["algorithm"] == ordered(some, "algorithm")[0]]
        title = f"Spectral convergence in dB of the start alone, {kind}."
        text += by_start(first, "convergence", title, ("window", "overlap"), 0)
        for n in (20, 50):
            for algorithm in ordered(some, "algorithm"):
                chosen = [row for row in some if row["algorithm"] == algorithm]
                title = f"Spectral convergence in dB after {n} iterations of {algorithm}, {kind}."
                text += by_start(chosen, "convergence", title, ("window", "overlap"), n)
    fast = [row for row in found if row["algorithm"] == "fast-griffin-lim"]
    header = ["window", "overlap", *ordered(fast, "start")]
    title = (
        "Seconds of fast Griffin-Lim, start included, until it is where 50 iterations from random "
        "phases are, as a part of those: medians."
    )
    text += table(title, header, times(fast, None))
    title = (
        "The same until −30 dB. 0.00 is where random phases do not lead there in 100 iterations, "
        "and the start does."
    )
    text += table(title, header, times(fast, -30.0))
    speech = [row for row in fast if row["kind"] == "speech" and row["window"] == "hann"]
    for score in ("pesq", "estoi"):
        for n in SCORED:
            if any(score in row for row in speech):
                title = f"{score.upper()} after {n} iterations of fast Griffin-Lim, Hann."
                text += by_start(speech, score, title, ("overlap",), n)
    return text


def draw(found: list[dict], path: Path) -> None:
    """Spectral convergence of speech over seconds and over iterations, for every overlap."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    speech = [row for row in found if row["kind"] == "speech" and row["window"] == "hann"]
    overlaps = ordered(speech, "overlap")
    figure, axes = pyplot.subplots(
        2, len(overlaps), figsize=(3.2 * len(overlaps), 6), sharey="col", squeeze=False
    )
    for column, overlap in enumerate(overlaps):
        for k, start in enumerate(ordered(speech, "start")):
            for algorithm, style in zip(ordered(speech, "algorithm"), ("--", "-"), strict=False):
                facts = {"overlap": overlap, "start": start, "algorithm": algorithm}
                points = {
                    key: [
                        np.mean(list(pick(speech, key, iteration=n, **facts).values()))
                        for n in CHECKPOINTS
                    ]
                    for key in ("seconds", "convergence")
                }
                label = start if style == "-" else None
                look = {"color": f"C{k}", "linestyle": style, "label": label}
                axes[0, column].plot(CHECKPOINTS, points["convergence"], **look)
                axes[1, column].plot(points["seconds"], points["convergence"], **look)
        axes[0, column].set_title(f"Hann, overlap {overlap} %")
        axes[0, column].set_xscale("symlog")
        axes[0, column].set_xlabel("iterations")
        axes[1, column].set_xscale("log")
        axes[1, column].set_xlabel("seconds")
    for row in axes:
        row[0].set_ylabel("spectral convergence (dB)")
    axes[0, -1].legend(fontsize="small")
    figure.tight_layout()
    figure.savefig(path)


def differences_page(found: list[dict]) -> str:
    """TODO"""
    return ""
