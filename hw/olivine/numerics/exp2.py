"""Powers of two by a table: the softmax's probabilities, without a multiplier."""

from amaranth.hdl import Cat, EnableInserter, Module, Mux, Signal, unsigned
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..config import PROBABILITY_BITS
from .rounding import rsh

__all__ = ["Exp2", "EXP2_TABLE"]

FRACTION_BITS = 8
EXTRA_BITS = 5
"""Bits that the table has below a probability's last one."""

EXP2_TABLE = tuple(round(((1 << PROBABILITY_BITS) - 1) * 2 ** (EXTRA_BITS - f / 256)) for f in range(256))
"""``T[f] = round(2047 * 2**(-f/256) * 2**5)``, unsigned 16 bits. No entry is near a tie."""


class Exp2(wiring.Component):
    """``p = rsh(T[t & 255], (t >> 8) + 5)``: 2047 times 2 to the power of -t/256, rounded.

    Within 0.516 of the exact power: a half by the last rounding, 1/64 by the table's. 0 from
    t = 3072 on.

    ``latency`` 3 cycles in which `en` is high, one result a cycle and lane. The lanes share one
    table of 256 x 16 bits; two lanes are the two ports of a block RAM.

    Parameters
    ----------
    width : int
        Bits of t, 9 to 32. 17 bits hold every distance to the integer maximum of Q8.8 scores.
    lanes : int
        1 or 2.

    Members
    -------
    en : In(1), initially 1
        The pipeline moves.
    i : In(width), array of lanes
        t, unsigned, 8 fractional bits.
    o : Out(11), array of lanes
        p; 2047 is 1.
    """

    latency = 3

    def __init__(self, width=17, lanes=1):
        for name, value, low, high in (("width", width, FRACTION_BITS + 1, 32), ("lanes", lanes, 1, 2)):
            if not isinstance(value, int) or isinstance(value, bool):
                raise TypeError(f"{name} must be int, not {value!r}")
            if not low <= value <= high:
                raise ValueError(f"{name} is {value}: allowed is {low} to {high}")
        self.width, self.lanes = width, lanes
        super().__init__({
            "en": In(1, init=1),
            "i": In(width).array(lanes),
            "o": Out(PROBABILITY_BITS).array(lanes),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.table = table = Memory(shape=unsigned(PROBABILITY_BITS + EXTRA_BITS), depth=256,
                                            init=EXP2_TABLE)
        for lane in range(self.lanes):
            t = self.i[lane]
            octave = Cat(t[FRACTION_BITS:], 0)
            port = table.read_port()

            # Cycle 0 -> 1: the table's entry; places to shift by, of which four were dropped below:
            # the rounding bit is never among them. From octave 12 on nothing is left.
            places_1 = Signal(4, name=f"places_{lane}_1")
            m.d.comb += port.addr.eq(t[:FRACTION_BITS])
            m.d.sync += places_1.eq(Mux(octave >= 12, 15, octave + 1))

            # Cycle 1 -> 2: a register of its own behind the slow output of the block RAM.
            entry_2 = Signal(PROBABILITY_BITS + 1, name=f"entry_{lane}_2")
            places_2 = Signal(4, name=f"places_{lane}_2")
            m.d.sync += [entry_2.eq(port.data[EXTRA_BITS - 1:]), places_2.eq(places_1)]

            # Cycle 2 -> 3: shift and round.
            m.d.sync += self.o[lane].eq(rsh(entry_2, places_2))
        return EnableInserter(self.en)(m)
