"""Parts of results become beats."""

from amaranth.hdl import Cat, Module, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .formats import CONTAINER_BITS, LINEAR_BITS, RESIDUAL_BITS, word

__all__ = ["delayed", "BeatPacker"]


def delayed(m, value, cycles):
    """``value`` that many cycles later."""
    # Registers are plain bits: of a register with fields, Yosys gives bits a driver too many where some of them are
    # never looked at.
    shape, bits = value.shape(), Value.cast(value)
    for _ in range(cycles):
        held = Signal.like(bits, name="held")
        m.d.sync += held.eq(bits)
        bits = held
    return data.View(shape, bits) if isinstance(shape, data.Layout) else bits


class BeatPacker(wiring.Component):
    """Collects the parts of words to beats.

    Members
    -------
    wide : In(1)
        Containers have 32 bits, and a word two beats; constant while parts are under way.
    i : In(word), of 24 bits
        With `vector_cycles` 1 and ``wide`` at most every other cycle.
    o_valid : Out(1), o : Out(bus bits)

    Latency: with `vector_cycles` 1 none, and the second beat comes a cycle later; else a cycle from a beat's last part.
    Cost: a select of two for each bit of a part.
    """

    def __init__(self, config):
        self.config = config
        super().__init__({"wide": In(1), "i": In(word(config, signed(RESIDUAL_BITS))), "o_valid": Out(1),
                          "o": Out(8 * config.bus_bytes)})

    def elaborate(self, platform):
        m = Module()
        values, valid, cycles = self.i.data, self.i.place.valid, self.config.vector_cycles
        narrow = Cat(value[:LINEAR_BITS] for value in values)
        wide = Cat(Cat(value, value[-1].replicate(CONTAINER_BITS - RESIDUAL_BITS)) for value in values)
        halves = wide[:len(narrow)], wide[len(narrow):]
        if cycles == 1:
            second, held = Signal(), Signal(len(narrow))
            m.d.sync += [second.eq(valid & self.wide), held.eq(halves[1])]
            with m.If(second):
                m.d.comb += self.o.eq(held)
            with m.Elif(self.wide):
                m.d.comb += self.o.eq(halves[0])
            with m.Else():
                m.d.comb += self.o.eq(narrow)
            m.d.comb += self.o_valid.eq(valid | second)
            return m
        # Wide parts take two places, an even one and the next.
        beat = Signal(data.ArrayLayout(len(narrow), cycles))
        part = Signal(range(cycles))
        m.d.comb += self.o.eq(beat)
        m.d.sync += self.o_valid.eq(valid & (part + 1 + self.wide == cycles))
        with m.If(valid):
            m.d.sync += part.eq(part + 1 + self.wide)
            for place in range(cycles):
                with m.If(self.wide & (part == place & ~1)):
                    m.d.sync += beat[place].eq(halves[place % 2])
                with m.Elif(~self.wide & (part == place)):
                    m.d.sync += beat[place].eq(narrow)
        return m
