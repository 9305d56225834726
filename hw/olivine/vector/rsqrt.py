"""Reciprocal square root of a wide integer, by straight lines."""

from math import floor, sqrt

from amaranth.hdl import Cat, Const, Module, Mux, Signal, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..numerics.rounding import rsh
from .formats import RSQRT_BITS, VALUE_BITS
from .results import delayed

__all__ = ["RSQRT_LINES", "Rsqrt"]

INDEX_BITS, STEP_BITS, GUARD_BITS = 8, 12, 4
"""Mantissa bits that choose the line (two before the point), those that go along it, extra bits of the lines."""

LINE = data.StructLayout({"base": unsigned(RSQRT_BITS + GUARD_BITS), "slope": unsigned(14)})


def _line(index):
    """Value at the left end and fall to the right end of line ``index``, from m = index / 64 on, in units of 2**-21.

    It lies halfway between the chord and the curve, which the chord exceeds most where the curve falls as fast.
    """
    unit, parts = 1 << RSQRT_BITS + GUARD_BITS, 1 << INDEX_BITS - 2
    if index < parts:
        return {"base": 0, "slope": 0}
    left, right = index / parts, (index + 1) / parts
    fall = 1 / sqrt(left) - 1 / sqrt(right)
    furthest = (1 / (2 * parts * fall)) ** (2 / 3)
    sag = 1 / sqrt(left) - fall * (furthest - left) * parts - 1 / sqrt(furthest)
    # The bits below a step are cut off, half a step on average.
    base = floor(unit * (1 / sqrt(left) - sag / 2 - fall / 2 ** (STEP_BITS + 1)) + 0.5)
    # 1/1 itself would need a bit more: the first line starts at the largest result.
    return {"base": min(base, unit - 2 ** (GUARD_BITS - 1) - 1), "slope": floor(unit * fall + 0.5)}


RSQRT_LINES = tuple(_line(index) for index in range(1 << INDEX_BITS))


class Rsqrt(wiring.Component):
    """``2**17 / sqrt(m)`` of ``value = m * 4**exponent`` with m in [1, 4).

    The root's relative error is at most 2**-15.9. A value of 0 gives exponent 0 and root 0.

    ``latency`` cycles, one result a cycle. Cost: a table of 256 x 35 bits, one 14 x 12 multiplier, six two-way selects
    of 72 bits.

    Members
    -------
    i : In(unsigned(72))
    o : Out(struct)
        ``exponent``, 0 to 35; ``root``, 2**16 to 2**17 - 1.
    """

    latency = 7

    def __init__(self):
        super().__init__({
            "i": In(VALUE_BITS),
            "o": Out(data.StructLayout({"exponent": range(VALUE_BITS // 2), "root": unsigned(RSQRT_BITS)})),
        })

    def elaborate(self, platform):
        m = Module()
        # Cycles 0 to 3: pairs of bits, leading one into the top pair; two sizes of shifts a cycle.
        value, pairs = self.i, Const(0, 0)
        for cycle, sizes in enumerate(((32, 16), (8, 4), (2, 1)), 1):
            for size in sizes:
                moves = ~value[-2 * size:].any()
                value = Mux(moves, value << 2 * size, value)[:VALUE_BITS]
                pairs = Cat(moves, pairs)
            held, count = Signal(VALUE_BITS, name=f"value_{cycle}"), Signal(len(pairs), name=f"pairs_{cycle}")
            m.d.sync += [held.eq(value), count.eq(pairs)]
            value, pairs = held, count

        # Cycles 3 to 5: the line, with a register of its own behind the slow output of the block RAM. Zero moved
        # through all the shifts, and has lines of its own.
        m.submodules.lines = lines = Memory(shape=LINE, depth=1 << INDEX_BITS, init=RSQRT_LINES)
        port = lines.read_port()
        exponent_4, line_5 = Signal(range(VALUE_BITS // 2)), Signal(LINE)
        m.d.comb += port.addr.eq(value[-INDEX_BITS:])
        m.d.sync += [exponent_4.eq(Mux(value[-2:].any(), VALUE_BITS // 2 - 1 - pairs, 0)), line_5.eq(port.data)]
        step_5 = delayed(m, value[-INDEX_BITS - STEP_BITS:-INDEX_BITS], 2)

        # Cycles 5 to 7: down along it. Lines are positive everywhere.
        base_6, fall_6 = Signal(LINE["base"].shape), Signal(LINE["slope"].width + STEP_BITS)
        m.d.sync += [base_6.eq(line_5.base), fall_6.eq(line_5.slope * step_5),
                     self.o.root.eq(rsh(((base_6 << STEP_BITS) - fall_6)[:len(base_6) + STEP_BITS],
                                        STEP_BITS + GUARD_BITS)),
                     self.o.exponent.eq(delayed(m, exponent_4, 2))]
        return m
