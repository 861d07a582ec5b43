"""``phaserec report``: several algorithms on the same magnitudes, side by side on one page."""

import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from phaserec._files import check_apart
from phaserec._xp import to_numpy
from phaserec.algorithms import Configured, configure, resolve
from phaserec.commands.console import command_line
from phaserec.commands.experiment import experiment
from phaserec.commands.following import Followed, follow_to_end, start_name
from phaserec.commands.inputs import check_mixing, load
from phaserec.commands.options import Beginning, Signals, Transform, without
from phaserec.report import check_report, save
from phaserec.solving import prepare

_WITH_MIXTURE = ("aux", "misi", "mag-incons-hard-mix")
_ALONE = ("griffin-lim", "fast-griffin-lim", "accelerated-griffin-lim")


def run(
    algo: Sequence[str],
    n_iter: int,
    output: str,
    seconds: float,
    lossless: bool,
    **options: Any,
) -> None:
    """Read the inputs, run the algorithms, and write the page.

    Parameters are the options of the command line; ``options`` holds those of the groups, and the
    hyper-parameters as typed.

    Raises
    ------
    ValueError, OSError
        For anything wrong with the input; nothing has been written then.
    """
    signals, beginning = Signals(options), Beginning(options)
    words = without(options, Signals, Transform, Beginning)
    chosen = _chosen(algo or (_ALONE if signals.alone else _WITH_MIXTURE), words)
    check_report("-o", output, seconds)
    inputs = load(signals, Transform(options))
    check_apart([Path(output)], signals.files)
    check_mixing(chosen, inputs)
    problem = inputs.problem(beginning.device)
    start = inputs.start(beginning.init, beginning.device)
    seed = secrets.randbits(32) if beginning.seed is None else beginning.seed
    starts, results = {}, []
    for algorithm in chosen:
        run = prepare(algorithm, problem, n_iter, init=start, rng=seed, machine=beginning.machine)
        if start_name(run) not in starts:
            S = problem.start(run.init, seed)
            starts[start_name(run)] = to_numpy(problem.waveforms(S))
        results.append(Followed.of(run, follow_to_end(run, inputs, bar=True)))
    page = experiment(
        inputs,
        starts,
        results,
        seed=seed,
        command=command_line(),
        seconds=seconds,
        lossless=lossless,
    )
    save(page, output)
    print(output)


def _chosen(algorithms: Sequence[str], words: dict[str, str | None]) -> list[Configured]:
    """Algorithms and their hyper-parameters, from ``NAME`` or ``NAME:hyper=value,…``.

    Options give a hyper-parameter to every algorithm that has it.
    """
    given = {name: word for name, word in words.items() if word is not None}
    chosen = []
    used = set()
    for text in algorithms:
        name, _, own = text.partition(":")
        entry = resolve(name)
        known = {h.name for h in entry.known}
        shared = {name: word for name, word in given.items() if name in known}
        used |= set(shared)
        chosen.append(configure(entry, entry.parse({**shared, **_own(text, own)})))
    for name in given.keys() - used:
        raise ValueError(
            f"--{name.replace('_', '-')} {given[name]}: none of the algorithms "
            f"{', '.join(algorithm.base.name for algorithm in chosen)} has it"
        )
    return chosen


def _own(text: str, own: str) -> dict[str, str | None]:
    pairs = [pair.partition("=") for pair in own.split(",")] if own else []
    for _, equals, value in pairs:
        if not equals or not value:
            raise ValueError(f"--algo {text} must be NAME or NAME:hyper=value,hyper=value")
    return {name.strip().replace("-", "_"): value for name, _, value in pairs}
