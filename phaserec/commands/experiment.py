"""The report of an experiment: some algorithms on the same magnitudes."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from phaserec import measures
from phaserec.commands.inputs import Inputs
from phaserec.report.model import Algorithm, Chart, Panel, Report, Table, Track
from phaserec.solving.follow import Point, Run

_FLOOR = -100.0  # dB; what is below is rounding
_MEASURES = {"SDR": measures.sdr, "SI-SDR": measures.si_sdr, "SNR": measures.snr}


def experiment(
    inputs: Inputs,
    before: np.ndarray,
    runs: Sequence[Run],
    *,
    init: str | None,
    seed: int,
    command: str,
    seconds: float,
) -> Report:
    """Put the runs of some algorithms side by side.

    Parameters
    ----------
    inputs : Inputs
        What they ran on.
    before : ndarray, shape (channels, J, time)
        Waveforms of the start.
    runs : sequence of Run
        The runs.
    init : str or None
        Initial phase, as on the command line.
    seed : int
        Seed of the random phases.
    command : str
        The command.
    seconds : float
        Longest sound to embed.

    Returns
    -------
    Report
        The report.
    """
    labels = _distinct([run.label for run in runs])
    init = init or ("random" if inputs.mixture is None else "mixture")
    start = "given estimate" if init == "estimates" else f"{init} phase"
    results = {start: before}
    if inputs.init is not None and init != "estimates" and not inputs.shipped:
        results["given estimate"] = inputs.stft.inverse(inputs.init, length=before.shape[-1])
    results |= {label: run.waveforms for label, run in zip(labels, runs, strict=True)}
    count = len(inputs.names)
    sources = f"{count} source{'s' if count != 1 else ''}"
    n_iter = runs[0].points[-1].iteration
    return Report(
        title=inputs.title,
        summary=f"{', '.join(labels)}: the phases of {sources} recovered from magnitudes, "
        f"{n_iter} iterations from the {start if init == 'estimates' else init + ' phase'}.",
        command=command,
        panel=Panel(_tracks(inputs, results), inputs.rate, inputs.stft, seconds),
        tables=_tables(inputs, results, labels, runs),
        charts=_charts(inputs, labels, runs),
        algorithms=[_algorithm(label, run) for label, run in zip(labels, runs, strict=True)],
        settings=_settings(inputs, before, n_iter, init, seed),
        notes=["The target magnitudes are those of the true sources."] if inputs.shipped else [],
    )


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
    inputs: Inputs, results: dict[str, np.ndarray], labels: Sequence[str], runs: Sequence[Run]
) -> list[Table]:
    tables = []
    if inputs.references is not None:
        scored = dict(results)
        if inputs.mixture is not None:
            whole = np.broadcast_to(inputs.mixture[:, None], inputs.references.shape)
            scored = {"mixture": whole, **results}
        rows: list[list[Any]] = []
        for j, name in enumerate(inputs.names):
            for label, waveforms in scored.items():
                pair = inputs.references[:, j], waveforms[:, j]
                rows.append([name, label, *(float(m(*pair).mean()) for m in _MEASURES.values())])
        columns = ["source", "signal", *(f"{name} (dB)" for name in _MEASURES)]
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


def _charts(inputs: Inputs, labels: Sequence[str], runs: Sequence[Run]) -> list[Chart]:
    histories = dict(zip(labels, (run.points for run in runs), strict=True))

    def chart(title: str, read: Any, unit: str = "dB") -> Chart:
        curves = {label: [read(p, points) for p in points] for label, points in histories.items()}
        return Chart(title, curves, unit)

    charts = []
    if inputs.references is not None:
        for j, name in enumerate(inputs.names):
            charts.append(chart(f"SDR of {name}", lambda p, _, j=j: float(p.sdr[j])))
    charts += [
        chart("Objective, relative to iteration 1", _objective),
        chart("Inconsistency", lambda p, _: _floored(p.inconsistency)),
        chart("Magnitude error", lambda p, _: _floored(p.spectral_convergence)),
        chart("Mixing error", lambda p, _: _floored(p.mixing_error)),
    ]
    return charts


def _objective(point: Point, points: Sequence[Point]) -> float | None:
    """Objective in dB of that after one iteration: hard constraints do not hold before."""
    if point.objective is None or point.iteration == 0 or not points[1].objective:
        return None
    with np.errstate(divide="ignore"):
        return _floored(float(10 * np.log10(point.objective / points[1].objective)))


def _floored(value: float | None) -> float | None:
    return None if value is None else max(value, _FLOOR)


def _algorithm(label: str, run: Run) -> Algorithm:
    hyper = {h.name: h.default for h in run.entry.hyper} | run.hyper
    return Algorithm(
        label, run.entry.name, hyper, run.entry.summary.replace("``", ""), run.entry.cite
    )


def _settings(
    inputs: Inputs, before: np.ndarray, n_iter: int, init: str, seed: int
) -> dict[str, Any]:
    stft = inputs.stft
    channels, _, length = before.shape
    return {
        "Sample rate": f"{inputs.rate} Hz",
        "Duration": f"{length / inputs.rate:.3f} s ({length} samples)",
        "Channels": channels,
        "Transform": f"{stft.n_fft} points, hop {stft.hop_length}, window {stft.window} of "
        f"{stft.win_length}",
        "Iterations": n_iter,
        "Initial phase": init,
        "Seed": seed,
    }
