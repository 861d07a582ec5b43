"""The published experiment: disjoint parts, choice on one of them, figures of the other."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from phaserec import STFT, measures
from phaserec.tuning.strategies import Candidate, Search

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "eusipco2023.py"


@pytest.fixture(scope="module")
def script():
    if not SCRIPT.is_file():
        pytest.skip("the benchmarks are not installed with the package")
    spec = importlib.util.spec_from_file_location("eusipco2023", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def pairs(tmp_path):
    """Two speakers with two pairs each of 1 s."""
    rng = np.random.default_rng(0)
    for name in ("p1_a", "p1_b", "p2_a", "p2_b"):
        speech = np.convolve(rng.standard_normal(16000), np.hanning(30), "same")
        speech *= 0.02 * np.hanning(16000)
        for kind, samples in (("clean", speech), ("noisy", speech + rng.normal(0, 0.02, 16000))):
            (tmp_path / kind).mkdir(exist_ok=True)
            soundfile.write(tmp_path / kind / f"{name}.flac", samples, 16000)
    return tmp_path


def test_parts_share_neither_speakers_nor_noise(script, pairs):
    for recordings in script.read_pairs(pairs):
        validation, test = script.split(recordings)
        assert {r.group for r in validation} == {"p1"} and {r.group for r in test} == {"p2"}
    speech, _ = script.read_pairs(pairs)
    copies = [script.Recording("copy", "p2", 0.5 * speech[0].samples[2000:])]
    with pytest.raises(ValueError, match="share recordings"):
        script.split([*speech, *copies])
    with pytest.raises(ValueError, match="one group"):
        script.split(speech[:2])


def test_mixtures_have_the_snr_and_are_different(script):
    rng = np.random.default_rng(1)
    speech = [rng.standard_normal(n) for n in (900, 1000, 1100)]
    noise = [rng.standard_normal(n) for n in (1000, 800)]
    mixtures = script.mix(speech, noise, 50, 0)
    assert len({m.pieces for m in mixtures}) == len(mixtures) == 6
    assert len(script.mix(speech, noise, 4, 0)) == 4
    for mixture in mixtures:
        for snr in script.SNRS:
            s, n = mixture.sources(snr)
            assert len(s) == len(n) == min(len(speech[mixture.pieces[0]]), len(mixture.noise))
            assert 10 * np.log10(np.sum(s**2) / np.sum(n**2)) == pytest.approx(snr, abs=1e-3)


def test_pieces_cover_a_recording_and_leave_silence_out(script):
    samples = np.ones(5 * 16000)
    samples[:16000] = 0
    pieces = script.cut([script.Recording("x", "x", samples)], 1.0)
    assert [len(p) for p in pieces] == [16000] * 4


def made(script, seed, count=12):
    found = [
        Candidate(name, {"sigma": s} if name in script.WEIGHTED else {})
        for name in script.ALGORITHMS
        for s in (script.SIGMAS if name in script.WEIGHTED else [0])
    ]
    scores = np.random.default_rng(seed).normal(10, 3, (len(found), count, 6))
    scores[:, :, 0] = scores[0, :, 0]  # all start from the amplitude mask
    return Search(tuple(found), scores, "median")


def test_nothing_is_chosen_on_the_test_part(script):
    mixtures = [script.Mixture("", np.ones(1), np.ones(1), (k // 4, k % 4)) for k in range(12)]
    bootstrap = script.Bootstrap(mixtures, 50, 0)
    known = {snr: made(script, snr + 20) for snr in script.SNRS}
    tests = [{snr: made(script, snr + k) for snr in script.SNRS} for k in (100, 200)]
    rows = [script.compare(known, test, bootstrap) for test in tests]
    for one, other in zip(*rows, strict=True):
        assert one["algorithm"] == other["algorithm"]
        if one["algorithm"] != script.MASK:
            assert (one["sigma"], one["n_iter"]) == (other["sigma"], other["n_iter"])
            assert one["median"] != other["median"]
            assert one["flattery_of_mean"] >= 0
    by_name = {(r["algorithm"], r["snr"]): r for r in rows[0]}
    # The last of the family shares its σ with itself.
    last = by_name[script.WEIGHTED[-1], 10]
    assert last["shared_sigma"] == last["shared_both"] == 0
    mask = by_name[script.MASK, 0]
    assert mask["median"][0] == np.median(tests[0][0].scores[3, :, 0])
    assert script.choose(known[10], "incons-hard-mix").n_iter == 1


def test_intervals_hold_the_median_and_are_wider_over_pieces(script):
    rng = np.random.default_rng(0)
    of_speech, of_noise = rng.normal(0, 3, 7), rng.normal(0, 3, 7)
    mixtures = [script.Mixture("", np.ones(1), np.ones(1), (k // 7, k % 7)) for k in range(49)]
    values = np.array([of_speech[m.pieces[0]] + of_noise[m.pieces[1]] for m in mixtures])
    bootstrap = script.Bootstrap(mixtures, 500, 3)
    median, low, high = bootstrap.interval(values)
    assert low < median == np.median(values) < high
    assert bootstrap.interval(values) == script.Bootstrap(mixtures, 500, 3).interval(values)
    alone = [np.median(rng.choice(values, 49)) for _ in range(500)]
    assert high - low > np.subtract(*np.percentile(alone, [97.5, 2.5]))


def test_the_untrained_magnitudes_raise_the_sdr_and_keep_the_power(script):
    rng = np.random.default_rng(0)
    speech = np.convolve(rng.standard_normal(32000), np.hanning(60), "same")
    speech *= np.sin(np.arange(32000) / 2000).clip(0)
    sources = np.stack([speech, 0.3 * speech.std() * rng.standard_normal(32000)])
    V = script.wiener(sources)
    X = script.TRANSFORM(sources.sum(0))
    np.testing.assert_allclose((V**2).sum(0), np.abs(X) ** 2)
    masked = script.TRANSFORM.inverse(V[0] * X / np.abs(X), length=32000)
    mixture = sources.sum(0)
    assert measures.snr(speech, masked) > measures.snr(speech, mixture) + 3


@pytest.mark.parametrize("words", [["oracle", "x"], ["model"], ["magic"], ["umx"]])
def test_magnitudes_that_do_not_exist(script, words):
    with pytest.raises(ValueError, match="oracle, wiener, model FOLDER or umx PATH"):
        script.magnitudes_of(words)


def run(script, monkeypatch, *args):
    monkeypatch.setattr(sys, "argv", ["eusipco2023.py", *map(str, args)])
    script.main()


def save_model(folder, targets=("speech", "noise"), n_fft=1024):
    pytest.importorskip("torch", reason="torch is not installed")
    from unfolded import GRUMasks, Separator

    network = GRUMasks(2, stft=STFT(n_fft), sample_rate=16000, hidden=8, n_bands=8)
    Separator(network, targets=targets).save_pretrained(folder)


def test_with_a_model(script, pairs, tmp_path, monkeypatch, capsys):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    save_model(tmp_path / "model", targets=("noise", "speech"))
    out = tmp_path / "out"
    options = ["--count", 2, "--n-iter", 2, "--seconds", 0.25, "--resamples", 20, "--jobs", 1]
    run(
        script,
        monkeypatch,
        *("--pairs", pairs, "--magnitudes", "model", tmp_path / "model", "-o", out, *options),
    )
    assert sorted(path.name for path in out.iterdir()) == ["model.json", "model.rst", "model.svg"]
    results = json.loads((out / "model.json").read_text())
    assert results["parts"]["test"]["speakers"] == ["p2"]
    assert all(np.isfinite(row["median"]).all() for row in results["rows"])
    assert "csv-table" in capsys.readouterr().out
    # The network's speech is its second target here.
    V = script.model(tmp_path / "model")(np.ones((2, 4000), np.float32))
    assert V.shape == (2, *STFT(1024)(np.ones(4000)).shape)


def test_a_model_for_something_else_is_refused(script, pairs, tmp_path, monkeypatch, capsys):
    save_model(tmp_path / "small", n_fft=512)
    save_model(tmp_path / "music", targets=("vocals", "other"))
    for name, word in (("small", "the protocol has"), ("music", "not speech and noise")):
        with pytest.raises(SystemExit, match="2"):
            run(script, monkeypatch, "--pairs", pairs, "--magnitudes", "model", tmp_path / name)
        assert word in capsys.readouterr().err


def test_open_unmix_weights_from_a_folder_or_a_file(script, tmp_path):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    from unfolded.estimators import OpenUnmix

    network = OpenUnmix(["speech", "noise"], stft=STFT(1024), hidden=8).eval()
    for name, part in network.target_models.items():
        torch.save(part.state_dict(), tmp_path / f"{name}-1.pth")
    torch.save(network.state_dict(), tmp_path / "both.pth")
    sources = np.random.default_rng(0).standard_normal((2, 4000)).astype(np.float32)
    mixture = torch.from_numpy(sources.sum(0))[None, None]
    with torch.no_grad():
        wanted = network(mixture, script.TRANSFORM(mixture))[0, :, 0].numpy()
    for path in (tmp_path, tmp_path / "both.pth"):
        np.testing.assert_allclose(script.open_unmix(str(path))(sources), wanted, rtol=1e-5)
    (tmp_path / "noise-1.pth").unlink()
    with pytest.raises(ValueError, match=r"no weights noise\*"):
        script.open_unmix(str(tmp_path))
