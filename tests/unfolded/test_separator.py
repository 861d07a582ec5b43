"""The separator from waveform to waveforms, and its files."""

import inspect
import json
import os
import subprocess
import sys

import pytest
import torch

import phaserec
import unfolded
from phaserec import STFT
from unfolded import (
    PIT,
    Described,
    Estimate,
    GRUMasks,
    OpenUnmix,
    Separator,
    UnfoldedInversion,
    get_loss,
    oracle_magnitudes,
)
from unfolded.checkpoints import read_state, write_state
from unfolded.layers import MagnitudeRefinement
from unfolded.nn.modules import describe, rebuild

STFT16 = STFT(16, 4)


def gru(n_sources=2, stft=STFT16, sample_rate=8000):
    options = {"n_bands": 5, "hidden": 7, "n_layers": 1}
    return GRUMasks(n_sources, stft=stft, sample_rate=sample_rate, **options)


def refinements(n_layers):
    return [MagnitudeRefinement(2, 16, 8000) for _ in range(n_layers)]


def separator(algorithm="misi", n_layers=2, *, refine=False, **options):
    if not n_layers:
        return Separator(gru())
    correction = refinements(n_layers) if refine else None
    return Separator(gru(), algorithm, n_layers, correction=correction, **options)


class Flat(torch.nn.Module):
    """An estimator that tells nothing: J shares of the mixture that are trained."""

    def __init__(self, n_sources=3):
        super().__init__()
        self.shares = torch.nn.Parameter(torch.rand(n_sources, 1, 1, 1))

    def forward(self, mixture, spectrogram):
        assert mixture.ndim == 3 and mixture.shape[:2] == spectrogram.shape[:2]
        return self.shares.abs() * spectrogram.abs().unsqueeze(1)


class Phases(Flat):
    """An estimator of two sources with phases of its own."""

    def __init__(self):
        super().__init__(2)

    def forward(self, mixture, spectrogram):
        V = super().forward(mixture, spectrogram)
        turns = torch.linspace(0, 3, V.numel()).reshape(V.shape)
        return Estimate(V, torch.polar(torch.full_like(V, 7.0), turns.to(V)))


@pytest.mark.parametrize("n_layers", [0, 2])
@pytest.mark.parametrize("length", [1, 2, 3, 4, 5, 15, 16, 17, 40])
def test_any_length(length, n_layers):
    model = separator(n_layers=n_layers)
    x = torch.randn(3, 2, length)
    y = model(x)
    assert y.shape == (3, 2, 2, length) and y.dtype == x.dtype
    assert model.spectrogram(x).shape == (3, 2, 2, 9, STFT16.n_frames(length))
    if n_layers:
        torch.testing.assert_close(y.sum(1), x)


def test_channels_and_items_are_a_batch():
    model = separator(learn_windows=True, refine=True).double()
    x = torch.randn(3, 2, 40, dtype=torch.float64)
    torch.testing.assert_close(model(x)[1:2, :, 1:], model(x[1:2, 1:]))


@pytest.mark.parametrize("n_layers", [0, 2])
def test_without_channels_it_is_one_channel(n_layers):
    model = separator(n_layers=n_layers)
    x = torch.randn(3, 40)
    torch.testing.assert_close(model(x), model(x.unsqueeze(1)).squeeze(2), rtol=0, atol=0)
    assert model.spectrogram(x).shape == (3, 2, 9, STFT16.n_frames(40))
    V = STFT16(torch.randn(3, 2, 40)).abs()
    expected = model(x.unsqueeze(1), V.unsqueeze(2)).squeeze(2)
    torch.testing.assert_close(model(x, V), expected, rtol=0, atol=0)


def test_an_estimator_that_tells_nothing():
    told = {"stft": STFT16, "sample_rate": 8000}
    model = Separator(Flat(3), **told)
    assert model.targets is None and model.n_sources is None
    assert Separator(Flat(3), "misi", 2, **told)(torch.randn(2, 40)).shape == (2, 3, 40)
    x = torch.randn(2, 40)
    expected = model.estimator.shares.reshape(3, 1) * x.unsqueeze(1)
    torch.testing.assert_close(model(x), expected)


def test_no_layers_is_the_phase_of_the_mixture():
    model = separator(n_layers=0)
    x = torch.randn(1, 1, 40)
    V = model.estimator(x, STFT16(x))
    expected = STFT16.inverse(
        torch.polar(V, STFT16(x).angle().unsqueeze(1).expand_as(V)), length=40
    )
    torch.testing.assert_close(model(x), expected)


@pytest.mark.parametrize("algorithm", [None, "misi", "griffin-lim"])
def test_a_start_is_where_the_phases_start(algorithm):
    options = {"targets": ["a", "b"], "stft": STFT16, "sample_rate": 8000}
    model = Separator(Phases().double(), algorithm, 3 if algorithm else None, **options)
    x = torch.randn(1, 1, 40, dtype=torch.float64)
    V, start, _ = model.estimator(x, STFT16(x))
    init = torch.polar(V, start.angle())[0, :, 0].detach()
    found = model.spectrogram(x)[0, :, 0].detach()
    if algorithm is None:
        torch.testing.assert_close(found, init)
        return
    given = {"stft": STFT16, "algorithm": algorithm, "n_iter": 3, "init": init, "length": 40}
    expected = phaserec.invert(V[0, :, 0].detach(), x[0, 0], **given)
    torch.testing.assert_close(model(x)[0, :, 0].detach(), expected)


def test_layers_are_the_algorithm():
    sources = torch.randn(1, 2, 1, 40, dtype=torch.float64)
    options = {"targets": ["a", "b"], "stft": STFT16, "sample_rate": 8000, "dtype": torch.float64}
    model = Separator(None, "mix-incons", 4, **options)
    V, x = oracle_magnitudes(sources, STFT16), sources.sum(1)
    expected = phaserec.invert(V[0, :, 0], x[0, 0], stft=STFT16, algorithm="mix-incons", n_iter=4)
    torch.testing.assert_close(model(x, V)[0, :, 0].detach(), expected)
    with pytest.raises(ValueError, match=r"magnitudes=None must be given: .* no estimator"):
        model(x)


def test_training_step_reaches_everything():
    model = separator("mix-incons-hard-mag", 3, checkpoint=True, refine=True, momentum=0.1)
    reference = torch.randn(2, 2, 1, 50)
    loss = PIT(get_loss("si-sdr"))
    optimizer = torch.optim.Adam(model.parameters(), 5e-4)
    values = []
    for _ in range(8):
        value = loss(model(reference.sum(1)), reference, reference.sum(1)).mean()
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        values.append(value.item())
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)
    assert values[-1] < values[0]


def test_silence():
    model = separator("mix-incons-hard-mag", 2)
    y = model(torch.zeros(1, 1, 30))
    assert bool((y == 0).all())
    y.sum().backward()
    assert all(bool(p.grad.isfinite().all()) for p in model.parameters() if p.grad is not None)


def test_autocast_keeps_the_precision_of_the_mixture():
    model = separator()
    x = torch.randn(1, 1, 40)
    with torch.autocast("cpu", torch.bfloat16):
        y = model(x)
    assert y.dtype == torch.float32
    torch.testing.assert_close(y.sum(1), x)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_gpu_equals_cpu():
    model = separator("aux", 3, learn_windows=True, refine=True, momentum=0.1).double()
    x = torch.randn(2, 1, 300, dtype=torch.float64)
    expected = model(x)
    torch.testing.assert_close(model.cuda()(x.cuda()).cpu(), expected)


def disturbed(model):
    """The model in evaluation mode with every parameter away from its start."""
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return model.eval()


KAISER = STFT(16, 4, 12, window=("kaiser", 4.0))
ESTIMATORS = {
    "gru": lambda: gru(stft=KAISER),
    "open-unmix": lambda: OpenUnmix(
        ["speech", "noise"], stft=KAISER, hidden=6, n_layers=1, sample_rate=8000
    ),
    "own": Phases,
    "none": lambda: None,
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["f32", "f64"])
@pytest.mark.parametrize("n_layers", [0, 2])
@pytest.mark.parametrize("kind", list(ESTIMATORS))
def test_round_trip(kind, n_layers, dtype, tmp_path):
    options = {"sigma": 0.3, "magnitude": "soft", "momentum": 0.2, "learn_windows": True}
    options |= {"correction": refinements(n_layers), "stft": KAISER}
    layers = UnfoldedInversion("aux", n_layers, **options) if n_layers else None
    told = {"stft": KAISER, "sample_rate": 8000, "targets": ["speech", "noise"]}
    model = Separator(ESTIMATORS[kind](), layers, **told).to(dtype)
    disturbed(model).save_pretrained(tmp_path / "a" / "b")
    assert sorted(os.listdir(tmp_path / "a" / "b")) == ["config.json", "model.safetensors"]
    again = Separator.from_pretrained(tmp_path / "a" / "b")
    assert again.stft == KAISER and again.targets == model.targets and again.sample_rate == 8000
    x = torch.randn(1, 1, 40, dtype=dtype)
    V = KAISER(torch.randn(1, 2, 1, 40, dtype=dtype)).abs() if kind == "none" else None
    torch.testing.assert_close(again(x, V), model(x, V), rtol=0, atol=0)
    assert {p.dtype for p in again.parameters()} <= {dtype}


class Untold(Flat):
    """An estimator that cannot be made without an argument, and does not remember it."""

    def __init__(self, n_sources):
        super().__init__(n_sources)
        self.again = self.shares  # weights may have several names


def test_an_estimator_that_does_not_tell_its_arguments(tmp_path):
    told = {"stft": STFT16, "sample_rate": 8000}
    model = disturbed(Separator(Untold(4), **told))
    model.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["targets"] is None
    with pytest.raises(ValueError, match=r"Untold was saved without its arguments; make it"):
        Separator.from_pretrained(tmp_path)
    again = Separator.from_pretrained(tmp_path, estimator=Untold(4))
    x = torch.randn(1, 40)
    torch.testing.assert_close(again(x), model(x), rtol=0, atol=0)
    assert again.estimator.again is again.estimator.shares
    with pytest.raises(ValueError, match=r"shares is \(4, 1, 1, 1\) in place of \(3, 1, 1, 1\)"):
        Separator.from_pretrained(tmp_path, estimator=Untold(3))


class Scaled(torch.nn.Module):
    """A correction that does not remember its argument."""

    def __init__(self, factor):
        super().__init__()
        self.factor = torch.nn.Parameter(torch.tensor(factor))

    def forward(self, V, S, total):
        return self.factor * V


def test_a_correction_that_does_not_tell_its_arguments(tmp_path):
    model = disturbed(Separator(gru(), "griffin-lim", 2, correction=Scaled(0.5)))
    model.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"correction .*Scaled was saved without its arguments"):
        Separator.from_pretrained(tmp_path)
    layers = UnfoldedInversion("griffin-lim", 2, stft=STFT16, correction=Scaled(3.0))
    again = Separator.from_pretrained(tmp_path, inversion=layers)
    x = torch.randn(1, 40)
    torch.testing.assert_close(again(x), model(x), rtol=0, atol=0)


def test_what_an_estimator_was_made_with_is_remembered():
    class Own(Described):
        def __init__(self, stft, hidden=3, *, targets=("a", "b"), **rest):
            super().__init__()
            self.stft = stft

    assert Own(STFT16, targets=["c"], x=1).arguments == {
        "stft": STFT16,
        "hidden": 3,
        "targets": ["c"],
        "x": 1,
    }
    assert str(inspect.signature(Own)) == "(stft, hidden=3, *, targets=('a', 'b'), **rest)"
    assert Separator(Own(STFT16), sample_rate=1).stft == STFT16


def test_what_a_description_was_made_of_is_remembered():
    description = {"class": f"{__name__}:Untold", "arguments": {"n_sources": 4}}
    module = rebuild(description, unfolded.estimators.ESTIMATORS, "estimator")
    assert module.shares.shape == (4, 1, 1, 1)
    assert describe(module, unfolded.estimators.ESTIMATORS) == description
    assert describe(Untold(4), unfolded.estimators.ESTIMATORS)["arguments"] is None


def test_a_model_of_the_first_format(tmp_path):
    """As version 0.1.0 in development wrote it: its keys, the norm within each frame."""
    options = {"n_bands": 5, "hidden": 7, "n_layers": 1}
    frame = GRUMasks(2, stft=STFT16, sample_rate=8000, norm="frame", **options)
    trainable = {"sigma": "layer", "weights": "layer,source"}
    model = disturbed(Separator(frame, "mix-incons", 2, trainable=trainable))
    state = {}
    for key, tensor in model.state_dict().items():
        key = key.replace("estimator.", "magnitude_network.")
        state[key.replace("weights.logits", "logits")] = tensor
    write_state(state, tmp_path / "model.safetensors")
    network = {"type": "gru", "n_sources": 2, "n_fft": 16, "sample_rate": 8000, **options}
    config = {"format": 1, "sample_rate": 8000, "targets": ["a", "b"], "stft": {"n_fft": 16}}
    layers = {"algorithm": "mix-incons", "n_layers": 2, "n_sources": 2, "momentum": None}
    layers |= {"train_hyper": True, "train_weights": True, "tied": False, "refine": False}
    layers |= {"sigma_per_frequency": False, "learn_windows": False, "checkpoint": False}
    config |= {"magnitude_network": network, "inversion": layers}
    (tmp_path / "config.json").write_text(json.dumps(config))
    again = Separator.from_pretrained(tmp_path)
    x = torch.randn(1, 1, 40)
    torch.testing.assert_close(again(x), model(x), rtol=0, atol=0)
    again.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["format"] == 2
    torch.testing.assert_close(Separator.from_pretrained(tmp_path)(x), model(x), rtol=0, atol=0)


@pytest.mark.parametrize(
    "choice",
    [{"window": w} for w in ("hamming", (1.0,) * 16, [0.5, 1.0] * 8)] + [{"pad_mode": "reflect"}],
)
def test_transforms_round_trip(choice, tmp_path):
    stft = STFT(16, 4, **choice)
    Separator(gru(stft=stft)).save_pretrained(tmp_path)
    assert Separator.from_pretrained(tmp_path).stft == stft


def test_files_that_do_not_fit(tmp_path):
    def load():
        return Separator.from_pretrained(tmp_path)

    def edit(**change):
        (tmp_path / "config.json").write_text(json.dumps(config | change))

    with pytest.raises(ValueError, match=r"config\.json' does not exist"):
        load()
    separator("mix-incons", 2).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    small = config["estimator"]["arguments"]
    cases = [
        (
            {"inversion": config["inversion"] | {"n_layers": 999}},
            "weights of 2 layers, not n_layers=999",
        ),
        ({"inversion": None}, "another architecture: .* unknown, such as inversion"),
        (
            {"estimator": {"class": "gru", "arguments": small | {"hidden": 9}}},
            r"another architecture: .* is \(.*\) in place of",
        ),
        (
            {"estimator": {"class": "unet", "arguments": {}}},
            "unknown estimator 'unet'; available: ",
        ),
        ({"inversion": config["inversion"] | {"algorithm": "mis"}}, "unknown algorithm 'mis'"),
        ({"stft": config["stft"] | {"hop": 3}}, "no configuration of a separator: .*'hop'"),
        ({"format": 3}, "format 3 is not 1 to 2"),
    ]
    for change, message in cases:
        edit(**change)
        with pytest.raises(ValueError, match=message) as error:
            load()
        assert "\n" not in str(error.value)
    del config["stft"]
    edit()
    with pytest.raises(ValueError, match="no configuration of a separator: no 'stft'"):
        load()
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match="is no JSON"):
        load()
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(ValueError, match="is not a JSON object"):
        load()
    separator("mix-incons", 2).save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"half a file")
    with pytest.raises(ValueError, match="is no safetensors file"):
        load()
    os.unlink(tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=r"model\.safetensors' does not exist"):
        load()


def test_an_interrupted_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "model.safetensors"
    separator().save_pretrained(tmp_path)
    before = path.read_bytes()

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("os.fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_state({"half": torch.zeros(1)}, path)
    assert path.read_bytes() == before
    assert sorted(os.listdir(tmp_path)) == ["config.json", "model.safetensors"]
    assert read_state(path).keys() == separator().state_dict().keys()


class Remembering(Described, Flat):
    """An estimator that remembers its arguments."""

    def __init__(self, of):
        super().__init__()
        self.of = of


def test_what_cannot_be_saved(tmp_path):
    told = {"stft": STFT16, "sample_rate": 8000}
    with pytest.raises(ValueError, match=r"arguments that JSON does not hold: .*object"):
        Separator(Remembering(object()), **told).save_pretrained(tmp_path / "x")

    def step(S, p):
        return p.mix(p.mag(S))

    with pytest.raises(ValueError, match="'step' is not registered"):
        Separator(gru(), step, 2).save_pretrained(tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_the_hub_of_hugging_face(tmp_path):
    """The recipe of the documentation, with a folder in place of a repository."""
    huggingface_hub = pytest.importorskip("huggingface_hub")

    class HubSeparator(huggingface_hub.PyTorchModelHubMixin, Separator):
        def _save_pretrained(self, save_directory):
            Separator.save_pretrained(self, save_directory)

        @classmethod
        def _from_pretrained(cls, *, model_id, **_):
            return super(huggingface_hub.ModelHubMixin, cls).from_pretrained(model_id)

    model = disturbed(HubSeparator(gru(), "misi", 2))
    model.save_pretrained(tmp_path / "hub")
    again = HubSeparator.from_pretrained(tmp_path / "hub")
    assert type(again) is HubSeparator
    x = torch.randn(1, 40)
    torch.testing.assert_close(again(x), model(x), rtol=0, atol=0)
    torch.testing.assert_close(Separator.from_pretrained(tmp_path / "hub")(x), model(x))


def test_arguments():
    def layers(stft=STFT16):
        return UnfoldedInversion("misi", 1, stft=stft, n_sources=2)

    bare = {"stft": STFT16, "sample_rate": 8000}
    cases = [
        (lambda: Separator(gru(3), layers()), "n_sources=3 of the GRUMasks is not .*Inversion, 2"),
        (lambda: Separator(gru(), layers(STFT(16, 2))), "stft=.* of the GRUMasks is not that of"),
        (lambda: Separator(gru(), stft=STFT(32)), "stft=.* of the argument is not that of the GRU"),
        (lambda: Separator(gru(), sample_rate=16000), "sample_rate=16000 of the argument is not"),
        (lambda: Separator(Flat(), sample_rate=8000), "stft=None must be given"),
        (lambda: Separator(Flat(), stft=STFT16), "sample_rate=None must be given"),
        (lambda: Separator(Flat(), stft=STFT16, sample_rate=0), "sample_rate=0 must be positive"),
        (lambda: Separator(gru(), "misi"), "n_layers=None must be the number of layers of misi"),
        (lambda: Separator(gru(), "mis", 2), "unknown algorithm 'mis'"),
        (lambda: Separator(gru(), n_layers=2), "n_layers: only for an inversion that is the name"),
        (lambda: Separator(gru(), layers(), sigma=1), "sigma: only for .* not UnfoldedInversion"),
        (
            lambda: Separator(gru(), targets=["a", "a"]),
            r"targets=\['a', 'a'\] must be 2 different names",
        ),
        (lambda: Separator(gru(), targets="ab"), r"targets=\['ab'\] must be 2 different names"),
        (lambda: Separator(Flat(), **bare, targets=[]), r"must be one or more different names"),
        (lambda: separator()(torch.randn(40)), r"mixture of shape \(40,\) must be"),
        (lambda: separator()(torch.zeros(1, 1, 0)), "not empty"),
        (lambda: separator()(torch.zeros(1, 1, 9).half()), "dtype torch.float16; allowed"),
        (lambda: separator()(torch.full((1, 1, 9), torch.nan)), "NaN or infinite"),
        (
            lambda: separator()(torch.zeros(1, 1, 9), torch.zeros(1, 2, 1, 9, 2)),
            r"magnitudes of shape \(1, 2, 1, 9, 2\) must be .* \(1, 2, 1, 9, 3\)",
        ),
        (
            lambda: Separator(Flat(3), **bare, targets=["a", "b"])(torch.zeros(1, 9)),
            r"magnitudes of shape \(1, 3, 1, 9, 3\) must be .* \(1, 2, 1, 9, 3\)",
        ),
    ]
    for call, message in cases:
        with pytest.raises(ValueError, match=message):
            call()


def test_imports_wait():
    assert set(unfolded.__all__) <= set(dir(unfolded))
    assert all(hasattr(unfolded, name) for name in unfolded.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Unfolded'"):
        _ = unfolded.Unfolded
    code = "import sys, unfolded; assert 'torch' not in sys.modules; "
    code += "from unfolded import Separator; Separator.from_pretrained(); "
    code += "assert 'huggingface_hub' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
