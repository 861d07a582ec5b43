"""One inversion, of one mixture or of one of many: what runs, its scores, and what it writes."""

import secrets
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from phaserec import __version__, audio
from phaserec._files import check_apart, write_files
from phaserec._xp import as_int, to_numpy
from phaserec.algorithms import Configured, configure, resolve
from phaserec.commands.following import sdr, start_name
from phaserec.commands.inputs import Inputs
from phaserec.commands.options import Beginning
from phaserec.commands.results import number
from phaserec.solving import PreparedRun, prepare
from phaserec.starts.phases import as_rng
from phaserec.stft import STFT


@dataclass(frozen=True)
class Recipe:
    """What is done to every mixture.

    Attributes
    ----------
    algorithm : Configured
        The algorithm.
    n_iter : int
        Number of iterations.
    beginning : Beginning
        Start and machine, as typed.
    seed : int
        Seed of random phases.
    transform : STFT or None
        Transform of the preset.
    """

    algorithm: Configured
    n_iter: int
    beginning: Beginning
    seed: int
    transform: STFT | None

    @classmethod
    def chosen(
        cls,
        alone: bool,
        beginning: Beginning,
        preset: str | None,
        algo: str | None,
        n_iter: int | None,
        words: Mapping[str, str | None],
    ) -> "Recipe":
        """What was typed, or a preset or the defaults say.

        Parameters
        ----------
        alone : bool
            Whether there is no mixture, for the algorithm where none is named.
        beginning : Beginning
            Options.
        preset : str or None
            File of ``phaserec tune``.
        algo : str or None
            Name of the algorithm.
        n_iter : int or None
            Number of iterations.
        words : mapping of str to str or None
            Hyper-parameters as typed.

        Returns
        -------
        Recipe
            The recipe.

        Raises
        ------
        ValueError, OSError
            For what does not exist, or is out of range.
        """
        tuned = None
        if preset is not None:
            from phaserec.tuning import presets  # has no part in other runs

            tuned = presets.read(preset)
        default = tuned.algorithm if tuned else ("fast-griffin-lim" if alone else "aux")
        entry = resolve(algo or default)
        hyper = entry.parse(words)
        if tuned is not None and entry.name == tuned.algorithm:
            hyper = tuned.hyper | hyper
            n_iter = tuned.n_iter if n_iter is None else n_iter
        # Of many mixtures the first would be at fault for what was typed.
        n_iter = as_int("n_iter", 20 if n_iter is None else n_iter, 0)
        as_rng(beginning.seed)
        seed = secrets.randbits(32) if beginning.seed is None else beginning.seed
        transform = None if tuned is None else tuned.stft
        return cls(configure(entry, hyper), n_iter, beginning, seed, transform)

    def prepared(self, given: Inputs) -> PreparedRun:
        """The run for a mixture.

        Parameters
        ----------
        given : Inputs
            Mixture and magnitudes.

        Returns
        -------
        PreparedRun
            The run, from the same phases wherever the seed is the same.
        """
        device = self.beginning.device
        return prepare(
            self.algorithm,
            given.problem(device),
            self.n_iter,
            init=given.start(self.beginning.init, device),
            rng=self.seed,
            machine=self.beginning.machine,
        )

    def before(self, run: PreparedRun) -> np.ndarray:
        """Waveforms ``(channels, J, time)`` at the start of a run."""
        p = run.problem
        return to_numpy(p.waveforms(p.start(run.init, self.seed)))


def scores(given: Inputs, start: np.ndarray, after: np.ndarray) -> dict[str, np.ndarray]:
    """SDR ``(J,)`` of what was given, of the start, and of the result."""
    columns = {"start": sdr(given, start), "after": sdr(given, after)}
    if given.estimates is not None and not given.shipped:
        columns = {"given": sdr(given, given.estimates), **columns}
    return columns


def print_scores(
    names: Sequence[str], columns: Mapping[str, Sequence[float] | np.ndarray], stream: TextIO
) -> None:
    """The table of scores in dB of sources."""
    width = max(len(name) for name in names) + 2
    print(f"{'source':<{width}}" + "".join(f"  SDR {title}" for title in columns), file=stream)
    for j, name in enumerate(names):
        values = "".join(f"{score[j]:8.2f} dB" for score in columns.values())
        print(f"{name:<{width}}{values}", file=stream)


def document(
    recipe: Recipe,
    run: PreparedRun,
    given: Inputs,
    targets: Sequence[Path],
    columns: Mapping[str, np.ndarray],
) -> dict[str, Any]:
    """What was done, for ``--json``: enough to do it again."""
    facts = {
        "init": start_name(run),
        "machine": run.machine,
        "stft": given.stft.settings,
        **({} if given.mel is None else {"mel": given.mel}),
        "rate": given.rate,
        "channels": len(given.magnitudes),
        "length": run.problem.length,
    }
    return described(recipe, facts, given.names, targets, columns)


def described(
    recipe: Recipe,
    facts: Mapping[str, Any],
    names: Sequence[str],
    targets: Sequence[Path],
    columns: Mapping[str, np.ndarray],
) -> dict[str, Any]:
    """What was done, of whatever is known of a run.

    Parameters
    ----------
    recipe : Recipe
        What was done.
    facts : mapping
        What it was done to, and how.
    names : sequence of str
        Names of the J sources.
    targets : sequence of Path
        A file for each source, or none.
    columns : mapping of str to ndarray, shape (J,)
        SDR.

    Returns
    -------
    dict
        For ``--json``.
    """
    files: Sequence[str | None] = [str(path) for path in targets] or [None] * len(names)
    return {
        "phaserec": __version__,
        "algorithm": recipe.algorithm.base.name,
        "hyper": recipe.algorithm.values,
        "n_iter": recipe.n_iter,
        "seed": recipe.seed,
        **facts,
        "sources": [
            {
                "name": name,
                "file": files[j],
                **({"sdr": {k: number(v[j]) for k, v in columns.items()}} if columns else {}),
            }
            for j, name in enumerate(names)
        ],
    }


def check_outputs(
    targets: Sequence[Path],
    others: Sequence[Path],
    inputs: Iterable[str | Path],
    subtype: str | None,
    no_overwrite: bool,
) -> None:
    """Raise if it is clear now that results cannot or must not be written.

    Parameters
    ----------
    targets : sequence of Path
        Sounds; none for standard output.
    others : sequence of Path
        Other files.
    inputs : iterable of str or Path
        Files that are read.
    subtype : str or None
        Sample format.
    no_overwrite : bool
        Whether files that exist stay.

    Raises
    ------
    ValueError
        If the format does not fit, a file is read too or named twice, or exists and is to stay.
    """
    for target in targets or [Path("standard.wav")]:
        audio.encoding(target, subtype)
    outputs = [*targets, *others]
    check_apart(outputs, inputs)
    replaced = [str(path) for path in outputs if path.is_file()]
    if replaced and no_overwrite:
        raise ValueError(f"{replaced[0]} exists, and --no-overwrite is given; choose another -o")
    if replaced:
        more = f" and {len(replaced) - 1} more" if len(replaced) > 1 else ""
        print(f"phaserec: note: {replaced[0]}{more} will be replaced", file=sys.stderr)


def warn_of_clipping(peak: float, kind: str) -> None:
    """Say so where samples are too large for a sample format."""
    if peak > 1 and not audio.is_float(kind):
        print(
            f"phaserec: warning: samples reach {peak:.2f} and are clipped in {kind}",
            file=sys.stderr,
        )


def write(
    waveforms: np.ndarray,
    rate: int,
    targets: Sequence[Path],
    subtype: str | None,
    pages: Mapping[Path, bytes],
) -> None:
    """Write sound ``(channels, J, time)`` and pages, all or nothing.

    Parameters
    ----------
    waveforms : ndarray, shape (channels, J, time)
        Sources.
    rate : int
        Sample rate in Hz.
    targets : sequence of Path
        A file for each source; none where the sound goes elsewhere.
    subtype : str or None
        Sample format.
    pages : mapping of Path to bytes
        Other files.

    Raises
    ------
    OSError
        If one cannot be written.
    """
    sound = encoded(waveforms, rate, targets, subtype)
    write_files([*targets, *pages], chain(sound, pages.values()))


def encoded(
    waveforms: np.ndarray, rate: int, targets: Sequence[Path], subtype: str | None
) -> Iterator[bytes]:
    """Contents of the files of sources, one after the other; warns of what is clipped.

    Parameters
    ----------
    waveforms, rate, targets, subtype
        As for :func:`write`.

    Returns
    -------
    iterator of bytes
        One for each target.
    """
    peak = float(np.abs(waveforms).max())
    warn_of_clipping(peak, audio.encoding((*targets, Path("standard.wav"))[0], subtype)[1])
    sources = list(np.moveaxis(waveforms, 1, 0)) if targets else []
    return audio.encoded(targets, sources, rate, subtype=subtype)
