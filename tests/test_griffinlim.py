"""griffinlim is a drop-in for librosa's: the same arguments give the same numbers."""

import itertools
import warnings

import librosa
import numpy as np
import pytest

from phaserec import STFT, griffinlim, misi
from phaserec._padding import MODES


def magnitudes(n_fft=64, n_frames=20, batch=(), seed=0):
    """Magnitudes of no signal: nothing is easy about them."""
    return np.random.default_rng(seed).uniform(0.1, 2, (*batch, n_fft // 2 + 1, n_frames))


def agree(S, tol=1e-8, **arguments):
    """Librosa's result and ours, from generators in the same state."""
    seeds = arguments.pop("seeds", (0, 0))
    theirs = librosa.griffinlim(S, pad_mode="constant", random_state=seeds[0], **arguments)
    ours = griffinlim(S, pad_mode="constant", random_state=seeds[1], **arguments)
    assert ours.shape == theirs.shape
    assert ours.dtype == theirs.dtype
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=tol * np.abs(theirs).max())


@pytest.mark.parametrize("momentum", [0, 0.5, 0.99])
@pytest.mark.parametrize("init", [None, "random"])
@pytest.mark.parametrize("n_iter", [0, 1, 2, 6])
def test_momentum_and_init(momentum, init, n_iter):
    agree(magnitudes(), momentum=momentum, init=init, n_iter=n_iter)


@pytest.mark.parametrize(
    "make",
    [
        lambda: 7,
        lambda: np.random.RandomState(7),
        lambda: np.random.default_rng(7),
    ],
    ids=["int", "RandomState", "Generator"],
)
def test_seeds(make):
    agree(magnitudes(), n_iter=2, seeds=(make(), make()))


def _words(arguments):
    """The same name in every process, also of a function."""
    return str({name: getattr(value, "__name__", value) for name, value in arguments.items()})


@pytest.mark.parametrize(
    "arguments",
    [
        {"n_fft": 63},
        {"n_fft": 63, "hop_length": 17},
        {"hop_length": 16, "win_length": 48},
        {"win_length": 40},
        {"hop_length": 20, "window": "hamming"},
        {"window": ("kaiser", 8.0)},
        {"window": np.hamming(64)},
        {"window": np.hamming},
        {"n_fft": 64},
    ],
    ids=_words,
)
def test_transforms(arguments):
    agree(magnitudes(arguments.get("n_fft", 64)), n_iter=3, **arguments)


@pytest.mark.parametrize(
    "arguments",
    [{}, {"n_fft": 63}, {"hop_length": 20}, {"window": ("kaiser", 4.0)}, {"window": "boxcar"}],
    ids=str,
)
def test_transforms_without_centre_padding(arguments):
    """With windows that see the edges; librosa divides by others' next to nothing there."""
    S = magnitudes(arguments.get("n_fft", 64))
    agree(S, n_iter=3, center=False, **{"window": "hamming", **arguments})


def test_edges_that_frames_hardly_see_are_silent():
    S = magnitudes()
    ours = griffinlim(S, n_iter=8, center=False, rng=0)
    inside = griffinlim(S, n_iter=8, center=False, window="hamming", rng=0)
    assert not ours[:3].any() and not ours[-3:].any()
    assert np.abs(ours).max() < 3 * np.abs(inside).max()


@pytest.mark.parametrize("length", [19 * 16, 19 * 16 + 1, 20 * 16 - 1])
def test_length(length):
    S = magnitudes()
    agree(S, n_iter=3, length=length)
    assert griffinlim(S, n_iter=1, length=length).shape == (length,)


@pytest.mark.parametrize("batch", [(2,), (2, 3)])
def test_batches(batch):
    agree(magnitudes(batch=batch), n_iter=3)


def test_single_precision():
    agree(magnitudes().astype("float32"), n_iter=3, tol=1e-4)


@pytest.mark.parametrize("kind", ["float32", "float64", np.float32, np.dtype("float64")])
def test_dtype_of_the_result(kind):
    for given in ("float32", "float64"):
        S = magnitudes().astype(given)
        assert griffinlim(S, n_iter=1, dtype=kind, rng=0).dtype == np.dtype(kind)
        assert griffinlim(S, n_iter=1, rng=0).dtype == np.dtype(given)


@pytest.mark.parametrize("momentum", [0, 0.99])
def test_torch(momentum):
    torch = pytest.importorskip("torch")
    S = magnitudes(batch=(2,))
    ours = griffinlim(torch.from_numpy(S), n_iter=4, momentum=momentum, rng=3)
    assert ours.dtype == torch.float64
    np.testing.assert_allclose(ours, griffinlim(S, n_iter=4, momentum=momentum, rng=3), atol=1e-9)


def test_a_dtype_of_one_library_names_that_of_the_other():
    torch = pytest.importorskip("torch")
    S = magnitudes()
    for kind in ("float32", np.float32, np.dtype("float32"), torch.float32):
        assert griffinlim(torch.from_numpy(S), n_iter=1, dtype=kind).dtype == torch.float32
        assert griffinlim(S, n_iter=1, dtype=kind).dtype == np.float32
    with pytest.raises(ValueError, match=r"dtype=torch\.int16 must be a floating-point"):
        griffinlim(S, dtype=torch.int16)


def test_the_two_names_of_the_generator():
    S = magnitudes()
    for one in (np.random.default_rng, np.random.RandomState):
        np.testing.assert_array_equal(
            griffinlim(S, n_iter=1, rng=one(3)), griffinlim(S, n_iter=1, random_state=one(3))
        )
    np.testing.assert_array_equal(
        griffinlim(S, n_iter=1, rng=3), griffinlim(S, n_iter=1, rng=np.random.default_rng(3))
    )


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("momentum", [0, 0.99])
def test_the_true_phase_is_a_fixed_point(momentum, mode):
    # librosa takes no phase to start from; here it is an argument of its own.
    x = np.random.default_rng(0).standard_normal(1000)
    C = STFT(64, pad_mode=mode)(x)
    arguments = {"length": 1000, "momentum": momentum, "n_iter": 8, "pad_mode": mode}
    for init in (C, C / np.abs(C)):
        back = griffinlim(np.abs(C), init=init, **arguments)
        np.testing.assert_allclose(back, x, atol=1e-9)


@pytest.mark.parametrize(
    "given",
    [*({"pad_mode": mode} for mode in ("reflect", "symmetric", "edge")), {"center": False}],
    ids=str,
)
@pytest.mark.parametrize("n_iter", [0, 1, 3])
def test_other_ends_differ_from_librosa_near_the_ends_alone(n_iter, given):
    S = magnitudes(n_frames=60)
    arguments = {"n_iter": n_iter, "random_state": 0, **given}
    theirs, ours = librosa.griffinlim(S, **arguments), griffinlim(S, **arguments)
    assert ours.shape == theirs.shape
    assert not np.allclose(ours, theirs)
    far = slice((n_iter + 1) * 64, -(n_iter + 1) * 64)
    np.testing.assert_allclose(ours[far], theirs[far], atol=1e-8 * np.abs(theirs).max())


@pytest.mark.parametrize("init", [None, "random"])
@pytest.mark.parametrize("momentum", [0, 0.99])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", ["float32", "float64"])
@pytest.mark.parametrize("known", [False, True])
def test_any_arguments_give_a_better_waveform(known, kind, mode, momentum, init):
    x = np.sin(np.arange(1011) * 0.3) + np.sin(np.arange(1011) ** 2 * 1e-3)
    given = {"hop_length": 16, "win_length": 48, "window": np.hanning, "pad_mode": mode}
    stft = STFT(64, 16, 48, np.hanning, pad_mode=mode)
    S = np.abs(stft(x))
    arguments = {"momentum": momentum, "init": init, "rng": 0, "dtype": kind, **given}
    length = x.size if known else None
    few, many = (griffinlim(S, n_iter=n, length=length, **arguments) for n in (0, 32))
    assert few.dtype == many.dtype == kind
    assert few.shape == many.shape == (x.size if known else x.size // 16 * 16,)
    errors = [np.linalg.norm(np.abs(stft(y)) - S) for y in (few, many)]
    assert errors[1] < 0.8 * errors[0]


def sweep(length, rate=22050):
    """A tone that rises by seven octaves: what librosa's own tests run on."""
    t = np.arange(length) / length
    return np.sin(2 * np.pi * 55 * length / rate * (2 ** (7 * t) - 1) / (7 * np.log(2)))


@pytest.mark.filterwarnings("ignore:.*seen by no frame:UserWarning")
@pytest.mark.parametrize("center", [False, True])
@pytest.mark.parametrize("window", ["hann", "rect"])
@pytest.mark.parametrize("n_fft", [256, 257])
@pytest.mark.parametrize("win_length", [None, 128])
@pytest.mark.parametrize("hop_length", [None, 128])
def test_arguments_in_all_combinations(hop_length, win_length, n_fft, window, center):
    """The grid of librosa's tests, an eighth of its size: lengths, precisions, finite values."""
    x = sweep(1100)
    transform = {"hop_length": hop_length, "win_length": win_length, "window": window}
    transform |= {"n_fft": n_fft, "center": center}
    natural = librosa.istft(librosa.stft(x, **transform), **transform).size
    choices = (
        ["constant", "reflect"],
        ["float32", "float64"],
        [None, x.size],
        [0, 0.99],
        [None, "random"],
        [None, 0, np.random.RandomState()],
    )
    targets = {mode: np.abs(librosa.stft(x, pad_mode=mode, **transform)) for mode in choices[0]}
    for mode, kind, length, momentum, init, state in itertools.product(*choices):
        arguments = {"pad_mode": mode, "dtype": kind, "length": length, "momentum": momentum}
        arguments |= {"init": init, "random_state": state}
        y = griffinlim(targets[mode], n_iter=3, **arguments, **transform)
        assert y.shape == (natural if length is None else length,), arguments
        assert y.dtype == kind and np.isfinite(y).all(), arguments
        # Not at the edges, where some windows see next to nothing.
        assert 0.1 < np.std(y[100:-100]) < 3, arguments


@pytest.mark.parametrize("mode", ["constant", "reflect"])
def test_channels_are_independent(mode):
    x = np.stack([sweep(9000), sweep(9000)[::-1]])
    S = np.abs(librosa.stft(x, pad_mode=mode))
    both = griffinlim(S, n_iter=2, length=9000, pad_mode=mode, init=None)
    assert both.shape == x.shape
    for one, y in zip(S, both, strict=True):
        alone = griffinlim(one, n_iter=2, length=9000, pad_mode=mode, init=None)
        np.testing.assert_allclose(y, alone, atol=1e-9)


@pytest.mark.parametrize("mode", MODES)
def test_plain_griffin_lim_never_gets_worse(mode):
    stft = STFT(64, pad_mode=mode)
    S = magnitudes()
    errors = []
    for n in range(12):
        y = griffinlim(S, n_iter=n, momentum=0, rng=0, pad_mode=mode)
        errors.append(np.linalg.norm(np.sqrt(stft.bin_weights) * (np.abs(stft(y)) - S)))
    assert np.all(np.diff(errors) <= 1e-9 * errors[0])


@pytest.mark.parametrize("mode", MODES[1:])
def test_misi_takes_the_padding(mode):
    stft = STFT(64, pad_mode=mode)
    sources = np.random.default_rng(0).standard_normal((2, 500))
    S = stft(sources)
    exact = misi(np.abs(S), sources.sum(0), init=S, pad_mode=mode)
    np.testing.assert_allclose(exact, sources, atol=1e-9)
    mixed = misi(np.abs(S), sources.sum(0), pad_mode=mode)
    np.testing.assert_allclose(mixed.sum(0), sources.sum(0), atol=1e-9)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"init": "zero"}, "init='zero'"),
        ({"init": "mixture"}, "init='mixture'"),
        ({"init": magnitudes()}, "init.*complex"),
        ({"init": magnitudes()[:, :4] + 0j}, "init.*shape"),
        ({"rng": "seed"}, "rng='seed'"),
        ({"random_state": "seed"}, "'seed'"),
        ({"rng": 1.5}, "rng=1.5"),
        ({"rng": 1, "random_state": 1}, "random_state and rng"),
        ({"momentum": -0.1}, "momentum=-0.1"),
        ({"momentum": float("nan")}, "momentum=nan"),
        ({"momentum": None}, "momentum=None must be a number"),
        ({"momentum": "fast"}, "momentum='fast' must be a number"),
        ({"dtype": np.int16}, "dtype=.*int16.* must be a floating-point type"),
        ({"dtype": complex}, "dtype=.*complex.* must be a floating-point type"),
        ({"dtype": "float_power"}, "dtype='float_power' must be a floating-point type"),
        ({"pad_mode": "mirror"}, "pad_mode='mirror' must be one of"),
        ({"n_iter": -1}, "n_iter=-1"),
        ({"n_fft": 512}, "F=33"),
        ({"length": 3}, "length=3"),
        ({"S": -magnitudes()}, "non-negative"),
        ({"S": magnitudes() + 0j}, "real"),
        ({"S": magnitudes()[0]}, r"\(20,\)"),
    ],
)
def test_mistakes(arguments, message):
    with pytest.raises(ValueError, match=message):
        griffinlim(**({"S": magnitudes()} | arguments))


@pytest.mark.parametrize("kind", [float, np.float32])
def test_momentum_above_one_warns(kind):
    with pytest.warns(UserWarning, match=r"momentum=1\.1"):
        griffinlim(magnitudes(), n_iter=1, momentum=kind(1.1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        griffinlim(magnitudes(), n_iter=1, momentum=1)


def test_unseen_samples_warn():
    with pytest.warns(UserWarning, match="seen by no frame"):
        griffinlim(magnitudes(), n_iter=1, hop_length=64)


@pytest.mark.parametrize(
    ("argument", "value"), [("init", "garbage"), ("random_state", "garbage"), ("momentum", -1)]
)
def test_mistakes_are_found_before_silence_is(argument, value):
    with pytest.raises(ValueError, match=str(value)):
        griffinlim(np.zeros((33, 3)), **{argument: value})


def test_silence():
    with pytest.warns(UserWarning, match="momentum=2"):
        assert not np.any(griffinlim(np.zeros((33, 3)), momentum=2))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not np.any(griffinlim(np.zeros((33, 20)), n_iter=3))


def test_the_result_has_the_magnitudes_of_a_real_signal():
    # A signal that exists: the magnitudes are met better and better.
    S = np.abs(STFT(64)(np.sin(np.arange(1000) * 0.3)))
    errors = [
        np.linalg.norm(np.abs(STFT(64)(griffinlim(S, n_iter=n, momentum=0, rng=0))) - S)
        for n in (1, 4, 16, 64)
    ]
    assert np.all(np.diff(errors) < 0)
