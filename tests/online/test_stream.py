"""Streams: literal definitions, any pieces, and more look-ahead."""

import numpy as np
import pytest

import phaserec
from phaserec import STFT, Problem, measures
from phaserec.algorithms import names
from phaserec.online import Frames, Stream

RNG = np.random.default_rng(0)
SOURCES = RNG.standard_normal((2, 900))
LENGTH = SOURCES.shape[-1]
STFTS = [
    STFT(64, 16),
    STFT(32, 16, center=False, window="hamming"),
    STFT(60, 25, window="blackman"),
]
LEVEL = {"bregmisi": {"level": 1}, "consistent-wiener": {"level": 1}}
LEVEL["consistent-anisotropic-wiener"] = LEVEL["consistent-wiener"]


def frames(stft, sources=SOURCES):
    X = stft(sources.sum(0))
    return np.abs(stft(sources)), X


def whole(stream, V, X=None, length=LENGTH, size=None):
    """Everything at once, or by pieces of so many frames."""
    size = V.shape[-1] if size is None else size
    pieces = [
        stream.push(V[..., t : t + size], None if X is None else X[..., t : t + size])
        for t in range(0, V.shape[-1], size)
    ]
    return np.concatenate([*pieces, stream.flush(length)], -1)


def literal(stft, V, X, n_iter, look_ahead, update, start, length):
    """Frame after frame on arrays of the whole length, as the papers' loops are written."""
    n_fft, hop, w = stft.n_fft, stft.hop_length, stft.window_values
    offset, n_frames = stft.offset, V.shape[-1]
    total = (n_frames - 1) * hop + n_fft
    S = np.zeros(V.shape, complex)

    def signal(last):
        """Least squares of the frames up to ``last``, zero off the signal."""
        y, squares = np.zeros((len(V), total)), np.zeros(total)
        for t in range(last + 1):
            part = slice(t * hop, t * hop + n_fft)
            y[:, part] += w * np.fft.irfft(S[..., t], n_fft)
            squares[part] += w**2
        sample = np.arange(total) - offset
        # The end is known when the last frame has come and others are to be finished.
        inside = (sample >= 0) & (sample < (length if ended else np.inf))
        seen = inside & (squares > 1e-3 * least(stft))
        return np.where(seen, y / np.where(seen, squares, 1), 0)

    def iterate(first, last):
        for _ in range(n_iter):
            y = signal(last)
            again = [
                np.fft.rfft(w * y[:, t * hop : t * hop + n_fft]) for t in range(first, last + 1)
            ]
            S[..., first : last + 1] = update(np.stack(again, -1), slice(first, last + 1))

    ended = False
    for t in range(n_frames):
        S[..., t] = start(t)
        iterate(max(t - look_ahead, 0), t)
    ended = True
    for first in range(n_frames - look_ahead, n_frames):
        iterate(first, n_frames - 1)
    found = signal(n_frames - 1)[:, offset : offset + length]
    return np.pad(found, [(0, 0), (0, length - found.shape[-1])])


def least(stft):
    n_fft, hop = stft.n_fft, stft.hop_length
    squares = np.zeros(20 * n_fft)
    for t in range(0, 19 * n_fft, hop):
        squares[t : t + n_fft] += stft.window_values**2
    return squares.max()


@pytest.mark.parametrize("look_ahead", [0, 1, 3])
@pytest.mark.parametrize("stft", STFTS, ids=repr)
def test_online_misi(stft, look_ahead):
    """Magron & Virtanen: spread the mixing error, then the magnitudes."""
    V, X = frames(stft)

    def update(Y, part):
        Y = Y + (X[:, part] - Y.sum(0)) / 2
        return V[..., part] * np.exp(1j * np.angle(Y))

    expected = literal(
        stft, V, X, 3, look_ahead, update,
        lambda t: V[..., t] * np.exp(1j * np.angle(X[:, t])), LENGTH,
    )  # fmt: skip
    stream = Stream("misi-mix-first", 3, look_ahead, stft=stft, dtype="float64")
    np.testing.assert_allclose(whole(stream, V, X), expected, atol=1e-9)


@pytest.mark.parametrize("look_ahead", [0, 2])
def test_real_time_inversion_with_look_ahead(look_ahead):
    """Zhu, Beauregard & Wyse: signals of partial sums, and the magnitudes."""
    stft = STFTS[0]
    V, _ = frames(stft)

    def magnitude_last(S, p):
        return p.mag(p.cons(S))

    expected = literal(
        stft, V, None, 4, look_ahead, lambda Y, part: V[..., part] * np.exp(1j * np.angle(Y)),
        lambda t: V[..., t], LENGTH,
    )  # fmt: skip
    stream = Stream(magnitude_last, 4, look_ahead, stft=stft, start="zero", dtype="float64")
    np.testing.assert_allclose(whole(stream, V), expected, atol=1e-9)


@pytest.mark.parametrize("look_ahead", [0, 2])
@pytest.mark.parametrize("name", names())
def test_every_sentence_runs(name, look_ahead):
    stft = STFTS[0]
    V, X = frames(stft)
    stream = Stream(name, 2, look_ahead, stft=stft, **LEVEL.get(name, {}))
    y = whole(stream, V, X)
    assert y.shape == SOURCES.shape and y.dtype == np.float32 and np.isfinite(y).all()


@pytest.mark.parametrize("stft", STFTS, ids=repr)
@pytest.mark.parametrize("start", ["rtpghi", "overlap", "random", "zero", "mixture"])
def test_any_pieces_give_the_same_bits(start, stft):
    V, X = frames(stft)
    X = X if start == "mixture" else None
    algorithm = "misi" if X is not None else "fast-griffin-lim"
    expected = whole(Stream(algorithm, 2, 1, stft=stft, start=start, rng=0), V, X)
    stream = Stream(algorithm, 2, 1, stft=stft, start=start, rng=0)
    for size in (1, 7):
        np.testing.assert_array_equal(whole(stream, V, X, size=size), expected)


@pytest.mark.parametrize("stft", STFTS, ids=repr)
def test_without_iterations_a_start_is_inverted(stft):
    V, X = frames(stft)
    for look_ahead in (0, 2):
        stream = Stream("misi", 0, look_ahead, stft=stft, dtype="float64")
        expected = phaserec.invert(V, SOURCES.sum(0), stft=stft, n_iter=0, algorithm="misi")
        np.testing.assert_allclose(whole(stream, V, X), expected, atol=1e-10)


def test_heap_integration_is_that_of_the_start():
    stft = STFT(64, 16)
    quiet = np.concatenate([np.zeros((2, 200)), SOURCES, np.zeros((2, 300))], -1)
    V = np.abs(stft(quiet))
    stream = Stream("griffin-lim", 0, stft=stft, start="rtpghi", dtype="float64", rng=3)
    expected = phaserec.invert(
        V, stft=stft, n_iter=0, algorithm="griffin-lim", init="rtpghi", rng=3, length=1400
    )
    np.testing.assert_allclose(whole(stream, V, length=1400), expected, atol=1e-9)


def test_more_look_ahead_comes_nearer():
    stft = STFT(64, 16)
    V, X = frames(stft)
    problem = Problem(V, SOURCES.sum(0), stft=stft)
    errors = []
    for look_ahead in (0, 2, 8, V.shape[-1]):
        y = whole(Stream("misi", 3, look_ahead, stft=stft, dtype="float64"), V, X)
        errors.append(np.sum(measures.spectral_convergence(stft(y), problem)))
    assert errors == sorted(errors, reverse=True)


def test_all_frames_in_the_window_are_the_problem():
    # Nothing is committed before the end: P_cons is that of the problem.
    stft = STFT(64, 16)
    V, X = frames(stft)
    stream = Stream("misi", 0, V.shape[-1], stft=stft, dtype="float64", commit="estimate")
    stream.push(V, X)
    stream.n_iter = 5
    stream._iterate(LENGTH)
    stream.n_iter = 0
    expected = phaserec.invert(V, SOURCES.sum(0), stft=stft, n_iter=5, algorithm="misi")
    np.testing.assert_allclose(stream.flush(LENGTH), expected, atol=1e-9)


def test_latency_is_kept():
    stft = STFT(64, 16)
    V, X = frames(stft)
    for look_ahead in (0, 3):
        stream = Stream("misi", 1, look_ahead, stft=stft)
        assert stream.latency == 64 + 16 * look_ahead
        out = 0
        for t in range(V.shape[-1]):
            out += stream.push(V[..., t, None], X[..., t, None]).shape[-1]
            heard = t * 16 - stft.offset + 64  # samples that have come in
            assert heard - out < stream.latency


def test_sources_and_channels():
    stft = STFT(64, 16)
    stereo = np.stack([SOURCES, SOURCES[::-1] * 0.5])  # (channel, J, time)
    V, X = np.abs(stft(stereo)), stft(stereo.sum(1))
    both = whole(Stream("misi", 2, 1, stft=stft, dtype="float64"), V, X)
    for c in range(2):
        one = whole(Stream("misi", 2, 1, stft=stft, dtype="float64"), V[c], X[c])
        np.testing.assert_allclose(both[c], one, atol=1e-12)


def test_level_is_a_unit():
    stft = STFT(64, 16)
    V, X = frames(stft)
    one = whole(Stream("bregmisi", 2, stft=stft, dtype="float64", level=1), V, X)
    ten = whole(Stream("bregmisi", 2, stft=stft, dtype="float64", level=10), 10 * V, 10 * X)
    np.testing.assert_allclose(ten, 10 * one, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("stft", STFTS, ids=repr)
@pytest.mark.parametrize("size", [1, 13, 1000])
def test_frames_are_those_of_the_whole(stft, size):
    analysis = Frames(stft)
    for _ in range(2):
        pieces = [analysis.push(SOURCES[:, t : t + size]) for t in range(0, LENGTH, size)]
        np.testing.assert_array_equal(
            np.concatenate([*pieces, analysis.flush()], -1), stft(SOURCES)
        )


ERRORS = {
    "level": (lambda s: Stream("bregmisi", stft=s), "level='peak' .* give a number"),
    "start": (lambda s: Stream("misi", stft=s, start="mixtur"), "start='mixtur'.*'mixture'"),
    "commit": (lambda s: Stream("misi", stft=s, commit="x"), "commit='x'"),
    "dtype": (lambda s: Stream("misi", stft=s, dtype="int16"), "dtype='int16'"),
    "hyper": (lambda s: Stream("misi", stft=s, sigma=1.0), "no hyper-parameter 'sigma'"),
    "padding": (lambda s: Stream("misi", stft=STFT(64, pad_mode="reflect")), "pad_mode='reflect'"),
    "hop": (lambda s: Stream("misi", stft=STFT(64, 40)), "hop_length=40 must be at most half"),
    "flush": (lambda s: Stream("misi", stft=s).flush(), "needs frames first"),
    "analysis": (lambda s: Frames(s).flush(), "needs samples first"),
    "complex": (
        lambda s: Stream("misi", stft=s).push(np.ones((1, 33, 2), complex)),
        "real numbers",
    ),
    "bins": (lambda s: Stream("misi", stft=s).push(np.ones((1, 32, 2))), "magnitudes.*32"),
    "negative": (lambda s: Stream("misi", stft=s).push(-np.ones((1, 33, 2))), "not negative"),
    "mixture": (
        lambda s: Stream("misi", stft=s).push(np.ones((1, 33, 2)), np.ones((33, 3), complex)),
        r"mixture is complex128 of shape \(33, 3\)",
    ),
    "no mixture": (
        lambda s: Stream("misi", stft=s).push(np.ones((1, 33, 2))),
        "needs a mixture; give push",
    ),
    "mixture start": (
        lambda s: Stream("admm", stft=s, start="mixture").push(np.ones((1, 33, 2))),
        "start='mixture' needs frames of a mixture",
    ),
}


@pytest.mark.parametrize(("make", "message"), ERRORS.values(), ids=ERRORS)
def test_errors(make, message):
    with pytest.raises(ValueError, match=message):
        make(STFT(64, 16))


def test_another_shape_is_another_signal():
    stream = Stream("admm", stft=STFT(64, 16))
    stream.push(np.ones((1, 33, 2)))
    with pytest.raises(ValueError, match=r"leading axes \(2,\).*reset"):
        stream.push(np.ones((2, 33, 2)))
    stream.reset()
    stream.push(np.ones((2, 33, 2)))
    with pytest.raises(ValueError, match="length"):
        stream.flush(5)
    analysis = Frames(STFT(64))
    analysis.push(np.ones(10))
    with pytest.raises(ValueError, match="leading axes"):
        analysis.push(np.ones((2, 10)))
