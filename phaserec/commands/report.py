"""Several algorithms on the same magnitudes: what ``phaserec report`` does."""

import secrets
import sys
from collections.abc import Sequence
from typing import Any

from tqdm import tqdm

from phaserec._xp import to_numpy
from phaserec.algorithms import Algorithm, resolve
from phaserec.commands.console import command_line
from phaserec.commands.experiment import experiment
from phaserec.commands.inputs import load
from phaserec.commands.invert import parse_hyper
from phaserec.report.page import check_report, save
from phaserec.solving.follow import Run, follow
from phaserec.solving.iteration import prepare

_WITH_MIXTURE = ("misi", "mix-incons-hard-mag", "mag-incons-hard-mix")
_ALONE = ("griffin-lim", "fast-griffin-lim", "accelerated-griffin-lim")


def run(
    *,
    mixture: str | None,
    estimates: Sequence[str],
    magnitudes: str | None,
    references: Sequence[str],
    algo: Sequence[str],
    n_iter: int,
    init: str | None,
    seed: int | None,
    window: str | None,
    output: str,
    device: str,
    seconds: float,
    rate: int | None,
    length: int | None,
    n_fft: int | None,
    hop_length: int | None,
    win_length: int | None,
    **words: str | None,
) -> None:
    """Read the inputs, run the algorithms, and write the page.

    Parameters are the options of the command line; ``words`` are the hyper-parameters as typed.

    Raises
    ------
    ValueError, OSError
        For anything wrong with the input; nothing has been written then.
    """
    alone = mixture is None and magnitudes is not None
    chosen = _chosen(algo or (_ALONE if alone else _WITH_MIXTURE), words)
    check_report("-o", output, seconds)
    inputs = load(
        mixture,
        estimates,
        magnitudes,
        references,
        window=window,
        rate=rate,
        length=length,
        n_fft=n_fft,
        hop_length=hop_length,
        win_length=win_length,
    )
    problem = inputs.problem(device)
    start = inputs.start(init, device)
    seed = secrets.randbits(32) if seed is None else seed
    before = to_numpy(problem.waveforms(problem.start(start, seed)))
    runs = []
    for entry, hyper in chosen:
        steps = follow(
            entry, problem, n_iter, init=start, rng=seed, references=inputs.references, **hyper
        )
        hide = not sys.stderr.isatty()
        shown = tqdm(steps, entry.name, total=n_iter + 1, disable=hide, leave=False)
        runs.append(Run.of_steps(entry, hyper, shown))
    page = experiment(
        inputs, before, runs, init=init, seed=seed, command=command_line(), seconds=seconds
    )
    save(page, output)
    print(output)


def _chosen(
    algorithms: Sequence[str], words: dict[str, str | None]
) -> list[tuple[Algorithm, dict[str, Any]]]:
    """Algorithms and their hyper-parameters, from ``NAME`` or ``NAME:hyper=value,…``.

    Options give a hyper-parameter to every algorithm that has it.
    """
    given = {name: word for name, word in words.items() if word is not None}
    chosen = []
    used = set()
    for text in algorithms:
        name, _, own = text.partition(":")
        entry = resolve(name)
        known = {h.name for h in entry.hyper} | {"momentum"}
        shared = {name: word for name, word in given.items() if name in known}
        used |= set(shared)
        hyper = parse_hyper(entry, {**shared, **_own(text, own)})
        prepare(entry, dict(hyper))
        chosen.append((entry, hyper))
    for name in given.keys() - used:
        raise ValueError(
            f"--{name.replace('_', '-')} {given[name]}: none of the algorithms "
            f"{', '.join(entry.name for entry, _ in chosen)} has it"
        )
    return chosen


def _own(text: str, own: str) -> dict[str, str | None]:
    pairs = [pair.partition("=") for pair in own.split(",")] if own else []
    for _, equals, value in pairs:
        if not equals or not value:
            raise ValueError(f"--algo {text} must be NAME or NAME:hyper=value,hyper=value")
    return {name.strip().replace("-", "_"): value for name, _, value in pairs}
