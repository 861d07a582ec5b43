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
from itertools import product
from typing import Any, NamedTuple

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


class Move(NamedTuple):
    """A pass of an algorithm."""

    program: Program
    ends: bool  # whether an iteration ends with it


@dataclass(frozen=True)
class Plan:
    """The passes of an algorithm.

    Attributes
    ----------
    start : Program
        Makes the inputs of the next pass from the initial spectrogram.
    started : int
        Iterations that ``start`` has done: 1 where the first needs no transform.
    opening : tuple of Move
        Passes that come once, before the others.
    cycle : tuple of Move
        Passes that come in turn from then on.
    """

    start: Program
    started: int
    opening: tuple[Move, ...]
    cycle: tuple[Move, ...]

    @property
    def programs(self) -> list[Program]:
        """Every program, each once."""
        found = [self.start, *(move.program for move in (*self.opening, *self.cycle))]
        found += [program.last for program in found if program.last is not None]
        return list({id(program): program for program in found}.values())


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
        self.pure = set(pure)  # entries that are a signal's where the pass begins

    @property
    def pure_after(self) -> set[int]:
        """Entries that are a signal's where the pass ends."""
        return {k for k, output in enumerate(self.outputs) if self.consistent(output)}

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


def _build(builder: _Builder, needs: Inputs, *, ends: bool = True) -> Program:
    """The pass that makes the inputs of the next one, and the estimate where an iteration ends."""
    outputs, stored = builder.outputs, set(needs.stored)
    result = builder.output_signal(0, stored)
    analysed = needs.analysed
    signal = result if analysed is None else builder.substitute(analysed, stored)
    if not ends:
        result = signal
    made = tuple(builder.output_signal(k, stored) for k in needs.sides)
    # An estimate with a transform of its own is made in the last pass only.
    apart = len(_synthesised(signal, *made, result)) > 1
    if apart and not builder.consistent(outputs[0]):
        result = builder.output_signal(0, {0})  # all of it, so that it reads no other signal
    rows = (signal, *made, result)
    resolve = _Resolver(builder)
    synthesis = resolve(_transformed(builder.graph, *(rows[:-1] if apart else rows)))
    stores = tuple(resolve(outputs[k]) for k in needs.stored)
    estimate = resolve(_transformed(builder.graph, result)) if apart else synthesis
    reads = {k for row in rows for kind, k in row.sources if kind == "state"}
    sides = sorted(k for k in reads if not _is_signal_of(resolve.analysed, k))
    inputs = Inputs(resolve.analysed, tuple(sides), tuple(sorted(resolve.stored)))
    last = Program(inputs, estimate, (), result, (), result) if apart else None
    result = signal if apart else result
    return Program(inputs, synthesis, stores, signal, made, result, last)


def _synthesised(*rows: Row) -> set[Node]:
    """Spectrograms that rows of samples are transformed from."""
    return {node for row in rows for kind, node in row.sources if kind == "synth"}


def _transformed(graph: Graph, *rows: Row) -> Node:
    """The one spectrogram that a pass transforms back for its rows."""
    synthesised = _synthesised(*rows)
    if len(synthesised) > 1:
        raise Untraceable("an iteration has more than one inverse transform")
    # All on samples already: what is transformed back is of no interest.
    return next(iter(synthesised), graph.make("one", (), COMPLEX))


def _is_signal_of(row: Row | None, k: int) -> bool:
    """Whether the analysed signal is that of entry k itself."""
    if row is None or row.gain is not None or set(row.direct) != {("state", k)}:
        return False
    return row.direct["state", k].value == 1


def _same(a: Inputs, b: Inputs) -> bool:
    keys = [None if i.analysed is None else i.analysed.key() for i in (a, b)]
    return keys[0] == keys[1] and (a.sides, a.stored) == (b.sides, b.stored)


def plan(trace: Trace, init: str, consistent_mixture: bool) -> Plan:
    """Derive the passes of an algorithm.

    Parameters
    ----------
    trace : Trace
        The algorithm.
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
        If an iteration cannot be made of passes with one transform and its inverse.
    """
    parts = [[_Part(outputs, True) for outputs in some] for some in (trace.opening, trace.cycle)]
    halved = [[half for part in some for half in _halves(part)] for some in parts]
    refused: list[Untraceable] = []
    # The cheapest first: entries of the state that are signals are none where iterations of other
    # kinds alternate, and some iterations take two passes.
    for (opening, cycle), known in product((parts, halved), (True, False)):
        try:
            return _planned(opening, cycle, init, consistent_mixture, known=known)
        except Untraceable as error:
            refused.append(error)
    raise refused[0]


class _Part(NamedTuple):
    """What one pass makes of the state."""

    outputs: tuple[Node, ...]
    ends: bool  # whether an iteration ends with it


def _halves(part: _Part) -> list[_Part]:
    """An iteration as two parts, if something that it transforms can wait for the second.

    That is a spectrogram φ without transforms, of which the iteration adds multiples of P_cons φ to
    what else it makes: the first part makes the rest and φ, the second adds.
    """
    sums = [linear(output) for output in part.outputs]
    graph = part.outputs[0].graph
    for late in dict.fromkeys(atom for terms in sums for atom in terms if atom.op == "cons"):
        waiting = late.args[0]
        inside = [atom for terms in sums for atom in terms if atom is not late]
        if waiting.op == "state" or any(node.op == "cons" for node in waiting.walk()):
            continue
        if any(node is late for atom in inside for node in atom.walk()):
            continue
        rests: list[Node | None] = []
        for terms in sums:
            rest = graph.const(0)
            for atom, scale in terms.items():
                if atom is not late:
                    rest = rest + scale * atom
            rests.append(rest if rest.kind == COMPLEX else None)
        transformed = graph.make("cons", (graph.make("state", (len(rests),), COMPLEX),), COMPLEX)
        sums_later = [terms.get(late, graph.const(0)) * transformed for terms in sums]
        for k, known in enumerate(rests):
            if known is not None:
                sums_later[k] = graph.make("state", (k,), COMPLEX) + sums_later[k]
        firsts = [waiting if known is None else known for known in rests]
        return [_Part((*firsts, waiting), False), _Part(tuple(sums_later), True)]
    return [part]


def _planned(
    opening: list[_Part], cycle: list[_Part], init: str, consistent_mixture: bool, *, known: bool
) -> Plan:
    """Plan of the parts; with ``known`` what is a signal is read as one."""
    # An initial spectrogram is no signal's, so the first iteration may be another one.
    first = opening or cycle
    heads: list[_Builder] = []
    pure: set[int] = set()
    for part in first:
        heads.append(_Builder(part.outputs, consistent_mixture, pure))
        pure = heads[-1].pure_after if known else set()
    looped = _cycle(cycle, heads[0], pure, consistent_mixture, known=known)
    programs = _closed(looped, cycle)
    needs = programs[0].inputs
    tail = _backwards(heads[1:], first[1:], needs)
    moves = _moves(programs, cycle)
    # The first iteration straight from the initial spectrogram, if it needs no transform of it.
    graph = heads[0].graph
    initial = _initial(graph, init)
    fused = tuple(_replace(output, (initial,), graph) for output in first[0].outputs)
    try:
        wanted = tail[0].inputs if tail else needs
        start = _build(_Builder(fused, consistent_mixture, ()), wanted, ends=first[0].ends)
    except Untraceable:
        start = None
    if start is not None and start.inputs == Inputs(None, (), ()):
        return Plan(start, int(first[0].ends), _moves(tail, first[1:]), moves)
    # An entry that the loop takes for consistent is not so yet in the first iteration.
    before = opening or (cycle if 0 in looped[0].pure else [])
    programs = _backwards(heads[: len(before)], before, needs)
    begin = _Builder((initial,), consistent_mixture, ())
    start = _build(begin, programs[0].inputs if programs else needs)
    return Plan(start, 0, _moves(programs, before), moves)


def _cycle(
    cycle: list[_Part], head: _Builder, pure: set[int], consistent_mixture: bool, *, known: bool
) -> list[_Builder]:
    """Builders of a cycle, with the entries that are a signal's whenever they come by."""
    entries = [set(range(len(cycle[k - 1].outputs)) if known else ()) for k in range(len(cycle))]
    # Where all is on samples, the loop may begin with anything.
    if any(_synthesised(head.signal(output)) for part in cycle for output in part.outputs):
        entries[0] &= pure
    while True:
        builders = [
            _Builder(part.outputs, consistent_mixture, entry)
            for part, entry in zip(cycle, entries, strict=True)
        ]
        after = [entry & builders[k - 1].pure_after for k, entry in enumerate(entries)]
        if after == entries:
            return builders
        entries = after


def _closed(builders: list[_Builder], cycle: list[_Part]) -> list[Program]:
    """Passes of which each makes the inputs of the next, and the last those of the first."""
    # What a pass needs decides what the one before must make: to a fixed point.
    needs = [
        Inputs(None, (), tuple(sorted(set(range(len(cycle[k - 1].outputs))) - builder.pure)))
        for k, builder in enumerate(builders)
    ]
    programs: dict[int, Program] = {}
    for _ in range(10):
        settled = True
        for k in reversed(range(len(builders))):
            wanted = needs[(k + 1) % len(builders)]
            programs[k] = _build(builders[k], wanted, ends=cycle[k].ends)
            settled &= _same(programs[k].inputs, needs[k])
            needs[k] = programs[k].inputs
        if settled:
            return [programs[k] for k in range(len(builders))]
    raise Untraceable("what an iteration needs has no end")


def _backwards(builders: list[_Builder], parts: list[_Part], needs: Inputs) -> list[Program]:
    """Passes of which each makes the inputs of the next, and the last those that are asked for."""
    programs: list[Program] = []
    for builder, part in zip(reversed(builders), reversed(parts), strict=True):
        programs.insert(0, _build(builder, needs, ends=part.ends))
        needs = programs[0].inputs
    return programs


def _moves(programs: list[Program], parts: list[_Part]) -> tuple[Move, ...]:
    """Passes with whether they end an iteration; equal ones are one object."""
    known: list[Program] = []
    moves = []
    for program, part in zip(programs, parts, strict=True):
        same = next((one for one in known if one == program), program)
        known.append(same)
        moves.append(Move(same, part.ends))
    return tuple(moves)


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
