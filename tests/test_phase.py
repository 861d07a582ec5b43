"""Derivatives of phases, of signals for which they are known."""

import numpy as np
import pytest

from phaserec import STFT, phase


def test_differences_are_principal_values(backend):
    angles = np.random.default_rng(0).uniform(-9, 9, (2, 5, 7))
    S = backend(np.random.default_rng(1).uniform(1, 2, angles.shape) * np.exp(1j * angles))
    for kind, axis in (("time", -1), ("frequency", -2)):
        found = np.asarray(phase.difference(S, kind))
        expected = np.angle(np.exp(1j * np.diff(angles, axis=axis)))
        np.testing.assert_allclose(found, expected, atol=10 * backend.tol)
        assert str(found.dtype) == backend.real


def test_half_a_turn_is_plus_pi(backend):
    S = backend(np.array([[1, -1, 1, 0, 1j]], complex))
    np.testing.assert_allclose(phase.difference(S), [[np.pi, np.pi, 0, 0]], rtol=1e-6)


@pytest.mark.parametrize("n_fft", [256, 255])
@pytest.mark.parametrize("center", [True, False])
def test_a_tone_has_its_frequency(backend, n_fft, center):
    stft, sr = STFT(n_fft, 16, center=center), 8000
    S = stft(np.cos(2 * np.pi * 1234.5 / sr * np.arange(4000)))
    strong = np.abs(S).max(axis=1) > 0.1 * np.abs(S).max()
    hertz = np.asarray(phase.instantaneous_frequency(backend(S), stft=stft, sr=sr))
    np.testing.assert_allclose(hertz[strong, 20:-20], 1234.5, atol=0.5)


@pytest.mark.parametrize("center", [True, False])
def test_a_click_has_its_time(backend, center):
    stft, sr = STFT(256, 64, center=center), 8000
    x = np.zeros(4000)
    x[2010] = 1
    delay = np.asarray(phase.group_delay(backend(stft(x)), stft=stft, sr=sr))
    begin = 0 if center else 128
    seen = [t for t in range(delay.shape[1]) if 0 < 2010 - begin - 64 * t + 128 < 256]
    assert len(seen) >= 3
    for t in seen:
        np.testing.assert_allclose(begin + 64 * t + delay[:, t] * sr, 2010, atol=0.05)


def test_gradients():
    torch = pytest.importorskip("torch")
    stft = STFT(16, 4)
    S = torch.randn(2, 9, 4, dtype=torch.complex128, generator=torch.manual_seed(0))
    S.requires_grad_()
    for function in (
        phase.difference,
        lambda S: phase.difference(S, "frequency"),
        lambda S: phase.instantaneous_frequency(S, stft=stft),
        lambda S: phase.group_delay(S, stft=stft),
    ):
        assert torch.autograd.gradcheck(function, S)
    silence = torch.zeros(9, 4, dtype=torch.complex128, requires_grad=True)
    (gradient,) = torch.autograd.grad(phase.difference(silence).sum(), silence)
    assert torch.equal(gradient, torch.zeros_like(silence))


def test_bad_arguments_are_named():
    stft = STFT(16)
    S = stft(np.ones(50))
    for call, words in [
        (lambda: phase.difference(np.abs(S)), "complex"),
        (lambda: phase.difference(S, "space"), "kind='space'"),
        (lambda: phase.difference(S[0]), "must be"),
        (lambda: phase.group_delay(S[:-1], stft=stft), "n_fft"),
        (lambda: phase.instantaneous_frequency(S, stft=stft, sr=0), "sr=0"),
    ]:
        with pytest.raises(ValueError, match=words):
            call()
