"""Von Mises concentration: moments against integrals and limits, and estimates against samples."""

import numpy as np
import pytest
from scipy.special import iv

from phaserec import von_mises

KAPPAS = np.array([0, 1e-4, 1e-2, 2e-2, 0.5, 2.0, 20.0, 150.0, 199.9, 200.1, 600.0])


def moment(function, kappa):
    """Expected value by the trapezoid rule, which converges geometrically on a circle."""
    theta = 2 * np.pi * np.arange(4096) / 4096
    density = np.exp(kappa * (np.cos(theta) - 1))
    return (function(theta) * density).sum() / density.sum()


def test_moments_are_those_of_the_density():
    along, across = von_mises.variances(KAPPAS)
    for kappa, length, a, b in zip(KAPPAS, von_mises.resultant(KAPPAS), along, across, strict=True):
        mean = moment(np.cos, kappa)
        assert length == pytest.approx(mean, abs=1e-14)
        assert a == pytest.approx(moment(lambda t, m=mean: (np.cos(t) - m) ** 2, kappa), rel=1e-9)
        assert b == pytest.approx(moment(lambda t: np.sin(t) ** 2, kappa), rel=1e-9)


def test_moments_are_the_formulas_in_bessel_functions():
    kappa = 3.0
    I0, I1, I2 = (iv(n, kappa) for n in range(3))
    along, across = von_mises.variances(kappa)
    assert isinstance(along, float)
    assert along + across == pytest.approx(1 - (I1 / I0) ** 2)
    assert along - across == pytest.approx((I2 * I0 - I1**2) / I0**2)


def test_limits_of_great_concentration():
    kappa = np.array([1e3, 1e5, 1e8])
    along, across = von_mises.variances(kappa)
    np.testing.assert_allclose(2 * kappa**2 * along, 1 + 1 / (2 * kappa), rtol=1e-5)
    np.testing.assert_allclose(kappa * across, 1 - 1 / (2 * kappa), rtol=1e-6)
    assert np.all(von_mises.resultant(kappa) < 1)


def test_the_inverse():
    kappa = np.concatenate([np.linspace(0, 5, 101), np.geomspace(5, 1e7, 60)])
    np.testing.assert_allclose(von_mises.of_resultant(von_mises.resultant(kappa)), kappa, rtol=1e-7)
    found = von_mises.of_resultant(np.array([-1.0, 0.0, 1.0, 2.0]))
    np.testing.assert_allclose(found, [0, 0, von_mises.LARGEST, von_mises.LARGEST], rtol=1e-6)
    assert isinstance(von_mises.of_resultant(0.5), float)


def test_concentration_of_samples():
    rng = np.random.default_rng(0)
    errors = rng.vonmises(0, [[0.5], [4.0], [50.0]], (3, 40_000)) + 2 * np.pi
    np.testing.assert_allclose(von_mises.concentration(errors, axis=-1), [0.5, 4, 50], rtol=0.03)
    # A sample that counts twice is there twice; one that does not count is not.
    few, weights = errors[1, :6], np.array([2.0, 1, 1, 0, 1, 1])
    repeated = von_mises.concentration(np.append(few, few[0])[[0, 1, 2, 4, 5, 6]])
    assert float(von_mises.concentration(few, weights)) == pytest.approx(float(repeated))
    assert von_mises.concentration(np.full(5, np.pi)) == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (([0.1, np.nan],), "error holds NaN"),
        (([0.1j],), "must be real"),
        (([],), "holds no phases"),
        (([0.1], [-1.0]), "non-negative"),
        (([0.1], [0.0]), "positive"),
    ],
)
def test_what_is_no_sample(arguments, words):
    with pytest.raises(ValueError, match=words):
        von_mises.concentration(*map(np.array, arguments))


def test_gradients():
    torch = pytest.importorskip("torch")
    kappa = torch.tensor([1e-3, 0.1, 3.0, 50.0, 300.0], dtype=torch.float64, requires_grad=True)
    for function in (von_mises.resultant, von_mises.variances):
        assert torch.autograd.gradcheck(function, kappa, atol=1e-9)
    lengths = torch.tensor([0.01, 0.6, 0.9, 0.99], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(von_mises.of_resultant, lengths, eps=1e-8, rtol=1e-5)
    error = torch.linspace(-1, 1, 9, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(von_mises.concentration, error)
