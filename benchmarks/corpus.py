"""Corpora: what a task costs beside its work, and what two processes gain over one.

Short mixtures of two sources are written to a folder with a manifest. *Overhead* is the time of an
entry by its task, in this process, minus that of its work alone: digests, files, records, and the
reading of the manifest; in turn, so that both share the machine's moods. *Found* is an entry that
is done already. *Throughput* compares the entries that several processes do in a time with those of
one process, without their start.

    python benchmarks/corpus.py [--count 10000] [--seconds 0.25] [--jobs 2] [--json figures.json]
"""

import argparse
import json
import tempfile
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor
from pathlib import Path

import _timing
import numpy as np
import soundfile

from phaserec import InvertItem
from phaserec.corpus import Entry, Failed, Manifest, Task, run
from phaserec.corpus.running import Here
from phaserec.corpus.workers import Processes

RATE = 16000


def write(folder: Path, count: int, seconds: float) -> Path:
    """Mixtures of noises, and their manifest."""
    rng = np.random.default_rng(0)
    rows = []
    for k in range(count):
        a, b = 0.1 * rng.standard_normal((2, round(seconds * RATE))).astype(np.float32)
        for name, samples in {"a": a, "b": b, "mix": a + b}.items():
            soundfile.write(folder / f"{k}_{name}.wav", samples, RATE, subtype="FLOAT")
        estimates = {name: f"{k}_{name}.wav" for name in "ab"}
        row = {"id": f"{k // 1000}/{k}", "audio_filepath": f"{k}_mix.wav", "estimates": estimates}
        rows.append(json.dumps(row))
    manifest = folder / "manifest.jsonl"
    manifest.write_text("\n".join(rows))
    return manifest


def timed(entries: Iterator[Entry], task: Task, size: int) -> Iterator[tuple[float, float]]:
    """Seconds of the work alone and of tasks, for so many entries in turn."""
    while True:
        some = [entry for entry, _ in zip(entries, range(size), strict=False)]
        if not some:
            return
        begin = time.perf_counter()
        for entry in some:
            task.work(entry)
        middle = time.perf_counter()
        finish(task, some, Here(), 1)
        yield middle - begin, time.perf_counter() - middle


def finish(task: Task, entries: Iterable[Entry], executor: Executor, window: int) -> float:
    """Seconds to do all; an entry that fails ends the benchmark."""
    begin = time.perf_counter()
    for entry, outcome in run(task, entries, executor, window=window):
        if isinstance(outcome, Failed):
            raise SystemExit(f"{entry.name}: {outcome.reason}")
    return time.perf_counter() - begin


def rate(task: Task, manifest: Manifest, jobs: int, first: Entry) -> float:
    """Seconds for each entry with so many processes, which have started before."""
    with Processes(jobs) as pool:
        warm = Task(task.work, Path(task.output) / "warm")
        finish(warm, [first] * 4 * jobs, pool, jobs)
        return finish(task, manifest, pool, 2 * jobs) / len(manifest)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=0.25)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--json", help="file for the figures")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as top:
        folder = Path(top)
        path = write(folder, arguments.count, arguments.seconds)
        begin = time.perf_counter()
        manifest = Manifest(path)
        reading = (time.perf_counter() - begin) / len(manifest)
        work = InvertItem("misi", 20)
        first = next(iter(manifest))
        work(first)  # compiled before the clock starts
        task = Task(work, folder / "out")
        alone, whole = np.array(list(timed(iter(manifest), task, 100))).T / 100
        found = finish(task, manifest, Here(), 1) / len(manifest)
        one = rate(Task(work, folder / "one"), manifest, 1, first)
        many = rate(Task(work, folder / "many"), manifest, arguments.jobs, first)
    figures = {
        "count": arguments.count,
        "seconds": arguments.seconds,
        "work_ms": 1e3 * float(np.median(alone)),
        "overhead_ms": 1e3 * float(np.median(whole - alone) + reading),
        "found_ms": 1e3 * found,
        "one_process_ms": 1e3 * one,
        f"{arguments.jobs}_processes_ms": 1e3 * many,
        "throughput": one / many,
    }
    for name, value in figures.items():
        print(f"{name:>16} {value:10.3f}")
    _timing.save(arguments.json, figures)


if __name__ == "__main__":
    main()
