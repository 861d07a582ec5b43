"""Separation of whole files by a trained model, and its scores on pairs of clean and noisy ones."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from phaserec import audio
from phaserec.evaluation import Metric, Row, score
from unfolded.data.files import AudioFile, file_pairs
from unfolded.separator import Separator

SCORES = ("snr", "snri", "si-sdr", "si-sdri", "sdr", "sdri")
"""Metrics of an evaluation, unless others are asked for."""


@torch.no_grad()
def separate(
    model: Separator,
    samples: np.ndarray,
    rate: int,
    *,
    chunk: float = 60.0,
    overlap: float = 1.0,
) -> np.ndarray:
    """Separate a recording of any rate, length and number of channels.

    Parameters
    ----------
    model : Separator
        The model, in evaluation mode.
    samples : ndarray, shape (channels, time)
        float32 mixture.
    rate : int
        Its sample rate in Hz; a rate that is not the model's is converted there and back.
    chunk : float, default 60
        Seconds that are separated at once. Longer recordings are cut into chunks of equal length
        with linear cross-fades, so that the memory does not grow with them.
    overlap : float, default 1
        Seconds of a cross-fade, less than half a chunk.

    Returns
    -------
    ndarray, shape (J, channels, time)
        float32 sources.

    Raises
    ------
    ValueError
        If the model takes another number of channels, chunk and overlap do not go together, or a
        chunk is too short.
    """
    if not 0 <= 2 * overlap < chunk < math.inf:
        raise ValueError(f"chunk={chunk} seconds must be more than twice overlap={overlap}")
    own = round(model.sample_rate)
    shortest = 2 * model.stft.n_fft / own
    if chunk < shortest:
        raise ValueError(
            f"chunk={chunk} seconds must be at least two frames of the model, {shortest:g} seconds"
        )
    length = samples.shape[-1]
    if rate != own:
        samples = audio.resample(samples, rate, own)
    whole = samples.shape[-1]
    size, fade = round(chunk * own), round(overlap * own)
    count = 1 if whole <= size else math.ceil((whole - fade) / (size - fade))
    fade = 0 if count == 1 else fade
    bounds = [k * (whole - fade) // count for k in range(count + 1)]
    out = np.zeros((len(source_names(model)), *samples.shape), dtype=np.float32)
    for start, stop in zip(bounds[:-1], (bound + fade for bound in bounds[1:]), strict=True):
        part = _separate_chunk(model, samples[:, start:stop])
        if start > 0:
            part[..., :fade] *= np.linspace(0, 1, fade, endpoint=False, dtype=np.float32)
        if stop < whole:
            end = part[..., part.shape[-1] - fade :]
            end *= 1 - np.linspace(0, 1, fade, endpoint=False, dtype=np.float32)
        out[..., start:stop] += part
    if rate != own:
        out = audio.resample(out, own, rate)[..., :length]
        out = np.pad(out, ((0, 0), (0, 0), (0, length - out.shape[-1])))
    return out


def _separate_chunk(model: Separator, samples: np.ndarray) -> np.ndarray:
    """Sources ``(J, channels, time)``."""
    check_channels(model, len(samples))
    x = _as_input(model, torch.from_numpy(np.ascontiguousarray(samples)))
    wanted = _channels(model) or len(x)
    if wanted == len(x):
        y = model(x.unsqueeze(0))[0]
    elif wanted == 1:
        y = model(x.unsqueeze(1))[:, :, 0].movedim(1, 0)
    else:
        y = model(x.expand(wanted, -1).unsqueeze(0))[0].mean(1, keepdim=True)
    return np.array(y.float().cpu().numpy())


def check_channels(model: Separator, count: int) -> None:
    """Raise ValueError unless a model can separate so many channels.

    Parameters
    ----------
    model : Separator
        The model.
    count : int
        Channels of a recording.
    """
    wanted = _channels(model)
    if wanted not in (None, 1, count) and count > 1:
        raise ValueError(f"the model separates {wanted} channels, but the file has {count}")


def _channels(model: Separator) -> int | None:
    """Channels that a model sees together; None for one that takes any."""
    return getattr(model.estimator, "n_channels", None)


def _as_input(model: Separator, x: torch.Tensor) -> torch.Tensor:
    """Waveforms where the weights are; a half precision of them is not that of waveforms."""
    weights = next(model.parameters(), x)
    return x.to(weights.device, torch.promote_types(weights.dtype, torch.float32))


@torch.no_grad()
def source_names(model: Separator) -> list[str]:
    """Names of the sources of a model, ``source1`` and so on where it has none.

    Parameters
    ----------
    model : Separator
        The model, in evaluation mode. Where its number of sources is only known at a call, it
        separates a moment of silence.

    Returns
    -------
    list of str
        Names.

    Raises
    ------
    ValueError
        If the model has no estimator.
    """
    if model.estimator is None:
        raise ValueError(
            "the model has no estimator and separates given magnitudes alone; call it in Python"
        )
    if model.targets is not None:
        return model.targets
    silence = torch.zeros(1, _channels(model) or 1, model.stft.n_fft)
    return [f"source{j + 1}" for j in range(model(_as_input(model, silence)).shape[1])]


def evaluate(
    model: Separator,
    folder: str | Path,
    *,
    target: str | None = None,
    metrics: Sequence[str | Metric] = SCORES,
) -> Iterator[Row]:
    """Score a model on ``clean/`` and ``noisy/`` files, one row a pair.

    Parameters
    ----------
    model : Separator
        The model, in evaluation mode.
    folder : str or Path
        Folder with the two subfolders.
    target : str, optional
        Which source is in ``clean/``; default ``speech`` if there is one, else the first.
    metrics : sequence of str or Metric
        As for :func:`phaserec.evaluation.score`; the noisy file is the mixture.

    Yields
    ------
    Row
        Scores of the estimate; an ``i`` at the end of a name is the gain over the noisy file.

    Raises
    ------
    ValueError, OSError
        If there is no such target or metric, no pair, or a file is damaged.
    """
    names = source_names(model)
    if target is None:
        target = "speech" if "speech" in names else names[0]
    if target not in names:
        raise ValueError(f"target={target!r} is not one of {', '.join(names)}")
    which = names.index(target)
    for clean_file, noisy_file in file_pairs(folder):
        clean, noisy = _read_pair(clean_file, noisy_file)
        estimate = separate(model, noisy, clean_file.rate)[which]
        (row,) = score(
            clean[None],
            estimate[None],
            clean_file.rate,
            mixture=noisy,
            metrics=metrics,
            names=[""],
            item=clean_file.path.relative_to(Path(folder) / "clean").as_posix(),
        )
        yield row


def _read_pair(clean: AudioFile, noisy: AudioFile) -> tuple[np.ndarray, np.ndarray]:
    one, other = audio.read(clean.path).samples, audio.read(noisy.path).samples
    if one.shape != other.shape:
        raise ValueError(
            f"{clean.path} has {len(one)} channel(s) and {one.shape[1]} samples, but "
            f"{noisy.path} has {len(other)} and {other.shape[1]}"
        )
    return one, other
