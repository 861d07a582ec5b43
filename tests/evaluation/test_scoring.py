"""Evaluation: metrics against the literal definitions, permutations, silence, summary, matching."""

import json
import math
import subprocess
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
import soundfile

from phaserec import STFT, audio, evaluation, measures
from phaserec.corpus.workers import Failed
from phaserec.evaluation import (
    METRICS,
    Item,
    Row,
    Settings,
    Undefined,
    by_source,
    joint_metric,
    match,
    metric,
    resolve,
    score,
    score_files,
    summary,
    to_csv,
    to_json,
    to_text,
)
from phaserec.evaluation import metrics as metrics_module

RATE = 1000
WAVEFORM = ["si-sdr", "sdr", "snr", "spectral-convergence"]


def needs(*names):
    """Skip where the packages of these metrics are absent."""
    for name in names:
        if not METRICS[name].installed:
            pytest.skip(f"the package {METRICS[name].package} of the extra eval is not installed")


def scene(n_sources=2, length=2100, seed=0, channels=None):
    """Coloured sources and estimates with leakage, a short filter and noise."""
    rng = np.random.default_rng(seed)
    shape = (n_sources, length) if channels is None else (n_sources, channels, length)
    s = rng.standard_normal(shape)
    s = s + 0.7 * np.roll(s, 1, -1)
    leak = s[::-1] if n_sources > 1 else 0 * s
    return s, 0.8 * s + 0.3 * np.roll(s, 3, -1) + 0.2 * leak + 0.1 * rng.standard_normal(shape)


def values(rows, column):
    return [row.values[column] for row in rows]


def db(a, b):
    return 10 * np.log10(np.sum(a**2) / np.sum(b**2))


# -- Metrics --------------------------------------------------------------------------------------


def delays(s, taps):
    """Matrix of the delayed copies of the sources ``(time + taps − 1, J·taps)``."""
    zeros = np.zeros(taps - 1)
    return np.hstack([scipy.linalg.toeplitz(np.append(x, zeros), np.zeros(taps)) for x in s])


def projected(s, e, taps):
    """Filters and projection of an estimate on the delays of sources (Vincent et al. 2006)."""
    A = delays(s, taps)
    padded = np.append(e, np.zeros(taps - 1))
    return np.linalg.lstsq(A, padded)[0], A, padded


def literal_bss_eval_sources(s, e, taps=512):
    """SDR, SIR, SAR of each source: eqs. 2 to 5 and 9 to 11 of Vincent et al. 2006."""
    result = []
    for j in range(len(s)):
        c_all, A_all, padded = projected(s, e[j], taps)
        c_own, A_own, _ = projected(s[[j]], e[j], taps)
        target = A_own @ c_own
        interference = A_all @ c_all - target
        artefacts = padded - A_all @ c_all
        result.append(
            (
                db(target, interference + artefacts),
                db(target, interference),
                db(target + interference, artefacts),
            )
        )
    return np.transpose(result)


def literal_bss_eval_v4(s, e, window, taps=512):
    """SDR, ISR, SIR, SAR ``(J, frames)``: filters of the whole signal, ratios of each frame."""
    count = (s.shape[-1] - window) // window + 1
    result = np.empty((4, len(s), count))
    for j in range(len(s)):
        c_all, c_own = projected(s, e[j], taps)[0], projected(s[[j]], e[j], taps)[0]
        for t in range(count):
            part = slice(t * window, (t + 1) * window)
            own = delays(s[[j], part], taps) @ c_own
            every = delays(s[:, part], taps) @ c_all
            true = np.append(s[j, part], np.zeros(taps - 1))
            given = np.append(e[j, part], np.zeros(taps - 1))
            spatial, interference, artefacts = own - true, every - own, given - every
            result[:, j, t] = (
                db(true, spatial + interference + artefacts),
                db(true, spatial),
                db(true + spatial, interference),
                db(true + spatial + interference, artefacts),
            )
    return result


def test_si_sdr_and_snr_by_definition():
    s, e = scene()
    rows = score(s, e, RATE, metrics=["si-sdr", "snr"])
    for row, x, y in zip(rows, s, e, strict=True):
        angle = np.dot(x, y) / np.linalg.norm(x) / np.linalg.norm(y)
        assert row.values["si-sdr"] == pytest.approx(10 * np.log10(angle**2 / (1 - angle**2)))
        assert row.values["snr"] == pytest.approx(db(x, x - y))


def test_sdr_sir_and_sar_equal_the_equations():
    needs("bss-sources")
    s, e = scene()
    rows = score(s, e, RATE, metrics=["sdr", "bss-sources"])
    for column, expected in zip(("sdr", "sir", "sar"), literal_bss_eval_sources(s, e), strict=True):
        np.testing.assert_allclose(values(rows, column), expected, atol=1e-6)


def test_bss_eval_v4_equals_the_equations_frame_by_frame():
    needs("bss")
    s, e = scene()
    rows = score(s, e, RATE, metrics=["bss"])
    expected = literal_bss_eval_v4(s, e, RATE)
    for name, frames in zip(("sdr", "isr", "sir", "sar"), expected, strict=True):
        found = [row.frames[f"bss-{name}"] for row in rows]
        np.testing.assert_allclose(found, frames, atol=1e-6)
        np.testing.assert_allclose(values(rows, f"bss-{name}"), np.median(frames, axis=1))


def test_sdr_is_that_of_museval(data):
    needs("bss")
    folder = data / "librispeech_2mix"
    name = "2803-154328-0017_8297-275155-0016.flac"
    s = np.concatenate([audio.read(folder / k / name).samples for k in ("s1", "s2")])
    e = s + 0.1 * s[::-1]
    ours = score(s, e, 8000, metrics=["sdr", "bss"])
    bss_eval = metrics_module._museval_metrics().bss_eval
    args = (s[..., None].astype(float), e[..., None].astype(float))
    whole = bss_eval(*args, window=np.inf, hop=np.inf, bsseval_sources_version=True)
    np.testing.assert_allclose(values(ours, "sdr"), whole[0][:, 0], atol=1e-5)
    frames = bss_eval(*args, window=8000, hop=8000)
    for column, expected in zip(METRICS["bss"].columns, frames, strict=False):
        np.testing.assert_array_equal([row.frames[column] for row in ours], expected)
        np.testing.assert_array_equal(values(ours, column), np.nanmedian(expected, axis=1))


def test_museval_works_without_ffmpeg_and_the_readers_of_data_sets():
    needs("bss")
    code = (
        "import sys, numpy as np\n"
        "from phaserec.evaluation import score\n"
        "x = np.random.default_rng(0).standard_normal((2, 3000))\n"
        "score(x, x + 0.1, 1000, metrics=['bss'])\n"
        "assert not {'musdb', 'stempeg', 'ffmpeg', 'pandas'} & set(sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PATH": ""}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_spectral_convergence_by_definition():
    s, e = scene(length=5000)
    stft = STFT(256, 64)
    rows = score(s, e, RATE, metrics=["spectral-convergence"], stft=stft)
    for row, x, y in zip(rows, s, e, strict=True):
        # All bins of both spectra: numpy's full FFT of windowed frames.
        frames = [
            np.lib.stride_tricks.sliding_window_view(np.pad(z, (128, 128 + 64)), 256)[::64]
            for z in (x, y)
        ]
        V, W = (np.abs(np.fft.fft(f * stft.window_values))[: stft.n_frames(5000)] for f in frames)
        expected = 20 * np.log10(np.linalg.norm(W - V) / np.linalg.norm(V))
        assert row.values["spectral-convergence"] == pytest.approx(expected)


def test_pesq_and_stoi_are_the_packages(data):
    needs("pesq", "stoi")
    import pesq
    import pystoi

    folder = data / "voicebank_demand"
    clean, noisy = (
        audio.read(folder / kind / "p232_006.flac").samples[0].astype(float)
        for kind in ("clean", "noisy")
    )
    (row,) = score(clean, noisy, 16000, metrics=["pesq", "stoi", "estoi"])
    assert row.values["pesq"] == pytest.approx(pesq.pesq(16000, clean, noisy, "wb"))
    assert row.values["stoi"] == pytest.approx(pystoi.stoi(clean, noisy, 16000))
    assert row.values["estoi"] == pytest.approx(pystoi.stoi(clean, noisy, 16000, extended=True))
    (again,) = score(clean, noisy, 16000, metrics=["estoi"])
    assert again.values["estoi"] == row.values["estoi"]
    low = audio.resample(np.stack([clean, noisy]), 16000, 8000)
    (row,) = score(*low, 8000, metrics=["pesq"])
    assert row.values["pesq"] == pytest.approx(pesq.pesq(8000, *low, "nb"))
    high = audio.resample(np.stack([clean, noisy]), 16000, 44100)
    (row,) = score(*high, 44100, metrics=["pesq"])
    assert row.values["pesq"] == pytest.approx(pesq.pesq(16000, clean, noisy, "wb"), abs=0.02)


def test_stoi_changes_what_belongs_to_all_threads_in_one_of_them_at_a_time(monkeypatch):
    needs("stoi")
    together = threading.Barrier(2)

    def stoi(*signals, **options):
        try:
            together.wait(timeout=0.3)
        except threading.BrokenBarrierError:
            return 1.0  # the other one waits outside
        return 0.0

    monkeypatch.setattr(import_module("pystoi"), "stoi", stoi)
    s = np.random.default_rng(0).standard_normal(2000)
    filters = list(warnings.filters)
    with ThreadPoolExecutor(2) as pool:
        found = pool.map(METRICS["stoi"].function, [s, s], [s, s], [Settings(RATE)] * 2)
        assert list(found) == [1.0, 1.0]
    assert warnings.filters == filters


def test_improvements_are_differences():
    s, e = scene()
    x = s.sum(0)
    names = ["si-sdri", "sdri", "snri"]
    rows = score(s, e, RATE, mixture=x, metrics=[*names, "sdr"])
    for name in names:
        after = values(score(s, e, RATE, metrics=[name[:-1]]), name[:-1])
        before = values(score(s, np.stack([x, x]), RATE, metrics=[name[:-1]]), name[:-1])
        np.testing.assert_allclose(values(rows, name), np.subtract(after, before))
    with pytest.raises(ValueError, match="si-sdri, sdri need the mixture"):
        score(s, e, RATE, metrics=["si-sdri", "sdri"])


@pytest.mark.parametrize("name", WAVEFORM)
def test_values_by_source_are_those_of_the_rows(name):
    s, e = scene(channels=2)
    s[0, 1] = 0  # one channel does not sound
    s, e = s.astype(np.float32), e.astype(np.float32)
    seen = by_source(name, np.moveaxis(s, 0, 1), np.moveaxis(e, 0, 1), Settings(RATE))
    assert np.all(np.isfinite(seen))
    assert list(seen) == values(score(s, e, RATE, metrics=[name]), name)
    s[0] = 0
    silent, other = by_source(name, np.moveaxis(s, 0, 1), np.moveaxis(e, 0, 1), Settings(RATE))
    assert math.isnan(silent) and other == seen[1]


@pytest.mark.parametrize(
    ("name", "needs"), [("sdri", "the mixture"), ("bss-sources", "all sources together")]
)
def test_values_by_source_are_of_one_waveform(name, needs, monkeypatch):
    monkeypatch.setattr(metrics_module, "find_spec", lambda name: True)
    s, e = scene(channels=1)
    with pytest.raises(ValueError, match=f"metric {name} needs {needs}; call score"):
        by_source(name, s, e, Settings(RATE))


def test_values_of_channels_are_averaged():
    s, e = scene(channels=2)
    rows = score(s, e, RATE, metrics=WAVEFORM)
    for c in range(2):
        single = score(s[:, c], e[:, c], RATE, metrics=WAVEFORM)
        for name in WAVEFORM:
            other = score(s[:, 1 - c], e[:, 1 - c], RATE, metrics=[name])
            expected = np.mean([values(single, name), values(other, name)], axis=0)
            np.testing.assert_allclose(values(rows, name), expected)


def test_a_metric_of_ones_own(metrics):
    @metric("peak-error", better="lower", improvement=True)
    def peak_error(reference, estimate, settings):
        if settings.rate > 8000:
            raise Undefined("too fast")
        return np.max(np.abs(reference - estimate))

    @joint_metric("mixing-error", ["mixing-error"], unit="dB")
    def mixing_error(references, estimates, settings):
        error = db(estimates.sum(0), references.sum(0))
        return {"mixing-error": np.full(len(references), error)}

    s, e = scene()
    chosen = ["peak-error", "peak-errori", "mixing-error"]
    rows = score(s, e, RATE, mixture=s.sum(0), metrics=chosen)
    assert values(rows, "peak-error") == [np.max(np.abs(a - b)) for a, b in zip(s, e, strict=True)]
    assert values(rows, "mixing-error") == [db(e.sum(0), s.sum(0))] * 2
    (row, _) = score(s, e, 16000, metrics=["peak-error"])
    assert math.isnan(row.values["peak-error"]) and row.notes == ("peak-error: too fast",)


# -- Permutation, silence, bad input --------------------------------------------------------------


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 0, 1], [1, 0, 2], [2, 1, 0]])
def test_the_permutation_is_the_best_one(order):
    s, e = scene(3)
    plain = score(s, e, RATE, metrics=["sdr"], names="abc")
    found = score(s, e[order], RATE, metrics=["sdr"], permute=True, names="abc")
    assert values(found, "sdr") == values(plain, "sdr")
    assert [row.estimate for row in found] == ["abc"[order.index(j)] for j in range(3)]
    unpermuted = score(s, e[order], RATE, metrics=["sdr"])
    assert np.mean(values(unpermuted, "sdr")) <= np.mean(values(plain, "sdr"))


def test_permutation_copes_with_silence_and_perfection():
    s, _ = scene(3)
    e = s[[1, 2, 0]]
    e[2] = 0
    rows = score(s, e, RATE, metrics=["snr"], permute=True)
    assert [row.estimate for row in rows] == ["3", "1", "2"]
    assert values(rows, "snr") == [0, math.inf, math.inf]


def test_identical_estimates_are_infinitely_good():
    s, _ = scene()
    for row in score(s, s, RATE, metrics=["si-sdr", "snr"]):
        assert row.values["snr"] == math.inf and row.values["si-sdr"] > 250
    assert values(score(s, s, RATE, metrics=["spectral-convergence"]), "spectral-convergence") == [
        -math.inf,
        -math.inf,
    ]


def test_a_silent_reference_is_undefined_and_leaves_the_others_alone():
    chosen = [name for name, entry in METRICS.items() if entry.installed and not entry.improvement]
    s, e = scene(3, length=8000)
    alone = score(s[[0, 2]], e[[0, 2]], 8000, metrics=chosen)
    s[1] = 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        first, silent, last = score(s, e, 8000, metrics=chosen)
    assert all(math.isnan(value) for value in silent.values.values())
    assert set(silent.values) == set(first.values)
    assert silent.notes == ("the reference is silent",)
    for row, expected in zip((first, last), alone, strict=True):
        np.testing.assert_equal(row.values, expected.values)


def test_silence_in_short_never_crashes():
    chosen = [name for name, entry in METRICS.items() if entry.installed and not entry.improvement]
    for length in (1, 100, 3000, 9000):
        s, e = scene(length=length)
        for estimates in (e, 0 * e, np.stack([e[0], 0 * e[0]])):
            for references in (s, 0 * s):
                with warnings.catch_warnings():
                    warnings.simplefilter("error")
                    rows = score(references, estimates, 8000, metrics=chosen)
                for row in rows:
                    undefined = [v for v in row.values.values() if math.isnan(v)]
                    assert bool(undefined) == bool(row.notes)


def test_a_silent_estimate_is_minus_infinity_or_undefined():
    needs("bss", "pesq", "stoi")
    s, e = scene(length=8000)
    before = score(s, e, 8000, metrics=["bss"])
    e[1] = 0
    first, second = score(s, e, 8000, metrics=["si-sdr", "sdr", "snr", "bss", "pesq", "estoi"])
    assert second.values["si-sdr"] == second.values["sdr"] == -math.inf
    assert second.values["snr"] == 0
    assert all(math.isnan(second.values[name]) for name in ("bss-sdr", "bss-sar", "pesq", "estoi"))
    assert second.notes == tuple(f"{k}: the estimate is silent" for k in ("bss", "pesq", "estoi"))
    # The source beside it is scored as if nothing were wrong there.
    assert first.values["bss-sdr"] == before[0].values["bss-sdr"]


def test_silent_frames_are_left_out_of_the_median():
    needs("bss")
    s, e = scene(length=4000)
    s[0, 1000:2600] = 0
    rows = score(s, e, RATE, metrics=["bss"])
    frames = rows[0].frames["bss-sdr"]
    assert [math.isnan(value) for value in frames] == [False, True, False, False]
    assert rows[0].values["bss-sdr"] == np.nanmedian(frames)
    e[1, :1000] = e[1, 2000:] = 0
    rows = score(s, e, RATE, metrics=["bss"])
    assert [row.notes for row in rows] == [("bss: every frame is silent in a source",)] * 2


def test_dependent_references_are_undefined():
    needs("bss")
    _, e = scene()
    impulses = np.zeros((2, 2100))
    impulses[:, 0] = 16  # powers of two, so that the Gram matrix is exactly singular
    for row in score(impulses, e, RATE, metrics=["bss", "snr"]):
        assert math.isfinite(row.values["snr"]) and math.isnan(row.values["bss-sir"])
        assert row.notes == ("bss: the references are linearly dependent",)


def test_pesq_refuses_what_its_c_code_cannot_hold():
    needs("pesq")
    x = np.random.default_rng(0).standard_normal(8000 * 121)
    (row,) = score(x, x, 8000, metrics=["pesq"])
    assert math.isnan(row.values["pesq"]) and row.notes == ("pesq: takes at most 120 s",)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"estimates": np.ones((2, 99))}, "estimates .2, 1, 99."),
        ({"estimates": np.ones((3, 100))}, "estimates .3, 1, 100."),
        ({"references": np.full((2, 100), np.nan)}, "references hold NaN"),
        ({"references": np.ones((2, 0)), "estimates": np.ones((2, 0))}, "no samples"),
        ({"references": np.ones((2, 100)) * 1j}, "dtype complex128"),
        ({"references": np.ones((2, 1, 1, 100))}, "shape .2, 1, 1, 100."),
        ({"mixture": np.ones(99)}, "mixture has shape .1, 99."),
        ({"metrics": ["si-sdrr"]}, "did you mean 'si-sdr'"),
        ({"metrics": []}, "no metric"),
        ({"names": ["a"]}, "1 names"),
    ],
)
def test_bad_arrays_are_named(change, words):
    given = {"references": np.ones((2, 100)), "estimates": np.ones((2, 100)), "rate": RATE}
    with pytest.raises(ValueError, match=words):
        score(**(given | change))


def test_a_missing_package_is_named_with_its_extra(monkeypatch):
    monkeypatch.setattr(metrics_module, "find_spec", lambda name: None)
    for name, package in {"pesq": "pesq", "estoi": "pystoi", "bss": "museval"}.items():
        with pytest.raises(ValueError, match=rf"{name} needs .* {package}: pip .*\[eval\]"):
            resolve([name])
    assert resolve(["sdr"])


# -- Summary and tables ---------------------------------------------------------------------------


def rows_of(*items, column="sdr"):
    """One row a value; sources are numbered."""
    return [
        Row(f"item{i}", f"s{j}", f"s{j}", {column: float(value)})
        for i, row in enumerate(items)
        for j, value in enumerate(row)
    ]


def test_summary_of_one_source():
    x = np.random.default_rng(0).standard_normal(41) + 3
    rows = rows_of(*x[:, None])
    (one,) = summary(rows)
    assert (one.group, one.column, one.count) == ("all", "sdr", 41)
    assert one.mean == pytest.approx(x.mean()) and one.median == np.median(x)
    # A mean of many draws is nearly normal: the percentile interval is mean ± 1.96 σ/√n.
    half = 1.96 * x.std() / np.sqrt(41)
    np.testing.assert_allclose(one.mean_interval, [x.mean() - half, x.mean() + half], atol=0.05)
    # That of the median goes by order statistics: P(rank) of a binomial.
    low, high = np.sort(x)[[13, 27]]
    assert one.median_interval[0] == pytest.approx(low, abs=0.2)
    assert one.median_interval[1] == pytest.approx(high, abs=0.2)
    assert summary(rows) == [one] and summary(rows, seed=1) != [one]
    inner = summary(rows, level=0.5)[0].mean_interval
    assert one.mean_interval[0] < inner[0] < inner[1] < one.mean_interval[1]


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(200):
        (one,) = summary(rows_of(*rng.standard_normal((30, 1))), n_resamples=300)
        hits += one.mean_interval[0] <= 0 <= one.mean_interval[1]
    assert 0.87 < hits / 200 < 0.99


def test_sources_of_one_item_are_drawn_together():
    # Opposite values in each item: the mean of every resample is the same.
    rows = rows_of(*[(5 + d, 5 - d) for d in np.linspace(-2, 2, 9)])
    every, *groups = summary(rows)
    assert [each.group for each in groups] == ["s0", "s1"]
    np.testing.assert_allclose(every.mean_interval, 5)
    assert groups[0].mean_interval[1] - groups[0].mean_interval[0] > 1


def test_undefined_and_infinite_values_are_counted():
    rows = rows_of([1], [2], [math.inf], [math.nan], [math.inf], [4])
    (one,) = summary(rows)
    assert (one.count, one.undefined, one.infinite) == (5, 1, 2)
    assert one.mean == pytest.approx(7 / 3) and one.median == 4
    assert one.mean_interval[0] >= 1 and one.mean_interval[1] <= 4
    assert one.median_interval[1] == math.inf
    (none,) = summary(rows_of([math.nan], [math.nan]))
    assert none.count == 0 and math.isnan(none.mean) and math.isnan(none.median_interval[0])
    (middle,) = summary(rows_of([-math.inf], [math.inf]))
    assert math.isnan(middle.median)


def test_json_has_no_nan_and_tells_the_signs_of_infinities():
    rows = [
        Row("a", "", "", {"sdr": math.inf, "bss-sdr": math.nan}, {"bss-sdr": [math.nan]}, ("why",)),
        Row("b", "", "", {"sdr": -math.inf, "bss-sdr": 2.5}, {"bss-sdr": [2.0, 3.0]}),
    ]
    text = to_json(rows, summary(rows), {"c": "no estimate"})
    stored = json.loads(text, parse_constant=pytest.fail)
    first, second = stored["rows"]
    assert first["values"] == {"sdr": None, "bss-sdr": None} and first["notes"] == ["why"]
    assert (first["infinite"], second["infinite"]) == ({"sdr": "+"}, {"sdr": "-"})
    assert second["frames"] == {"bss-sdr": [2.0, 3.0]}
    assert stored["summary"]["all"]["bss-sdr"]["median"] == 2.5
    assert stored["summary"]["all"]["sdr"]["infinite"] == 2
    assert stored["columns"]["sdr"] == {"unit": "dB", "better": "higher"}
    assert stored["failed"] == [{"item": "c", "reason": "no estimate"}]


def test_csv_keeps_every_digit():
    import csv

    rows = [Row("a,b", "s", "t", {"sdr": 1 / 3, "snr": math.nan}, {}, ("one", "two"))]
    (line,) = csv.DictReader(to_csv(rows).splitlines())
    assert line["item"] == "a,b" and line["estimate"] == "t" and line["notes"] == "one; two"
    assert float(line["sdr"]) == 1 / 3 and line["snr"] == "nan"


@pytest.mark.parametrize("begin", ["=", "+", "-", "@", "\t", "\r"])
def test_names_are_no_formulas_in_csv(begin):
    import csv
    import io

    name = f"{begin}cmd|' /C calc'!A1"
    rows = [Row(name, name, name, {"sdr": -1.5}, {}, (name,))]
    (line,) = csv.DictReader(io.StringIO(to_csv(rows), newline=""))
    for column in ("item", "source", "estimate", "notes"):
        assert line[column] == f"'{name}".replace("\r", " ")
    assert line["sdr"] == "-1.5"


def test_the_table_is_aligned_and_names_what_was_permuted():
    rows = rows_of([1, -20.25], [3, math.nan])
    rows[0] = Row("item0", "s0", "s1", {"sdr": 1.0})
    lines = to_text(rows, summary(rows)).splitlines()
    assert lines[0].split() == ["item", "source", "sdr"] and lines[1].split() == ["dB"]
    assert lines[2].split() == ["item0", "s0", "←", "s1", "1.00"]
    assert len({len(line) for line in lines if line.split()[0].startswith("item")}) == 1
    assert any(line.split() == ["undefined", "all", "1"] for line in lines)


# -- Files ----------------------------------------------------------------------------------------


def touch(folder, *names):
    for name in names:
        path = Path(folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def matched(*args, **kwargs):
    found = match(*args, **kwargs)
    return {
        item.name: dict(zip(item.sources, (p.as_posix() for p in item.estimates), strict=True))
        for item in found.items
    }


def test_two_files_match_whatever_their_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    touch(".", "a.wav", "b.flac")
    assert matched("a.wav", "b.flac") == {"a": {"": "b.flac"}}


def test_files_match_by_name_in_any_depth_and_format(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    touch("r", "b.flac", "d/a.x.wav", "notes.txt", ".hidden.wav", ".old/b.wav", "lonely.wav")
    touch("e", "d/a.x.flac", "b.WAV", "c.wav", "e/b.wav")
    assert matched("r", "e") == {"b": {"": "e/b.WAV"}, "d/a.x": {"": "e/d/a.x.flac"}}
    found = match("r", "e")
    assert list(found.missing) == ["lonely"]
    assert [path.as_posix() for path in found.unused] == ["e/c.wav", "e/e/b.wav"]


def test_folders_of_sources_are_items(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for item in ("x", "y/z"):
        touch("r", f"{item}/speech.flac", f"{item}/noise.flac")
        touch("e", f"{item}/noise.wav", f"{item}/speech.wav", f"{item}/music.wav")
    (Path("e") / "x" / "noise.wav").unlink()
    found = match("r", "e")
    assert matched("r", "e") == {"y/z": {"noise": "e/y/z/noise.wav", "speech": "e/y/z/speech.wav"}}
    assert found.missing == {"x": "e holds no estimate of source noise of x"}
    assert matched("r", "e", layout="files").keys() == {"x/speech", "y/z/noise", "y/z/speech"}
    assert matched("r/x", "r/x", layout="folders")["."].keys() == {"noise", "speech"}


def test_folders_of_speakers(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    touch("r", *(f"{k}/{name}.flac" for k in ("mix", "s1", "s2") for name in "ab"))
    touch("e", *(f"{k}/{name}.wav" for k in ("est_a", "est_b") for name in "ab"))
    assert matched("r", "r")["a"] == {"s1": "r/s1/a.flac", "s2": "r/s2/a.flac"}
    found = match("r", "e", layout="speakers", permute=True, mixture="r/mix")
    assert [item.name for item in found.items] == ["a", "b"]
    assert found.items[0].estimate_names == ("est_a", "est_b")
    assert found.items[1].mixture == Path("r/mix/b.flac")
    with pytest.raises(ValueError, match="no reference in r"):
        match("r", "e", layout="speakers")


def test_estimates_as_commands_write_them_match_every_layout(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    touch("speakers", *(f"{k}/d/{n}.flac" for k in ("mix", "s1", "s2", "noise") for n in "ab"))
    touch("est", *(f"d/{n}/{k}.wav" for k in ("s1", "s2") for n in "ab"))
    expected = {f"d/{n}": {k: f"est/d/{n}/{k}.wav" for k in ("s1", "s2")} for n in "ab"}
    assert matched("speakers", "est") == expected
    found = match("speakers", "est")
    assert [item.mixture for item in found.items] == [
        Path("speakers/mix/d/a.flac"),
        Path("speakers/mix/d/b.flac"),
    ]
    touch("folders", *(f"{n}/{k}.wav" for k in ("mixture", "voice", "band") for n in "ab"))
    touch("by_source", *(f"{k}/{n}.wav" for k in ("voice", "band") for n in "ab"))
    sources = {k: f"by_source/{k}/a.wav" for k in ("band", "voice")}
    assert matched("folders", "by_source")["a"] == sources
    assert match("folders", "folders").items[0].mixture == Path("folders/a/mixture.wav")


@pytest.mark.parametrize("name", ["est/a/speech.wav", "est/speech/a.wav", "est/a.wav"])
def test_clean_and_noisy_pairs(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    touch("r", "clean/a.flac", "noisy/a.wav")
    touch(".", name, name.replace("speech", "noise"))
    found = match("r", "est")
    (item,) = found.items
    assert (item.name, item.sources, found.unused) == ("a", ("speech",), [])
    assert [str(path) for path in item.references] == ["r/clean/a.flac"]
    assert [str(path) for path in item.estimates] == [name]
    assert item.mixture == Path("r/noisy/a.wav")


def test_estimates_of_other_names_are_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    touch("r", "a/x.wav", "a/y.wav")
    touch("e", "a/one.wav", "a/two.wav")
    with pytest.raises(ValueError, match="it has one, two, which permute matches"):
        match("r", "e")
    assert matched("r", "e", permute=True)["a"].keys() == {"x", "y"}


def test_a_target_of_separated_folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    touch("clean", "a.flac", "b.flac")
    touch("out", *(f"{item}/{name}.wav" for item in "ab" for name in ("speech", "noise")))
    expected = {"a": {"": "out/a/speech.wav"}, "b": {"": "out/b/speech.wav"}}
    assert matched("clean", "out", target="speech") == expected


def test_two_files_of_one_name_are_not_guessed_between(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    touch("r", "a.wav", "b.wav")
    touch("e", "a.wav", "a.flac", "b.wav")
    found = match("r", "e")
    assert [item.name for item in found.items] == ["b"] and "e/a.flac" in found.missing["a"]


def test_matching_mistakes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    touch("r", "a.wav")
    touch("e", "b.wav")
    Path("empty").mkdir()
    with pytest.raises(FileNotFoundError, match="gone"):
        match("r", "gone")
    for args, kwargs, words in [
        (("r", "e"), {}, "e holds no estimate of a"),
        (("empty", "e"), {}, "empty holds no audio"),
        (("r", "e/b.wav"), {}, "both be files or both"),
        (("r/a.wav", "e/b.wav"), {"mixture": "r"}, "r is a folder"),
        (("r/a.wav", "e/b.wav"), {"permute": True}, "one source"),
        (("r", "e"), {"permute": True}, "nothing to permute"),
        (("r", "e"), {"layout": "trees"}, "'trees'"),
        (("r", "e"), {"layout": "folders", "target": "a"}, "target"),
        (("r", "r"), {"mixture": "e"}, "no mixture of a in e"),
    ]:
        with pytest.raises(ValueError, match=words):
            match(*args, **kwargs)


def test_files_give_what_arrays_give_whatever_the_number_of_jobs(tmp_path):
    items = []
    for number in range(4):
        s, e = scene(seed=number, length=1500)
        paths = [tmp_path / f"{kind}{number}{j}.wav" for kind in "re" for j in range(2)]
        for path, x in zip(paths, [*s, *e], strict=True):
            soundfile.write(path, 0.1 * x, RATE, subtype="FLOAT")
        name = f"item{number}"
        items.append(Item(name, ("a", "b"), tuple(paths[:2]), tuple(paths[2:]), ("a", "b")))
    items[1].references[0].write_text("broken")
    results = [list(score_files(items, metrics=WAVEFORM, jobs=jobs)) for jobs in (1, 2)]
    assert results[0] == results[1]
    assert isinstance(results[0][1], Failed) and "not a readable" in results[0][1].reason
    for number in (0, 2, 3):
        s, e = scene(seed=number, length=1500)
        rows = score(0.1 * s, 0.1 * e, RATE, metrics=WAVEFORM)
        for row, expected in zip(results[0][number], rows, strict=True):
            assert row.item == f"item{number}"
            for column in WAVEFORM:
                assert row.values[column] == pytest.approx(expected.values[column], abs=1e-4)


def test_real_pairs(data):
    found = match(data / "voicebank_demand" / "clean", data / "voicebank_demand" / "noisy")
    assert len(found.items) == 8 and not found.missing
    for item, (row,) in zip(found.items, score_files(found.items, jobs=2), strict=True):
        clean, noisy = (audio.read(path).samples for path in (*item.references, *item.estimates))
        assert row.values["sdr"] == pytest.approx(float(measures.sdr(clean, noisy)[0]), abs=1e-3)
        assert row.values["si-sdr"] <= row.values["sdr"]


def test_every_metric_says_what_it_is():
    assert set(evaluation.__all__) <= set(dir(evaluation))
    for name, entry in METRICS.items():
        assert entry.name == name and entry.summary.endswith(".")
        assert entry.better in ("higher", "lower")
