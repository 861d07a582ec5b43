"""The STFT equals its peers', and its inverse is the exact pseudo-inverse."""

import dataclasses
import pickle
import tracemalloc
import warnings

import librosa
import numpy as np
import pytest
import scipy.signal

from phaserec import STFT
from phaserec._padding import MODES, origins
from phaserec.stft import _short_gains

# n_fft, hop_length, win_length, window: even and odd, hops that do and do not divide n_fft.
TRANSFORMS = [
    (16, 4, None, "hann"),
    (16, 5, None, "hann"),
    (16, 3, 11, "hamming"),
    (17, 4, 8, "hann"),
    (63, 20, None, "hann"),
    (63, 16, 50, ("kaiser", 6.0)),
    (400, 160, None, "hann"),
    (512, 128, 400, "blackman"),
    (512, 256, None, "boxcar"),
    (64, 24, None, tuple(np.linspace(0.1, 1.0, 64))),
]
SMALL = [case for case in TRANSFORMS if case[0] <= 64]


COPIES = [mode for mode in MODES if mode != "constant"]
IN_TORCH = {"reflect": "reflect", "edge": "replicate", "wrap": "circular"}


def noise(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def spectrogram(stft, n_frames, seed=0):
    """Complex noise: far from consistent, and not real at DC and Nyquist."""
    return noise(stft.n_bins, n_frames, seed=seed) + 1j * noise(
        stft.n_bins, n_frames, seed=seed + 1
    )


def lengths_of(n_fft, center):
    longer = [n_fft, 3 * n_fft + 7]
    return [1, n_fft // 3, *longer] if center else longer


def values_of(window, win_length):
    return scipy.signal.get_window(window, win_length) if _named(window) else np.array(window)


def _named(window):
    return isinstance(window, str) or isinstance(window[0], str)


@pytest.fixture(params=MODES)
def mode(request):
    """Each kind of centre padding."""
    return request.param


@pytest.mark.filterwarnings("ignore:n_fft=")
@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize(("n_fft", "hop", "win", "window"), TRANSFORMS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_equals_librosa(n_fft, hop, win, window, center, dtype):
    stft = STFT(n_fft, hop, win, window, center)
    for length in lengths_of(n_fft, center):
        x = noise(2, length).astype(dtype)
        expected = librosa.stft(
            x,
            n_fft=n_fft,
            hop_length=hop,
            win_length=win,
            window=window if _named(window) else np.array(window),
            center=center,
            pad_mode="constant",
        )
        ours = stft(x)
        assert ours.dtype == expected.dtype
        tol = 1e-5 if dtype == "float32" else 1e-12
        np.testing.assert_allclose(ours, expected, rtol=tol, atol=tol * np.abs(expected).max())


@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize(("n_fft", "hop", "win", "window"), TRANSFORMS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_equals_torch(n_fft, hop, win, window, center, dtype):
    torch = pytest.importorskip("torch")
    stft = STFT(n_fft, hop, win, window, center)
    for length in lengths_of(n_fft, center):
        x = torch.from_numpy(noise(2, length).astype(dtype))
        expected = torch.stft(
            x,
            n_fft,
            hop,
            win,
            window=torch.from_numpy(values_of(window, win or n_fft)).to(x.dtype),
            center=center,
            pad_mode="constant",
            return_complex=True,
        )
        tol = 1e-5 if dtype == "float32" else 1e-12
        torch.testing.assert_close(
            stft(x), expected, rtol=tol, atol=tol * float(expected.abs().max())
        )


@pytest.mark.parametrize("mode", COPIES)
@pytest.mark.parametrize(("n_fft", "hop", "win", "window"), TRANSFORMS)
def test_copies_in_the_padding_are_those_of_the_peers(n_fft, hop, win, window, mode):
    torch = pytest.importorskip("torch")
    stft = STFT(n_fft, hop, win, window, pad_mode=mode)
    values = values_of(window, win or n_fft)
    given = {"n_fft": n_fft, "hop_length": hop, "win_length": win}
    for length in [*lengths_of(n_fft, True), 2]:
        x = noise(2, length)
        inside = STFT(n_fft, hop, win, window, center=False)
        expected = [inside(np.pad(x, ((0, 0), (stft.offset, stft.offset)), mode=mode))]
        # The peers refuse short signals, and librosa those that wrap around.
        if length > n_fft and mode != "wrap":
            expected.append(librosa.stft(x, window=values, pad_mode=mode, **given))
        if length > n_fft and mode in IN_TORCH:
            given_torch = {"window": torch.from_numpy(values), "pad_mode": IN_TORCH[mode]}
            S = torch.stft(torch.from_numpy(x), return_complex=True, **given, **given_torch)
            expected.append(S.numpy())
        for S in expected:
            np.testing.assert_allclose(stft(x), S, atol=1e-12 * np.abs(S).max())


@pytest.mark.parametrize("mode", COPIES)
def test_the_index_map_is_that_of_numpy(mode):
    for length in range(1, 9):
        for before, after in [(0, 0), (1, 0), (2, 3), (5, 20), (17, 16)]:
            places = np.arange(-before, length + after)
            expected = np.pad(np.arange(length), (before, after), mode=mode)
            np.testing.assert_array_equal(origins(places, length, mode), expected)


def test_some_frames_alone_are_part_of_all(mode):
    stft = STFT(16, 5, pad_mode=mode)
    x = noise(2, 61)
    for first, last in [(0, 2), (3, 7), (10, stft.n_frames(61))]:
        np.testing.assert_allclose(stft.frames(x, first, last), stft(x)[..., first:last])


def test_without_centre_padding_the_mode_has_no_effect(mode):
    x, S = noise(61), spectrogram(STFT(16, 4, center=False), 12)
    plain, other = STFT(16, 4, center=False), STFT(16, 4, center=False, pad_mode=mode)
    np.testing.assert_array_equal(other(x), plain(x))
    np.testing.assert_array_equal(other.inverse(S, length=61), plain.inverse(S, length=61))


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_round_trip(transform, backend, mode):
    stft = STFT(*transform, pad_mode=mode)
    for length in lengths_of(stft.n_fft, center=True):
        x = backend(noise(3, 2, length))
        back = stft.inverse(stft(x), length=length)
        assert back.dtype == x.dtype
        np.testing.assert_allclose(np.asarray(back), np.asarray(x), atol=30 * backend.tol)


def matrix(stft, length):
    """Real matrix of the STFT on signals of a length, rows scaled to the two-sided norm."""
    S = stft(np.eye(length))
    rows = np.sqrt(stft.bin_weights) * np.stack([S.real, S.imag], axis=1)
    return rows.reshape(length, -1).T


def coordinates(stft, S):
    return (np.sqrt(stft.bin_weights) * np.stack([S.real, S.imag])).ravel()


@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize(
    ("n_fft", "hop", "win", "window"),
    [
        (8, 2, None, "hann"),
        (8, 3, None, "hann"),
        (9, 2, None, "hann"),
        (8, 2, 5, "hamming"),
        (8, 8, None, "boxcar"),
        (6, 9, None, "boxcar"),
    ],
)
@pytest.mark.parametrize("length", [9, 13, 16])
def test_inverse_is_the_pseudo_inverse(n_fft, hop, win, window, center, length):
    # strict=False: samples that no frame sees are zero, as the pseudo-inverse has them.
    stft = STFT(n_fft, hop, win, window, center, strict=False)
    S = spectrogram(stft, stft.n_frames(length))
    seen = summed_squares(stft, length) > 1e-3 * summed_squares(stft, 99)[40:60].max()
    expected = np.linalg.pinv(matrix(stft, length) * seen) @ coordinates(stft, S)
    np.testing.assert_allclose(stft.inverse(S, length=length), expected, atol=1e-12)


@pytest.mark.parametrize("length", [1, 2, 3, 9, 34])
@pytest.mark.parametrize(
    ("n_fft", "hop", "win", "window"),
    [
        (9, 2, None, "hann"),
        (9, 4, 7, "hamming"),
        (8, 3, None, "blackman"),
        (8, 5, None, "boxcar"),
        (6, 9, None, "boxcar"),
        (1, 1, None, "boxcar"),
    ],
)
def test_inverse_is_the_pseudo_inverse_with_any_padding(n_fft, hop, win, window, length, mode):
    stft = STFT(n_fft, hop, win, window, strict=False, pad_mode=mode)
    S = spectrogram(stft, stft.n_frames(length))
    seen = summed_squares(stft, length) > 1e-3 * summed_squares(stft, 99)[40:60].max()
    expected = np.linalg.pinv(matrix(stft, length) * seen) @ coordinates(stft, S)
    np.testing.assert_allclose(stft.inverse(S, length=length), expected, atol=1e-12)


def summed_squares(stft, length):
    """Summed squared windows at each sample, one frame after the other."""
    sample_at = np.arange(length)
    if stft.center:
        beside = {"constant_values": -1} if stft.pad_mode == "constant" else {}
        sample_at = np.pad(sample_at, stft.offset, mode=stft.pad_mode, **beside)
    total = np.zeros(length)
    for frame in range(stft.n_frames(length)):
        for m, value in enumerate(stft.window_values):
            at = sample_at[frame * stft.hop_length + m]
            if at >= 0:
                total[at] += value**2
    return total


SMALL_AT_THE_ENDS = [
    "hann",
    "blackman",
    "parzen",
    "lanczos",
    "bohman",
    "nuttall",
    "flattop",
    "triang",
    ("kaiser", 50.0),
    ("gaussian", 8.0),
    ("chebwin", 100.0),
    ("general_cosine", [0.5, 0.3, 0.2]),
]


@pytest.mark.parametrize("window", SMALL_AT_THE_ENDS, ids=str)
@pytest.mark.parametrize("kind", [*MODES, None])
@pytest.mark.parametrize("length", [70, 131, 300])
def test_the_inverse_gives_back_what_frames_see_and_nothing_else(window, kind, length):
    center = {"center": False} if kind is None else {"pad_mode": kind}
    stft = STFT(64, 16, window=window, **center)
    total = summed_squares(stft, length)
    seen = total > 1e-3 * summed_squares(stft, 999)[400:500].max()
    x = noise(2, length)
    back = stft.inverse(stft(x), length=length)
    assert not back[:, ~seen].any()
    np.testing.assert_array_equal(stft.restrict(x), np.where(seen, x, 0))
    # Frames hold the same samples only once the others are zero.
    np.testing.assert_allclose(stft.inverse(stft(x * seen), length=length), x * seen, atol=1e-11)


@pytest.mark.parametrize(("n_fft", "hop"), [(16, 4), (16, 5), (15, 7), (6, 9), (9, 1)])
def test_gains_of_a_long_signal_are_made_of_those_of_a_short_one(n_fft, hop, mode):
    stft = STFT(n_fft, hop, window="hamming", strict=False, pad_mode=mode)
    for length in [*range(1, 80), 1000, 1003]:
        total = summed_squares(stft, length)
        gains = np.divide(1, total, out=np.zeros(length), where=total > 0)
        np.testing.assert_allclose(stft.gains(length, noise(1)), gains, rtol=1e-12)


def test_tables_do_not_grow_with_the_signal(mode):
    stft = STFT(1024, 256, pad_mode=mode)
    _short_gains.cache_clear()
    x = np.zeros(2_000_000, np.float32)
    tracemalloc.start()
    try:
        assert stft.gains(x.size, x).size == x.size
        assert tracemalloc.get_traced_memory()[0] < 8 * 8 * stft.n_fft
    finally:
        tracemalloc.stop()
    assert stft.restrict(x) is x


@pytest.mark.parametrize("transform", SMALL)
def test_default_length_is_the_shortest_with_these_frames(transform):
    stft = STFT(*transform)
    for n_frames in (1, 2, 7):
        length = stft.n_samples(n_frames)
        assert stft.n_frames(length) == n_frames
        assert length == 1 or stft.n_frames(length - 1) == n_frames - 1
        assert stft.inverse(spectrogram(stft, n_frames)).shape == (length,)


@pytest.mark.parametrize("kind", [*MODES, None])
def test_ragged_batch_equals_items(kind, backend):
    center = {"center": False} if kind is None else {"pad_mode": kind}
    stft = STFT(16, 4, **center)
    lengths = [61, 18, 33] if kind is None else [61, 18, 3]
    x = backend(noise(3, 2, 61))
    S = stft(x, lengths=lengths)
    back = stft.inverse(S, length=61, lengths=lengths)
    for item, length in enumerate(lengths):
        alone = stft(x[item, :, :length])
        n_frames = alone.shape[-1]
        np.testing.assert_allclose(S[item, ..., :n_frames], alone, atol=backend.tol)
        assert not np.any(np.asarray(S[item, ..., n_frames:]))
        expected = stft.inverse(alone, length=length)
        np.testing.assert_allclose(back[item, :, :length], expected, atol=backend.tol)
        assert not np.any(np.asarray(back[item, :, length:]))


def test_a_ragged_batch_may_have_several_axes(mode):
    stft = STFT(16, 4, pad_mode=mode)
    x, lengths = noise(2, 2, 3, 61), [[61, 18], [5, 33]]
    S = stft(x, lengths=lengths)
    alone = stft(x[1, 0, :, :5])
    np.testing.assert_allclose(S[1, 0, ..., : alone.shape[-1]], alone, atol=1e-12)
    back = stft.inverse(S, length=61, lengths=lengths)
    valid = np.arange(61) < np.array(lengths)[..., None, None]
    np.testing.assert_allclose(back, x * valid, atol=1e-12)
    np.testing.assert_array_equal(stft.restrict(x, lengths), x * valid)


@pytest.mark.parametrize("lengths", [None, [13, 3]])
def test_gradients(mode, lengths):
    torch = pytest.importorskip("torch")
    stft = STFT(6, 2, pad_mode=mode)
    x = torch.from_numpy(noise(2, 13)).requires_grad_()
    S = torch.from_numpy(noise(2, *stft(x).shape[1:]) + 0j).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: stft(x, lengths=lengths), x)
    assert torch.autograd.gradcheck(lambda S: stft.inverse(S, length=13, lengths=lengths), S)


def test_numpy_and_torch_are_equal_and_arguments_stay(mode):
    torch = pytest.importorskip("torch")
    stft = STFT(16, 5, pad_mode=mode)
    x, S = noise(2, 61), spectrogram(stft, stft.n_frames(61))
    kept = x.copy(), S.copy()
    for call in (stft, lambda x: stft.inverse(stft(x) ** 2, length=61)):
        np.testing.assert_allclose(call(torch.from_numpy(x)), call(x), atol=1e-10)
    np.testing.assert_allclose(
        stft.inverse(torch.from_numpy(S), length=61), stft.inverse(S, length=61), atol=1e-12
    )
    np.testing.assert_array_equal(x, kept[0])
    np.testing.assert_array_equal(S, kept[1])


def test_torch_has_nothing_to_warn_of():
    torch = pytest.importorskip("torch")
    x = torch.from_numpy(noise(2, 61))
    # Torch gives most warnings once in a process; here they come every time, as errors.
    torch.set_warn_always(True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            stft = STFT(16, 4)
            stft.inverse(stft(x), length=61)
            stft.inverse(stft(x, lengths=[61, 20]), length=61, lengths=[61, 20])
    finally:
        torch.set_warn_always(False)


def test_frames_beyond_an_item_do_not_reach_its_waveform():
    stft = STFT(16, 4)
    S = stft(noise(2, 61), lengths=[61, 20])
    disturbed = S.copy()
    disturbed[1, :, stft.n_frames(20) :] = 1
    back = [stft.inverse(part, length=61, lengths=[61, 20]) for part in (S, disturbed)]
    np.testing.assert_array_equal(*back)


def test_unseen_samples_come_back_as_zeros():
    stft = STFT(8, 12, window="rect", center=False, strict=False)
    x = noise(44)
    seen = np.arange(44) % 12 < 8
    back = stft.inverse(stft(x), length=44)
    np.testing.assert_allclose(back[seen], x[seen], atol=1e-14)
    assert not np.any(back[~seen])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_fft": 0}, "n_fft"),
        ({"n_fft": -16}, "n_fft"),
        ({"n_fft": 16.5}, "n_fft"),
        ({"n_fft": True}, "n_fft"),
        ({"n_fft": float("nan")}, "n_fft"),
        ({"n_fft": float("inf")}, "n_fft"),
        ({"n_fft": "large"}, "n_fft"),
        ({"n_fft": 16, "hop_length": 0}, "hop_length"),
        ({"n_fft": 16, "hop_length": 2.5}, "hop_length"),
        ({"n_fft": 16, "win_length": 0}, "win_length"),
        ({"n_fft": 16, "win_length": 17}, "win_length=17.*n_fft=16"),
        ({"n_fft": 16, "window": "no-such-window"}, "window"),
        ({"n_fft": 16, "window": [1.0, 2.0, 1.0]}, "window"),
        ({"n_fft": 16, "window": []}, "window"),
        ({"n_fft": 16, "window": None}, "window"),
        ({"n_fft": 16, "window": ["kaiser", 8.0]}, "window"),
        ({"n_fft": 2, "window": [1.0, float("nan")]}, "window"),
        ({"n_fft": 16, "window": lambda n: np.ones(n + 1)}, "window"),
        ({"pad_mode": "mirror"}, "pad_mode='mirror' must be one of 'constant', 'reflect', "),
        ({"pad_mode": None}, "pad_mode=None"),
        ({"pad_mode": "zeros", "center": False}, "pad_mode='zeros'"),
    ],
)
def test_bad_parameters(arguments, message):
    with pytest.raises(ValueError, match=message):
        STFT(**arguments)


def test_a_pair_that_is_not_invertible_names_the_samples():
    with pytest.raises(ValueError, match=r"1 of every 16 samples.*offsets 0 "):
        STFT(16, 16)  # the periodic Hann window starts with a zero
    with pytest.raises(ValueError, match=r"4 of every 12 samples.*offsets 8, 9, 10, 11 "):
        STFT(8, 12, window="rect")


def test_bad_arrays():
    stft = STFT(16, 4)
    with pytest.raises(ValueError, match="complex"):
        stft(noise(61) + 1j)
    with pytest.raises(ValueError, match=r"0 samples.*too short"):
        stft(noise(0))
    with pytest.raises(ValueError, match=r"15 samples.*at least 16"):
        STFT(16, 4, center=False)(noise(15))
    with pytest.raises(ValueError, match=r"F=8.*n_fft=16 gives 9"):
        stft.inverse(spectrogram(stft, 5)[:-1])


@pytest.mark.parametrize("length", [15, 20, 0, -3, 17.5])
def test_length_must_go_with_the_frames(length):
    stft = STFT(16, 4)
    S = spectrogram(stft, 5)
    for allowed in (16, 19):
        assert stft.inverse(S, length=allowed).shape == (allowed,)
    with pytest.raises(ValueError, match="length"):
        stft.inverse(S, length=length)


def test_frozen_and_hashable():
    stft = STFT(16, 4)
    with pytest.raises(dataclasses.FrozenInstanceError):
        stft.n_fft = 32
    assert len({stft, STFT(16), STFT(16, 4, 16, "hann")}) == 1
    assert stft != STFT(16, 5)
    assert stft == STFT(16, pad_mode="constant") != STFT(16, pad_mode="edge")
    assert pickle.loads(pickle.dumps(stft)) == stft


def test_a_window_may_be_given_by_value():
    values = scipy.signal.get_window("hann", 16)
    by_value = STFT(16, 4, window=values)
    assert hash(by_value) == hash(STFT(16, 4, window=list(values)))
    # Scipy's Hann window and ours may differ in the last bit.
    np.testing.assert_allclose(by_value(noise(61)), STFT(16, 4)(noise(61)), atol=1e-14)
    assert STFT(16, 4, window=lambda n: scipy.signal.get_window("hann", n)) == by_value
    assert STFT(16, 4, 10, window=np.hamming) == STFT(16, 4, 10, window=np.hamming(10))


def test_defaults_follow_n_fft():
    stft = STFT(n_fft=400)
    assert (stft.hop_length, stft.win_length, stft.n_bins) == (100, 400, 201)


def test_tensors_that_are_kept():
    torch = pytest.importorskip("torch")
    stft = STFT(20, 5)
    x = torch.randn(31)
    with torch.inference_mode():
        stft.inverse(stft(x), length=31)
    assert stft.gains(31, x) is stft.gains(31, x) and not stft.gains(31, x).is_inference()
    x.requires_grad_()
    stft.inverse(stft(x), length=31).sum().backward()
    torch.testing.assert_close(x.grad, torch.ones(31))
    from torch._subclasses.fake_tensor import FakeTensorMode

    other = STFT(20, 4)
    with FakeTensorMode() as mode:
        assert other(mode.from_tensor(torch.zeros(31))).shape == (11, 8)
    assert type(other(torch.zeros(31))) is torch.Tensor
    for length in (31, 33, 31):
        y = torch.randn(length)
        torch.testing.assert_close(stft.inverse(stft(y), length=length), y)
