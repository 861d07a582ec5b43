"""The benchmark of quality: what its tables say, and that its rows outlive an interruption."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

FOLDER = Path(__file__).parents[1] / "benchmarks"


def loaded(name):
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def page():
    if not FOLDER.is_dir():
        pytest.skip("the benchmarks are not installed with the package")
    return loaded("_quality_page")


@pytest.fixture(scope="module")
def script(page):
    return loaded("quality")


@pytest.fixture
def data(tmp_path):
    """A song of 1 s of noise, and a sentence."""
    rng = np.random.default_rng(0)
    for name in ("music/vocals", "music/accompaniment", "voicebank_demand/clean/a"):
        path = tmp_path / "data" / f"{name}.flac"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, 0.1 * rng.standard_normal(5 * 8000), 8000)
    return tmp_path / "data"


def rows(algorithms=("fast-griffin-lim", "griffin-lim"), recordings=("a", "b", "c")):
    """Rows whose values are known: griffin-lim is k dB worse on the k-th recording."""
    return [
        {
            "recording": name,
            "kind": "speech",
            "duration": 2.0,
            "magnitudes": "true",
            "window": window,
            "overlap": 75.0,
            "algorithm": algorithm,
            "start": start,
            "iteration": n,
            "seconds": 0.5 + n,
            "pesq": 3.0,
            "convergence": -10.0 * k - n + (k if algorithm == "griffin-lim" else 0),
        }
        for k, name in enumerate(recordings)
        for window in ("hann", "gauss")
        for algorithm in algorithms
        for start in ("random", "pghi")
        for n in (0, 20, 50, 100)
    ]


def lines(text):
    """Cells of the tables, line by line."""
    return [
        [cell.strip().strip('"') for cell in line.split('", "')]
        for line in text.splitlines()
        if line.startswith('   "')
    ]


def test_intervals_hold_the_mean_and_shrink_with_more_recordings(page):
    assert page.mean([], 1) == ""
    assert page.mean([2.0], 1) == "2.0"
    assert page.mean([2.0, 2.0], 2) == "2.00 [2.00, 2.00]"
    widths = []
    for n in (40, 4000):
        values = np.random.default_rng(0).standard_normal(n)
        middle, bounds = page.mean(list(values), 3).split(" ", 1)
        low, high = map(float, bounds.strip("[]").split(","))
        assert low <= float(middle) <= high
        widths.append(high - low)
    assert widths[1] < widths[0] / 5


def test_differences_are_of_the_same_recordings(page):
    found = rows()
    values = page.paired(found, "convergence", "algorithm", "griffin-lim", "fast-griffin-lim")
    assert values == [0, 1, 2]
    # A recording that one of them lacks is no part of it.
    lacking = [r for r in found if (r["recording"], r["algorithm"]) != ("c", "fast-griffin-lim")]
    values = page.paired(lacking, "convergence", "algorithm", "griffin-lim", "fast-griffin-lim")
    assert values == [0, 1]
    only = [r for r in found if r["algorithm"] == "griffin-lim"]
    keys = ("overlap",)
    assert not page.differences(only, "convergence", "t", keys, "algorithm", "fast-griffin-lim")


def test_the_compact_page_has_means_and_paired_differences(page):
    text = page.compact(rows())
    assert "Recordings: 3 of speech, 2 s of each." in text
    after_50 = text.partition("after 50 iterations of fast-griffin-lim")[2]
    assert lines(after_50)[0] == ["hann", "75.0", "-60.0", "-60.0"]
    less = text.partition("less that of fast-griffin-lim")[2]
    case, value = lines(less)[0][:3], lines(less)[0][3]
    assert case == ["random", "100", "75.0"] and value.startswith("1.0 [")
    assert "less that" not in page.compact(rows(recordings=("a",)))


def test_seconds_are_read_between_checkpoints(page):
    found = [r for r in rows() if (r["recording"], r["start"]) == ("a", "pghi")]
    facts = {"window": "hann", "algorithm": "fast-griffin-lim"}
    assert page.seconds_to(found, -10.0, **facts) == pytest.approx(10.5)
    assert page.seconds_to(found, 0.0, **facts) == pytest.approx(0.5)
    assert page.seconds_to(found, -1000.0, **facts) == float("inf")


def test_all_windows_and_what_needs_no_mixture_are_crossed(script):
    full = script.grid(False, True)
    assert {"raar", "hybrid", "admm"} <= {*full["algorithm"]} and "misi" not in full["algorithm"]
    assert "sinusoidal" in full["start"] and "mixture" not in full["start"]
    assert len(full["window"]) == 5
    both = script.grid(True, True)
    assert "misi" in both["algorithm"] and "griffin-lim" not in both["algorithm"]
    assert "geometric" in both["start"]


def test_perturbed_magnitudes_are_as_wrong_as_they_say(script):
    V = np.ones((2, 200, 300), np.float32)
    error = np.log(script.perturbed(V, 0))
    assert error.std(axis=(1, 2)) == pytest.approx([0.3, 0.3], rel=0.2)
    assert abs(np.corrcoef(error[0].ravel(), error[1].ravel())[0, 1]) < 0.1
    assert script.perturbed(V, 0).dtype == np.float32


SMALL = ("--part", "report", "--full", "--window", "hann", "--overlap", "75", "--seconds", "0.5")
SMALL += ("--algorithm", "griffin-lim", "raar", "--start", "zero", "pghi", "--n-iter", "2")
SMALL += ("--scored",)


def test_rows_are_kept_and_a_cut_run_is_done_again(script, data, tmp_path, monkeypatch):
    out = tmp_path / "out"
    given = [str(data), "-o", str(out), *SMALL]
    script.main(given)
    table = out / "single-report-full.csv"
    whole = table.read_text()
    found = script.read(table, 0.5, 2)
    # Three recordings, two algorithms, two starts, and iterations 0, 1, 2.
    assert len(found) == 3 * 2 * 2 * 3
    assert np.isfinite([row["convergence"] for row in found]).all()
    assert "Spectral convergence" in (out / "single-report-full.rst").read_text()

    ran = []
    kept = script.rows
    monkeypatch.setattr(script, "rows", lambda *a: ran.append(a) or kept(*a))
    script.main(given)
    assert not ran and table.read_text() == whole
    # Cut in the middle of the last run, within a line.
    table.write_text(whole[: -len(whole.splitlines()[-1]) // 2])
    script.main(given)
    assert len(ran) == 1
    again = script.read(table, 0.5, 2)
    assert [{**row, "seconds": 0} for row in again] == [{**row, "seconds": 0} for row in found]


def test_a_table_of_something_else_is_not_mixed_up(script, data, tmp_path):
    given = [str(data), "-o", str(tmp_path), *SMALL, "--recording", "vocals"]
    script.main(given)
    for other in (["--n-iter", "1"], ["--seconds", "0.4"]):
        with pytest.raises(ValueError, match=r"single-report-full.csv has 2 iterations of 0\.5 s"):
            script.main([*given, *other])


@pytest.mark.parametrize(
    ("more", "named"),
    [
        (["--start", "mixture"], "--start mixture is not one of random"),
        (["--recording", "b"], "--recording b is not one of a, vocals"),
    ],
)
def test_what_is_not_there_is_named(script, data, tmp_path, more, named):
    with pytest.raises(ValueError, match=named):
        script.main([str(data), "-o", str(tmp_path), *SMALL, *more])
