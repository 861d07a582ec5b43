"""Data, model and loss of a configuration."""

import inspect
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phaserec import STFT
from phaserec._words import suggestion
from unfolded.checkpoints import load_into, read_state
from unfolded.data.mixing import MixingDataset
from unfolded.data.mixtures import Mixtures
from unfolded.data.pairs import PairedDataset
from unfolded.data.speakers import SpeakersDataset
from unfolded.data.synthetic import SyntheticDataset

if TYPE_CHECKING:
    from torch import nn

    from unfolded.separator import Separator

from unfolded.training.config import (
    DataConfig,
    DatasetConfig,
    LossConfig,
    MagnitudeConfig,
    ModelConfig,
    StftConfig,
)

_DATASETS: dict[str, Any] = {
    "mixing": MixingDataset,
    "paired": PairedDataset,
    "speakers": SpeakersDataset,
    "synthetic": SyntheticDataset,
}


def build_dataset(config: DatasetConfig, data: DataConfig, seed: int) -> Mixtures:
    """Data set of a configuration.

    Parameters
    ----------
    config : DatasetConfig
        The data set.
    data : DataConfig
        For the sample rate and the channels.
    seed : int
        Seed.

    Returns
    -------
    Mixtures
        The data set.

    Raises
    ------
    ValueError, OSError
        As the class of the data set.
    """
    # Not asdict: an Augmentation stays one.
    given = {f.name: getattr(config, f.name) for f in fields(config) if f.name != "kind"}
    built = _DATASETS[config.kind](
        **given, rate=data.sample_rate, channels=data.channels, seed=seed
    )
    assert isinstance(built, Mixtures)
    return built


def build_stft(config: StftConfig) -> STFT:
    """Transform of a configuration.

    Parameters
    ----------
    config : StftConfig
        The transform.

    Returns
    -------
    STFT
        The transform.

    Raises
    ------
    ValueError
        As :class:`phaserec.STFT`.
    """
    return STFT(
        config.n_fft,
        config.hop_length,
        config.win_length,
        config.window,
        pad_mode=config.pad_mode,
    )


def build_model(
    config: ModelConfig, data: DataConfig, names: Sequence[str], *, any_order: bool = False
) -> "Separator":
    """Separator of a configuration, with random weights from torch's generator.

    Parameters
    ----------
    config : ModelConfig
        The model.
    data : DataConfig
        For the sample rate and the channels.
    names : sequence of str
        Names of the J sources.
    any_order : bool, default False
        Whether the sources have no order, see :attr:`Config.any_order`.

    Returns
    -------
    Separator
        The model.

    Raises
    ------
    ValueError
        For unknown networks, algorithms and options.
    """
    from unfolded.layers.format1 import upgraded
    from unfolded.layers.inversion import UnfoldedInversion
    from unfolded.saving import read_weights
    from unfolded.separator import Separator

    stft = build_stft(config.stft)
    network = _build_network(config.magnitude, stft, data, names)
    inversion = None
    if config.inversion is not None:
        given = {f.name: getattr(config.inversion, f.name) for f in fields(config.inversion)}
        hyper = given.pop("hyper")
        if given["train_weights"] is None:
            given["train_weights"] = not any_order
        old = given | hyper | {"n_sources": len(names), "sample_rate": data.sample_rate}
        inversion = UnfoldedInversion.from_config(upgraded(old, stft.n_fft), stft)
    model = Separator(network, inversion, stft=stft, sample_rate=data.sample_rate, targets=names)
    if config.weights is not None:
        state = read_weights(config.weights)
        load_into(model, state, f"model.weights={config.weights!r}")
    return model


def _build_network(
    config: MagnitudeConfig, stft: STFT, data: DataConfig, names: Sequence[str]
) -> "nn.Module | None":
    from unfolded.estimators import ESTIMATORS
    from unfolded.nn.modules import find_class, rebuild

    if config.name is None:
        return None
    kind = find_class(config.name, ESTIMATORS, "estimator")
    takes = inspect.signature(kind).parameters
    known = {
        "n_sources": len(names),
        "targets": list(names),
        "stft": stft,
        "sample_rate": data.sample_rate,
        "n_channels": data.channels,
    }
    own = [name for name in takes if name not in known]
    for option in config.options:
        if option in known:
            raise ValueError(
                f"model.magnitude.options.{option} follows from data and model.stft; remove it"
            )
        if option not in own:
            raise ValueError(
                f"unknown key model.magnitude.options.{option}{suggestion(option, own)}; "
                f"{config.name} has {', '.join(own) or 'none'}"
            )
    arguments = {k: v for k, v in known.items() if k in takes} | config.options
    network = rebuild({"class": config.name, "arguments": arguments}, ESTIMATORS, "estimator")
    if config.weights is not None:
        _load_network(network, Path(config.weights))
    return network


def _load_network(network: "nn.Module", path: Path) -> None:
    from unfolded.saving import read_weights

    if path.is_dir():
        whole = read_weights(path)
        prefix = "estimator."
        state = {k.removeprefix(prefix): v for k, v in whole.items() if k.startswith(prefix)}
    else:
        state = read_state(path)
    load_into(network, state, f"model.magnitude.weights={str(path)!r}")


def build_loss(config: LossConfig, stft: STFT) -> Any:
    """Loss of a configuration, one value per item of a batch.

    Parameters
    ----------
    config : LossConfig
        The loss.
    stft : STFT
        The transform of the model, for losses on spectrograms.

    Returns
    -------
    callable
        ``loss(estimate, reference, mixture) -> (batch,)``.

    Raises
    ------
    ValueError
        For unknown losses and options.
    """
    from unfolded.losses.permutation import PIT
    from unfolded.losses.registry import LOSSES, combine, get_loss

    hyper = dict(config.options)
    if any("stft" in LOSSES[get_loss(name).name].hyper for name in config.terms):
        hyper["stft"] = stft
    loss = combine(config.terms, **hyper)
    return PIT(loss) if config.pit else loss
