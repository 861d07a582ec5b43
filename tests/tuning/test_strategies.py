"""Tuning: candidates, scores, strategies, and ``phaserec tune`` from folders to a preset."""

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile

from phaserec import STFT, audio, invert
from phaserec.corpus.mixtures import Item
from phaserec.evaluation import Undefined, metric
from phaserec.tuning import presets
from phaserec.tuning.strategies import (
    Candidate,
    Search,
    _rounds,
    candidates,
    given,
    search,
    summarise,
)

RATE = 8000
STFT_ = STFT(64)


def run(*args, **kwargs):
    steps = search(*args, **kwargs)
    fractions = []
    while True:
        try:
            fractions.append(next(steps))
        except StopIteration as stop:
            assert fractions == sorted(fractions) and fractions[-1] == pytest.approx(1)
            return stop.value


def make_item(seed, length=700, channels=1):
    """Two sources, of which one is tonal, with magnitudes that are somewhat wrong."""
    rng = np.random.default_rng(seed)
    tone = np.sin(rng.uniform(0.1, 1, (channels, 1)) * np.arange(length) ** 1.02)
    sources = np.stack([tone, 0.5 * rng.standard_normal((channels, length))], axis=1)
    V = np.abs(STFT_(sources))
    V = V * rng.uniform(0.7, 1.3, V.shape)
    return Item(f"item{seed}", ("tone", "noise"), RATE, sources.sum(1), sources, V)


@pytest.fixture(scope="module")
def items():
    return [make_item(seed) for seed in range(8)]


# Candidates -----------------------------------------------------------------------------------


def test_candidates_are_all_combinations_of_what_each_algorithm_has():
    found = candidates(
        ["misi", "mix_incons", "aux"], {"sigma": ["0", "0.5"], "momentum": [0.0, 0.2], "tau": [2.0]}
    )
    assert len(found) == 2 + 4 + 4
    assert {c.algorithm for c in found} == {"misi", "mix-incons", "aux"}
    assert all("sigma" not in c.hyper for c in found if c.algorithm == "misi")
    assert Candidate("aux", {"sigma": 0.5, "momentum": 0.2, "tau": 2.0}) in found


def test_candidates_are_different_and_words_are_read():
    found = candidates(["misi", "misi"], {"momentum": ["0.10", "0.1", ".1"]})
    assert [str(c) for c in found] == ["misi momentum=0.1"]
    (word,) = candidates(["aux"], {"mixing": ["hard"]})
    assert word.hyper == {"mixing": "hard"}


@pytest.mark.parametrize(
    "algorithms, grid, word",
    [
        (["misi", "aux"], {"sigm": [1]}, "'sigm'; did you mean 'sigma'"),
        (["misi", "aux"], {"momentun": [1]}, "'momentun'; did you mean 'momentum'"),
        (["misi"], {"sigma": [1]}, "misi is called 'sigma'"),
        (["aux"], {"sigma": [0.1, -1]}, "sigma=-1"),
        (["aux"], {"sigma": ["loud"]}, "sigma='loud'"),
        (["aux"], {"sigma": []}, "sigma needs"),
        (["mizi"], {}, "did you mean 'misi'"),
        ([], {}, "at least one"),
    ],
)
def test_candidates_that_cannot_be(algorithms, grid, word):
    with pytest.raises(ValueError, match=word):
        candidates(algorithms, grid)


# Scores ---------------------------------------------------------------------------------------


def test_one_run_scores_every_number_of_iterations(items):
    tried = candidates(
        ["misi", "mix-incons", "raar", "pu-iter"], {"sigma": [0.3], "momentum": [0, 0.5]}
    )
    found = run(items[:2], tried, 4, stft=STFT_, score="snr", source="noise", jobs=1)
    assert found.scores.shape == (len(tried), 2, 5)
    for k, candidate in enumerate(tried):
        for i, item in enumerate(items[:2]):
            for n in range(5):
                waveforms = invert(
                    item.magnitudes,
                    item.mixture,
                    stft=STFT_,
                    algorithm=candidate.algorithm,
                    n_iter=n,
                    **candidate.hyper,
                )
                noise = item.references[0, 1]
                error = np.sum((noise - waveforms[0, 1]) ** 2)
                literal = 10 * np.log10(np.sum(noise**2) / error)
                assert found.scores[k, i, n] == pytest.approx(literal, abs=1e-6)


def test_without_a_source_the_mean_over_sources_counts(items):
    tried = candidates(["misi"])
    each = [
        run(items, tried, 2, stft=STFT_, source=name, jobs=1).scores for name in ("tone", "noise")
    ]
    both = run(items, tried, 2, stft=STFT_, jobs=1).scores
    np.testing.assert_allclose(both, (each[0] + each[1]) / 2)
    assert not np.allclose(each[0], each[1])


def test_channels_are_averaged():
    stereo = make_item(3, channels=2)
    found = run([stereo], candidates(["misi"]), 2, stft=STFT_, jobs=1).scores
    parts = [
        Item("x", stereo.sources, RATE, *(a[c : c + 1] for a in arrays))
        for arrays in [(stereo.mixture, stereo.references, stereo.magnitudes)]
        for c in range(2)
    ]
    alone = run(parts, candidates(["misi"]), 2, stft=STFT_, jobs=1).scores
    np.testing.assert_allclose(found[0, 0], alone[0].mean(axis=0))


@pytest.mark.parametrize("strategy", ["grid", "halving"])
def test_the_result_does_not_depend_on_the_jobs(items, strategy):
    tried = candidates(["misi", "mag-incons-hard-mix"], {"sigma": [0.1, 1, 10]})
    results = [
        run(items, tried, 3, stft=STFT_, strategy=strategy, seed=5, jobs=jobs).scores
        for jobs in (1, 3)
    ]
    np.testing.assert_array_equal(*results)


def test_what_diverges_scores_worst(items):
    tried = candidates(["misi"], {"momentum": [0.0, 50.0]})
    found = run(items, tried, 300, stft=STFT_, score="snr", jobs=1)
    best = found.ranking()[0]
    assert best.candidate.hyper["momentum"] == 0 and np.isfinite(best.score)
    assert np.all(np.isfinite(found.scores[0]))


@pytest.fixture
def moody(metrics):
    """A score that is undefined or NaN where a test says so."""
    state = {}

    @metric("moody")
    def moody(reference, estimate, settings):
        """The largest sample."""
        if not estimate.any():
            raise Undefined("the estimate is silent")
        return state.get("value", float(np.max(estimate)))

    return state


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_item_without_a_score_is_the_worst_and_does_not_end_the_search(moody, items, jobs):
    silent = replace(items[1], magnitudes=0 * items[1].magnitudes)
    found = run(
        [items[0], silent], candidates(["misi-mix-first"]), 2, stft=STFT_, score="moody", jobs=jobs
    )
    assert np.all(found.scores[0, 0] > 0) and np.all(found.scores[0, 1] == -np.inf)
    assert found.runs.tolist() == [2]


def test_a_score_that_is_nan_was_scored_all_the_same(metrics, items):
    calls = []

    @metric("late")
    def late(reference, estimate, settings):
        """Nothing at first."""
        calls.append(None)
        return np.nan if len(calls) == 1 else 1.0

    found = run(items[:1], candidates(["misi"]), 2, stft=STFT_, score="late", jobs=1, source="tone")
    np.testing.assert_array_equal(found.scores[0, 0], [-np.inf, 1, 1])
    assert found.runs.tolist() == [1] and found.iterations == 2


def test_estimates_as_given_may_have_no_score(moody, items):
    estimates = [items[0].references, 0 * items[1].references]
    both = [replace(item, estimates=e) for item, e in zip(items, estimates, strict=False)]
    how = {"stft": STFT_, "score": "moody", "source": None}
    assert given(both, statistic="mean", **how) == -np.inf
    assert given(both[:1], statistic="mean", **how) > 0


def test_nothing_is_chosen_where_no_score_is_a_number(moody, items):
    moody["value"] = np.nan
    found = run(items[:2], candidates(["misi"]), 1, stft=STFT_, score="moody", jobs=1)
    with pytest.raises(ValueError, match=r"median score .* a number for no candidate; leave out"):
        found.ranking()


def test_a_silent_source_cannot_be_scored(items):
    item = items[0]
    silent = item.references * [[[1.0], [0.0]]]
    quiet = Item("quiet", item.sources, RATE, silent.sum(1), silent, item.magnitudes)
    with pytest.raises(ValueError, match="quiet: the source 'noise' is silent"):
        run([items[1], quiet], candidates(["misi"]), 1, stft=STFT_)
    assert run([quiet], candidates(["misi"]), 1, stft=STFT_, source="tone").scores.shape


@pytest.mark.parametrize(
    "change, word",
    [
        ({"strategy": "random"}, "strategy='random'"),
        ({"score": "sdri"}, "score='sdri'"),
        ({"score": "spectral-convergence"}, "score='spectral-convergence'"),
        ({"statistic": "mode"}, "statistic='mode'"),
        ({"source": "tones"}, "did you mean 'tone'"),
        ({"jobs": 0}, "jobs=0"),
        ({"n_iter": -1}, "n_iter=-1"),
        ({"candidates": []}, "nothing to do"),
        ({"items": []}, "nothing to do"),
    ],
)
def test_bad_arguments(items, change, word):
    arguments = {"items": items[:1], "candidates": candidates(["misi"]), "n_iter": 1} | change
    with pytest.raises(ValueError, match=word):
        run(stft=STFT_, **arguments)


# Choice ---------------------------------------------------------------------------------------


def made(scores, statistic="median"):
    scores = np.asarray(scores, float)
    return Search(tuple(Candidate(f"c{k}") for k in range(len(scores))), scores, statistic)


def test_the_best_is_of_the_statistic_over_items_with_the_fewest_iterations():
    found = made([[[0, 5, 5], [0, 1, 1], [0, 2, 2]], [[0, 1, 9], [0, 1, 0], [0, 1, 0]]])
    best = found.ranking()[0]
    assert (best.candidate.algorithm, best.n_iter, best.score) == ("c0", 1, 2)
    best = made(found.scores, "mean").ranking()[0]
    assert (best.candidate.algorithm, best.n_iter) == ("c1", 2)
    assert best.score == 3 > found.scores[0, :, 1].mean() - 1


def test_rounding_is_no_reason_for_more_iterations():
    best = made([[[0, 3, 3.0001, 3.0005]]]).ranking()[0]
    assert (best.n_iter, best.score) == (1, 3)


def test_equal_scores_go_to_the_earlier_candidate():
    ranking = made([[[1, 1]], [[1, 1]]]).ranking()
    assert [(c.candidate.algorithm, c.n_iter) for c in ranking] == [("c0", 0), ("c1", 0)]


def test_candidates_that_were_dropped_come_last():
    found = made([[[0, 9], [np.nan] * 2], [[0, 1], [0, 1]]])
    assert [c.candidate.algorithm for c in found.ranking()] == ["c1", "c0"]
    assert found.iterations == 3 and found.runs.tolist() == [1, 2]


def test_no_number_is_the_worst():
    values = np.array([[np.nan, 1.0], [2.0, np.inf], [3.0, -np.inf]])
    np.testing.assert_array_equal(summarise(values, "median"), [2, 1])
    np.testing.assert_array_equal(summarise(values, "mean"), [-np.inf, -np.inf])


# Halving --------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_candidates", [1, 2, 5, 26, 1000])
@pytest.mark.parametrize("n_items", [1, 2, 7, 50])
def test_rounds_halve_candidates_and_double_items(n_candidates, n_items):
    rounds = _rounds(n_candidates, n_items, "halving")
    assert rounds[0][0] == n_candidates and rounds[-1][1] == n_items
    for (many, few), (fewer, more) in pairwise(rounds):
        assert fewer == -(-many // 2) or abs(fewer - many / 2) <= 1
        assert few < more <= 2 * few
    assert _rounds(n_candidates, n_items, "grid") == [(n_candidates, n_items)]


def test_halving_spends_less_and_finds_a_clear_winner(items):
    tried = candidates(["misi", "incons-hard-mix"], {"momentum": list(np.linspace(0, 0.9, 8))})
    grid = run(items, tried, 5, stft=STFT_, jobs=1)
    halved = run(items, tried, 5, stft=STFT_, strategy="halving", jobs=1)
    assert grid.iterations == 16 * 8 * 5
    # Rounds of (candidates, items): (16, 1), (8, 2), (4, 4), (2, 8).
    assert halved.iterations == (16 * 1 + 8 * 1 + 4 * 2 + 2 * 4) * 5
    assert sorted(halved.runs.tolist(), reverse=True) == [8] * 2 + [4] * 2 + [2] * 4 + [1] * 8
    ran = ~np.isnan(halved.scores)
    np.testing.assert_array_equal(halved.scores[ran], grid.scores[ran])
    assert halved.ranking()[0].score > np.median([grid.curve(k).max() for k in range(16)])


def test_the_seed_chooses_the_first_items(items):
    tried = candidates(["misi"], {"momentum": [0, 0.2, 0.4, 0.6]})
    used = [
        run(items, tried, 1, stft=STFT_, strategy="halving", seed=seed, jobs=1).scores[..., 0]
        for seed in (0, 0, 1)
    ]
    np.testing.assert_array_equal(used[0], used[1])
    assert not np.array_equal(np.isnan(used[0]), np.isnan(used[2]))


# The command ----------------------------------------------------------------------------------


def write_pairs(folder, seeds):
    for seed in seeds:
        white = np.random.default_rng(seed).standard_normal((2, 16000))
        speech = 0.05 * np.convolve(white[0], np.hanning(20), "same")
        for kind, samples in (("clean", speech), ("noisy", speech + 0.05 * white[1])):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            soundfile.write(folder / kind / f"x{seed}.wav", samples, RATE, subtype="FLOAT")


@pytest.fixture
def tune(tmp_path, monkeypatch, capsys):
    """Run ``phaserec tune`` in a folder with ``valid`` and ``test``: exit code, stdout, stderr."""
    from phaserec.cli import main

    monkeypatch.chdir(tmp_path)
    write_pairs(tmp_path / "valid", (1, 2))
    write_pairs(tmp_path / "test", (3,))

    def run(*args):
        code = 0
        try:
            main(["tune", *map(str, args)])
        except SystemExit as stop:
            code = stop.code
        captured = capsys.readouterr()
        lines = [line for line in captured.err.splitlines() if "compiling" not in line]
        return code, captured.out, "\n".join(lines)

    return run


SMALL = ("--n-fft", 256, "--n-iter", 3, "--sigma", "0.1,1")


def test_tune_writes_a_preset_that_invert_reads(tune, capsys):
    from phaserec.cli import main

    code, out, err = tune("valid", "--algo", "misi,mag-incons-hard-mix", *SMALL, "--test", "test")
    assert (code, err) == (0, "")
    preset = presets.read("preset.json")
    assert preset.stft == STFT(256) and preset.tuning["items"] == 2
    assert len(preset.tuning["grid"]) == 3
    assert preset.tuning["iterations_run"] == 3 * 2 * 3
    assert "18 iterations in 6 runs" in out
    best = max(max(row["scores"]) for row in preset.tuning["grid"])
    assert preset.tuning["result"] == pytest.approx(best, abs=1.1e-3)
    main(["invert", "--preset", "preset.json"])
    assert f"{preset.n_iter} iterations" in capsys.readouterr().out


def test_scores_are_printed_in_their_unit(tune, metrics):
    @metric("loudest", unit="Pa")
    def loudest(reference, estimate, settings):
        """The largest sample."""
        return float(np.max(estimate))

    metrics["bare"] = replace(metrics["loudest"], name="bare", unit="")
    for score, words in {"loudest": "loudest of speech in Pa", "bare": "bare of speech"}.items():
        arguments = ("--algo", "misi", *SMALL[:4], "--score", score, "--source", "speech")
        assert tune("valid", *arguments)[1].startswith(f"median {words} on the 2 items of valid\n")


def test_the_score_on_the_test_folder_is_that_of_the_preset(tune):
    tune("valid", "--algo", "misi", *SMALL[:4], "--test", "test", "--score", "snr")
    preset = presets.read("preset.json")
    clean, noisy = (audio.read(f"test/{kind}/x3.wav").samples for kind in ("clean", "noisy"))
    sources = np.stack([clean, noisy - clean], axis=1)
    waveforms = invert(
        np.abs(preset.stft(sources)),
        noisy,
        stft=preset.stft,
        algorithm=preset.algorithm,
        n_iter=preset.n_iter,
    )
    error = np.sum((sources - waveforms) ** 2, axis=-1)
    literal = np.mean(10 * np.log10(np.sum(sources**2, axis=-1) / error))
    assert preset.tuning["test"]["result"] == pytest.approx(literal, abs=2e-3)


def test_shared_recordings_are_refused_whatever_their_name_and_format(tune):
    x = soundfile.read("valid/clean/x2.wav")[0]
    soundfile.write("test/clean/other.flac", 0.5 * x[4000:], RATE, subtype="PCM_16")
    noisy = 0.5 * x[4000:] + 0.01 * np.random.default_rng(9).standard_normal(len(x) - 4000)
    soundfile.write("test/noisy/other.flac", noisy, RATE, subtype="PCM_16")
    code, out, err = tune("valid", "--algo", "misi", "--test", "test")
    assert (code, out) == (2, "") and err.count("\n") == 0
    assert "valid/clean/x2.wav and test/clean/other.flac" in err
    assert not Path("preset.json").exists()


def test_a_preset_proves_that_other_files_were_not_seen(tune):
    tune("valid", "--algo", "misi", *SMALL[:4])
    preset = presets.read("preset.json")
    assert presets.overlap(preset, ["test/clean/x3.wav", "test/noisy/x3.wav"]) == []
    x = soundfile.read("valid/noisy/x1.wav")[0]
    soundfile.write("copy.flac", x, RATE, subtype="PCM_24")
    assert presets.overlap(preset, ["copy.flac"]) == [("noisy/x1.wav", "copy.flac")]


def test_magnitudes_of_estimates(tune):
    for item in ("x1", "x2"):
        clean, noisy = (audio.read(f"valid/{k}/{item}.wav").samples for k in ("clean", "noisy"))
        Path("estimates", item).mkdir(parents=True)
        for name, samples in (("speech", clean), ("noise", noisy - clean)):
            soundfile.write(f"estimates/{item}/{name}.wav", samples.T, RATE, subtype="FLOAT")
    tune("valid", "--algo", "misi", *SMALL[:4], "-o", "oracle.json")
    tune("valid", "--algo", "misi", *SMALL[:4], "-o", "same.json", "--estimates", "estimates")
    one, other = (presets.read(f"{name}.json") for name in ("oracle", "same"))
    assert one.tuning["grid"] == other.tuning["grid"]
    assert (one.tuning["magnitudes"], other.tuning["magnitudes"]) == ("oracle", "estimates")
    speech = soundfile.read("estimates/x1/speech.wav")[0]
    soundfile.write("estimates/x1/speech.wav", 0.3 * speech, RATE, subtype="FLOAT")
    tune("valid", "--algo", "misi", *SMALL[:4], "-o", "worse.json", "--estimates", "estimates")
    worse = presets.read("worse.json").tuning
    assert worse["result"] < one.tuning["result"]
    assert "given" not in one.tuning and "given" in worse


def test_sigma_has_the_published_grid_by_default(tune):
    tune("valid", "--algo", "mix-incons,misi", "--n-iter", 1, "--n-fft", 256, "-o", "p.json")
    grid = json.loads(Path("p.json").read_text())["tuning"]["grid"]
    sigmas = [row["hyper"]["sigma"] for row in grid if "sigma" in row["hyper"]]
    np.testing.assert_allclose(sigmas, [0, *np.logspace(-3, 3, 7)])
    assert len(grid) == 9


@pytest.mark.parametrize(
    "args, word",
    [
        (["gone"], "gone: no such folder"),
        (["."], "expected clean/ and noisy/"),
        (["valid", "--sigma", "1,x"], "sigma='x'"),
        (["valid", "--algo", "misi", "--sigma", "1"], "misi is called 'sigma'"),
        (["valid", "--source", "voice"], "source='voice'"),
        (["valid", "--strategy", "luck"], "strategy='luck'"),
        (["valid", "--test-estimates", "x"], "--test"),
        (["valid", "--estimates", "x"], "no estimate x/x1/speech.wav"),
        (["valid", "-o", "valid"], "is a folder"),
        (["valid", "-o", "valid/clean/x1.wav/p.json"], "not a folder"),
        (["valid", "--test", "valid"], "share recordings"),
        (["valid", "--hop-length", "1024"], "not invertible"),
        (["valid", "--jobs", "0"], "jobs=0"),
    ],
)
def test_bad_input_is_one_line(tune, args, word):
    code, out, err = tune(*args)
    assert code == 2 and out == ""
    assert err.startswith("phaserec: error: ") and "\n" not in err and word in err
    assert not Path("preset.json").exists()


def test_real_speakers(data, tmp_path, monkeypatch, capsys):
    from phaserec.cli import main

    monkeypatch.chdir(tmp_path)
    for kind in ("clean", "noisy"):
        for part, files in {"v": ("p232_002", "p232_032"), "t": ("p287_001",)}.items():
            Path(part, kind).mkdir(parents=True)
            for name in files:
                source = data / "voicebank_demand" / kind / f"{name}.flac"
                Path(part, kind, f"{name}.flac").symlink_to(source)
    main(["tune", "v", "--test", "t", "--algo", "mag-incons-hard-mix", "--n-iter", "10"])
    tuning = presets.read("preset.json").tuning
    assert tuning["result"] > tuning["mixture_phase"] + 8
    assert tuning["test"]["result"] > tuning["test"]["mixture_phase"] + 5
