"""No sound where frames see next to nothing: every window, centred or not, on every back end."""

import numpy as np
import pytest

from phaserec import STFT, Problem, invert, iterate

# Every window that scipy names; what it cannot be computed back from is refused elsewhere.
WINDOWS = [
    "barthann",
    "bartlett",
    "blackman",
    "blackmanharris",
    "bohman",
    "boxcar",
    ("chebwin", 100.0),
    "cosine",
    ("dpss", 4.0),
    ("exponential", None, 30.0),
    "flattop",
    ("gaussian", 15.0),
    ("general_cosine", [0.5, 0.3, 0.2]),
    ("general_gaussian", 2.0, 20.0),
    ("general_hamming", 0.6),
    "hamming",
    "hann",
    ("kaiser", 14.0),
    ("kaiser", 50.0),
    "lanczos",
    "nuttall",
    "parzen",
    "taylor",
    "triang",
    ("tukey", 0.5),
]
ALGORITHMS = ["misi", "mix-incons", "mag-incons-hard-mix"]


def recording(length=3000):
    """Two sources, one of decaying tones and one of noise; the mixture has a peak of 0.5."""
    rng = np.random.default_rng(0)
    t = np.arange(length)
    tones = sum(np.sin(0.05 * k * t) / k for k in range(1, 9)) * np.exp(-(t % 900) / 300)
    sources = np.stack([tones, 0.3 * rng.standard_normal(length)])
    return 0.5 * sources / np.abs(sources.sum(0)).max()


SOURCES = recording()
MIXTURE = SOURCES.sum(0)


def problem(stft, dtype, library=np.asarray):
    """Magnitudes that no sources of the mixture have."""
    V = np.abs(stft(SOURCES))
    V = V * np.random.default_rng(1).uniform(0.7, 1.4, V.shape)
    return library(V.astype(dtype)), library(MIXTURE.astype(dtype))


def by_arrays(algorithm, V, x, stft, n_iter):
    p = Problem(V, x, stft=stft)
    *_, S = iterate(algorithm, p, n_iter)
    return np.asarray(p.waveforms(S))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize("window", WINDOWS, ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_edges(window, center, algorithm, dtype):
    stft = STFT(128, 32, window=window, center=center)
    V, x = problem(stft, dtype)
    for y in (
        invert(V, x, stft=stft, algorithm=algorithm, n_iter=20),
        by_arrays(algorithm, V, x, stft, 20),
    ):
        assert np.abs(y).max() < 5  # ten times the peak
    tol = 1e-3 if dtype == "float32" else 1e-7
    y = by_arrays(algorithm, V, x, stft, 3)
    np.testing.assert_allclose(
        invert(V, x, stft=stft, algorithm=algorithm, n_iter=3), y, rtol=0, atol=tol
    )


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize("window", WINDOWS, ids=str)
def test_edges_in_torch(window, center, algorithm):
    torch = pytest.importorskip("torch")
    stft = STFT(128, 32, window=window, center=center)
    ours = by_arrays(algorithm, *problem(stft, "float64", torch.from_numpy), stft, 3)
    theirs = by_arrays(algorithm, *problem(stft, "float64"), stft, 3)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-7)


@pytest.mark.parametrize("window", ["hann", "blackman", ("kaiser", 50.0)], ids=str)
@pytest.mark.parametrize("learn_windows", [True, False])
def test_edges_in_layers(window, learn_windows):
    torch = pytest.importorskip("torch")
    from unfolded import UnfoldedInversion

    stft = STFT(128, 32, window=window, center=False)
    V, x = problem(stft, "float64", torch.from_numpy)
    net = UnfoldedInversion(
        "misi", 3, stft=stft, n_sources=2, learn_windows=learn_windows, dtype=torch.float64
    )
    with torch.no_grad():
        ours = net(V, x)
    np.testing.assert_allclose(ours, by_arrays("misi", V, x, stft, 3), rtol=0, atol=1e-7)


def test_the_mixture_of_a_problem_is_what_frames_see():
    stft = STFT(128, 32, window="blackman", center=False)
    V, x = problem(stft, "float64")
    p = Problem(V, x, stft=stft)
    np.testing.assert_allclose(p.cons(p.X), p.X, atol=1e-12)
    kept = p.waveforms(p.start())
    assert not kept[:, :8].any() and not kept[:, -8:].any()
