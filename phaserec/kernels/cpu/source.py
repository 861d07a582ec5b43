"""Write a program as code: its bin rule and its sample rule, in LLVM's language.

The text depends only on the structure of the sentence. Hyper-parameters and constants come in a
table at run time, so one text serves every σ. It calls nothing and nothing of the engine is in it:
the engine calls the two rules by their addresses, a few dozen bins or a block of columns at a time.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from llvmlite import ir

from phaserec.kernels.cpu.lanes import Emit, lane_width, splat
from phaserec.kernels.cpu.layout import TILE
from phaserec.kernels.cpu.rules import FINISH, RULE, SIGNATURES
from phaserec.kernels.program import Program, Source
from phaserec.kernels.trace import COMPLEX, REAL, SCALAR, Node, Untraceable

# Constants that stay in the text; others go to the table, so that the text does not vary with them.
_LITERAL = (0.0, 1.0, -1.0, 2.0)
_INT = ir.IntType(64)
_DOUBLE = ir.DoubleType()
_REAL = {"float32": ir.FloatType(), "float64": _DOUBLE}


@dataclass(frozen=True)
class Code:
    """Source of a program and what it reads at run time.

    Attributes
    ----------
    text : str
        A module in LLVM's language with the functions of :data:`.rules.SIGNATURES`.
    table : tuple of Node
        Scalars that fill the table, in order.
    result : tuple of Node
        Scalars that replace the last entries in the pass that makes the result.
    coupled : bool
        Whether the bin rule needs all sources of a bin together.
    """

    text: str
    table: tuple[Node, ...]
    result: tuple[Node, ...]
    coupled: bool


class _Table:
    """Scalars that are read at run time."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []

    def position(self, node: Node) -> int:
        if node not in self.nodes:
            self.nodes.append(node)
        return self.nodes.index(node)


def write(program: Program, *, mixture_row: bool, dtype: str, weights: bool = False) -> Code:
    """Write the code of a pass.

    Parameters
    ----------
    program : Program
        The pass.
    mixture_row : bool
        Whether the side signals begin with the mixture.
    dtype : str
        Precision, ``"float32"`` or ``"float64"``.
    weights : bool, default False
        Whether mixing weights are the caller's, and not proportional to the magnitudes.

    Returns
    -------
    Code
        The code.

    Raises
    ------
    Untraceable
        If the rule reads both the mixture and a given start.
    """
    if program.reads("X") and program.reads("given"):
        raise Untraceable("the mixture and a given start in one pass")
    table = _Table()
    module = ir.Module("phaserec")
    rule = _Rule(program, table, _Function(module, RULE, dtype), weights=weights)
    rule.write()
    result = _finish(program, table, mixture_row, _Function(module, FINISH, dtype))
    return Code(str(module), tuple(table.nodes), result, rule.coupled)


class _Function:
    """A function under construction: loops, lanes of its arrays, and scalars.

    Parameters
    ----------
    module : llvmlite.ir.Module
        Where it is put.
    name : str
        One of :data:`.rules.SIGNATURES`.
    dtype : str
        Precision.
    """

    def __init__(self, module: ir.Module, name: str, dtype: str) -> None:
        self.real = _REAL[dtype]
        self.vector = ir.VectorType(self.real, lane_width(np.dtype(dtype)))
        words = SIGNATURES[name].split()
        kinds = [self.real.as_pointer() if word[0] == "*" else _INT for word in words]
        function = ir.Function(module, ir.FunctionType(ir.VoidType(), kinds), name)
        self.builder = ir.IRBuilder(function.append_basic_block("entry"))
        self.args: dict[str, Any] = {}
        for word, arg in zip(words, function.args, strict=True):
            self.args[word.lstrip("*")] = arg
            if word[0] == "*":
                arg.add_attribute("noalias")  # the engine's arrays are apart

    def end(self) -> None:
        self.builder.ret_void()

    @contextmanager
    def loop(self, count: Any) -> Iterator[Any]:
        """Body of a loop over 0 … count − 1, one time at least."""
        builder = self.builder
        before, body = builder.block, builder.append_basic_block("loop")
        builder.branch(body)
        builder.position_at_end(body)
        index = builder.phi(_INT)
        index.add_incoming(_INT(0), before)
        yield index
        following = builder.add(index, _INT(1))
        index.add_incoming(following, builder.block)
        after = builder.append_basic_block("after")
        builder.cbranch(builder.icmp_signed("<", following, count), body, after)
        builder.position_at_end(after)

    def place(self, *terms: Any) -> Any:
        """Sum of integers, each a value, a number or a tuple of factors."""
        total: Any = None
        for term in terms:
            product: Any = None
            for factor in term if isinstance(term, tuple) else (term,):
                value = _INT(factor) if isinstance(factor, int) else factor
                product = value if product is None else self.builder.mul(product, value)
            total = product if total is None else self.builder.add(total, product)
        return total

    def load(self, name: str, place: Any) -> Emit:
        """Lane at a place of an array."""
        return Emit(self.builder, self.builder.load(self._at(name, place), align=self._align))

    def store(self, name: str, place: Any, value: Emit) -> None:
        self.builder.store(value.value, self._at(name, place), align=self._align)

    def _at(self, name: str, place: Any) -> Any:
        address = self.builder.gep(self.args[name], [place], inbounds=True)
        return self.builder.bitcast(address, self.vector.as_pointer())

    @property
    def _align(self) -> int:
        return 4 if self.real is not _DOUBLE else 8

    def constant(self, number: float) -> Emit:
        """Lane of a number."""
        return Emit(self.builder, ir.Constant(self.vector, [float(number)] * self.vector.count))

    def entry(self, position: int) -> Any:
        """Number in the table."""
        return self.builder.load(self.builder.gep(self.args["hyper"], [_INT(position)]))

    def lane(self, scalar: Any) -> Emit:
        """Lane of a scalar, which is rounded to the precision of the pass."""
        if scalar.type != self.real:
            scalar = self.builder.fptrunc(scalar, self.real)
        return Emit(self.builder, splat(self.builder, scalar, self.vector.count))

    def arithmetic(self, op: str, a: Any, b: Any) -> Any:
        """A sum, difference, product or quotient of scalars, in double where one of them is."""
        if a.type != b.type:
            a, b = (x if x.type == _DOUBLE else self.builder.fpext(x, _DOUBLE) for x in (a, b))
        return getattr(self.builder, _SCALAR[op])(a, b)

    @property
    def equal(self) -> Emit:
        """Lane of one over the number of sources."""
        sources = self.builder.sitofp(self.args["sources"], _DOUBLE)
        return self.lane(self.builder.fdiv(_DOUBLE(1.0), sources))

    def variable(self) -> "_Variable":
        """A lane that changes in loops."""
        return _Variable(self)


class _Variable:
    """A lane that changes in loops: LLVM turns its memory into a register."""

    def __init__(self, function: _Function) -> None:
        self.builder = function.builder
        with self.builder.goto_entry_block():
            self.slot = self.builder.alloca(function.vector)

    @property
    def value(self) -> Emit:
        return Emit(self.builder, self.builder.load(self.slot))

    @value.setter
    def value(self, value: Emit) -> None:
        self.builder.store(value.value, self.slot)


_SCALAR = {"add": "fadd", "sub": "fsub", "mul": "fmul", "div": "fdiv"}
_LANES: dict[str, Callable[[Emit, Emit], Emit]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b,
}


_FUNCTIONS: dict[str, Callable[..., Emit]] = {
    "log": Emit.log,
    "exp": Emit.exp,
    "sqrt": Emit.sqrt,
    "pow": Emit.power,
}


class _Rule:
    """Writes the bin rule: one loop over sources for each mixing, then one for the results."""

    def __init__(
        self, program: Program, table: _Table, function: _Function, *, weights: bool
    ) -> None:
        self.program = program
        self.weights = weights
        self.table = table
        self.function = function
        self.nodes = program.nodes()
        self.mixes = [n for n in self.nodes if n.op in ("mix", "mixw")]
        self.coupled = bool(self.mixes) or program.reads("W")
        self.scalars = {node: self._lane_of_scalar(node) for node in self._scalars()}
        self.errors = {mix: (function.variable(), function.variable()) for mix in self.mixes}
        self.saved: Node | None = None
        self.loud: Any = None
        self.inverse: Emit | None = None

    def write(self) -> None:
        """Write the function."""
        function = self.function
        self.equal = function.equal
        stages = 1 + max((self._stage(n) for n in self.nodes), default=0)
        with function.loop(function.args["count"]) as self.bin:
            if self.program.reads("W") and not self.weights:
                self._weigh()
            for stage in range(stages):
                self._loop(stage, last=stage == stages - 1)
        function.end()

    def _weigh(self) -> None:
        """Sum of the magnitudes of a bin, for the weights that are proportional to them."""
        function, total = self.function, self.function.variable()
        total.value = self.magnitude(_INT(0))
        sources = function.args["sources"]
        more = function.builder.icmp_signed(">", sources, _INT(1))
        with function.builder.if_then(more), function.loop(function.place(sources, -1)) as j:
            total.value = total.value + self.magnitude(function.place(j, 1))
        self.loud = total.value.at_least(total.value.smallest_normal())
        self.inverse = function.constant(1) / total.value

    def magnitude(self, source: Any, name: str = "v") -> Emit:
        """Target magnitudes of a source, or its weights."""
        return self.function.load(name, self.row((source, TILE), self.bin))

    def row(self, *terms: Any) -> Any:
        """Place of a lane row."""
        return self.function.place((self.function.place(*terms), self.function.vector.count))

    def _stage(self, node: Node) -> int:
        """Number of sums over sources that must be known before the node is."""
        below = max((self._stage(a) for a in node.operands), default=0)
        return below + (node.op in ("mix", "mixw"))

    def _loop(self, stage: int, *, last: bool) -> None:
        function = self.function
        summed = [mix for mix in self.mixes if self._stage(mix) == stage + 1]
        if not summed and not last:
            return
        for mix in summed:
            for part, error in enumerate(self.errors[mix]):
                error.value = function.load("x", self.row(part * TILE, self.bin))
        with function.loop(function.args["sources"]) as source:
            body = _Body(self, source)
            for mix in summed:
                values = body.value(mix.args[0])
                for error, value in zip(self.errors[mix], values, strict=True):
                    error.value = error.value - value
                if self.saved is None and mix.args[0].operands and self._can_save(mix.args[0]):
                    body.store("c", values)
                    self.saved = mix.args[0]
            if last:
                *stores, result = (
                    body.value(node) for node in (*self.program.stores, self.program.synthesis)
                )
                for k, values in enumerate(stores):
                    body.store("s", values, k)
                body.store("c", result)
        for mix in summed:
            if mix.op == "mix":  # divided by the number of sources after the sum
                for error in self.errors[mix]:
                    error.value = error.value * self.equal

    def _can_save(self, node: Node) -> bool:
        """Whether the spectrum's place is free for a value once its stage is over."""
        seen: set[Node] = set()

        def reads_spectrum(n: Node) -> bool:
            if n is node or n in seen:
                return False
            seen.add(n)
            return n.op == "spec" or any(reads_spectrum(a) for a in n.operands)

        roots = (self.program.synthesis, *self.program.stores)
        return not any(reads_spectrum(root) for root in roots)

    def _scalars(self) -> list[Node]:
        """Scalars that lanes are combined with, in the order of the nodes."""
        found = [a for node in self.nodes if node.kind != SCALAR for a in node.operands]
        return list(dict.fromkeys(a for a in found if a.kind == SCALAR))

    def _lane_of_scalar(self, node: Node) -> tuple[Any, Emit]:
        scalar = self._scalar(node)
        return scalar, self.function.lane(scalar)

    def _scalar(self, node: Node) -> Any:
        if node.op == "const" and node.value in _LITERAL:
            return _DOUBLE(float(node.value))
        if node.op in ("const", "hyper"):
            return self.function.entry(self.table.position(node))
        a, b = (self._scalar(n) for n in node.args)
        return self.function.arithmetic(node.op, a, b)


Pair = tuple[Emit, Emit]


class _Body:
    """Body of one loop over sources: every node once."""

    def __init__(self, rule: _Rule, source: Any) -> None:
        self.rule, self.function, self.source = rule, rule.function, source
        self.known: dict[Node, Any] = {}

    def value(self, node: Node) -> Any:
        """A lane of real values, or two of real and imaginary parts."""
        if node.kind == SCALAR:
            return self.rule.scalars[node][1]
        if node not in self.known:
            self.known[node] = self._complex(node) if node.kind == COMPLEX else self._real(node)
        return self.known[node]

    def load(self, name: str, plane: int = 0) -> Pair:
        """Real and imaginary part of the bin in an array of all sources."""
        re, im = (self.function.load(name, place) for place in self._places(name, plane))
        return re, im

    def store(self, name: str, values: Pair, plane: int = 0) -> None:
        """Store both parts of the bin."""
        for place, value in zip(self._places(name, plane), values, strict=True):
            self.function.store(name, place, value)

    def _places(self, name: str, plane: int) -> Iterator[Any]:
        function, rule = self.function, self.rule
        for part in range(2):
            place = rule.row((self.source, 2 * TILE), part * TILE, rule.bin)
            if name == "s":
                start = function.place((function.args["s0"], function.vector.count))
                place = function.place(start, (function.args["plane"], plane), place)
            yield place

    def _real(self, node: Node) -> Emit:
        rule = self.rule
        if node.op == "V":
            return rule.magnitude(self.source)
        if node.op == "W" and rule.weights:
            return rule.magnitude(self.source, "w")
        if node.op == "W":
            V = self.value(node.graph.make("V", (), REAL))
            return (V * rule.inverse).where(rule.loud, rule.equal)
        if node.op == "abs":
            re, im = self.value(node.args[0])
            return (re * re + im * im).sqrt()
        if node.op in ("real", "imag"):
            return self.value(node.args[0])[node.op == "imag"]
        if node.op in _FUNCTIONS:
            return _FUNCTIONS[node.op](*map(self.value, node.args))
        a, b = (self.value(n) for n in node.args)
        return _LANES[node.op](a, b)

    def _complex(self, node: Node) -> Pair:
        function, rule = self.function, self.rule
        if node is rule.saved or node.op == "spec":
            return self.load("c")
        if node.op == "stored":
            return self.load("s", rule.program.inputs.stored.index(node.args[0]))
        if node.op == "X":
            re, im = (function.load("x", rule.row(part * TILE, rule.bin)) for part in range(2))
            return re, im
        if node.op == "given":
            return self.load("x")
        if node.op == "one":
            return function.constant(1), function.constant(0)
        if node.op == "unit":
            return self._unit(node.args[0])
        if node.op in ("mix", "mixw"):
            return self._mixed(node)
        a, b = (self.value(n) for n in node.args)
        if node.op in ("add", "sub"):
            return _LANES[node.op](a[0], b[0]), _LANES[node.op](a[1], b[1])
        if node.op == "mul":
            factor, (re, im) = (a, b) if isinstance(b, tuple) else (b, a)
            return re * factor, im * factor
        inverse = self._inverse(node.args[1])
        return a[0] * inverse, a[1] * inverse

    def _inverse(self, node: Node) -> Emit:
        function = self.function
        if node.kind == SCALAR:
            scalar = self.rule.scalars[node][0]
            return function.lane(function.arithmetic("div", _DOUBLE(1.0), scalar))
        return function.constant(1) / self.value(node)

    def _mixed(self, node: Node) -> Pair:
        values = self.value(node.args[0])
        errors = [error.value for error in self.rule.errors[node]]
        if node.op == "mixw":
            weight = self.value(node.graph.make("W", (), REAL))
            errors = [weight * error for error in errors]
        re, im = (value + error for value, error in zip(values, errors, strict=True))
        return re, im

    def _unit(self, node: Node) -> Pair:
        if node.op == "one":
            return self.value(node)
        re, im = self.value(node)
        power = re * re + im * im
        scale = power.rsqrt()
        loud = power.at_least(power.smallest_normal())
        one, zero = self.function.constant(1), self.function.constant(0)
        return (re * scale).where(loud, one), (im * scale).where(loud, zero)


def _finish(
    program: Program, table: _Table, mixture_row: bool, function: _Function
) -> tuple[Node, ...]:
    """Write the sample rule: what becomes of a finished block of columns.

    The signal's row becomes the result's in the last pass; sides are not needed any more then.
    """
    pairs = [(program.signal, program.result), *((row, row) for row in program.sides)]
    samples = _Samples(program, mixture_row, function)
    numbers = _Coefficients(table, function)
    zero = program.synthesis.graph.const(0)
    equal = function.equal
    rows = []
    for row, final in pairs:
        direct = samples.terms(row.direct, final.direct, numbers, zero)
        gain = numbers(*(zero if r.gain is None else r.gain for r in (row, final)))
        mixed = []
        if gain is not None:
            mixed = samples.terms(row.mixed, final.mixed, numbers, zero)
        rows.append((direct, gain, mixed, function.variable()))
    table.nodes += numbers.now
    with function.loop(function.args["hop"]) as samples.r:
        if any(gain is not None for _, gain, _, _ in rows):
            for _, gain, _, error in rows:
                if gain is not None:
                    error.value = gain * samples.mixture()
            with samples.loop():
                for _, gain, mixed, error in rows:
                    for term in mixed if gain is not None else ():
                        error.value = error.value - samples.product(*term)
        with samples.loop():
            values = []
            for direct, gain, _, error in rows:
                parts = [samples.product(*term) for term in direct]
                if gain is not None:
                    parts.append(error.value * equal)
                # Nothing is left of a row whose terms cancel.
                values.append(sum(parts[1:], parts[0]) if parts else function.constant(0))
            for k, value in enumerate(values):
                samples.store(k, value)
    function.end()
    return tuple(numbers.final)


class _Coefficients:
    """Coefficients of rows, in a table that is another one in the last pass."""

    def __init__(self, table: _Table, function: _Function) -> None:
        self.begin, self.function = len(table.nodes), function
        self.now: list[Node] = []
        self.final: list[Node] = []

    def __call__(self, now: Node, final: Node) -> Emit | None:
        """Lane of a coefficient; None for a zero one."""
        if now is final:
            if now.value == 0:
                return None
            if now.op == "const" and now.value in _LITERAL:
                return self.function.constant(now.value)
        self.now.append(now)
        self.final.append(final)
        return self.function.lane(self.function.entry(self.begin + len(self.now) - 1))


class _Samples:
    """Samples of a block of columns, row r of every source at a time."""

    def __init__(self, program: Program, mixture_row: bool, function: _Function) -> None:
        self.program, self.function = program, function
        self.mixture_rows = int(mixture_row)
        self.r: Any = None
        args = function.args
        self.size = function.place((args["hop"], args["columns"]))

    @contextmanager
    def loop(self) -> Iterator[None]:
        """Loop over sources; what was loaded before is loaded anew."""
        function = self.function
        self.loaded: dict[Source, Emit] = {}
        with function.loop(function.args["sources"]) as j:
            self.row = function.place((j, function.args["hop"]), self.r)
            yield

    def terms(
        self, now: dict, final: dict, numbers: _Coefficients, zero: Node
    ) -> list[tuple[Emit | None, Source]]:
        """Coefficients of sources, None for 1; in an order that the names of sources give."""
        found = []
        one = zero.graph.const(1)
        for source in sorted({*now, *final}, key=_order):
            pair = now.get(source, zero), final.get(source, zero)
            number = numbers(*pair)
            if number is not None:
                found.append((None if pair == (one, one) else number, source))
        return found

    def product(self, number: Emit | None, source: Source) -> Emit:
        """A coefficient times the samples of a source."""
        if source not in self.loaded:
            self.loaded[source] = self._load(source)
        samples = self.loaded[source]
        return samples if number is None else number * samples

    def mixture(self) -> Emit:
        """Samples of the mixture, which the sides begin with."""
        args = self.function.args
        place = self.function.place((self.r, args["columns"]), args["column"])
        return self.function.load("side", place)

    def store(self, k: int, value: Emit) -> None:
        """Store samples of the signal (0) or of a side."""
        self.function.store("side" if k else "signal", self._place(k - 1 if k else None), value)

    def _load(self, source: Source) -> Emit:
        function = self.function
        if source[0] == "synth":
            place = function.place(function.args["at"], (self.row, function.args["stride"]))
            return function.load("tile", place)
        sides = self.program.inputs.sides
        if source[1] in sides:
            return function.load("side", self._place(sides.index(source[1])))
        return function.load("signal", self._place(None))

    def _place(self, slot: int | None) -> Any:
        """Where samples of a side signal are, or (None) those of the signal."""
        function, args = self.function, self.function.args
        place = function.place((self.row, args["columns"]), args["column"])
        if slot is None:
            return place
        before = function.place((slot, args["sources"]), self.mixture_rows)
        return function.place((before, self.size), place)


def _order(source: Source) -> tuple[str, str]:
    return source[0], str(source[1]) if source[0] == "state" else ""
