"""One inversion from files to files: what ``phaserec invert`` does."""

import os
import secrets
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from phaserec import audio, measures
from phaserec._xp import Array, to_numpy
from phaserec.algorithms import Algorithm, resolve
from phaserec.iteration import iterate, prepare
from phaserec.problem import Problem
from phaserec.solve import solution
from phaserec.stft import STFT

_SETTINGS = ("rate", "length", "n_fft", "hop_length", "win_length")


@dataclass(frozen=True)
class Inputs:
    """What the files held.

    Attributes
    ----------
    names : list of str
        Names of the J sources.
    magnitudes : ndarray, shape (channels, J, F, T)
        Target magnitudes.
    mixture : ndarray, shape (channels, time), or None
        Mixture waveform.
    init : ndarray, shape (channels, J, F, T), or None
        Spectrograms of the estimates.
    references : ndarray, shape (channels, J, time), or None
        True sources.
    rate : int
        Sample rate in Hz.
    length : int or None
        Length of the signals in samples.
    stft : STFT
        The transform.
    """

    names: list[str]
    magnitudes: np.ndarray
    mixture: np.ndarray | None
    init: np.ndarray | None
    references: np.ndarray | None
    rate: int
    length: int | None
    stft: STFT


def run(
    *,
    mixture: str | None,
    estimates: Sequence[str],
    magnitudes: str | None,
    references: Sequence[str],
    algo: str | None,
    n_iter: int,
    init: str | None,
    seed: int | None,
    window: str,
    output: str | None,
    subtype: str,
    device: str,
    trace: bool,
    rate: int | None,
    length: int | None,
    n_fft: int | None,
    hop_length: int | None,
    win_length: int | None,
    **words: str | None,
) -> None:
    """Read the inputs, recover the phases, report, and write the results.

    Parameters are the options of the command line; ``words`` are the hyper-parameters as typed.

    Raises
    ------
    ValueError, OSError
        For anything wrong with the input; nothing has been written then.
    """
    alone = mixture is None and magnitudes is not None
    entry = resolve(algo or ("fast-griffin-lim" if alone else "aux"))
    hyper = _parse(entry, words)
    prepare(entry, hyper)
    audio.check_subtype(subtype)
    settings = {
        "rate": rate,
        "length": length,
        "n_fft": n_fft,
        "hop_length": hop_length,
        "win_length": win_length,
    }
    inputs = _load(mixture, estimates, magnitudes, references, settings, window)
    _check_references(inputs)
    if output is None and mixture == "-":
        output = "-"
    shipped = mixture is None and magnitudes is None
    if output is None and not shipped:
        output = "recovered"
    targets = _targets(output, inputs.names)

    problem = Problem(
        _to_device(inputs.magnitudes, device),
        None if inputs.mixture is None else _to_device(inputs.mixture, device),
        stft=inputs.stft,
        length=inputs.length,
    )
    start: Any = init
    if init == "estimates":
        if inputs.init is None:
            raise ValueError("--init estimates needs --estimates; magnitudes alone have no phase")
        start = _to_device(inputs.init, device)
    # One seed for all that follows, so that every use of it starts from the same phases.
    seed = secrets.randbits(32) if seed is None else seed
    if trace:
        waveforms = to_numpy(_traced(entry, problem, n_iter, start, seed, hyper, inputs))
    else:
        waveforms = to_numpy(_solved(entry, problem, n_iter, start, seed, hyper))

    report = sys.stderr if output == "-" else sys.stdout
    if shipped:
        print(
            f"The shipped example with the true magnitudes: {entry.name}, "
            + "".join(f"{name}={value}, " for name, value in hyper.items())
            + f"{n_iter} iterations",
            file=report,
        )
    if inputs.references is not None:
        before = problem.waveforms(problem.start(start, seed))
        _report(inputs, to_numpy(before), waveforms, report)
    _write(waveforms, inputs, targets, output, subtype)
    for target in targets:
        print(target, file=report)


def _parse(entry: Algorithm, words: dict[str, str | None]) -> dict[str, Any]:
    """Hyper-parameters as values; words the algorithm does not know stay for the check to name."""
    kinds = {h.name: h for h in entry.hyper}
    given = {name: word for name, word in words.items() if word is not None}
    hyper = {
        name: kinds[name].parse(word) if name in kinds else word for name, word in given.items()
    }
    if "momentum" in hyper and "momentum" not in kinds:
        hyper["momentum"] = _number(given["momentum"])
    return hyper


def _number(word: str) -> float | str:
    try:
        return float(word)
    except ValueError:
        return word


def _load(
    mixture: str | None,
    estimates: Sequence[str],
    magnitudes: str | None,
    references: Sequence[str],
    settings: dict[str, int | None],
    window: str,
) -> Inputs:
    if estimates and magnitudes:
        raise ValueError("--estimates and --magnitudes both give magnitudes; use one of them")
    if mixture is None and (estimates or (references and not magnitudes)):
        raise ValueError("--estimates and --references go with a MIXTURE; name it first")
    if mixture is not None and not (estimates or magnitudes):
        raise ValueError(
            "MIXTURE needs the magnitudes of its sources: add --estimates a.wav b.wav or "
            "--magnitudes m.npz"
        )
    arrays: dict[str, np.ndarray] = {}
    if magnitudes is not None:
        arrays, stored = _read_magnitudes(Path(magnitudes))
        settings = {k: stored.get(k) if v is None else v for k, v in settings.items()}
    n_fft = 1024 if settings["n_fft"] is None else settings["n_fft"]
    stft = STFT(n_fft, settings["hop_length"], settings["win_length"], window)
    if mixture is None and magnitudes is None:
        whole, sources = audio.example()
        waves = _stack(sources, whole)
        S = stft(waves)
        return Inputs(list(sources), np.abs(S), whole.samples, S, waves, whole.rate, None, stft)
    if mixture is None:
        if settings["rate"] is None:
            raise ValueError("magnitudes alone carry no sample rate; add --rate, such as 16000")
        V = _channels(arrays, None)
        length = settings["length"]
        truth = None
        if references:
            truth = _stack(_read_all(references), None)
            length = truth.shape[-1] if length is None else length
        return Inputs(list(arrays), V, None, None, truth, settings["rate"], length, stft)
    whole = audio.read(mixture)
    if settings["rate"] not in (None, whole.rate):
        raise ValueError(f"--rate {settings['rate']} but {mixture} has {whole.rate} Hz")
    truth = _stack(_read_all(references), whole) if references else None
    if estimates:
        files = _read_all(estimates)
        S = stft(_stack(files, whole))
        inputs = Inputs(list(files), np.abs(S), whole.samples, S, truth, whole.rate, None, stft)
    else:
        V = _channels(arrays, len(whole.samples))
        inputs = Inputs(list(arrays), V, whole.samples, None, truth, whole.rate, None, stft)
    return inputs


def _check_references(inputs: Inputs) -> None:
    if inputs.references is None:
        return
    channels, count, _ = inputs.references.shape
    if (channels, count) != inputs.magnitudes.shape[:2]:
        raise ValueError(
            f"{count} --references of {channels} channel(s) for {len(inputs.names)} sources of "
            f"{len(inputs.magnitudes)}; give one for each source, in the same order"
        )


def _read_all(paths: Sequence[str]) -> dict[str, audio.Audio]:
    """Files by a name for each: the stem, numbered where stems repeat."""
    stems = [Path(path).stem for path in paths]
    names = [
        stem if stems.count(stem) == 1 else f"{stem}-{number}"
        for number, stem in enumerate(stems, start=1)
    ]
    return {name: audio.read(path) for name, path in zip(names, paths, strict=True)}


def _stack(files: dict[str, audio.Audio], whole: audio.Audio | None) -> np.ndarray:
    """Waveforms ``(channels, J, time)``, all like the mixture (or the first file)."""
    first = whole or next(iter(files.values()))
    title = "the mixture" if whole else next(iter(files))
    for name, file in files.items():
        for what, mine, wanted in (
            ("sample rate", file.rate, first.rate),
            ("number of channels", file.samples.shape[0], first.samples.shape[0]),
            ("length", file.samples.shape[1], first.samples.shape[1]),
        ):
            if mine != wanted:
                raise ValueError(
                    f"{name} has {what} {mine}, but {title} has {wanted}; they must agree"
                )
    return np.stack([file.samples for file in files.values()], axis=1)


def _read_magnitudes(path: Path) -> tuple[dict[str, np.ndarray], dict[str, int]]:
    """Magnitudes ``([channels,] F, T)`` by source name, and the settings stored with them."""
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            loaded = {"magnitudes": loaded}
        contents = {name: loaded[name] for name in loaded}
    except (ValueError, OSError, EOFError, AttributeError) as error:
        raise ValueError(f"{path} is not an npz or npy file of numbers: {error}") from None
    scalars = {k: v for k, v in contents.items() if k in (*_SETTINGS, "sr") and v.ndim == 0}
    settings = {"rate" if k == "sr" else k: int(v) for k, v in scalars.items()}
    arrays = {k: v for k, v in contents.items() if k not in scalars}
    for name, values in arrays.items():
        if values.dtype.kind not in "fiu" or values.ndim < 2:
            raise ValueError(
                f"{path}: {name!r} is {values.dtype} of shape {values.shape}, expected real "
                "magnitudes (F, T), (J, F, T) or (channels, J, F, T)"
            )
    if set(arrays) == {"magnitudes"}:
        values = arrays["magnitudes"]
        values = values[None] if values.ndim == 2 else values
        arrays = {f"source{j + 1}": values[..., j, :, :] for j in range(values.shape[-3])}
    if not arrays:
        raise ValueError(f"{path} holds no magnitudes")
    return arrays, settings


def _channels(arrays: dict[str, np.ndarray], channels: int | None) -> np.ndarray:
    """Stack to ``(channels, J, F, T)``."""
    shapes = {name: values.shape for name, values in arrays.items()}
    if len(set(shapes.values())) > 1:
        raise ValueError(f"magnitudes of the sources differ in shape: {shapes}")
    stacked = np.stack([v.astype(np.result_type(v, np.float32)) for v in arrays.values()], axis=-3)
    if stacked.ndim == 3:
        stacked = stacked[None]
    if stacked.ndim != 4 or (channels is not None and len(stacked) != channels):
        raise ValueError(
            f"magnitudes of shape {next(iter(shapes.values()))} for each source do not go with a "
            f"mixture of {channels} channel(s); expected (F, T) or (channels, F, T)"
        )
    return stacked


def _to_device(values: np.ndarray, device: str) -> Array:
    if device == "cpu":
        return values
    try:
        import torch
    except ImportError:
        raise ValueError(
            f"--device {device} needs torch: pip install 'phaserec[unfolded]'"
        ) from None
    try:
        return torch.from_numpy(values).to(device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"--device {device} is not available: {reason}") from None


def _solved(
    entry: Algorithm, problem: Problem, n_iter: int, init: Any, seed: int, hyper: dict[str, Any]
) -> Array:
    steps = solution(entry, problem, n_iter, init=init, rng=seed, **hyper)
    with tqdm(total=100, disable=not sys.stderr.isatty(), unit="%", leave=False) as bar:
        while True:
            try:
                bar.update(int(100 * next(steps)) - bar.n)
            except StopIteration as stop:
                return stop.value


def _traced(
    entry: Algorithm,
    problem: Problem,
    n_iter: int,
    init: Any,
    seed: int,
    hyper: dict[str, Any],
    inputs: Inputs,
) -> Array:
    _trace_line("iteration", "objective", inputs.names if inputs.references is not None else [])
    S = problem.start(init, seed)
    _trace(entry, problem, S, 0, hyper, inputs)
    for n, current in enumerate(iterate(entry, problem, n_iter, init=S, **hyper), start=1):
        S = current
        _trace(entry, problem, S, n, hyper, inputs)
    return problem.waveforms(S)


def _trace(
    entry: Algorithm, problem: Problem, S: Array, n: int, hyper: dict[str, Any], inputs: Inputs
) -> None:
    value = "-"
    if entry.objective is not None:
        known = {h.name: hyper.get(h.name, h.default) for h in entry.hyper}
        value = f"{float(to_numpy(entry.objective(S, problem, **known)).sum()):.6g}"
    scores = []
    if inputs.references is not None:
        sdr = _sdr(inputs.references, to_numpy(problem.waveforms(S)))
        scores = [f"{score:.2f} dB" for score in sdr]
    _trace_line(str(n), value, scores)


def _trace_line(n: str, value: str, scores: Sequence[str]) -> None:
    print(f"{n:>9}  {value:>12}" + "".join(f"  {s:>12}" for s in scores), file=sys.stderr)


def _sdr(references: np.ndarray, waveforms: np.ndarray) -> np.ndarray:
    """SDR of each source in dB, mean over channels ``(J,)``."""
    return measures.sdr(references, waveforms).mean(axis=0)


def _report(inputs: Inputs, before: np.ndarray, after: np.ndarray, stream: Any) -> None:
    assert inputs.references is not None
    width = max(len(name) for name in inputs.names) + 2
    print(f"{'source':<{width}}  SDR before   after", file=stream)
    rows = zip(
        inputs.names, _sdr(inputs.references, before), _sdr(inputs.references, after), strict=True
    )
    for name, old, new in rows:
        print(f"{name:<{width}}  {old:7.2f} dB {new:7.2f} dB", file=stream)


def _targets(output: str | None, names: Sequence[str]) -> list[Path]:
    """Files to write; raises OSError if it is clear now that they cannot be."""
    if output in (None, "-"):
        return []
    assert output is not None
    path = Path(output)
    single = path.suffix.lower() == ".wav"
    if single and len(names) > 1:
        raise ValueError(f"-o {output} is one file for {len(names)} sources; name a folder")
    if path.is_dir() and single:
        raise IsADirectoryError(f"-o {output} is a folder but looks like a file; rename it")
    folder = path.parent if single else path
    nearest = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not nearest.is_dir():
        raise NotADirectoryError(f"-o {output}: {nearest} is not a folder")
    if not os.access(nearest, os.W_OK):
        raise PermissionError(f"-o {output}: no permission to write in {nearest}")
    return [path] if single else [folder / f"{name}.wav" for name in names]


def _write(
    waveforms: np.ndarray, inputs: Inputs, targets: list[Path], output: str | None, subtype: str
) -> None:
    peak = float(np.abs(waveforms).max())
    if output is not None and peak > 1 and subtype not in ("FLOAT", "DOUBLE"):
        print(
            f"phaserec: warning: samples reach {peak:.2f} and are clipped in {subtype}",
            file=sys.stderr,
        )
    if output == "-":
        joined = np.moveaxis(waveforms, 1, 0).reshape(-1, waveforms.shape[-1])
        sys.stdout.buffer.write(audio.encode(joined, inputs.rate, subtype=subtype))
        sys.stdout.buffer.flush()
    elif targets:
        targets[0].parent.mkdir(parents=True, exist_ok=True)
        audio.write(targets, list(np.moveaxis(waveforms, 1, 0)), inputs.rate, subtype=subtype)
