"""What the files of a command hold: mixture, magnitudes, references and their transform."""

import math
import os
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from phaserec import audio
from phaserec._files import check_name, distinct, open_whole
from phaserec._memory import TooLarge, check_memory
from phaserec._xp import Array
from phaserec.algorithms import Configured
from phaserec.commands.devices import check_device
from phaserec.commands.options import Signals, Transform
from phaserec.problem import Problem
from phaserec.solving import needs_mixture
from phaserec.stft import STFT

_SETTINGS = ("rate", "length", "n_fft", "hop_length", "win_length")
_ALIASES = dict.fromkeys(("sr", "fs", "sample_rate", "samplerate", "sampling_rate"), "rate")
# dB; a mixture that estimates leave less of is theirs to rounding and resampling.
_MISSED = -20.0
NO_RATE = "magnitudes alone carry no sample rate; add --rate, such as 16000"
NO_PHASES = "--init estimates needs --estimates; magnitudes alone have no phase"
_SHORTER = "make magnitudes of shorter signals, or with a larger hop"


@dataclass(frozen=True)
class Inputs:
    """What the files held.

    Attributes
    ----------
    title : str
        What they are, in a word or two.
    names : list of str
        Names of the J sources.
    magnitudes : ndarray, shape (channels, J, F, T)
        Target magnitudes.
    mixture : ndarray, shape (channels, time), or None
        Mixture waveform.
    estimates : ndarray, shape (channels, J, time), or None
        Waveforms of the estimates, where they were given as such.
    references : ndarray, shape (channels, J, time), or None
        True sources.
    rate : int
        Sample rate in Hz.
    length : int or None
        Length of the signals in samples.
    stft : STFT
        The transform.
    shipped : bool
        Whether it is the example that ships, whose estimates are the true sources.
    bands : phaserec.inverse.Bands or None
        What the values are, where magnitudes follow mel values.
    values : ndarray, shape (channels, J, K, T), or None
        The values.
    mel : dict or None
        Settings of mel values.
    """

    title: str
    names: list[str]
    magnitudes: np.ndarray
    mixture: np.ndarray | None
    estimates: np.ndarray | None
    references: np.ndarray | None
    rate: int
    length: int | None
    stft: STFT
    shipped: bool = False
    bands: Any = None
    values: np.ndarray | None = None
    mel: dict[str, Any] | None = None

    def problem(self, device: str) -> Problem:
        """The problem on a device, ``"cpu"`` for numpy or one of torch.

        Parameters
        ----------
        device : str
            The device.

        Returns
        -------
        Problem
            With a mixture where there is one.

        Raises
        ------
        ValueError
            If the device is not available or the arrays are not valid.
        """
        if self.bands is not None and self.values is not None:
            from phaserec.inverse import BandProblem  # has no part in other runs

            values = _to_device(self.values, device)
            return BandProblem(self.bands, values, stft=self.stft, length=self.length)
        return Problem(
            _to_device(self.magnitudes, device),
            None if self.mixture is None else _to_device(self.mixture, device),
            stft=self.stft,
            length=self.length,
        )

    def start(self, init: str | None, device: str) -> Any:
        """Initial phase as :func:`phaserec.iterate` takes it.

        Parameters
        ----------
        init : str or None
            The word, or ``"estimates"`` for the phases of the estimates.
        device : str
            The device of the problem.

        Returns
        -------
        str, array of shape (channels, J, F, T), or None
            The word, or the spectrograms of the estimates.

        Raises
        ------
        ValueError
            If there are no estimates.
        """
        if init != "estimates":
            return init
        if self.estimates is None:
            raise ValueError(NO_PHASES)
        return _to_device(self.stft(self.estimates), device)

    @property
    def mixing_error(self) -> float:
        """Energy of what the estimates leave of the mixture, in dB of that of the mixture."""
        assert self.mixture is not None and self.estimates is not None
        rest = self.mixture - self.estimates.sum(axis=1)
        whole = float(np.sum(self.mixture.astype(float) ** 2))
        part = float(np.sum(rest.astype(float) ** 2))
        return 10 * math.log10(part / whole) if part and whole else -math.inf


def load(signals: Signals, chosen: Transform, *, transform: STFT | None = None) -> Inputs:
    """Read the files of a command.

    Parameters
    ----------
    signals : Signals
        The files; without a mixture and magnitudes the example that ships is taken.
    chosen : Transform
        The transform as typed.
    transform : STFT, optional
        What the transform is where nothing else says so; default ``STFT()``. Its hop and window
        length go with its ``n_fft``.

    Returns
    -------
    Inputs
        Arrays that agree with one another.

    Raises
    ------
    ValueError, OSError
        For anything wrong with the files.
    """
    check_together(signals)
    otherwise = STFT() if transform is None else transform
    given = {name: getattr(signals, name, getattr(chosen, name, None)) for name in _SETTINGS}
    arrays: dict[str, np.ndarray] = {}
    if signals.magnitudes is not None:
        arrays, stored = read_magnitudes(Path(signals.magnitudes))
        given = {k: stored.get(k) if v is None else v for k, v in given.items()}
    stft = resolved_transform(given, chosen, otherwise)
    if signals.shipped:
        inputs = _example(stft)
    elif signals.mixture is None:
        inputs = _alone(signals, arrays, given, stft)
    else:
        inputs = _with_mixture(signals.mixture, signals, arrays, given, stft)
    _check_references(inputs)
    return inputs


def check_together(signals: Signals) -> None:
    """Raise ValueError where the files that are named do not go together."""
    mixture, estimates, magnitudes = signals.mixture, signals.estimates, signals.magnitudes
    if signals.rate is not None:
        audio.check_rate("--rate", signals.rate)
    if signals.remainder and not estimates:
        raise ValueError("--remainder is what --estimates leave of MIXTURE; name them first")
    if estimates and magnitudes:
        raise ValueError("--estimates and --magnitudes both give magnitudes; use one of them")
    if mixture is None and (estimates or (signals.references and not magnitudes)):
        raise ValueError("--estimates and --references go with a MIXTURE; name it first")
    if mixture is not None and not (estimates or magnitudes):
        raise ValueError(
            "MIXTURE needs the magnitudes of its sources: add --estimates a.wav b.wav or "
            "--magnitudes m.npz; --analyse magnitudes takes those of MIXTURE itself"
        )


def _example(stft: STFT) -> Inputs:
    whole, sources = audio.example()
    waves = audio.stack(sources, whole)
    return Inputs(
        "The shipped example",
        list(sources),
        np.abs(stft(waves)),
        whole.samples,
        waves,
        waves,
        whole.rate,
        None,
        stft,
        shipped=True,
    )


def _alone(
    signals: Signals, arrays: dict[str, np.ndarray], given: dict[str, int | None], stft: STFT
) -> Inputs:
    """Magnitudes without a mixture."""
    if given["rate"] is None:
        raise ValueError(NO_RATE)
    V = channels_of(arrays, None)
    length = given["length"]
    truth = None
    if signals.references:
        truth = audio.stack(_read_all(signals.references), None)
        length = truth.shape[-1] if length is None else length
    title = Path(signals.magnitudes or "").name
    return Inputs(title, list(arrays), V, None, None, truth, given["rate"], length, stft)


def _with_mixture(
    mixture: str,
    signals: Signals,
    arrays: dict[str, np.ndarray],
    given: dict[str, int | None],
    stft: STFT,
) -> Inputs:
    whole = audio.read(mixture)
    if given["rate"] not in (None, whole.rate):
        raise ValueError(f"--rate {given['rate']} but {mixture} has {whole.rate} Hz")
    truth = audio.stack(_read_all(signals.references), whole) if signals.references else None
    title = "Standard input" if mixture == "-" else Path(mixture).name
    waves = None
    if signals.estimates:
        files = _read_all(signals.estimates)
        waves = audio.stack(files, whole)
        names = list(files)
        if signals.remainder:
            names.append(distinct([*names, "remainder"])[-1])
            rest = whole.samples - waves.sum(axis=1)
            waves = np.concatenate([waves, rest[:, None]], axis=1)
        V = np.abs(stft(waves))
    else:
        names, V = list(arrays), channels_of(arrays, len(whole.samples))
    return Inputs(title, names, V, whole.samples, waves, truth, whole.rate, None, stft)


def typed_transform(chosen: Transform, otherwise: STFT) -> STFT:
    """Transform as typed.

    Parameters
    ----------
    chosen : Transform
        Options.
    otherwise : STFT
        What it is where they say nothing; its hop and window length go with its ``n_fft``.

    Returns
    -------
    STFT
        The transform.
    """
    return resolved_transform(vars(chosen), chosen, otherwise)


def resolved_transform(settings: dict[str, int | None], chosen: Transform, otherwise: STFT) -> STFT:
    n_fft = otherwise.n_fft if settings["n_fft"] is None else settings["n_fft"]
    hop_length, win_length = settings["hop_length"], settings["win_length"]
    if n_fft == otherwise.n_fft:
        hop_length = otherwise.hop_length if hop_length is None else hop_length
        win_length = otherwise.win_length if win_length is None else win_length
    window = otherwise.window if chosen.window is None else chosen.window
    pad_mode = otherwise.pad_mode if chosen.pad_mode is None else chosen.pad_mode
    return STFT(n_fft, hop_length, win_length, window, otherwise.center, pad_mode=pad_mode)


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
    """Files by a name for each."""
    return {name: audio.read(path) for name, path in zip(names_of(paths), paths, strict=True)}


def names_of(paths: Sequence[str]) -> list[str]:
    """A name for each file: its stem, or the folder of files of one name; no two alike."""
    stems = [Path(path).stem for path in paths]
    folders = [Path(path).parent.name for path in paths]
    telling = len(set(folders)) == len(folders) and not any(f[:1] in ("", ".") for f in folders)
    if len(set(stems)) == 1 < len(stems) and telling:
        stems = folders
    return distinct([check_name(name, path) for name, path in zip(stems, paths, strict=True)])


def read_magnitudes(path: Path) -> tuple[dict[str, np.ndarray], dict[str, int]]:
    """Magnitudes ``([channels,] F, T)`` by source name, and the settings stored with them."""
    with open_whole(path) as file:
        try:
            contents = _arrays(file, path)
        except TooLarge:
            raise
        except Exception as error:  # the kinds of a damaged archive are many
            raise ValueError(f"{path} is not an npz or npy file of numbers: {error}") from None
    scalars = {k: v for k, v in contents.items() if k in (*_SETTINGS, *_ALIASES) and v.ndim == 0}
    settings: dict[str, int] = {}
    for key, value in scalars.items():
        name, number = _ALIASES.get(key, key), _whole(path, key, value)
        if settings.setdefault(name, number) != number:
            raise ValueError(f"{path}: {key}={number}, but the {name} is also {settings[name]}")
    if "rate" in settings:
        audio.check_rate(f"{path}: rate", settings["rate"])
    arrays = {check_name(k, f"{path}"): v for k, v in contents.items() if k not in scalars}
    for name, values in arrays.items():
        if values.dtype.kind not in "fiu" or values.ndim < 2:
            raise ValueError(
                f"{path}: {name!r} is {values.dtype} of shape {values.shape}, expected real "
                "magnitudes (F, T), (J, F, T) or (channels, J, F, T), or a setting, one of "
                f"{', '.join((*_SETTINGS, *_ALIASES))}"
            )
    if set(arrays) == {"magnitudes"}:
        values = arrays["magnitudes"]
        values = values[None] if values.ndim == 2 else values
        arrays = {f"source{j + 1}": values[..., j, :, :] for j in range(values.shape[-3])}
    if not arrays:
        raise ValueError(f"{path} holds no magnitudes")
    return arrays, settings


def _arrays(file: BinaryIO, path: Path) -> dict[str, np.ndarray]:
    """Arrays of an npz or npy file by name; sizes are checked before anything is allocated."""
    start = file.read(4)
    file.seek(0)
    if start != b"PK\3\4":
        size = file.seek(0, os.SEEK_END)
        return {"magnitudes": _array(file, size, path)}
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        check_memory(f"{path}", 2 * sum(member.file_size for member in members), _SHORTER)
        found = {}
        for member in members:
            if not member.filename.endswith(".npy"):
                raise ValueError(f"it holds {member.filename!r}, which is no array")
            with archive.open(member) as stream:
                name = member.filename.removesuffix(".npy")
                found[name] = _array(cast(BinaryIO, stream), member.file_size, path)
    return found


def _array(stream: BinaryIO, size: int, path: Path) -> np.ndarray:
    """Array of a npy file of so many bytes, which may tell of more in its first ones."""
    stream.seek(0)
    version = np.lib.format.read_magic(stream)
    read_header = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }.get(version)
    if read_header is None:
        raise ValueError(f"version {version} of the format is not for numbers")
    shape, _, dtype = read_header(stream)
    claimed = math.prod(shape) * dtype.itemsize
    if not 0 <= claimed <= size:
        raise ValueError(f"an array of shape {shape} in {size} bytes is not all there")
    check_memory(f"{path}", 2 * claimed, _SHORTER)
    stream.seek(0)
    return np.lib.format.read_array(stream, allow_pickle=False)


def _whole(path: Path, name: str, value: np.ndarray) -> int:
    """A setting of a file of magnitudes."""
    if value.dtype.kind not in "iuf" or not np.isfinite(value) or int(value) != value or value < 1:
        raise ValueError(f"{path}: {name}={value.item()!r} must be a whole number, 1 or more")
    return int(value)


def channels_of(arrays: dict[str, np.ndarray], channels: int | None) -> np.ndarray:
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
    check_device(device)
    import torch

    return torch.from_numpy(values).to(device)


def check_mixing(algorithms: Sequence[Configured], given: Inputs) -> None:
    """Refuse, or warn of, sources that cannot be mixed to what is heard.

    Parameters
    ----------
    algorithms : sequence of Configured
        What is to run.
    given : Inputs
        What it is to run on.

    Raises
    ------
    ValueError
        If one of them mixes, and there is one source.
    """
    if given.mixture is None:
        return
    missed = given.estimates is not None and given.mixing_error > _MISSED
    if not missed and len(given.names) > 1:
        return  # what mixes is asked only where it matters, since that takes some milliseconds
    mixing = check_several(algorithms, given.names, mixture=True)
    if mixing and missed:
        print(
            f"phaserec: warning: the estimates leave {given.mixing_error:.1f} dB of the mixture, "
            f"which {mixing} spreads over them; --remainder takes it as one more source, and "
            "--algo griffin-lim leaves it out",
            file=sys.stderr,
        )


def check_several(algorithms: Sequence[Configured], names: Sequence[str], *, mixture: bool) -> str:
    """Refuse a single source where sources are to sum to a mixture.

    Parameters
    ----------
    algorithms : sequence of Configured
        What is to run.
    names : sequence of str
        Names of the sources.
    mixture : bool
        Whether there is one.

    Returns
    -------
    str
        Names of the algorithms that mix; empty without a mixture.

    Raises
    ------
    ValueError
        If one of them mixes, and there is one source.
    """
    mixing = ", ".join(a.base.name for a in algorithms if needs_mixture(a)) if mixture else ""
    if mixing and len(names) == 1:
        raise ValueError(
            f"{mixing} makes sources that sum to MIXTURE, and with one of them that is MIXTURE "
            "itself; add --remainder to take the rest as a second source, name estimates of all, "
            "or use --algo griffin-lim"
        )
    return mixing
