"""The fused kernel computes what the array path computes, whatever the problem looks like."""

import os
import subprocess
import sys
import threading
from itertools import product

import numba
import numpy as np
import pytest

from phaserec import STFT, Problem, algorithm, iterate
from phaserec._xp import namespace
from phaserec.algorithms import ALGORITHMS, configure
from phaserec.kernels.cpu import engine, handover, sweep
from phaserec.kernels.cpu import fused as solver
from phaserec.kernels.cpu.lanes import lane_width
from phaserec.solving import prepare
from phaserec.solving.dispatch import needs_mixture

# Every algorithm that the kernel takes, with settings that lead to programs of their own.
SETTINGS = {
    "griffin-lim": ("griffin-lim", {}),
    "fast-griffin-lim": ("fast-griffin-lim", {}),
    "accelerated-griffin-lim": ("accelerated-griffin-lim", {"alpha": 0.7, "beta": 0.4}),
    "admm": ("admm", {"rho": 0.3}),
    "raar": ("raar", {"beta": 0.8}),
    "difference-map": ("difference-map", {"beta": 0.7}),
    "hybrid": ("hybrid", {"n_explore": 2, "n_refine": 1}),
    "bregmisi": ("bregmisi", {"mu": 0.05}),
    "bregmisi-powers": ("bregmisi", {"beta": 0.5, "d": 1.3, "side": "right", "mu": 0.02}),
    "misi": ("misi", {}),
    "misi-mix-first": ("misi-mix-first", {}),
    "mix-incons": ("mix-incons", {"sigma": 2.0}),
    "mix-incons-hard-mag": ("mix-incons-hard-mag", {"sigma": 0.3}),
    "mag-incons-hard-mix": ("mag-incons-hard-mix", {"sigma": 0.7}),
    "incons-hard-mix": ("incons-hard-mix", {}),
    "aux": ("aux", {"sigma": 0.8}),
    "aux-sss": ("aux", {"sigma": 0.5, "tau": 0.2, "magnitude": "soft"}),
    "aux-hss": ("aux", {"sigma": 2.0, "tau": 0.4, "mixing": "hard", "magnitude": "soft"}),
    "aux-osh": ("aux", {"mixing": "off"}),
    "difference-map-momentum": ("difference-map", {"momentum": 0.3}),
    "hybrid-momentum": ("hybrid", {"n_explore": 1, "n_refine": 2, "momentum": 0.3}),
    "incons-hard-mix-momentum": ("incons-hard-mix", {"momentum": 0.5}),
    "raar-momentum": ("raar", {"momentum": 0.4}),
    "misi-momentum": ("misi", {"momentum": 0.6}),
    "mix-incons-momentum": ("mix-incons", {"sigma": 2.0, "momentum": 0.5}),
}
MORE = {
    f"{name}-momentum": (name, {"momentum": 0.5})
    for name in ("griffin-lim", "admm", "misi-mix-first", "mix-incons-hard-mag", "aux")
} | {
    f"aux-{m}-{c}-{v}": ("aux", {"tau": 0.3, "mixing": m, "consistency": c, "magnitude": v})
    for m, c, v in product(("off", "soft", "hard"), repeat=3)
}
# One program that stores nothing, one that mixes, one that stores a spectrogram, and one that is
# another in the last iteration.
LOOPS = ["griffin-lim", "misi", "mix-incons", "raar"]
# And those of several passes.
SOME = [*LOOPS, "difference-map", "hybrid"]
TURNS = ["difference-map", "difference-map-momentum", "hybrid", "hybrid-momentum"]


def make(
    stft,
    length,
    n_sources=2,
    dtype="float64",
    seed=0,
    batch=(),
    mixture="waveform",
    **kwargs,
):
    """Problem of noisy magnitudes: sources whose magnitudes the mixture does not quite allow."""
    rng = np.random.default_rng(seed)
    sources = rng.standard_normal((*batch, n_sources, length))
    V = np.abs(stft(sources))
    V *= rng.uniform(0.5, 1.5, V.shape)
    x = sources.sum(-2).astype(dtype)
    if mixture == "spectrogram":  # one that is not the transform of any signal
        x = stft(x)
        x *= rng.uniform(0.8, 1.2, x.shape).astype(dtype)
        kwargs["length"] = length
    return Problem(V.astype(dtype), None if mixture is None else x, stft=stft, **kwargs)


def arrays(name, p, n_iter, **kwargs):
    """Waveforms by the array path."""
    *_, S = iterate(name, p, n_iter, **kwargs)
    return p.waveforms(S)


def fused(name, p, init=None, rng=None, **hyper):
    """The problem on the kernel, None where the array path solves it."""
    return prepare(name, p, 1, init=init, rng=rng, **hyper).choice.fused


def close(ours, expected, tol):
    """Equal to rounding, relative to the largest sample."""
    ours, expected = np.asarray(ours), np.asarray(expected)
    assert ours.shape == expected.shape and ours.dtype == expected.dtype
    np.testing.assert_allclose(ours, expected, atol=tol * np.abs(expected).max(), rtol=0)


def near(ours, expected, tol):
    """Equal to rounding in the mean: single samples may be ill-conditioned."""
    assert ours.shape == expected.shape
    assert np.linalg.norm(ours - expected) <= tol * np.linalg.norm(expected)


def check(name, p, n_iter=3, tol=1e-10, compare=close, **kwargs):
    """The kernel takes the problem and agrees with the array path."""
    assert fused(name, p, **kwargs) is not None
    compare(prepare(name, p, n_iter, **kwargs).result(), arrays(name, p, n_iter, **kwargs), tol)


@pytest.fixture
def threaded(monkeypatch):
    """Threads and one iteration at a time, however short the signal."""
    monkeypatch.setattr(solver, "_WORTH_THREADS", 0)
    monkeypatch.setattr(solver, "_CALL", 1)
    monkeypatch.setattr(solver, "_AT_LEAST", 1)


# -- algorithms ---------------------------------------------------------------------------------


@pytest.mark.parametrize("setting", SETTINGS)
def test_equals_the_array_path(setting):
    name, hyper = SETTINGS[setting]
    p = make(STFT(64, 16), 643, n_sources=3)
    for n_iter in (1, 2, 3):
        check(name, p, n_iter, **hyper)


@pytest.mark.parametrize("setting", SOME)
def test_equals_the_array_path_in_single_precision(setting):
    name, hyper = SETTINGS[setting]
    p = make(STFT(64, 16), 643, dtype="float32")
    check(name, p, 1, 1e-5, **hyper)
    # Rounding is amplified where a bin is almost zero and its phase open.
    check(name, p, 3, 1e-3, compare=near, **hyper)


def initial(kind, p, seed=5):
    """An ``init`` of a kind; a given one is no transform of anything, not even real at DC."""
    if kind != "given":
        return kind
    rng = np.random.default_rng(seed)
    shape = p.magnitudes.shape
    S = rng.standard_normal(shape) + 1j * rng.standard_normal(shape)
    return S.astype(np.result_type(p.magnitudes, np.complex64))


@pytest.mark.parametrize("kind", ["random", "zero", "given"])
@pytest.mark.parametrize("setting", SOME)
def test_initial_phases(setting, kind):
    name, hyper = SETTINGS[setting]
    p = make(STFT(64, 16), 643)
    for n_iter in (1, 2):
        check(name, p, n_iter, init=initial(kind, p), rng=3, **hyper)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("mixture", ["waveform", "spectrogram"])
@pytest.mark.parametrize("kind", ["mixture", "random", "zero", "given"])
@pytest.mark.parametrize("setting", SETTINGS | MORE)
def test_every_program(setting, kind, mixture, dtype):
    name, hyper = (SETTINGS | MORE)[setting]
    p, exact = (
        make(STFT(64, 16), 643, n_sources=3, dtype=d, mixture=mixture) for d in (dtype, "float64")
    )
    init = initial(kind, p)
    start = p.start(init, 3).astype(np.complex128)
    for n_iter in (1, 2, 3):
        expected = arrays(name, p, n_iter, init=init, rng=3, **hyper)
        ours = prepare(name, p, n_iter, init=init, rng=3, **hyper).result()
        if dtype == "float64":
            near(ours, expected, 1e-10)
        elif n_iter == 1:
            near(ours, expected, 1e-5)
        else:
            # Some programs amplify rounding a hundredfold an iteration: the kernel may be as far
            # from the truth as the array path is.
            truth = arrays(name, exact, n_iter, init=start, **hyper)
            off = np.linalg.norm(expected - truth) / np.linalg.norm(truth)
            near(ours, truth, 1e-5 + 4 * off)


@pytest.mark.parametrize("setting", [*SOME, "misi-mix-first"])
def test_a_mixture_given_as_a_spectrogram(setting):
    name, hyper = SETTINGS[setting]
    check(name, make(STFT(64, 16), 643, mixture="spectrogram"), **hyper)


def test_without_a_mixture():
    stft = STFT(64, 16)
    for batch in [(), (3,), (2, 2)]:
        p = Problem(make(stft, 643, batch=batch).magnitudes, stft=stft, length=643)
        check("griffin-lim", p, rng=1)
    p = Problem(make(stft, 643).magnitudes[0], stft=stft)
    check("griffin-lim", p, init="zero")
    with pytest.raises(ValueError, match="needs a mixture"):
        prepare("misi", p, 1).result()


def test_no_iteration_gives_the_start():
    p = make(STFT(64, 16), 643)
    np.testing.assert_array_equal(prepare("misi", p, 0).result(), p.waveforms(p.start()))


@pytest.mark.parametrize("sigma", [0, 1e-3, 1e3, np.float32(0.5)])
@pytest.mark.parametrize("name", ["mix-incons", "mag-incons-hard-mix"])
def test_values_of_hyper_parameters(name, sigma):
    check(name, make(STFT(64, 16), 643), sigma=sigma)


@pytest.mark.parametrize(
    ("mixing", "magnitude"), [("off", "hard"), ("hard", "soft"), ("soft", "hard")]
)
def test_terms_without_weight(mixing, magnitude):
    # The array path keeps S where no soft term has a weight; 0 / 0 is what the formula says.
    p = make(STFT(64, 16), 643)
    hyper = {"mixing": mixing, "magnitude": magnitude, "sigma": 0.0, "tau": 0.0}
    close(prepare("aux", p, 2, **hyper).result(), arrays("aux", p, 2, **hyper), 1e-10)


@pytest.mark.parametrize("scale", [1e-25, 1e-6, 1e6, 1e25])
@pytest.mark.parametrize("setting", SOME)
def test_scales(setting, scale):
    # Beyond 1e±12 squares come near the limits of single precision: numbers are scaled before.
    name, hyper = SETTINGS[setting]
    p = make(STFT(64, 16), 643, dtype="float32")
    q = Problem(p.magnitudes * np.float32(scale), p.mixture * np.float32(scale), stft=p.stft)
    assert fused(name, q, **hyper) is not None
    ours = prepare(name, q, 1, **hyper).result()
    close(ours, arrays(name, q, 1, **hyper), 1e-5)
    close(ours / np.float32(scale), prepare(name, p, 1, **hyper).result(), 1e-5)


# -- geometry -----------------------------------------------------------------------------------

GRID = [
    *[(n, n // k) for n in (256, 512, 1024, 2048) for k in (2, 4, 8)],
    (400, 160),
    (400, 100),
    (960, 240),
    (960, 480),
    (1024, 300),  # does not divide the frame
    (250, 100),
    (16, 4),
    (16, 3),
    (16, 7),
    (16, 1),
    (8, 1),
    (4, 1),
    (64, 1),  # a frame reaches several blocks ahead
    (240, 2),
]


@pytest.mark.parametrize(("n_fft", "hop"), GRID)
@pytest.mark.parametrize("setting", SOME)
def test_sizes_and_hops(setting, n_fft, hop):
    name, hyper = SETTINGS[setting]
    p = make(STFT(n_fft, hop), 37 * hop + hop // 3)
    check(name, p, 2, **hyper)


@pytest.mark.parametrize(
    "stft",
    [
        STFT(64, 16, window="hamming"),
        STFT(64, 32, window="rect"),
        STFT(64, 64, window="rect"),  # no overlap at all
        STFT(64, 40, window="rect"),
        STFT(64, 12, 48),
        STFT(64, 10, 41),
        STFT(64, 3, 12),
        STFT(64, 16, window=("kaiser", 8.0)),
        STFT(64, 60, 40, strict=False),  # samples that no frame sees
    ],
    ids=str,
)
@pytest.mark.parametrize("setting", SOME)
def test_windows(setting, stft):
    name, hyper = SETTINGS[setting]
    for length in (700, 711):
        check(name, make(stft, length), compare=near, **hyper)


@pytest.mark.parametrize("hop", [8, 16, 20])
@pytest.mark.parametrize("setting", SOME)
def test_without_centre_padding(setting, hop):
    # A window that does not end in zeros: the first samples are seen by its edge alone, and one
    # that is almost zero there would divide rounding errors by almost nothing.
    name, hyper = SETTINGS[setting]
    for length in (64, 65, 500, 513):
        p = make(STFT(64, hop, window="hamming", center=False), length)
        check(name, p, 2, 1e-9, compare=near, **hyper)


@pytest.mark.parametrize("length", [1, 2, 7, 8, 15, 16, 17, 31, 32, 33, 127, 128, 129, 1000, 4001])
@pytest.mark.parametrize("setting", SOME)
def test_lengths(setting, length):
    name, hyper = SETTINGS[setting]
    check(name, make(STFT(16, 4), length), 2, **hyper)


@pytest.mark.parametrize("length", [1, 40, 255, 256, 257, 1000])
@pytest.mark.parametrize("setting", SOME)
def test_lengths_in_single_precision(setting, length):
    name, hyper = SETTINGS[setting]
    check(name, make(STFT(16, 4), length, dtype="float32"), 1, 1e-5, **hyper)


@pytest.mark.parametrize("n_sources", [1, 2, 3, 5])
@pytest.mark.parametrize("setting", SOME)
def test_numbers_of_sources(setting, n_sources):
    name, hyper = SETTINGS[setting]
    check(name, make(STFT(32, 8), 300, n_sources), **hyper)


@pytest.mark.parametrize("batch", [(1,), (3,), (2, 2)])
@pytest.mark.parametrize("kind", [None, "random", "given"])
@pytest.mark.parametrize("setting", SOME)
def test_batches(setting, kind, batch):
    name, hyper = SETTINGS[setting]
    p = make(STFT(32, 8), 300, batch=batch)
    check(name, p, init=initial(kind, p), rng=2, **hyper) if kind else check(name, p, **hyper)


@pytest.mark.parametrize("mixture", ["waveform", "spectrogram"])
@pytest.mark.parametrize("kind", ["mixture", "random", "given"])
@pytest.mark.parametrize("setting", SOME)
def test_ragged_batches(setting, kind, mixture):
    # The mixture and a given start go on beyond the shorter items: that must not matter.
    name, hyper = SETTINGS[setting]
    lengths = [300, 57, 211]
    p = make(STFT(32, 8), 300, batch=(3,), mixture=mixture, lengths=lengths)
    init = initial(kind, p)
    check(name, p, init=init, rng=2, **hyper)
    for row, length in zip(
        prepare(name, p, 2, init=init, rng=2, **hyper).result(), lengths, strict=True
    ):
        assert not np.any(row[:, length:])


# -- memory of the arrays -----------------------------------------------------------------------


def layouts(a):
    """The same values, laid out in every way."""
    spaced = np.zeros((*a.shape[:-1], 2 * a.shape[-1]), a.dtype)
    spaced[..., ::2] = a
    shifted = np.zeros(a.nbytes + 1, np.uint8)[1:].view(a.dtype)
    shifted[:] = a.ravel()
    wide = np.zeros((a.shape[0], a.shape[1] + 3, a.shape[2] + 5), a.dtype)
    wide[:, 1:-2, 2:-3] = a
    locked = a.copy()
    locked.flags.writeable = False
    return {
        "time": np.ascontiguousarray(a),
        "frequency": np.ascontiguousarray(a.swapaxes(-1, -2)).swapaxes(-1, -2),
        "sources": np.asfortranarray(a),
        "spaced": spaced[..., ::2],
        "part": wide[:, 1:-2, 2:-3],
        "backwards": np.ascontiguousarray(a[..., ::-1])[..., ::-1],
        "unaligned": shifted.reshape(a.shape),
        "read-only": locked,
    }


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("setting", SOME)
def test_layouts_of_magnitudes(setting, dtype):
    # 129 bins: enough for the vector code of both layouts and for its remainder.
    name, hyper = SETTINGS[setting]
    p = make(STFT(256, 64), 3000, dtype=dtype)
    expected = prepare(name, p, 2, **hyper).result()
    for values in layouts(p.magnitudes).values():
        q = Problem(values, p.mixture, stft=p.stft)
        np.testing.assert_array_equal(prepare(name, q, 2, **hyper).result(), expected)
        np.testing.assert_array_equal(values, p.magnitudes)


@pytest.mark.parametrize("setting", SOME)
def test_layouts_of_complex_spectrograms(setting):
    name, hyper = SETTINGS[setting]
    p = make(STFT(256, 64), 3000, mixture="spectrogram")
    S = initial("given", p)
    expected = [prepare(name, p, 2, init=init, **hyper).result() for init in ("mixture", S)]
    starts, mixtures = layouts(S), layouts(p.mixture[None])
    for layout in starts:
        q = Problem(p.magnitudes, mixtures[layout][0], stft=p.stft, length=3000)
        for init, wanted in zip(("mixture", starts[layout]), expected, strict=True):
            np.testing.assert_array_equal(prepare(name, q, 2, init=init, **hyper).result(), wanted)


def test_lengths_of_some_batch_axes():
    p = make(STFT(32, 8), 300, batch=(2, 3))
    lengths = [300, 57]
    check("misi", Problem(p.magnitudes, p.mixture, stft=p.stft, lengths=lengths))
    q = Problem(p.magnitudes, stft=p.stft, length=300, lengths=lengths)
    check("griffin-lim", q, rng=1)


def test_magnitudes_shared_by_all_sources():
    V = np.broadcast_to(make(STFT(64, 16), 643).magnitudes[:1], (3, 33, 41))
    p = Problem(V, np.random.default_rng(1).standard_normal(643), stft=STFT(64, 16))
    check("misi", p)


@pytest.mark.parametrize("setting", SOME)
def test_inputs_are_not_changed(setting):
    name, hyper = SETTINGS[setting]
    for mixture in ("waveform", "spectrogram"):
        p = make(STFT(64, 16), 643, mixture=mixture)
        S = initial("given", p)
        before = [a.copy() for a in (p.magnitudes, p.mixture, S)]
        prepare(name, p, 2, **hyper).result()
        prepare(name, p, 2, init=S, **hyper).result()
        for a, b in zip((p.magnitudes, p.mixture, S), before, strict=True):
            np.testing.assert_array_equal(a, b)


# -- silence ------------------------------------------------------------------------------------


@pytest.mark.parametrize("setting", SETTINGS)
def test_silence_stays_silence(setting):
    name, hyper = SETTINGS[setting]
    p = Problem(np.zeros((3, 33, 41)), np.zeros(643), stft=STFT(64, 16))
    assert not np.any(prepare(name, p, 3, **hyper).result())


@pytest.mark.parametrize("setting", SETTINGS)
def test_one_silent_source(setting):
    name, hyper = SETTINGS[setting]
    p = make(STFT(64, 16), 643, 3)
    V = p.magnitudes.copy()
    V[1] = 0
    check(name, Problem(V, p.mixture, stft=p.stft), 2, **hyper)


@pytest.mark.parametrize("setting", SETTINGS)
def test_half_of_the_signal_is_silent(setting):
    name, hyper = SETTINGS[setting]
    p = make(STFT(64, 16), 643, 3)
    V, x = p.magnitudes.copy(), p.mixture.copy()
    V[..., 15:], x[200:] = 0, 0
    check(name, Problem(V, x, stft=p.stft), 2, **hyper)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(3, 33, 41), (3, 1, 1), (3, 33, 1), (3, 1, 41)])
def test_weights_of_the_callers(shape, dtype):
    share = np.random.default_rng(0).dirichlet(np.ones(3), shape[1:])
    p = make(STFT(64, 16), 643, 3, dtype, weights=np.moveaxis(share, -1, 0))
    for name in ("mix-incons", "mag-incons-hard-mix", "misi"):
        check(name, p, 2, 1e-10 if dtype == "float64" else 1e-4)
    batch = make(STFT(64, 16), 643, 3, dtype, batch=(2,), weights=p.weights)
    check("mix-incons", batch, 2, 1e-10 if dtype == "float64" else 1e-4)


@pytest.mark.parametrize("mode", ["reflect", "symmetric", "edge", "wrap"])
@pytest.mark.parametrize(
    ("n_fft", "hop", "length"), [(64, 16, 643), (64, 24, 47), (240, 100, 3000), (64, 16, 1)]
)
def test_centre_padding_with_copies(n_fft, hop, length, mode):
    # Samples near an end may be seen many times, on both sides, where the signal is short.
    p = make(STFT(n_fft, hop, pad_mode=mode), length, 3)
    for setting in SETTINGS:
        name, hyper = SETTINGS[setting]
        check(name, p, 3, 1e-8, **hyper)
    check("misi", p, 2, init="random", rng=0)
    check("misi", p, 2, init=initial("given", p))


@pytest.mark.parametrize("mode", ["reflect", "wrap"])
def test_copies_in_ragged_batches_and_trajectories(mode):
    p = make(STFT(64, 16, pad_mode=mode), 643, 2, batch=(2,), lengths=[643, 301])
    check("mix-incons", p, 3, momentum=0.4)
    run = prepare("raar", p, 3, rng=0)
    for ours, theirs in zip(run.waveforms(), run.on_arrays().waveforms(), strict=True):
        close(ours, theirs, 1e-9)


@pytest.mark.parametrize("mode", ["reflect", "wrap"])
def test_copies_in_single_precision_and_threads(mode, threaded):
    p = make(STFT(256, 64, pad_mode=mode), 40_000, 2, "float32")
    check("misi", p, 3, 1e-3, compare=near)
    check("mix-incons", p, 3, 1e-3, compare=near)


# -- what the kernel leaves to the array path ---------------------------------------------------


@pytest.mark.parametrize("n_fft", [15, 14, 22, 26, 2])
def test_sizes_without_a_fast_transform_take_the_array_path(n_fft):
    p = make(STFT(n_fft, max(1, n_fft // 4), window="hamming"), 100)
    assert fused("misi", p) is None
    close(prepare("misi", p, 2).result(), arrays("misi", p, 2), 1e-12)


def test_arrays_as_hyper_parameters_take_the_array_path():
    p = make(STFT(16, 4), 100)
    sigma = np.random.default_rng(0).uniform(0.5, 2, (2, 9, 1))
    assert fused("mix-incons", p, sigma=sigma) is None
    close(
        prepare("mix-incons", p, 2, sigma=sigma).result(),
        arrays("mix-incons", p, 2, sigma=sigma),
        1e-12,
    )
    assert fused("misi", p, momentum=sigma) is None


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("setting", SOME)
def test_torch_tensors(setting, dtype):
    torch = pytest.importorskip("torch")
    name, hyper = SETTINGS[setting]
    p = make(STFT(64, 16), 643, dtype=dtype)
    q = Problem(torch.from_numpy(p.magnitudes), torch.from_numpy(p.mixture), stft=p.stft)
    assert fused(name, q, **hyper) is not None
    ours = prepare(name, q, 2, **hyper).result()
    assert isinstance(ours, torch.Tensor) and str(ours.dtype) == f"torch.{dtype}"
    np.testing.assert_array_equal(ours.numpy(), prepare(name, p, 2, **hyper).result())
    if dtype == "float64":  # a given start is another program: once is enough
        S = initial("given", p)
        ours = prepare(name, q, 2, init=torch.from_numpy(S), **hyper).result()
        np.testing.assert_array_equal(ours.numpy(), prepare(name, p, 2, init=S, **hyper).result())


def test_lazily_conjugated_tensors():
    # torch only notes a conjugation or a sign; numpy refuses such a tensor.
    torch = pytest.importorskip("torch")
    p = make(STFT(64, 16), 643)
    V, x, S = map(torch.from_numpy, (p.magnitudes, p.mixture, initial("given", p)))
    close(
        prepare("misi", Problem(V, x, stft=p.stft), 2, init=torch.conj(S)).result(),
        torch.from_numpy(prepare("misi", p, 2, init=initial("given", p).conj()).result()),
        1e-10,
    )
    lazy = torch.conj(p.stft(x))
    q = Problem(V, lazy, stft=p.stft, length=643)
    r = Problem(V, lazy.resolve_conj(), stft=p.stft, length=643)
    assert torch.equal(prepare("misi", q, 2).result(), prepare("misi", r, 2).result())


@pytest.mark.parametrize("argument", ["magnitudes", "mixture", "init", "sigma"])
def test_gradients_take_the_array_path(argument):
    torch = pytest.importorskip("torch")
    p = make(STFT(16, 4), 100)
    values = {
        "magnitudes": torch.from_numpy(p.magnitudes),
        "mixture": torch.from_numpy(p.mixture),
        "init": torch.from_numpy(initial("given", p)),
        "sigma": torch.tensor(0.5, dtype=torch.float64),
    }
    values[argument].requires_grad_()
    q = Problem(values["magnitudes"], values["mixture"], stft=p.stft)
    kwargs = {"init": values["init"], "sigma": values["sigma"]}
    assert fused("mix-incons", q, **kwargs) is None
    y = prepare("mix-incons", q, 2, **kwargs).result()
    y.square().sum().backward()
    assert torch.any(values[argument].grad != 0)
    expected = arrays("mix-incons", p, 2, init=initial("given", p), sigma=0.5)
    close(y.detach().numpy(), expected, 1e-10)


# -- reproducibility, threads, processes --------------------------------------------------------


@pytest.mark.parametrize("setting", SOME)
def test_runs_are_identical(setting):
    name, hyper = SETTINGS[setting]
    p = make(STFT(64, 16), 643, dtype="float32")
    first, second = (prepare(name, p, 5, **hyper).result() for _ in range(2))
    np.testing.assert_array_equal(first, second)


@pytest.fixture
def two_threads():
    """Allow numba two threads, and put its number back."""
    if numba.config.NUMBA_NUM_THREADS < 2:
        pytest.skip("numba has one thread on this machine")
    before = numba.get_num_threads()
    numba.set_num_threads(2)
    yield
    numba.set_num_threads(before)


def test_threads_change_nothing(two_threads):
    # Long enough for the rule of the solver, even one iteration at a time.
    p = make(STFT(256, 64), 600_000)
    assert p.magnitudes.size > solver._WORTH_THREADS
    results = []
    for count in (1, 2, 2):
        numba.set_num_threads(count)
        results.append(prepare("misi", p, 2).result())
    np.testing.assert_array_equal(results[1], results[0])
    np.testing.assert_array_equal(results[2], results[0])


@pytest.mark.parametrize(("n_fft", "hop"), [(16, 4), (16, 1), (64, 1), (64, 32), (400, 160)])
@pytest.mark.parametrize("setting", [*SOME, "misi-momentum"])
def test_threads_on_short_signals(setting, n_fft, hop, threaded, two_threads):
    name, hyper = SETTINGS[setting]
    for frames in (1, 31, 32, 33, 100, 401):
        check(name, make(STFT(n_fft, hop), frames * hop, seed=frames), 3, **hyper)


# Frames that reach into the next block, several blocks ahead, and no other frame's samples.
@pytest.mark.parametrize("stft", [STFT(64, 16), STFT(64, 2), STFT(64, 64, window="rect")], ids=str)
@pytest.mark.parametrize("setting", SETTINGS)
def test_sweeps_of_several_iterations(setting, stft, monkeypatch):
    name, hyper = SETTINGS[setting]
    p = make(stft, 2099 * stft.hop_length)
    monkeypatch.setattr(solver, "_WORTH_THREADS", 0)

    def run(threads):
        monkeypatch.setattr(numba, "get_num_threads", lambda: threads)
        return prepare(name, p, 11, **hyper).result()

    one_by_one = run(1)
    for stretch in (1, 10):
        monkeypatch.setattr(engine.Cycle, "_stretch", stretch)
        np.testing.assert_array_equal(run(1), one_by_one)
        for threads in (2, 3):
            in_parts = run(threads)
            np.testing.assert_array_equal(run(threads), in_parts)
            if stft.hop_length > 2:
                np.testing.assert_array_equal(in_parts, one_by_one)
            else:  # sums of more than two blocks, which a seam makes in another order
                close(in_parts, one_by_one, 1e-7)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("setting", TURNS)
def test_a_call_does_any_number_of_passes(setting, dtype, monkeypatch):
    name, hyper = SETTINGS[setting]
    p = make(STFT(64, 16), 403 * 16, dtype=dtype)
    monkeypatch.setattr(engine.Cycle, "_stretch", 4)
    whole = prepare(name, p, 11, **hyper).result()
    if dtype == "float64":
        close(whole, arrays(name, p, 11, **hyper), 1e-8)
    monkeypatch.setattr(solver, "_CALL", 1)
    for passes in (1, 2, 5):  # calls begin with any pass of the cycle
        monkeypatch.setattr(solver, "_AT_LEAST", passes)
        np.testing.assert_array_equal(prepare(name, p, 11, **hyper).result(), whole)


@pytest.mark.parametrize("parts", [2, 3])
@pytest.mark.parametrize("setting", LOOPS)
def test_seams_may_move(setting, parts, monkeypatch):
    name, hyper = SETTINGS[setting]
    p = make(STFT(64, 16), 2099 * 16)
    alone = prepare(name, p, 90, **hyper).result()
    firsts = []

    def remember(bounds):
        firsts.append((bounds, notes(bounds)))
        return firsts[-1][1]

    notes = handover.make_notes
    monkeypatch.setattr(handover, "make_notes", remember)
    monkeypatch.setattr(solver, "_WORTH_THREADS", 0)
    monkeypatch.setattr(numba, "get_num_threads", lambda: parts)
    # Far from where the seams come to rest, wherever that is: the machine has its say in it.
    blocks = -(-p.magnitudes.shape[-1] // lane_width(np.dtype("float64")))
    shares = {2: [0, 8, 26], 3: [0, 6, 15, 26]}[parts]
    uneven = [blocks * share // 26 for share in shares]
    monkeypatch.setattr(sweep, "equal_ranges", lambda blocks, parts: uneven)
    moved = False
    # A busy machine may leave a seam where it was, or bring it back; not every time.
    for _ in range(5):
        np.testing.assert_array_equal(prepare(name, p, 90, **hyper).result(), alone)
        for bounds, left in firsts:  # one call for many iterations, and some for one
            assert bounds == uneven
            final = left[handover.FIRST :: handover.LINE]
            assert np.all(np.diff(final) > 0)
            moved = moved or bool(np.any(final != uneven))
    assert moved


def test_a_seam_moves_half_of_what_is_left():
    notes = handover.make_notes([0, 50, 100])
    first, left = (handover.LINE + k for k in (handover.FIRST, handover.LEFT))
    notes[left] = 40
    # The thread before the seam comes first: ten blocks of two iterations are half of 40 visits.
    assert handover.meet(notes, 1, 1, 0, 2, 50, 20)
    assert notes[first] == 60
    notes[left] = 0
    assert handover.meet(notes, 1, 0, 0, 2, 50, 20)  # the other one finds the place chosen
    assert notes[first] == 60
    notes[handover.LEFT] = 400
    assert handover.meet(notes, 1, 0, 1, 2, 50, 20)  # no further than it may
    assert notes[first] == 30


def test_waiting_ends_with_an_abort():
    notes = handover.make_notes([0, 50, 100])
    handover.abort(notes)
    assert not handover.wait(notes, 1, handover.SEAMS, 1)


def test_python_threads_at_once(threaded):
    # Different lengths: each must keep its own buffers.
    problems = [make(STFT(64, 16), 4000 + 400 * k, seed=k) for k in range(4)]
    alone = [prepare("misi", p, 5).result() for p in problems]
    together = [None] * len(problems)

    def work(k):
        for _ in range(5):
            together[k] = prepare("misi", problems[k], 5).result()

    workers = [threading.Thread(target=work, args=(k,)) for k in range(len(problems))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for ours, expected in zip(together, alone, strict=True):
        np.testing.assert_array_equal(ours, expected)


FORK = """
import os, sys
import numpy as np
from phaserec import STFT, Problem
from phaserec.solving import prepare
from phaserec.kernels.cpu import engine, handover, sweep
from phaserec.kernels.cpu import fused as solver
solver._WORTH_THREADS = 0  # threads, also on a short signal
stft = STFT(64, 16)
sources = np.random.default_rng(0).standard_normal((2, 4000))
p = Problem(abs(stft(sources)), sources.sum(0), stft=stft)
before = prepare("misi", p, 3).result()
child = os.fork()
if child == 0:
    os._exit(0 if np.array_equal(prepare("misi", p, 3).result(), before) else 3)
_, status = os.waitpid(child, 0)
assert np.array_equal(prepare("misi", p, 3).result(), before)
sys.exit(os.waitstatus_to_exitcode(status))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_computes_the_same():
    done = subprocess.run([sys.executable, "-c", FORK], capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr.decode()


# -- references of their own --------------------------------------------------------------------


@pytest.mark.parametrize(("n_fft", "hop", "length"), [(256, 64, 5000), (400, 100, 3333)])
@pytest.mark.parametrize("mixing", [False, True])
def test_literal_griffin_lim_and_misi(n_fft, hop, length, mixing):
    librosa = pytest.importorskip("librosa")

    def forward(y):
        return librosa.stft(y, n_fft=n_fft, hop_length=hop, pad_mode="constant")

    def back(S):
        return librosa.istft(S, n_fft=n_fft, hop_length=hop, length=length)

    p = make(STFT(n_fft, hop), length)
    V, x = p.magnitudes, p.mixture
    S = V * np.exp(1j * np.angle(forward(x)))
    if mixing:  # Gunawan & Sen: transform, replace magnitudes, back, share the error
        y = back(S)
        for _ in range(3):
            y = back(V * np.exp(1j * np.angle(forward(y))))
            y = y + (x - y.sum(0)) / len(V)
    else:  # Griffin & Lim: back, transform, replace magnitudes
        for _ in range(3):
            y = back(S)
            S = V * np.exp(1j * np.angle(forward(y)))
    ours = prepare("misi" if mixing else "griffin-lim", p, 3).result()
    close(ours, y, 1e-9)


def test_a_step_of_ones_own_runs_on_the_kernel(registry):
    @algorithm
    def leaky_search(S, p, rho=0.3, tilt=2.0):
        w = p.mixing_weights
        C = p.mix(p.cons(S))
        M = p.mag((1 + rho) * C - rho * S)
        return (M + tilt * w * C - abs(S) * M / (1 + abs(S) + p.magnitudes)) / (1 + tilt * w)

    assert "leaky-search" in ALGORITHMS
    p = make(STFT(64, 16), 643, 3)
    check("leaky-search", p)
    check("leaky-search", p, rho=0.1, tilt=0.5)


@pytest.mark.parametrize(
    "kind", ["mixture", *(pytest.param(k, marks=pytest.mark.slow) for k in ("random", "given"))]
)
def test_rotated_steps_of_ones_own(kind, registry):
    # The signal of a pass is no signal of the state; mixed or not, and from stored parts or none.
    @algorithm
    def reflected(S, p):
        return p.mag(p.mix(p.cons(2 * p.mag(S) - S)))

    @algorithm
    def averaged(S, p, rho=0.5):
        return (1 - rho) * S + rho * p.mix(p.cons(1.5 * p.mag(S) - 0.5 * S))

    @algorithm(memory=1)
    def aside(state, p):
        S, T = state
        T = p.mag(p.cons(S if T is None else T))
        return p.magnitudes * p.mag(T), T

    p = make(STFT(64, 16), 643, 3)
    q = make(STFT(64, 16), 643, 3, mixture="spectrogram")
    for name, one in product(("reflected", "averaged", "aside"), (p, q)):
        for n_iter in (1, 2, 3):
            check(name, one, n_iter, init=initial(kind, one), rng=1)
        ours = prepare(name, one, 3, init=initial(kind, one), rng=1).waveforms()
        expected = iterate(name, one, 3, init=initial(kind, one), rng=1)
        for y, S in zip(ours, expected, strict=True):
            close(y, one.waveforms(S), 1e-10)


@pytest.mark.parametrize("beta", [0, 0.5, 1.0])
def test_relaxations_of_raar(beta):
    for n_iter in (1, 3):
        check("raar", make(STFT(64, 16), 643), n_iter, beta=beta)


@pytest.mark.parametrize("momentum", [0, 0.5])
def test_an_initial_spectrogram_is_not_taken_for_consistent(momentum):
    # After one iteration S = cons(S); before it that is not so, and the formula shows it.
    def leaning(S, p):
        return p.cons(p.mag(S + 0.3 * p.cons(S)))

    p = make(STFT(64, 16), 643)
    check(leaning, p, momentum=momentum)


def test_what_lingers_of_an_initial_spectrogram_is_never_consistent():
    def lingering(S, p):
        return 0.5 * S + 0.5 * p.cons(p.mag(S))

    check(lingering, make(STFT(64, 16), 643))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["mixture", "random", "zero", "given"])
def test_more_steps_of_ones_own(kind, registry):
    @algorithm(memory=1)
    def heavy_ball(state, p, alpha=0.5):
        S, previous = state
        T = p.mix(p.mag(p.cons(S)))
        previous = T if previous is None else previous
        return T + alpha * (T - previous), T

    @algorithm(memory=1)
    def old_state(state, p, alpha=0.5):
        S, previous = state
        previous = S if previous is None else previous
        return p.mix(p.mag(p.cons(S)) + alpha * (S - previous)), S

    @algorithm
    def relaxed(S, p, rho=0.5):
        return p.mix((1 - rho) * S + rho * p.mag(p.cons(S)))

    @algorithm
    def softly_mixed(S, p):
        return p.cons(p.mix(p.mag(S), p.mixing_weights))

    @algorithm
    def nothing(S, p):
        return S

    p = make(STFT(64, 16), 643, 3)
    for name in ("heavy-ball", "old-state", "relaxed", "softly-mixed", "nothing"):
        for n_iter in (1, 3):
            ours = prepare(name, p, n_iter, init=initial(kind, p), rng=1).result()
            close(ours, arrays(name, p, n_iter, init=initial(kind, p), rng=1), 1e-10)


def test_a_row_whose_terms_cancel(registry):
    @algorithm(memory=1)
    def difference(state, p):
        S, previous = state
        return p.cons((S if previous is None else previous) - S), S

    p = make(STFT(64, 16), 643, 2)
    for n_iter in (1, 2, 3):
        ours = prepare("difference", p, n_iter).result()
        close(ours, arrays("difference", p, n_iter), 1e-10)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_functions_of_real_values(registry, dtype):
    @algorithm
    def compressed(S, p, d=0.7):
        xp = namespace(S)
        power = xp.real(S) ** 2 + xp.imag(S) ** 2
        gain = xp.exp(-xp.sqrt(power)) + xp.log(1 + power) + (0.1 + power) ** -d + power**0.5
        return p.cons(p.mag(S) / (1 + gain) + power**3 * p.mag(S) / (1 + power) ** 3)

    p = make(STFT(64, 16), 643, 2, dtype)
    check("compressed", p, 2, 1e-10 if dtype == "float64" else 1e-4)


def test_a_step_that_branches_on_a_hyper_parameter(registry):
    # Every comparison of a hyper-parameter has to keep the branch that its value takes.
    @algorithm
    def branching(S, p, rho=0.0):
        return p.cons(p.mag(S)) if rho == 0 else p.mag(p.cons(S))

    @algorithm
    def otherwise(S, p, rho=1.0):
        return p.cons(p.mag(S)) if rho != 1 else p.mag(p.cons(S))

    p = make(STFT(64, 16), 643)
    for name in ("branching", "otherwise"):
        for rho in (0.0, 1.0):
            close(prepare(name, p, 2, rho=rho).result(), arrays(name, p, 2, rho=rho), 1e-10)


# -- progress -----------------------------------------------------------------------------------


def fractions(*args, **kwargs):
    """What the generator yields, and what it returns."""
    steps, seen = prepare(*args, **kwargs).progress(), []
    while True:
        try:
            seen.append(next(steps))
        except StopIteration as stop:
            return seen, stop.value


@pytest.mark.parametrize("n_iter", [1, 2, 7])
@pytest.mark.parametrize("batch", [(), (2, 2)])
@pytest.mark.parametrize("setting", [*SOME, "misi-momentum", "fast-griffin-lim"])
def test_fractions_grow_to_one(setting, batch, n_iter, threaded):
    name, hyper = SETTINGS[setting]
    p = make(STFT(64, 16), 643, batch=batch)
    seen, y = fractions(name, p, n_iter, **hyper)
    # The start of an item may be reported, though it iterates nothing: only then nothing grows.
    assert seen[0] >= 0 and seen[-1] == 1
    assert np.all(np.diff(seen) >= 0)
    # Sources that do not depend on each other go one after the other.
    items = int(np.prod(batch)) * (1 if needs_mixture(configure(name, hyper)) else 2)
    assert len({round(f, 9) for f in seen if f > 0}) == n_iter * items
    close(y, arrays(name, p, n_iter, **hyper), 1e-9)


def test_fractions_of_the_array_path():
    seen, y = fractions("difference-map", make(STFT(16, 4), 100), 4, machine="arrays")
    assert seen == [0.25, 0.5, 0.75, 1.0]
    assert y.shape == (2, 100)
