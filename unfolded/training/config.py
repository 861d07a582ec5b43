"""Configuration of a training run: its keys, their types and ranges.

What a key means is said in the docstring of its class, from which the documentation makes the
reference of all keys.
"""

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from unfolded.data.augmentation import Augmentation

Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]


class Part(BaseModel):
    """Base of the parts of a configuration.

    Attributes
    ----------
    gone : dict of str to str
        Keys of former versions, and what to write in their place.
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)
    gone: ClassVar[dict[str, str]] = {}


class MixingConfig(Part):
    """Speech and noise mixed on the fly, see :class:`unfolded.data.MixingDataset`.

    Attributes
    ----------
    kind : {"mixing"}
        This data set.
    speech, noise : str
        Folders that are searched for sounds.
    items : int
        Items of an epoch.
    seconds : float
        Length of an item.
    snr : tuple of float
        Range of the signal-to-noise ratio in dB.
    augment : Augmentation or None
        Random changes of the sounds.
    """

    kind: Literal["mixing"] = "mixing"
    speech: str
    noise: str
    items: int = 1000
    seconds: float = 4.0
    snr: tuple[float, float] = (-5.0, 15.0)
    augment: Augmentation | None = None


class PairedConfig(Part):
    """Folders ``clean/`` and ``noisy/``, see :class:`unfolded.data.PairedDataset`.

    Attributes
    ----------
    kind : {"paired"}
        This data set.
    folder : str
        Where both are.
    seconds : float or None
        Length of an item; null for whole files, in batches of one.
    """

    kind: Literal["paired"] = "paired"
    folder: str
    seconds: float | None = None


class SpeakersConfig(Part):
    """Mixtures of speakers, see :class:`unfolded.data.SpeakersDataset`.

    Attributes
    ----------
    kind : {"speakers"}
        This data set.
    folder : str
        A folder for each speaker is in it.
    n_speakers : int
        Speakers of a mixture.
    items : int
        Items of an epoch.
    seconds : float
        Length of an item.
    level : tuple of float
        Range of the level of a speaker in dB, relative to the first.
    augment : Augmentation or None
        Random changes of the sounds.
    """

    kind: Literal["speakers"] = "speakers"
    folder: str
    n_speakers: int = 2
    items: int = 1000
    seconds: float = 4.0
    level: tuple[float, float] = (-5.0, 5.0)
    augment: Augmentation | None = None


class SyntheticConfig(Part):
    """Mixtures from formulas, see :class:`unfolded.data.SyntheticDataset`.

    Attributes
    ----------
    kind : {"synthetic"}
        This data set.
    n_sources : int
        Sources of a mixture.
    items : int
        Items of an epoch.
    seconds : float
        Length of an item.
    snr : tuple of float
        Range of the ratio of the first source to the others in dB.
    """

    kind: Literal["synthetic"] = "synthetic"
    n_sources: int = 2
    items: int = 100
    seconds: float = 1.0
    snr: tuple[float, float] = (-5.0, 15.0)


DatasetConfig = MixingConfig | PairedConfig | SpeakersConfig | SyntheticConfig


class DataConfig(Part):
    """Where mixtures come from.

    Attributes
    ----------
    train : dataset
        One of the data sets by its ``kind``.
    valid : dataset or None
        Another for validation; without it the training loss decides.
    sample_rate : int
        Sample rate in Hz; files of other rates are resampled.
    channels : int
        Number of channels.
    batch_size : int
        Items of a step over all processes.
    workers : int
        Reading processes for each training process; 0 reads in the training process.
    """

    train: Annotated[DatasetConfig, Field(discriminator="kind")] = SyntheticConfig()
    valid: Annotated[DatasetConfig, Field(discriminator="kind")] | None = None
    sample_rate: Count = 16000
    channels: Count = 1
    batch_size: Count = 8
    workers: Annotated[int, Field(ge=0)] = 0


class StftConfig(Part):
    """The transform, see :class:`phaserec.STFT`.

    Attributes
    ----------
    n_fft : int
        Transform length.
    hop_length : int or None
        Samples between frames; null for a quarter of ``n_fft``.
    win_length : int or None
        Length of the window; null for ``n_fft``.
    window : str
        Name of the window.
    pad_mode : str
        What continues a signal at its ends.
    """

    n_fft: int = 1024
    hop_length: int | None = None
    win_length: int | None = None
    window: str = "hann"
    pad_mode: str = "constant"


class EstimatorConfig(Part):
    """The estimator of magnitudes.

    Attributes
    ----------
    name : str or None
        A key of :data:`unfolded.estimators.ESTIMATORS`, or a class of one's own as
        ``package.module:Class``, whose module ``--import`` names; null trains on the true
        magnitudes.
    options : dict
        Arguments of its class; those that follow from the data and the transform are given to it.
    weights : str or None
        Where training starts: the folder of a saved model, whose estimator is taken, or a file
        with the weights of an estimator.
    """

    name: str | None = "gru"
    options: dict[str, Any] = {}
    weights: str | None = None


class CorrectionConfig(Part):
    """A module that corrects the magnitudes of the layers.

    Attributes
    ----------
    name : str
        A key of :data:`unfolded.layers.corrections.CORRECTIONS`, or a class of one's own as
        ``package.module:Class``, whose module ``--import`` names.
    options : dict
        Arguments of its class; those that follow from the data and the transform are given to it.
    tied : bool
        Whether all layers share one; otherwise each has its own.
    """

    name: str = "magnitude-refinement"
    options: dict[str, Any] = {}
    tied: bool = False


class ResidualConfig(CorrectionConfig):
    """A module that corrects the spectrograms of the layers.

    Attributes
    ----------
    name : str
        A key of :data:`unfolded.layers.residuals.RESIDUALS`, or a class of one's own, likewise.
    options : dict
        Arguments of its class; those that follow from the data and the transform are given to it.
    tied : bool
        Whether all layers share one; otherwise each has its own.
    """

    name: str = "gated"


class InversionConfig(Part):
    """The unfolded algorithm, see :class:`unfolded.UnfoldedInversion`.

    Attributes
    ----------
    algorithm : str
        Name of the algorithm.
    n_layers : int
        Number of layers K.
    hyper : dict
        Hyper-parameters of the algorithm to start from; a list gives values for each layer.
    trainable : dict or None
        What is trained, and for which axes it has values of its own: hyper-parameters,
        ``momentum`` and ``weights`` (the mixing weights) by name, each with words with commas out
        of ``layer``, ``frequency`` and ``source``; an empty word is one value for everything, null
        trains nothing. Null for all: every real hyper-parameter, for each layer.
    momentum : float, list of float or None
        Momentum to start from, if the algorithm shall have it.
    correction : dict or None
        A module that corrects the magnitudes of the layers.
    residual : dict or None
        A module that corrects their spectrograms.
    learn_windows : bool
        Train the windows of the transform.
    checkpoint : bool
        Compute layers again in the backward pass, which takes less memory and more time.
    """

    gone: ClassVar = {
        "tied": "trainable without the axis layer, such as {sigma: ''}",
        "sigma_per_frequency": "trainable: {sigma: 'layer,frequency'}",
        "train_hyper": "trainable, such as {} for nothing",
        "train_weights": "trainable: {weights: 'layer,source'}",
        "refine": "correction: {name: magnitude-refinement}",
    }

    algorithm: str = "mag-incons-hard-mix"
    n_layers: int = 5
    hyper: dict[str, Any] = {}
    trainable: dict[str, str | bool | None] | None = None
    momentum: float | list[float] | None = None
    correction: CorrectionConfig | None = None
    residual: ResidualConfig | None = None
    learn_windows: bool = False
    checkpoint: bool = False

    @property
    def by_source(self) -> list[str]:
        """Names of what is trained for each source."""
        declared = {k: str(axes).replace(",", " ") for k, axes in (self.trainable or {}).items()}
        return [name for name, axes in declared.items() if "source" in axes.split()]


class ModelConfig(Part):
    """An estimator and, unless ``inversion`` is null, an unfolded algorithm after it.

    Attributes
    ----------
    stft : dict
        The transform.
    estimator : dict
        The estimator of magnitudes.
    inversion : dict or None
        The unfolded algorithm; null for none, which gives the sources the phase of the mixture.
    weights : str or None
        Folder of a saved model of the same architecture, where training starts.
    """

    gone: ClassVar = {"magnitude": "model.estimator"}

    stft: StftConfig = StftConfig()
    estimator: EstimatorConfig = EstimatorConfig()
    inversion: InversionConfig | None = InversionConfig()
    weights: str | None = None


class LossConfig(Part):
    """A weighted sum of losses.

    Attributes
    ----------
    terms : dict of str to float
        Weights of losses by name, or by the class of one's own as ``package.module:Class``, whose
        module ``--import`` names.
    pit : bool
        Take the best order of the sources.
    every_layer : float
        Weight of the mean loss of the layers before the last, beside the 1 of the last.
    options : dict
        Hyper-parameters, each given to the losses that have it; the transform is that of the
        model.
    """

    terms: dict[str, float] = {"wav-mag": 1.0}
    pit: bool = False
    every_layer: NonNegative = 0.0
    options: dict[str, Any] = {}


class GroupConfig(Part):
    """What a group of parameters has of its own.

    Attributes
    ----------
    lr_factor : float
        Its learning rate over that of the stage.
    weight_decay : float or None
        Its weight decay; null for that of the optimiser.
    """

    lr_factor: Positive = 1.0
    weight_decay: NonNegative | None = None


class DeclaredGroupConfig(GroupConfig):
    """As for the other groups, but without decay, which would pull values to a bound of theirs.

    Attributes
    ----------
    lr_factor : float
        Its learning rate over that of the stage.
    weight_decay : float or None
        Its weight decay; null for that of the optimiser.
    """

    weight_decay: NonNegative | None = 0.0


class GroupsConfig(Part):
    """Groups of parameters.

    Attributes
    ----------
    estimator : dict
        The estimator.
    declared : dict
        What ``model.inversion.trainable`` declares: σ, Λ, momentum and so on.
    correction : dict
        The corrections of the layers, of magnitudes and of spectrograms.
    windows : dict
        The windows of the transform.
    """

    estimator: GroupConfig = GroupConfig()
    declared: DeclaredGroupConfig = DeclaredGroupConfig()
    correction: GroupConfig = GroupConfig()
    windows: GroupConfig = GroupConfig()


class OptimizerConfig(Part):
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
    groups : dict
        What groups of parameters have of their own.
    schedule : {"constant", "cosine", "exponential"}
        Course over a stage: constant, half a cosine down to 0, or times ``decay`` every epoch.
    decay : float
        Factor an epoch of ``exponential``.
    warmup : int
        Steps in which the rate rises from 0 at the start of a stage.
    clip : float or None
        Largest norm of the gradient; null for any.
    """

    name: Literal["adam", "adamw", "sgd"] = "adam"
    lr: Positive = 1e-3
    weight_decay: NonNegative = 0.0
    betas: tuple[
        Annotated[float, Field(ge=0, lt=1)],
        Annotated[float, Field(ge=0, lt=1)],
    ] = (0.9, 0.999)
    groups: GroupsConfig = GroupsConfig()
    schedule: Literal["constant", "cosine", "exponential"] = "constant"
    decay: Positive = 0.98
    warmup: Annotated[int, Field(ge=0)] = 0
    clip: Positive | None = 5.0


class StageConfig(Part):
    """One stage of the training.

    Attributes
    ----------
    train : {"magnitude", "inversion", "all"}
        What is trained: the estimator of magnitudes alone, heard with the phase of the mixture;
        the layers behind the frozen estimator; or both.
    epochs : int
        Most epochs, for each depth where the stage grows.
    lr : float or None
        Learning rate in place of that of the optimiser.
    grow : bool
        Begin with one layer and add one at a time, each time with its own epochs.
    patience : int or None
        Go on to the next stage after so many epochs without improvement.
    loss : dict or None
        Loss in place of that of the run.
    """

    train: Literal["magnitude", "inversion", "all"] = "all"
    epochs: Count = 10
    lr: Positive | None = None
    grow: bool = False
    patience: Count | None = None
    loss: LossConfig | None = None

    @model_validator(mode="after")
    def _has_layers_to_add(self) -> Self:
        if self.grow and self.train == "magnitude":
            raise ValueError("grow=True adds layers, but train='magnitude' uses none of them")
        return self


class LoggingConfig(Part):
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

    every: Count = 50
    tensorboard: bool = False
    progress: bool = True


def _word(value: Any) -> Any:
    return "no" if value is False else value  # as YAML 1.1 reads no


class Config(Part):
    """A training run.

    Attributes
    ----------
    output : str
        Folder of the run.
    seed : int
        Seed of everything random.
    precision : {"no", "bf16", "fp16"}
        Mixed precision of the estimator; transforms, layers and losses stay float32.
    cpu : bool
        Do not use a GPU.
    save_every : int or None
        Steps between saves of the state besides the one after every epoch.
    data : dict
        Where mixtures come from.
    model : dict
        What is trained.
    loss : dict
        What is made small.
    optimizer : dict
        How it is made small.
    stages : list of dict
        The stages, one after another.
    logging : dict
        What is written down beside the checkpoints.
    """

    output: str = "runs/unfolded"
    seed: Annotated[int, Field(ge=0)] = 0
    precision: Annotated[Literal["no", "bf16", "fp16"], BeforeValidator(_word)] = "no"
    cpu: bool = False
    save_every: Count | None = None
    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    loss: LossConfig = LossConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    stages: Annotated[list[StageConfig], Field(min_length=1)] = [
        StageConfig(train="magnitude", loss=LossConfig(terms={"msa": 1.0})),
        StageConfig(train="inversion"),
        StageConfig(train="all"),
    ]
    logging: LoggingConfig = LoggingConfig()

    @model_validator(mode="after")
    def _holds_together(self) -> Self:
        inversion = self.model.inversion
        for number, stage in enumerate(self.stages):
            if stage.train == "inversion" and inversion is None:
                raise ValueError(f"stages.{number}.train='inversion' needs a model.inversion")
            if stage.grow and inversion is None:
                raise ValueError(f"stages.{number}.grow=True needs a model.inversion")
        if self.any_order and inversion is not None:
            for name in inversion.by_source:
                raise ValueError(
                    f"model.inversion.trainable.{name} has the axis source, but with pit=True a "
                    "source has no place of its own; leave out one of them"
                )
        return self

    @property
    def any_order(self) -> bool:
        """Whether the layers are trained with a loss that takes the best order of the sources."""
        losses = [stage.loss or self.loss for stage in self.stages if stage.train != "magnitude"]
        return any(loss.pit for loss in losses)
