"""From a traced sentence to a program: what a fused pass does to bins and what to samples.

A pass transforms one signal per source, applies a rule to every bin, and transforms one spectrogram
per source back. Which quantities live as signals, which as stored spectrograms and which nowhere
is derived here:

* A *pure* entry of the state is consistent whenever it exists (Griffin-Lim's), so its signal is all
  there is to know of it.
* An entry that is only used through ``cons`` (MISI's) is represented by its signal too, the inverse
  transform of it.
* Anything else (the σ-weighted algorithms) is stored as a spectrogram as well.

Linear combinations of signals, and mixing with equal weights, commute with the inverse transform
and are done on samples, after the overlap-add: momentum costs no transform.

What stands in ``cons`` may be another function φ of the state (RAAR's reflection). The loop is
rotated then: a pass ends with φ of its outputs, transformed back, and the next begins with that
signal. The estimate has a transform of its own, in a program that runs in place of the last pass.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from phaserec.kernels.trace import COMPLEX, Graph, Node, SymbolicProblem, Trace, Untraceable

# Where a row of samples comes from: ("state", k), or ("synth", node) for one transformed back.
Source = tuple[str, Any]


@dataclass
class Row:
    """Samples as a linear form: ``Σ direct + (gain x − Σ_j Σ mixed) / J``.

    Attributes
    ----------
    direct, mixed : dict of Source to Node
        Scalar coefficients.
    gain : Node or None
        Scalar coefficient of the mixture; None without mixing.
    """

    direct: dict[Source, Node] = field(default_factory=dict)
    mixed: dict[Source, Node] = field(default_factory=dict)
    gain: Node | None = None

    @property
    def sources(self) -> set[Source]:
        """All that the row reads."""
        return {*self.direct, *self.mixed}

    def key(self) -> tuple:
        """Equal for rows that are equal."""
        return (frozenset(self.direct.items()), frozenset(self.mixed.items()), self.gain)

    def add(self, other: "Row", scale: Node) -> None:
        """Add a multiple of another row."""
        for mine, theirs in ((self.direct, other.direct), (self.mixed, other.mixed)):
            for source, coefficient in theirs.items():
                term = coefficient * scale
                mine[source] = mine[source] + term if source in mine else term
        if other.gain is not None:
            gain = other.gain * scale
            self.gain = gain if self.gain is None else self.gain + gain


@dataclass(frozen=True)
class Inputs:
    """What a pass finds when it begins.

    Attributes
    ----------
    analysed : Row or None
        The signal it transforms, over signals of the state and of functions of it.
    sides : tuple of int
        Entries of the state whose signals it reads besides.
    stored : tuple of int
        Entries of the state that it reads as stored spectrograms.
    """

    analysed: Row | None
    sides: tuple[int, ...]
    stored: tuple[int, ...]


@dataclass(frozen=True)
class Program:
    """One fused pass.

    Attributes
    ----------
    inputs : Inputs
        What it reads.
    synthesis : Node
        Spectrogram it transforms back, over the leaves ``spec`` (transform of the analysed
        signal), ``stored``, ``given``, V, W and X.
    stores : tuple of Node
        Spectrograms it stores for the next pass.
    signal : Row
        Samples that the next pass analyses (those of the estimate, if it analyses nothing).
    sides : tuple of Row
        Samples that the next pass reads besides.
    result : Row
        Samples of the estimate after this pass; ``signal`` where ``last`` makes the estimate.
    last : Program or None
        What runs in its place if it is the last pass; None where that is the program itself.
    """

    inputs: Inputs
    synthesis: Node
    stores: tuple[Node, ...]
    signal: Row
    sides: tuple[Row, ...]
    result: Row
    last: "Program | None" = None

    def nodes(self) -> list[Node]:
        """Every node that the rule evaluates, operands first."""
        seen: dict[Node, None] = {}
        for root in (self.synthesis, *self.stores):
            seen.update(dict.fromkeys(root.walk()))
        return list(seen)

    def reads(self, op: str) -> bool:
        """Whether the rule uses a leaf; mixing uses the mixture, and soft mixing the weights."""
        users = {"X": ("X", "mix", "mixw"), "W": ("W", "mixw")}.get(op, (op,))
        return not self._ops.isdisjoint(users)

    @cached_property
    def _ops(self) -> frozenset[str]:
        """What its nodes do; asked for at every call of a pass."""
        return frozenset(node.op for node in self.nodes())


@dataclass(frozen=True)
class Plan:
    """The passes of an algorithm.

    Attributes
    ----------
    start : Program
        Makes the inputs of the next pass from the initial spectrogram.
    first : Program or None
        A first iteration that differs from the others.
    loop : Program
        An iteration.
    started : int
        Iterations that ``start`` has done: 1 where the first needs no transform.
    """

    start: Program
    first: Program | None
    loop: Program
    started: int


def linear(node: Node) -> dict[Node, Node]:
    """Write a spectrogram as a sum of atoms with scalar coefficients."""
    graph = node.graph
    if node.op in ("add", "sub"):
        total = dict(linear(node.args[0]))
        for atom, coefficient in linear(node.args[1]).items():
            before = total.get(atom, graph.const(0))
            total[atom] = before + coefficient if node.op == "add" else before - coefficient
        return total
    if node.op in ("mul", "div"):
        a, b = node.args
        if b.kind == COMPLEX and a.kind == 0:
            return {atom: a * c for atom, c in linear(b).items()}
        if a.kind == COMPLEX and b.kind == 0:
            return {atom: graph.binary(node.op, c, b) for atom, c in linear(a).items()}
    return {node: graph.const(1)} if node.op != "const" else {}


class _Builder:
    """Builds the passes of one trace."""

    def __init__(
        self, outputs: tuple[Node, ...], consistent_mixture: bool, pure: Iterable[int]
    ) -> None:
        self.outputs = outputs
        self.graph = outputs[0].graph
        self.consistent_mixture = consistent_mixture
        # Entries that are a signal's where the pass begins, unless the pass itself ends that.
        self.pure = set(pure)
        while True:
            wrong = {k for k in self.pure if not self.consistent(outputs[k])}
            if not wrong:
                break
            self.pure -= wrong

    def consistent(self, node: Node) -> bool:
        """Whether a spectrogram is one of a signal."""
        return all(
            atom.op == "cons"
            or (atom.op == "state" and atom.args[0] in self.pure)
            or (atom.op == "mix" and self.consistent_mixture and self.consistent(atom.args[0]))
            for atom in linear(node)
        )

    def signal(self, node: Node, *, known: bool = True) -> Row:
        """Inverse transform of a spectrogram as samples.

        Without ``known`` an entry of the state has no signal that could be read, unless it is pure.
        """
        row, rest = Row(), {}
        for atom, scale in linear(node).items():
            if scale.value == 0:
                continue
            if atom.op == "cons":
                row.add(self.signal(atom.args[0], known=known), scale)
            elif atom.op == "state" and (known or atom.args[0] in self.pure):
                row.add(Row({("state", atom.args[0]): self.graph.const(1)}), scale)
            elif atom.op == "mix":
                row.add(_mixed(self.signal(atom.args[0], known=known), self.graph), scale)
            else:
                rest[atom] = scale
        if len(rest) == 1:  # scaled on samples, so that others can share the transform
            ((atom, scale),) = rest.items()
            row.add(Row({("synth", atom): self.graph.const(1)}), scale)
        elif rest:
            total = self.graph.const(0)
            for atom, scale in rest.items():
                total = total + scale * atom
            row.add(Row({("synth", total): self.graph.const(1)}), self.graph.const(1))
        return row

    def output_signal(self, k: int, stored: set[int]) -> Row:
        """Samples of a new entry of the state; one that is stored is transformed as it is."""
        if k in stored:
            return Row({("synth", self.outputs[k]): self.graph.const(1)})
        return self.signal(self.outputs[k])

    def substitute(self, row: Row, stored: set[int]) -> Row:
        """A row over the old state as a row over what this pass makes."""
        total = Row()
        for (kind, of), coefficient in row.direct.items():
            if kind == "state":
                total.add(self.output_signal(of, stored), coefficient)
            else:
                new = _replace(of, self.outputs, self.graph)
                total.add(Row({("synth", new): self.graph.const(1)}), coefficient)
        if row.gain is None:
            return total
        if row.gain.value != 1 or row.mixed != row.direct:
            raise Untraceable("an iteration mixes what is mixed in part")
        return _mixed(total, self.graph)


def _mixed(row: Row, graph: Graph) -> Row:
    """Samples after mixing with equal weights."""
    if row.gain is None:
        return Row(dict(row.direct), dict(row.direct), graph.const(1))
    if row.gain.value == 1 and row.mixed == row.direct:
        return row  # it sums to the mixture already
    raise Untraceable("an iteration mixes what is mixed in part")


class _Resolver:
    """Writes bin expressions over what a pass has, and notes what it needs for that."""

    def __init__(self, builder: _Builder) -> None:
        self.builder = builder
        self.graph = builder.graph
        self.analysed: Row | None = None
        self.stored: set[int] = set()
        self.done: dict[Node, Node] = {}

    def __call__(self, node: Node) -> Node:
        if node not in self.done:
            self.done[node] = self._resolve(node)
        return self.done[node]

    def _resolve(self, node: Node) -> Node:
        if node.op == "state":
            k = node.args[0]
            if k in self.builder.pure:
                return self._spectrum(node)
            self.stored.add(k)
            return self.graph.make("stored", (k,), COMPLEX)
        if node.op == "cons":
            return self._spectrum(node.args[0])
        if node.op == "mix" and self.builder.consistent(node):
            return self._spectrum(node)
        if not node.operands:
            return node
        return self.graph.make(node.op, tuple(self(a) for a in node.args), node.kind)

    def _spectrum(self, node: Node) -> Node:
        row = self.builder.signal(node)
        if _synthesised(row):  # no signal of the state: the pass before has to make it
            row = self.builder.signal(node, known=False)
            if any(n.op == "cons" for made in _synthesised(row) for n in made.walk()):
                raise Untraceable("an iteration transforms, projects and transforms again")
        if self.analysed is not None and self.analysed.key() != row.key():
            raise Untraceable("an iteration has more than one transform")
        self.analysed = row
        return self.graph.make("spec", (), COMPLEX)


def _build(builder: _Builder, wanted: Inputs | None) -> Program:
    """The pass that makes the inputs of the next one, or (None) its own."""
    outputs = builder.outputs
    # What a pass needs decides what it must make, when the next pass is itself: to a fixed point.
    unsure = tuple(k for k in range(len(outputs)) if k not in builder.pure)
    needs = wanted or Inputs(None, (), unsure)
    for _ in range(10):
        stored = set(needs.stored)
        result = builder.output_signal(0, stored)
        analysed = needs.analysed
        signal = result if analysed is None else builder.substitute(analysed, stored)
        made = tuple(builder.output_signal(k, stored) for k in needs.sides)
        # An estimate with a transform of its own is made in the last pass only.
        apart = len(_synthesised(signal, *made, result)) > 1
        if apart and not builder.consistent(outputs[0]):
            result = builder.output_signal(0, {0})  # all of it, so that it reads no other signal
        rows = (signal, *made, result)
        resolve = _Resolver(builder)
        synthesis = resolve(_transformed(outputs, *(rows[:-1] if apart else rows)))
        stores = tuple(resolve(outputs[k]) for k in needs.stored)
        estimate = resolve(_transformed(outputs, result)) if apart else synthesis
        reads = {k for row in rows for kind, k in row.sources if kind == "state"}
        sides = sorted(k for k in reads if not _is_signal_of(resolve.analysed, k))
        inputs = Inputs(resolve.analysed, tuple(sides), tuple(sorted(resolve.stored)))
        last = Program(inputs, estimate, (), result, (), result) if apart else None
        result = signal if apart else result
        program = Program(inputs, synthesis, stores, signal, made, result, last)
        if wanted is not None or _same(inputs, needs):
            return program
        needs = inputs
    raise Untraceable("what an iteration needs has no end")


def _synthesised(*rows: Row) -> set[Node]:
    """Spectrograms that rows of samples are transformed from."""
    return {node for row in rows for kind, node in row.sources if kind == "synth"}


def _transformed(outputs: tuple[Node, ...], *rows: Row) -> Node:
    """The one spectrogram that a pass transforms back for its rows."""
    synthesised = _synthesised(*rows)
    if len(synthesised) > 1:
        raise Untraceable("an iteration has more than one inverse transform")
    # All on samples already: transform the estimate all the same.
    return next(iter(synthesised), outputs[0])


def _is_signal_of(row: Row | None, k: int) -> bool:
    """Whether the analysed signal is that of entry k itself."""
    if row is None or row.gain is not None or set(row.direct) != {("state", k)}:
        return False
    return row.direct["state", k].value == 1


def _same(a: Inputs, b: Inputs) -> bool:
    keys = [None if i.analysed is None else i.analysed.key() for i in (a, b)]
    return keys[0] == keys[1] and (a.sides, a.stored) == (b.sides, b.stored)


def plan(loop: Trace, first: Trace | None, init: str, consistent_mixture: bool) -> Plan:
    """Derive the passes of an algorithm.

    Parameters
    ----------
    loop, first : Trace
        As :func:`.trace.trace` gives them.
    init : {"mixture", "random", "zero", "given"}
        Where the initial spectrogram comes from; ``"random"`` phases are given as factors.
    consistent_mixture : bool
        Whether the mixture's spectrogram is that of a waveform.

    Returns
    -------
    Plan
        The passes.

    Raises
    ------
    Untraceable
        If an iteration needs more than one transform and its inverse.
    """
    head = first or loop
    # An initial spectrogram is no signal's; the loop begins with what the first iteration makes.
    opening = _Builder(head.outputs, consistent_mixture, ())
    pure: Iterable[int] = range(len(loop.outputs))
    if any(_synthesised(opening.signal(output)) for output in loop.outputs):  # not all on samples
        pure = [k for k in pure if opening.consistent(head.outputs[k])]
    looped = _Builder(loop.outputs, consistent_mixture, pure)
    steady = _build(looped, None)
    # The first iteration straight from the initial spectrogram, if it needs no transform of it.
    initial = _initial(head.graph, init)
    fused = tuple(_replace(output, (initial,), head.graph) for output in head.outputs)
    try:
        start = _build(_Builder(fused, consistent_mixture, ()), steady.inputs)
    except Untraceable:
        start = None
    if start is not None and start.inputs == Inputs(None, (), ()):
        return Plan(start, None, steady, 1)
    # An entry that the loop takes for consistent is not so yet in the first iteration.
    differs = first is not None or 0 in looped.pure
    second = _build(opening, steady.inputs) if differs else None
    begin = _Builder((initial,), consistent_mixture, ())
    return Plan(_build(begin, (second or steady).inputs), second, steady, 0)


def _initial(graph: Graph, init: str) -> Node:
    p = SymbolicProblem(graph)
    if init == "mixture":
        return p.mag(graph.make("X", (), COMPLEX))
    if init == "zero":
        return p.magnitudes * graph.make("one", (), COMPLEX)
    given = graph.make("given", (), COMPLEX)
    return p.mag(given) if init == "random" else given


def _replace(node: Node, states: tuple[Node, ...], graph: Graph) -> Node:
    """The expression in a graph, with spectrograms for the entries of the state."""
    if node.op == "state":
        return states[node.args[0]]
    if not node.operands:
        return graph.make(node.op, node.args, node.kind)
    args = tuple(_replace(a, states, graph) for a in node.args)
    if node.op == "unit":  # goes through mag again, to simplify
        args = (_phase_of(args[0]),)
    return graph.make(node.op, args, node.kind)


def _phase_of(node: Node) -> Node:
    while node.op == "mul" and node.args[0].op == "V" and node.args[1].op in ("unit", "one"):
        node = node.args[1].args[0] if node.args[1].op == "unit" else node.args[1]
    return node
