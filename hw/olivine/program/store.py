"""Instructions on the chip, between those who read them and their units: word by word in, word by word out."""

from amaranth.hdl import Cat, Module, Mux, Signal, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..control.instruction import SLOTS, Unit, word_layout, words_of

__all__ = ["brought_layout", "InstructionStore"]


def brought_layout(bus_bits):
    """A word on its way to a unit's station; ``last``: of its instruction, as far as the unit wants it."""
    return data.StructLayout({"valid": 1, "last": 1, "data": unsigned(bus_bits)})


class InstructionStore(wiring.Component):
    """Keeps `SLOTS` instructions and brings each to its station when that has room for it.

    Instructions come in the program's order and leave in any. They pass as words, because as a whole they are hundreds
    of bits, of which five stations would each need a copy of every wire.

    ::

        i --> memory --> word --> o[unit], the same word for all, valid for one
                ^
                slot of the first unit that asks, place 0, 1, ...

    Cycles: a unit that asks in cycle 0 and is taken gets its first word in cycle 3, then a word a cycle; the next is
    taken in the cycle before the last word.

    Parameters
    ----------
    bus_bits : int
    bits : dict
        Of the descriptors of each `Unit`.

    Members
    -------
    i : In(word_layout)
        Writes a word.
    room : Out(1)
        Slot ``i.slot`` is free.
    kept : In({valid, slot})
        All words of that slot are here, and somebody will ask for it: it is not free.
    asks : In(5), by `Unit`; slots : In(ArrayLayout(range(SLOTS), 5))
        Who has room, and for which slot.
    taken : Out(5)
        What that unit asks for is on its way. For one cycle.
    o : Out(brought_layout) for each `Unit`

    Cost: two block RAMs with a bus of 64 bits.
    """

    def __init__(self, bus_bits, bits):
        self.bus_bits, self.bits = bus_bits, bits
        slot = range(SLOTS)
        super().__init__({
            "i": In(word_layout(bus_bits)), "room": Out(1),
            "kept": In(data.StructLayout({"valid": 1, "slot": slot})), "asks": In(len(Unit)),
            "slots": In(data.ArrayLayout(unsigned((SLOTS - 1).bit_length()), len(Unit))), "taken": Out(len(Unit)),
            "o": Out(brought_layout(bus_bits)).array(len(Unit)),
        })

    def elaborate(self, platform):
        m = Module()
        places = 1 << len(self.i.place)
        m.submodules.memory = memory = Memory(shape=unsigned(self.bus_bits), depth=SLOTS * places, init=[])
        write, read = memory.write_port(), memory.read_port(domain="comb")
        used = Signal(SLOTS)
        m.d.comb += [write.addr.eq(Cat(self.i.place, self.i.slot)), write.data.eq(self.i.data),
                     write.en.eq(self.i.valid), self.room.eq(~used.bit_select(self.i.slot, 1))]

        # Who is served, and the word that is read.
        busy, unit, slot, place = Signal(), Signal(len(Unit)), Signal.like(self.i.slot), Signal.like(self.i.place)
        final = Signal.like(place)
        ends = place == final
        with m.If(~busy):
            m.d.comb += self.taken.eq(self.asks & ~_behind(self.asks))
            m.d.sync += [busy.eq(self.asks.any()), unit.eq(self.taken), place.eq(0)]
            for kind in Unit:
                with m.If(self.taken[kind.value]):
                    m.d.sync += [slot.eq(self.slots[kind.value]),
                                 final.eq(words_of(self.bits[kind], self.bus_bits) - 1)]
        with m.Else():
            m.d.sync += [place.eq(place + 1), busy.eq(~ends)]
        with m.If(busy & ends):
            m.d.sync += used.bit_select(slot, 1).eq(0)
        with m.If(self.kept.valid):
            m.d.sync += used.bit_select(self.kept.slot, 1).eq(1)

        # What is read is never written at once, and synthesis must see that, or it does more than a block RAM can.
        word, brings, last = Signal(self.bus_bits, reset_less=True), Signal(len(Unit)), Signal()
        m.d.comb += read.addr.eq(Cat(place, slot))
        with m.If(~(write.en & (write.addr == read.addr))):
            m.d.sync += word.eq(read.data)
        # Behind the block RAM, which is slow, a register: the stations are far apart.
        content, there, final_word = Signal.like(word), Signal.like(brings), Signal()
        m.d.sync += [brings.eq(Mux(busy, unit, 0)), last.eq(ends),
                     content.eq(word), there.eq(brings), final_word.eq(last)]
        for out, valid in zip(self.o, there):
            m.d.comb += [out.valid.eq(valid), out.last.eq(final_word), out.data.eq(content)]
        return m


def _behind(bits):
    """For each bit, whether one below it is set."""
    return Cat(bits[:index].any() for index in range(len(bits)))
