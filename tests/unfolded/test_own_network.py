"""Researchers with a network and a loop of their own, as the documentation tells them."""

import os
import runpy
import subprocess
import sys
from pathlib import Path
from statistics import median

import pytest
import torch

from unfolded import Separator

SCRIPT = Path(__file__).parents[2] / "docs" / "own_network.py"


def test_the_script_of_the_documentation_learns():
    script = runpy.run_path(str(SCRIPT))
    options = {"stft": script["STFT"](256), "sample_rate": 8000}
    separator = Separator(script["Masks"](), "misi", 2, **options, targets=["low", "high", "noise"])
    losses = script["train"](separator, 40)
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])
    assert separator(torch.zeros(1, 300)).shape == (1, 3, 300)


ELSEWHERE = """
import sys
import torch
from unfolded import Separator
sys.path.insert(0, sys.argv[1])
import own_network

separator = Separator.from_pretrained("first").train()
torch.manual_seed(1)
torch.save([own_network.train(separator, 3), separator.targets], "losses.pt")
separator.save_pretrained("second")
"""


def test_a_model_is_trained_on_in_another_process(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(SCRIPT.parent)
    import own_network

    options = {"stft": own_network.STFT(256), "sample_rate": 8000}
    separator = Separator(own_network.Masks(), "misi", 2, **options, targets=["a", "b", "c"])
    own_network.train(separator, 3)
    separator.save_pretrained(tmp_path / "first")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", ELSEWHERE, str(SCRIPT.parent)]
    subprocess.run(command, cwd=tmp_path, env=environment, check=True)
    losses, targets = torch.load(tmp_path / "losses.pt")
    torch.manual_seed(1)
    assert own_network.train(separator, 3) == pytest.approx(losses, rel=1e-5)
    assert targets == ["a", "b", "c"]
    again = Separator.from_pretrained(tmp_path / "second")
    x = torch.randn(2, 500)
    torch.testing.assert_close(again(x), separator(x))


def test_parameters_as_declared_in_the_documentation_learn():
    script = runpy.run_path(str(SCRIPT.parent / "own_parameters.py"))
    net = script["make"]()
    before = [{k: v.detach().clone() for k, v in layer.values().items()} for layer in net.layers]
    losses = script["train"](net, 30)
    # Tones of nearly one pitch are hard now and then.
    assert median(losses[-9:]) < 0.9 * median(losses[:9])
    for k, (layer, start) in enumerate(zip(net.layers, before, strict=True)):
        assert {name: tuple(v.shape) for name, v in start.items()} == {
            "sigma": (129, 1),
            "tau": (),
            "momentum": (),
        }
        torch.testing.assert_close(start["sigma"], torch.full((129, 1), 3.0 / (k + 1)))
        for name, value in layer.values().items():
            # A first iteration has no momentum.
            assert torch.equal(value, start[name]) == (name == "momentum" and k == 0)
    five = torch.randn(5, 1000)
    assert net(net.stft(five).abs(), five.sum(0)).shape == (5, 1000)
