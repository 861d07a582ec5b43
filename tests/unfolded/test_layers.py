"""Unfolded inversion: equal to the algorithms at first, differentiable, and cheap in memory."""

import copy
import json
import math
import pickle
import weakref
from typing import Literal

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import phaserec
from phaserec import STFT, measures
from phaserec._padding import MODES
from phaserec.algorithms import ALGORITHMS, NonNegative
from unfolded.layers import MagnitudeRefinement, UnfoldedInversion
from unfolded.nn.bands import mel_bands
from unfolded.nn.windows import LearnedSTFT

# Those of other packages, which entry points add, have tests of their own.
NAMES = [name for name, e in ALGORITHMS.items() if e.step.__module__.startswith("phaserec.")]
REFINE = {"refine": True}
EXTRAS = {**REFINE, "learn_windows": True, "checkpoint": True}
F64 = {"dtype": torch.float64}


def unfold(
    algorithm,
    n_layers,
    *,
    stft,
    n_sources=2,
    tied=False,
    refine=False,
    trainable=None,
    learn_windows=False,
    checkpoint=False,
    dtype=None,
    **options,
):
    """A network in which everything is trained, of each source, unless something is declared."""
    layer = "" if tied else "layer"
    if trainable is None:
        plain = UnfoldedInversion(algorithm, n_layers, stft=stft, **options)
        trainable = dict.fromkeys(plain.axes, layer) | {"weights": f"{layer},source"}
    correction = None
    if refine:
        made = [
            MagnitudeRefinement(n_sources, stft.n_fft, 16000).to(dtype)
            for _ in range(1 if tied else n_layers)
        ]
        correction = made[0] if tied else made
    return UnfoldedInversion(
        algorithm,
        n_layers,
        stft=stft,
        n_sources=n_sources,
        trainable=trainable,
        correction=correction,
        learn_windows=learn_windows,
        checkpoint=checkpoint,
        dtype=dtype,
        **options,
    )


def trained(net):
    return {name: p for name, p in net.named_parameters() if p.requires_grad}


def perturb(net, size=0.1):
    """Move every parameter off its start."""
    with torch.no_grad():
        for p in net.parameters():
            p.add_(size * torch.randn_like(p))
    return net


@pytest.mark.parametrize("options", [{}, EXTRAS, {"tied": True}], ids=["plain", "extras", "tied"])
@pytest.mark.parametrize("name", NAMES)
def test_untrained_network_is_the_algorithm(name, options, small_stft, small_problem):
    V, x = small_problem
    net = unfold(name, 3, stft=small_stft, n_sources=2, **F64, **options)
    expected = phaserec.invert(V, x, stft=small_stft, algorithm=name, n_iter=3)
    torch.testing.assert_close(net(V, x).detach(), expected, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("name", ["misi", "mix-incons", "fast-griffin-lim"])
def test_momentum_starts_as_the_combinator(name, small_stft, small_problem):
    V, x = small_problem
    net = unfold(name, 3, stft=small_stft, n_sources=2, momentum=0.4, **F64)
    expected = phaserec.invert(V, x, stft=small_stft, algorithm=name, n_iter=3, momentum=0.4)
    torch.testing.assert_close(net(V, x).detach(), expected, rtol=1e-11, atol=1e-12)
    assert any("momentum" in key for key in trained(net))


@pytest.mark.parametrize("momentum", [None, 0.4])
def test_a_momentum_of_its_own_is_the_steps(momentum, small_stft, small_problem):
    # Range and default are those of the momentum that goes around an algorithm without one.
    def mine(S, p, momentum: NonNegative = 0.0):
        return p.mag(p.cons(S)) * (1 + momentum)

    V, x = small_problem
    net = unfold(mine, 3, stft=small_stft, n_sources=2, momentum=momentum, **F64)
    expected = phaserec.invert(
        V, x, stft=small_stft, algorithm=mine, n_iter=3, momentum=momentum or 0.0
    )
    torch.testing.assert_close(net(V, x).detach(), expected, rtol=1e-11, atol=1e-12)
    assert "momentum_" in net.layers[-1].hyper


def test_momentum_zero_is_trained(small_stft, small_problem):
    V, x = small_problem
    net = unfold("misi", 3, stft=small_stft, n_sources=2, momentum=0.0, **F64)
    expected = phaserec.invert(V, x, stft=small_stft, algorithm="misi", n_iter=3)
    y = net(V, x)
    torch.testing.assert_close(y.detach(), expected, rtol=1e-11, atol=1e-12)
    y.square().sum().backward()
    assert net.layers[1].hyper["momentum_"].raw.grad != 0


@pytest.mark.parametrize("name", NAMES)
def test_gradients_of_three_layers(name, small_stft, small_problem):
    V, x = small_problem
    net = unfold(name, 3, stft=small_stft, n_sources=2, **F64)
    parameters = trained(net)

    def run(V, x, *values):
        # A start that the gradient knows; the phases of a model are constants to it.
        given = dict(zip(parameters, values, strict=True))
        return torch.func.functional_call(net, given, (V, x, "mixture"))

    inputs = [V.requires_grad_(), x.requires_grad_(), *parameters.values()]
    assert torch.autograd.gradcheck(run, inputs, atol=1e-6, rtol=1e-4)


def test_gradients_with_everything_on(small_stft, small_problem):
    V, x = small_problem
    net = unfold(
        "mix-incons-hard-mag",
        3,
        stft=small_stft,
        n_sources=2,
        trainable={
            "sigma": "layer,frequency",
            "momentum": "layer",
            "weights": "layer,frequency,source",
        },
        momentum=0.3,
        **F64,
        **EXTRAS,
    )
    perturb(net, 0.02)
    parameters = trained(net)

    def run(*values):
        return torch.func.functional_call(net, dict(zip(parameters, values, strict=True)), (V, x))

    assert torch.autograd.gradcheck(run, list(parameters.values()), fast_mode=True, atol=1e-4)


@pytest.mark.parametrize("options", [{}, EXTRAS], ids=["plain", "extras"])
@pytest.mark.parametrize("name", NAMES)
def test_gradients_reach_every_parameter(name, options, small_stft, small_problem):
    V, x = small_problem
    net = perturb(unfold(name, 3, stft=small_stft, n_sources=2, **F64, **options))
    y = net(V, x)
    if trained(net):
        y.square().sum().backward()
    for key, p in trained(net).items():
        assert p.grad is not None, key
        assert bool(p.grad.isfinite().all()), key
        # The first iteration of an accelerated algorithm is a plain one.
        plain = key.startswith("layers.0.hyper") and "griffin-lim" in name
        # What β adds in RAAR's last step has no waveform: that of P_cons S is that of S.
        silent = key.startswith("layers.2.hyper") and name == "raar"
        assert plain or silent or bool((p.grad != 0).any()), key


def test_what_cannot_matter_is_not_trained(small_stft):
    def fixed(name, **options):
        net = unfold(name, 2, stft=small_stft, **options)
        return [key for key, p in net.named_parameters() if not p.requires_grad]

    assert fixed("misi") == []
    assert fixed("griffin-lim") == ["layers.0.weights.logits", "layers.1.weights.logits"]
    assert [key for key in fixed("aux") if "tau" not in key] == []
    assert len(fixed("aux")) == 2 and fixed("aux", magnitude="soft") == []
    assert len(fixed("bregmisi")) == 2 and fixed("bregmisi", beta=1.5) == []
    # Powers of shares do nothing to weights of one source, logits do nothing without mixing.
    assert fixed("misi", trainable={"weights": "frequency"}) == []
    assert fixed("griffin-lim", trainable={"weights": ""}) == ["shared.weights.logits"]


def test_nothing_is_trained_but_what_is_declared(small_stft):
    def parameters(trainable, **options):
        net = UnfoldedInversion("aux", 3, stft=small_stft, trainable=trainable, **options)
        return {name: tuple(p.shape) for name, p in net.named_parameters()}

    layers = [f"layers.{k}." for k in range(3)]
    assert parameters({}) == {}
    assert parameters({"sigma": "", "tau": False}) == {"shared.hyper.sigma_.raw": ()}
    assert parameters({"sigma": True}) == {f"{k}hyper.sigma_.raw": () for k in layers}
    assert parameters({"sigma": "layer,frequency"}) == {
        f"{k}hyper.sigma_.raw": (5, 1) for k in layers
    }
    assert parameters({"sigma": "source"}, n_sources=2) == {"shared.hyper.sigma_.raw": (2, 1, 1)}
    assert parameters({"weights": "frequency"}) == {"shared.weights.logits": (5, 1)}
    assert parameters({"weights": "frequency,source"}, n_sources=3) == {
        "shared.weights.logits": (3, 5, 1)
    }
    assert parameters({"momentum": "layer"}, momentum=0.2) == {
        f"{k}hyper.momentum_.raw": () for k in layers
    }


def test_values_for_each_layer(small_stft, small_problem):
    V, x = small_problem
    expected, sigma = phaserec.Problem(V, x, stft=small_stft), [0.1, 3.0, 0.0]
    S = expected.start()
    for value in sigma:
        S = ALGORITHMS["mix-incons"].step(S, expected, sigma=value)
    for trainable in ({}, {"sigma": "layer"}, {"sigma": "layer,frequency"}):
        net = UnfoldedInversion(
            "mix-incons", 3, stft=small_stft, sigma=sigma, trainable=trainable, **F64
        )
        torch.testing.assert_close(net.spectrogram(V, x).detach(), S)
        assert UnfoldedInversion.from_config(net.config, small_stft).config == net.config


@pytest.mark.parametrize("name", NAMES)
def test_sources_have_no_number_and_no_order(name, small_stft):
    net = UnfoldedInversion(name, 3, stft=small_stft, **F64)
    trainable = {**dict.fromkeys(net.axes, "layer,frequency"), "weights": "layer,frequency"}
    if name == "bregmisi":
        trainable["beta"] = "layer"  # the formula depends on whether it is 1
    net = UnfoldedInversion(name, 3, stft=small_stft, trainable=trainable, **F64)
    perturb(net, 0.05)
    for n_sources in (1, 2, 4):
        sources = torch.randn(n_sources, 13, dtype=torch.float64)
        V, x = small_stft(sources).abs() + 0.1, sources.sum(0)
        order = torch.randperm(n_sources)
        torch.testing.assert_close(net(V[order], x), net(V, x)[order])


@pytest.mark.parametrize("name", ["misi", "griffin-lim", "aux"])
def test_what_is_trained_does_not_depend_on_the_gradient_mode(name, small_stft):
    expected = trained(unfold(name, 2, stft=small_stft, n_sources=2)).keys()
    with torch.no_grad():
        net = unfold(name, 2, stft=small_stft, n_sources=2)
    assert trained(net).keys() == expected


@pytest.mark.parametrize("options", [{}, EXTRAS], ids=["plain", "extras"])
@pytest.mark.parametrize("silent", ["magnitudes", "one source", "everything"])
@pytest.mark.parametrize("name", NAMES)
def test_silence_is_finite(name, silent, options, small_stft, small_problem):
    V, x = (a.float() for a in small_problem)
    V = V * 0 if silent != "one source" else V * torch.tensor([1.0, 0.0])[:, None, None]
    x = x * 0 if silent == "everything" else x
    V.requires_grad_(), x.requires_grad_()
    net = unfold(name, 3, stft=small_stft, n_sources=2, **options)
    y = net(V, x)
    if silent == "everything":
        assert bool((y == 0).all())
    y.square().sum().backward()
    for p in (V, x, *trained(net).values()):
        assert bool(p.grad.isfinite().all())


@pytest.mark.parametrize("start", [0.0, 1e-3, 0.3, 10.0])
def test_sigma_starts_exactly_and_moves_both_ways(start, small_stft, small_problem):
    V, x = small_problem
    net = unfold("mix-incons", 2, stft=small_stft, n_sources=2, sigma=start)
    sigma = net.layers[0].hyper["sigma_"]
    assert float(sigma().detach()) == pytest.approx(start, rel=1e-6)
    net(V, x).square().sum().backward()
    assert sigma.raw.grad != 0
    for step in (-3.0, -0.5, 0.5, 3.0):
        with torch.no_grad():
            sigma.raw.fill_(step)
        assert float(sigma().detach()) >= 0


def test_ranges_with_two_ends_hold():
    def relaxed(S, p, rho: "NonNegative" = 0.5):
        return (1 - rho) * S + rho * p.mag(p.cons(S))

    net = unfold(relaxed, 2, stft=STFT(8, 2), n_sources=1)
    value = net.layers[0].hyper["rho_"]
    value.high = 1.0
    with torch.no_grad():
        value.raw.fill_(7.0)
    assert float(value().detach()) == 1.0
    with pytest.raises(ValueError, match=r"'relaxed' is not registered"):
        _ = net.config


def test_powers_of_shares(small_stft, small_problem):
    V, x = small_problem
    net = UnfoldedInversion("misi", 1, stft=small_stft, trainable={"weights": "frequency"}, **F64)
    power = torch.rand(5, 1, dtype=torch.float64)
    with torch.no_grad():
        net.shared.weights.logits.copy_(power)
    W = V**power / (V**power).sum(0)
    problem = phaserec.Problem(V, x, stft=small_stft)
    expected = problem.mix(problem.mag(problem.cons(problem.start())), W)
    torch.testing.assert_close(net.spectrogram(V, x).detach(), expected)


@pytest.mark.parametrize("name", ["misi", "mix-incons", "mag-incons-hard-mix"])
def test_logits_are_a_softmax_on_the_own_weights(name, small_stft, small_problem):
    V, x = small_problem
    net = unfold(name, 1, stft=small_stft, n_sources=2, **F64)
    logits = torch.tensor([0.8, -0.4], dtype=torch.float64)[:, None, None]
    with torch.no_grad():
        net.layers[0].weights.logits.copy_(logits)
    problem = phaserec.Problem(V, x, stft=small_stft)
    own = problem.mixing_weights if name == "mix-incons" else torch.full_like(V, 0.5)
    W = torch.softmax(own.log() + logits, 0)
    S = problem.start()
    if name == "misi":
        expected = problem.mix(problem.mag(problem.cons(S)), W)
    elif name == "mix-incons":
        expected = (problem.mix(S, W) + 10 * W * problem.cons(S)) / (1 + 10 * W)
    else:
        expected = problem.mix((problem.mag(S) + problem.cons(S)) / 2, W)
    torch.testing.assert_close(net.spectrogram(V, x).detach(), expected)


def test_last_projector_mixing_sums_to_the_mixture(small_stft, small_problem):
    V, x = small_problem
    net = perturb(unfold("misi", 3, stft=small_stft, n_sources=2, **F64, **EXTRAS))
    torch.testing.assert_close(net(V, x).sum(0), x)


def test_tied_layers_share_parameters(small_stft):
    tied = unfold("mix-incons", 5, stft=small_stft, n_sources=2, tied=True)
    free = unfold("mix-incons", 5, stft=small_stft, n_sources=2)
    assert len(list(free.parameters())) == 5 * len(list(tied.parameters()))


@pytest.mark.parametrize("tied", [False, True])
def test_the_first_layers_alone(tied, small_stft, small_problem):
    V, x = small_problem
    options = {"stft": small_stft, "n_sources": 2, "tied": tied, **F64}
    net = perturb(unfold("mix-incons", 3, **options))
    first = net.first(2)
    assert (net.n_layers, first.n_layers, first.config["n_layers"]) == (3, 2, 2)
    assert {id(p) for p in first.parameters()} <= {id(p) for p in net.parameters()}
    other = unfold("mix-incons", 2, **options)
    other.load_state_dict(first.state_dict())
    torch.testing.assert_close(first(V, x), other(V, x), rtol=0, atol=0)
    assert not torch.allclose(net(V, x), first(V, x))
    with pytest.raises(ValueError, match="n_layers=4 must be"):
        net.first(4)


def test_batch_equals_items(small_stft):
    sources = torch.randn(2, 3, 2, 11, dtype=torch.float64)
    V, x = small_stft(sources).abs(), sources.sum(-2)
    net = perturb(unfold("aux", 2, stft=small_stft, n_sources=2, **F64, **EXTRAS))
    y = net(V, x)
    assert y.shape == sources.shape
    torch.testing.assert_close(y[1, 2], net(V[1, 2], x[1, 2]))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("options", [{}, EXTRAS], ids=["plain", "extras"])
def test_ragged_batch_equals_items(options, mode):
    small_stft = STFT(8, 2, pad_mode=mode)
    sources = torch.randn(2, 2, 15, dtype=torch.float64)
    sources[1, :, 10:] = 0
    V, x = small_stft(sources).abs(), sources.sum(-2)
    net = unfold("misi", 2, stft=small_stft, n_sources=2, **F64, **options)
    y = net(V, x, lengths=[15, 10])
    V1 = small_stft(sources[1, :, :10]).abs()
    V[1, :, :, : V1.shape[-1]] = V1
    y = net(V, x, lengths=[15, 10])
    torch.testing.assert_close(y[1, :, :10], net(V1, x[1, :10]))
    assert bool((y[1, :, 10:] == 0).all())


def test_without_a_mixture(small_stft, small_problem):
    V, _ = small_problem
    net = unfold("griffin-lim", 2, stft=small_stft, n_sources=2, **F64, **REFINE)
    expected = phaserec.invert(
        V, stft=small_stft, algorithm="griffin-lim", n_iter=2, rng=3, length=9
    )
    torch.testing.assert_close(net(V, rng=3, length=9).detach(), expected)
    net = unfold("misi", 2, stft=small_stft, n_sources=2)
    with pytest.raises(ValueError, match="needs a mixture"):
        net(V)


def test_refinement_is_bounded(small_stft, small_problem):
    V, x = small_problem
    net = unfold("misi-mix-first", 1, stft=small_stft, n_sources=2, **REFINE, **F64)
    for scale, factor in ((1e6, 8.0), (-1e6, 1 / 8)):
        with torch.no_grad():
            net.correction[0].outlet.bias.fill_(scale)
        torch.testing.assert_close(net.spectrogram(V, x).abs(), factor * V)


def test_corrections_are_any_modules(small_stft, small_problem):
    V, x = small_problem

    class Louder(torch.nn.Module):
        def __init__(self, gain):
            super().__init__()
            self.gain = torch.nn.Parameter(torch.tensor(float(gain)))

        def forward(self, V, S, total):
            assert V.shape == S.shape and total.shape == V.shape[-2:]
            return self.gain * V

    options = {"stft": small_stft, "trainable": {}, **F64}
    one = UnfoldedInversion("misi-mix-first", 2, correction=Louder(3), **options)
    torch.testing.assert_close(one.spectrogram(V, x).abs(), 3 * V)
    each = UnfoldedInversion("misi-mix-first", 2, correction=[Louder(3), Louder(5)], **options)
    torch.testing.assert_close(each.spectrogram(V, x).abs(), 5 * V)
    torch.testing.assert_close(each.first(1).spectrogram(V, x).abs(), 3 * V)
    assert {k: len(v) for k, v in each.parameter_groups().items()} == {
        "declared": 0,
        "correction": 2,
        "windows": 0,
    }
    with pytest.raises(ValueError, match="correction has 1 modules for n_layers=2"):
        UnfoldedInversion("misi", 2, correction=[Louder(3)], **options)


def test_bands_of_the_refinement_follow_the_sample_rate():
    for rate in (8000, 44100):
        bands = MagnitudeRefinement(2, 512, rate).bands
        torch.testing.assert_close(bands, torch.from_numpy(mel_bands(64, 512, rate)).float())


@pytest.mark.parametrize(
    "stft",
    [
        *(STFT(8, 2), STFT(9, 3), STFT(8, 2, center=False), STFT(8, 3, 6)),
        *(STFT(8, 3, pad_mode=mode) for mode in MODES[1:]),
    ],
)
@pytest.mark.parametrize("length", [8, 13, 22])
def test_learned_transform(stft, length):
    x = torch.randn(2, length, dtype=torch.float64)
    learned = LearnedSTFT(stft, dtype=torch.float64)
    S = stft(x) * torch.rand_like(stft(x).abs())
    torch.testing.assert_close(learned(x).detach(), stft(x))
    torch.testing.assert_close(
        learned.inverse(S, length=length).detach(), stft.inverse(S, length=length)
    )
    perturb(learned, 0.5)
    assert not torch.allclose(learned(x), stft(x))
    # Still a left inverse, on the samples that the transform sees.
    seen = stft.inverse(stft(torch.ones(length, dtype=torch.float64)), length=length) > 0.5
    torch.testing.assert_close(learned.inverse(learned(x), length=length), x * seen)


@pytest.mark.parametrize("mode", MODES)
def test_learned_transform_of_a_ragged_batch(mode):
    stft, lengths = STFT(8, 3, pad_mode=mode), [13, 2]
    x = torch.randn(2, 3, 13, dtype=torch.float64)
    learned = LearnedSTFT(stft, dtype=torch.float64)
    S = stft(x, lengths=lengths)
    torch.testing.assert_close(learned(x, lengths=lengths).detach(), S)
    perturb(learned, 0.5)
    back = learned.inverse(learned(x, lengths=lengths), length=13, lengths=lengths)
    torch.testing.assert_close(back, stft.restrict(x, lengths))


class PeakMemory(TorchDispatchMode):
    """Most bytes that live at once in storages that were made inside it."""

    def __init__(self):
        super().__init__()
        self.live = self.most = 0
        self.seen = weakref.WeakSet()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                if storage not in self.seen:
                    self.seen.add(storage)
                    self._count(storage.nbytes())
                    weakref.finalize(storage, self._count, -storage.nbytes())
        return out

    def _count(self, nbytes):
        self.live += nbytes
        self.most = max(self.most, self.live)


# The closed forms keep nothing of the layers before.
@pytest.mark.parametrize("momentum", [None, 0.5])
@pytest.mark.parametrize("name", [n for n in NAMES if n not in ("wiener", "anisotropic-wiener")])
def test_memory_with_checkpointing(name, momentum):
    stft = STFT(64, 16)
    sources = torch.randn(2, 1600)
    hyper = {} if momentum is None else {"momentum": momentum}

    def measure(n_layers, checkpoint):
        # As in training: the magnitudes come from a network.
        V, x = stft(sources).abs().requires_grad_(), sources.sum(0)
        net = unfold(name, n_layers, stft=stft, n_sources=2, checkpoint=checkpoint, **hyper)
        with PeakMemory() as peak:
            net(V, x).square().sum().backward()
        return peak.most

    ten = measure(10, True)
    assert ten <= 2 * measure(2, True)
    assert ten < 0.6 * measure(10, False)


@pytest.mark.parametrize("name", NAMES)
def test_checkpointing_changes_no_gradient(name, small_stft, small_problem):
    V, x = small_problem
    grads = []
    for checkpoint in (False, True):
        net = unfold(
            name, 5, stft=small_stft, n_sources=2, checkpoint=checkpoint, momentum=0.2, **F64
        )
        leaf = V.clone().requires_grad_()
        net(leaf, x).square().sum().backward()
        grads.append([leaf.grad, *(p.grad for p in trained(net).values())])
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b)


def test_a_few_steps_of_training_reduce_the_error(small_stft):
    sources = torch.randn(4, 2, 40)
    V, x = small_stft(sources).abs(), sources.sum(-2)
    net = unfold("mix-incons-hard-mag", 3, stft=small_stft, n_sources=2, **REFINE)
    optimizer = torch.optim.Adam(net.parameters(), 5e-4)
    errors = []
    for _ in range(10):
        error = (net(V, x) - sources).square().mean()
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
        errors.append(error.item())
    assert errors[-1] < errors[0] and math.isfinite(errors[-1])


def test_config_and_state_rebuild_the_network(small_stft, small_problem):
    V, x = small_problem
    net = unfold("aux", 2, stft=small_stft, n_sources=2, sigma=0.2, consistency="soft", **EXTRAS)
    perturb(net)
    assert json.loads(json.dumps(net.config)) == net.config
    other = UnfoldedInversion.from_config(net.config, small_stft)
    other.load_state_dict(net.state_dict())
    torch.testing.assert_close(other(V, x), net(V, x), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"algorithm": "mis"}, "unknown algorithm 'mis'; did you mean 'misi'"),
        ({"n_layers": 0}, "n_layers=0 must be an integer, 1 or more"),
        ({"n_sources": 0}, "n_sources=0 must be"),
        ({"sigma": -1.0}, "sigma=-1.0 must be a number ≥ 0"),
        ({"sigmo": 1.0}, "no hyper-parameter 'sigmo'.*did you mean 'sigma'"),
        ({"momentum": -0.5}, "momentum=-0.5 must be"),
        ({"momentum": [0.1]}, r"momentum=\[0.1\] has 1 values for n_layers=2"),
        ({"sigma": [1.0, -1.0]}, "sigma=-1.0 must be a number ≥ 0"),
        ({"trainable": {"sigmo": ""}}, "'sigmo' is not one of the algorithm; .* mean 'sigma'"),
        ({"trainable": {"sigma": "layers"}}, "sigma='layers' must be .* did you mean 'layer'"),
        ({"trainable": {"momentum": ""}}, "'momentum' is not one"),
        ({"trainable": ["sigma"]}, "must be a dict"),
        ({"trainable": {"weights": "source"}, "n_sources": None}, "needs n_sources"),
        ({"trainable": {"sigma": ""}, "sigma": [1.0, 2.0]}, "has not the axis layer"),
    ],
)
def test_arguments(change, message, small_stft):
    arguments = {"algorithm": "mix-incons", "n_layers": 2, "n_sources": 2} | change
    with pytest.raises(ValueError, match=message):
        UnfoldedInversion(**arguments, stft=small_stft)


@pytest.mark.parametrize("options", [{}, EXTRAS], ids=["plain", "extras"])
def test_step_functions_see_a_whole_problem(options, small_stft, small_problem):
    """A step may use anything of a problem, and memory and words of its own."""

    def restless(state, p, rho: float = 0.5, side: Literal["left", "right"] = "left"):
        S, count = state
        error = measures.mixing_error(S, p) + measures.inconsistency(S, p)
        again = p.stft(p.waveforms(S), lengths=p.lengths)
        S = p.mix(again + rho * p.mag(S) / (1 + error)) + 0 * p.mixture.sum()
        return (S if side == "left" else -S), (count or 0) + 1

    restless.memory = 1
    V, x = small_problem
    net = unfold(restless, 3, stft=small_stft, n_sources=2, side="right", **F64, **options)
    expected = phaserec.invert(V, x, stft=small_stft, algorithm=restless, n_iter=3, side="right")
    y = net(V, x)
    torch.testing.assert_close(y.detach(), expected)
    y.square().sum().backward()
    assert bool(net.layers[0].hyper["rho_"].raw.grad != 0)


def test_copies(small_stft, small_problem):
    V, x = small_problem
    net = unfold("misi", 2, stft=small_stft, n_sources=2, momentum=0.3, **EXTRAS)
    perturb(net)
    for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        torch.testing.assert_close(other(V, x), net(V, x), rtol=0, atol=0)


def test_wrong_number_of_sources(small_stft, small_problem):
    V, x = small_problem
    net = unfold("misi", 2, stft=small_stft, n_sources=3)
    with pytest.raises(ValueError, match=r"\(2, 5, 5\) must be .* n_sources = 3"):
        net(V, x)
