"""Estimators: Open-Unmix and its checkpoints, the causal GRU, oracles and masks."""

import json
import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from phaserec import STFT
from unfolded.estimators import (
    ESTIMATORS,
    MASKS,
    GRUMasks,
    OpenUnmix,
    estimator,
    get_mask,
    oracle_magnitudes,
)
from unfolded.estimators.open_unmix import max_bin_of
from unfolded.nn.bands import mel_bands
from unfolded.nn.modules import describe, rebuild

# What torch.save of the official module holds, per target.
OFFICIAL = {
    *("input_mean", "input_scale", "output_scale", "output_mean"),
    *("fc1.weight", "fc2.weight", "fc3.weight"),
    *(
        f"bn{n}.{key}"
        for n in (1, 2, 3)
        for key in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    ),
    *(
        f"lstm.{kind}_{gate}_l{layer}{direction}"
        for kind in ("weight", "bias")
        for gate in ("ih", "hh")
        for layer in range(2)
        for direction in ("", "_reverse")
    ),
}
SMALL = {"stft": STFT(16), "hidden": 6, "n_layers": 2, "bandwidth": 5000}


def open_unmix(targets=("speech", "noise"), **options):
    """A network with every weight and statistic away from its start."""
    network = OpenUnmix(list(targets), **(SMALL | options)).eval()
    with torch.no_grad():
        for tensor in network.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(torch.rand_like(tensor) - 0.3 * (tensor.ndim > 1))
    return network


def literal_open_unmix(state, X, unidirectional):
    """Open-Unmix of one item ``(channel, F, T)`` in numpy, gate by gate."""
    w = {key: value.double().numpy() for key, value in state.items()}
    channels, n_bins, n_frames = X.shape
    max_bin = len(w["input_mean"])

    def norm(x, name):
        x = (x - w[f"{name}.running_mean"]) / np.sqrt(w[f"{name}.running_var"] + 1e-5)
        return x * w[f"{name}.weight"] + w[f"{name}.bias"]

    def sigmoid(x):
        return 1 / (1 + np.exp(-x))

    def lstm(x, end):
        size = w[f"lstm.weight_hh_l{end}"].shape[1]
        h, c, out = np.zeros(size), np.zeros(size), []
        for frame in x:
            gates = w[f"lstm.weight_ih_l{end}"] @ frame + w[f"lstm.bias_ih_l{end}"]
            gates = gates + w[f"lstm.weight_hh_l{end}"] @ h + w[f"lstm.bias_hh_l{end}"]
            i, f, g, o = np.split(gates, 4)
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            h = sigmoid(o) * np.tanh(c)
            out.append(h)
        return np.array(out)

    x = (X[:, :max_bin] + w["input_mean"][:, None]) * w["input_scale"][:, None]
    x = np.array([x[..., t].ravel() for t in range(n_frames)])
    skip = x = np.tanh(norm(x @ w["fc1.weight"].T, "bn1"))
    for layer in range(2):
        forward = lstm(x, layer)
        x = (
            forward
            if unidirectional
            else np.hstack([forward, lstm(x[::-1], f"{layer}_reverse")[::-1]])
        )
    x = norm(np.hstack([skip, x]) @ w["fc2.weight"].T, "bn2")
    x = norm(np.maximum(x, 0) @ w["fc3.weight"].T, "bn3")
    x = x.reshape(n_frames, channels, n_bins) * w["output_scale"] + w["output_mean"]
    return np.maximum(x, 0).transpose(1, 2, 0) * X


@pytest.mark.parametrize("unidirectional", [False, True])
@pytest.mark.parametrize("channels", [1, 2])
def test_open_unmix_is_the_published_network(channels, unidirectional):
    network = open_unmix(n_channels=channels, unidirectional=unidirectional).double()
    S = torch.randn(3, channels, 9, 7, dtype=torch.complex128)
    V = network(S.real, S)
    assert V.shape == (3, 2, channels, 9, 7)
    assert bool((V >= 0).all())
    for j, target in enumerate(network.target_models.values()):
        for b in range(3):
            expected = literal_open_unmix(target.state_dict(), S[b].abs().numpy(), unidirectional)
            np.testing.assert_allclose(V[b, j].detach().numpy(), expected, rtol=1e-10, atol=1e-12)


def test_open_unmix_parameter_names_and_size():
    network = open_unmix()
    assert set(network.target_models["speech"].state_dict()) == OFFICIAL
    full = OpenUnmix(["speech"], stft=STFT(1024))  # umxse
    assert sum(p.numel() for p in full.parameters()) == pytest.approx(1.58e6, rel=0.01)


def test_bandwidth():
    assert max_bin_of(16000, n_fft=4096, sample_rate=44100) == 1487
    assert max_bin_of(16000, n_fft=1024, sample_rate=16000) == 513
    assert max_bin_of(0, n_fft=16, sample_rate=16000) == 1
    network = open_unmix()
    S = torch.randn(1, 1, 9, 4, dtype=torch.complex64)
    low = S.clone()
    low[..., 6:, :] = 0  # above 5 kHz
    torch.testing.assert_close(network(S.real, S)[..., :6, :], network(low.real, low)[..., :6, :])


def formats(network):
    """The same weights as they have been published, under the name of each format."""
    states = {name: t.state_dict() for name, t in network.target_models.items()}
    extras = {"stft.window": torch.ones(16), "transform.0.window": torch.ones(16)}
    extras |= {"sample_rate": torch.tensor(16000.0)}
    counted = {
        name: {k: v for k, v in state.items() if "num_batches" not in k}
        for name, state in states.items()
    }
    return {
        "new": states,
        "old": {name: state | extras for name, state in counted.items()},
        "training": {name: {"epoch": 3, "state_dict": state} for name, state in states.items()},
        "parallel": {
            name: {f"module.{k}": v for k, v in state.items()} for name, state in states.items()
        },
        "separator": {
            f"target_models.{name}.{key}": value
            for name, state in states.items()
            for key, value in state.items()
        }
        | extras,
    }


@pytest.mark.parametrize("unidirectional", [False, True])
@pytest.mark.parametrize("name", ["new", "old", "training", "parallel", "separator"])
def test_published_formats(name, unidirectional, tmp_path):
    network = open_unmix(n_channels=2, unidirectional=unidirectional)
    states = formats(network)[name]
    if name == "separator":
        torch.save(states, tmp_path / "all.pth")
        source = tmp_path / "all.pth"
    else:
        source = {}
        for target, state in states.items():
            source[target] = tmp_path / f"{target}-b62c91ce.pth"
            torch.save(state, source[target])
    loaded = OpenUnmix.from_published(source)
    assert loaded.arguments | {"bandwidth": 5000, "targets": network.targets} == network.arguments
    S = torch.randn(1, 2, 9, 5, dtype=torch.complex64)
    torch.testing.assert_close(loaded(S.real, S), network(S.real, S), rtol=0, atol=0)


def test_published_as_safetensors_and_as_state_dicts(tmp_path):
    network = open_unmix()
    states = formats(network)["new"]
    save_file(states["noise"], tmp_path / "noise.safetensors")
    mixed = {"speech": states["speech"], "noise": tmp_path / "noise.safetensors"}
    S = torch.randn(1, 1, 9, 5, dtype=torch.complex64)
    expected = network(S.real, S)
    torch.testing.assert_close(OpenUnmix.from_published(mixed)(S.real, S), expected)
    one = {"noise": formats(network)["separator"]}
    torch.testing.assert_close(OpenUnmix.from_published(one)(S.real, S), expected[:, 1:])


class Harmful:
    def __reduce__(self):
        return (exec, ("raise SystemExit('code from a checkpoint was run')",))


def test_a_disguised_pickle_is_refused(tmp_path):
    path = tmp_path / "speech.pth"
    torch.save({"fc1.weight": Harmful()}, path)
    with pytest.raises(
        ValueError, match=r"speech\.pth' is damaged or holds more than weights"
    ) as e:
        OpenUnmix.from_published({"speech": path})
    assert "\n" not in str(e.value)
    path.write_bytes(pickle.dumps(Harmful(), 2))
    with pytest.raises(ValueError, match="is damaged or holds more than weights"):
        OpenUnmix.from_published(path)
    disguised = tmp_path / "speech.safetensors"
    disguised.write_bytes(pickle.dumps(Harmful(), 2))
    with pytest.raises(ValueError, match="is no safetensors file"):
        OpenUnmix.from_published(disguised)


def test_other_checkpoints_are_refused(tmp_path):
    state = formats(open_unmix())["new"]["speech"]
    torch.save([1, 2], tmp_path / "list.pth")
    cases = [
        (tmp_path / "none.pth", "does not exist"),
        (tmp_path / "list.pth", "is not a dictionary of tensors"),
        ({"a": state | {"conv.weight": torch.ones(1)}}, "'a' is not Open-Unmix.*'conv.weight'"),
        ({"a": {"fc1.weight": state["fc1.weight"]}}, "'a' is not Open-Unmix: no 'input_mean'"),
        ({"a": {"stft.window": torch.ones(4)}}, "holds no weights of Open-Unmix"),
        (
            {"a": {k: v for k, v in state.items() if k != "bn1.bias"}},
            r"another architecture: 1 tensors missing, such as bn1\.bias",
        ),
        (
            {"a": state | {"bn2.bias": torch.ones(3)}},
            r"bn2\.bias is \(3,\) in place of \(6,\)",
        ),
        ({"a": formats(open_unmix())["separator"]}, "holds the targets speech, noise"),
        (
            {"a": state, "b": formats(open_unmix(hidden=8))["new"]["speech"]},
            "a, b are networks of different sizes",
        ),
        ({}, "must name at least one target"),
    ]
    for source, message in cases:
        with pytest.raises(ValueError, match=message):
            OpenUnmix.from_published(source)


def test_open_unmix_arguments():
    cases = [
        ({"targets": []}, r"targets=\[\] must be different names"),
        ({"targets": ["a", "a"]}, "must be different names"),
        ({"targets": ["a.b"]}, "must be different names without dots"),
        ({"hidden": 5}, "hidden=5 must be even"),
        ({"bandwidth": -1}, "bandwidth=-1 must be 0 Hz or more"),
        ({"sample_rate": 0}, "sample_rate=0 positive"),
        ({"n_layers": 0}, "n_layers=0 must be an integer"),
    ]
    for change, message in cases:
        with pytest.raises(ValueError, match=message):
            OpenUnmix(**({"targets": ["a"]} | SMALL | change))
    S = torch.randn(1, 2, 9, 4, dtype=torch.complex64)
    with pytest.raises(ValueError, match=r"\(channel, F\) = \(2, 9\).* takes \(1, 9\)"):
        open_unmix()(S.real, S)


def gru(**options):
    return GRUMasks(
        2, **({"stft": STFT(32), "sample_rate": 8000, "n_bands": 8, "hidden": 12} | options)
    )


@pytest.mark.parametrize("mask", list(MASKS))
def test_gru_masks(mask):
    network = gru(mask=mask)
    S = torch.randn(3, 2, 17, 6, dtype=torch.complex64, requires_grad=True)
    V = network(S.real, S)
    assert V.shape == (3, 2, 2, 17, 6)
    assert bool((V >= 0).all())
    excess = V - network.mask.high * S.abs().unsqueeze(1)
    assert bool((excess <= 1e-6).all())
    V.sum().backward()
    assert all(bool(p.grad.isfinite().all()) for p in network.parameters())
    torch.testing.assert_close(network(S.real, S)[1:2], network(S.real[1:2], S[1:2]))


@pytest.mark.parametrize("norm", ["running", "frame"])
def test_gru_is_causal_and_without_batch_statistics(norm):
    network = gru(norm=norm).train()
    S = torch.randn(2, 1, 17, 9, dtype=torch.complex64)
    changed = S.clone()
    changed[0, ..., 5:] *= 100
    a, b = network(S.real, S), network(changed.real, changed)
    torch.testing.assert_close(a[..., :5], b[..., :5], rtol=0, atol=0)
    assert not torch.allclose(a[0, ..., 5], b[0, ..., 5])
    torch.testing.assert_close(a[1], b[1], rtol=0, atol=0)


def frames_of_two_levels(n_frames=40):
    """Noise ``(1, 1, F, T)``, and the same with the second half 30 dB quieter."""
    S = torch.randn(1, 1, 17, n_frames, dtype=torch.complex64)
    quieter = S.clone()
    quieter[..., n_frames // 2 :] *= 10**-1.5
    return S, quieter


def test_gru_hears_that_parts_are_quieter():
    S, quieter = frames_of_two_levels()

    def change(network):
        masks = [network(X.real, X) / X.abs().unsqueeze(1) for X in (S, quieter, 10 * S)]
        assert (masks[2] - masks[0]).abs().max() < 1e-3  # the level of a recording has no effect
        return (masks[1] - masks[0])[..., 20:].abs()

    assert change(gru()).mean() > 0.01
    assert change(gru(norm="frame")).max() < 1e-3


def test_gru_on_silence():
    network = gru()
    S = torch.zeros(1, 1, 17, 3, dtype=torch.complex64, requires_grad=True)
    V = network(S.real, S)
    assert bool((V == 0).all())
    V.sum().backward()
    assert bool(S.grad.isfinite().all())


def test_gru_precision_follows_the_input():
    S = torch.randn(1, 1, 17, 3, dtype=torch.complex128)
    assert gru()(S.real, S).dtype == torch.float64


def test_gru_arguments():
    for change, message in [
        ({"mask": "tanh"}, "mask='tanh' must be one of sigmoid, relu"),
        ({"norm": "layer"}, "norm='layer' must be running or frame"),
        ({"sample_rate": -1}, "sample_rate=-1 must be positive"),
        ({"n_bands": 1}, "n_bands=1 must be an integer, 2 or more"),
        ({"hidden": 0}, "hidden=0 must be"),
    ]:
        with pytest.raises(ValueError, match=message):
            gru(**change)
    S = torch.randn(1, 1, 9, 3, dtype=torch.complex64)
    with pytest.raises(ValueError, match="F=9 frequencies, but n_fft=32 gives 17"):
        gru()(S.real, S)


def test_mel_bands_cover_every_bin_once():
    W = mel_bands(8, 64, 8000)
    assert bool((W >= 0).all()) and bool((W.max(0) > 0).all())
    np.testing.assert_allclose(W.sum(1), 1)
    centres = (W * np.arange(33)).sum(1)
    assert bool((np.diff(centres) > 0).all())


@pytest.mark.parametrize("name", list(MASKS))
def test_mask_ranges(name):
    mask = get_mask(name.replace("-", "_").upper())
    logits = torch.linspace(-50, 50, 301, dtype=torch.float64).unsqueeze(-1)
    if mask.n_logits == 3:
        logits = torch.cat([-logits, torch.zeros_like(logits), logits], -1)
    values = mask(logits)
    assert values.shape == (301,)
    assert float(values.min()) == pytest.approx(0, abs=1e-12)
    assert float(values.max()) == pytest.approx(min(mask.high, 50))
    assert bool((values.diff() >= 0).all())


def test_mask_formulas():
    z = torch.randn(20, 3, dtype=torch.float64)
    e = z.exp()
    expected = (e[:, 1] + 2 * e[:, 2]) / e.sum(1)
    torch.testing.assert_close(get_mask("convex-softmax")(z), expected)
    one = z[:, :1]
    torch.testing.assert_close(get_mask("doubled-sigmoid")(one), 2 / (1 + (-one[:, 0]).exp()))
    torch.testing.assert_close(get_mask("clipped")(9 * one), (9 * one[:, 0]).relu().clamp(max=2))


def test_oracle_magnitudes():
    sources = torch.randn(2, 3, 1, 30)
    V = oracle_magnitudes(sources, STFT(16, 4))
    torch.testing.assert_close(V[1, 2, 0], STFT(16, 4)(sources[1, 2, 0]).abs())


@pytest.mark.parametrize("network", [gru(mask="relu", norm="frame"), open_unmix()])
def test_arguments_make_the_network_again(network):
    description = json.loads(json.dumps(describe(network, ESTIMATORS)))
    assert ESTIMATORS[description["class"]] is type(network)
    again = rebuild(description, ESTIMATORS, "estimator")
    again.load_state_dict(network.state_dict())
    assert again.arguments == network.arguments and again.stft == network.stft


def test_estimators_are_registered_by_name():
    try:

        @estimator("halves")
        class Halves(torch.nn.Module):
            """Half of everything."""

        assert ESTIMATORS.find("halves") is Halves
        assert describe(Halves(), ESTIMATORS) == {"class": "halves", "arguments": {}}
    finally:
        del ESTIMATORS["halves"]
    with pytest.raises(ValueError, match="estimator 'gru' exists already, in unfolded"):
        estimator("gru")(Halves)
