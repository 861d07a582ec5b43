"""Outputs of the networks: whole or not there, and never over what is read."""

import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
from accelerate.state import AcceleratorState

from phaserec import STFT, report
from unfolded import GRUMasks, OpenUnmix, Separator
from unfolded.cli import main
from unfolded.training.reading import load_config
from unfolded.training.trainer import Trainer

CONFIG = """
output: run
cpu: true
data: {train: {kind: synthetic, items: 4, seconds: 0.05}, sample_rate: 2000, batch_size: 4}
model:
  stft: {n_fft: 16}
  estimator: {options: {hidden: 4, n_bands: 5, n_layers: 1}}
  inversion: null
stages: [{train: all, epochs: 1}]
"""


@pytest.fixture
def unfolded(command):
    """Run ``unfolded`` in a folder with models, files and a configuration."""
    AcceleratorState._reset_state(True)
    stft = STFT(64)
    network = GRUMasks(2, stft=stft, sample_rate=8000, hidden=4, n_bands=8)
    Separator(network).save_pretrained("model")
    network = OpenUnmix(["x", "y"], stft=stft, n_channels=3, hidden=4, sample_rate=8000)
    Separator(network).save_pretrained("wide")
    for name in ("one.wav", "two.wav", "pairs/clean/a.wav", "pairs/noisy/a.wav"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(name, 0.1 * np.sin(np.arange(4000)), 8000)
    soundfile.write("stereo.wav", np.zeros((4000, 2)), 8000)
    Path("broken.wav").write_bytes(Path("two.wav").read_bytes()[:30])
    Path("c.yaml").write_text(CONFIG)
    yield lambda *args: command(main, *args)
    AcceleratorState._reset_state(True)


def assert_one_line(result, *words):
    code, out, err = result
    assert (code, out) == (2, "")
    assert err.startswith("unfolded: error: ") and err.count("\n") == 1, err
    for word in words:
        assert word in err, err


def contents():
    """Every file below the folder, hidden ones too."""
    return {str(p): p.read_bytes() for p in Path().rglob("*") if p.is_file()}


@pytest.mark.parametrize(
    ("args", "word"),
    [
        (["separate", "one.wav", "broken.wav", "--model", "model"], "broken.wav is not a readable"),
        (["separate", "one.wav", "gone.wav", "--model", "model"], "gone.wav: no such file"),
        (["separate", "one.wav", "stereo.wav", "--model", "wide"], "separates 3 channels"),
        (["separate", "one.wav", "--model", "model", "-o", "c.yaml"], "c.yaml is not a folder"),
        (
            ["separate", "one.wav", "--model", "model", "--report", "model/config.json"],
            "is one of the input files",
        ),
        (
            ["evaluate", "pairs", "--model", "model", "--csv", "pairs/clean/a.wav"],
            "is one of the input files",
        ),
        (
            ["evaluate", "pairs", "--model", "model", "--json", "model/model.safetensors"],
            "is one of the input files",
        ),
        (["export", "-o", "model/config.json", "--model", "model"], "is one of the input files"),
        (["export", "-o", "pairs", "--model", "model"], "pairs is a folder"),
        (["train", "c.yaml", "model.weights=run/best"], "run/best/config.json"),
    ],
)
def test_what_is_wrong_is_found_before_anything_is_written(unfolded, args, word):
    before = contents()
    assert_one_line(unfolded(*args), word)
    assert contents() == before


def test_a_configuration_is_not_replaced_by_its_run(unfolded):
    os.mkdir("run")
    Path("run/config.yaml").write_text(CONFIG + "# mine\n")
    assert_one_line(unfolded("train", "run/config.yaml"), "run/config.yaml is one of the input")
    assert Path("run/config.yaml").read_text().endswith("# mine\n")
    assert unfolded("train", "c.yaml")[0] == 0
    AcceleratorState._reset_state(True)
    assert unfolded("train", "run/config.yaml", "--resume")[0] == 0


@pytest.mark.parametrize("start", ["model.weights=run/best", "model.estimator.weights=run/best"])
def test_weights_are_not_replaced_by_the_run_that_starts_from_them(unfolded, start):
    assert unfolded("train", "c.yaml")[0] == 0
    os.unlink("run/state.pt")
    before = contents()
    AcceleratorState._reset_state(True)
    with pytest.raises(ValueError, match="is one of the input files"):
        Trainer(load_config("c.yaml", [start]))
    assert contents() == before


def test_a_disk_that_is_full_at_the_report_leaves_nothing(unfolded, monkeypatch):
    pytest.importorskip("jinja2")

    def fails(page):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(report, "render", fails)
    before = contents()
    args = ["separate", "one.wav", "--model", "model", "-o", "out", "--report", "new/page.html"]
    assert_one_line(unfolded(*args), "No space left")
    assert contents() == before and not Path("out").exists() and not Path("new").exists()
