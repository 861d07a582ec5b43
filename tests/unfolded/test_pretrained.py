"""The model that ships: found by name, small, described, and better than the noisy input."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from phaserec import audio, measures
from unfolded.cli import main
from unfolded.data import file_pairs
from unfolded.saving import DEFAULT_MODEL, shipped_models
from unfolded.separator import Separator

FOLDER = Path(__file__).parents[2] / "unfolded" / "pretrained" / "speech-enhancement"


@pytest.fixture(scope="module")
def model():
    return Separator.from_pretrained()


def test_it_is_found_by_name(model, tmp_path, monkeypatch):
    assert shipped_models() == [DEFAULT_MODEL]
    assert model.targets == ["speech", "noise"] and model.sample_rate == 16000
    assert not model.training
    named = Separator.from_pretrained("speech-enhancement")
    x = torch.randn(1, 1, 3000)
    with torch.no_grad():
        torch.testing.assert_close(named(x), model(x))
    # A folder of that name comes first.
    monkeypatch.chdir(tmp_path)
    (tmp_path / "speech-enhancement").mkdir()
    with pytest.raises(ValueError, match=r"config.json.*models that ship: speech-enhancement"):
        Separator.from_pretrained("speech-enhancement")


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_it_loads_where_no_gradient_is_asked(model, mode):
    x = torch.randn(1, 1, 3000)
    with mode():
        torch.testing.assert_close(Separator.from_pretrained()(x), model(x))


def test_it_is_small_and_has_a_card():
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) <= 8_000_000
    assert {path.name for path in FOLDER.iterdir()} == {
        "README.md",
        "config.json",
        "model.safetensors",
    }
    card = (FOLDER / "README.md").read_text()
    for word in ("Licence", "Trained on", "Limits", "16 kHz"):
        assert word in card
    assert json.loads((FOLDER / "config.json").read_text())["inversion"] is not None


def test_its_output_stays(model):
    n = torch.arange(8000, dtype=torch.float64)
    x = (0.1 * torch.sin(1e-4 * n**2) * torch.sin(1e-3 * n)).float()
    with torch.no_grad():
        speech = model(x[None, None])[0, 0, 0, 500::1000]
    expected = [-0.00565264, -0.09377699, 0.00986824, 0.00513132]
    expected += [-0.04802186, -0.00634435, 0.00091524, 0.06509761]
    torch.testing.assert_close(speech, torch.tensor(expected), rtol=0, atol=1e-6)


@pytest.mark.parametrize("length", [1, 100, 5000])
def test_any_length_and_silence(model, length):
    x = 0.1 * torch.randn(1, 1, length, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        y = model(x)
        silent = model(torch.zeros_like(x))
    assert y.shape == (1, 2, 1, length)
    torch.testing.assert_close(y.sum(1), x, atol=1e-5, rtol=1e-4)
    assert not silent.any()


def test_the_command_needs_no_options(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    mixture, sources = audio.example()
    soundfile.write("noisy.wav", mixture.samples.T, mixture.rate, subtype="FLOAT")
    main(["separate", "noisy.wav"])
    assert capsys.readouterr().out.split() == ["separated/speech.wav", "separated/noise.wav"]
    speech = audio.read("separated/speech.wav")
    assert speech.rate == mixture.rate and speech.samples.shape == mixture.samples.shape
    truth = sources["speech"].samples[0]
    before = measures.si_sdr(truth, mixture.samples[0])
    assert measures.si_sdr(truth, speech.samples[0]) > before + 3


def test_real_pairs(model, data):
    gains = []
    for clean, noisy in file_pairs(data / "voicebank_demand"):
        s, x = (audio.read(file.path).samples[0] for file in (clean, noisy))
        with torch.no_grad():
            estimate = model(torch.from_numpy(x)[None, None])[0, 0, 0].numpy()
        gains.append(measures.si_sdr(s, estimate) - measures.si_sdr(s, x))
    assert np.mean(gains) >= 4
