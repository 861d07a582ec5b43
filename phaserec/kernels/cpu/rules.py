"""Call the two rules of a sentence by their addresses.

The engine is compiled once for every sentence: what a sentence adds are two functions of its own,
called a few dozen bins or a block of columns at a time, so that a call costs next to nothing.
"""

from typing import NamedTuple

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

RULE, FINISH = "rule", "finish"
# Arguments of the functions: an asterisk is an array of the pass's precision, else an integer.
SIGNATURES = {
    RULE: "*c *s plane s0 *v *x *w *hyper sources count",
    FINISH: "*tile at stride *signal *side column hop columns *hyper sources",
}


class Rules(NamedTuple):
    """Addresses of the functions of a sentence."""

    rule: int
    finish: int


def _caller(name):
    """Types and code of a call."""

    def typed(address, *args):
        def codegen(context, builder, signature, values):
            passed = []
            for kind, value in zip(signature.args[1:], values[1:], strict=True):
                if isinstance(kind, types.Array):
                    passed.append(context.make_array(kind)(context, builder, value).data)
                else:
                    passed.append(context.cast(builder, value, kind, types.intp))
            kind = ir.FunctionType(ir.VoidType(), [value.type for value in passed])
            builder.call(builder.inttoptr(values[0], kind.as_pointer()), passed)
            return context.get_dummy_value()

        return types.void(types.intp, *args), codegen

    assert name in SIGNATURES
    return typed


_rule, _finish = _caller(RULE), _caller(FINISH)


@intrinsic
def call_rule(typingctx, address, c, s, plane, s0, v, x, w, hyper, sources, count):
    """Replace ``count`` bins of ``sources`` sources in tile ``c``.

    Element (j, part, i) is the lane vector at ``((2 * j + part) * TILE + i) * width``; the same in
    ``x``, and in each plane of the state ``s`` from lane row ``s0`` on; planes begin ``plane``
    elements apart. Magnitudes are at ``(j * TILE + i) * width`` of ``v``, mixing weights of the
    caller's in ``w`` likewise, numbers in ``hyper``.
    """
    return _rule(address, c, s, plane, s0, v, x, w, hyper, sources, count)


@intrinsic
def call_finish(
    typingctx, address, tile, at, stride, signal, side, column, hop, columns, hyper, sources
):
    """Store a finished block of columns.

    Row i = j * hop + r is the lane vector at ``at + i * stride`` of ``tile``, and belongs at
    ``i * columns + column`` of ``signal``.
    """
    return _finish(address, tile, at, stride, signal, side, column, hop, columns, hyper, sources)
