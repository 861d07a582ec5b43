"""Starts that algorithms declare: what ``init="auto"`` means for them."""

import json

import numpy as np
import pytest

from phaserec import STFT, Problem, algorithms, invert, momentum, starts
from phaserec.algorithms import algorithm, alternate, configure, resolve, schedule
from phaserec.solving import prepare

SINUSOIDAL = ("pu-iter", "anisotropic-wiener", "consistent-anisotropic-wiener")


@pytest.fixture(autouse=True)
def registries():
    registered = [(each, dict(each)) for each in (starts.STARTS, algorithms.ALGORITHMS)]
    yield
    for each, before in registered:
        each.clear()
        each.update(before)


@pytest.fixture
def p():
    stft = STFT(64)
    x = np.random.default_rng(0).standard_normal((2, 700))
    return Problem(np.abs(stft(x)), x.sum(0), stft=stft)


@pytest.mark.parametrize("name", SINUSOIDAL)
def test_those_that_keep_to_phases_start_from_a_model(p, name):
    expected = prepare(name, p, 2, init="sinusoidal").result()
    for init in (None, "auto", "Auto"):
        run = prepare(name, p, 2, init=init)
        assert run.init == "sinusoidal"
        np.testing.assert_array_equal(run.result(), expected)
    assert prepare(name, p, 2, init="mixture").init == "mixture"
    given = p.start("random", 0)
    np.testing.assert_allclose(prepare(name, p, 0, init=given).start(), given, rtol=1e-12)
    others = set(algorithms.names()) - set(SINUSOIDAL)
    assert all(resolve(other).start is None for other in others)
    assert prepare("misi", p, 1).init == "mixture"


def test_the_start_matters(p):
    """From the mixture's phase PU-Iter does not move, and the default does."""
    still, moving = (
        invert(p.magnitudes, p.mixture, stft=p.stft, algorithm="pu-iter", n_iter=5, init=init)
        for init in ("mixture", None)
    )
    begun = p.waveforms(p.start("mixture"))
    np.testing.assert_allclose(still, begun, atol=1e-12)
    assert np.abs(moving - begun).max() > 0.1


def test_combinators_carry_it(p):
    ways = [
        momentum("pu-iter", 0.3),
        momentum(momentum("pu-iter", 0.3)),
        schedule("pu-iter", [{}]),
        schedule("anisotropic-wiener", [{"momentum": 0.1}, {}]),
        alternate(("pu-iter", 2), ("misi", 1)),
        configure("pu-iter", {"momentum": 0.2}),
    ]
    for way in ways:
        assert prepare(way, p, 2).init == "sinusoidal"
    for way in (momentum("misi", 0.3), alternate(("misi", 1), ("pu-iter", 2))):
        assert prepare(way, p, 2).init == "mixture"


def test_a_start_that_cannot_be_is_passed_over(p, monkeypatch):
    @algorithm(start="mixture")
    def wants_a_mixture(S, p):
        return p.mag(S)

    @algorithm(start="zero")
    def wants_zeros(S, p):
        return p.mag(S)

    alone = Problem(p.magnitudes, stft=p.stft)
    assert prepare("wants-a-mixture", p, 1).init == "mixture"
    assert prepare("wants-a-mixture", alone, 1).init == "pghi"
    monkeypatch.setattr(starts.registry, "is_traced", lambda: True)
    assert starts.usual(p, resolve("pu-iter")) == "mixture"
    assert starts.usual(alone, resolve("pu-iter")) == "random"
    assert starts.usual(p, resolve("wants-zeros")) == "zero"  # which can be recorded


def test_it_may_be_registered_after_the_algorithm(p):
    @algorithm(start="Quarter_Turn")
    def early(S, p):
        return p.mag(S)

    assert resolve("early").start == "quarter-turn"
    with pytest.raises(ValueError, match=r"early declares start='quarter-turn'.* not registered"):
        prepare("early", p, 1)
    assert prepare("early", p, 1, init="zero").init == "zero"

    @starts.start
    def quarter_turn(p, rng):
        return 1j * p.magnitudes

    assert prepare("early", p, 1).init == "quarter-turn"


def test_near_names_are_suggested(p):
    @algorithm(start="sinusodal")
    def misspelt(S, p):
        return p.mag(S)

    with pytest.raises(ValueError, match="did you mean 'sinusoidal'"):
        p.start(None, 0, resolve("misspelt"))


@pytest.mark.parametrize("start", [3, "", lambda p, rng: None])
def test_it_is_a_name(start):
    with pytest.raises(ValueError, match=r"start=.* must be the name of a start"):

        @algorithm(start=start)
        def nameless(S, p):
            return S

    assert "nameless" not in algorithms.names()


def test_what_shows_algorithms_says_so(phaserec):
    assert "sinusoidal" in resolve("pu-iter")._repr_html_()
    assert "start" not in resolve("misi")._repr_html_()
    code, out, _ = phaserec("list")
    assert code == 0
    after = out.partition("\npu-iter")[2].partition("\nphase-constrained-misi")[0]
    assert "--init sinusoidal" in after and out.count("--init ") == len(SINUSOIDAL)
    phaserec("list", "--json", "all.json")
    with open("all.json") as file:
        listed = {each["name"]: each["start"] for each in json.load(file)["algorithms"]}
    assert listed["pu-iter"] == "sinusoidal" and listed["misi"] is None


def test_the_command_line_starts_and_reports_it(phaserec):
    code, _, err = phaserec("invert", "--algo", "pu-iter", "--n-iter", 2, "--json", "a.json")
    assert code == 0, err
    phaserec("invert", "--algo", "pu-iter", "--n-iter", 2, "--json", "b.json", "--init", "mixture")
    found = []
    for name in ("a.json", "b.json"):
        with open(name) as file:
            found.append(json.load(file))
    assert [each["init"] for each in found] == ["sinusoidal", "mixture"]
    begun = [[source["sdr"]["start"] for source in each["sources"]] for each in found]
    assert begun[0] != begun[1]


def test_a_report_has_the_start_of_each(phaserec, tmp_path):
    code, _, err = phaserec("report", "--algo", "misi", "--algo", "pu-iter", "--n-iter", 1)
    assert code == 0, err
    page = (tmp_path / "report.html").read_text("utf-8")
    for words in ("misi: mixture; pu-iter: sinusoidal", "speech: sinusoidal phase"):
        assert words in page, words
    assert "from the mixture phase or the sinusoidal phase" in page
