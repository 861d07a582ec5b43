"""The machine of a run: found once, with reasons, told and forced."""

import logging
import re

import numpy as np
import pytest

from phaserec import STFT, Problem
from phaserec.algorithms import ALGORITHMS, algorithm, configure, resolve
from phaserec.solving import needs_mixture, prepare, structural_reason


@pytest.fixture
def problem(make_problem, numpy64):
    return make_problem(numpy64)


def test_the_kernel_is_taken_where_it_can_be(problem):
    run = prepare("misi", problem, 2)
    assert run.machine == "kernel" and not run.choice.reasons


@pytest.mark.parametrize(
    ("change", "hyper", "reason"),
    [
        ({"stft": STFT(14, 4)}, {}, "n_fft=14 is odd, or its half has a prime factor above 5"),
        (
            {"stft": STFT(16, 16, pad_mode="reflect", strict=False)},
            {},
            "centre padding is of kind 'reflect' where frames hardly see some samples",
        ),
        ({}, {"momentum": np.full((9, 1), 0.5)}, "momentum is an array"),
        ({}, {"momentum": 1e35}, "momentum is too large"),
    ],
)
def test_reasons_name_what_stands_in_the_way(change, hyper, reason, make_sources):
    stft = change.pop("stft", STFT(16, 4))
    x = change.pop("scale", 1.0) * make_sources()
    p = Problem(np.abs(stft(x)), x.sum(0), stft=stft, **change)
    run = prepare("misi", p, 2, **hyper)
    assert run.machine == "arrays" and run.choice.reasons == {"kernel": reason}


def test_padding_that_is_not_there_is_no_reason(make_problem, numpy64):
    p = make_problem(numpy64, stft=STFT(16, 4, center=False, pad_mode="reflect"))
    assert prepare("misi", p, 2).machine == "kernel"


def test_gradients_are_a_reason():
    torch = pytest.importorskip("torch")
    stft = STFT(16, 4)
    x = torch.randn(2, 61)
    p = Problem(stft(x).abs().requires_grad_(), x.sum(0), stft=stft)
    assert "asks for a gradient" in prepare("misi", p, 2).choice.reasons["kernel"]


# Registered algorithms that never run on the kernel, and a word of the reason.
ON_ARRAYS = {
    "pu-iter": "sum",
    "phase-constrained-misi": "more than one inverse transform",
    "wiener": r"p\.X",
    "anisotropic-wiener": r"p\.X",
    "consistent-wiener": r"p\.X",
    "consistent-anisotropic-wiener": r"p\.X",
}


@pytest.mark.parametrize(
    "name", [n for n, e in ALGORITHMS.items() if e.step.__module__.startswith("phaserec.")]
)
def test_the_kernel_takes_what_is_registered(name, problem):
    run, reason = prepare(name, problem, 1), structural_reason(ALGORITHMS[name])
    if name in ON_ARRAYS:
        assert run.machine == "arrays" and re.search(ON_ARRAYS[name], reason)
    else:
        assert run.machine == "kernel" and reason is None


def transforms_again(S, p):
    """Projects on what it has just transformed, twice."""
    return p.mag(p.cons(p.mag(p.cons(S))))


def test_reasons_are_sentences(problem):
    reason = structural_reason(resolve(transforms_again))
    assert reason is not None and len(reason.split()) > 5 and "__" not in reason
    assert prepare(transforms_again, problem, 1).choice.reasons == {"kernel": reason}


def test_the_environment_forces_the_arrays(problem, monkeypatch):
    kernel = prepare("misi", problem, 3)
    monkeypatch.setenv("PHASEREC_MACHINE", "arrays")
    arrays = prepare("misi", problem, 3)
    assert (kernel.machine, arrays.machine) == ("kernel", "arrays")
    assert "PHASEREC_MACHINE" in arrays.choice.reasons["kernel"]
    np.testing.assert_allclose(arrays.result(), kernel.result(), atol=1e-12)
    monkeypatch.setenv("PHASEREC_MACHINE", "abacus")
    with pytest.raises(ValueError, match="PHASEREC_MACHINE='abacus' must be one of kernel, arrays"):
        prepare("misi", problem, 3)
    # What is said on the spot counts.
    assert prepare("misi", problem, 3, machine="kernel").machine == "kernel"
    with pytest.raises(ValueError, match="machine='gpu' must be one of kernel, arrays"):
        prepare("misi", problem, 3, machine="gpu")


def test_the_logger_tells(problem, caplog):
    logger = logging.getLogger("phaserec")
    propagate, logger.propagate = logger.propagate, True
    try:
        with caplog.at_level(logging.DEBUG, "phaserec"):
            prepare("mix-incons", problem, 1, sigma=2.0)
            prepare(transforms_again, problem, 1)
    finally:
        logger.propagate = propagate
    # After a command in this process pytest listens at the logger itself too.
    told = list(dict.fromkeys(record.getMessage() for record in caplog.records))
    assert told[0] == "mix-incons sigma=2.0 runs on the kernel"
    assert told[1].startswith("transforms-again runs on the arrays, not on the kernel: an iterat")


def test_debug_shows_the_machine_on_the_command_line(phaserec):
    args = ["invert", "--algo", "misi", "--n-iter", 1, "--machine", "arrays"]
    code, _, err = phaserec("--debug", *args)
    assert (
        code == 0 and "phaserec: misi runs on the arrays, not on the kernel: machine=arrays" in err
    )
    code, _, err = phaserec(*args, "-o", "elsewhere")
    assert code == 0 and not err


def test_every_run_is_the_same(problem):
    for machine in ("kernel", "arrays"):
        run = prepare("griffin-lim", problem, 3, init="random", rng=0, machine=machine)
        first = run.result()
        *_, last = run.waveforms()
        np.testing.assert_allclose(last, first, atol=1e-12)
        np.testing.assert_array_equal(run.result(), first)
        np.testing.assert_allclose(run.on_arrays().result(), first, atol=1e-12)
    # The caller's generator has moved on.
    rng = np.random.default_rng(0)
    one, two = (prepare("griffin-lim", problem, 3, init="random", rng=rng) for _ in range(2))
    assert abs(one.result() - two.result()).max() > 1e-3


def test_a_configured_algorithm_takes_no_more_hyper_parameters(problem):
    with pytest.raises(ValueError, match="sigma: a configured algorithm has its hyper-parameters"):
        prepare(configure("aux", {}), problem, 3, sigma=99)


@pytest.mark.parametrize(
    ("name", "hyper", "mixes"),
    [
        ("admm", {"rho": np.full((129, 1), 0.5)}, False),
        ("griffin-lim", {"momentum": np.linspace(0, 0.9, 129)[:, None]}, False),
        ("misi", {"momentum": np.full((129, 1), 0.5)}, True),
        ("turned-off", {"share": np.zeros((129, 1))}, False),
        ("turned-off", {"share": np.eye(129, 1)}, True),
    ],
)
def test_whether_a_mixture_is_needed_with_arrays_of_any_shape(name, hyper, mixes, registry):
    @algorithm
    def turned_off(S, p, share=0.0):
        S = p.mag(p.cons(S))
        return S + share * (p.mix(S) - S) if np.any(share) else S

    assert needs_mixture(configure(name, hyper)) == mixes
    torch = pytest.importorskip("torch")
    tensors = {key: torch.from_numpy(value).requires_grad_() for key, value in hyper.items()}
    assert needs_mixture(configure(name, tensors)) == mixes


@pytest.mark.parametrize("machine", ["kernel", "arrays"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("size", [1e-30, 1e-22, 1e18])
def test_the_size_of_the_numbers_does_not_matter(size, dtype, machine, make_sources):
    # Squares of such numbers vanish or overflow in single precision.
    stft = STFT(16, 4)
    x = make_sources()
    results = []
    for factor in (1.0, size):
        V, mixture = (np.abs(stft(x)) * factor).astype(dtype), (x.sum(0) * factor).astype(dtype)
        p = Problem(V, mixture, stft=stft)
        for init in ("mixture", (V * 1j).astype(np.result_type(dtype, np.complex64))):
            run = prepare("mix-incons", p, 3, init=init, machine=machine)
            assert run.machine == machine
            spectrograms = [stft.inverse(S, length=p.length) for S in run.spectrograms()]
            for y in (run.result(), list(run.waveforms())[-1], spectrograms[-1]):
                assert y.dtype == dtype
                results.append((init is not None and isinstance(init, str), factor, y / factor))
    for kind in (True, False):
        one, *others = (y for k, _, y in results if k == kind)
        for other in others:
            np.testing.assert_allclose(other, one, atol=(1e-3 if dtype == "float32" else 1e-9))


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")
def test_transformed_tensors_are_no_plain_numbers():
    torch = pytest.importorskip("torch")
    stft = STFT(16, 4)
    x = torch.randn(2, 61, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    V = stft(x).abs()

    def loss(V):
        return (prepare("misi", Problem(V, x.sum(0), stft=stft), 2).result() ** 2).sum()

    expected = torch.autograd.functional.jacobian(loss, V)
    torch.testing.assert_close(torch.func.grad(loss)(V), expected)
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(V, torch.ones_like(V))
        tangent = torch.autograd.forward_ad.unpack_dual(loss(dual)).tangent
    torch.testing.assert_close(tangent, expected.sum())


def test_without_a_compiler_the_arrays_run(problem, monkeypatch):
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")
    run = prepare("misi", problem, 2)
    assert run.machine == "arrays" and "NUMBA_DISABLE_JIT" in run.choice.reasons["kernel"]
