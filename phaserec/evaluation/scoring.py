"""Scores of estimates against their references: arrays, and files over many processes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any, cast

import numpy as np

from phaserec import _html, audio, measures
from phaserec._typing import ArrayLike, ArrayT
from phaserec._xp import as_array, is_torch_array, same_backend, to_numpy
from phaserec.corpus.workers import Failed, run_ordered
from phaserec.evaluation.matching import Item
from phaserec.evaluation.metrics import Joint, Metric, Settings, Undefined, Waveform, resolve
from phaserec.stft import STFT

DEFAULT = ("si-sdr", "sdr")

# Files that were resampled may differ by the rounding of their lengths, in seconds.
_ROUNDING = 1e-3


class Row(Mapping[str, object]):
    """Scores of one source, and a line of a table: ``row["sdr"]``, ``pandas.DataFrame(rows)``.

    The columns of the table are item, source, estimate, and those of the metrics.

    Parameters
    ----------
    item : str
        Item that the source belongs to.
    source : str
        Name of the source, empty where the item is one file.
    estimate : str
        Name of the estimate that it was compared with.
    values : dict of str to float
        Values by column; NaN where undefined, ±inf where a ratio is.
    frames : dict of str to list of float
        Values of every frame, of framewise columns.
    notes : tuple of str
        Why values are undefined.
    """

    # The scores alone, where other mappings have a method.
    values: dict[str, float]  # type: ignore[assignment]

    def __init__(
        self,
        item: str,
        source: str,
        estimate: str,
        values: dict[str, float],
        frames: dict[str, list[float]] | None = None,
        notes: tuple[str, ...] = (),
    ) -> None:
        self.item, self.source, self.estimate = item, source, estimate
        self.values, self.frames, self.notes = values, {} if frames is None else frames, notes

    def _cells(self) -> dict[str, object]:
        return {name: getattr(self, name) for name in ("item", "source", "estimate")} | self.values

    def __getitem__(self, column: str) -> object:
        return self._cells()[column]

    def __iter__(self) -> Iterator[str]:
        return iter(self._cells())

    def __len__(self) -> int:
        return len(self._cells())

    def __repr__(self) -> str:
        who = "".join(f"{name!r}, " for name in (self.item, self.source) if name)
        return f"Row({who}{', '.join(f'{k}={v:.4g}' for k, v in self.values.items())})"

    def _repr_html_(self) -> str:
        facts = {k: f"{v:.4g}" if isinstance(v, float) else v for k, v in self.items()}
        return _html.grid(facts, [facts.values()])


def score(
    references: ArrayLike,
    estimates: ArrayLike,
    rate: int,
    *,
    mixture: ArrayLike | None = None,
    metrics: Sequence[str | Metric] = DEFAULT,
    permute: bool = False,
    stft: STFT | None = None,
    names: Sequence[str] | None = None,
    estimate_names: Sequence[str] | None = None,
    item: str = "",
) -> list[Row]:
    """Score the estimates of the sources of one recording.

    Parameters
    ----------
    references, estimates : array_like, shape (time,), (J, time) or (J, channels, time)
        Real waveforms, as many estimates as references. Of tensors the numbers are scored;
        :func:`by_source` and :mod:`phaserec.measures` keep gradients.
    rate : int
        Sample rate in Hz.
    mixture : array_like, shape (time,) or (channels, time), optional
        What the estimates were made from; improvements need it.
    metrics : sequence of str or Metric
        Metrics by name.
    permute : bool, default False
        Assign the estimates to the references so that the mean SI-SDR is best.
    stft : STFT, optional
        Transform of spectral metrics; default 1024 samples, hop 256, Hann.
    names, estimate_names : sequence of str, optional
        Names of the sources and of the estimates; default their numbers from 1, and ``names``.
    item : str, optional
        Name of the recording.

    Returns
    -------
    list of Row
        One for each reference. Means over channels. All values of a silent reference are NaN.

    Raises
    ------
    ValueError
        If shapes disagree, samples are not finite, a metric is unknown, lacks its package, or
        needs a mixture where none is.

    Examples
    --------
    >>> import numpy as np
    >>> from phaserec.evaluation import score
    >>> s = np.sin(np.arange(16000))
    >>> (row,) = score(s, s + 0.1, 16000, metrics=["snr"])
    >>> round(row.values["snr"], 2)
    16.99
    """
    chosen = resolve(metrics)
    s, e = _sources("references", references), _sources("estimates", estimates)
    x = _agreeing_mixture(s, e, mixture)
    check_mixture(chosen, x is not None)
    names = [str(j + 1) for j in range(len(s))] if names is None else names
    estimate_names = names if estimate_names is None else estimate_names
    if not len(names) == len(estimate_names) == len(s):
        raise ValueError(
            f"{len(names)} names and {len(estimate_names)} estimate_names for {len(s)} sources"
        )
    order = best_permutation(s, e) if permute else list(range(len(s)))
    scene = _Scene(s, e[order], x, Settings(rate, STFT() if stft is None else stft))
    return [
        Row(item, names[j], estimate_names[order[j]], got.values, got.frames, tuple(got.notes))
        for j, got in enumerate(scene.scores(chosen))
    ]


def _agreeing_mixture(s: np.ndarray, e: np.ndarray, mixture: ArrayLike | None) -> np.ndarray | None:
    """Mixture ``(channels, time)`` of references and estimates that agree with it in shape."""
    if s.shape != e.shape:
        raise ValueError(
            f"references have shape {s.shape} and estimates {e.shape}, as (J, channels, time); "
            "they must agree"
        )
    if mixture is None:
        return None
    x = _samples("mixture", mixture)
    x = x[None] if x.ndim == 1 else x
    if x.shape != s.shape[1:]:
        raise ValueError(
            f"the mixture has shape {x.shape} and each source {s.shape[1:]}, as (channels, "
            "time); they must agree"
        )
    return x


def check_mixture(metrics: Sequence[Metric], given: bool) -> None:
    """Raise ValueError if improvements are asked for and no mixture is given."""
    gains = [entry.name for entry in metrics if entry.improvement]
    if gains and not given:
        raise ValueError(f"{', '.join(gains)} need the mixture: give it, or leave them out")


def best_permutation(references: np.ndarray, estimates: np.ndarray) -> list[int]:
    """Assignment of estimates to references with the best mean SI-SDR.

    Parameters
    ----------
    references, estimates : ndarray, shape (J, channels, time)
        Waveforms.

    Returns
    -------
    list of int
        For each reference the index of its estimate.
    """
    from scipy.optimize import linear_sum_assignment

    values = [[measures.si_sdr(s, e).mean() for e in estimates] for s in references]
    # Silence and perfection are infinite; the assignment needs numbers.
    _, order = linear_sum_assignment(np.clip(values, -1000, 1000), maximize=True)
    return [int(j) for j in order]


def by_source(
    metric: str | Metric, references: ArrayT, estimates: ArrayT, settings: Settings
) -> ArrayT:
    """Values of one metric, mean over channels, without the tables and notes of :func:`score`.

    Of tensors it has gradients, where the metric is a formula (si-sdr, sdr, snr,
    spectral-convergence) and does not call another package.

    Parameters
    ----------
    metric : str or Metric
        A metric of one waveform.
    references, estimates : array, shape (channels, J, time)
        Waveforms.
    settings : Settings
        Sample rate and transform.

    Returns
    -------
    array, shape (J,)
        float64, in the unit of the metric; NaN for a silent reference.

    Raises
    ------
    ValueError
        If the metric is unknown or lacks its package, is an improvement or one of all sources
        together, or is of a package and given tensors.
    Undefined
        If the metric has no value for one of the sources.
    """
    (entry,) = resolve([metric])
    if entry.joint or entry.improvement:
        needs = "all sources together" if entry.joint else "the mixture"
        raise ValueError(f"metric {entry.name} needs {needs}; call score for it")
    xp = same_backend(references=references, estimates=estimates)
    if is_torch_array(references) and entry.package is not None:
        raise ValueError(
            f"metric {entry.name} is computed by the package {entry.package}, which takes no "
            "tensors and has no gradients: give it x.detach().cpu().numpy(), or use score()"
        )
    function = cast(Waveform, entry.function)
    s, e = (xp.moveaxis(xp.astype(x, xp.float64), 1, 0) for x in (references, estimates))
    values = [_over_channels(function, s[j], e[j], settings) for j in range(s.shape[0])]
    return xp.stack([v if is_torch_array(v) else xp.asarray(v) for v in values])


def _over_channels(
    function: Waveform, reference: ArrayT, estimate: ArrayT, settings: Settings
) -> Any:
    """Mean over the channels ``(C, time)`` whose reference is not silent; NaN if all are."""
    heard = [c for c in range(reference.shape[0]) if bool((reference[c] != 0).any())]
    values = [function(reference[c], estimate[c], settings) for c in heard]
    return sum(values[1:], values[0]) / len(values) if values else np.nan


@dataclass
class _Scores:
    values: dict[str, float] = field(default_factory=dict)
    frames: dict[str, list[float]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)


class _Scene:
    """The signals of an item: references and estimates (J, C, time), mixture (C, time)."""

    def __init__(
        self,
        references: np.ndarray,
        estimates: np.ndarray,
        mixture: np.ndarray | None,
        settings: Settings,
    ) -> None:
        self.references, self.estimates, self.mixture = references, estimates, mixture
        self.settings = settings
        # An improvement shares the value of the estimate with the metric itself.
        self._value = cache(self._measure)

    def scores(self, metrics: Sequence[Metric]) -> list["_Scores"]:
        """Scores of every source."""
        active = [j for j, reference in enumerate(self.references) if reference.any()]
        scores = [_Scores() for _ in self.references]
        for j in set(range(len(scores))) - set(active):
            scores[j].values = {column: np.nan for entry in metrics for column in entry.columns}
            scores[j].note("the reference is silent")
        for entry in metrics if active else ():
            (self.joint if entry.joint else self.each)(entry, active, scores)
        return scores

    def each(self, entry: Metric, active: Sequence[int], scores: Sequence[_Scores]) -> None:
        for j in active:
            try:
                value = self._value(cast(Waveform, entry.function), j, False)
                if entry.improvement:
                    value -= self._value(cast(Waveform, entry.function), j, True)
            except Undefined as reason:
                value = np.nan
                scores[j].note(f"{entry.name}: {reason}")
            scores[j].values[entry.name] = value

    def _measure(self, function: Waveform, j: int, of_mixture: bool) -> float:
        estimate = self.mixture if of_mixture else self.estimates[j]
        assert estimate is not None
        return float(_over_channels(function, self.references[j], estimate, self.settings))

    def joint(self, entry: Metric, active: Sequence[int], scores: Sequence[_Scores]) -> None:
        try:
            found = cast(Joint, entry.function)(
                self.references[active], self.estimates[active], self.settings
            )
            reason = "every frame is silent in a source"
        except Undefined as error:
            found = {column: np.full(len(active), np.nan) for column in entry.columns}
            reason = str(error)
        for column in entry.columns:
            for j, values in zip(active, np.asarray(found[column]), strict=True):
                if values.ndim:
                    scores[j].frames[column] = [float(value) for value in values]
                scores[j].values[column] = value = _median(values)
                if np.isnan(value):
                    silent = not self.estimates[j].any()
                    why = "the estimate is silent" if silent else reason
                    scores[j].note(f"{entry.name}: {why}")


def _median(values: np.ndarray) -> float:
    """Median of the values that are defined, NaN where none is."""
    defined = values[~np.isnan(values)] if values.ndim else values
    with np.errstate(invalid="ignore"):
        return float(np.median(defined)) if defined.size else np.nan


def _samples(name: str, values: ArrayLike) -> np.ndarray:
    array = to_numpy(as_array(name, values)) if is_torch_array(values) else np.asarray(values)
    if array.dtype.kind not in "fiu":
        raise ValueError(f"{name} must be real waveforms, got dtype {array.dtype}")
    if not array.size or not np.all(np.isfinite(array)):
        what = "NaN or infinite samples" if array.size else "no samples"
        raise ValueError(f"{name} hold {what}")
    return array.astype(np.float64)


def _sources(name: str, values: ArrayLike) -> np.ndarray:
    array = _samples(name, values)
    if array.ndim == 1:
        array = array[None]
    if array.ndim == 2:
        array = array[:, None]
    if array.ndim != 3:
        raise ValueError(
            f"{name} have shape {array.shape}, expected (time,), (J, time) or (J, channels, time)"
        )
    return array


# -- Files -----------------------------------------------------------------------------------------


def score_files(
    items: Sequence[Item],
    *,
    metrics: Sequence[str | Metric] = DEFAULT,
    rate: int | None = None,
    permute: bool = False,
    stft: STFT | None = None,
    jobs: int | None = None,
) -> Iterator[list[Row] | Failed]:
    """Score files, each item in one of several processes.

    A process holds one item at a time. It runs with one thread for linear algebra; a script that
    calls this needs ``if __name__ == "__main__":``, as all that start processes.

    Parameters
    ----------
    items : sequence of Item
        Items of :func:`match`.
    metrics, permute, stft
        As for :func:`score`; metrics of one's own are found in the module that defines them.
    rate : int, optional
        Sample rate in Hz to convert all files to; default the references'.
    jobs : int, optional
        Number of processes; default one for each core.

    Yields
    ------
    list of Row, or Failed
        For each item in order: its rows, or why it has none.

    Raises
    ------
    ValueError
        If metrics or jobs are not valid, or improvements are asked for without mixtures.
    """
    chosen = resolve(metrics)
    check_mixture(chosen, all(item.mixture is not None for item in items))
    function = partial(_score_item, metrics=chosen, rate=rate, permute=permute, stft=stft)
    return run_ordered(function, items, jobs=jobs)


def _score_item(
    item: Item, *, metrics: Sequence[Metric], rate: int | None, permute: bool, stft: STFT | None
) -> list[Row]:
    paths = {f"reference {path}": path for path in item.references}
    paths |= {f"estimate {path}": path for path in item.estimates}
    mixed = item.mixture is not None and any(entry.improvement for entry in metrics)
    if item.mixture is not None and mixed:
        paths[f"mixture {item.mixture}"] = item.mixture
    samples, found = _read_alike(paths, rate)
    count = len(item.references)
    return score(
        samples[:count],
        samples[count : 2 * count],
        found,
        mixture=samples[-1] if mixed else None,
        metrics=metrics,
        permute=permute,
        stft=stft,
        names=item.sources,
        estimate_names=item.estimate_names,
        item=item.name,
    )


def _read_alike(paths: Mapping[str, Path], rate: int | None) -> tuple[np.ndarray, int]:
    """Samples ``(files, channels, time)`` of files that agree, and their rate."""
    files = {name: audio.read(path, rate=rate) for name, path in paths.items()}
    first = next(iter(files))
    for name, file in files.items():
        if file.rate != files[first].rate:
            raise ValueError(
                f"{name} has {file.rate} Hz, but {first} has {files[first].rate}; give a common "
                "rate to convert them to"
            )
    if rate is not None:
        lengths = [file.samples.shape[1] for file in files.values()]
        if max(lengths) - min(lengths) <= _ROUNDING * rate:
            files = {k: audio.Audio(f.samples[:, : min(lengths)], rate) for k, f in files.items()}
    return np.moveaxis(audio.stack(files, None), 1, 0), files[first].rate
