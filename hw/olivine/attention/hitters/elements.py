"""Numbers of two or four bytes, from bus words and into them."""

from amaranth.hdl import Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ...memory.realign import words
from ...stream import Queue

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

    Latency: 1 cycle. Throughput: a number a cycle, without a bubble between words.
    """

    def __init__(self, bus_bytes):
        self.bus_bytes = bus_bytes
        super().__init__({"wide": In(1), "i": In(stream.Signature(words(bus_bytes))),
                          "o": Out(stream.Signature(32))})

    def elaborate(self, platform):
        m = Module()
        held, left = Signal(8 * self.bus_bytes), Signal(range(self.bus_bytes + 1))
        size, taken = Mux(self.wide, 4, 2), Signal()
        m.d.comb += [
            self.o.valid.eq(left != 0), self.o.payload.eq(held[:32]), taken.eq(self.o.valid & self.o.ready),
            self.i.ready.eq((left == 0) | taken & (left == size)),
        ]
        with m.If(taken):
            m.d.sync += [held.eq(Mux(self.wide, held >> 32, held >> 16)), left.eq(left - size)]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [held.eq(self.i.payload.data), left.eq(self.i.payload.count)]
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

    Latency: 1 cycle from the number that completes a word. Throughput: a number a cycle. ``i.ready`` does not depend on
    ``o.ready``: two words wait.
    """

    def __init__(self, bus_bytes):
        self.bus_bytes = bus_bytes
        super().__init__({"wide": In(1), "i": In(stream.Signature(element_layout)),
                          "o": Out(stream.Signature(words(bus_bytes))), "idle": Out(1)})

    def elaborate(self, platform):
        m = Module()
        halves = self.bus_bytes // 2
        m.submodules.queue = queue = Queue(words(self.bus_bytes), 2)
        wiring.connect(m, queue.o, wiring.flipped(self.o))

        held, place = Signal(data.ArrayLayout(16, halves)), Signal(range(halves))
        merged, after = Signal.like(held), Signal(range(halves + 1))
        element, taken, full = self.i.payload, Signal(), Signal()
        m.d.comb += [
            merged.eq(held), after.eq(place + Mux(self.wide, 2, 1)), full.eq(element.last | (after == halves)),
            self.i.ready.eq(queue.i.ready), taken.eq(self.i.valid & self.i.ready),
            queue.i.valid.eq(self.i.valid & full), queue.i.payload.data.eq(merged.as_value()),
            queue.i.payload.count.eq(after << 1), queue.i.payload.last.eq(element.last),
            self.idle.eq(~queue.o.valid & (place == 0)),
        ]
        for half in range(halves):
            with m.If(place == half):
                m.d.comb += merged[half].eq(element.data[:16])
                if half + 1 < halves:
                    m.d.comb += merged[half + 1].eq(element.data[16:])
        with m.If(taken):
            m.d.sync += [held.eq(merged), place.eq(Mux(full, 0, after))]
        return m
