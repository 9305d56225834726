"""Binary logarithm by a table: the log-sum-exp of a softmax row."""

from math import log2

from amaranth.hdl import EnableInserter, Module, Signal, unsigned
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from .normalize import normalized

__all__ = ["Log2", "LOG2_TABLE"]

WIDTH = 32
FRACTION_BITS = 8
INDEX_BITS = 10

LOG2_TABLE = tuple(round(2 ** FRACTION_BITS * log2(1 + (i + 0.5) / 2 ** INDEX_BITS))
                   for i in range(2 ** INDEX_BITS))
"""``round(256 * log2(x))`` in the middle of each 1024th of [1, 2): 0 to 256. No entry is near a tie."""


class Log2(wiring.Component):
    """``256 * log2(value)`` of a normalized 32-bit value: the exponent and a table over ten bits.

    Within 0.68 of the exact logarithm: half a step of the table is 0.18, its rounding 0.5. Powers of
    two are exact. Zero gives 0; the caller knows an empty row.

    ``latency`` 3 cycles in which `en` is high, one result a cycle, 5 after `Normalize`. Cost: a table
    of 1024 x 9 bits.

    Members
    -------
    en : In(1), initially 1
        The pipeline moves.
    i : In(normalized(32))
    o : Out(unsigned(14))
        8 fractional bits, 0 to 8192.
    """

    latency = 3

    def __init__(self):
        super().__init__({"en": In(1, init=1), "i": In(normalized(WIDTH)), "o": Out(14)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.table = table = Memory(shape=unsigned(FRACTION_BITS + 1), depth=1 << INDEX_BITS,
                                            init=LOG2_TABLE)
        port = table.read_port()

        # Cycle 0 -> 1: the table's entry.
        exponent_1 = Signal(5)
        m.d.comb += port.addr.eq(self.i.mantissa[-1 - INDEX_BITS:-1])
        m.d.sync += exponent_1.eq(self.i.exponent)

        # Cycle 1 -> 2: a register of its own behind the slow output of the block RAM.
        exponent_2, entry_2 = Signal(5), Signal(FRACTION_BITS + 1)
        m.d.sync += [exponent_2.eq(exponent_1), entry_2.eq(port.data)]

        # Cycle 2 -> 3: 256 carries into the exponent.
        m.d.sync += self.o.eq((exponent_2 << FRACTION_BITS) + entry_2)
        return EnableInserter(self.en)(m)
