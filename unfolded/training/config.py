"""Configuration of a training run, read from YAML with overrides, and checked."""

import math
import types
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin, get_type_hints

from phaserec._files import read_settings, write_files
from phaserec._words import suggestion
from unfolded.data.augmentation import Augmentation

if TYPE_CHECKING:
    pass


# Values of a configuration; the largest in use has some hundred.
_MOST_VALUES = 100_000


@dataclass(frozen=True)
class MixingConfig:
    """Speech and noise mixed on the fly, see :class:`unfolded.data.MixingDataset`."""

    speech: str
    noise: str
    items: int = 1000
    seconds: float = 4.0
    snr: tuple[float, float] = (-5.0, 15.0)
    augment: Augmentation | None = None
    kind: Literal["mixing"] = "mixing"


@dataclass(frozen=True)
class PairedConfig:
    """Folders ``clean/`` and ``noisy/``, see :class:`unfolded.data.PairedDataset`."""

    folder: str
    seconds: float | None = None
    kind: Literal["paired"] = "paired"


@dataclass(frozen=True)
class SpeakersConfig:
    """Mixtures of speakers, see :class:`unfolded.data.SpeakersDataset`."""

    folder: str
    n_speakers: int = 2
    items: int = 1000
    seconds: float = 4.0
    level: tuple[float, float] = (-5.0, 5.0)
    augment: Augmentation | None = None
    kind: Literal["speakers"] = "speakers"


@dataclass(frozen=True)
class SyntheticConfig:
    """Mixtures from formulas, see :class:`unfolded.data.SyntheticDataset`."""

    n_sources: int = 2
    items: int = 100
    seconds: float = 1.0
    snr: tuple[float, float] = (-5.0, 15.0)
    kind: Literal["synthetic"] = "synthetic"


DatasetConfig = MixingConfig | PairedConfig | SpeakersConfig | SyntheticConfig


@dataclass(frozen=True)
class DataConfig:
    """Where mixtures come from.

    Attributes
    ----------
    train, valid : dataset
        One of the data sets by its ``kind``; without ``valid`` the training loss decides.
    sample_rate : int
        Sample rate in Hz.
    channels : int
        Number of channels.
    batch_size : int
        Items of a step over all processes.
    workers : int
        Reading processes for each training process; 0 reads in the training process.
    """

    train: DatasetConfig = field(default_factory=SyntheticConfig)
    valid: DatasetConfig | None = None
    sample_rate: int = 16000
    channels: int = 1
    batch_size: int = 8
    workers: int = 0

    def __post_init__(self) -> None:
        _at_least(self, 1, "sample_rate", "channels", "batch_size")
        _at_least(self, 0, "workers")


@dataclass(frozen=True)
class StftConfig:
    """The transform, see :class:`phaserec.STFT`."""

    n_fft: int = 1024
    hop_length: int | None = None
    win_length: int | None = None
    window: str = "hann"
    pad_mode: str = "constant"


@dataclass(frozen=True)
class MagnitudeConfig:
    """The estimator by its registered name, or ``package.module:Class``.

    ``options`` are arguments of its class. With null for its name true magnitudes are trained on.
    ``weights`` is where training starts: the folder of a saved model, whose magnitude network is
    taken, or a file with the weights of the network.
    """

    name: str | None = "gru"
    options: dict[str, Any] = field(default_factory=dict)
    weights: str | None = None


@dataclass(frozen=True)
class InversionConfig:
    """The unfolded algorithm, see :class:`unfolded.UnfoldedInversion`.

    ``hyper`` are hyper-parameters of the algorithm to start from. ``train_weights`` is null for
    true, unless a loss takes the best order of the sources: mixing weights belong to a source each.
    """

    algorithm: str = "mag-incons-hard-mix"
    n_layers: int = 5
    tied: bool = False
    sigma_per_frequency: bool = False
    train_hyper: bool = True
    train_weights: bool | None = None
    momentum: float | None = None
    refine: bool = False
    learn_windows: bool = False
    checkpoint: bool = False
    hyper: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ModelConfig:
    """A magnitude network and, unless ``inversion`` is null, an unfolded algorithm after it.

    ``weights`` is the folder of a saved model of the same architecture, where training starts.
    """

    stft: StftConfig = field(default_factory=StftConfig)
    magnitude: MagnitudeConfig = field(default_factory=MagnitudeConfig)
    inversion: InversionConfig | None = field(default_factory=InversionConfig)
    weights: str | None = None


@dataclass(frozen=True)
class LossConfig:
    """Weights of losses by name, see :mod:`unfolded.losses`.

    ``pit`` takes the best order of the sources; ``options`` are hyper-parameters of the losses.
    """

    terms: dict[str, float] = field(default_factory=lambda: {"wav-mag": 1.0})
    pit: bool = False
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class OptimizerConfig:
    """Optimiser and the course of its learning rate.

    Attributes
    ----------
    name : {"adam", "adamw", "sgd"}
        Optimiser.
    lr : float
        Learning rate.
    weight_decay : float
        Weight decay.
    betas : tuple of float
        Decay of the moments of Adam; the first is the momentum of SGD.
    schedule : {"constant", "cosine", "exponential"}
        Course over a stage: constant, half a cosine down to 0, or times ``decay`` every epoch.
    decay : float
        Factor an epoch of ``exponential``.
    warmup : int
        Steps in which the rate rises from 0 at the start of a stage.
    clip : float or None
        Largest norm of the gradient.
    """

    name: Literal["adam", "adamw", "sgd"] = "adam"
    lr: float = 1e-3
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    schedule: Literal["constant", "cosine", "exponential"] = "constant"
    decay: float = 0.98
    warmup: int = 0
    clip: float | None = 5.0

    def __post_init__(self) -> None:
        _positive(self, "lr", "decay", "clip")
        _at_least(self, 0, "weight_decay", "warmup")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas={self.betas!r} must be at least 0 and less than 1")


@dataclass(frozen=True)
class StageConfig:
    """One stage of the training.

    Attributes
    ----------
    train : {"magnitude", "inversion", "all"}
        What is trained: the magnitude network alone, heard with the phase of the mixture; the
        layers behind the frozen network; or both.
    epochs : int
        Most epochs, for each depth where the stage grows.
    lr : float or None
        Learning rate in place of that of the optimiser.
    grow : bool
        Begin with one layer and add one at a time, each time with its own epochs.
    patience : int or None
        Go on to the next stage after so many epochs without improvement.
    loss : LossConfig or None
        Loss in place of that of the run.
    """

    train: Literal["magnitude", "inversion", "all"] = "all"
    epochs: int = 10
    lr: float | None = None
    grow: bool = False
    patience: int | None = None
    loss: LossConfig | None = None

    def __post_init__(self) -> None:
        _at_least(self, 1, "epochs", "patience")
        _positive(self, "lr")
        if self.grow and self.train == "magnitude":
            raise ValueError("grow=True adds layers, but train='magnitude' uses none of them")


@dataclass(frozen=True)
class LoggingConfig:
    """What is written down beside the checkpoints.

    Attributes
    ----------
    every : int
        Steps between the lines of ``steps.csv``.
    tensorboard : bool
        Also write event files; needs the package ``tensorboard``.
    progress : bool
        Show a progress bar on a terminal.
    """

    every: int = 50
    tensorboard: bool = False
    progress: bool = True

    def __post_init__(self) -> None:
        _at_least(self, 1, "every")


@dataclass(frozen=True)
class Config:
    """A training run.

    Attributes
    ----------
    output : str
        Folder of the run.
    seed : int
        Seed of everything random.
    precision : {"no", "bf16", "fp16"}
        Mixed precision of the magnitude network; transforms, layers and losses stay float32.
    cpu : bool
        Do not use a GPU.
    save_every : int or None
        Steps between saves of the state besides the one after every epoch.
    data, model, loss, optimizer, stages, logging
        The parts.
    """

    output: str = "runs/unfolded"
    seed: int = 0
    precision: Literal["no", "bf16", "fp16"] = "no"
    cpu: bool = False
    save_every: int | None = None
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    stages: list[StageConfig] = field(
        default_factory=lambda: [
            StageConfig("magnitude", loss=LossConfig({"msa": 1.0})),
            StageConfig("inversion"),
            StageConfig("all"),
        ]
    )
    logging: LoggingConfig = field(default_factory=LoggingConfig)

    def __post_init__(self) -> None:
        _at_least(self, 0, "seed")
        _at_least(self, 1, "save_every")
        if not self.stages:
            raise ValueError("stages=[] must hold one stage at least")
        for number, stage in enumerate(self.stages):
            if stage.train == "inversion" and self.model.inversion is None:
                raise ValueError(f"stages.{number}.train='inversion' needs a model.inversion")
            if stage.grow and self.model.inversion is None:
                raise ValueError(f"stages.{number}.grow=True needs a model.inversion")
        if self.any_order and self.model.inversion is not None:
            for name in ("train_weights", "refine"):
                if getattr(self.model.inversion, name):
                    raise ValueError(
                        f"model.inversion.{name}=True trains parameters that belong to a source "
                        "each, but with pit=True a source has no place of its own; leave out one "
                        "of them"
                    )

    @property
    def any_order(self) -> bool:
        """Whether the layers are trained with a loss that takes the best order of the sources."""
        losses = [stage.loss or self.loss for stage in self.stages if stage.train != "magnitude"]
        return any(loss.pit for loss in losses)


def load_config(path: str | Path | None = None, overrides: Sequence[str] = ()) -> Config:
    """Read a configuration.

    Parameters
    ----------
    path : str or Path, optional
        YAML file; default: nothing but the defaults.
    overrides : sequence of str
        ``key=value`` with dotted keys, such as ``data.train.seconds=2`` or ``stages.0.epochs=3``;
        values are YAML.

    Returns
    -------
    Config
        The configuration.

    Raises
    ------
    ValueError
        For YAML that cannot be read, unknown keys (near names are suggested) and values of the
        wrong type or out of range.
    OSError
        If the file cannot be read.
    """
    tree: Any = {}
    if path is not None:
        try:
            text = read_settings(path).decode()
        except UnicodeDecodeError as error:
            raise ValueError(f"{path} is not YAML: {error}") from None
        tree = _yaml(text, str(path))
    tree = {} if tree is None else tree
    if not isinstance(tree, dict):
        raise ValueError(f"{path} holds {_title(tree)}, expected keys and values")
    for override in overrides:
        _override(tree, override)
    config = _parse(Config, tree, "")
    assert isinstance(config, Config)
    return config


def config_from(tree: Mapping[str, Any]) -> Config:
    """Configuration of nested dicts and lists, as :meth:`to_dict` gives them.

    Parameters
    ----------
    tree : dict
        Keys and values.

    Returns
    -------
    Config
        The configuration.

    Raises
    ------
    ValueError
        As :func:`load_config`.
    """
    config = _parse(Config, dict(tree), "")
    assert isinstance(config, Config)
    return config


def to_dict(config: Any) -> dict[str, Any]:
    """Nested dicts and lists of a configuration, ready for YAML and JSON.

    Parameters
    ----------
    config : Config
        The configuration, or a part of it.

    Returns
    -------
    dict
        Keys and values.
    """
    plain = _plain(asdict(config))
    assert isinstance(plain, dict)
    return plain


def save_config(config: Config, path: str | Path) -> None:
    """Write a configuration as YAML that :func:`load_config` reads back.

    Parameters
    ----------
    config : Config
        The configuration.
    path : str or Path
        File.
    """
    import yaml

    text = yaml.safe_dump(to_dict(config), sort_keys=False, allow_unicode=True)
    write_files([Path(path)], [text.encode()])


def _at_least(config: Any, low: float, *names: str) -> None:
    for name in names:
        value = getattr(config, name)
        if value is not None and value < low:
            raise ValueError(f"{name}={value!r} must be at least {low}")


def _positive(config: Any, *names: str) -> None:
    for name in names:
        value = getattr(config, name)
        if value is not None and value <= 0:
            raise ValueError(f"{name}={value!r} must be positive")


def _yaml(text: str, where: str) -> Any:
    try:
        import yaml
    except ImportError:
        raise ValueError("reading YAML needs pyyaml: pip install 'phaserec[unfolded]'") from None

    try:
        tree = yaml.safe_load(text)
    except RecursionError:
        raise ValueError(f"{where} is nested too deep") from None
    except (yaml.YAMLError, ValueError) as error:  # of numbers and dates too
        reason = " ".join(str(error).replace('in "<unicode string>", ', "").split())
        raise ValueError(f"{where} is not YAML: {reason}") from None
    # References cost nothing in YAML; few lines of them can stand for more than any memory holds.
    waiting, seen = [tree], 0
    while waiting:
        node = waiting.pop()
        waiting += node.values() if isinstance(node, dict) else node if _is_list(node) else []
        seen += 1
        if seen + len(waiting) > _MOST_VALUES:
            raise ValueError(f"{where} has more than {_MOST_VALUES} values, references counted")
    return tree


def _is_list(node: Any) -> bool:
    return isinstance(node, list | tuple | set)


def _override(tree: dict[str, Any], override: str) -> None:
    """Set ``a.b.0.c=value`` in nested dicts and lists."""
    key, equals, text = override.partition("=")
    if not equals or not key or not all(key.split(".")):
        raise ValueError(f"{override!r} must be key=value, such as optimizer.lr=1e-4")
    value = _yaml(text, f"the value of {override!r}")
    *path, last = key.split(".")
    node: Any = tree
    for depth, name in enumerate([*path, last]):
        place = ".".join(key.split(".")[:depth]) or "the configuration"
        if isinstance(node, list):
            if not (name.isdecimal() and int(name) < len(node)):
                raise ValueError(
                    f"{override!r}: {place} has {len(node)} entries, counted from 0, "
                    f"but no {name!r}"
                )
            step: Any = int(name)
        elif isinstance(node, dict):
            step = name
        else:
            raise ValueError(f"{override!r}: {place} is {node!r} and has no keys")
        if depth == len(path):
            node[step] = value
        else:
            if isinstance(node, dict) and node.get(step) is None:
                node[step] = {}
            node = node[step]


def _parse(kind: Any, value: Any, where: str) -> Any:
    """Value of a type annotation, checked; ``where`` is its dotted key."""
    origin, args = get_origin(kind), get_args(kind)
    if origin in (types.UnionType, Union):
        return _parse_union(args, value, where)
    if is_dataclass(kind):
        return _parse_dataclass(kind, value, where)
    if origin is Literal:
        value = "no" if value is False and "no" in args else value  # as YAML 1.1 reads no
        if value not in args:
            raise ValueError(
                f"{where}={value!r} must be one of {', '.join(map(str, args))}"
                + suggestion(str(value), args)
            )
        return value
    if origin is list:
        items = _expect(list, value, where, "a list")
        return [_parse(args[0], item, f"{where}.{n}") for n, item in enumerate(items)]
    if origin is dict:
        items = _expect(dict, value, where, "keys and values")
        return {
            str(name): item if args[1] is Any else _parse(args[1], item, f"{where}.{name}")
            for name, item in items.items()
        }
    if origin is tuple:
        if not isinstance(value, list | tuple) or len(value) != len(args):
            raise ValueError(f"{where}={value!r} must be a list of {len(args)} numbers")
        parts = zip(args, value, strict=True)
        return tuple(_parse(part, item, f"{where}.{n}") for n, (part, item) in enumerate(parts))
    return _parse_scalar(kind, value, where)


def _parse_union(args: tuple[Any, ...], value: Any, where: str) -> Any:
    if value is None and type(None) in args:
        return None
    kinds = [arg for arg in args if arg is not type(None)]
    if len(kinds) == 1:
        return _parse(kinds[0], value, where)
    named = {get_args(get_type_hints(kind)["kind"])[0]: kind for kind in kinds}
    given = _expect(dict, value, where, "keys and values").get("kind")
    if not isinstance(given, str) or given not in named:
        what = "is missing; it" if given is None else f"is {given!r}; it"
        raise ValueError(
            f"{where}.kind {what} must be one of {', '.join(named)}{suggestion(str(given), named)}"
        )
    return _parse_dataclass(named[given], value, where)


def _parse_dataclass(kind: Any, value: Any, where: str) -> Any:
    given = _expect(dict, value, where, "keys and values")
    hints, known = get_type_hints(kind), {f.name: f for f in fields(kind)}
    prefix = f"{where}." if where else ""
    for name in given:
        if name not in known:
            raise ValueError(
                f"unknown key {prefix}{name}{suggestion(str(name), known)}; "
                f"{where or 'the configuration'} has {', '.join(known)}"
            )
    for name, entry in known.items():
        required = entry.default is MISSING and entry.default_factory is MISSING
        if required and name not in given:
            raise ValueError(f"{prefix}{name} is missing")
    values = {name: _parse(hints[name], item, f"{prefix}{name}") for name, item in given.items()}
    try:
        return kind(**values)
    except ValueError as error:
        raise ValueError(f"{prefix}{error}") from None


def _parse_scalar(kind: Any, value: Any, where: str) -> Any:
    if kind is float and isinstance(value, str):
        # YAML 1.1 reads 1e-3, without a point, as a word.
        try:
            value = float(value)
        except ValueError:
            raise ValueError(f"{where}={value!r} must be a number") from None
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    titles = {float: "a number", int: "a whole number", bool: "true or false", str: "a word"}
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise ValueError(f"{where}={value!r} must be {titles[kind]}")
    if kind is float and not math.isfinite(value):
        raise ValueError(f"{where}={value!r} must be finite")
    return value


def _expect(kind: type, value: Any, where: str, title: str) -> Any:
    if not isinstance(value, kind):
        raise ValueError(f"{where or 'the configuration'} is {_title(value)}, expected {title}")
    return value


def _title(value: Any) -> str:
    return "empty" if value is None else repr(value)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
