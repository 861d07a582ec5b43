"""Starts by name: declared once, found by every way in."""

import numpy as np
import pytest

from phaserec import STFT, Problem, invert, iterate, starts
from phaserec.solving import prepare


@pytest.fixture
def registry():
    before = dict(starts.STARTS)
    yield starts.STARTS
    starts.STARTS.clear()
    starts.STARTS.update(before)


def test_what_ships():
    shipped = {"mixture", "random", "zero", "pghi", "rtpghi", "rtpghi-la"}
    shipped |= {"sinusoidal", "spsi", "geometric"}
    assert shipped | {"auto"} <= {*starts.names()}
    assert starts.STARTS["mixture"].needs_mixture
    # Examples of the documentation may have registered others.
    assert all(starts.STARTS[name].summary for name in shipped)
    assert not hasattr(starts, "begin")  # Problem.start is the way in


def test_a_start_is_one_function(registry, make_problem, numpy64):
    @starts.start(cite="nobody")
    def quarter_turn(p, rng):
        """All phases are a quarter turn."""
        return 1j * p.magnitudes

    p = make_problem(numpy64)
    assert registry["quarter-turn"].summary == "All phases are a quarter turn."
    S = 1j * p.magnitudes
    for name in ("quarter-turn", "quarter_turn", "Quarter-Turn"):
        np.testing.assert_array_equal(p.start(name), S)
    by_name, by_value = (
        invert(p.magnitudes, p.mixture, stft=p.stft, algorithm="misi", n_iter=3, init=init)
        for init in ("quarter-turn", S)
    )
    np.testing.assert_array_equal(by_name, by_value)
    (one,) = iterate("misi", p, 1, init="quarter-turn")
    (other,) = iterate("misi", p, 1, init=S)
    np.testing.assert_array_equal(one, other)


def test_a_start_takes_the_generator(registry, make_problem, numpy64):
    @starts.start
    def signs(p, rng):
        return (1 + 0j) * p.magnitudes * rng.choice([-1.0, 1.0], p.magnitudes.shape)

    p = make_problem(numpy64)
    one, again, other = (prepare("misi", p, 2, init="signs", rng=k).result() for k in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, other)


def test_unknown_starts_are_refused_before_anything_runs(make_problem, numpy64):
    p = make_problem(numpy64)
    for run in (prepare, iterate):
        with pytest.raises(ValueError, match=r"init='mixtre'.*did you mean 'mixture'"):
            run("misi", p, 1, init="mixtre")


def test_a_mixture_is_asked_for(make_problem, numpy64):
    p = make_problem(numpy64)
    alone = Problem(p.magnitudes, stft=p.stft)
    with pytest.raises(ValueError, match="init='mixture' needs a mixture"):
        prepare("griffin-lim", alone, 1, init="mixture")


def test_a_name_is_taken_once(registry):
    def random(p, rng):
        return p.magnitudes

    with pytest.raises(ValueError, match=r"'random' exists already, in phaserec\.starts\.plain"):
        starts.start(random)


def test_the_usual_start():
    stft = STFT(16, 4)
    x = np.random.default_rng(0).standard_normal((2, 61))
    V = np.abs(stft(x))
    apart = STFT(16, 12, window="rect")
    for p, name in [
        (Problem(V, stft=stft), "pghi"),
        (Problem(V, x.sum(0), stft=stft), "mixture"),
        (Problem(np.abs(apart(x)), stft=apart), "random"),
    ]:
        assert starts.usual(p) == name
        for init in (None, "auto"):
            assert prepare("griffin-lim", p, 1, init=init).init == name
            np.testing.assert_array_equal(p.start(init, 0), p.start(name, 0))


def test_what_a_start_makes_is_checked(registry):
    stft = STFT(16, 4)
    x = np.random.default_rng(0).standard_normal((2, 100)).astype(np.float32)
    p = Problem(abs(stft(x)), x.sum(0), stft=stft)

    @starts.start
    def twice_as_precise(p, rng):
        return (p.magnitudes * np.exp(2j * np.pi * rng.random(p.magnitudes.shape))).astype(complex)

    @starts.start
    def real(p, rng):
        return p.magnitudes

    @starts.start
    def cut(p, rng):
        return p.magnitudes[..., 1:] + 0j

    kernel, arrays = (
        prepare("misi", p, 2, init="twice-as-precise", rng=0, machine=machine).result()
        for machine in ("kernel", "arrays")
    )
    assert kernel.dtype == arrays.dtype == np.float32
    np.testing.assert_allclose(kernel, arrays, atol=1e-4 * abs(arrays).max())
    for name in ("real", "cut"):
        for machine in ("kernel", "arrays"):
            with pytest.raises(ValueError, match=f"start {name} is .* expected a complex array"):
                prepare("misi", p, 2, init=name, machine=machine).result()
