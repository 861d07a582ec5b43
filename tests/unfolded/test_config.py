"""Configurations: read, overridden, checked, written back and built."""

import pytest
import torch

from phaserec import STFT
from unfolded.data import Augmentation
from unfolded.training.build import build_dataset, build_loss, build_model, build_stft
from unfolded.training.config import (
    Config,
    DataConfig,
    EstimatorConfig,
    InversionConfig,
    LossConfig,
    MixingConfig,
    ModelConfig,
    PairedConfig,
    SpeakersConfig,
    StageConfig,
    StftConfig,
    SyntheticConfig,
)
from unfolded.training.optimizers import build_optimizer
from unfolded.training.reading import config_from, load_config, save_config, to_dict

EXAMPLE = """
output: runs/speech
data:
  train:
    kind: mixing
    speech: data/speech
    noise: data/noise
    snr: [-3, 12]
    augment: {speed: 0.1}
  valid: {kind: paired, folder: data/pairs}
  batch_size: 4
model:
  estimator: {name: gru, options: {hidden: 16}}
  inversion: {algorithm: misi, n_layers: 2, momentum: 0.5}
optimizer: {lr: 1e-4, betas: [0.8, 0.9]}
stages:
  - {train: magnitude, epochs: 2, loss: {terms: {msa: 1}}}
  - {train: all, epochs: 3, patience: 2}
"""


@pytest.fixture
def example(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(EXAMPLE)
    return path


def test_a_file_and_what_it_leaves_out(example):
    config = load_config(example)
    assert config.data.train == MixingConfig(
        speech="data/speech", noise="data/noise", snr=(-3.0, 12.0), augment=Augmentation(speed=0.1)
    )
    assert config.data.valid == PairedConfig(folder="data/pairs")
    assert config.optimizer.lr == 1e-4 and config.optimizer.betas == (0.8, 0.9)
    assert config.stages == [
        StageConfig(train="magnitude", epochs=2, loss=LossConfig(terms={"msa": 1.0})),
        StageConfig(train="all", epochs=3, patience=2),
    ]
    assert config.model.inversion == InversionConfig(algorithm="misi", n_layers=2, momentum=0.5)
    assert config.model.stft == StftConfig() and config.seed == 0
    assert load_config() == Config()


def test_overrides_reach_every_depth(example):
    overrides = [
        "seed=7",
        "optimizer.lr=2e-3",
        "stages.1.epochs=9",
        "data.train.augment.polarity=false",
        "model.inversion.hyper.sigma=0.5",
        "data.valid={kind: synthetic, items: 3}",
        "save_every=null",
        "output=a=b",
        "precision=no",
    ]
    config = load_config(example, overrides)
    assert (config.seed, config.optimizer.lr, config.output) == (7, 2e-3, "a=b")
    assert config.stages[1].epochs == 9 and config.stages[0].epochs == 2
    assert config.data.train.augment == Augmentation(speed=0.1, polarity=False)
    assert config.model.inversion.hyper == {"sigma": 0.5}
    assert config.data.valid == SyntheticConfig(items=3)
    assert load_config(example, ["model.inversion=null"]).model.inversion is None


def test_written_and_read_back_it_is_the_same(example, tmp_path):
    for config in (load_config(example), Config()):
        save_config(config, tmp_path / "copy.yaml")
        assert load_config(tmp_path / "copy.yaml") == config
        assert config_from(to_dict(config)) == config


@pytest.mark.parametrize(
    ("override", "text"),
    [
        ("optimiser.lr=1", "unknown key optimiser; did you mean 'optimizer'"),
        ("optimizer.rl=1", "unknown key optimizer.rl; did you mean 'lr'"),
        ("stages.0.epoch=1", "unknown key stages.0.epoch; did you mean 'epochs'"),
        ("data.train.sped=1", "unknown key data.train.sped"),
        ("data.train.augment.gian=[0, 1]", "data.train.augment.gian; did you mean 'gain'"),
        ("seed=1.5", "seed=1.5 must be a whole number"),
        ("seed=true", "seed=True must be a whole number"),
        ("cpu=1", "cpu=1 must be true or false"),
        ("output=3", "output=3 must be a word"),
        ("optimizer.lr=fast", "optimizer.lr='fast' must be a number"),
        ("optimizer.lr=.inf", "optimizer.lr=inf must be finite"),
        ("optimizer.lr=-1", "optimizer.lr=-1 must be positive"),
        ("optimizer.betas=[0.9]", r"optimizer.betas=\[0.9\] must be a list of two"),
        ("optimizer.betas=[0.9, 0.9, 0.9]", "betas=.*must be a list of 2 at most"),
        ("optimizer.betas=[0.9, 1]", r"optimizer\.betas\.1=1 must be less than 1"),
        ("optimizer.name=adma", "optimizer.name='adma' must be one of .*; did you mean 'adam'"),
        ("data.train.kind=mixin", "data.train.kind is 'mixin'; .* did you mean 'mixing'"),
        ("data.train={items: 3}", "data.train.kind is missing; it must be one of mixing"),
        ("data.train={kind: mixing, noise: n}", "data.train.speech is missing"),
        ("data.train.augment.speed=3", r"data.train.augment.speed=3.0 must be between 0 and 0.5"),
        ("data.batch_size=0", "data.batch_size=0 must be at least 1"),
        ("stages=[]", r"stages=\[\] must be a list of 1 at least"),
        ("stages={}", "stages={} must be a list"),
        ("stages.5.epochs=1", "stages has 2 entries, counted from 0, but no '5'"),
        ("stages.0.grow=true", "stages.0.grow=True adds layers"),
        ("seed.more=1", "seed is 3 and has no keys"),
        ("model=", "model is empty, expected keys and values"),
        ("loss.terms.l1=much", r"loss\.terms\.l1='much' must be a number"),
        ("model.inversion.refine=true", r"refine is no longer a key; write correction:"),
        ("model.inversion.tied=true", r"tied is no longer a key; write trainable"),
        (
            "model.magnitude.name=gru",
            r"is no longer a key; write model\.estimator",
        ),
        ("optimizer.groups.layers={}", r"groups has estimator, declared, correction, windows"),
        ("optimizer.groups.declared.lr_factor=0", "declared.lr_factor=0 must be positive"),
        ("novalue", "'novalue' must be key=value"),
        ("a..b=1", "'a..b=1' must be key=value"),
        ("seed=[1", "the value of 'seed=.1' is not YAML"),
    ],
)
def test_mistakes_are_named(example, override, text):
    with pytest.raises(ValueError, match=text) as caught:
        load_config(example, ["seed=3", override])
    assert "\n" not in str(caught.value)


def test_files_that_are_no_configuration(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("a: [1\nb: 2")
    with pytest.raises(ValueError, match=r"c\.yaml is not YAML.*line 2"):
        load_config(path)
    path.write_bytes(b"a: \xff")
    with pytest.raises(ValueError, match=r"c\.yaml is not YAML.*utf-8"):
        load_config(path)
    path.write_text("- 1")
    with pytest.raises(ValueError, match=r"c\.yaml holds \[1\], expected keys"):
        load_config(path)
    path.write_text("")
    assert load_config(path) == Config()
    with pytest.raises(FileNotFoundError):
        load_config(tmp_path / "none.yaml")
    with pytest.raises(ValueError, match=r"stages\.0\.train='inversion' needs a model.inversion"):
        load_config(None, ["model.inversion=null", "stages=[{train: inversion}]"])


DATA = DataConfig(sample_rate=8000)
STFT64 = StftConfig(n_fft=64)


def test_models_are_built_with_what_the_data_tell():
    config = ModelConfig(
        stft=StftConfig(n_fft=64),
        estimator=EstimatorConfig(options={"hidden": 4, "n_bands": 6}),
        inversion=InversionConfig(n_layers=2, hyper={"sigma": 0.5}),
    )
    model = build_model(config, DATA, ["speech", "noise"])
    assert model.targets == ["speech", "noise"] and model.sample_rate == 8000
    assert model.estimator.arguments["hidden"] == 4
    assert model.inversion.config["hyper"] == {"sigma": 0.5} and model.inversion.n_layers == 2
    assert model(torch.randn(1, 1, 300)).shape == (1, 2, 1, 300)
    assert model.inversion.n_sources is None
    network = EstimatorConfig(name="open-unmix", options={"hidden": 4})
    umx = ModelConfig(stft=StftConfig(n_fft=64), estimator=network, inversion=None)
    model = build_model(umx, DataConfig(sample_rate=8000, channels=2), ["a", "b"])
    assert model.inversion is None
    assert model.eval()(torch.randn(1, 2, 300)).shape == (1, 2, 2, 300)


def test_estimators_start_from_saved_weights(tmp_path):
    def build(weights=None, inversion=None, hidden=4):
        options = {"hidden": hidden, "n_bands": 6}
        estimator = EstimatorConfig(options=options, weights=weights)
        config = ModelConfig(stft=STFT64, estimator=estimator, inversion=inversion)
        return build_model(config, DATA, ["a", "b"])

    model = build(inversion=InversionConfig(algorithm="misi", n_layers=2))
    wanted = model.estimator.state_dict()
    model.save_pretrained(tmp_path / "model")
    torch.save(wanted, tmp_path / "network.pth")
    for place in ("model", "network.pth"):
        found = build(str(tmp_path / place)).estimator.state_dict()
        assert found.keys() == wanted.keys()
        assert all(torch.equal(found[key], wanted[key]) for key in wanted)
    with pytest.raises(ValueError, match=r"estimator\.weights=.*model' is of another architecture"):
        build(str(tmp_path / "model"), hidden=5)
    with pytest.raises(ValueError, match="none' does not exist"):
        build(str(tmp_path / "none"))


def test_models_start_from_saved_ones(tmp_path):
    def build(weights=None, n_layers=2):
        config = ModelConfig(
            stft=STFT64,
            estimator=EstimatorConfig(options={"hidden": 4, "n_bands": 6}),
            inversion=InversionConfig(
                algorithm="misi", n_layers=n_layers, trainable={"weights": "layer"}
            ),
            weights=weights,
        )
        return build_model(config, DATA, ["a", "b"])

    model = build()
    with torch.no_grad():
        model.inversion.layers[0].weights.logits.add_(0.3)
    model.save_pretrained(tmp_path / "model")
    found = build(str(tmp_path / "model")).state_dict()
    assert all(torch.equal(found[key], value) for key, value in model.state_dict().items())
    with pytest.raises(ValueError, match=r"model\.weights=.*model' is of another architecture"):
        build(str(tmp_path / "model"), n_layers=3)


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ({"estimator": {"name": "gur"}}, r"model\.estimator\.name='gur': .*mean 'gru'"),
        ({"estimator": {"name": "my.nets:Own"}}, r"--import my\.nets"),
        ({"estimator": {"options": {"hiden": 3}}}, "options.hiden; did you mean"),
        ({"estimator": {"options": {"n_fft": 3}}}, "options.n_fft follows from"),
        ({"inversion": {"algorithm": "msii"}}, "misi"),
        ({"inversion": {"hyper": {"sigm": 3}}}, "sigma"),
        ({"inversion": {"hyper": {"stft": 3}}}, r"hyper\.stft is no hyper-parameter"),
        ({"inversion": {"trainable": {"sigm": "layer"}}}, "did you mean 'sigma'"),
        ({"inversion": {"trainable": {"sigma": "frequence"}}}, "did you mean 'frequency'"),
        ({"inversion": {"correction": {"name": "refinement"}}}, "mean 'magnitude-refinement'"),
        ({"inversion": {"correction": {"options": {"hiden": 3}}}}, "options.hiden; did you mean"),
        ({"stft": {"n_fft": 64, "hop_length": 100}}, "not invertible"),
    ],
)
def test_models_that_cannot_be_built(config, text):
    with pytest.raises(ValueError, match=text):
        build_model(config_from({"model": config}).model, DATA, ["speech", "noise"])


def test_what_is_trained_is_declared():
    def build(any_order=False, **inversion):
        tree = {"stft": {"n_fft": 64}, "estimator": {"name": None}, "inversion": inversion}
        config = config_from({"model": tree}).model
        return build_model(config, DATA, ["a", "b"], any_order=any_order).inversion

    every = {"sigma": "frequency", "momentum": "layer", "weights": "source"}
    inversion = build(n_layers=2, hyper={"sigma": [0.5, 0.5]}, trainable={}, momentum=0.1)
    assert not any(p.requires_grad for p in inversion.parameters())
    inversion = build(n_layers=2, trainable=every, momentum=0.1)
    assert inversion.config["trainable"] == every and inversion.n_sources == 2
    assert build(n_layers=2, correction={}).correction[1].n_sources == 2
    shared = build(n_layers=2, correction={"tied": True, "options": {"hidden": 3}})
    assert shared.correction.arguments["hidden"] == 3
    with pytest.raises(ValueError, match=r"correction\.name='magnitude-refinement' .* pit=True"):
        build(any_order=True, correction={})
    residual = build(
        any_order=True, n_layers=2, residual={"tied": True, "options": {"mixing": True}}
    ).residual
    assert residual.stft.n_fft == 64 and residual.mixing
    assert len(build(n_layers=2, residual={}).residual) == 2


class OwnLoss(torch.nn.Module):
    compares = "spectrograms"

    def __init__(self, stft, power=1):
        super().__init__()
        self.stft, self.power = stft, power

    def forward(self, estimate, reference, mixture=None):
        return (estimate - self.stft(reference)).abs().pow(self.power).flatten(1).mean(-1)


class OwnEstimator(torch.nn.Module):
    def __init__(self, n_sources, gain=1.0):
        super().__init__()
        self.gain = torch.nn.Parameter(torch.full((n_sources, 1, 1, 1), gain))

    def forward(self, mixture, spectrogram):
        return self.gain.abs() * spectrogram.abs().unsqueeze(1)


def test_classes_of_ones_own():
    tree = {
        "model": {
            "stft": {"n_fft": 64},
            "estimator": {"name": f"{__name__}:OwnEstimator", "options": {"gain": 0.5}},
        },
        "loss": {"terms": {f"{__name__}:OwnLoss": 2}, "options": {"power": 2}},
    }
    config = config_from(tree)
    model = build_model(config.model, DATA, ["a", "b"])
    assert model.estimator.gain.tolist() == [[[[0.5]]]] * 2
    y = torch.randn(3, 2, 200)
    expected = 2 * OwnLoss(STFT(64), 2)(2 * STFT(64)(y), y)
    found = build_loss(config.loss, model.stft)
    torch.testing.assert_close(found(2 * STFT(64)(y), y), expected)


def test_numbers_as_people_write_them():
    config = load_config(None, ["optimizer.lr=1e-4", "model.inversion.hyper.sigma=5E-1"])
    assert config.optimizer.lr == 1e-4 and config.model.inversion.hyper == {"sigma": 0.5}


def test_groups_of_parameters_have_rates_of_their_own():
    tree = {
        "model": {
            "stft": {"n_fft": 64},
            "estimator": {"options": {"hidden": 4, "n_bands": 6}},
            "inversion": {"n_layers": 2, "correction": {}, "learn_windows": True},
        },
        "optimizer": {
            "weight_decay": 0.1,
            "groups": {"declared": {"lr_factor": 10}, "windows": {"weight_decay": 0.2}},
        },
    }
    config = config_from(tree)
    model = build_model(config.model, DATA, ["a", "b"])
    groups = build_optimizer(config.optimizer, model, 0.5).param_groups
    assert [(g["lr"], g["weight_decay"]) for g in groups] == [
        (0.5, 0.1),
        (5.0, 0.0),
        (0.5, 0.1),
        (0.5, 0.2),
    ]
    trained = [p for p in model.parameters() if p.requires_grad]
    assert {id(p) for g in groups for p in g["params"]} == {id(p) for p in trained}
    assert len(groups[1]["params"]) == 2  # σ of both layers


def test_losses_get_the_transform_of_the_model():
    y, x = torch.randn(2, 3, 2, 200)
    loss = build_loss(LossConfig(terms={"msa": 1.0, "si-sdr": 0.1}), STFT(32))
    swapped = build_loss(LossConfig(terms={"msa": 1.0, "si-sdr": 0.1}, pit=True), STFT(32))
    torch.testing.assert_close(swapped(y.flip(1), y, x[:, 0]), loss(y, y, x[:, 0]))
    other = build_loss(LossConfig(terms={"msa": 1.0}), STFT(64))
    assert not torch.allclose(
        other(x, y, None), build_loss(LossConfig(terms={"msa": 1.0}), STFT(32))(x, y)
    )
    options = LossConfig(terms={"multi-resolution": 1.0}, options={"n_ffts": [32]})
    assert build_loss(options, STFT(32))(x, y, None).shape == (3,)
    with pytest.raises(ValueError, match="did you mean 'si-sdr'"):
        build_loss(LossConfig(terms={"sisdr": 1.0}), STFT(32))


def test_data_sets_are_built_from_their_kind(data):
    train = data / "train"
    rate = DataConfig(sample_rate=8000, channels=2)
    for config, names in {
        MixingConfig(speech=str(train / "speech"), noise=str(train / "noise"), seconds=0.5): 2,
        PairedConfig(folder=str(data / "voicebank_demand"), seconds=0.5): 2,
        SpeakersConfig(folder=str(train / "speech"), n_speakers=3, seconds=0.5): 3,
        SyntheticConfig(n_sources=4, seconds=0.5): 4,
    }.items():
        built = build_dataset(config, rate, 5)
        assert len(built.names) == names and built.seed == 5
        assert built[0]["sources"].shape == (names, 2, 4000)


def test_the_padding_of_a_transform():
    config = StftConfig(n_fft=64, pad_mode="reflect")
    assert build_stft(config) == STFT(64, pad_mode="reflect")
    with pytest.raises(ValueError, match="pad_mode='mirror' must be one of"):
        build_stft(StftConfig(pad_mode="mirror"))
