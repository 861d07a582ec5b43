"""Non-negative least squares and projections, against scipy and against their own definitions."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.optimize import nnls as scipy_nnls

from phaserec.inverse import compiled, least_squares, mel_filters, nnls

A = mel_filters(20, 128, 16000)
W = np.full((65, 1), 2.0)
W[[0, -1]] = 1


def bands(T=12, seed=0, noise=0.0):
    """Sums of powers over four decades; with noise such as no bins have."""
    rng = np.random.default_rng(seed)
    x = 10 ** rng.uniform(-4, 0, (65, T))
    return A @ x * np.exp(noise * rng.standard_normal((20, T)))


@pytest.fixture(params=["kernel", "arrays"])
def machine(request, monkeypatch):
    monkeypatch.setenv("PHASEREC_MACHINE", request.param)
    return request.param


@pytest.mark.parametrize("noise", [0.0, 1.0])
def test_as_small_a_residual_as_that_of_scipy(noise, machine):
    m = bands(noise=noise)
    x = nnls(A, m)
    assert x.min() >= 0
    best = np.array([scipy_nnls(A, column)[1] for column in m.T])
    assert np.all(np.linalg.norm(A @ x - m, axis=0) <= best * (1 + 1e-6) + 1e-8 * m.max(axis=0))


def test_the_smallest_of_all_solutions(machine):
    """It is ``max(Aᵀc, 0)``: no other with these sums is as small."""
    m = bands()
    x = nnls(A, m)
    np.testing.assert_allclose(A @ x, m, rtol=1e-7, atol=1e-9 * m.max())
    for column, found in zip(m.T[:3], x.T, strict=False):
        other = minimize(
            lambda x: (x @ x, 2 * x),
            found + 1e-3,
            jac=True,
            bounds=[(0, None)] * 65,
            constraints={"type": "eq", "fun": lambda x, c=column: A @ x - c, "jac": lambda x: A},
            method="SLSQP",
            options={"maxiter": 500, "ftol": 1e-14},
        )
        assert found @ found <= other.fun * (1 + 1e-6)
        np.testing.assert_allclose(found, other.x, atol=1e-4 * found.max())


def test_both_machines_and_libraries_agree(monkeypatch):
    torch = pytest.importorskip("torch")
    m = bands(noise=0.5)
    monkeypatch.setenv("PHASEREC_MACHINE", "kernel")
    found = nnls(A, m)
    np.testing.assert_allclose(nnls(A, torch.from_numpy(m)).numpy(), found)
    monkeypatch.setenv("PHASEREC_MACHINE", "arrays")
    np.testing.assert_allclose(nnls(A, m), found, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(nnls(A, torch.from_numpy(m)).numpy(), found, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("power", [1, 2])
def test_nearest_magnitudes_have_the_sums_and_are_nearest(power, machine):
    rng = np.random.default_rng(1)
    m, r = bands(T=4), rng.uniform(0.1, 1, (65, 4))
    near = least_squares.nearest_magnitudes(A, m, r, power=power, weights=W, exact=True)
    np.testing.assert_allclose(A @ near**power, m, rtol=1e-6, atol=1e-9 * m.max())
    for column in range(2):
        other = minimize(
            lambda y, c=column: np.sum(W[:, 0] * (y ** (1 / power) - r[:, c]) ** 2),
            near[:, column] ** power + 1e-4,
            bounds=[(1e-12, None)] * 65,
            constraints={"type": "eq", "fun": lambda y, c=column: A @ y - m[:, c]},
            method="SLSQP",
            options={"maxiter": 300, "ftol": 1e-12},
        )
        distance = np.sum(W[:, 0] * (near[:, column] - r[:, column]) ** 2)
        assert distance <= other.fun * (1 + 1e-5)


@pytest.mark.parametrize("power", [1, 2])
def test_magnitudes_that_have_the_sums_stay(power, machine):
    r = np.random.default_rng(2).uniform(0.1, 1, (65, 5))
    near = least_squares.nearest_magnitudes(A, A @ r**power, r, power=power, weights=W, exact=True)
    np.testing.assert_allclose(near, r, rtol=1e-6)


def test_one_band_is_scaled(machine):
    """Of bins that belong to one band the nearest are a multiple, for sums of squares."""
    one, r = np.ones((1, 5)), np.random.default_rng(3).uniform(1, 2, (5, 3))
    near = least_squares.nearest_magnitudes(
        one, np.full((1, 3), 7.0), r, power=2, weights=np.ones((5, 1)), exact=True
    )
    np.testing.assert_allclose(near, r * np.sqrt(7 / np.sum(r**2, axis=0)), rtol=1e-7)


def test_a_map_without_bands_near_one_another(machine):
    """Any non-negative map will do, also one that is dense."""
    dense = np.random.default_rng(4).uniform(0, 1, (6, 15))
    x = np.random.default_rng(5).uniform(0, 1, (15, 7))
    np.testing.assert_allclose(dense @ nnls(dense, dense @ x), dense @ x, rtol=1e-7)


def test_silence_stays_silence(machine):
    m = bands(T=3)
    m[:, 1] = 0
    x = nnls(A, m)
    assert np.all(x[:, 1] == 0)
    assert np.all(np.isfinite(x))
    for power in (1, 2):
        near = least_squares.nearest_magnitudes(A, m, np.ones((65, 3)), power=power, weights=W)
        inside = A.sum(axis=0) > 0
        assert np.all(near[inside, 1] == 0)
        assert np.all(near[~inside, 1] == 1)


def test_batches_are_their_items_and_single_precision_stays():
    m = np.stack([bands(seed=1), bands(seed=2, noise=1)])
    x = nnls(A, m)
    for one, item in zip(m, x, strict=True):
        np.testing.assert_allclose(nnls(A, one), item, rtol=1e-9, atol=1e-12)
    assert nnls(A, m.astype(np.float32)).dtype == np.float32


def test_short_work_does_not_wait_for_compiling(monkeypatch):
    monkeypatch.delenv("PHASEREC_MACHINE")
    monkeypatch.setattr(compiled, "_is_compiled", lambda arguments: False)
    monkeypatch.setattr(compiled, "_WAITED", compiled.Counter())
    done = []
    monkeypatch.setattr(compiled, "dual", lambda *arguments: done.append(arguments))
    nnls(A, bands())
    assert not done
    monkeypatch.setattr(compiled, "_WORTH_COMPILING", 2 * 65 * 12)
    nnls(A, bands())
    assert len(done) == 1


def test_warming_up_compiles_all_there_is():
    """The code of other numbers, frames and bands is what was compiled then."""
    least_squares.warm_up()
    before = len(compiled.dual.signatures)
    for power in (1, 2):
        arguments = least_squares._arguments(
            least_squares._Linear(least_squares._map(A, W, A), A.T.copy(), np.ones((20, 20))),
            least_squares._QUICK,
            10.0**-power,
        )
        compiled.dual(*arguments)
    assert len(compiled.dual.signatures) == before


def test_gradients():
    torch = pytest.importorskip("torch")
    small = mel_filters(4, 32, 8000, norm=None)
    rng = np.random.default_rng(6)
    x = rng.uniform(0.5, 1, (17, 2))
    m = torch.from_numpy(small @ x).requires_grad_()
    assert torch.autograd.gradcheck(lambda m: nnls(small, m), m, atol=1e-5, rtol=1e-4)
    r = torch.from_numpy(x * rng.uniform(0.8, 1.2, x.shape)).requires_grad_()
    w = np.ones((17, 1))
    for power in (1, 2):
        assert torch.autograd.gradcheck(
            lambda m, r, p=power: least_squares.nearest_magnitudes(
                small, m, r, power=p, weights=w, exact=True
            ),
            (m, r),
            atol=1e-5,
            rtol=1e-4,
        )


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ((-A, bands()), "A of shape"),
        ((A * np.nan, bands()), "A holds NaN"),
        ((A, bands()[:5]), "m is float64"),
        ((A, bands() + 1j), "m is complex"),
        ((A, bands() * np.inf), "m holds NaN"),
    ],
)
def test_bad_values_are_named(given, named):
    with pytest.raises(ValueError, match=named):
        nnls(*given)
