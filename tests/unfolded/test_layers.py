"""Unfolded inversion: equal to the algorithms at first, differentiable, and cheap in memory."""

import copy
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
from unfolded.layers import UnfoldedInversion
from unfolded.nn.bands import mel_bands
from unfolded.nn.windows import LearnedSTFT

NAMES = list(ALGORITHMS)
REFINE = {"refine": True, "sample_rate": 16000}
EXTRAS = {**REFINE, "learn_windows": True, "checkpoint": True}
F64 = {"dtype": torch.float64}


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
    net = UnfoldedInversion(name, 3, stft=small_stft, n_sources=2, **F64, **options)
    expected = phaserec.invert(V, x, stft=small_stft, algorithm=name, n_iter=3)
    torch.testing.assert_close(net(V, x).detach(), expected, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("name", ["misi", "mix-incons", "fast-griffin-lim"])
def test_momentum_starts_as_the_combinator(name, small_stft, small_problem):
    V, x = small_problem
    net = UnfoldedInversion(name, 3, stft=small_stft, n_sources=2, momentum=0.4, **F64)
    expected = phaserec.invert(V, x, stft=small_stft, algorithm=name, n_iter=3, momentum=0.4)
    torch.testing.assert_close(net(V, x).detach(), expected, rtol=1e-11, atol=1e-12)
    assert any("momentum" in key for key in trained(net))


@pytest.mark.parametrize("momentum", [None, 0.4])
def test_a_momentum_of_its_own_is_the_steps(momentum, small_stft, small_problem):
    # Range and default are those of the momentum that goes around an algorithm without one.
    def mine(S, p, momentum: NonNegative = 0.0):
        return p.mag(p.cons(S)) * (1 + momentum)

    V, x = small_problem
    net = UnfoldedInversion(mine, 3, stft=small_stft, n_sources=2, momentum=momentum, **F64)
    expected = phaserec.invert(
        V, x, stft=small_stft, algorithm=mine, n_iter=3, momentum=momentum or 0.0
    )
    torch.testing.assert_close(net(V, x).detach(), expected, rtol=1e-11, atol=1e-12)
    assert "momentum_" in net.layers[-1].hyper


def test_momentum_zero_is_trained(small_stft, small_problem):
    V, x = small_problem
    net = UnfoldedInversion("misi", 3, stft=small_stft, n_sources=2, momentum=0.0, **F64)
    expected = phaserec.invert(V, x, stft=small_stft, algorithm="misi", n_iter=3)
    y = net(V, x)
    torch.testing.assert_close(y.detach(), expected, rtol=1e-11, atol=1e-12)
    y.square().sum().backward()
    assert net.layers[1].hyper["momentum_"].raw.grad != 0


@pytest.mark.parametrize("name", NAMES)
def test_gradients_of_three_layers(name, small_stft, small_problem):
    V, x = small_problem
    net = UnfoldedInversion(name, 3, stft=small_stft, n_sources=2, **F64)
    parameters = trained(net)

    def run(V, x, *values):
        return torch.func.functional_call(net, dict(zip(parameters, values, strict=True)), (V, x))

    inputs = [V.requires_grad_(), x.requires_grad_(), *parameters.values()]
    # Algorithms on single spectrograms still take their start from the mixture.
    assert torch.autograd.gradcheck(run, inputs, atol=1e-6, rtol=1e-4)


def test_gradients_with_everything_on(small_stft, small_problem):
    V, x = small_problem
    net = UnfoldedInversion(
        "mix-incons-hard-mag",
        3,
        stft=small_stft,
        n_sources=2,
        sigma_per_frequency=True,
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
    net = perturb(UnfoldedInversion(name, 3, stft=small_stft, n_sources=2, **F64, **options))
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
        net = UnfoldedInversion(name, 2, stft=small_stft, n_sources=2, **options)
        return [key for key, p in net.named_parameters() if not p.requires_grad]

    assert fixed("misi") == []
    assert fixed("griffin-lim") == ["layers.0.logits", "layers.1.logits"]
    assert [key for key in fixed("aux") if "tau" not in key] == []
    assert len(fixed("aux")) == 2 and fixed("aux", magnitude="soft") == []
    assert len(fixed("bregmisi")) == 2 and fixed("bregmisi", beta=1.5) == []
    assert fixed("mix-incons", train_hyper=False) == [
        f"layers.{k}.hyper.sigma_.raw" for k in range(2)
    ]
    assert fixed("mix-incons", train_weights=False) == ["layers.0.logits", "layers.1.logits"]


@pytest.mark.parametrize("name", ["misi", "griffin-lim", "aux"])
def test_what_is_trained_does_not_depend_on_the_gradient_mode(name, small_stft):
    expected = trained(UnfoldedInversion(name, 2, stft=small_stft, n_sources=2)).keys()
    with torch.no_grad():
        net = UnfoldedInversion(name, 2, stft=small_stft, n_sources=2)
    assert trained(net).keys() == expected


@pytest.mark.parametrize("options", [{}, EXTRAS], ids=["plain", "extras"])
@pytest.mark.parametrize("silent", ["magnitudes", "one source", "everything"])
@pytest.mark.parametrize("name", NAMES)
def test_silence_is_finite(name, silent, options, small_stft, small_problem):
    V, x = (a.float() for a in small_problem)
    V = V * 0 if silent != "one source" else V * torch.tensor([1.0, 0.0])[:, None, None]
    x = x * 0 if silent == "everything" else x
    V.requires_grad_(), x.requires_grad_()
    net = UnfoldedInversion(name, 3, stft=small_stft, n_sources=2, **options)
    y = net(V, x)
    if silent == "everything":
        assert bool((y == 0).all())
    y.square().sum().backward()
    for p in (V, x, *trained(net).values()):
        assert bool(p.grad.isfinite().all())


@pytest.mark.parametrize("start", [0.0, 1e-3, 0.3, 10.0])
def test_sigma_starts_exactly_and_moves_both_ways(start, small_stft, small_problem):
    V, x = small_problem
    net = UnfoldedInversion("mix-incons", 2, stft=small_stft, n_sources=2, sigma=start)
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

    net = UnfoldedInversion(relaxed, 2, stft=STFT(8, 2), n_sources=1)
    value = net.layers[0].hyper["rho_"]
    value.high = 1.0
    with torch.no_grad():
        value.raw.fill_(7.0)
    assert float(value().detach()) == 1.0
    with pytest.raises(ValueError, match=r"'relaxed' is not registered"):
        _ = net.config


def test_sigma_per_frequency(small_stft, small_problem):
    V, x = small_problem
    options = {"stft": small_stft, "n_sources": 2, **F64}
    net = UnfoldedInversion("mix-incons", 2, sigma_per_frequency=True, sigma=0.7, **options)
    one = UnfoldedInversion("mix-incons", 2, sigma=0.7, **options)
    torch.testing.assert_close(net(V, x), one(V, x))
    assert net.layers[0].hyper["sigma_"].raw.shape == (small_stft.n_bins, 1)
    with pytest.raises(ValueError, match=r"sigma_per_frequency=True needs .* misi has none"):
        UnfoldedInversion("misi", 2, sigma_per_frequency=True, **options)


@pytest.mark.parametrize("name", ["misi", "mix-incons", "mag-incons-hard-mix"])
def test_logits_are_a_softmax_on_the_own_weights(name, small_stft, small_problem):
    V, x = small_problem
    net = UnfoldedInversion(name, 1, stft=small_stft, n_sources=2, **F64)
    logits = torch.tensor([0.8, -0.4], dtype=torch.float64)[:, None, None]
    with torch.no_grad():
        net.layers[0].logits.copy_(logits)
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
    net = perturb(UnfoldedInversion("misi", 3, stft=small_stft, n_sources=2, **F64, **EXTRAS))
    torch.testing.assert_close(net(V, x).sum(0), x)


def test_tied_layers_share_parameters(small_stft):
    tied = UnfoldedInversion("mix-incons", 5, stft=small_stft, n_sources=2, tied=True)
    free = UnfoldedInversion("mix-incons", 5, stft=small_stft, n_sources=2)
    assert len(list(free.parameters())) == 5 * len(list(tied.parameters()))


@pytest.mark.parametrize("tied", [False, True])
def test_the_first_layers_alone(tied, small_stft, small_problem):
    V, x = small_problem
    options = {"stft": small_stft, "n_sources": 2, "tied": tied, **F64}
    net = perturb(UnfoldedInversion("mix-incons", 3, **options))
    first = net.first(2)
    assert (net.n_layers, first.n_layers, first.config["n_layers"]) == (3, 2, 2)
    assert {id(p) for p in first.parameters()} <= {id(p) for p in net.parameters()}
    other = UnfoldedInversion("mix-incons", 2, **options)
    other.load_state_dict(first.state_dict())
    torch.testing.assert_close(first(V, x), other(V, x), rtol=0, atol=0)
    assert not torch.allclose(net(V, x), first(V, x))
    with pytest.raises(ValueError, match="n_layers=4 must be"):
        net.first(4)


def test_batch_equals_items(small_stft):
    sources = torch.randn(2, 3, 2, 11, dtype=torch.float64)
    V, x = small_stft(sources).abs(), sources.sum(-2)
    net = perturb(UnfoldedInversion("aux", 2, stft=small_stft, n_sources=2, **F64, **EXTRAS))
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
    net = UnfoldedInversion("misi", 2, stft=small_stft, n_sources=2, **F64, **options)
    y = net(V, x, lengths=[15, 10])
    V1 = small_stft(sources[1, :, :10]).abs()
    V[1, :, :, : V1.shape[-1]] = V1
    y = net(V, x, lengths=[15, 10])
    torch.testing.assert_close(y[1, :, :10], net(V1, x[1, :10]))
    assert bool((y[1, :, 10:] == 0).all())


def test_without_a_mixture(small_stft, small_problem):
    V, _ = small_problem
    net = UnfoldedInversion("griffin-lim", 2, stft=small_stft, n_sources=2, **F64, **REFINE)
    expected = phaserec.invert(
        V, stft=small_stft, algorithm="griffin-lim", n_iter=2, rng=3, length=9
    )
    torch.testing.assert_close(net(V, rng=3, length=9).detach(), expected)
    net = UnfoldedInversion("misi", 2, stft=small_stft, n_sources=2)
    with pytest.raises(ValueError, match="needs a mixture"):
        net(V)


def test_refinement_is_bounded(small_stft, small_problem):
    V, x = small_problem
    net = UnfoldedInversion("misi-mix-first", 1, stft=small_stft, n_sources=2, **REFINE, **F64)
    for scale, factor in ((1e6, 8.0), (-1e6, 1 / 8)):
        with torch.no_grad():
            net.layers[0].refinement.outlet.bias.fill_(scale)
        torch.testing.assert_close(net.spectrogram(V, x).abs(), factor * V)


@pytest.mark.parametrize("rate", [8000, 44100])
def test_bands_of_the_refinement_follow_the_sample_rate(rate):
    stft = STFT(512)
    net = UnfoldedInversion("misi", 1, stft=stft, n_sources=2, refine=True, sample_rate=rate)
    bands = net.layers[0].refinement.bands
    torch.testing.assert_close(bands, torch.from_numpy(mel_bands(64, 512, rate)).float())
    again = UnfoldedInversion(**net.config, stft=stft)
    torch.testing.assert_close(again.layers[0].refinement.bands, bands)


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


@pytest.mark.parametrize("momentum", [None, 0.5])
@pytest.mark.parametrize("name", NAMES)
def test_memory_with_checkpointing(name, momentum):
    stft = STFT(64, 16)
    sources = torch.randn(2, 1600)
    hyper = {} if momentum is None else {"momentum": momentum}

    def measure(n_layers, checkpoint):
        # As in training: the magnitudes come from a network.
        V, x = stft(sources).abs().requires_grad_(), sources.sum(0)
        net = UnfoldedInversion(
            name, n_layers, stft=stft, n_sources=2, checkpoint=checkpoint, **hyper
        )
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
        net = UnfoldedInversion(
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
    net = UnfoldedInversion("mix-incons-hard-mag", 3, stft=small_stft, n_sources=2, **REFINE)
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
    net = UnfoldedInversion(
        "aux", 2, stft=small_stft, n_sources=2, sigma=0.2, consistency="soft", **EXTRAS
    )
    perturb(net)
    other = UnfoldedInversion(**(net.config | {"sigma": 3.0}), stft=small_stft)
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
        ({"refine": True}, "refine=True .* needs a sample_rate"),
        ({"refine": True, "sample_rate": 0}, "sample_rate=0 must be positive"),
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
    net = UnfoldedInversion(
        restless, 3, stft=small_stft, n_sources=2, side="right", **F64, **options
    )
    expected = phaserec.invert(V, x, stft=small_stft, algorithm=restless, n_iter=3, side="right")
    y = net(V, x)
    torch.testing.assert_close(y.detach(), expected)
    y.square().sum().backward()
    assert bool(net.layers[0].hyper["rho_"].raw.grad != 0)


def test_copies(small_stft, small_problem):
    V, x = small_problem
    net = UnfoldedInversion("misi", 2, stft=small_stft, n_sources=2, momentum=0.3, **EXTRAS)
    perturb(net)
    for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        torch.testing.assert_close(other(V, x), net(V, x), rtol=0, atol=0)


def test_wrong_number_of_sources(small_stft, small_problem):
    V, x = small_problem
    net = UnfoldedInversion("misi", 2, stft=small_stft, n_sources=3)
    with pytest.raises(ValueError, match=r"\(2, 5, 5\) must be .* n_sources = 3"):
        net(V, x)
