"""Trace a sentence on symbols: the graph of what one iteration does at one bin.

A step function runs once on symbolic spectrograms and a symbolic problem. What comes back is a
graph of :class:`Node`, shared and simplified as it is built, from which :mod:`.program` derives the
fused iteration. A step that does anything a symbol cannot (looks at values or shapes, calls other
functions) raises :class:`Untraceable`, and the array path runs it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

from phaserec._typing import Projectors
from phaserec.algorithms.combinators import estimate

# Kinds of node, by what an operation of two of them gives: the larger.
SCALAR, REAL, COMPLEX = range(3)

_LEAVES = ("state", "stored", "hyper", "const")
# Most iterations of a schedule; each may be a program of its own.
_PERIOD = 64


class Untraceable(Exception):
    """The sentence does something that only works on values."""


class _LooksAt(Untraceable):
    """The sentence looks at the values of hyper-parameters."""

    def __init__(self, names: frozenset[str]) -> None:
        super().__init__("the sentence depends on a value")
        self.names = names


@dataclass(frozen=True, eq=False)
class Node:
    """An operation; equal operations are one object, so identity is equality.

    Attributes
    ----------
    op : str
        ``state, V, W, X, hyper, const`` (leaves), ``add, sub, mul, div``, ``unit``, ``abs``,
        ``real, imag, log, exp, sqrt, pow``, ``cons``, ``mix`` (equal weights) and ``mixw`` (the
        problem's weights).
    args : tuple
        Nodes; for leaves the key: index of a state, name of a hyper-parameter, value.
    kind : int
        SCALAR, REAL or COMPLEX; the last two vary over bins.
    graph : Graph
        Where the node lives.
    """

    op: str
    args: tuple
    kind: int
    graph: "Graph"

    def __add__(self, other: Any) -> "Node":
        return self.graph.binary("add", self, other)

    def __radd__(self, other: Any) -> "Node":
        return self.graph.binary("add", other, self)

    def __sub__(self, other: Any) -> "Node":
        return self.graph.binary("sub", self, other)

    def __rsub__(self, other: Any) -> "Node":
        return self.graph.binary("sub", other, self)

    def __mul__(self, other: Any) -> "Node":
        return self.graph.binary("mul", self, other)

    def __rmul__(self, other: Any) -> "Node":
        return self.graph.binary("mul", other, self)

    def __truediv__(self, other: Any) -> "Node":
        return self.graph.binary("div", self, other)

    def __rtruediv__(self, other: Any) -> "Node":
        return self.graph.binary("div", other, self)

    def __neg__(self) -> "Node":
        return self.graph.binary("mul", -1.0, self)

    def __pos__(self) -> "Node":
        return self

    def __abs__(self) -> "Node":
        return self.graph.real("abs", self)

    def __pow__(self, exponent: Any) -> "Node":
        return self.graph.power(self, exponent)

    def __array_namespace__(self, **_: Any) -> "Functions":
        return Functions(self.graph)

    def __getattr__(self, name: str) -> Any:
        raise Untraceable(f"the sentence looks at {name!r} of its arrays")

    def _refuse(self, *_: Any) -> Any:
        names = {node.args[0] for node in self.walk() if node.op == "hyper"}
        if self.kind == SCALAR and names:
            raise _LooksAt(frozenset(names))
        raise Untraceable("the sentence depends on a value")

    def __eq__(self, other: object) -> bool:
        # Nodes are shared, so identity is equality; with a value, the answer is not known yet.
        if isinstance(other, Node):
            return self is other
        return self._refuse()

    __hash__ = object.__hash__
    __bool__ = __float__ = __int__ = __len__ = __iter__ = __array__ = _refuse
    __lt__ = __le__ = __gt__ = __ge__ = __rpow__ = __getitem__ = __round__ = _refuse

    @property
    def value(self) -> float | None:
        """Value of a constant, else None."""
        return self.args[0] if self.op == "const" else None

    @property
    def operands(self) -> tuple["Node", ...]:
        """Nodes that this one is computed from."""
        return () if self.op in _LEAVES else self.args

    def walk(self) -> Iterator["Node"]:
        """Every node below this one, operands first, each once."""
        seen: set[Node] = set()

        def visit(node: Node) -> Iterator[Node]:
            if node not in seen:
                seen.add(node)
                for operand in node.operands:
                    yield from visit(operand)
                yield node

        return visit(self)


class Graph:
    """Makes nodes, each once, and folds what does not need the signal."""

    def __init__(self) -> None:
        self._nodes: dict[tuple, Node] = {}

    def make(self, op: str, args: tuple, kind: int) -> Node:
        """The node of an operation."""
        return self._nodes.setdefault((op, args), Node(op, args, kind, self))

    def const(self, value: float) -> Node:
        """A number."""
        return self.make("const", (float(value),), SCALAR)

    def lift(self, value: Any) -> Node:
        """A node from a node or a number."""
        if isinstance(value, Node):
            return value
        if isinstance(value, int | float) and not isinstance(value, bool):
            return self.const(value)
        raise Untraceable(f"the sentence calculates with a {type(value).__name__}")

    def binary(self, op: str, left: Any, right: Any) -> Node:
        """Arithmetic, with zeros and ones folded away."""
        a, b = self.lift(left), self.lift(right)
        x, y = a.value, b.value
        if x is not None and y is not None and not (op == "div" and y == 0):
            value = {"add": x + y, "sub": x - y, "mul": x * y, "div": x / (y or 1)}[op]
            return self.const(value)
        if (op == "add" and x == 0) or (op == "mul" and x == 1):
            return b
        if (op in ("add", "sub") and y == 0) or (op in ("mul", "div") and y == 1):
            return a
        if (op == "mul" and 0 in (x, y)) or (op == "div" and x == 0) or (op == "sub" and a is b):
            return self.const(0)
        if (op == "div" and b.kind == COMPLEX) or (op == "mul" and a.kind == b.kind == COMPLEX):
            raise Untraceable("the sentence multiplies or divides spectrograms")
        if op in ("add", "sub") and COMPLEX in (a.kind, b.kind) and a.kind != b.kind:
            raise Untraceable("the sentence adds a spectrogram and real values")
        return self.make(op, (a, b), max(a.kind, b.kind))

    def real(self, op: str, of: Any) -> Node:
        """A function of a spectrogram or of real values that gives real values."""
        node = self.lift(of)
        wanted = {"real": COMPLEX, "imag": COMPLEX, "abs": COMPLEX}.get(op, REAL)
        if node.kind == SCALAR:
            node._refuse()
        if node.kind != wanted:
            raise Untraceable(f"the sentence takes {op} of what has none on the kernel")
        return self.make(op, (node,), REAL)

    def power(self, base: Node, exponent: Any) -> Node:
        """Real values to the power of a number, which is looked at: most are special."""
        value = self.lift(exponent).value
        if value is None:
            return exponent._refuse()
        if base.kind == SCALAR:
            base._refuse()
        if base.kind != REAL:
            raise Untraceable("the sentence takes a power of a spectrogram")
        if value in (0.5, -0.5):
            base, value = self.real("sqrt", base), 2 * value
        if value in (0, 1, 2, 3, 4):
            product = self.const(1)
            for _ in range(int(value)):
                product = base * product
            return product
        if value == -1:
            return 1 / base
        return self.make("pow", (base, self.const(value)), REAL)


class Functions:
    """Functions of array libraries that symbols have."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self.__name__ = "symbols"  # namespaces are told apart by their names

    def __getattr__(self, name: str) -> Any:
        if name not in ("real", "imag", "abs", "log", "exp", "sqrt"):
            raise Untraceable(f"the sentence calls {name}, which the kernel has not")
        return lambda of: self._graph.real(name, of)


class SymbolicProblem:
    """Stands in for :class:`phaserec.Problem` while a sentence is traced."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self.magnitudes = graph.make("V", (), REAL)
        self.mixing_weights = graph.make("W", (), REAL)

    @property
    def X(self) -> Node:
        """No symbol: it has no axis of sources."""
        raise Untraceable("the sentence uses p.X")

    def __getattr__(self, name: str) -> Any:
        raise Untraceable(f"the sentence uses p.{name}")

    def mag(self, S: Any) -> Node:
        """P_mag."""
        S = self._spectrogram(S)
        # Magnitudes do not change a phase (where they are zero, either product is zero).
        while S.op == "mul" and S.args[0] is self.magnitudes and S.args[1].op == "unit":
            S = S.args[1].args[0]
        return self.magnitudes * self._graph.make("unit", (S,), COMPLEX)

    def cons(self, S: Any) -> Node:
        """P_cons."""
        S = self._spectrogram(S)
        return S if S.op == "cons" else self._graph.make("cons", (S,), COMPLEX)

    def mix(self, S: Any, weights: Any = None) -> Node:
        """P_mix, with equal weights or with the problem's."""
        S = self._spectrogram(S)
        if weights is None:
            return self._graph.make("mix", (S,), COMPLEX)
        if weights is self.mixing_weights:
            return self._graph.make("mixw", (S,), COMPLEX)
        raise Untraceable("the sentence mixes with weights other than the problem's")

    def _spectrogram(self, S: Any) -> Node:
        node = self._graph.lift(S)
        if node.kind != COMPLEX:
            raise Untraceable("the sentence projects something that is no spectrogram")
        return node


@dataclass(frozen=True)
class Trace:
    """A traced algorithm: iterations as new values of the spectrograms of the state.

    Attributes
    ----------
    opening : tuple of tuple of Node
        Iterations that come once, before the others; entry k of one replaces ``state k``.
    cycle : tuple of tuple of Node
        Iterations that come in turn from then on.
    """

    opening: tuple[tuple[Node, ...], ...]
    cycle: tuple[tuple[Node, ...], ...]


def trace(entry: Any, hyper: dict[str, Any]) -> Trace:
    """Trace iterations until the state is one that has been, but for the values in spectrograms.

    Counters in a state are no symbols: every iteration of a schedule is traced with its own. Nor
    are hyper-parameters that the step looks at, in comparisons and exponents; others are, so that
    one program serves all their values.

    Parameters
    ----------
    entry : Algorithm
        The algorithm.
    hyper : dict
        Hyper-parameters; words keep their value.

    Returns
    -------
    Trace
        The iterations.

    Raises
    ------
    Untraceable
        If the step needs values, or its iterations do not repeat.
    """
    looked_at: frozenset[str] = frozenset()
    while True:
        try:
            return _traced(entry, hyper, looked_at)
        except _LooksAt as error:
            if error.names <= looked_at:
                raise
            looked_at |= error.names


def _traced(entry: Any, hyper: dict[str, Any], looked_at: frozenset[str]) -> Trace:
    """Trace with values of the hyper-parameters that are looked at, and symbols of the others."""
    graph = Graph()
    state = entry.initial_state(graph.make("state", (0,), COMPLEX))
    iterations: list[tuple[Node, ...]] = []
    seen: dict[Any, int] = {}
    while len(iterations) <= _PERIOD:
        begin = seen.setdefault(_form(state), len(iterations))
        if begin < len(iterations):
            return Trace(tuple(iterations[:begin]), tuple(iterations[begin:]))
        state = _step(entry, graph, state, hyper, looked_at)
        if not isinstance(estimate(state), Node):
            raise Untraceable("the sentence gives no spectrogram")
        if isinstance(state, tuple) != bool(entry.memory):
            raise Untraceable("the sentence gives another state than it declares")
        iterations.append(tuple(_leaves(state)))
        state = _symbols(state, graph)
    raise Untraceable(f"its iterations do not repeat within {_PERIOD}")


def _step(
    entry: Any, graph: Graph, state: Any, hyper: dict[str, Any], looked_at: frozenset[str]
) -> Any:
    numeric = {h.name for h in entry.hyper if h.kind is float} - looked_at
    # A zero stays a number: it may turn a term of the formula off.
    symbols = {
        name: graph.make("hyper", (name,), SCALAR)
        if name in numeric and not isinstance(value, str) and value != 0
        else value
        for name, value in hyper.items()
    }
    try:
        p: Projectors[Node] = SymbolicProblem(graph)
        return entry.step(state, p, **symbols)
    except Untraceable:
        raise
    except Exception as error:  # whatever it is, the step says it again on arrays
        raise Untraceable(str(error)) from error


def _leaves(state: Any) -> list[Node]:
    """Spectrograms of a state, in order."""
    if isinstance(state, tuple):
        return [leaf for part in state for leaf in _leaves(part)]
    if state is None or isinstance(state, int):
        return []
    if not isinstance(state, Node) or state.kind != COMPLEX:
        raise Untraceable("the state holds something that is no spectrogram")
    return [state]


def _form(state: Any) -> Any:
    """What a state is besides the values in its spectrograms."""
    if isinstance(state, tuple):
        return tuple(map(_form, state))
    return "spectrogram" if isinstance(state, Node) else state


def _symbols(structure: Any, graph: Graph) -> Any:
    """A state like the given one, of symbols numbered in order."""
    numbers = count()

    def symbol(part: Any) -> Any:
        if isinstance(part, tuple):
            return tuple(symbol(inner) for inner in part)
        return graph.make("state", (next(numbers),), COMPLEX) if isinstance(part, Node) else part

    return symbol(structure)
