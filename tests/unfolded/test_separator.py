"""The separator from waveform to waveforms, and its files."""

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
    ExternalMagnitudes,
    GRUMasks,
    OpenUnmix,
    UnfoldedInversion,
    UnfoldedSeparator,
    get_loss,
    oracle_magnitudes,
)
from unfolded.checkpoints import read_state, write_state
from unfolded.layers import MagnitudeRefinement

STFT16 = STFT(16, 4)


def gru(n_sources=2):
    return GRUMasks(n_sources, n_fft=16, sample_rate=8000, n_bands=5, hidden=7, n_layers=1)


def separator(algorithm="misi", n_layers=2, *, network=None, stft=STFT16, refine=False, **options):
    inversion = None
    if n_layers:
        if refine:
            made = [MagnitudeRefinement(2, stft.n_fft, 8000) for _ in range(n_layers)]
            options["correction"] = made
        inversion = UnfoldedInversion(algorithm, n_layers, stft=stft, **options)
    return UnfoldedSeparator(gru() if network is None else network, inversion, stft, 8000)


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


def test_no_layers_is_the_phase_of_the_mixture():
    model = separator(n_layers=0)
    x = torch.randn(1, 1, 40)
    V = model.magnitude_network(x, STFT16(x))
    expected = STFT16.inverse(
        torch.polar(V, STFT16(x).angle().unsqueeze(1).expand_as(V)), length=40
    )
    torch.testing.assert_close(model(x), expected)


def test_layers_are_the_algorithm():
    sources = torch.randn(1, 2, 1, 40, dtype=torch.float64)
    model = separator("mix-incons", 4, network=ExternalMagnitudes(2), dtype=torch.float64)
    V, x = oracle_magnitudes(sources, STFT16), sources.sum(1)
    expected = phaserec.invert(V[0, :, 0], x[0, 0], stft=STFT16, algorithm="mix-incons", n_iter=4)
    torch.testing.assert_close(model(x, V)[0, :, 0].detach(), expected)
    with pytest.raises(ValueError, match="magnitudes of shape None must be given"):
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


NETWORKS = {
    "gru": gru,
    "open-unmix": lambda: OpenUnmix(
        ["speech", "noise"], n_fft=16, hidden=6, n_layers=1, sample_rate=8000
    ),
    "external": lambda: ExternalMagnitudes(2),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["f32", "f64"])
@pytest.mark.parametrize("n_layers", [0, 2])
@pytest.mark.parametrize("kind", list(NETWORKS))
def test_round_trip(kind, n_layers, dtype, tmp_path):
    stft = STFT(16, 4, 12, window=("kaiser", 4.0))
    model = separator(
        "aux",
        n_layers,
        network=NETWORKS[kind](),
        stft=stft,
        sigma=0.3,
        magnitude="soft",
        momentum=0.2,
        refine=True,
        learn_windows=True,
    ).to(dtype)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn_like(p))
    model.eval().save_pretrained(tmp_path / "a" / "b")
    assert sorted(os.listdir(tmp_path / "a" / "b")) == ["config.json", "model.safetensors"]
    again = UnfoldedSeparator.from_pretrained(tmp_path / "a" / "b")
    assert again.stft == stft and again.targets == model.targets and again.sample_rate == 8000
    x = torch.randn(1, 1, 40, dtype=dtype)
    V = stft(torch.randn(1, 2, 1, 40, dtype=dtype)).abs() if kind == "external" else None
    torch.testing.assert_close(again(x, V), model(x, V), rtol=0, atol=0)
    assert {p.dtype for p in again.parameters()} <= {dtype}


@pytest.mark.parametrize(
    "choice",
    [{"window": w} for w in ("hamming", (1.0,) * 16, [0.5, 1.0] * 8)] + [{"pad_mode": "reflect"}],
)
def test_transforms_round_trip(choice, tmp_path):
    stft = STFT(16, 4, **choice)
    UnfoldedSeparator(gru(), None, stft, 8000).save_pretrained(tmp_path)
    assert UnfoldedSeparator.from_pretrained(tmp_path).stft == stft


def test_files_that_do_not_fit(tmp_path):
    def load():
        return UnfoldedSeparator.from_pretrained(tmp_path)

    def edit(**change):
        (tmp_path / "config.json").write_text(json.dumps(config | change))

    with pytest.raises(ValueError, match=r"config\.json' does not exist"):
        load()
    separator("mix-incons", 2).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    cases = [
        ({"inversion": config["inversion"] | {"n_layers": 3}}, "another architecture: .* missing"),
        ({"inversion": None}, "another architecture: .* unknown, such as inversion"),
        (
            {"magnitude_network": config["magnitude_network"] | {"hidden": 9}},
            r"another architecture: .* is \(.*\) in place of",
        ),
        ({"magnitude_network": {"type": "unet"}}, "magnitude network 'unet' is not one of"),
        ({"inversion": config["inversion"] | {"algorithm": "mis"}}, "unknown algorithm 'mis'"),
        ({"stft": config["stft"] | {"hop": 3}}, "no configuration of a separator: .*'hop'"),
        ({"format": 3}, "format 3 is not 1 or 2"),
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


def test_what_cannot_be_saved(tmp_path):
    class Own(ExternalMagnitudes):
        pass

    with pytest.raises(ValueError, match="network Own cannot be saved"):
        UnfoldedSeparator(Own(2), None, STFT16, 8000).save_pretrained(tmp_path / "x")

    def step(S, p):
        return p.mix(p.mag(S))

    with pytest.raises(ValueError, match="'step' is not registered"):
        separator(step).save_pretrained(tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_arguments():
    inversion = UnfoldedInversion("misi", 1, stft=STFT16, n_sources=2)
    cases = [
        (lambda: UnfoldedSeparator(gru(3), inversion, STFT16, 8000), "has 3 sources, but the inv"),
        (lambda: UnfoldedSeparator(gru(), inversion, STFT(16, 2), 8000), "is not that of the inv"),
        (lambda: UnfoldedSeparator(gru(), None, STFT(32), 8000), "n_fft=32 is not that .*, 16"),
        (lambda: UnfoldedSeparator(gru(), None, STFT16, 16000), "sample_rate=16000 is not that"),
        (lambda: UnfoldedSeparator(gru(), None, STFT16, 0), "sample_rate=0 must be positive"),
        (
            lambda: UnfoldedSeparator(gru(), None, STFT16, 8000, targets=["a", "a"]),
            r"targets=\['a', 'a'\] must be 2 different names",
        ),
        (lambda: separator()(torch.randn(3, 40)), r"mixture of shape \(3, 40\) must be"),
        (lambda: separator()(torch.zeros(1, 1, 0)), "not empty"),
        (lambda: separator()(torch.zeros(1, 1, 9).half()), "dtype torch.float16; allowed"),
        (lambda: separator()(torch.full((1, 1, 9), torch.nan)), "NaN or infinite"),
        (
            lambda: separator()(torch.zeros(1, 1, 9), torch.zeros(1, 2, 1, 9, 2)),
            r"magnitudes of shape \(1, 2, 1, 9, 2\) must be .* \(1, 2, 1, 9, 3\)",
        ),
    ]
    for call, message in cases:
        with pytest.raises(ValueError, match=message):
            call()


def test_public_names_are_lazy():
    assert set(unfolded.__all__) <= set(dir(unfolded))
    assert all(hasattr(unfolded, name) for name in unfolded.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Unfolded'"):
        _ = unfolded.Unfolded
    code = "import sys, unfolded; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
