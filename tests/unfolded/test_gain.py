"""Two magnitudes: those that layers are given, and how much of each bin is put out."""

import pytest
import torch
from torch import nn

from phaserec import STFT
from unfolded import Estimate, GRUMasks, Separator, UnfoldedInversion
from unfolded.losses import combine
from unfolded.training.objective import Objective

RNG = torch.Generator().manual_seed(0)
MIXTURE = torch.randn(2, 1, 600, generator=RNG)


class Halves(nn.Module):
    """Half of the mixture each, and so much of each bin."""

    def __init__(self, gain=None, phase=0.0):
        super().__init__()
        self.gain, self.phase = gain, phase

    def forward(self, mixture, X):
        V = 0.5 * X.abs().unsqueeze(1).expand(-1, 2, *X.shape[1:])
        turn = torch.polar(torch.ones(2, 1, 1, 1), torch.tensor([1.0, -1.0]).reshape(2, 1, 1, 1))
        start = turn * X.unsqueeze(1) if self.phase else None
        return Estimate(V, start, None if self.gain is None else self.gain * torch.ones_like(V))


def separator(gain=None, layers=2, **options):
    inversion = ("misi", layers) if layers else ()
    return Separator(
        Halves(gain, **options), *inversion, stft=STFT(64), sample_rate=8000, targets=["a", "b"]
    )


@pytest.mark.parametrize("layers", [0, 2])
def test_a_gain_scales_what_comes_out(layers):
    plain, half = (separator(gain, layers, phase=1.0) for gain in (None, 0.5))
    torch.testing.assert_close(half(MIXTURE), 0.5 * plain(MIXTURE))
    torch.testing.assert_close(half.spectrogram(MIXTURE), 0.5 * plain.spectrogram(MIXTURE))
    torch.testing.assert_close(half(MIXTURE[:, 0]), half(MIXTURE)[:, :, 0])


def test_a_gain_is_not_given_to_the_layers():
    # A gain inside would be undone by P_mix, since MISI ends with it.
    mixed = separator(0.5, phase=1.0)(MIXTURE).sum(1)
    torch.testing.assert_close(mixed, 0.5 * MIXTURE, rtol=1e-4, atol=1e-5)


def test_a_gain_of_another_shape_is_refused():
    model = separator(torch.ones(3, 1, 1, 1, 1, 1))
    with pytest.raises(ValueError, match=r"gain of shape .* must be \(batch, J, channel, F, T\)"):
        model(MIXTURE)


@pytest.mark.parametrize("layers", [0, 3])
def test_estimates_of_every_layer(layers):
    model = separator(0.7, layers, phase=1.0)
    each = model.trajectory(MIXTURE)
    assert len(each) == max(layers, 1)
    torch.testing.assert_close(each[-1], model.spectrogram(MIXTURE))
    torch.testing.assert_close(model.waveforms(each[-1], 600), model(MIXTURE))
    for a, b in zip(each, model.trajectory(MIXTURE[:, 0]), strict=True):
        torch.testing.assert_close(a[:, :, 0], b)


@pytest.mark.parametrize("loss", ["si-sdr", "ri"])
def test_loss_of_every_layer(loss):
    model = separator(0.7, 3, phase=1.0)
    sources = torch.randn(2, 2, 1, 600, generator=RNG)
    term = combine({loss: 1.0}, **({"stft": model.stft} if loss == "ri" else {}))
    values = []
    for k in (1, 2, 3):
        shorter = Separator(
            model.estimator, model.inversion.first(k), sample_rate=8000, targets=["a", "b"]
        )
        values.append(Objective(shorter, term)(MIXTURE, sources))
    expected = values[2] + 0.3 * (values[0] + values[1]) / 2
    got = Objective(model, term, every_layer=0.3)(MIXTURE, sources)
    torch.testing.assert_close(got, expected)


def test_the_gru_has_a_gain_that_is_one_at_first():
    models = []
    for gain in (False, True):
        torch.manual_seed(0)
        estimator = GRUMasks(2, stft=STFT(64), sample_rate=8000, hidden=8, gain=gain)
        models.append(Separator(estimator, "misi", 2))
    torch.testing.assert_close(models[1](MIXTURE), models[0](MIXTURE))
    nn.init.constant_(models[1].estimator.gain.bias, -1.0)
    factor = 2 / (1 + torch.e)
    torch.testing.assert_close(models[1](MIXTURE), factor * models[0](MIXTURE))


def test_gradients_reach_all_three():
    V = torch.rand(1, 2, 1, 33, 38, generator=RNG, requires_grad=True)
    start = torch.randn(V.shape, dtype=torch.complex64, generator=RNG, requires_grad=True)
    gain = torch.rand(V.shape, generator=RNG, requires_grad=True)

    class Given(nn.Module):
        def forward(self, mixture, X):
            return Estimate(V, start, gain)

    layers = UnfoldedInversion("misi", 2, stft=STFT(64), trainable={})
    model = Separator(Given(), layers, sample_rate=8000, targets=["a", "b"])
    model(MIXTURE[:1]).square().sum().backward()
    for tensor in (V, start, gain):
        assert tensor.grad.abs().sum() > 0
