"""The deep Griffin-Lim that ships: Griffin-Lim with a trained residual, for any signal."""

import sys

import numpy as np
import pytest
import torch

import phaserec
from phaserec import STFT, audio, projectors
from phaserec.solving.dispatch import structural_reason
from unfolded.layers import GatedResidual, UnfoldedInversion
from unfolded.priors.deep_griffin_lim import WEIGHTS, deep_griffin_lim
from unfolded.priors.networks import read, write

NAME = "deep-griffin-lim"
RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def speech():
    _, sources = audio.example()
    return sources["speech"].samples.astype(np.float32)


@pytest.mark.parametrize(("hop", "file"), [(512, "half"), (256, "quarter"), (128, "quarter")])
def test_it_is_griffin_lim_with_a_residual(hop, file):
    stft = STFT(1024, hop)
    V = np.abs(stft(RNG.standard_normal((2, 8000)).astype(np.float32)))
    net = read(WEIGHTS / f"{NAME}-{file}.safetensors", stft)
    layers = UnfoldedInversion("griffin-lim", 2, stft=stft, residual=net, trainable={})
    with torch.inference_mode():
        S = layers.spectrogram(torch.from_numpy(V), init="random", rng=0, length=8000)
        S = projectors.magnitude(S, torch.from_numpy(V))
        expected = stft.inverse(S, length=8000).numpy()
    y = phaserec.invert(V, stft=stft, algorithm=NAME, n_iter=2, init="random", rng=0, length=8000)
    assert y.dtype == np.float32
    np.testing.assert_allclose(y, expected, atol=2e-4)


def test_tensors_and_double_precision():
    stft = STFT(256, 128)
    V = np.abs(stft(RNG.standard_normal((3, 1, 2000))))
    options = {"stft": stft, "algorithm": NAME, "n_iter": 2, "init": "random", "rng": 0}
    y = phaserec.invert(V, **options)
    assert y.dtype == np.float64
    given = torch.from_numpy(V).requires_grad_()
    made = phaserec.invert(given, **options)
    np.testing.assert_allclose(made.detach().numpy(), y, atol=1e-4)
    made.square().sum().backward()
    assert given.grad.abs().sum() > 0


@pytest.mark.parametrize("hop", [512, 256])
def test_it_finds_phases_that_griffin_lim_does_not(hop, speech):
    # Heard by a transform that overlaps more, which an inconsistent phase cannot satisfy.
    stft, ear = STFT(1024, hop), STFT(1024, 128)
    errors = {}
    for name in ("griffin-lim", "admm", NAME):
        y = phaserec.invert(
            np.abs(stft(speech)),
            stft=stft,
            algorithm=name,
            n_iter=10,
            init="random",
            rng=0,
            length=speech.shape[-1],
        )
        heard, meant = (np.log(np.abs(ear(each)) + 1e-3) for each in (y, speech))
        errors[name] = np.abs(heard - meant).mean()
    assert errors[NAME] < 0.85 * min(errors["griffin-lim"], errors["admm"])


def test_it_is_registered_for_everybody():
    entry = phaserec.algorithms.resolve(NAME)
    assert entry.step is deep_griffin_lim and NAME in phaserec.algorithms.names()
    assert "Masuyama" in entry.cite
    assert "p.stft" in structural_reason(entry)


def test_the_files_are_small():
    sizes = [path.stat().st_size for path in WEIGHTS.glob("*.safetensors")]
    assert len(sizes) == 2 and sum(sizes) < 2**20


def test_written_and_read(tmp_path):
    stft = STFT(64, 16)
    net = GatedResidual(stft, 2, 3, 1, kernel=(3, 3))
    torch.nn.init.normal_(net.outlet.weight)
    write(tmp_path / "net.safetensors", net)
    again = read(tmp_path / "net.safetensors", stft)
    C = torch.randn(1, 33, 9, dtype=torch.complex64)
    torch.testing.assert_close(again(C, C, 2 * C, None, C.abs()), net(C, C, 2 * C, None, C.abs()))
    assert not any(p.requires_grad for p in again.parameters())


def test_without_torch_the_remedy_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "unfolded.priors.networks", raising=False)
    V = np.abs(STFT(64)(np.ones((1, 300))))
    with pytest.raises(ImportError, match=r"needs torch; pip install 'phaserec\[unfolded\]'"):
        phaserec.invert(V, stft=STFT(64), algorithm=deep_griffin_lim, n_iter=1, init="random")


def test_it_is_unfolded_like_any_other():
    stft = STFT(64, 32)
    V = np.abs(stft(RNG.standard_normal((1, 500)))).astype(np.float32)
    expected = phaserec.invert(V, stft=stft, algorithm=NAME, n_iter=2, init="zero", length=500)
    for windows in (False, True):
        net = UnfoldedInversion(NAME, 2, stft=stft, trainable={}, learn_windows=windows)
        y = net(torch.from_numpy(V), init="zero", length=500)
        np.testing.assert_allclose(y.detach().numpy(), expected, atol=1e-4)
