"""Long problems in blocks: the same numbers as the whole, in memory that is bounded."""

import logging
import tracemalloc

import numpy as np
import pytest

import phaserec
from phaserec import STFT, Problem, invert, invert_blocks
from phaserec.solving import blocks as blocked
from phaserec.solving.blocks import LongProblem, prepare_blocks, samples_of

N_ITER = 6
STFTS = {
    "centred": STFT(64, 16),
    "reflect": STFT(64, 16, pad_mode="reflect"),
    "not centred": STFT(64, 16, center=False),
    "odd overlap": STFT(60, 16),
    "odd size": STFT(63, 16),
}


def noise(n_frames=1100, sources=2, lead=(), stft=STFTS["centred"], dtype="float64"):
    """Magnitudes that no signal has, and a mixture."""
    rng = np.random.default_rng(0)
    length = stft.n_samples(n_frames) + 5
    x = rng.standard_normal((*lead, sources, length)).astype(dtype)
    V = np.abs(stft(x))
    return (V * rng.uniform(0.5, 1.5, V.shape)).astype(dtype), x.sum(axis=-2)


def bound(V, x, algorithm, frames=400, **options):
    """Memory for some frames."""
    long = LongProblem.of(V, x, stft=options.pop("stft"), weights=options.pop("weights", None))
    one = prepare_blocks(algorithm, long, **options)
    fixed = blocked._FIXED
    return fixed + (one.room - fixed) * frames // V.shape[-1]


def both(V, x, algorithm, n_iter=N_ITER, stft=STFTS["centred"], **options):
    """Result of the whole, and of blocks; the number of these."""
    own = {name: options[name] for name in ("init", "machine", "weights") if name in options}
    memory = bound(V, x, algorithm, n_iter=n_iter, stft=stft, **own)
    whole = invert(V, x, stft=stft, algorithm=algorithm, n_iter=n_iter, **options)
    pieces = list(
        invert_blocks(V, x, stft=stft, algorithm=algorithm, n_iter=n_iter, memory=memory, **options)
    )
    assert len(pieces) > 2
    return whole, np.concatenate(pieces, axis=-1)


@pytest.mark.parametrize(
    "algorithm", ["misi", "aux", "raar", "difference-map", "fast-griffin-lim", "hybrid", "bregmisi"]
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_blocks_are_the_whole_to_the_last_bit(algorithm, dtype):
    V, x = noise(dtype=dtype)
    whole, pieces = both(V, x, algorithm, init="mixture")
    assert pieces.dtype == dtype
    np.testing.assert_array_equal(pieces, whole)


@pytest.mark.parametrize("name", STFTS)
@pytest.mark.parametrize("machine", ["kernel", "arrays"])
def test_every_transform(name, machine):
    V, x = noise(stft=STFTS[name])
    whole, pieces = both(V, x, "misi", stft=STFTS[name], machine=machine)
    np.testing.assert_allclose(pieces, whole, rtol=0, atol=1e-11 * abs(whole).max())


def test_with_less_context_they_are_not(monkeypatch):
    V, x = noise()
    monkeypatch.setattr(blocked, "reach", lambda algorithm, depth: 0)
    whole, pieces = both(V, x, "misi", n_iter=20, init="mixture")
    error = abs(pieces - whole).max()
    assert 1e-10 < error < 1e-5  # what is far away matters little, and it does matter


def test_batches_weights_and_given_starts():
    V, x = noise(lead=(2,))
    rng = np.random.default_rng(1)
    init = V * np.exp(2j * np.pi * rng.random(V.shape))
    weights = np.ones(V.shape) * [[[0.25]], [[0.75]]]
    whole, pieces = both(V, x, "mix-incons-hard-mag", init=init, weights=weights)
    np.testing.assert_array_equal(pieces, whole)
    sigma = rng.random((33, V.shape[-1]))  # a value for each frame
    whole, pieces = both(V, x, "mix-incons-hard-mag", sigma=sigma, machine="arrays")
    np.testing.assert_allclose(pieces, whole, atol=1e-11)


def test_complex_mixture():
    stft = STFTS["centred"]
    V, x = noise()
    whole, pieces = both(V, stft(x), "misi")
    np.testing.assert_allclose(pieces, whole[..., : pieces.shape[-1]], atol=1e-10)


@pytest.mark.parametrize("source", [np.random.default_rng, np.random.RandomState])
def test_random_phases_are_those_of_the_whole(source):
    V, x = noise(lead=(2,))
    stft = STFTS["centred"]
    memory = bound(V, x, "misi", n_iter=5, init="random", stft=stft)
    options = {"stft": stft, "algorithm": "misi", "n_iter": 5, "init": "random"}
    one, other = source(3), source(3)
    whole = invert(V, x, rng=one, **options)
    pieces = invert(V, x, rng=other, memory=memory, **options)
    np.testing.assert_allclose(pieces, whole, atol=1e-10)
    assert one.random() == other.random()  # both have drawn as much


@pytest.mark.parametrize("init", ["geometric", "spsi", "sinusoidal", "rtpghi"])
def test_starts_that_follow_from_what_was_before(init):
    V, x = noise()
    whole, pieces = both(V, x, "misi", init=init, rng=0)
    # What is faint is so next to the largest bin so far, of which a block knows its own only.
    error = np.linalg.norm(pieces - whole) / np.linalg.norm(whole)
    assert error < (1e-3 if init == "rtpghi" else 1e-9)


def test_blocks_begin_where_the_one_before_went(monkeypatch):
    """Integrated phases differ from those of the whole, but blocks agree on them."""
    V, _ = noise()
    made = []

    def prepared(ready, problem, n_iter, *, init, **options):
        made.append(init)
        return original(ready, problem, n_iter, init=init, **options)

    original = blocked.prepare_part
    monkeypatch.setattr(blocked, "prepare_part", prepared)
    stft = STFTS["centred"]
    memory = bound(V, None, "griffin-lim", n_iter=N_ITER, init="pghi", stft=stft)
    run = prepare_blocks(
        "griffin-lim", LongProblem.of(V, stft=stft), N_ITER, init="pghi", rng=0, memory=memory
    )
    pieces = run.result()
    S = np.zeros(V.shape, complex)
    for block, start in zip(run.blocks, made, strict=True):
        known = S[..., block.first : block.last]
        overlap = known[..., :] != 0
        np.testing.assert_array_equal(start[overlap], known[overlap])
        S[..., block.first : block.last] = start
    whole = invert(V, stft=stft, algorithm="griffin-lim", n_iter=N_ITER, init=S)
    np.testing.assert_array_equal(pieces, whole)


def test_steps_that_look_at_everything_are_cross_faded(caplog):
    V, x = noise()
    with caplog.at_level(logging.WARNING, "phaserec"):
        whole, pieces = both(V, x, "consistent-wiener", n_iter=20)
    assert "joints are cross-faded" in caplog.text
    error = pieces - whole
    assert np.linalg.norm(error) < 0.01 * np.linalg.norm(whole)


def test_griffinlim_has_the_phases_of_librosa_in_blocks():
    V = noise(4000)[0][0]
    options = {"n_iter": 5, "hop_length": 16, "n_fft": 64}
    for seed in ({"random_state": 1}, {"rng": 1}, {"init": None}):
        whole = phaserec.griffinlim(V, **options, **seed)
        pieces = phaserec.griffinlim(V, **options, **seed, memory=blocked._FIXED + 1_000_000)
        np.testing.assert_array_equal(pieces, whole)


@pytest.mark.parametrize(
    ("algorithm", "init"),
    [
        ("misi", "mixture"),
        ("raar", "random"),
        ("misi", "pghi"),
        ("misi", "sinusoidal"),
        ("consistent-wiener", "mixture"),
    ],
)
def test_memory_is_what_was_said(algorithm, init, tmp_path):
    stft = STFT(128, 32)
    V, x = noise(5000, stft=stft, dtype="float32")
    np.save(tmp_path / "V.npy", V)
    V = np.load(tmp_path / "V.npy", mmap_mode="r")
    options = {"stft": stft, "algorithm": algorithm, "n_iter": 2, "init": init, "rng": 0}
    for _ in invert_blocks(V[..., :400], x[..., : 399 * 32], **options):
        pass  # code that is made once is no part of it
    memory = bound(V, x, algorithm, frames=1500, n_iter=2, init=init, stft=stft)
    tracemalloc.start()
    try:
        pieces = sum(1 for _ in invert_blocks(V, x, memory=memory, **options))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert pieces > 3
    assert peak < memory


def test_what_fits_is_one_block(monkeypatch):
    V, x = noise(3000)
    monkeypatch.setattr(blocked, "free_memory", lambda: 1e9)
    run = prepare_blocks("misi", LongProblem.of(V, x, stft=STFTS["centred"]), 5)
    assert run.facts["blocks"] == 1
    monkeypatch.setattr(blocked, "free_memory", lambda: 1.2 * run.room)
    cut = prepare_blocks("misi", LongProblem.of(V, x, stft=STFTS["centred"]), 5)
    assert cut.facts["blocks"] > 1
    assert cut.room < run.room


def test_blocks_give_every_sample_once():
    V, x = noise()
    stft = STFTS["centred"]
    memory = bound(V, x, "misi", n_iter=3, stft=stft)
    run = prepare_blocks("misi", LongProblem.of(V, x, stft=stft), 3, memory=memory)
    edges = [(block.begin, block.end) for block in run.blocks]
    assert [a for a, _ in edges[1:]] == [b for _, b in edges[:-1]]
    assert (edges[0][0], edges[-1][1]) == (0, x.shape[-1])
    for block in run.blocks:
        begin, end = samples_of(stft, block.first, block.last, V.shape[-1], x.shape[-1])
        assert stft.n_frames(end - begin) == block.last - block.first


def test_what_is_wrong_is_told_by_name():
    stft = STFTS["centred"]
    V, x = noise()
    with pytest.raises(ValueError, match=r"memory=9 MB is too little.*n_iter=9000.*allow more"):
        invert(V, x, stft=stft, algorithm="misi", n_iter=9000, memory=9_000_000)
    with pytest.raises(ValueError, match="memory='much' must be a number of bytes"):
        invert(V, x, stft=stft, memory="much")
    with pytest.raises(ValueError, match="ragged batch one by one"):
        invert(V[None], x[None], stft=stft, lengths=[x.size], memory="1GB")
    wrap = STFT(64, 16, pad_mode="wrap")
    with pytest.raises(ValueError, match="pad_mode='wrap' joins the end"):
        invert(V, x, stft=wrap, algorithm="misi", memory=blocked._FIXED + 10_000)
    with pytest.raises(ValueError, match="mixture of 40 samples"):
        invert_blocks(V, x[:40], stft=stft)
    V[..., -1] = -1
    pieces = invert_blocks(
        V,
        x,
        stft=stft,
        algorithm="misi",
        n_iter=2,
        memory=bound(abs(V), x, "misi", n_iter=2, stft=stft),
    )
    next(pieces)
    with pytest.raises(ValueError, match="magnitudes must be non-negative"):
        list(pieces)


def test_tensors_are_refused():
    torch = pytest.importorskip("torch")
    V, x = noise(50)
    with pytest.raises(ValueError, match=r"magnitudes is a tensor; convert it with \.numpy"):
        invert(torch.from_numpy(V), torch.from_numpy(x), stft=STFTS["centred"], memory="1GB")


def test_a_start_of_somebody_else_that_reads_everything(monkeypatch):
    from phaserec.starts import STARTS, start

    monkeypatch.setattr(STARTS, "everything", lambda: list(STARTS))
    before = dict(STARTS)

    @start
    def loudest(p, rng):
        return p.magnitudes * np.exp(1j * p.magnitudes / p.magnitudes.max())

    try:
        V, x = noise()
        with pytest.raises(ValueError, match="init='loudest' reads the whole signal"):
            both(V, x, "misi", init="loudest")
    finally:
        STARTS.clear()
        STARTS.update(before)


def test_half_precision_stays():
    V, _ = noise()
    stft = STFTS["centred"]
    pieces = next(
        invert_blocks(V.astype("float16"), stft=stft, algorithm="griffin-lim", init="zero")
    )
    assert pieces.dtype == "float16"


def test_problem_of_a_part_is_a_problem():
    V, x = noise()
    stft = STFTS["centred"]
    part = LongProblem.of(V, x, stft=stft).part(64, 128)
    assert isinstance(part, Problem)
    np.testing.assert_array_equal(part.magnitudes, V[..., 64:128])
    np.testing.assert_allclose(part.X[:, 4:-4], stft(x)[:, 68:124], atol=1e-12)
