"""What objects show: short text, and pages with players and pictures that load nothing before."""

import doctest
import re
import subprocess
import sys
from base64 import b64decode
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest

from phaserec import STFT, Problem, algorithms, audio, evaluation, tuning
from phaserec.corpus.mixtures import Item
from phaserec.solving import prepare

STFT16 = STFT(16, 4)
X = np.random.default_rng(0).standard_normal((2, 2, 500)).astype(np.float32)
PROBLEM = Problem(np.abs(STFT16(X)), X.sum(1), stft=STFT16)
SEARCH = tuning.Search(
    (tuning.Candidate("misi"), tuning.Candidate("aux", {"sigma": 0.5})),
    np.array([[[1.0, 2.0]], [[1.0, 3.0]]]),
    "median",
)
(ROW,) = evaluation.score(X[0, 0], X[0, 1], 8000, item="<a>", names=["voice"])

SHOWN = {
    "audio": (audio.Audio(X[0], 8000), "Audio(2 channels, 8000 Hz, 0.062 s)"),
    "stft": (STFT(512), "STFT(n_fft=512, hop_length=128)"),
    "problem": (
        PROBLEM,
        "Problem(magnitudes=float32 (2, 2, 9, 126), mixture=float32 (2, 500), "
        "stft=STFT(n_fft=16, hop_length=4), length=500)",
    ),
    "algorithm": (algorithms.resolve("mix-incons"), "Algorithm('mix-incons', sigma=10.0)"),
    "item": (
        Item("a", ("s1", "s2"), 8000, X[0], X, PROBLEM.magnitudes),
        "Item('a', s1, s2, 2 channel(s), 8000 Hz, 0.062 s)",
    ),
    "row": (ROW, f"Row('<a>', 'voice', si-sdr={ROW['si-sdr']:.4g}, sdr={ROW['sdr']:.4g})"),
    "search": (
        SEARCH,
        "Search(2 candidates, 1 items, 1 iterations; best: aux sigma=0.5, 1 iterations, 3.00)",
    ),
}


@pytest.mark.parametrize(("thing", "text"), SHOWN.values(), ids=list(SHOWN))
def test_text_is_short_and_holds_no_numbers_of_arrays(thing, text):
    assert repr(thing) == text
    page = thing._repr_html_()
    assert page.startswith("<") and "array(" not in page


def test_what_is_not_as_usual_is_in_the_text_of_a_transform():
    assert repr(STFT(16, 5, window="rect", center=False)) == (
        "STFT(n_fft=16, hop_length=5, window='rect', center=False)"
    )
    assert repr(STFT(16, window=np.ones(16))) == "STFT(n_fft=16, hop_length=4, window=given values)"


def test_runs_and_configured_algorithms_show_no_arrays(monkeypatch):
    monkeypatch.setenv("PHASEREC_MACHINE", "arrays")
    run = prepare("mix-incons", PROBLEM, 3, init=PROBLEM.start(), sigma=np.ones((9, 1)))
    assert "sigma=float64 (9, 1)" in repr(run.algorithm)
    run = prepare("misi", PROBLEM, 3, init=PROBLEM.start())
    assert repr(run).startswith(
        "PreparedRun(misi, 3 iterations from given, on the arrays: Problem("
    )


def test_a_ragged_problem_says_so():
    p = Problem(PROBLEM.magnitudes, X.sum(1), stft=STFT16, lengths=[500, 300])
    assert "lengths=300…500" in repr(p)


def embedded(page, kind):
    return b64decode(re.search(rf'src="data:{kind};base64,([^"]+)"', page)[1])


def test_sound_can_be_played():
    import soundfile

    page = audio.Audio(0.5 * X[0] / np.abs(X).max(), 8000)._repr_html_()
    samples, rate = soundfile.read(BytesIO(embedded(page, "audio/flac")))
    assert samples.shape == (500, 2) and rate == 8000
    assert "<svg" in page


@pytest.mark.parametrize(
    "samples",
    [X[0, 0], X[0, 0].astype(float), np.zeros((1, 1)), np.zeros((1, 0)), X[0, 0].tolist()],
)
def test_one_channel_alone_is_sound_too(samples):
    sound = audio.Audio(samples, 8000)
    assert repr(sound).startswith("Audio(1 channel, 8000 Hz")
    assert "<audio" in sound._repr_html_()


def test_tensors_are_sound():
    torch = pytest.importorskip("torch", reason="torch is not installed")
    sound = audio.Audio(torch.from_numpy(X[0]).requires_grad_(), 8000)
    assert repr(sound) == SHOWN["audio"][1] and "<audio" in sound._repr_html_()


def test_long_sound_is_cut_and_odd_sound_shown_without_a_player():
    page = audio.Audio(np.zeros((1, 61 * 100)), 100)._repr_html_()
    assert page.endswith("the first 60 s")
    assert "<audio" not in audio.Audio(np.zeros((20, 10)), 8000)._repr_html_()


def test_magnitudes_are_drawn_where_matplotlib_is(monkeypatch):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    assert embedded(PROBLEM._repr_html_(), "image/png").startswith(b"\x89PNG")
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert "<img" not in PROBLEM._repr_html_() and "(2, 2, 9, 126)" in PROBLEM._repr_html_()


def test_names_are_no_markup():
    assert "&lt;a&gt;" in ROW._repr_html_()


def test_text_loads_neither_matplotlib_nor_pages():
    code = (
        "import sys, numpy, phaserec; "
        "p = phaserec.Problem(numpy.ones((9, 5)), stft=phaserec.STFT(16)); repr(p); "
        "sys.exit(bool({'matplotlib', 'phaserec.plot'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_page_of_the_documentation_is_true(capsys):
    pytest.importorskip("pandas", reason="pandas is not installed")
    page = Path(__file__).parents[1] / "docs" / "notebooks.rst"
    if not page.is_file():
        pytest.skip("the documentation is not installed with the package")
    result = doctest.testfile(str(page), module_relative=False)
    assert result.attempted > 20 and result.failed == 0, capsys.readouterr().out


def test_rows_make_a_data_frame():
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    rows = evaluation.score(X[0], X[0] + 0.1, 8000, names=["s1", "s2"], item="one")
    frame = pandas.DataFrame(rows)
    assert list(frame.columns) == ["item", "source", "estimate", "si-sdr", "sdr"]
    assert frame["si-sdr"].tolist() == [row.values["si-sdr"] for row in rows]
    assert frame.set_index("source").loc["s2", "item"] == "one"
    assert list(pandas.DataFrame(evaluation.summary(rows))["column"]) == ["si-sdr", "sdr"] * 3


def test_a_row_is_a_line_of_a_table():
    assert dict(ROW) == {"item": "<a>", "source": "voice", "estimate": "voice", **ROW.values}
    assert ROW == ROW and len(ROW) == 5 and "sdr" in ROW
