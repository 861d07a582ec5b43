"""Scores of tensors: the same numbers, gradients where there is a formula, else a clear message."""

import numpy as np
import pytest

from phaserec import STFT, Problem, evaluation, measures

torch = pytest.importorskip("torch", reason="torch is not installed")

RNG = np.random.default_rng(0)
REFERENCES = RNG.standard_normal((1, 2, 4000))
ESTIMATES = REFERENCES + 0.1 * RNG.standard_normal(REFERENCES.shape)
SETTINGS = evaluation.Settings(8000, STFT(64))
FORMULAS = ["si-sdr", "sdr", "snr", "spectral-convergence"]


@pytest.mark.parametrize("name", FORMULAS)
def test_formulas_have_gradients(name):
    estimates = torch.from_numpy(ESTIMATES).requires_grad_()
    values = evaluation.by_source(name, torch.from_numpy(REFERENCES), estimates, SETTINGS)
    expected = evaluation.by_source(name, REFERENCES, ESTIMATES, SETTINGS)
    assert isinstance(expected, np.ndarray) and expected.shape == (2,)
    np.testing.assert_allclose(values.detach(), expected, rtol=1e-9)
    values.sum().backward()
    assert bool(torch.isfinite(estimates.grad).all())
    assert bool((estimates.grad.abs().amax(-1) > 0).all())


@pytest.mark.parametrize("name", ["pesq", "stoi", "estoi"])
def test_packages_take_no_tensors(name):
    pytest.importorskip(evaluation.METRICS[name].package)
    with pytest.raises(ValueError, match=rf"{name} is computed by .*score\(\)"):
        evaluation.by_source(
            name, torch.from_numpy(REFERENCES), torch.from_numpy(ESTIMATES), SETTINGS
        )


def test_score_takes_numbers_that_need_gradients_and_half_precision():
    references, estimates = (torch.from_numpy(a[0]) for a in (REFERENCES, ESTIMATES))
    expected = [row.values for row in evaluation.score(REFERENCES[0], ESTIMATES[0], 8000)]
    rows = evaluation.score(references, estimates.clone().requires_grad_(), 8000)
    assert [row.values for row in rows] == expected
    assert all(type(value) is float for row in rows for value in row.values.values())
    rows = evaluation.score(references.bfloat16(), references.bfloat16(), 8000)
    assert all(row.values["si-sdr"] > 100 for row in rows)


@pytest.mark.parametrize("measure", [measures.snr, measures.si_sdr, measures.sdr])
def test_measures_take_half_precision_lists_and_no_mixture_of_libraries(measure):
    s, e = REFERENCES[0, 0], ESTIMATES[0, 0]
    half = [torch.from_numpy(200 * a).half() for a in (s, e)]  # its squares overflow half precision
    assert float(measure(*half)) == pytest.approx(float(measure(s, e)), abs=0.1)
    assert float(measure(s.tolist(), e.tolist())) == float(measure(s, e))
    with pytest.raises(ValueError, match="one library, but reference is ndarray, estimate is Ten"):
        measure(s, torch.from_numpy(e))


@pytest.mark.parametrize("name", ["inconsistency", "magnitude_error", "spectral_convergence"])
def test_measures_of_spectrograms_name_what_does_not_go_together(name):
    stft = STFT(64)
    p = Problem(np.abs(stft(REFERENCES[0])), stft=stft)
    with pytest.raises(ValueError, match="one library, but S is Tensor, magnitudes is ndarray"):
        getattr(measures, name)(torch.from_numpy(stft(ESTIMATES[0])), p)
