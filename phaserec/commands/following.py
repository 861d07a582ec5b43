"""Runs that are followed from iteration to iteration, with scores where there are references."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from phaserec.algorithms import Configured
from phaserec.commands.inputs import Inputs
from phaserec.evaluation import Settings, by_source
from phaserec.solving import Point, PreparedRun, follow

Step = tuple[Point, np.ndarray | None, np.ndarray]
"""Measures, SDR of each source (None without references), and waveforms."""


@dataclass(frozen=True)
class Followed:
    """An algorithm that was followed to its end.

    Attributes
    ----------
    algorithm : Configured
        The algorithm with its hyper-parameters.
    start : str
        What it started from.
    points : sequence of Point
        Measures at the start and after each iteration.
    scores : sequence of ndarray, shape (J,)
        SDR in dB at the same times; empty without references.
    waveforms : ndarray, shape (channels, J, time)
        Its result.
    """

    algorithm: Configured
    start: str
    points: Sequence[Point]
    scores: Sequence[np.ndarray]
    waveforms: np.ndarray

    @classmethod
    def of(cls, run: PreparedRun, steps: Iterable[Step]) -> "Followed":
        """Go through the steps of a run, and keep the last waveforms only."""
        points, scores = [], []
        for point, values, last in steps:
            points.append(point)
            if values is not None:
                scores.append(values)
            waveforms = last
        return cls(run.algorithm, start_name(run), points, scores, waveforms)


def start_name(run: PreparedRun) -> str:
    """What a run starts from, as ``--init`` names it."""
    return run.init if isinstance(run.init, str) else "estimates"


def follow_to_end(run: PreparedRun, inputs: Inputs, *, bar: bool) -> Iterator[Step]:
    """Follow a run.

    Parameters
    ----------
    run : PreparedRun
        The run.
    inputs : Inputs
        What it solves.
    bar : bool
        Whether progress is shown on a terminal.

    Yields
    ------
    Point, ndarray of shape (J,) or None, ndarray of shape (channels, J, time)
        Measures, scores and waveforms, at the start and after each iteration.

    Raises
    ------
    NotFinite
        If the waveforms are not finite.
    """
    from tqdm import tqdm  # other runs may be over before it is loaded

    hide = not bar or not sys.stderr.isatty()
    name = run.algorithm.base.name
    steps = follow(run)
    for point, waveforms in tqdm(steps, name, total=run.n_iter + 1, disable=hide, leave=False):
        scores = None if inputs.references is None else sdr(inputs, waveforms)
        yield point, scores, waveforms


def sdr(inputs: Inputs, waveforms: np.ndarray) -> np.ndarray:
    """SDR of each source in dB, mean over channels.

    Parameters
    ----------
    inputs : Inputs
        With references.
    waveforms : ndarray, shape (channels, J, time)
        Estimated sources.

    Returns
    -------
    ndarray, shape (J,)
        dB.
    """
    assert inputs.references is not None
    settings = Settings(inputs.rate, inputs.stft)
    return by_source("sdr", inputs.references, waveforms, settings)
