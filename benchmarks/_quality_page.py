"""Tables and figures of what quality.py measures.

The rows are those of its CSV, numbers as numbers. The page of the small grid tells everything; that
of a larger one gives means, and differences of the same recordings with their intervals.
"""

from pathlib import Path
from typing import Any

import numpy as np

CHECKPOINTS = (0, 1, 2, 5, 10, 20, 50, 100)
SCORED = (0, 20, 100)
# Starts and iterations after which algorithms are compared.
MOMENTS = (("pghi", 20), ("random", 100))
# What tells rows apart.
KEYS = ("recording", "magnitudes", "window", "overlap", "algorithm", "start", "iteration")


def mean(values: list[float], digits: int) -> str:
    """Mean with its 95 % bootstrap interval over recordings, if there are several."""
    if not values:
        return ""
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
    return {row["recording"]: row[column] for row in found if column in row and agree(row, facts)}


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
    points = [(row["seconds"], row["convergence"]) for row in found if agree(row, facts)]
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


def compact(found: list[dict]) -> str:
    """Tables of a large grid: means by line and column, and differences of the same recordings."""
    kinds = ordered(found, "kind")
    counted = ", ".join(f"{len(recorded(found, kind))} of {kind}" for kind in kinds)
    text = f"Recordings: {counted}, {found[0]['duration']:g} s of each.\n\n"
    if "si_sdr" in found[-1]:
        return text + separated(found)
    for kind in kinds:
        some = [row for row in found if row["kind"] == kind]
        at = ("window", "overlap")
        start = {"algorithm": ordered(some, "algorithm")[0], "iteration": 0}
        title = f"Spectral convergence in dB of the start alone, {kind}."
        text += means(some, "convergence", title, at, "start", **start)
        fast = {"algorithm": "fast-griffin-lim", "iteration": 50}
        title = f"Spectral convergence in dB after 50 iterations of fast-griffin-lim, {kind}."
        text += means(some, "convergence", title, at, "start", **fast)
        facts = {"start": "pghi", "iteration": 20}
        title = f"Spectral convergence in dB from pghi after 20 iterations, {kind}."
        text += means(some, "convergence", title, at, "algorithm", **facts)
        title = f"PESQ from pghi after 20 iterations, {kind}."
        text += means(some, "pesq", title, at, "algorithm", **facts)
    for kind in kinds:
        if len(recorded(found, kind)) > 1:
            text += compared([row for row in found if row["kind"] == kind], kind)
    return text


def compared(some: list[dict], kind: str) -> str:
    """Paired differences between algorithms, windows and starts, by overlap."""
    runs = [row for row in some if (row["start"], row["iteration"]) in MOMENTS]
    title = f"Spectral convergence less that of fast-griffin-lim in dB, all windows, {kind}."
    keys = ("start", "iteration", "overlap")
    text = differences(runs, "convergence", title, keys, "algorithm", "fast-griffin-lim")
    fast = [row for row in some if row["algorithm"] == "fast-griffin-lim"]
    title = f"PESQ less that of Hann, fast-griffin-lim from pghi, {kind}."
    listened = [row for row in fast if row["start"] == "pghi" and row["iteration"] == 20]
    text += differences(listened, "pesq", title, keys[1:], "window", "hann")
    title = (
        f"Spectral convergence less that from pghi in dB, fast-griffin-lim, all windows, {kind}."
    )
    begun = [row for row in fast if row["iteration"] in (0, 20, 50)]
    return text + differences(begun, "convergence", title, keys[1:], "start", "pghi")


def separated(found: list[dict]) -> str:
    """Means of SI-SDR: a line for each algorithm, a column for each start."""
    text = ""
    last = max(row["iteration"] for row in found)
    for kind in ordered(found, "kind"):
        some = [row for row in found if row["kind"] == kind]
        keys = ("magnitudes", "overlap", "algorithm")
        title = f"SI-SDR in dB after {last} iterations, {kind}."
        text += means(some, "si_sdr", title, keys, "start", iteration=last)
    return text


def recorded(found: list[dict], kind: str) -> list[str]:
    """Names of the recordings of a kind."""
    return ordered([row for row in found if row["kind"] == kind], "recording")


def means(
    found: list[dict], column: str, title: str, keys: tuple[str, ...], across: str, **facts: Any
) -> str:
    """Means over recordings: a line for each case, a column for each value of ``across``."""
    chosen = [row for row in found if column in row and agree(row, facts)]
    if not chosen:
        return ""
    names, digits = ordered(chosen, across), 2 if column == "pesq" else 1
    body = []
    for case in dict.fromkeys(tuple(row[key] for key in keys) for row in chosen):
        here = dict(zip(keys, case, strict=True))
        values = [pick(chosen, column, **here, **{across: name}) for name in names]
        cells = (f"{np.mean(list(v.values())):.{digits}f}" if v else "" for v in values)
        body.append([*map(str, case), *cells])
    return table(title, [*keys, *names], body)


def differences(
    found: list[dict], column: str, title: str, keys: tuple[str, ...], across: str, base: str
) -> str:
    """Paired differences to a base, first averaged in a recording: a line for each case."""
    chosen = [row for row in found if column in row]
    names = [name for name in ordered(chosen, across) if name != base]
    if len(names) == len(ordered(chosen, across)):
        return ""
    digits = 2 if column == "pesq" else 1
    body = []
    for case in dict.fromkeys(tuple(row[key] for key in keys) for row in chosen):
        here = dict(zip(keys, case, strict=True))
        rows = [row for row in chosen if agree(row, here)]
        values = (paired(rows, column, across, name, base) for name in names)
        body.append([*map(str, case), *(mean(each, digits) for each in values)])
    return table(title, [*keys, *names], body)


def paired(found: list[dict], column: str, across: str, name: str, base: str) -> list[float]:
    """Differences between two values of a key, the mean over what else they share, by recording."""
    shared = [key for key in KEYS if key != across]
    values = {(row[across], *(row[key] for key in shared)): row[column] for row in found}
    parts: dict[str, list[float]] = {}
    for row in found:
        case = tuple(row[key] for key in shared)
        if row[across] == name and (base, *case) in values:
            parts.setdefault(row["recording"], []).append(row[column] - values[(base, *case)])
    return [float(np.mean(each)) for each in parts.values()]


def agree(row: dict, facts: dict[str, Any]) -> bool:
    """Whether a row has these values."""
    return all(row[key] == value for key, value in facts.items())
