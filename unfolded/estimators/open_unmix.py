"""Open-Unmix (Stöter, Uhlich, Liutkus & Mitsufuji, JOSS 2019), with its published weights."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from phaserec import STFT
from phaserec._xp import as_int
from unfolded.checkpoints import load_into, read_state
from unfolded.estimators.registry import estimator
from unfolded.nn.modules import Described

# Parts of a target network; whatever else published files hold (windows of their transform, the
# sample rate) is no weight of it.
_PARTS = (
    *("fc1", "bn1", "lstm", "fc2", "bn2", "fc3", "bn3"),
    *("input_mean", "input_scale", "output_scale", "output_mean"),
)
_FOREIGN = ("stft", "istft", "transform", "spec", "sample_rate")


class OpenUnmixTarget(nn.Module):
    """Open-Unmix for one target: a network whose parameters have the official names.

    Parameters
    ----------
    n_bins : int
        Number of frequencies F.
    max_bin : int
        Number of frequencies that the network sees, from 0 Hz.
    n_channels : int, default 1
        Number of channels, seen together.
    hidden : int, default 512
        Units a layer.
    n_layers : int, default 3
        LSTM layers.
    unidirectional : bool, default False
        Whether the LSTM runs forwards only.
    dropout : float, default 0.4
        Dropout between LSTM layers.
    """

    def __init__(
        self,
        n_bins: int,
        max_bin: int,
        n_channels: int = 1,
        hidden: int = 512,
        n_layers: int = 3,
        unidirectional: bool = False,
        dropout: float = 0.4,
    ) -> None:
        super().__init__()
        self.max_bin = max_bin
        self.fc1 = nn.Linear(max_bin * n_channels, hidden, bias=False)
        self.bn1 = nn.BatchNorm1d(hidden)
        self.lstm = nn.LSTM(
            hidden,
            hidden if unidirectional else hidden // 2,
            n_layers,
            bidirectional=not unidirectional,
            dropout=dropout if n_layers > 1 else 0,
        )
        self.fc2 = nn.Linear(2 * hidden, hidden, bias=False)
        self.bn2 = nn.BatchNorm1d(hidden)
        self.fc3 = nn.Linear(hidden, n_bins * n_channels, bias=False)
        self.bn3 = nn.BatchNorm1d(n_bins * n_channels)
        self.input_mean = nn.Parameter(torch.zeros(max_bin))
        self.input_scale = nn.Parameter(torch.ones(max_bin))
        self.output_scale = nn.Parameter(torch.ones(n_bins))
        self.output_mean = nn.Parameter(torch.ones(n_bins))

    def forward(self, magnitudes: Tensor) -> Tensor:
        """Magnitudes of the target.

        Parameters
        ----------
        magnitudes : Tensor, shape (batch, channel, F, T)
            Magnitudes of the mixture.

        Returns
        -------
        Tensor, shape (batch, channel, F, T)
            Magnitudes of the target: the mixture's times an unbounded mask.
        """
        batch, channels, n_bins, n_frames = magnitudes.shape
        frames = magnitudes.permute(3, 0, 1, 2)
        x = (frames[..., : self.max_bin] + self.input_mean) * self.input_scale
        x = self.bn1(self.fc1(x.reshape(n_frames * batch, -1))).tanh()
        skip = x.reshape(n_frames, batch, -1)
        x = torch.cat([skip, self.lstm(skip)[0]], -1).flatten(0, 1)
        x = self.bn3(self.fc3(self.bn2(self.fc2(x)).relu()))
        x = x.reshape(n_frames, batch, channels, n_bins) * self.output_scale + self.output_mean
        return (x.relu() * frames).permute(1, 2, 3, 0)


@estimator("open-unmix")
class OpenUnmix(Described):
    """Open-Unmix, one network a target, as an estimator of magnitudes.

    With ``STFT(1024)`` the defaults are those of ``umxse`` (speech enhancement at 16 kHz); the
    models for music, ``umx`` and ``umxhq``, are ``stft=STFT(4096), n_channels=2, hidden=512,
    sample_rate=44100``. Published weights expect a Hann window with a hop of a quarter.

    Parameters
    ----------
    targets : sequence of str
        Names of the targets, in the order of the sources.
    stft : STFT
        Transform of the spectrograms.
    n_channels : int, default 1
        Number of channels, seen together.
    hidden : int, default 256
        Units a layer, even unless ``unidirectional``.
    n_layers : int, default 3
        LSTM layers.
    unidirectional : bool, default False
        Whether the LSTM runs forwards only.
    sample_rate : float, default 16000
        Sample rate in Hz.
    bandwidth : float, default 16000
        Highest frequency that the network sees in Hz.
    dropout : float, default 0.4
        Dropout between LSTM layers in training.

    Raises
    ------
    ValueError
        If a size is not allowed or targets are missing or named twice.
    """

    def __init__(
        self,
        targets: Sequence[str],
        *,
        stft: STFT,
        n_channels: int = 1,
        hidden: int = 256,
        n_layers: int = 3,
        unidirectional: bool = False,
        sample_rate: float = 16000,
        bandwidth: float = 16000,
        dropout: float = 0.4,
    ) -> None:
        super().__init__()
        targets = list(targets)
        if not targets or len(set(targets)) < len(targets) or any("." in t for t in targets):
            raise ValueError(f"targets={targets!r} must be different names without dots")
        if not unidirectional and hidden % 2:
            raise ValueError(f"hidden={hidden} must be even for an LSTM in both directions")
        self.targets = targets
        self.stft = stft
        self.sample_rate = sample_rate
        self.n_channels = as_int("n_channels", n_channels, 1)
        hidden, n_layers = as_int("hidden", hidden, 1), as_int("n_layers", n_layers, 1, 100)
        max_bin = max_bin_of(bandwidth, n_fft=stft.n_fft, sample_rate=sample_rate)
        self.target_models = nn.ModuleDict(
            {
                name: OpenUnmixTarget(
                    stft.n_bins, max_bin, n_channels, hidden, n_layers, unidirectional, dropout
                )
                for name in targets
            }
        )

    def forward(self, mixture: Tensor, spectrogram: Tensor) -> Tensor:
        """Estimate magnitudes.

        Parameters
        ----------
        mixture : Tensor, shape (batch, channel, time)
            Waveform of the mixture; not used.
        spectrogram : Tensor, shape (batch, channel, F, T)
            Its complex spectrogram.

        Returns
        -------
        Tensor, shape (batch, J, channel, F, T)
            Magnitudes.

        Raises
        ------
        ValueError
            If the channels or frequencies are not those of the network.
        """
        got, wanted = tuple(spectrogram.shape[-3:-1]), (self.n_channels, self.stft.n_bins)
        if got != wanted:
            raise ValueError(
                f"spectrogram has (channel, F) = {got}, but this Open-Unmix takes {wanted}"
            )
        magnitudes = spectrogram.abs()
        weights = next(self.parameters())
        x = magnitudes.to(weights.dtype)
        estimates = torch.stack([target(x) for target in self.target_models.values()], 1)
        return estimates.to(magnitudes.dtype)

    @classmethod
    def from_published(
        cls,
        checkpoints: Any,
        *,
        stft: STFT | None = None,
        sample_rate: float = 16000,
        dropout: float = 0.4,
    ) -> "OpenUnmix":
        """Open-Unmix with weights in the official format, old or new; sizes are read off them.

        Parameters
        ----------
        checkpoints : dict of str to path or state dict, or path or state dict
            A file a target, by name in the order of the sources, or one file that holds all
            targets under ``target_models.<name>.``. Files are read without running what is in
            them, see :func:`unfolded.checkpoints.read_state`.
        stft : STFT, optional
            Transform of the spectrograms; default a Hann window of the length that the weights
            have, and a hop of a quarter, as published.
        sample_rate : float, default 16000
            Sample rate in Hz.
        dropout : float, default 0.4
            Dropout between LSTM layers in training.

        Returns
        -------
        OpenUnmix
            The network, in evaluation mode.

        Raises
        ------
        ValueError
            If a file is missing, damaged or not Open-Unmix, the targets differ in size, or the
            transform is of another length.
        """
        states = _target_states(checkpoints)
        sizes = {name: _sizes(name, state) for name, state in states.items()}
        first, *others = sizes.values()
        if any(size != first for size in others):
            raise ValueError(f"the targets {', '.join(sizes)} are networks of different sizes")
        max_bin, n_fft = first.pop("max_bin"), first.pop("n_fft")
        stft = STFT(n_fft) if stft is None else stft
        if stft.n_bins != n_fft // 2 + 1:
            raise ValueError(f"stft={stft} must have the n_fft={n_fft} of the weights")
        network = cls(
            list(states),
            **first,
            stft=stft,
            sample_rate=sample_rate,
            # Half a bin above the last one that is seen.
            bandwidth=(max_bin - 0.5) * sample_rate / n_fft,
            dropout=dropout,
        )
        for name, state in states.items():
            load_into(network.target_models[name], state, f"checkpoint of target {name!r}")
        return network.eval()


def max_bin_of(bandwidth: float, *, n_fft: int, sample_rate: float) -> int:
    """Number of frequencies up to a bandwidth.

    Parameters
    ----------
    bandwidth : float
        Highest frequency in Hz, inclusive.
    n_fft : int
        Transform length.
    sample_rate : float
        Sample rate in Hz.

    Returns
    -------
    int
        Number of bins, at least 1.

    Raises
    ------
    ValueError
        If the bandwidth is negative or the sample rate not positive.
    """
    if not sample_rate > 0 or not bandwidth >= 0:
        raise ValueError(
            f"bandwidth={bandwidth!r} must be 0 Hz or more and sample_rate={sample_rate!r} positive"
        )
    frequencies = np.linspace(0, sample_rate / 2, n_fft // 2 + 1)
    return int(np.count_nonzero(frequencies <= bandwidth))


def _target_states(checkpoints: Any) -> dict[str, dict[str, Tensor]]:
    """Weights of each target without prefixes and foreign entries."""
    by_target = isinstance(checkpoints, Mapping) and not any(
        isinstance(value, Tensor) for value in checkpoints.values()
    )
    if by_target:
        states = {}
        for name, source in checkpoints.items():
            found = _split(source, str(name))
            # A file of all targets may stand for the one that is asked for.
            if len(found) > 1 and name not in found:
                raise ValueError(
                    f"checkpoint of target {name!r} holds the targets {', '.join(found)}"
                )
            states[str(name)] = found[name] if name in found else next(iter(found.values()))
        if not states:
            raise ValueError("checkpoints={} must name at least one target")
        return states
    return _split(checkpoints, "target")


def _split(source: Any, default: str) -> dict[str, dict[str, Tensor]]:
    state = source if isinstance(source, Mapping) else read_state(source)
    targets: dict[str, dict[str, Tensor]] = {}
    for key, value in state.items():
        match = re.fullmatch(r"(?:module\.)?(?:target_models\.([^.]+)\.)?(?:module\.)?(.+)", key)
        assert match is not None
        name, rest = match.group(1) or default, match.group(2)
        part = rest.partition(".")[0]
        if part in _FOREIGN:
            continue
        if part not in _PARTS:
            raise ValueError(f"checkpoint of target {name!r} is not Open-Unmix: it holds {key!r}")
        targets.setdefault(name, {})[rest] = value
    if not targets:
        raise ValueError(f"checkpoint of target {default!r} holds no weights of Open-Unmix")
    return targets


def _sizes(name: str, state: Mapping[str, Tensor]) -> dict[str, Any]:
    needed = ("fc1.weight", "input_mean", "output_mean", "lstm.weight_ih_l0")
    missing = [key for key in needed if key not in state]
    if missing:
        raise ValueError(f"checkpoint of target {name!r} is not Open-Unmix: no {missing[0]!r}")
    hidden, inputs = state["fc1.weight"].shape
    max_bin, n_bins = state["input_mean"].numel(), state["output_mean"].numel()
    return {
        "max_bin": max_bin,
        "n_fft": 2 * (n_bins - 1),
        "n_channels": inputs // max_bin,
        "hidden": hidden,
        "n_layers": sum(re.fullmatch(r"lstm\.weight_ih_l\d+", key) is not None for key in state),
        "unidirectional": "lstm.weight_ih_l0_reverse" not in state,
    }
