"""Layers of models that were saved before parameters were declared."""

import pytest
import torch

from phaserec import STFT
from unfolded.layers import UnfoldedInversion
from unfolded.layers.format1 import upgraded, upgraded_state

STFT16 = STFT(16, 4)
OLD = {
    "algorithm": "mix-incons",
    "n_layers": 2,
    "n_sources": 2,
    "tied": False,
    "sigma_per_frequency": False,
    "train_hyper": True,
    "train_weights": True,
    "momentum": None,
    "refine": False,
    "learn_windows": False,
    "checkpoint": False,
}


def old_state(old):
    """Weights under their names of then, all of them off their start."""
    shape = (9, 1) if old["sigma_per_frequency"] else ()
    state = {}
    for k in range(1 if old["tied"] else 2):
        state[f"layers.{k}.hyper.sigma_.raw"] = 1 + torch.rand(shape)
        state[f"layers.{k}.hyper.sigma_.scale"] = torch.tensor(10.0)
        state[f"layers.{k}.logits"] = torch.rand(2, 1, 1)
    return state


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("per_frequency", [False, True])
def test_values_are_those_of_then(tied, per_frequency):
    old = OLD | {"tied": tied, "sigma_per_frequency": per_frequency}
    net = UnfoldedInversion.from_config(upgraded(old, 16), STFT16)
    state = old_state(old)
    net.load_state_dict(upgraded_state(state, old))
    for k, layer in enumerate(net.layers):
        owner, place = (net.shared, 0) if tied else (layer, k)
        sigma = owner.values()["sigma"]
        torch.testing.assert_close(sigma, 10 * state[f"layers.{place}.hyper.sigma_.raw"])
        torch.testing.assert_close(owner.weights.logits.data, state[f"layers.{place}.logits"])


def test_what_was_not_trained_is_as_it_was():
    old = OLD | {"train_hyper": False, "train_weights": False, "sigma": 0.3}
    net = UnfoldedInversion.from_config(upgraded(old, 16), STFT16)
    assert upgraded_state(old_state(old), old) == {} and not list(net.parameters())
    assert net.config["hyper"] == {"sigma": 0.3}


@pytest.mark.parametrize(("rate", "expected"), [({}, 16000), ({"sample_rate": 8000}, 8000)])
@pytest.mark.parametrize("tied", [False, True])
def test_refinements_are_corrections(tied, rate, expected):
    old = OLD | {"refine": True, "tied": tied} | rate
    net = UnfoldedInversion.from_config(upgraded(old, 16), STFT16)
    one = net.correction if tied else net.correction[1]
    assert one.arguments["sample_rate"] == expected
    state = {f"layers.{k}.refinement.{n}": t for k in (0, 1) for n, t in one.state_dict().items()}
    names = upgraded_state(state, old).keys()
    assert names == {n for n in net.state_dict() if n.startswith("correction")}
