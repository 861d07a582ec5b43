"""Files of a command that are too long for memory: the same as whole ones, read part by part."""

from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace

import numpy as np

from phaserec import audio
from phaserec._files import distinct
from phaserec._xp import Array
from phaserec.commands.inputs import (
    NO_PHASES,
    NO_RATE,
    check_together,
    names_of,
    resolved_transform,
)
from phaserec.commands.options import Signals, Transform
from phaserec.problem import Problem
from phaserec.solving.blocks import LongProblem, samples_of
from phaserec.stft import STFT

# Frames that are transformed at a time.
_AT_ONCE = 256


@dataclass(frozen=True)
class LongInputs:
    """What the files hold, as far as is known before they are read.

    Attributes
    ----------
    names : list of str
        Names of the J sources.
    rate : int
        Sample rate in Hz.
    stft : STFT
        The transform.
    problem : LongProblem
        The problem, of magnitudes ``(channels, J, F, T)``.
    sources : Sources or None
        Waveforms of the estimates, where they are given as such.
    estimates, references : Sources or None
        These again, for scores, and the true sources.
    """

    names: list[str]
    rate: int
    stft: STFT
    problem: LongProblem
    sources: "Sources | None"
    estimates: "Sources | None"
    references: "Sources | None"

    def start(self, first: int, last: int) -> Array:
        """Spectrograms ``(channels, J, F, last − first)`` of the estimates, for their phases."""
        if self.sources is None:
            raise ValueError(NO_PHASES)
        return _frames(self.sources, self.stft, first, last)


class Sources:
    """Recordings side by side, read part by part.

    Parameters
    ----------
    files : sequence of Reader
        The recordings.
    whole : Reader or None
        What they are to be a part of; its rest is one more source.
    """

    def __init__(self, files: Sequence[audio.Reader], whole: audio.Reader | None = None) -> None:
        self._files, self._whole = files, whole
        self.length = files[0].length

    def __call__(self, begin: int, end: int) -> np.ndarray:
        """Samples ``(channels, J, end − begin)``."""
        waves = [file.read(begin, end) for file in self._files]
        if self._whole is not None:
            rest = np.stack(waves, axis=1).sum(axis=1)
            waves.append(self._whole.read(begin, end) - rest)
        return np.stack(waves, axis=1)


def open_long(
    signals: Signals, chosen: Transform, open_files: ExitStack, *, transform: STFT | None
) -> LongInputs | None:
    """Open the files of a command without reading them.

    Parameters
    ----------
    signals, chosen, transform
        As for :func:`phaserec.commands.inputs.load`.
    open_files : ExitStack
        Closes them.

    Returns
    -------
    LongInputs or None
        None for what is read as a whole: magnitudes in an npz file, standard input, the example
        that ships.

    Raises
    ------
    ValueError, OSError
        For anything wrong with the files that can be told from their beginnings.
    """
    check_together(signals)
    stored = None if signals.magnitudes is None else _mapped(signals.magnitudes)
    if signals.mixture == "-" or not (signals.estimates or stored is not None):
        return None

    def opened(paths: Sequence[str]) -> list[audio.Reader]:
        return [open_files.enter_context(closing(audio.Reader(path))) for path in paths]

    named = [signals.mixture, *signals.estimates, *signals.references]
    if not all(file.is_plausible for file in opened([x for x in named if x is not None])):
        return None  # who reads it as a whole tells what is wrong with it
    given = {name: getattr(chosen, name) for name in ("n_fft", "hop_length", "win_length")}
    stft = resolved_transform(given, chosen, STFT() if transform is None else transform)
    whole = None if signals.mixture is None else opened([signals.mixture])[0]
    rate = signals.rate if whole is None else whole.rate
    if rate is None:
        raise ValueError(NO_RATE)
    if signals.rate not in (None, rate):
        raise ValueError(f"--rate {signals.rate} but {signals.mixture} has {rate} Hz")
    sources = estimates = references = None
    if stored is not None:
        names = [f"source{j + 1}" for j in range(stored.shape[1])]
        length = signals.length if whole is None else whole.length
        problem = _of_stored(stored, whole, stft, length)
    else:
        assert whole is not None
        names = names_of(signals.estimates)
        files = opened(signals.estimates)
        audio.check_alike(dict(zip(names, files, strict=True)), whole)
        rest = opened([signals.mixture or ""])[0] if signals.remainder else None
        if rest is not None:
            names.append(distinct([*names, "remainder"])[-1])
        sources = Sources(files, rest)
        if signals.references:
            again = opened([signals.mixture or ""])[0] if rest is not None else None
            estimates = Sources(opened(signals.estimates), again)
        problem = _of_sources(sources, len(names), whole, stft)
    if signals.references:
        truth = opened(signals.references)
        audio.check_alike(dict(zip(names_of(signals.references), truth, strict=True)), whole)
        found = (truth[0].channels, len(truth), truth[0].length)
        if found != (*problem.shape[:2], problem.length):
            raise ValueError(
                f"{found[1]} --references of {found[0]} channel(s) and {found[2]} samples for "
                f"{len(names)} sources of {problem.shape[0]} and {problem.length}; give one for "
                "each source, in the same order"
            )
        references = Sources(truth)
    return LongInputs(names, rate, stft, problem, sources, estimates, references)


def _mapped(path: str) -> np.ndarray | None:
    """Magnitudes ``(channels, J, F, T)`` of an npy file, mapped; None for anything else."""
    try:
        V = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception:  # who reads it as a whole tells what is wrong with it
        return None
    if not isinstance(V, np.memmap) or V.dtype.kind not in "fiu" or not 2 <= V.ndim <= 4:
        return None
    return V[(None,) * (4 - V.ndim)]


def _of_stored(
    V: np.ndarray, whole: audio.Reader | None, stft: STFT, length: int | None
) -> LongProblem:
    """The problem of stored magnitudes and a recording of their mixture."""
    V_of = LongProblem.of(V, stft=stft, length=length)
    if whole is None:
        return V_of
    if V.shape[0] != whole.channels:
        raise ValueError(
            f"magnitudes of shape {V.shape} do not go with a mixture of {whole.channels} "
            "channel(s); expected (channels, J, F, T)"
        )
    n_frames = V.shape[-1]

    def part(first: int, last: int) -> Problem:
        begin, end = samples_of(stft, first, last, n_frames, whole.length)
        magnitudes = V_of.part(first, last).magnitudes
        return Problem(magnitudes, whole.read(begin, end), stft=stft, length=end - begin)

    return replace(V_of, part=part, has_mixture=True)


def _of_sources(sources: Sources, count: int, whole: audio.Reader, stft: STFT) -> LongProblem:
    """The problem of the magnitudes of recordings."""
    n_frames = stft.n_frames(whole.length)

    def part(first: int, last: int) -> Problem:
        begin, end = samples_of(stft, first, last, n_frames, whole.length)
        V = _frames(sources, stft, first, last, magnitudes=True)
        return Problem(V, whole.read(begin, end), stft=stft, length=end - begin)

    shape = (whole.channels, count, stft.n_bins, n_frames)
    return LongProblem(shape, "float32", stft, whole.length, part, has_mixture=True)


def _frames(
    sources: Sources, stft: STFT, first: int, last: int, *, magnitudes: bool = False
) -> np.ndarray:
    """Frames of the spectrograms of sources as they are in the whole, or of their magnitudes."""
    hop, n_samples = stft.hop_length, sources.length
    # Padding at the ends has copies of samples as far away as frames reach.
    before = max(first - 2 * stft.depth, 0)
    end = min((last + 2 * stft.depth) * hop, n_samples)
    waves = sources(before * hop, end)
    kind = np.float32 if magnitudes else np.complex64
    found = np.empty((*waves.shape[:-1], stft.n_bins, last - first), kind)
    for a in range(first, last, _AT_ONCE):
        b = min(a + _AT_ONCE, last)
        S = stft.frames(waves, a - before, b - before)
        found[..., a - first : b - first] = np.abs(S) if magnitudes else S
    return found
