"""What the benchmarks share: interleaved timing, machine facts, JSON."""

import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def pin_threads(threads: int) -> None:
    """Give every library the same number of threads.

    Parameters
    ----------
    threads : int
        Number of threads; libraries that read the environment must not be loaded yet.
    """
    for name in ("OMP", "MKL", "OPENBLAS", "NUMBA"):
        os.environ[f"{name}_NUM_THREADS"] = str(threads)
    import torch

    torch.set_num_threads(threads)


def interleaved(tasks: dict[Any, Callable[[], Any]], rounds: int) -> dict[Any, float]:
    """Median seconds of every task, all taken in turn so that they share the machine's moods.

    Parameters
    ----------
    tasks : dict
        Callables by name; each runs once before the clock starts.
    rounds : int
        Number of timed rounds.

    Returns
    -------
    dict
        Seconds by name.
    """
    for task in tasks.values():
        task()
    seconds: dict[Any, list[float]] = {name: [] for name in tasks}
    for _ in range(rounds):
        for name, task in tasks.items():
            begin = time.perf_counter()
            task()
            seconds[name].append(time.perf_counter() - begin)
    return {name: statistics.median(values) for name, values in seconds.items()}


def machine() -> dict[str, Any]:
    """Facts about the machine and the versions that were timed."""
    import librosa
    import numba
    import numpy
    import scipy
    import torch

    libraries = (librosa, numba, numpy, scipy, torch)
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        **{library.__name__: library.__version__ for library in libraries},
    }


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


def save(path: str | None, results: dict[str, Any]) -> None:
    """Write results as JSON if a path is given.

    Parameters
    ----------
    path : str or None
        Where to.
    results : dict
        Figures; the machine's facts are added.
    """
    if path is not None:
        Path(path).write_text(json.dumps({"machine": machine(), **results}, indent=2) + "\n")
