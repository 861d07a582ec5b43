"""Data, model and loss of a configuration."""

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from phaserec import STFT
from phaserec._registry import Registry
from phaserec._words import suggestion
from unfolded.checkpoints import load_into, read_state
from unfolded.data.mixing import MixingDataset
from unfolded.data.mixtures import Mixtures
from unfolded.data.pairs import PairedDataset
from unfolded.data.speakers import SpeakersDataset
from unfolded.data.synthetic import SyntheticDataset
from unfolded.estimators import ESTIMATORS
from unfolded.layers.corrections import CORRECTIONS
from unfolded.layers.inversion import UnfoldedInversion
from unfolded.layers.residuals import RESIDUALS
from unfolded.losses import PIT, combine, hyper_of
from unfolded.nn.modules import find_class, rebuild
from unfolded.saving import read_weights
from unfolded.separator import Separator
from unfolded.training.config import (
    CorrectionConfig,
    DataConfig,
    DatasetConfig,
    EstimatorConfig,
    InversionConfig,
    LossConfig,
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
    # Not model_dump: an Augmentation stays one.
    given = {name: value for name, value in config if name != "kind"}
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
    return STFT(**dict(config))


def build_model(
    config: ModelConfig, data: DataConfig, names: Sequence[str], *, any_order: bool = False
) -> Separator:
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
        For unknown estimators, algorithms and options.
    """
    stft = build_stft(config.stft)
    known = {
        "n_sources": len(names),
        "targets": list(names),
        "stft": stft,
        "n_fft": stft.n_fft,
        "sample_rate": data.sample_rate,
        "n_channels": data.channels,
    }
    estimator = _build_estimator(config.estimator, known)
    inversion = None
    if config.inversion is not None:
        inversion = _build_inversion(config.inversion, known, any_order)
    model = Separator(estimator, inversion, stft=stft, sample_rate=data.sample_rate, targets=names)
    if config.weights is not None:
        state = read_weights(config.weights)
        load_into(model, state, f"model.weights={config.weights!r}")
    return model


def _build_estimator(config: EstimatorConfig, known: Mapping[str, Any]) -> nn.Module | None:
    if config.name is None:
        return None
    estimator = _build("model.estimator", config.name, config.options, ESTIMATORS, known)
    if config.weights is not None:
        path = Path(config.weights)
        state = read_weights(path) if path.is_dir() else read_state(path)
        prefix = "estimator." if path.is_dir() else ""
        own = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
        load_into(estimator, own, f"model.estimator.weights={str(path)!r}")
    return estimator


def _build_inversion(
    config: InversionConfig, known: Mapping[str, Any], any_order: bool
) -> UnfoldedInversion:
    for name in config.hyper:
        if name in inspect.signature(UnfoldedInversion).parameters:
            raise ValueError(
                f"model.inversion.hyper.{name} is no hyper-parameter; remove it, or write "
                f"model.inversion.{name}"
            )
    inversion = UnfoldedInversion(
        **config.model_dump(exclude={"correction", "residual", "hyper"}),
        **config.hyper,
        n_sources=known["n_sources"] if config.by_source else None,
        stft=known["stft"],
    )
    for name, registry, place in (
        ("correction", CORRECTIONS, inversion.set_correction),
        ("residual", RESIDUALS, inversion.set_residual),
    ):
        part: CorrectionConfig | None = getattr(config, name)
        if part is not None:
            number = 1 if part.tied else inversion.n_layers
            made = [_build_part(name, part, registry, known, any_order) for _ in range(number)]
            place(made[0] if part.tied else made)
    return inversion


def _build_part(
    name: str,
    config: CorrectionConfig,
    registry: Registry[type[nn.Module]],
    known: Mapping[str, Any],
    any_order: bool,
) -> nn.Module:
    place = f"model.inversion.{name}"
    made = _build(place, config.name, config.options, registry, known)
    if any_order and "n_sources" in inspect.signature(type(made)).parameters:
        raise ValueError(
            f"{place}.name={config.name!r} treats each source in its own way, but with pit=True a "
            "source has no place of its own; leave out one of them"
        )
    return made


def _build(
    place: str,
    name: str,
    options: Mapping[str, Any],
    registry: Registry[type[nn.Module]],
    known: Mapping[str, Any],
) -> nn.Module:
    """Module of a class by name, with those of the known arguments that it takes."""
    noun = place.rpartition(".")[2]
    try:
        takes = inspect.signature(find_class(name, registry, noun)).parameters
    except ValueError as error:
        raise ValueError(f"{place}.name={name!r}: {error}") from None
    own = [key for key in takes if key not in known]
    for option in options:
        if option in known:
            raise ValueError(
                f"{place}.options.{option} follows from data and model.stft; remove it"
            )
        if option not in own:
            raise ValueError(
                f"unknown key {place}.options.{option}{suggestion(option, own)}; "
                f"{name} has {', '.join(own) or 'none'}"
            )
    arguments = {key: known[key] for key in takes if key in known} | dict(options)
    return rebuild({"class": name, "arguments": arguments}, registry, noun)


def build_loss(config: LossConfig, stft: STFT) -> nn.Module:
    """Loss of a configuration, one value per item of a batch.

    Parameters
    ----------
    config : LossConfig
        The loss.
    stft : STFT
        The transform of the model, for losses on spectrograms.

    Returns
    -------
    nn.Module
        ``loss(estimate, reference, mixture) -> (batch,)``.

    Raises
    ------
    ValueError
        For unknown losses and options.
    """
    hyper = dict(config.options)
    if any("stft" in hyper_of(name) for name in config.terms):
        hyper["stft"] = stft
    loss = combine(config.terms, **hyper)
    return PIT(loss) if config.pit else loss
