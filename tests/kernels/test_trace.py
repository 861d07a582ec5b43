"""What a sentence becomes: symbols, passes, and the text of the code. Nothing is compiled here."""

import math

import llvmlite.binding as llvm
import numpy as np
import pytest

from phaserec.algorithms import MOMENTUM, configure, momentum, names, resolve
from phaserec.kernels.cpu.source import write
from phaserec.kernels.program import plan
from phaserec.kernels.trace import COMPLEX, Graph, SymbolicProblem, Untraceable, trace
from phaserec.solving import structural_reason

# Those of the arrays, and why, are in tests/solving/test_dispatch.py.
NAMES = [name for name in names() if structural_reason(resolve(name)) is None]
INITS = ["mixture", "random", "zero", "given"]


def planned(algorithm, init="mixture", consistent=True, **hyper):
    """The passes of an algorithm."""
    ready = configure(algorithm, hyper).at_unit()
    entry, values = ready.entry, ready.values
    values = {h.name: h.default for h in entry.hyper} | values
    return plan(trace(entry, values), init, consistent)


def passes(algorithm, **kwargs):
    return planned(algorithm, **kwargs).programs


def looped(algorithm, **kwargs):
    """The one pass of a loop."""
    ((program, ends),) = planned(algorithm, **kwargs).cycle
    assert ends
    return program


def texts(algorithm, dtype="float64", **kwargs):
    """Source of every pass."""
    return [write(one, mixture_row=True, dtype=dtype).text for one in passes(algorithm, **kwargs)]


# -- what is traceable --------------------------------------------------------------------------


@pytest.mark.parametrize("consistent", [True, False])
@pytest.mark.parametrize("init", INITS)
@pytest.mark.parametrize("name", NAMES)
def test_algorithms_of_the_kernel(name, init, consistent):
    p = planned(name, init=init, consistent=consistent)
    for one, _ in (*p.opening, *p.cycle):
        assert one.reads("spec") == (one.inputs.analysed is not None)
    assert p.start.inputs.analysed is None


@pytest.mark.parametrize("name", NAMES)
def test_every_algorithm_is_taken_with_momentum(name):
    if MOMENTUM.name not in {h.name for h in resolve(name).hyper}:
        assert passes(name, momentum=0.5)


class Counting:
    """Its state never comes again."""

    memory = 1

    def __call__(self, state, p):
        S, n = state
        return p.mag(S), (n or 0) + 1


REFUSED = {
    "value of a bin": (lambda S, p: S if abs(S) > 0 else p.mag(S), "depends on a value"),
    "truth": (lambda S, p: S or p.mag(S), "depends on a value"),
    "equality of bins": (lambda S, p: S if abs(S) == 0 else p.mag(S), None),
    "inequality of bins": (lambda S, p: S if abs(S) != 0 else p.mag(S), None),
    "index": (lambda S, p: S[..., 0], "depends on a value"),
    "iteration": (lambda S, p: p.mag(sum(S)), "depends on a value"),
    "length": (lambda S, p: S * len(S), "depends on a value"),
    "power": (lambda S, p: S**2, "takes a power of a spectrogram"),
    "power of symbols": (lambda S, p: abs(S) ** abs(S) * S, "depends on a value"),
    "root of a spectrogram": (lambda S, p: S.__array_namespace__().sqrt(S), "takes sqrt"),
    "magnitude of magnitudes": (lambda S, p: abs(abs(S)) * S, "takes abs"),
    "other function": (lambda S, p: S.__array_namespace__().sin(S), "calls sin"),
    "a counter that grows": (Counting(), "do not repeat within 64"),
    "shape": (lambda S, p: S / S.shape[0], "'shape'"),
    "method": (lambda S, p: S.conj(), "'conj'"),
    "numpy function": (lambda S, p: np.exp(S), None),
    "numpy operand": (lambda S, p: np.ones(3) * S, None),
    "numpy array on the right": (lambda S, p: S * np.ones(3), None),
    "math function": (lambda S, p: S * math.sqrt(abs(S)), "depends on a value"),
    "complex factor": (lambda S, p: 1j * S, "with a complex"),
    "truth value as factor": (lambda S, p: True * S, "with a bool"),
    "text": (lambda S, p: S + "1", "with a str"),
    "product": (lambda S, p: S * p.mag(S), "multiplies or divides"),
    "quotient": (lambda S, p: p.mag(S) / S, "multiplies or divides"),
    "mixed sum": (lambda S, p: S + abs(S), "adds a spectrogram and real"),
    "offset": (lambda S, p: S + 1, "adds a spectrogram and real"),
    "projected magnitudes": (lambda S, p: p.cons(p.magnitudes), "no spectrogram"),
    "real state": (lambda S, p: abs(S), "no spectrogram"),
    "number": (lambda S, p: 0.0, "no spectrogram"),
    "nothing": (lambda S, p: None, "no spectrogram"),
    "other weights": (lambda S, p: p.mix(S, 2 * p.mixing_weights), "weights other"),
    "mixture": (lambda S, p: S - p.X, "uses p.X"),
    "transform": (lambda S, p: p.stft(p.waveforms(S)), "uses p."),
    "second transform": (
        lambda S, p: p.mag(p.cons(p.mag(p.cons(S)))),
        "transforms, projects and transforms again",
    ),
    "two transforms": (lambda S, p: p.mag(p.cons(S)) + p.mag(p.cons(p.mix(S))), "more than one"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_steps_that_are_refused(case):
    step, reason = REFUSED[case]
    with pytest.raises(Untraceable, match=reason):
        planned(step)


COMPARISONS = {
    "equal": lambda S, p, rho=0.5: S if rho == 0.5 else p.mag(S),
    "unequal": lambda S, p, rho=0.5: S if rho != 0.5 else p.mag(S),
    "smaller": lambda S, p, rho=0.5: S if rho < 1 else p.mag(S),
    "member": lambda S, p, rho=0.5: S if rho in (0, 0.5) else p.mag(S),
    "truth": lambda S, p, rho=0.5: S if rho else p.mag(S),
    "largest": lambda S, p, rho=0.5: S * max(rho, 0),
    "rounded": lambda S, p, rho=0.5: S * round(rho),
    "converted": lambda S, p, rho=0.5: S * int(rho),
}


@pytest.mark.parametrize("case", COMPARISONS)
def test_hyper_parameters_that_are_looked_at_keep_their_value(case):
    # Others are symbols, so that one program serves all their values.
    for rho in (1.5, 7.5):
        assert texts(COMPARISONS[case], rho=rho) == texts(COMPARISONS[case], rho=rho)


def test_a_branch_gives_other_programs():
    assert texts(COMPARISONS["equal"]) != texts(COMPARISONS["equal"], rho=0.4)
    assert texts(COMPARISONS["equal"], rho=0.3) == texts(COMPARISONS["equal"], rho=0.4)


def test_exponents_are_looked_at():
    def compressed(S, p, d=0.7):
        return p.mag(p.cons(p.mag(S) * abs(S) ** d))

    assert texts(compressed) == texts(compressed, d=0.3) != texts(compressed, d=2)


def test_values_of_spectrograms_may_not_be_looked_at():
    with pytest.raises(Untraceable, match="depends on a value"):
        planned(lambda S, p, rho=0.5: S if abs(S) > rho else p.mag(S))


def test_words_keep_their_value():
    # The terms of "aux" are words, and steer which formula is traced.
    assert texts("aux", magnitude="soft") != texts("aux", magnitude="hard")


ERRORS = [ValueError, TypeError, RuntimeError, NotImplementedError, KeyError, IndexError]


@pytest.mark.parametrize("error", ERRORS)
def test_errors_of_a_step_are_left_to_the_array_path(error):
    # A step may insist on arrays in its own way; if it is wrong, it fails on arrays as well.
    def step(S, p):
        if not isinstance(S, np.ndarray):
            raise error("arrays only")
        return p.mag(S)

    with pytest.raises(Untraceable, match="arrays only"):
        planned(step)


# -- symbols ------------------------------------------------------------------------------------


@pytest.fixture
def graph():
    return Graph()


@pytest.fixture
def S(graph):
    return graph.make("state", (0,), COMPLEX)


def test_equal_operations_are_one_node(graph, S):
    p = SymbolicProblem(graph)
    assert S + 2 * S is S + 2.0 * S
    assert p.mag(p.cons(S)) is p.mag(p.cons(S))
    assert S + 2 * S is not S + 3 * S


def test_zeros_and_ones_vanish(graph, S):
    zero = graph.const(0)
    assert S + 0 is S and 0 + S is S and S - 0 is S
    assert S * 1 is S and 1 * S is S and S / 1 is S and +S is S
    assert (0 * S).value == (S * 0).value == (S - S).value == 0
    assert zero * S + S is S
    assert (0 / abs(S)).value == 0
    assert S - S is zero


def test_signs(S):
    # A spectrogram may be negated as it may be subtracted.
    assert (-S).kind == (-1 * S).kind == COMPLEX
    assert texts(lambda S, p: p.mag(-p.cons(S)))


@pytest.mark.parametrize(("a", "b"), [(2.0, 3.0), (-1.5, 0.5), (0.0, 7.0)])
def test_constants_are_folded(graph, a, b):
    x, y = graph.const(a), graph.const(b)
    assert [(x + y).value, (x - y).value, (x * y).value] == [a + b, a - b, a * b]
    assert (x / y).value == a / b
    assert (1 + x).value == 1 + a and (1 - x).value == 1 - a and (1 / y).value == 1 / b


def test_division_by_zero_waits_for_the_run(graph):
    assert (graph.const(1) / graph.const(0)).value is None


def test_projectors_are_idempotent(graph, S):
    p = SymbolicProblem(graph)
    assert p.cons(p.cons(S)) is p.cons(S)
    assert p.mag(p.mag(S)) is p.mag(S)
    assert p.mag(p.mag(p.cons(S))) is p.mag(p.cons(S))


# -- programs -----------------------------------------------------------------------------------


@pytest.mark.parametrize("init", INITS)
@pytest.mark.parametrize(
    "name",
    ["griffin-lim", "fast-griffin-lim", "accelerated-griffin-lim", "misi", "misi-mix-first"],
)
def test_projections_store_no_spectrogram(name, init):
    for one in passes(name, init=init):
        assert one.stores == () and one.inputs.stored == ()


@pytest.mark.parametrize("init", INITS)
@pytest.mark.parametrize(
    "name", ["admm", "mix-incons", "mix-incons-hard-mag", "mag-incons-hard-mix", "aux"]
)
def test_averages_store_one_spectrogram(name, init):
    for one in passes(name, init=init):
        assert len(one.stores) == 1
    assert looped(name, init=init).inputs.stored == (0,)


@pytest.mark.parametrize(
    ("name", "sides"), [("griffin-lim", 1), ("misi", 1), ("misi-mix-first", 1)]
)
def test_momentum_of_projections_is_on_samples(name, sides):
    # One transform and its inverse, as without momentum; what is remembered is a signal.
    plain, fast = looped(name), looped(name, momentum=0.7)
    assert fast.stores == () and len(fast.sides) == sides and plain.sides == ()
    assert sum(n.op == "spec" for n in fast.nodes()) == 1
    kinds = {source for row in (fast.signal, *fast.sides, fast.result) for source in row.sources}
    assert sum(kind == "synth" for kind, _ in kinds) == 1


@pytest.mark.parametrize("init", INITS)
@pytest.mark.parametrize(("hyper", "stored"), [({}, (0,)), ({"momentum": 0.7}, (0, 2))])
def test_a_loop_that_begins_with_a_projection_is_rotated(hyper, stored, init):
    # RAAR's reflection is transformed back by the pass before, and its estimate in the last one.
    loop = looped("raar", init=init, **hyper)
    assert loop.inputs.stored == stored and len(loop.stores) == len(stored)
    for one, _ in (*(p := planned("raar", init=init, **hyper)).opening, *p.cycle):
        assert one.last.inputs == one.inputs and one.last.synthesis is not one.synthesis
        assert one.last.stores == () and one.last.sides == ()


def test_a_rotated_loop_mixes_on_samples():
    def reflected(S, p):
        return p.mag(p.mix(p.cons(2 * p.mag(S) - S)))

    loop = looped(reflected)
    assert loop.signal.gain is not None and not loop.reads("X")
    assert loop.stores == () and loop.last is not None


def test_an_estimate_that_the_loop_can_do_without_has_its_transform_at_the_end():
    def aside(state, p):
        S, T = state
        T = p.mag(p.cons(S if T is None else T))
        return p.magnitudes * p.mag(T), T

    aside.memory = 1
    loop = looped(aside)
    assert loop.stores == () and loop.inputs.stored == () and loop.last is not None


def test_fast_griffin_lim_is_griffin_lim_with_momentum():
    assert texts("fast-griffin-lim", momentum=0.5) == texts("griffin-lim", momentum=0.3)


@pytest.mark.parametrize(
    ("name", "started"), [("griffin-lim", 1), ("misi", 0), ("mix-incons", 0), ("raar", 0)]
)
def test_iterations_of_the_start(name, started):
    # Griffin-Lim's first iteration needs no transform of the start; those of others do.
    assert planned(name).started == started


def test_no_transform_at_the_start():
    for name in NAMES:
        assert not planned(name).start.reads("spec")


def test_what_a_pass_reads():
    assert not looped("misi").reads("X")  # mixed on samples
    assert looped("misi-mix-first").reads("V")
    assert looped("mix-incons").reads("X") and looped("mix-incons").reads("W")
    assert not planned("griffin-lim", init="random").start.reads("X")
    assert planned("griffin-lim", init="random").start.reads("given")


def test_a_schedule_is_a_cycle_of_passes():
    p = planned("hybrid")
    assert len(p.opening) == 1 and len(p.cycle) == 10 and all(ends for _, ends in p.cycle)
    kinds = [program for program, _ in p.cycle]
    # RAAR in the middle of its turns is one program, and so is Griffin-Lim.
    assert len({id(program) for program in kinds}) < 10
    assert len(planned(momentum("misi")).cycle) == 1


def test_what_can_wait_takes_a_second_pass():
    p = planned("difference-map")
    assert [ends for _, ends in p.cycle] == [False, True]
    for program, _ in p.cycle:
        assert sum(node.op == "spec" for node in program.nodes()) == 1


# -- text ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [n for n in NAMES if resolve(n).hyper and n != "bregmisi"])
def test_text_does_not_depend_on_numbers(name):
    numbers = [h.name for h in resolve(name).hyper if h.kind is float]
    expected = texts(name)
    for value in (0.37, 1.0, 2.0, 10):  # a zero may turn a term off
        assert texts(name, **dict.fromkeys(numbers, value)) == expected


@pytest.mark.parametrize("name", ["misi", "mix-incons", "griffin-lim"])
def test_text_does_not_depend_on_momentum(name):
    assert texts(name, momentum=0.3) == texts(name, momentum=1.0) == texts(name, momentum=0.99)
    assert texts(name, momentum=0.3) != texts(name)


def test_text_does_not_depend_on_constants():
    def step(number):
        return lambda S, p: (p.mag(S) + number * p.cons(S)) / (1 + number)

    assert texts(step(0.3)) == texts(step(0.7))


def test_text_does_not_depend_on_the_constants_of_a_combinator():
    first, second = (
        momentum("griffin-lim", alpha=a, beta=b, gamma=0.7) for a, b in [(0.3, 0.5), (0.6, 2.5)]
    )
    assert texts(first) == texts(second)


def test_equal_sentences_have_equal_text():
    def mine(S, p):
        return p.mix(p.mag(p.cons(S)))

    def longer(S, p):
        consistent = p.cons(p.cons(1 * S + 0))
        return +p.mix(p.mag(p.mag(consistent)))

    assert texts(mine) == texts(longer) == texts("misi")


def test_text_depends_on_precision_and_init():
    assert texts("misi", "float32") != texts("misi", "float64")
    assert texts("misi", init="given") != texts("misi", init="mixture")
    assert texts("misi", init="given")[-1] == texts("misi", init="mixture")[-1]


@pytest.mark.parametrize("init", INITS)
@pytest.mark.parametrize("name", NAMES)
def test_text_is_right_and_always_the_same(name, init):
    first, second = texts(name, init=init), texts(name, init=init)
    assert first == second
    for text in first:
        llvm.parse_assembly(text).verify()
