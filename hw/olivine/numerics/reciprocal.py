"""Reciprocal of a normalized number by 256 straight lines: the softmax's divisor."""

from math import floor, sqrt

from amaranth.hdl import EnableInserter, Module, Signal, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from .normalize import normalized
from .rounding import rsh

__all__ = ["Reciprocal", "RECIPROCAL_BITS", "RECIPROCAL_LINES"]

WIDTH = 32
RECIPROCAL_BITS = 17

INDEX_BITS, STEP_BITS, GUARD_BITS = 8, 12, 4
"""Mantissa bits that choose the line, those that go along it, and extra bits of the lines' values."""

LINE = data.StructLayout({"base": unsigned(RECIPROCAL_BITS + GUARD_BITS), "slope": unsigned(13)})


def _line(i):
    """Value at the left end and fall to the right end of line ``i``, in units of 2**-21.

    The line lies halfway between the chord and the curve 1/x, which the chord exceeds most, by
    (1/sqrt(left) - 1/sqrt(right))**2, at sqrt(left * right).
    """
    unit = 1 << RECIPROCAL_BITS + GUARD_BITS
    left, right = 1 + i / 2 ** INDEX_BITS, 1 + (i + 1) / 2 ** INDEX_BITS
    fall = unit / left - unit / right
    sag = unit * (1 / sqrt(left) - 1 / sqrt(right)) ** 2
    # The bits below a step are cut off, half a step on average.
    base = floor(unit / left - sag / 2 - fall / 2 ** (STEP_BITS + 1) + 0.5)
    # 1/1 itself would need a bit more: the first line starts at the largest result.
    return {"base": min(base, unit - 2 ** (GUARD_BITS - 1) - 1), "slope": floor(fall + 0.5)}


RECIPROCAL_LINES = tuple(_line(i) for i in range(1 << INDEX_BITS))


class Reciprocal(wiring.Component):
    """``2**17 / m`` of a mantissa m in [1, 2): a line's base minus its slope times the way along it.

    Within 1.01 of the exact value, past the first line within 0.82; its relative error is at most
    0.292 * 2**-15, which leaves a 16-bit quotient within 0.8 (see `Quotient`).

    ``latency`` 4 cycles in which `en` is high, one result a cycle, 6 after `Normalize`. Cost: a table
    of 256 x 34 bits, one 13 x 12 multiplier.

    Members
    -------
    en : In(1), initially 1
        The pipeline moves.
    i : In(normalized(32))
        Its exponent is not looked at.
    o : Out(unsigned(17))
        2**16 to 2**17 - 1.
    """

    latency = 4

    def __init__(self):
        super().__init__({"en": In(1, init=1), "i": In(normalized(WIDTH)), "o": Out(RECIPROCAL_BITS)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.lines = lines = Memory(shape=LINE, depth=1 << INDEX_BITS, init=RECIPROCAL_LINES)
        port = lines.read_port()
        below = self.i.mantissa[:-1 - INDEX_BITS]

        # Cycle 0 -> 1: the line.
        step_1 = Signal(STEP_BITS)
        m.d.comb += port.addr.eq(self.i.mantissa[-1 - INDEX_BITS:-1])
        m.d.sync += step_1.eq(below[-STEP_BITS:])

        # Cycle 1 -> 2: a register of its own behind the slow output of the block RAM.
        line_2, step_2 = Signal(LINE), Signal(STEP_BITS)
        m.d.sync += [line_2.eq(port.data), step_2.eq(step_1)]

        # Cycle 2 -> 3: along the line.
        base_3, fall_3 = Signal.like(line_2.base), Signal(len(line_2.slope) + STEP_BITS)
        m.d.sync += [base_3.eq(line_2.base), fall_3.eq(line_2.slope * step_2)]

        # Cycle 3 -> 4: down from its base. Lines are positive everywhere, so the difference is unsigned.
        value = ((base_3 << STEP_BITS) - fall_3)[:len(base_3) + STEP_BITS]
        m.d.sync += self.o.eq(rsh(value, STEP_BITS + GUARD_BITS))
        return EnableInserter(self.en)(m)
