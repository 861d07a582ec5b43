"""A numba type for one SIMD vector: 16 float32 or 8 float64 values, or half as many.

A lane vector is loaded from and stored to flat positions of a contiguous array, without bounds
or wrap-around code. ``+ - *`` and ``<`` work between lanes and between a lane and a scalar.
Products and sums may be contracted to fused multiply-adds; nothing is reassociated and no value is
assumed finite, so results do not depend on the run.

:class:`Emit` is the same arithmetic for code that is written as instructions, as intrinsics and
rules are.

The vector has 64 bytes where registers are as wide, else 32: of two registers of 32 it is 1.2 times
as slow, and of four of 16 a little faster. LLVM splits it on machines with narrower registers.
"""

import math
import operator
from typing import Any, NamedTuple

import llvmlite.binding as llvm
from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.extending import (
    intrinsic,
    lower_builtin,
    models,
    register_model,
    type_callable,
)


def _has_wide_registers() -> bool:
    """Whether the processor that code is compiled for has registers of 64 bytes."""
    told = config.CPU_FEATURES  # NUMBA_CPU_FEATURES
    features = llvm.get_host_cpu_features().flatten() if told is None else told
    return "+avx512f" in features.split(",")


LANE_BYTES = 64 if _has_wide_registers() else 32
_FLAGS = ("contract",)
_INT32 = ir.IntType(32)
# First guess of 1/sqrt(x) from the exponent bits, and the number of third-order steps that bring
# it to the last bit. Division and square root units are slow next to the multipliers, and these
# steps give the same bits on every machine.
_GUESS = {32: (0x5F3759DF, 2), 64: (0x5FE6EB50C7B537A9, 3)}


def lane_width(dtype) -> int:
    """Number of values of a numpy dtype in one lane vector."""
    return LANE_BYTES // dtype.itemsize


class _Format(NamedTuple):
    """What functions need of a floating-point format."""

    mantissa: int  # bits
    root_half: int  # bits of √½
    ln2: tuple[float, float]  # head with zeros at its end, and the rest
    log_terms: int  # of the series, for half a unit in the last place
    exp_terms: int
    exp_range: tuple[float, float]  # with normal numbers as results


_FORMATS = {
    32: _Format(23, 0x3F3504F3, (0.693359375, -2.12194440e-4), 5, 7, (-87.3, 88.7)),
    64: _Format(
        52,
        0x3FE6A09E667F3BCD,
        (6.93147180369123816490e-01, 1.90821492927058770002e-10),
        10,
        13,
        (-708.3, 709.7),
    ),
}


class Lane(types.Type):
    """The numba type of a vector of ``width`` values of type ``dtype``."""

    def __init__(self, dtype: types.Float):
        self.dtype = dtype
        self.width = LANE_BYTES * 8 // dtype.bitwidth
        super().__init__(name=f"lane({dtype}x{self.width})")


class Mask(types.Type):
    """The numba type of a comparison of two lane vectors."""

    def __init__(self, width: int):
        self.width = width
        super().__init__(name=f"lane_mask({width})")


def _vector(lane: Lane) -> ir.VectorType:
    scalar = ir.FloatType() if lane.dtype.bitwidth == 32 else ir.DoubleType()
    return ir.VectorType(scalar, lane.width)


@register_model(Lane)
class _LaneModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type):
        super().__init__(dmm, fe_type, _vector(fe_type))


@register_model(Mask)
class _MaskModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type):
        super().__init__(dmm, fe_type, ir.VectorType(ir.IntType(1), fe_type.width))


def splat(builder: Any, value: Any, width: int) -> Any:
    """Repeat a scalar LLVM value over a vector."""
    vec = ir.VectorType(value.type, width)
    one = builder.insert_element(ir.Constant(vec, ir.Undefined), value, ir.Constant(_INT32, 0))
    zeros = ir.Constant(ir.VectorType(_INT32, width), [0] * width)
    return builder.shuffle_vector(one, ir.Constant(vec, ir.Undefined), zeros)


def _constant(vec, number):
    return ir.Constant(vec, [float(number)] * vec.count)


def _bits(vec) -> int:
    """Bits of a value of a vector."""
    return 32 if isinstance(vec.element, ir.FloatType) else 64


def _call(builder, name, vec, args):
    """Call an LLVM vector intrinsic by its full name (numba has no mangling for vectors)."""
    suffix = f"v{vec.count}f{_bits(vec)}"
    kind = ir.FunctionType(vec, [vec] * len(args))
    function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.{name}.{suffix}")
    return builder.call(function, args)


class Emit:
    """A vector under construction: Python arithmetic on it emits LLVM instructions.

    Lets an intrinsic be written as plain formulas, with Python loops unrolled.
    """

    __slots__ = ("builder", "value")

    def __init__(self, builder: Any, value: Any) -> None:
        self.builder = builder
        self.value = value

    def _other(self, other):
        return other.value if isinstance(other, Emit) else _constant(self.value.type, other)

    def __add__(self, other: "Emit | float") -> "Emit":
        return Emit(self.builder, self.builder.fadd(self.value, self._other(other), flags=_FLAGS))

    def __sub__(self, other: "Emit | float") -> "Emit":
        return Emit(self.builder, self.builder.fsub(self.value, self._other(other), flags=_FLAGS))

    def __mul__(self, other: "Emit | float") -> "Emit":
        return Emit(self.builder, self.builder.fmul(self.value, self._other(other), flags=_FLAGS))

    def __truediv__(self, other: "Emit | float") -> "Emit":
        return Emit(self.builder, self.builder.fdiv(self.value, self._other(other), flags=_FLAGS))

    def __neg__(self) -> "Emit":
        return Emit(self.builder, self.builder.fneg(self.value))

    def at_least(self, other: "Emit | float") -> Any:
        """Mask of the values that are at least those of another vector."""
        return self.builder.fcmp_ordered(">=", self.value, self._other(other))

    def where(self, mask: Any, other: "Emit | float") -> "Emit":
        """The values where a mask holds, else those of another vector."""
        return Emit(self.builder, self.builder.select(mask, self.value, self._other(other)))

    def smallest_normal(self) -> "Emit":
        """The smallest normal number of the type, in every place."""
        number = 2.0**-126 if _bits(self.value.type) == 32 else 2.0**-1022
        return Emit(self.builder, _constant(self.value.type, number))

    def sqrt(self) -> "Emit":
        """Square root of every value."""
        return Emit(self.builder, _call(self.builder, "sqrt", self.value.type, [self.value]))

    def rsqrt(self) -> "Emit":
        """Reciprocal square root of normal positive values, within two units in the last place.

        Zero and subnormal values give some large finite number, never NaN.
        """
        builder, vec = self.builder, self.value.type
        magic, steps = _GUESS[_bits(vec)]
        ints = ir.VectorType(ir.IntType(_bits(vec)), vec.count)
        bits = builder.bitcast(self.value, ints)
        half = builder.lshr(bits, ir.Constant(ints, [1] * vec.count))
        guess = builder.sub(ir.Constant(ints, [magic] * vec.count), half)
        y = Emit(builder, builder.bitcast(guess, vec))
        for _ in range(steps):
            residue = -(self * y * y) + 1.0
            y = y + (y * residue) * (residue * 0.375 + 0.5)
        return y

    def log(self) -> "Emit":
        """Natural logarithm of every value; −∞ below the smallest normal number, NaN below 0.

        With x = 2ᵉ m, √½ ≤ m < √2, and s = (m − 1) / (m + 1), log m = 2 (s + s³/3 + s⁵/5 + …).
        """
        builder, vec, kind = self.builder, self.value.type, _FORMATS[_bits(self.value.type)]
        ints = ir.VectorType(ir.IntType(_bits(vec)), vec.count)

        def whole(number):
            return ir.Constant(ints, [number] * vec.count)

        bits = builder.bitcast(self.value, ints)
        exponent = builder.ashr(builder.sub(bits, whole(kind.root_half)), whole(kind.mantissa))
        m = builder.sub(bits, builder.shl(exponent, whole(kind.mantissa)))
        m, e = Emit(builder, builder.bitcast(m, vec)), Emit(builder, builder.sitofp(exponent, vec))
        s = (m - 1.0) / (m + 1.0)
        z = s * s
        tail = Emit(builder, _constant(vec, 2 / (2 * kind.log_terms + 1)))
        for k in range(kind.log_terms - 1, 0, -1):
            tail = tail * z + 2 / (2 * k + 1)
        value = e * kind.ln2[0] + (s * 2.0 + (s * z * tail + e * kind.ln2[1]))
        value = value.where(self.at_least(self.smallest_normal()), -math.inf)
        value = value.where(self.at_least(0.0), math.nan)
        return Emit(builder, builder.select(self._unbounded(), self.value, value.value))

    def exp(self) -> "Emit":
        """Exponential function of every value; 0 where it is not a normal number.

        exp x = 2ⁿ exp r with |r| ≤ ln 2 / 2, which is summed.
        """
        builder, vec, kind = self.builder, self.value.type, _FORMATS[_bits(self.value.type)]
        small, large = kind.exp_range
        x = self.where(self.at_least(small), small)
        x = Emit(builder, _constant(vec, large)).where(x.at_least(large), x)
        n = Emit(builder, _call(builder, "rint", vec, [(x * (1 / math.log(2))).value]))
        r = x - n * kind.ln2[0] - n * kind.ln2[1]
        total = Emit(builder, _constant(vec, 1 / math.factorial(kind.exp_terms)))
        for k in range(kind.exp_terms - 1, -1, -1):
            total = total * r + 1 / math.factorial(k)
        ints = ir.VectorType(ir.IntType(_bits(vec)), vec.count)
        shift = builder.fptosi(n.value, ints)
        shift = builder.shl(shift, ir.Constant(ints, [kind.mantissa] * vec.count))
        bits = builder.add(builder.bitcast(total.value, ints), shift)
        value = Emit(builder, builder.bitcast(bits, vec))
        value = value.where(self.at_least(small), 0.0)
        value = Emit(builder, _constant(vec, math.inf)).where(self.at_least(large), value)
        unordered = builder.fcmp_unordered("uno", self.value, self.value)
        return Emit(builder, builder.select(unordered, self.value, value.value))

    def power(self, exponent: "Emit") -> "Emit":
        """Values that are not negative to the power of others, which are not 0."""
        zero = Emit(self.builder, _constant(self.value.type, 0.0))
        at_zero = zero.where(exponent.at_least(0.0), math.inf)
        special = at_zero.where(self.at_least(0.0), math.nan)
        value = (exponent * self.log()).exp()
        return value.where(self.at_least(self.smallest_normal()), special)

    def _unbounded(self) -> Any:
        """Mask of infinity and NaN."""
        top = _constant(self.value.type, math.inf)
        return self.builder.fcmp_unordered(">=", self.value, top)


class Pointer:
    """Typed access to the data of an array inside an intrinsic.

    Parameters
    ----------
    context, builder
        As given to the code generator of an intrinsic.
    kind : numba.types.Array
        The array's type.
    array
        The array's LLVM value.
    """

    def __init__(self, context, builder, kind, array):
        self.builder = builder
        self.base = context.make_array(kind)(context, builder, array).data
        self.size = kind.dtype.bitwidth // 8
        self.lane = Lane(kind.dtype) if isinstance(kind.dtype, types.Float) else None

    def at(self, index, shift: int = 0):
        """Address of element ``index + shift``."""
        if shift:
            index = self.builder.add(index, ir.Constant(index.type, shift))
        return self.builder.gep(self.base, [index], inbounds=True)

    def scalar(self, index, shift: int = 0):
        """Load one element."""
        return self.builder.load(self.at(index, shift))

    def splat(self, index, shift: int = 0) -> Emit:
        """Load one element and repeat it over a vector."""
        return Emit(self.builder, splat(self.builder, self.scalar(index, shift), self.lane.width))

    def load(self, index, shift: int = 0) -> Emit:
        """Load a vector from consecutive elements, at any alignment."""
        address = self.builder.bitcast(self.at(index, shift), _vector(self.lane).as_pointer())
        return Emit(self.builder, self.builder.load(address, align=self.size))

    def store(self, vector: Emit, index, shift: int = 0) -> None:
        """Store a vector to consecutive elements, at any alignment."""
        address = self.builder.bitcast(self.at(index, shift), _vector(self.lane).as_pointer())
        self.builder.store(vector.value, address, align=self.size)


def is_real_array(kind) -> bool:
    """Whether a numba type is a contiguous array of float32 or float64."""
    return isinstance(kind, types.Array) and isinstance(kind.dtype, types.Float)


@intrinsic
def load(typingctx, array, index):
    """Load the lane vector at flat element ``index`` of a contiguous array."""

    def codegen(context, builder, signature, args):
        index = context.cast(builder, args[1], signature.args[1], types.intp)
        return Pointer(context, builder, signature.args[0], args[0]).load(index).value

    return Lane(array.dtype)(array, index), codegen


@intrinsic
def store(typingctx, array, index, lane):
    """Store a lane vector at flat element ``index`` of a contiguous array."""

    def codegen(context, builder, signature, args):
        index = context.cast(builder, args[1], signature.args[1], types.intp)
        target = Pointer(context, builder, signature.args[0], args[0])
        target.store(Emit(builder, args[2]), index)
        return context.get_dummy_value()

    return types.void(array, index, Lane(array.dtype)), codegen


@intrinsic
def spread(typingctx, array, number):
    """Repeat a scalar over a lane vector of the array's element type."""
    lane = Lane(array.dtype)

    def codegen(context, builder, signature, args):
        value = context.cast(builder, args[1], signature.args[1], lane.dtype)
        return splat(builder, value, lane.width)

    return lane(array, number), codegen


@intrinsic
def prefetch(typingctx, array, index):
    """Ask for the cache line of flat element ``index``; an address past the end is harmless."""

    def codegen(context, builder, signature, args):
        index = context.cast(builder, args[1], signature.args[1], types.intp)
        base = context.make_array(signature.args[0])(context, builder, args[0]).data
        # Not "inbounds": the address may lie past the end.
        address = builder.bitcast(builder.gep(base, [index]), ir.IntType(8).as_pointer())
        kind = ir.FunctionType(ir.VoidType(), [address.type, _INT32, _INT32, _INT32])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        builder.call(function, [address] + [ir.Constant(_INT32, i) for i in (0, 3, 1)])
        return context.get_dummy_value()

    return types.void(array, index), codegen


def _operands(context, builder, signature, args):
    """Bring the operands of a binary operation to lane vectors."""
    lane = next(kind for kind in signature.args if isinstance(kind, Lane))
    values = []
    for kind, value in zip(signature.args, args, strict=True):
        if not isinstance(kind, Lane):
            value = splat(builder, context.cast(builder, value, kind, lane.dtype), lane.width)
        values.append(value)
    return values


def _lane_of(a, b):
    """Lane type of a binary operation, or None when it is not ours."""
    if isinstance(a, Lane) and (a == b or isinstance(b, types.Number)):
        return a
    if isinstance(b, Lane) and isinstance(a, types.Number):
        return b
    return None


_PAIRS = ((Lane, Lane), (Lane, types.Number), (types.Number, Lane))


def _register_arithmetic(function, name):
    @type_callable(function)
    def typing(context):
        def typer(a, b):
            return _lane_of(a, b)

        return typer

    def lowering(context, builder, signature, args):
        left, right = _operands(context, builder, signature, args)
        return getattr(builder, name)(left, right, flags=_FLAGS)

    for pair in _PAIRS:
        lower_builtin(function, *pair)(lowering)


def _register_comparison(function, symbol):
    @type_callable(function)
    def typing(context):
        def typer(a, b):
            lane = _lane_of(a, b)
            return None if lane is None else Mask(lane.width)

        return typer

    def lowering(context, builder, signature, args):
        left, right = _operands(context, builder, signature, args)
        return builder.fcmp_ordered(symbol, left, right)

    for pair in _PAIRS:
        lower_builtin(function, *pair)(lowering)


for _function, _name in ((operator.add, "fadd"), (operator.sub, "fsub"), (operator.mul, "fmul")):
    _register_arithmetic(_function, _name)
_register_comparison(operator.lt, "<")


@intrinsic
def select(typingctx, mask, a, b):
    """Take ``a`` where the mask holds, else ``b`` (lanes or scalars, one of them a lane)."""
    lane = _lane_of(a, b)

    def codegen(context, builder, signature, args):
        inner = lane(*signature.args[1:])
        left, right = _operands(context, builder, inner, args[1:])
        return builder.select(args[0], left, right)

    return lane(mask, a, b), codegen


@intrinsic
def transpose(typingctx, source, start, stride, target, row, step):
    """Move a square tile: lane i of target row k is element k of source row i.

    Source row i begins at element ``start + i * stride``; target rows are whole lane vectors
    ``row, row + step, ...``.
    """
    return _transpose(source, target, 1)


@intrinsic
def transpose_pairs(typingctx, source, start, stride, target, row, step, plane):
    """Move a tile of interleaved (re, im) pairs; positions and strides of the source count reals.

    Real parts go to the rows of :func:`transpose`, imaginary parts ``plane`` rows further.
    """
    return _transpose(source, target, 2)


def _swap_stages(rows, width):
    """Transpose ``width`` vectors held in a list by exchanging blocks of doubling size."""
    builder = rows[0].builder
    span = 1
    while span < width:
        keep = [c if not c & span else c - span + width for c in range(width)]
        move = [c + span if not c & span else c + width for c in range(width)]
        out = list(rows)
        for i in range(width):
            if not i & span:
                a, b = rows[i].value, rows[i + span].value
                for at, order in ((i, keep), (i + span, move)):
                    mask = ir.Constant(ir.VectorType(_INT32, width), order)
                    out[at] = Emit(builder, builder.shuffle_vector(a, b, mask))
        rows = out
        span *= 2
    return rows


def _transpose(source, target, planes):
    kinds = (source, types.intp, types.intp, target) + (types.intp,) * (1 + planes)

    def codegen(context, builder, signature, args):
        origin = Pointer(context, builder, source, args[0])
        dest = Pointer(context, builder, target, args[3])
        width = dest.lane.width
        parts = [[] for _ in range(planes)]
        for i in range(width):
            offset = builder.mul(args[2], ir.Constant(args[2].type, i))
            at = builder.add(args[1], offset)
            loaded = [origin.load(at, width * p).value for p in range(planes)]
            if planes == 1:
                parts[0].append(Emit(builder, loaded[0]))
            else:
                for p in range(2):
                    order = [2 * c + p for c in range(width)]
                    mask = ir.Constant(ir.VectorType(_INT32, width), order)
                    parts[p].append(Emit(builder, builder.shuffle_vector(*loaded, mask)))
        size = ir.Constant(args[4].type, width)
        for p in range(planes):
            base = builder.add(args[4], args[6]) if p else args[4]
            for k, vector in enumerate(_swap_stages(parts[p], width)):
                at = builder.add(base, builder.mul(args[5], ir.Constant(base.type, k)))
                dest.store(vector, builder.mul(at, size))
        return context.get_dummy_value()

    return types.void(*kinds), codegen


@intrinsic
def split_pairs(typingctx, source, start, target, row, plane):
    """Load one lane of interleaved (re, im) pairs into target rows ``row`` and ``row + plane``."""
    kinds = (source, types.intp, target, types.intp, types.intp)

    def codegen(context, builder, signature, args):
        origin = Pointer(context, builder, source, args[0])
        dest = Pointer(context, builder, target, args[2])
        width = dest.lane.width
        size = ir.Constant(args[3].type, width)
        loaded = [origin.load(args[1], width * p).value for p in range(2)]
        for p, row_value in enumerate((args[3], builder.add(args[3], args[4]))):
            order = [2 * c + p for c in range(width)]
            mask = ir.Constant(ir.VectorType(_INT32, width), order)
            vector = Emit(builder, builder.shuffle_vector(*loaded, mask))
            dest.store(vector, builder.mul(row_value, size))
        return context.get_dummy_value()

    return types.void(*kinds), codegen
