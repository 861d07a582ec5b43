"""The report of an experiment: some algorithms on the same magnitudes."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from phaserec.commands.following import Followed
from phaserec.commands.inputs import Inputs
from phaserec.evaluation import Settings, by_source
from phaserec.report import Algorithm, Chart, Panel, Report, Table, Track

_FLOOR = -100.0  # dB; what is below is rounding
_SCORES = ("sdr", "si-sdr", "snr")


def experiment(
    inputs: Inputs,
    starts: Mapping[str, np.ndarray],
    runs: Sequence[Followed],
    *,
    seed: int,
    command: str,
    seconds: float,
    lossless: bool = False,
) -> Report:
    """Put the runs of some algorithms side by side.

    Parameters
    ----------
    inputs : Inputs
        What they ran on.
    starts : mapping of str to ndarray of shape (channels, J, time)
        Waveforms of the starts of the runs, by name.
    runs : sequence of Followed
        The runs.
    seed : int
        Seed of the random phases.
    command : str
        The command.
    seconds : float
        Longest sound to embed.
    lossless : bool, default False
        Whether it is embedded as it is.

    Returns
    -------
    Report
        The report.
    """
    labels = _distinct([run.algorithm.label for run in runs])
    words = {name: "given estimate" if name == "estimates" else f"{name} phase" for name in starts}
    results = {words[name]: waveforms for name, waveforms in starts.items()}
    if inputs.estimates is not None and "estimates" not in starts and not _true(inputs):
        results["given estimate"] = inputs.estimates
    results |= {label: run.waveforms for label, run in zip(labels, runs, strict=True)}
    count = len(inputs.names)
    sources = f"{count} source{'s' if count != 1 else ''}"
    n_iter = runs[0].points[-1].iteration
    return Report(
        title=inputs.title,
        summary=f"{', '.join(labels)}: the phases of {sources} recovered from magnitudes, "
        f"{n_iter} iterations from the {' or the '.join(words.values())}.",
        command=command,
        panel=Panel(_tracks(inputs, results), inputs.rate, inputs.stft, seconds, lossless),
        tables=_tables(inputs, results, labels, runs),
        charts=_charts(inputs, labels, runs),
        algorithms=[_algorithm(label, run) for label, run in zip(labels, runs, strict=True)],
        settings=_settings(inputs, labels, runs, seed),
        notes=["The target magnitudes are those of the true sources."] if inputs.shipped else [],
    )


def _true(inputs: Inputs) -> bool:
    """Whether the estimates are the references, which need not be shown twice."""
    given, truth = inputs.estimates, inputs.references
    return given is not None and truth is not None and np.array_equal(given, truth)


def _distinct(labels: Sequence[str]) -> list[str]:
    return [
        label if labels.count(label) == 1 else f"{label} ({labels[:k].count(label) + 1})"
        for k, label in enumerate(labels)
    ]


def _tracks(inputs: Inputs, results: dict[str, np.ndarray]) -> list[Track]:
    tracks = []
    if inputs.mixture is not None:
        tracks.append(Track("mixture", "mixture", inputs.mixture))
    for j, name in enumerate(inputs.names):
        truth = None if inputs.references is None else inputs.references[:, j]
        if truth is not None:
            tracks.append(Track(name, "reference", truth))
        for label, waveforms in results.items():
            target = inputs.magnitudes[:, j]
            tracks.append(Track(name, label, waveforms[:, j], truth, target))
    return tracks


def _tables(
    inputs: Inputs, results: dict[str, np.ndarray], labels: Sequence[str], runs: Sequence[Followed]
) -> list[Table]:
    tables = []
    if inputs.references is not None:
        scored = dict(results)
        if inputs.mixture is not None:
            whole = np.broadcast_to(inputs.mixture[:, None], inputs.references.shape)
            scored = {"mixture": whole, **results}
        settings = Settings(inputs.rate, inputs.stft)
        values = {
            label: [by_source(score, inputs.references, waveforms, settings) for score in _SCORES]
            for label, waveforms in scored.items()
        }
        rows: list[list[Any]] = [
            [name, label, *(float(of_source[j]) for of_source in of_label)]
            for j, name in enumerate(inputs.names)
            for label, of_label in values.items()
        ]
        columns = ["source", "signal", *(f"{score.upper()} (dB)" for score in _SCORES)]
        note = "Mean over channels. SDR allows a filter of 512 taps (BSS Eval)."
        tables.append(Table("Against the references", columns, rows, note))
    rows = []
    for label, run in zip(labels, runs, strict=True):
        last = run.points[-1]
        rows.append([label, last.inconsistency, last.spectral_convergence, last.mixing_error])
    columns = ["algorithm", "inconsistency (dB)", "magnitude error (dB)", "mixing error (dB)"]
    note = (
        "After the last iteration. Inconsistency and magnitude error are relative to the energy of "
        "the target magnitudes, the mixing error to that of the mixture; less is better."
    )
    tables.append(Table("How well the constraints are met", columns, rows, note))
    return tables


def _charts(inputs: Inputs, labels: Sequence[str], runs: Sequence[Followed]) -> list[Chart]:
    named = dict(zip(labels, runs, strict=True))

    def measured(name: str) -> dict[str, list[float | None]]:
        return {
            label: [_floored(getattr(point, name)) for point in run.points]
            for label, run in named.items()
        }

    charts = []
    if inputs.references is not None:
        for j, name in enumerate(inputs.names):
            sdr = {label: [float(s[j]) for s in run.scores] for label, run in named.items()}
            charts.append(Chart(f"SDR of {name}", sdr))
    objectives = {label: _objective(run) for label, run in named.items()}
    charts += [
        Chart("Objective, relative to iteration 1", objectives),
        Chart("Inconsistency", measured("inconsistency")),
        Chart("Magnitude error", measured("spectral_convergence")),
        Chart("Mixing error", measured("mixing_error")),
    ]
    return charts


def _objective(run: Followed) -> list[float | None]:
    """Objective in dB of that after one iteration: hard constraints do not hold before."""
    values = [point.objective for point in run.points]
    first = values[1] if len(values) > 1 else None
    with np.errstate(divide="ignore"):
        return [
            None
            if n == 0 or value is None or not first
            else _floored(float(10 * np.log10(value / first)))
            for n, value in enumerate(values)
        ]


def _floored(value: float | None) -> float | None:
    return None if value is None else max(value, _FLOOR)


def _algorithm(label: str, run: Followed) -> Algorithm:
    base = run.algorithm.base
    return Algorithm(
        label, base.name, run.algorithm.values, base.summary.replace("``", ""), base.cite
    )


def _settings(
    inputs: Inputs, labels: Sequence[str], runs: Sequence[Followed], seed: int
) -> dict[str, Any]:
    stft = inputs.stft
    channels, _, length = runs[0].waveforms.shape
    begun = {run.start: None for run in runs}
    each = (f"{label}: {run.start}" for label, run in zip(labels, runs, strict=True))
    return {
        "Sample rate": f"{inputs.rate} Hz",
        "Duration": f"{length / inputs.rate:.3f} s ({length} samples)",
        "Channels": channels,
        "Transform": f"{stft.n_fft} points, hop {stft.hop_length}, window {stft.window} of "
        f"{stft.win_length}",
        "Centre padding": stft.pad_mode if stft.center else "none",
        "Iterations": runs[0].points[-1].iteration,
        "Initial phase": "; ".join(begun if len(begun) == 1 else each),
        "Seed": seed,
    }
