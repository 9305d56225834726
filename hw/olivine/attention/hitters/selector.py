"""The smallest keys of a scan, in order."""

from functools import reduce
from operator import or_

from amaranth.hdl import Cat, Module, Mux, Signal, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["SUM_BITS", "places", "Selector"]

SUM_BITS = 32
"""Of a cell: unsigned, 20 fractional bits, saturating."""

def places(config):
    """W, cells that one scan can find."""
    return 4 if config.vector_cycles == 1 else 2


class Selector(wiring.Component):
    """Keeps the W cells with the smallest keys (sum, position) of all that came by, sorted.

    ::

        cycle  0  cell        into a register
               1  compared with all W, put in its place
               2  in ``o``, if it is the smallest

    Members
    -------
    clear : In(1)
        Forgets all, also what comes in this cycle.
    i : In(struct ``valid``, ``cell``, ``sum`` 32, ``position`` 16)
        No two keys are equal.
    pop : In(1)
        Forgets the smallest; not while cells come.
    o : Out(struct ``valid``, ``cell``)
        The smallest.

    Latency: `latency` cycles. Throughput: a cell, or a ``pop``, a cycle. Cost: for each of the W places a comparison of
    48 bits, a register of 49 bits and a cell's number, and but for the first a choice of two for each bit.
    """

    latency = 2

    def __init__(self, config):
        self.config, self.places = config, places(config)
        cell = range(config.cells)
        super().__init__({
            "clear": In(1), "pop": In(1),
            "i": In(data.StructLayout({"valid": 1, "cell": cell, "sum": unsigned(SUM_BITS), "position": 16})),
            "o": Out(data.StructLayout({"valid": 1, "cell": cell})),
        })

    def elaborate(self, platform):
        m = Module()
        entry = data.StructLayout({"valid": 1, "cell": range(self.config.cells), "key": unsigned(SUM_BITS + 16)})
        new = Signal(entry)
        held = [Signal(entry, name=f"place_{index}") for index in range(self.places)]
        turn = Signal(self.places, init=1)      # one bit: the smallest that was not popped
        m.d.sync += [new.valid.eq(self.i.valid & ~self.clear), new.cell.eq(self.i.cell),
                     new.key.eq(Cat(self.i.position, self.i.sum))]
        smallest = reduce(or_, (Cat(place.valid, place.cell) & bit.replicate(1 + len(place.cell))
                                for bit, place in zip(turn, held)))
        m.d.comb += [self.o.valid.eq(smallest[0]), self.o.cell.eq(smallest[1:])]
        with m.If(self.clear):
            m.d.sync += turn.eq(1)
        with m.Elif(self.pop):
            m.d.sync += turn.eq(turn << 1)

        # The places are sorted: where the new cell goes before one of them, it goes before all that follow.
        before = Signal(self.places)
        m.d.comb += [before[index].eq(~place.valid | (new.key < place.key)) for index, place in enumerate(held)]
        for index, place in enumerate(held):
            with m.If(self.clear):
                m.d.sync += place.valid.eq(0)
            with m.Elif(new.valid & before[index]):
                m.d.sync += place.eq(Mux(before[index - 1], held[index - 1], new) if index else new)
        return m
