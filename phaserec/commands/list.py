"""``phaserec list``: the algorithms, and all that has a name as JSON."""

import math
from typing import Any

from phaserec.algorithms import ALGORITHMS, Algorithm, configure
from phaserec.algorithms.hyper import Hyper
from phaserec.commands.results import as_json, check_targets, write_results
from phaserec.solving import needs_mixture, structural_reason


def run(json_file: str | None) -> None:
    """Print every algorithm with its hyper-parameters, source and machine.

    Parameters
    ----------
    json_file : str or None
        File to write them to instead, with starts and metrics; ``"-"`` for standard output.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    if json_file is not None:
        check_targets(json_file)
        write_results({json_file: as_json(_everything())})
        return
    for entry in ALGORITHMS.everything().values():
        hyper = " ".join(f"--{h.name.replace('_', '-')} {h.default}" for h in entry.hyper)
        reason = structural_reason(entry)
        print(f"{entry.name:<24}{hyper}")
        print(f"    {entry.summary}")
        print(f"    {entry.cite}" if entry.cite else "    (no source given)")
        if entry.start is not None:
            print(f"    --init {entry.start} unless another is given")
        print("    on the fused kernel" if reason is None else f"    on the arrays: {reason}")


def _everything() -> dict[str, list[dict[str, Any]]]:
    from phaserec.evaluation import METRICS  # the list for people has no scores
    from phaserec.starts import STARTS

    return {
        "algorithms": [_algorithm(entry) for entry in ALGORITHMS.everything().values()],
        "starts": [
            {
                "name": entry.name,
                "summary": entry.summary,
                "source": entry.cite,
                "needs_mixture": entry.needs_mixture,
            }
            for entry in STARTS.everything().values()
        ],
        "metrics": [
            {
                "name": entry.name,
                "summary": entry.summary,
                "columns": list(entry.columns),
                "unit": entry.unit,
                "better": entry.better,
                "needs_mixture": entry.improvement,
                "package": entry.package,
                "installed": entry.installed,
            }
            for entry in METRICS.everything().values()
        ],
    }


def _algorithm(entry: Algorithm) -> dict[str, Any]:
    reason = structural_reason(entry)
    return {
        "name": entry.name,
        "summary": entry.summary,
        "source": entry.cite,
        "hyper": [_hyper(h) for h in entry.known],
        "needs_mixture": needs_mixture(configure(entry, {})),
        "descends": entry.descends,
        "start": entry.start,
        "machine": "kernel" if reason is None else "arrays",
        "reason": reason,
    }


def _hyper(hyper: Hyper) -> dict[str, Any]:
    """A hyper-parameter: the words and the range of numbers that it takes."""
    bounds = None
    if hyper.range is not None:
        ends = (hyper.range.low, hyper.range.high)
        bounds = [end if math.isfinite(end) else None for end in ends]
    return {
        "name": hyper.name,
        "default": hyper.default,
        "type": hyper.kind.__name__,
        "words": list(hyper.allowed),
        "range": bounds,
    }
