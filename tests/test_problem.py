"""A problem is validated once: every mistake is named, every valid input is kept as it is."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phaserec import STFT, Problem, invert, iterate
from phaserec.projectors import unit

TRANSFORM = STFT(16, 4)
LENGTH = 61
SOURCES = np.random.default_rng(0).standard_normal((3, 2, LENGTH))
V = np.abs(TRANSFORM(SOURCES))  # (3, 2, 9, 16)
MIXTURE = SOURCES.sum(1)
X = TRANSFORM(MIXTURE)


def changed(array, value):
    """The array with one entry replaced."""
    array = array.copy()
    array.flat[5] = value
    return array


VALID = {"magnitudes": V, "mixture": MIXTURE, "stft": TRANSFORM}
NO_MIXTURE = {"mixture": None}
HALF = np.full(V.shape, 0.5)

# What is changed in a valid problem, and a pattern of the message: the argument, and what it was.
MISTAKES = {
    "magnitudes NaN": ({"magnitudes": changed(V, np.nan)}, "magnitudes.*NaN"),
    "magnitudes infinite": ({"magnitudes": changed(V, np.inf)}, "magnitudes.*infinite"),
    "magnitudes negative": ({"magnitudes": changed(V, -0.5)}, "magnitudes.*-0.5"),
    "magnitudes complex": ({"magnitudes": V + 0j}, "magnitudes.*real"),
    "magnitudes longdouble": ({"magnitudes": V.astype("longdouble")}, "magnitudes has dtype float"),
    "magnitudes bool": ({"magnitudes": V > 0}, "magnitudes.*bool"),
    "magnitudes text": ({"magnitudes": "loud"}, "magnitudes"),
    "magnitudes not rectangular": ({"magnitudes": [[1.0, 2.0], [1.0]]}, "magnitudes"),
    "magnitudes None": ({"magnitudes": None}, "magnitudes"),
    "magnitudes scalar": ({"magnitudes": 1.0, **NO_MIXTURE}, r"magnitudes.*\(\)"),
    "magnitudes without J": ({"magnitudes": V[0, 0], "mixture": MIXTURE[0]}, "magnitudes.*J"),
    "magnitudes no frames": ({"magnitudes": V[..., :0]}, "magnitudes.*no values"),
    "magnitudes no sources": ({"magnitudes": V[:, :0]}, "magnitudes.*no values"),
    "magnitudes no items": ({"magnitudes": V[:0], "mixture": MIXTURE[:0]}, "magnitudes.*no val"),
    "magnitudes F": ({"magnitudes": V[..., :-1, :]}, "magnitudes.*F=8"),
    "magnitudes T": ({"magnitudes": V[..., :-1]}, "magnitudes.*T=15"),
    "mixture NaN": ({"mixture": changed(MIXTURE, np.nan)}, "mixture.*NaN"),
    "mixture infinite": ({"mixture": changed(X, complex(0, np.inf))}, "mixture.*infinite"),
    "mixture longdouble": ({"mixture": MIXTURE.astype("longdouble")}, "mixture has dtype float"),
    "mixture shape": ({"mixture": MIXTURE[0]}, r"mixture.*\(61,\)"),
    "mixture has J": ({"mixture": SOURCES}, r"mixture.*\(3, 2, 61\)"),
    "mixture time": ({"mixture": MIXTURE[:, :40]}, "mixture of 40 samples"),
    "mixture empty": ({"mixture": MIXTURE[:, :0]}, "mixture"),
    "mixture scalar": ({"mixture": 1.0}, "mixture"),
    "mixture spectrogram": ({"mixture": X[..., :-1]}, r"mixture.*\(3, 9, 15\)"),
    "mixture real spectrogram": ({"mixture": abs(X)}, "mixture"),
    "length and mixture": ({"length": 60}, "length=60.*61"),
    "length and frames": ({"length": 90, **NO_MIXTURE}, "length=90"),
    "length not an integer": ({"length": 60.5, **NO_MIXTURE}, "length.*60.5"),
    "length negative": ({"length": -1, **NO_MIXTURE}, "length.*-1"),
    "length text": ({"length": "all", **NO_MIXTURE}, "length.*'all'"),
    "lengths shape": ({"lengths": [61, 20]}, r"lengths.*\(2,\)"),
    "lengths scalar": ({"lengths": 20}, "lengths"),
    "lengths zero": ({"lengths": [61, 0, 20]}, "lengths.*0"),
    "lengths long": ({"lengths": [61, 62, 20]}, "lengths.*62"),
    "lengths float": ({"lengths": [61.0, 20.0, 30.0]}, "lengths"),
    "weights NaN": ({"weights": changed(HALF, np.nan)}, "weights.*NaN"),
    "weights sum": ({"weights": 0.7 * HALF}, "weights.*sum to 1"),
    "weights negative": ({"weights": [[[-0.5]], [[1.5]]]}, "weights.*non-negative"),
    "weights shape": ({"weights": HALF[..., :-1]}, "weights.*(15|shape)"),
    "weights longdouble": ({"weights": HALF.astype("longdouble")}, "weights has dtype float"),
    "weights complex": ({"weights": HALF + 0j}, "weights"),
}


@pytest.mark.parametrize(("change", "message"), MISTAKES.values(), ids=list(MISTAKES))
def test_mistakes_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        Problem(**(VALID | change))


@pytest.mark.parametrize("name", ["magnitudes", "mixture", "weights"])
def test_libraries_do_not_mix(name):
    torch = pytest.importorskip("torch")
    arguments = VALID | {"weights": HALF}
    arguments[name] = torch.from_numpy(arguments[name])
    with pytest.raises(ValueError, match=rf"one library.*{name} is Tensor"):
        Problem(**arguments)


def test_an_item_needs_a_frame_without_centre_padding():
    stft = STFT(16, 4, center=False, strict=False)
    with pytest.raises(ValueError, match="lengths"):
        Problem(np.abs(stft(SOURCES)), MIXTURE, stft=stft, lengths=[61, 15, 61])


def test_weights_need_sources():
    with pytest.raises(ValueError, match="weights"):
        Problem(V[0, 0], stft=TRANSFORM, weights=np.ones((9, 16)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"init": "noise"}, "init='noise'.*'mixture', 'random', 'zero'"),
        ({"init": V}, "init.*float64"),
        ({"init": 3}, "init"),
        ({"init": V[0] + 0j}, r"init.*\(2, 9, 16\)"),
        ({"init": changed(V + 0j, np.nan)}, "init.*NaN"),
        ({"init": V.astype("longdouble")}, "init has dtype float"),
        ({"init": "random", "rng": -1}, "rng=-1"),
        ({"init": "random", "rng": 1.5}, "rng=1.5"),
        ({"init": "random", "rng": "seed"}, "rng='seed'"),
    ],
)
def test_bad_start(arguments, message):
    with pytest.raises(ValueError, match=message):
        Problem(**VALID).start(**arguments)


def test_init_is_of_the_same_library():
    torch = pytest.importorskip("torch")
    with pytest.raises(ValueError, match=r"one library.*init is Tensor"):
        Problem(**VALID).start(torch.from_numpy(V + 0j))


def test_the_phase_of_the_mixture_needs_a_mixture():
    with pytest.raises(ValueError, match="mixture"):
        Problem(V, stft=TRANSFORM).start("mixture")


def test_defaults():
    p = Problem(V, MIXTURE, stft=TRANSFORM)
    assert p.length == LENGTH and p.lengths is None and p.weights is None
    np.testing.assert_array_equal(p.start(), V * unit(X)[:, None])
    alone = Problem(V, stft=TRANSFORM)
    assert alone.length == TRANSFORM.n_samples(16) == 60
    np.testing.assert_array_equal(alone.start(rng=3), alone.start("pghi", 3))


def test_frozen():
    p = Problem(V, MIXTURE, stft=TRANSFORM)
    with pytest.raises(dataclasses.FrozenInstanceError):
        p.length = 3


def test_inputs_are_not_changed():
    magnitudes, mixture = V.copy(), MIXTURE.copy()
    invert(magnitudes, mixture, stft=TRANSFORM, n_iter=2, lengths=[61, 20, 61])
    np.testing.assert_array_equal(magnitudes, V)
    np.testing.assert_array_equal(mixture, MIXTURE)


@pytest.mark.parametrize("kind", ["int16", "int64", "uint8"])
def test_integers_are_taken_as_float64(kind):
    magnitudes = (10 * V).astype(kind)
    p = Problem(magnitudes, (100 * MIXTURE).astype("int32"), stft=TRANSFORM)
    assert p.magnitudes.dtype == p.mixture.dtype == np.float64
    np.testing.assert_array_equal(p.magnitudes, magnitudes)


def test_lists_are_taken_as_arrays():
    p = Problem(V[0].tolist(), MIXTURE[0].tolist(), stft=TRANSFORM)
    np.testing.assert_array_equal(p.magnitudes, V[0])


def test_precision_and_library_follow_the_input(backend):
    p = Problem(backend(V), backend(MIXTURE), stft=TRANSFORM)
    assert str(p.X.dtype).endswith(backend.complex)
    for init in ("mixture", "random", "zero", backend(V + 0j)):
        S = p.start(init)
        assert type(S) is type(backend(V))
        assert str(S.dtype).endswith(backend.complex)
        np.testing.assert_allclose(abs(S), p.magnitudes, rtol=backend.tol)
    assert str(p.waveforms(S).dtype).endswith(backend.real)


def test_the_wider_precision_of_the_two_is_kept():
    narrow, wide = V.astype("float32"), MIXTURE
    for magnitudes, mixture in ((narrow, wide), (V, MIXTURE.astype("float32"))):
        p = Problem(magnitudes, mixture, stft=TRANSFORM)
        assert p.magnitudes.dtype == p.mixture.dtype == np.float64
    assert Problem(narrow, X, stft=TRANSFORM).X.dtype == np.complex128


def test_every_kind_of_init():
    p = Problem(V, MIXTURE, stft=TRANSFORM)
    np.testing.assert_array_equal(p.start("zero"), V)
    np.testing.assert_allclose(p.start("mixture"), V * np.exp(1j * np.angle(X))[:, None])
    given = V * np.exp(2j)
    np.testing.assert_array_equal(p.start(given), given)
    angles = np.angle(p.start("random", 0))
    # Uniform on the circle: the first moments of 864 phases vanish, as 1/sqrt(864) = 0.034 does.
    assert all(abs(np.exp(1j * k * angles).mean()) < 0.11 for k in (1, 2))


def test_random_phases_depend_on_the_generator_only():
    p = Problem(V, MIXTURE, stft=TRANSFORM)
    np.testing.assert_array_equal(p.start("random", 7), p.start("random", np.int64(7)))
    np.testing.assert_array_equal(p.start("random", 7), p.start("random", np.random.default_rng(7)))
    state = np.random.RandomState(7)
    assert not np.allclose(p.start("random", 7), p.start("random", state))
    assert not np.allclose(p.start("random"), p.start("random"))


@pytest.mark.parametrize("precision", [32, 64])
def test_one_seed_one_start_in_every_library(precision, make_backend):
    pytest.importorskip("torch")
    starts = []
    for library in ("numpy", "torch"):
        b = make_backend(library, precision)
        starts.append(Problem(b(V), b(MIXTURE), stft=TRANSFORM).start("random", 7))
    np.testing.assert_allclose(*starts, rtol=1e-5 if precision == 32 else 1e-14)


@pytest.mark.parametrize("lengths", [None, [61, 20, 33]])
def test_mixture_as_waveform_and_as_spectrogram_agree(lengths, backend):
    waveform, spectrogram = (
        Problem(backend(V), backend(x), stft=TRANSFORM, length=LENGTH, lengths=lengths)
        for x in (MIXTURE, TRANSFORM(MIXTURE, lengths=lengths))
    )
    ours = [list(iterate("misi", p, 3))[-1] for p in (waveform, spectrogram)]
    np.testing.assert_allclose(*ours, atol=20 * backend.tol)


@pytest.mark.parametrize("lengths", [[61, 20], [[61, 20], [7, 44]]])
def test_lengths_go_with_the_first_batch_axes(lengths):
    # Without a mixture: spectrograms are independent, and so are their lengths.
    magnitudes = V[:2] if np.ndim(lengths) == 2 else V[:2, 0]
    p = Problem(magnitudes, stft=TRANSFORM, length=LENGTH, lengths=lengths)
    *_, S = iterate("griffin-lim", p, 3, init="zero")
    for index, length in np.ndenumerate(lengths):
        n_frames = TRANSFORM.n_frames(length)
        alone = Problem(magnitudes[index][..., :n_frames], stft=TRANSFORM, length=length)
        *_, expected = iterate("griffin-lim", alone, 3, init="zero")
        np.testing.assert_allclose(S[index][..., :n_frames], expected, atol=1e-10)
        assert not np.any(p.waveforms(S)[index][length:])


def test_what_lies_beyond_an_item_is_ignored():
    # Also in a mixture spectrogram, whose frames beyond the item may hold anything.
    lengths = [61, 20, 33]
    problems = [
        Problem(V, x, stft=TRANSFORM, length=LENGTH, lengths=lengths)
        for x in (TRANSFORM(MIXTURE, lengths=lengths), _with_padding_disturbed(lengths))
    ]
    np.testing.assert_array_equal(problems[0].X, problems[1].X)


def _with_padding_disturbed(lengths):
    padded = TRANSFORM(MIXTURE, lengths=lengths).copy()
    for item, length in enumerate(lengths):
        padded[item, :, TRANSFORM.n_frames(length) :] = 1 + 1j
    return padded


def test_default_mixing_weights_share_by_magnitude():
    magnitudes = V.copy()
    magnitudes[0, :, 3, 4] = 0
    p = Problem(magnitudes, MIXTURE, stft=TRANSFORM)
    expected = magnitudes / np.maximum(magnitudes.sum(1, keepdims=True), 1e-300)
    expected[0, :, 3, 4] = 0.5
    np.testing.assert_allclose(p.mixing_weights, expected, rtol=1e-14)


def test_given_weights_broadcast(backend):
    share = backend(np.array([0.25, 0.75])[:, None, None])
    p = Problem(backend(V), backend(MIXTURE), stft=TRANSFORM, weights=share)
    assert tuple(p.mixing_weights.shape) == V.shape
    np.testing.assert_array_equal(p.mixing_weights[:, 1], np.full(V[:, 1].shape, 0.75))


@st.composite
def valid_inputs(draw):
    """Magnitudes and mixtures of any shape and a wide range of values, silence included."""
    precision = draw(st.sampled_from([32, 64]))
    n_fft = draw(st.integers(2, 12))
    stft = STFT(n_fft, draw(st.integers(1, max(n_fft // 2, 1))), window="hamming")
    length = draw(st.integers(1, 30))
    batch = draw(st.lists(st.integers(1, 2), max_size=2))
    n_sources = draw(st.integers(1, 3))
    rng = np.random.default_rng(draw(st.integers(0, 99)))

    def values(*shape):
        scale = 10.0 ** draw(st.integers(-30, 6))
        silent = draw(st.floats(0, 1))
        return scale * rng.standard_normal(shape) * (rng.random(shape) > silent)

    magnitudes = abs(values(*batch, n_sources, stft.n_bins, stft.n_frames(length)))
    mixture = values(*batch, length)
    if draw(st.booleans()):
        mixture = stft(mixture)
    kwargs = {"stft": stft, "length": length}
    if batch and draw(st.booleans()):
        kwargs["lengths"] = rng.integers(1, length + 1, batch[: draw(st.integers(1, len(batch)))])
    return precision, magnitudes, mixture, kwargs


@given(valid_inputs())
@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_valid_input_never_fails(library, make_backend, drawn):
    if library == "torch":
        pytest.importorskip("torch")
    precision, magnitudes, mixture, kwargs = drawn
    b = make_backend(library, precision)
    p = Problem(b(magnitudes), b(mixture), **kwargs)
    for init in ("mixture", "random", "zero"):
        for S in iterate("misi", p, 2, init=init, rng=0):
            assert tuple(S.shape) == magnitudes.shape
            assert np.all(np.isfinite(np.asarray(S)))
    assert tuple(p.waveforms(S).shape) == (*magnitudes.shape[:-2], kwargs["length"])
