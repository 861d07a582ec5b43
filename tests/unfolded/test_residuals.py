"""Corrections of spectrograms in layers: nothing at first, and the symmetries of the problem."""

import json

import pytest
import torch
from torch import nn

import phaserec
from phaserec import STFT, projectors
from phaserec.algorithms import ALGORITHMS
from unfolded import Described, Separator
from unfolded.layers import GatedResidual, UnfoldedInversion
from unfolded.nn.equivariant import TwistedConv

F64 = {"dtype": torch.float64}
# Those of other packages, which entry points add, have tests of their own.
NAMES = [name for name, e in ALGORITHMS.items() if e.step.__module__.startswith("phaserec.")]


def gated(stft, mixing=True, seed=0, **options):
    """A small network that does something."""
    torch.manual_seed(seed)
    net = GatedResidual(stft, 3, 4, 2, mixing=mixing, **options).double()
    nn.init.normal_(net.outlet.weight, std=0.3)
    return net


def complex_noise(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.complex128, generator=generator)


class Seen(nn.Module):
    """Remembers what it was shown, and gives what it is told."""

    def __init__(self, gives=0.0):
        super().__init__()
        self.gives, self.calls = gives, []

    def forward(self, S, mag, cons, error, V):
        self.calls.append((S, mag, cons, error, V))
        return self.gives * mag


@pytest.mark.parametrize("name", NAMES)
def test_untrained_network_is_the_algorithm(name, small_stft, small_problem):
    V, x = small_problem
    residual = GatedResidual(small_stft, 2, 2, 1, mixing=True).double()
    net = UnfoldedInversion(name, 3, stft=small_stft, residual=residual, **F64)
    expected = phaserec.invert(V, x, stft=small_stft, algorithm=name, n_iter=3)
    torch.testing.assert_close(net(V, x).detach(), expected, rtol=1e-11, atol=1e-12)


def test_what_a_residual_sees(small_stft, small_problem):
    V, x = small_problem
    seen = Seen()
    problem = phaserec.Problem(V, x, stft=small_stft)
    UnfoldedInversion("misi", 2, stft=small_stft, residual=seen, **F64).spectrogram(V, x)
    S, mag, cons, error, target = seen.calls[1]
    torch.testing.assert_close(S, problem.mix(problem.mag(problem.cons(seen.calls[0][0]))))
    torch.testing.assert_close(mag, problem.mag(S))
    torch.testing.assert_close(cons, problem.cons(mag))
    torch.testing.assert_close(error, problem.X - cons.sum(-3))
    assert target is problem.magnitudes


def test_what_it_gives_is_subtracted(small_stft, small_problem):
    V, x = small_problem
    half = UnfoldedInversion("griffin-lim", 1, stft=small_stft, residual=Seen(0.5), **F64)
    problem = phaserec.Problem(V, x, stft=small_stft)
    mag = problem.mag(problem.start("mixture"))
    expected = problem.cons(mag) - 0.5 * mag
    torch.testing.assert_close(half.spectrogram(V, x, "mixture").detach(), expected)


def test_memory_goes_on_behind_it(small_stft, small_problem):
    V, x = small_problem
    options = {"stft": small_stft, **F64}
    net = UnfoldedInversion("fast-griffin-lim", 4, residual=Seen(), **options)
    torch.testing.assert_close(
        net.spectrogram(V, x), UnfoldedInversion("fast-griffin-lim", 4, **options).spectrogram(V, x)
    )


def test_a_projection_of_the_iteration_is_not_made_twice(small_stft, small_problem, monkeypatch):
    V, x = small_problem
    made = []

    def counted(*args, **kwargs):
        made.append(1)
        return original(*args, **kwargs)

    original = projectors.consistency
    monkeypatch.setattr(projectors, "consistency", counted)
    net = UnfoldedInversion("griffin-lim", 3, stft=small_stft, residual=Seen(), **F64)
    net.spectrogram(V, x, "mixture")
    assert len(made) == 3


@pytest.mark.parametrize("hop", [32, 64, 16])
def test_rotation_gain_and_order(hop):
    stft = STFT(128, hop)
    net = gated(stft)
    S, mag, cons = (complex_noise(3, stft.n_bins, 9, seed=k) for k in range(3))
    error, V = complex_noise(stft.n_bins, 9, seed=4), mag.abs()
    out = net(S, mag, cons, error, V)
    turn = torch.polar(torch.tensor(2.0).double(), torch.tensor(0.7).double())
    turned = net(*(turn * each for each in (S, mag, cons, error)), 2 * V)
    torch.testing.assert_close(turned, turn * out, rtol=1e-9, atol=1e-9)
    order = [2, 0, 1]
    torch.testing.assert_close(net(S[order], mag[order], cons[order], error, V[order]), out[order])


@pytest.mark.parametrize("hop", [32, 64, 20])
def test_delays_and_shifts_in_frequency(hop):
    stft = STFT(128, hop)
    net = gated(stft, mixing=False)
    zero, empty = torch.zeros(1, 1, 30), torch.zeros(1, stft.n_bins, 1)
    C, S = (nn.functional.pad(complex_noise(1, 45, 20, seed=k), (5, 5, 10, 10)) for k in (0, 1))
    out = net(S, C, 2 * C, None, C.abs() + 1)
    late = [torch.cat([empty, each[..., :-1]], -1) for each in (S, C)]
    moved = net(late[0], late[1], 2 * late[1], None, late[1].abs() + 1)
    torch.testing.assert_close(moved[..., 13:17], out[..., 12:16])
    turn = torch.exp(2j * torch.pi * hop / 128 * torch.arange(30).double())
    higher = [torch.cat([zero, each[:, :-1]], 1) * turn for each in (S, C)]
    moved = net(higher[0], higher[1], 2 * higher[1], None, higher[1].abs() + 1)
    torch.testing.assert_close(moved[:, 25:40], out[:, 24:39] * turn)


@pytest.mark.parametrize("name", ["griffin-lim", "misi"])
def test_a_ragged_batch_is_its_items(name, small_stft):
    net = UnfoldedInversion(name, 2, stft=small_stft, residual=gated(small_stft), **F64)
    sources = complex_noise(2, 2, 1500).real
    lengths = [1500, 1000]
    sources[1, :, 1000:] = 0
    V = small_stft(sources, lengths=lengths).abs()
    mixed = sources.sum(1)
    y = net(V, mixed, "mixture", lengths=lengths)
    for k, n in enumerate(lengths):
        alone = sources[k, :, :n]
        expected = net(small_stft(alone).abs(), alone.sum(0), "mixture")
        torch.testing.assert_close(y[k, :, :n], expected, rtol=1e-8, atol=1e-9)


def test_long_signals_are_filtered_by_stretches():
    stft = STFT(16, 8)
    net = gated(stft, mixing=False)
    C = complex_noise(2, stft.n_bins, 1100)
    whole = net(C, 2 * C, C, None, C.abs())
    with torch.no_grad():
        torch.testing.assert_close(net(C, 2 * C, C, None, C.abs()), whole.detach())


def test_any_number_of_sources(small_stft):
    net = UnfoldedInversion("misi", 2, stft=small_stft, residual=gated(small_stft), **F64)
    for n_sources in (1, 2, 3):
        sources = complex_noise(n_sources, 900).real
        y = net(small_stft(sources).abs(), sources.sum(0))
        assert y.shape == sources.shape
        assert y.isfinite().all()


def test_gradients(small_stft):
    stft = STFT(16, 8)
    net = gated(stft)
    inputs = [complex_noise(2, stft.n_bins, 3, seed=k).requires_grad_() for k in range(3)]
    error = complex_noise(stft.n_bins, 3, seed=5).requires_grad_()
    V = complex_noise(2, stft.n_bins, 3, seed=6).abs().requires_grad_()
    assert torch.autograd.gradcheck(net, (*inputs, error, V))


def test_gradients_through_layers():
    stft = STFT(16, 8)
    net = UnfoldedInversion("misi", 2, stft=stft, residual=gated(stft), trainable={}, **F64)
    sources = complex_noise(2, 40).real
    V, x = stft(sources).abs().requires_grad_(), sources.sum(0).requires_grad_()
    assert torch.autograd.gradcheck(lambda V, x: net(V, x), (V, x), atol=1e-4)


@pytest.mark.parametrize("hop", [3, 4])
def test_twisted_convolution_by_its_definition(hop):
    torch.manual_seed(0)
    stft = STFT(8, hop)
    conv = TwistedConv(stft, 2, 3, (3, 5)).double()
    z = complex_noise(2, stft.n_bins, 6)
    got = conv(torch.cat([z.real, z.imag])[None]).detach()
    weight = torch.complex(*conv.weight.detach()).reshape(3, 5, 2, 3)
    expected = torch.zeros(3, stft.n_bins, 6, dtype=z.dtype)
    for k in range(stft.n_bins):
        for t in range(6):
            for e in (-1, 0, 1):
                for d in range(-2, 3):
                    if 0 <= k + e < stft.n_bins and 0 <= t + d < 6:
                        angle = torch.tensor(-2j * torch.pi * (k + e) * hop * d / 8)
                        seen = z[:, k + e, t + d] * torch.exp(angle)
                        expected[:, k, t] += weight[:, d + 2, :, e + 1] @ seen
    torch.testing.assert_close(torch.complex(*got.chunk(2, 1))[0], expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("checkpoint", [False, True])
def test_every_layer(checkpoint, small_stft, small_problem):
    V, x = small_problem
    residual = gated(small_stft)
    net = UnfoldedInversion(
        "misi", 3, stft=small_stft, residual=residual, checkpoint=checkpoint, **F64
    )
    each = net.trajectory(V, x)
    assert len(each) == 3
    for k, S in enumerate(each):
        torch.testing.assert_close(S, net.first(k + 1).spectrogram(V, x))
    torch.testing.assert_close(net.inverse(each[-1], length=x.shape[-1]), net(V, x))


def test_saved_and_read(tmp_path, small_stft, small_problem):
    V, x = small_problem
    kinds = [GatedResidual(small_stft, 2, 2, 1, mixing=True, kernel=(3, 3)) for _ in range(2)]
    for kind in kinds:
        nn.init.normal_(kind.outlet.weight)
    for residual in (kinds[0], kinds):
        layers = UnfoldedInversion("misi", 2, stft=small_stft, residual=residual)
        separator = Separator(None, layers, sample_rate=8000)
        separator.save_pretrained(tmp_path)
        again = Separator.from_pretrained(tmp_path)
        json.dumps(again.config)
        torch.testing.assert_close(again.inversion(V, x), layers(V, x), rtol=1e-6, atol=1e-7)
    with pytest.raises(ValueError, match="residual has 1 modules for n_layers=2"):
        UnfoldedInversion("misi", 2, stft=small_stft, residual=kinds[:1])


def test_own_class(tmp_path, small_stft, small_problem):
    class Shrink(Described):
        def __init__(self, amount: float = 0.1):
            super().__init__()
            self.amount = nn.Parameter(torch.tensor(amount))

        def forward(self, S, mag, cons, error, V):
            return self.amount * (cons - mag)

    V, x = small_problem
    layers = UnfoldedInversion("griffin-lim", 2, stft=small_stft, residual=Shrink(), trainable={})
    layers(V.float(), x.float(), "mixture").square().sum().backward()
    assert layers.residual.amount.grad.abs() > 0
    assert list(layers.parameter_groups()["correction"]) == [layers.residual.amount]
