"""Models, configurations and states that are damaged or huge: one line, before anything is made."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from accelerate.state import AcceleratorState

from phaserec import STFT, _memory
from phaserec.corpus import workers
from unfolded import GRUMasks, Separator
from unfolded.cli import main
from unfolded.estimators import ESTIMATORS
from unfolded.nn.bands import mel_bands
from unfolded.nn.modules import rebuild
from unfolded.training.reading import load_config

CONFIG = """
output: run
cpu: true
data: {train: {kind: synthetic, items: 8, seconds: 0.05}, sample_rate: 2000, batch_size: 4}
model:
  stft: {n_fft: 16}
  estimator: {options: {hidden: 4, n_bands: 5, n_layers: 1}}
  inversion: {n_layers: 1}
stages: [{train: all, epochs: 1}]
"""


@pytest.fixture
def unfolded(command):
    """Run ``unfolded`` in a folder with a model, a file and a configuration."""
    AcceleratorState._reset_state(True)
    estimator = GRUMasks(2, stft=STFT(64), sample_rate=8000, hidden=4, n_bands=8)
    Separator(estimator, "misi", 2).save_pretrained("model")
    soundfile.write("in.wav", 0.1 * np.sin(np.arange(4000)), 8000)
    Path("c.yaml").write_text(CONFIG)
    yield lambda *args: command(main, *args)
    AcceleratorState._reset_state(True)


def assert_one_line(result, *words):
    code, out, err = result
    assert (code, out) == (2, "")
    assert err.startswith("unfolded: error: ") and err.count("\n") == 1, err
    assert "--debug shows" not in err
    for word in words:
        assert word in err, err


def deep(n):
    """Lists in lists, as deep as the reader takes them."""
    return [deep(n - 1)] if n else []


LARGE = {"in_features": 10**9, "out_features": 10**9}
GIVEN = "estimator.arguments."


@pytest.mark.parametrize(
    ("key", "value", "word"),
    [
        ("inversion.n_layers", 10**5, "n_layers=100000 must be an integer, 1 to 1000"),
        ("inversion.n_sources", 10**9, "n_sources=1000000000"),
        ("inversion", [1], "no configuration of a separator"),
        (f"{GIVEN}n_layers", 10**5, "n_layers=100000 must be an integer, 1 to 100"),
        (f"{GIVEN}n_sources", 10**9, "n_sources=1000000000 must be an integer, 1 to"),
        (f"{GIVEN}n_bands", 10**12, "n_bands=1000000000000 of n_fft=64 would take"),
        (f"{GIVEN}stft.STFT.n_fft", 10**12, "n_fft=1000000000000 and hop_length=16 would take"),
        (f"{GIVEN}stft.STFT.n_fft", 32, "n_fft"),
        (f"{GIVEN}stft", {}, "no configuration of a separator"),
        (f"{GIVEN}hidden", 10**6, "estimator gru of these sizes would take"),
        (f"{GIVEN}hidden", 10**11, "take more than 2⁶⁰ bytes of memory"),
        (f"{GIVEN}sample_rate", 1e300, "no configuration of a separator"),
        (f"{GIVEN}mask", deep(500), "mask=[["),
        (f"{GIVEN}norm", "x" * 10**6, "norm='xxx"),
        (f"{GIVEN}units", 5, "'units'"),
        ("estimator.arguments", [2], "must have a class (words) and its arguments"),
        ("estimator.class", 5, "must have a class (words) and its arguments"),
        ("estimator.class", "gur", "unknown estimator 'gur'; did you mean 'gru'"),
        ("estimator.class", "os:system", "'os:system' is no class of modules in os"),
        ("estimator.class", "subprocess:Popen", "'subprocess:Popen' is no class of modules"),
        ("estimator.class", "antigravity:Net", "antigravity, which is not imported"),
        ("estimator.class", "os:path.join.__class__", "is no class of modules"),
        ("estimator", {"class": "torch.nn:Linear", "arguments": LARGE}, "is not one of gru"),
        ("estimator", {"class": "torch.nn:LSTM", "arguments": {}}, "is not one of gru"),
        (
            "estimator",
            {"class": "unfolded.estimators.open_unmix:OpenUnmixTarget", "arguments": {}},
            "is not one of gru",
        ),
        ("estimator", {}, "no 'class'"),
        ("estimator", None, "another architecture"),
        ("stft.n_fft", 100_000, "n_fft=100000"),
        ("sample_rate", 1e400, "sample_rate=inf"),
        ("sample_rate", "8000", "sample_rate=8000"),
        ("targets", [[1], "a"], "[1] cannot be the name of a source"),
        ("targets", 10**9, "no configuration of a separator"),
        ("format", 3, "format 3 is not 1 to 2"),
        ("format", 1, "no 'magnitude_network'"),
    ],
)
def test_models_of_any_size(unfolded, key, value, word):
    path = Path("model/config.json")
    config = json.loads(path.read_text())
    *parts, last = key.split(".")
    node = config
    for part in parts:
        node = node[part]
    node[last] = value
    path.write_text(json.dumps(config))
    said = unfolded("separate", "in.wav", "--model", "model")
    assert_one_line(said, "'model/", word)
    assert len(said[2]) < 1000


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"n_fft": 128}, "n_fft=64 is not that of the estimator, 128"),
        ({"hidden": 10**6}, "gru of these sizes would take"),
        ({"type": "unet"}, "unknown estimator 'unet'"),
        ({"type": [1]}, "must have a class (words)"),
    ],
)
def test_models_of_the_first_format(unfolded, change, word):
    network = {"type": "gru", "n_sources": 2, "n_fft": 64, "sample_rate": 8000} | change
    config = {"format": 1, "sample_rate": 8000, "targets": None, "stft": {"n_fft": 64}}
    config |= {"magnitude_network": network, "inversion": None}
    Path("model/config.json").write_text(json.dumps(config))
    assert_one_line(unfolded("separate", "in.wav", "--model", "model"), "config.json", word)


class Many(torch.nn.Module):
    """An estimator of somebody's own, without limits."""

    def __init__(self, n):
        super().__init__()
        self.taps = torch.nn.ParameterList(torch.zeros(1) for _ in range(n))


def test_classes_that_modules_of_others_import():
    description = {"class": f"{__name__}:torch.nn.Transformer", "arguments": {}}
    with pytest.raises(ValueError, match=r"Transformer' is not one of gru, open-unmix"):
        rebuild(description, ESTIMATORS, "estimator")


@pytest.mark.parametrize("n", [20_000, 10**12])
def test_classes_of_others_of_any_size(n):
    description = {"class": f"{__name__}:Many", "arguments": {"n": n}}
    with pytest.raises(ValueError, match="a module of more than 4000 weights"):
        rebuild(description, ESTIMATORS, "estimator")


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000])
def test_models_that_break_the_reader(unfolded, text):
    Path("model/config.json").write_text(text)
    said = unfolded("separate", "in.wav", "--model", "model")
    assert_one_line(said, "'model/config.json' is no JSON")


def test_networks_of_usual_size_are_made():
    torch.manual_seed(0)
    arguments = {"n_sources": 2, "stft": {"STFT": {"n_fft": 64}}, "sample_rate": 8000}
    one = rebuild({"class": "gru", "arguments": arguments}, ESTIMATORS, "estimator")
    torch.manual_seed(0)
    other = GRUMasks(2, stft=STFT(64), sample_rate=8000)
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        assert a.device.type == "cpu" and torch.equal(a, b)


def test_bands_that_do_not_fit(monkeypatch):
    monkeypatch.setattr(_memory, "total_memory", lambda: 1 << 20)
    with pytest.raises(ValueError, match="n_bands=1000 of n_fft=1024 would take"):
        mel_bands(1000, 1024, 16000)


@pytest.mark.parametrize("chunk", ["1e-9", "1e-3"])
def test_chunks_that_hold_no_frame(unfolded, chunk):
    said = unfolded("separate", "in.wav", "--model", "model", "--chunk", chunk)
    assert_one_line(said, f"chunk={float(chunk)} seconds", "two frames", "0.016 seconds")


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--channels", 0], "0 is not in the range"),
        (["--channels", -1], "-1 is not in the range"),
        (["--channels", 10**12], "channels=1000000000000 and frames=4 would take"),
        (["--frames", 10**13], "channels=1 and frames=10000000000000 would take"),
    ],
)
def test_exports_of_any_size(unfolded, options, word):
    args = ["export", "-o", "net.pt2", "--model", "model", "--frames", 4, *options]
    assert_one_line(unfolded(*args), word)
    assert not Path("net.pt2").exists()


@pytest.mark.parametrize("device", ["meta", "x"])
def test_devices_that_do_not_compute(unfolded, device):
    said = unfolded("separate", "in.wav", "--model", "model", "--device", device)
    assert_one_line(said, f"--device {device} is not available")


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ("data.train.kind=[[1]]", "data.train.kind is [[1]]; it must be one of mixing"),
        ("data.workers=1000000", "data.workers=1000000 must be at most 4 for each"),
        ("data.channels=1000000000", "with 1000000000 channel(s) of 100 samples would take"),
        ("data.train.items=1000000000000", "items=1000000000000 must be an integer, 1 to"),
        ("data.train.n_sources=1000000000000", "n_sources=1000000000000 must be an integer, 1 to"),
        ("model.estimator.options.n_layers=1000000", "n_layers=1000000 must be an integer, 1 to"),
        ("model.estimator.options.hidden=1000000", "gru of these sizes would take"),
        ("model.estimator.options.hidden=10000000000", "take more than 2⁶⁰ bytes of memory"),
        ("model.inversion.n_layers=100000", "n_layers=100000 must be an integer, 1 to 1000"),
    ],
)
def test_trainings_of_any_size(unfolded, change, word):
    assert_one_line(unfolded("train", "c.yaml", change), word)
    assert not Path("run").exists()


BOMB = "a: &a [x]\n" + "".join(
    f"{new}: &{new} [{','.join([f'*{old}'] * 9)}]\n"
    for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        (BOMB, "more than 100000 values"),
        ("output: &a [*a]", "more than 100000 values"),
        ("[" * 50_000, "nested too deep"),
        ("".join(" " * i + "b:\n" for i in range(3000)), "nested too deep"),
        ("seed: " + "9" * 5000, "is not YAML"),
        ("seed: 2020-99-99", "is not YAML"),
    ],
)
def test_configurations_that_break_the_reader(unfolded, text, word):
    Path("b.yaml").write_text(text)
    assert_one_line(unfolded("train", "b.yaml"), "b.yaml", word)


def test_configurations_that_are_too_deep(unfolded):
    deep = "model.inversion.hyper={sigma: " + "[" * 300 + "]" * 300 + "}"
    assert_one_line(unfolded("train", "c.yaml", deep), "the configuration is nested too deep")


@pytest.mark.skipif(not os.path.exists("/dev/zero"), reason="no such device on this system")
def test_devices_are_no_configurations(unfolded):
    assert_one_line(unfolded("train", "/dev/zero"), "/dev/zero does not end")


def test_references_are_read(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("stages: [&a {train: all, epochs: 3}, *a]")
    assert [stage.epochs for stage in load_config(path).stages] == [3, 3]


def drop(key):
    return lambda state: state.pop(key)


def place(**values):
    return lambda state: state["position"].update(values)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (drop("model"), "it has no 'model'"),
        (drop("optimizer"), "it has no 'optimizer'"),
        (drop("schedule"), "it has no 'schedule'"),
        (drop("scaler"), "it has no 'scaler'"),
        (drop("random"), "it has no 'random'"),
        (place(phase=-1), "phase=-1"),
        (place(phase=9), "phase=9"),
        (place(batch=-1), "batch=-1"),
        (place(batch=10**9), "batch=1000000000"),
        (place(epoch="x"), "epoch='x'"),
        (place(steps=None), "steps=None"),
        (place(best=float("nan")), "best=nan"),
        (lambda state: state.update(model=5), "'int' object"),
        (lambda state: state.update(optimizer={}), "the optimizer has no state"),
    ],
)
def test_states_that_do_not_fit(unfolded, change, word):
    assert unfolded("train", "c.yaml")[0] == 0
    state = torch.load("run/state.pt", weights_only=True)
    change(state)
    torch.save(state, "run/state.pt")
    AcceleratorState._reset_state(True)
    assert_one_line(unfolded("train", "c.yaml", "--resume"), "run/state.pt is not the state", word)


def test_jobs_are_bounded(monkeypatch):
    monkeypatch.setattr(workers, "available_cores", lambda: 3)
    asked = []
    monkeypatch.setattr(workers, "_results", lambda f, items, jobs: asked.append(jobs))
    workers.run_ordered(len, [""] * 1000, jobs=10**6)
    workers.run_ordered(len, [""] * 2, jobs=10**6)
    assert asked == [12, 2]
