"""Nothing that is not finite is returned: an error names the cause."""

import numpy as np
import pytest

from phaserec import STFT, Problem, invert, iterate

TRANSFORM = STFT(64, 16)


def sources(scale=1.0, dtype="float64"):
    return (scale * np.random.default_rng(0).standard_normal((2, 500))).astype(dtype)


@pytest.mark.parametrize(("scale", "dtype"), [(1e300, "float64"), (1e25, "float32")])
def test_magnitudes_near_overflow(scale, dtype):
    x = sources(scale, dtype)
    V = np.abs(TRANSFORM(x))
    for name in ("misi", "bregmisi"):
        assert np.isfinite(invert(V, x.sum(0), stft=TRANSFORM, algorithm=name)).all()


def test_results_beyond_the_range():
    # The magnitudes of single frames are all there is, and their sum is larger.
    V = np.full((1, 33, 20), 3e38, np.float32)
    stft = STFT(64, 4, window=1e-3 * np.hanning(64))
    with pytest.raises(ValueError, match=r"magnitudes reach .*griffin-lim overflows float32"):
        invert(V, stft=stft, algorithm="griffin-lim", rng=0)


@pytest.mark.parametrize(("value", "dtype"), [(1e307, "float64"), (3e38, "float32")])
@pytest.mark.parametrize("momentum", [0.0, 0.5])
def test_hyper_parameters_near_overflow(value, dtype, momentum):
    x = sources(100, dtype)
    problem = Problem(np.abs(TRANSFORM(x)), x.sum(0), stft=TRANSFORM)
    with pytest.raises(ValueError, match=rf"sigma=.* so large that mix-incons overflows {dtype}"):
        for _ in iterate("mix-incons", problem, 3, sigma=value, momentum=momentum):
            pass
    with pytest.raises(ValueError, match="sigma="):
        invert(
            problem.magnitudes,
            problem.mixture,
            stft=TRANSFORM,
            algorithm="mix-incons",
            sigma=value,
            momentum=momentum,
        )


def test_a_step_that_is_too_large_is_named():
    x = sources(10)
    V = np.abs(TRANSFORM(x))
    with pytest.raises(ValueError, match=r"bregmisi diverged.*mu=.*smaller steps"):
        invert(V, x.sum(0), stft=TRANSFORM, algorithm="bregmisi", mu=5.0, beta=2.0, n_iter=50)


@pytest.mark.parametrize("window", ["hann", "parzen"])
@pytest.mark.parametrize("center", [True, False])
def test_bregmisi_with_a_silent_source(window, center):
    stft = STFT(64, 16, window=window, center=center)
    x = sources(0.1)
    x[1] = 0
    y = invert(np.abs(stft(x)), x.sum(0), stft=stft, algorithm="bregmisi")
    np.testing.assert_allclose(y, stft.restrict(x), atol=0.01)


def test_the_command_line_writes_nothing(phaserec, tmp_path):
    args = ["--algo", "bregmisi", "--mu", 5, "--beta", 2, "--n-iter", 50]
    code, out, err = phaserec("invert", *args)
    assert code == 2 and "bregmisi diverged" in err and not out
    assert not (tmp_path / "recovered").exists()
