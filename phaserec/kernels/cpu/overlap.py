"""Overlap-add of a block of frames onto the pending columns of a signal.

Frame t, hop a lands on column t + a: a lane of frames is added a places further. The pending
columns of sample r of the hop are ``spill + 1`` lanes: those of the block, and those its frames
reach beyond.
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from phaserec._caching import jitted
from phaserec.kernels.cpu.lanes import Emit, Pointer, load, spread, store


@intrinsic
def _add_shifted(typingctx, tails, to, z, sample_row, sample, row, hop, depth):
    """Add samples ``sample + a * hop`` of a lane of frames, a < depth, to two lanes of columns.

    The first lane becomes the old second one plus its part, the second the rest.
    """

    def codegen(context, builder, signature, args):
        pending, frames, table = (
            Pointer(context, builder, signature.args[i], args[i]) for i in (0, 2, 3)
        )
        to, sample, row, hop, depth = args[1], *args[4:]
        width = frames.lane.width

        def read(a):
            at = builder.add(sample, builder.mul(hop, ir.Constant(hop.type, a)))
            at = builder.add(row, table.scalar(at))
            return frames.load(builder.mul(at, ir.Constant(at.type, width)))

        here = read(0)
        zero = ir.Constant(here.value.type, [0.0] * width)
        sums = [here, Emit(builder, zero)]
        # The sums live in registers: LLVM turns these slots into them.
        slots = [cgutils.alloca_once(builder, zero.type) for _ in sums]
        for slot, value in zip(slots, sums, strict=True):
            builder.store(value.value, slot)
        for a in range(1, width):
            with builder.if_then(builder.icmp_signed("<", ir.Constant(depth.type, a), depth)):
                value = read(a).value
                order = list(range(width - a, 2 * width - a))
                mask = ir.Constant(ir.VectorType(ir.IntType(32), width), order)
                for slot, pair in zip(slots, ((zero, value), (value, zero)), strict=True):
                    moved = Emit(builder, builder.shuffle_vector(*pair, mask))
                    builder.store((Emit(builder, builder.load(slot)) + moved).value, slot)
        here, beyond = (Emit(builder, builder.load(slot)) for slot in slots)
        # Last, so that a sum is the same where the block before is added afterwards.
        pending.store(pending.load(to, width) + here, to)
        pending.store(beyond, to, width)
        return context.get_dummy_value()

    n = types.intp
    return types.void(tails, n, z, sample_row, n, n, n, n), codegen


@jitted
def overlap_add(geo, plan, z, row, tails, at):
    """Drop the finished columns, then add the windowed frames left in ``z`` from lane ``row``.

    The lanes of sample r begin at ``at + r * width * (spill + 1)`` of ``tails``.
    """
    width = geo.width
    stride = width * (geo.spill + 1)
    depth = (geo.size + geo.hop - 1) // geo.hop
    # Samples of the hop that the last, perhaps partial, hop of a frame still reaches.
    full = geo.size - (depth - 1) * geo.hop
    if depth <= width:
        for r in range(geo.hop):
            reach = depth if r < full else depth - 1
            _add_shifted(tails, at + r * stride, z, plan.sample_row, r, row, geo.hop, reach)
        return
    for r in range(geo.hop):
        to = at + r * stride
        value = load(tails, to + width) + load(z, (row + plan.sample_row[r]) * width)
        store(tails, to, value)
        for k in range(1, geo.spill):
            store(tails, to + k * width, load(tails, to + (k + 1) * width))
        store(tails, to + geo.spill * width, spread(tails, 0))
    # Hop index outside: the unaligned sums of one sample must not follow each other closely.
    for a in range(1, depth):
        for r in range(geo.hop if a < depth - 1 else full):
            to = at + r * stride + a
            frame = load(z, (row + plan.sample_row[a * geo.hop + r]) * width)
            store(tails, to, load(tails, to) + frame)
