"""Losses against the formulas of the papers, and permutation invariance against brute force."""

import copy
import itertools
import math
import sys
from functools import partial
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest
import torch

from phaserec import STFT
from unfolded.losses import LOSSES, PIT, Loss, combine, compared, get_loss, names, spectrograms
from unfolded.nn.bands import mel_bands

STFT16 = STFT(16, 4)
SPECTRAL = ["ri", "ri-mag", "ri-istft", "ri-istft-mag", "mag-ri-istft", "wav-mag", "msa", "psa"]


def make(name, **hyper):
    if name in SPECTRAL:
        hyper = {"stft": STFT16} | hyper
    elif name == "multi-resolution":
        hyper = {"n_ffts": (16, 32)} | hyper
    return get_loss(name, **hyper)


def signals(batch=3, n_sources=2, channels=(), length=41, dtype=torch.float64):
    reference = torch.randn(batch, n_sources, *channels, length, dtype=dtype)
    estimate = reference + 0.5 * torch.randn_like(reference)
    return estimate, reference, reference.sum(1)


def literal(name, S_hat, s_hat, s, x):
    """One pair of signals, in numpy, straight from section 7."""
    S, X = STFT16(s), STFT16(x)
    n = len(s)

    def one(a):
        return np.abs(a).sum()

    def cosine(a, b):
        return -np.dot(a, b) / np.linalg.norm(a) / np.linalg.norm(b)

    ri = one(S_hat.real - S.real) + one(S_hat.imag - S.imag)
    y = STFT16.inverse(S_hat, length=n)
    wav = one(y - s)
    alpha = np.dot(s, s) / (np.dot(s, s) + np.dot(x - s, x - s))
    scaled = np.dot(s_hat, s) / np.dot(s, s) * s
    if name == "multi-resolution":
        total = 0
        for n_fft in (16, 32):
            A, B = abs(STFT(n_fft)(s)), abs(STFT(n_fft)(s_hat))
            total += np.linalg.norm(A - B) / np.linalg.norm(A)
            total += np.abs(np.log(A + 1e-8) - np.log(B + 1e-8)).mean()
        return total / 2
    return {
        "ri": ri / n,
        "ri-mag": (ri + one(np.hypot(S_hat.real, S_hat.imag) - abs(S))) / n,
        "ri-istft": wav / n,
        "ri-istft-mag": (wav + one(abs(STFT16(y)) - abs(S))) / n,
        "mag-ri-istft": (wav + one(abs(S_hat) - abs(S))) / n,
        "wav": one(s_hat - s) / n,
        "wav-mag": (one(s_hat - s) + one(abs(STFT16(s_hat)) - abs(S))) / n,
        "msa": ((abs(S_hat) - abs(S)) ** 2).sum() / n,
        "psa": ((abs(S_hat) - abs(S) * np.cos(np.angle(S) - np.angle(X))) ** 2).sum() / n,
        "wsdr": alpha * cosine(s, s_hat) + (1 - alpha) * cosine(x - s, x - s_hat),
        "si-sdr": -10 * np.log10(np.sum(scaled**2) / np.sum((scaled - s_hat) ** 2)),
        "snr": -10 * np.log10(np.sum(s**2) / np.sum((s - s_hat) ** 2)),
        "l1": np.mean(np.abs(s_hat - s)),
        "l2": np.mean((s_hat - s) ** 2),
    }[name]


@pytest.mark.parametrize("channels", [(), (2,)], ids=["mono", "stereo"])
@pytest.mark.parametrize("name", names())
def test_formulas(name, channels):
    estimate, reference, mixture = signals(channels=channels)
    takes_spectra = name in SPECTRAL and name != "wav-mag"
    given = estimate
    if takes_spectra:  # inconsistent, as from a network
        given = STFT16(estimate) * torch.rand_like(STFT16(estimate).real)
    values = make(name)(given, reference, mixture)
    assert values.shape == (3,)
    axes = [range(n) for n in (2, *channels)]
    for b in range(3):
        expected = np.mean(
            [
                literal(
                    name,
                    (given if takes_spectra else STFT16(estimate))[b][i].numpy(),
                    estimate[b][i].numpy(),
                    reference[b][i].numpy(),
                    mixture[b][i[1:]].numpy(),
                )
                for i in itertools.product(*axes)
            ]
        )
        assert float(values[b]) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("name", names())
def test_waveforms_are_enough(name):
    """A waveform stands for its consistent spectrogram."""
    estimate, reference, mixture = signals()
    value = make(name)(estimate, reference, mixture)
    assert value.shape == (3,)
    if name in SPECTRAL and name != "wav-mag":
        torch.testing.assert_close(make(name)(STFT16(estimate), reference, mixture), value)


@pytest.mark.parametrize("name", names())
def test_the_reference_is_best(name):
    estimate, reference, mixture = signals()
    perfect = make(name)(reference, reference, mixture)
    if name == "psa":  # its optimum is not |S|, but the part of it in phase with the mixture
        return
    assert bool((perfect < make(name)(estimate, reference, mixture)).all())


def test_truncated_psa():
    _, reference, mixture = signals()
    loss = make("psa", truncate=True)
    S, X = STFT16(reference), STFT16(mixture).unsqueeze(1)
    target = (S.abs() * torch.cos(S.angle() - X.angle())).clamp_min(0).minimum(X.abs())
    assert float(loss(target + 0j, reference, mixture).max()) < 1e-25


def test_si_sdr_of_means_and_scales():
    estimate, reference, _ = signals()
    plain, centred = get_loss("si-sdr"), get_loss("si-sdr", zero_mean=True)
    torch.testing.assert_close(plain(3 * estimate, reference), plain(estimate, reference))
    torch.testing.assert_close(centred(estimate + 5, reference - 2), centred(estimate, reference))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["f32", "f64"])
@pytest.mark.parametrize("silent", ["estimate", "reference", "both", "everything", "equal"])
@pytest.mark.parametrize("name", names())
def test_silence_has_finite_gradients(name, silent, dtype):
    estimate, reference, mixture = signals(dtype=dtype)
    if silent in ("estimate", "both", "everything"):
        estimate = torch.zeros_like(estimate)
    if silent in ("reference", "both", "everything"):
        reference = torch.zeros_like(reference)
    if silent == "everything":
        mixture = torch.zeros_like(mixture)
    if silent == "equal":
        estimate = reference.clone()
    estimate.requires_grad_()
    value = PIT(make(name))(estimate, reference, mixture)
    value.sum().backward()
    assert bool(value.isfinite().all()) and bool(estimate.grad.isfinite().all())


@pytest.mark.parametrize("name", names())
def test_gradcheck(name):
    estimate, reference, mixture = signals(batch=1, length=12)
    loss = make(name)
    assert torch.autograd.gradcheck(
        lambda e: loss(e, reference, mixture), estimate.requires_grad_(), rtol=1e-4
    )


@pytest.mark.parametrize("n_sources", [1, 2, 3, 5])
@pytest.mark.parametrize("name", names())
def test_pit_is_the_minimum_over_orders(name, n_sources):
    estimate, reference, mixture = signals(batch=2, n_sources=n_sources, length=24)
    estimate = estimate[:, torch.randperm(n_sources)]
    loss = make(name)
    values, order = PIT(loss).best(estimate, reference, mixture)
    orders = list(itertools.permutations(range(n_sources)))
    every = torch.stack([loss(estimate[:, list(o)], reference, mixture) for o in orders])
    torch.testing.assert_close(values, every.min(0).values)
    matched = torch.stack([e[o] for e, o in zip(estimate, order, strict=True)])
    torch.testing.assert_close(loss(matched, reference, mixture), values)


@pytest.mark.parametrize("n_sources", [2, 4, 5])
def test_pit_does_not_see_the_order(n_sources):
    estimate, reference, mixture = signals(n_sources=n_sources, channels=(2,))
    loss = PIT(combine({"wav-mag": 1.0, "si-sdr": 0.1}, stft=STFT16))
    value = loss(estimate, reference, mixture)
    shuffled = estimate[:, torch.randperm(n_sources)]
    torch.testing.assert_close(loss(shuffled, reference, mixture), value)
    torch.testing.assert_close(
        loss(estimate, reference[:, torch.randperm(n_sources)], mixture), value
    )


def test_pit_of_a_loss_that_is_no_mean_over_sources():
    def worst(estimate, reference, mixture=None):
        return (estimate - reference).square().mean(-1).amax(-1)

    estimate, reference, _ = signals(n_sources=3)
    values, order = PIT(worst).best(estimate.roll(1, 1), reference)
    torch.testing.assert_close(values, worst(estimate, reference))
    assert order.tolist() == [[1, 2, 0]] * 3
    with pytest.raises(ValueError, match=r"J=7 sources needs a loss with a pairwise method"):
        PIT(worst)(*signals(n_sources=7)[:2])


def test_transforms_are_made_once(monkeypatch):
    made = []

    def note(n_fft):
        made.append(n_fft)
        return STFT(n_fft)

    monkeypatch.setattr(spectrograms, "STFT", note)
    loss = get_loss("multi-resolution", n_ffts=(18, 34))
    for _ in range(3):
        loss(*signals())
    PIT(loss)(*signals())
    assert made == [18, 34]
    with pytest.raises(ValueError, match=r"n_ffts=\[16\] must be an integer"):
        get_loss("multi-resolution", n_ffts=([16],))


def test_weighted_sum():
    estimate, reference, mixture = signals()
    both = combine({"l1": 2.0, "msa": 0.5}, stft=STFT16)(estimate, reference, mixture)
    l1, msa = make("l1")(estimate, reference), make("msa")(estimate, reference)
    torch.testing.assert_close(both, 2 * l1 + 0.5 * msa)


def test_wsdr_is_between_minus_one_and_one():
    _, reference, mixture = signals()
    loss = get_loss("wsdr")
    for y, expected in ((reference, -1), (mixture.unsqueeze(1) - reference, None)):
        value = loss(y, reference, mixture)
        assert bool((value.abs() <= 1 + 1e-9).all())
        if expected is not None:
            torch.testing.assert_close(value, torch.full_like(value, expected), rtol=1e-6, atol=0)


def test_registry():
    assert isinstance(get_loss("SI_SDR"), Loss)
    assert len(names()) == 15
    assert all(kind.__doc__ for kind in LOSSES.values())
    cases = [
        (lambda: get_loss("si-sdrr"), r"unknown loss 'si-sdrr'; did you mean 'si-sdr'"),
        (lambda: get_loss("ri", sftf=1), r"loss ri has no hyper-parameter 'sftf' .*'stft'"),
        (lambda: get_loss("wav", stft=1), r"loss wav has no hyper-parameter 'stft' .it has: none"),
        (lambda: get_loss("ri", stft=16), r"stft=16 must be a phaserec\.STFT"),
        (lambda: get_loss("psa", truncate=1), "truncate=1 must be true or false"),
        (lambda: get_loss("multi-resolution", n_ffts=()), r"n_ffts=\(\) must be a list"),
        (lambda: get_loss("no.such:Loss"), "which is not imported .* --import no.such"),
        (lambda: combine({}), "must name at least one loss"),
        (lambda: combine({"l1": 1}, stft=STFT16), "none of the losses l1 has 'stft'"),
    ]
    for call, message in cases:
        with pytest.raises(ValueError, match=message):
            call()


class Largest(torch.nn.Module):
    """A user's own: no mean over sources, and no word of what it compares."""

    def forward(self, estimate, reference, mixture=None):
        return (estimate - reference).abs().amax((-2, -1))


def test_a_loss_of_ones_own():
    estimate, reference, mixture = signals()
    both = combine({f"{__name__}:Largest": 2.0, "l1": 1.0})
    own = Largest()(estimate, reference)
    expected = 2 * own + get_loss("l1")(estimate, reference)
    torch.testing.assert_close(both(estimate, reference, mixture), expected)
    # Without values of pairs it is tried in every order.
    torch.testing.assert_close(PIT(both)(estimate.flip(1), reference), expected)


@pytest.fixture
def own_loss(monkeypatch):
    """The module of the documentation, as ``--import`` reads it."""
    path = Path(__file__).parents[2] / "docs" / "own_loss.py"
    if not path.is_file():
        pytest.skip("the documentation is not installed with the package")
    spec = spec_from_file_location("own_loss", path)
    module = module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "own_loss", module)
    spec.loader.exec_module(module)
    yield module
    del LOSSES["log-mel"]


def test_the_loss_of_the_documentation(own_loss):
    estimate, reference, _ = signals(channels=(2,))
    options = {"stft": STFT16, "sample_rate": 8000, "n_bands": 3}
    bands = torch.from_numpy(mel_bands(3, 16, 8000))
    logs = [torch.log(bands @ abs(STFT16(s)) + 1e-5) for s in (estimate, reference)]
    expected = (logs[0] - logs[1]).abs().mean((1, 2, 3, 4))
    for name in ("log-mel", "own_loss:LogMel"):
        loss = combine({name: 1}, **options)
        assert compared(loss) == "spectrograms"
        torch.testing.assert_close(loss(STFT16(estimate), reference), expected)
        torch.testing.assert_close(PIT(loss)(estimate.flip(1), reference), expected)


def test_what_is_compared():
    for name in names():
        takes = name in SPECTRAL and name != "wav-mag"
        assert compared(make(name)) == ("spectrograms" if takes else "waveforms")
    assert compared(PIT(combine({"msa": 1, "ri": 2}))) == "spectrograms"
    assert compared(combine({"msa": 1, "l1": 1})) == compared(Largest()) == "waveforms"
    odd = Largest()
    odd.compares = "waveform"
    with pytest.raises(ValueError, match=r"Largest\.compares='waveform' must be"):
        compared(odd)


def test_losses_are_modules():
    """They are found, moved and copied with what holds them."""
    loss = PIT(combine({"l1": 1, "si-sdr": 1}))
    assert [type(part).__name__ for part in loss.modules()] == [
        "PIT",
        "Combined",
        "ModuleList",
        "L1",
        "SISDR",
    ]
    estimate, reference, mixture = signals()
    torch.testing.assert_close(
        copy.deepcopy(loss)(estimate, reference, mixture), loss(estimate, reference, mixture)
    )


@pytest.mark.parametrize("n_sources", [2, 3])
@pytest.mark.parametrize("zero_mean", [False, True])
def test_torchmetrics(n_sources, zero_mean):
    """Its scores are ours with the other sign."""
    audio = pytest.importorskip("torchmetrics.functional.audio")
    estimate, reference, _ = signals(n_sources=n_sources, length=400)
    estimate = estimate[:, torch.randperm(n_sources)] + 0.1
    ours = get_loss("si-sdr", zero_mean=zero_mean)
    theirs = partial(audio.scale_invariant_signal_distortion_ratio, zero_mean=zero_mean)
    torch.testing.assert_close(
        ours(estimate, reference), -theirs(estimate, reference).mean(-1), rtol=1e-5, atol=0
    )
    snr = audio.signal_noise_ratio(estimate, reference).mean(-1)
    torch.testing.assert_close(get_loss("snr")(estimate, reference), -snr)
    values, order = PIT(ours).best(estimate, reference)
    best, places = audio.permutation_invariant_training(estimate, reference, theirs)
    torch.testing.assert_close(values, -best)
    assert torch.equal(order, places)


def test_arguments():
    estimate, reference, mixture = signals()
    cases = [
        (lambda: get_loss("l1")(estimate[..., :-1], reference), r"estimate of shape \(3, 2, 40\)"),
        (lambda: get_loss("l1")(estimate[0, 0], reference[0, 0]), r"reference of shape \(41,\)"),
        (lambda: get_loss("wsdr")(estimate, reference), "loss wsdr needs a mixture"),
        (lambda: get_loss("psa")(estimate, reference), "loss psa needs a mixture"),
        (lambda: get_loss("l1")(estimate, reference, reference), r"mixture of shape \(3, 2, 41\)"),
        (lambda: get_loss("l1")(STFT16(estimate), reference), "takes an estimate as a waveform"),
    ]
    for call, message in cases:
        with pytest.raises(ValueError, match=message):
            call()
    assert math.isfinite(float(get_loss("l1")(estimate, reference, mixture).sum()))
