"""Numbers of two or four bytes, from bus words and into them."""

from amaranth.hdl import Cat, Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ...memory.realign import words

__all__ = ["element_layout", "ElementReader", "ElementWriter"]

element_layout = data.StructLayout({"data": unsigned(32), "last": 1})
"""A number, and whether it ends its transfer."""


class ElementReader(wiring.Component):
    """Takes numbers out of the words of a transfer, which holds a whole number of them.

    Members
    -------
    wide : In(1)
        Numbers have four bytes, not two; constant during a transfer.
    i : In(stream(words)), o : Out(stream(32))
        The upper half of a narrow number is undefined.
    ones : Out(1)
        All bits of the number's lower half are set.

    Latency: 1 cycle. Throughput: a number a cycle, without a bubble between words.
    """

    def __init__(self, bus_bytes):
        self.bus_bytes = bus_bytes
        super().__init__({"wide": In(1), "i": In(stream.Signature(words(bus_bytes))),
                          "o": Out(stream.Signature(32)), "ones": Out(1)})

    def elaborate(self, platform):
        m = Module()
        held, left = Signal(8 * self.bus_bytes), Signal(range(self.bus_bytes // 2 + 1))     # halves of numbers
        place = Signal(range(self.bus_bytes // 2))
        size, taken = Mux(self.wide, 2, 1), Signal()
        all_ones = Signal(self.bus_bytes // 2)      # of each half, compared before one is chosen
        m.d.comb += [
            # The upper half has an odd place.
            self.o.payload.eq(Cat(held.word_select(place, 16), held.word_select(place | 1, 16))),
            self.ones.eq(all_ones.bit_select(place, 1)),
            self.o.valid.eq(left != 0), taken.eq(self.o.valid & self.o.ready),
            self.i.ready.eq((left == 0) | taken & (left == size)),
        ]
        with m.If(taken):
            m.d.sync += [place.eq(place + size), left.eq(left - size)]
        with m.If(self.i.ready):
            m.d.sync += [held.eq(self.i.payload.data), *(
                half.eq(self.i.payload.data.as_value().word_select(index, 16).all())
                for index, half in enumerate(all_ones)), place.eq(0),
                left.eq(Mux(self.i.valid, self.i.payload.count >> 1, 0))]
        return m


class ElementWriter(wiring.Component):
    """Packs numbers into words; all words of a transfer are full but its last.

    Members
    -------
    wide : In(1)
        Numbers have four bytes, not two; constant during a transfer.
    i : In(stream(element_layout)), o : Out(stream(words))
    idle : Out(1)
        Every word has left.

    Latency: 1 cycle from the number that completes a word. Throughput: a number a cycle. ``i.ready`` depends on
    ``o.ready`` while a word is on offer. Cost: registers of a word, which a number enters at its place.
    """

    def __init__(self, bus_bytes):
        self.bus_bytes = bus_bytes
        super().__init__({"wide": In(1), "i": In(stream.Signature(element_layout)),
                          "o": Out(stream.Signature(words(bus_bytes))), "idle": Out(1)})

    def elaborate(self, platform):
        m = Module()
        halves = self.bus_bytes // 2
        place, after, full = Signal(range(halves)), Signal(range(halves + 1)), Signal()
        element, word, taken = self.i.payload, Signal(words(self.bus_bytes)), Signal()
        m.d.comb += [
            after.eq(place + Mux(self.wide, 2, 1)), full.eq(element.last | (after == halves)),
            self.o.payload.eq(word), self.i.ready.eq(~self.o.valid | self.o.ready),
            taken.eq(self.i.valid & self.i.ready), self.idle.eq(~self.o.valid & (place == 0)),
        ]
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(taken):
            m.d.sync += [self.o.valid.eq(full), place.eq(Mux(full, 0, after)), word.count.eq(after << 1),
                         word.last.eq(element.last)]
            # A wide number has an even place, and its upper half the next.
            for half in range(halves):
                upper = self.wide if half % 2 else 0
                with m.If(place == Mux(upper, half - 1, half)):
                    m.d.sync += word.data.as_value().word_select(half, 16).eq(
                        Mux(upper, element.data[16:], element.data[:16]))
        return m
