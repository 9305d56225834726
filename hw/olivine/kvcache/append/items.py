"""Entries of tables from words of the bus."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ...memory.realign import words
from .descriptor import ROW_BYTES

__all__ = ["Items"]


class Items(wiring.Component):
    """Cuts packets into items of 8 bytes; a packet of fewer bytes is one item, whose other bytes mean nothing.

    Members
    -------
    i : In(stream(words))
        Packets of a multiple of 8 bytes, or of fewer than 8.
    o : Out(stream(64))

    Throughput: an item a cycle, as far as the words bring them. No latency. Cost: nothing where a word is an item,
    registers or a choice where it is a part of one or holds several.
    """

    def __init__(self, bus_bytes):
        self.bus_bytes = bus_bytes
        super().__init__({"i": In(stream.Signature(words(bus_bytes))), "o": Out(stream.Signature(8 * ROW_BYTES))})

    def elaborate(self, platform):
        m = Module()
        word, moves = self.i.payload, Signal()
        whole = word.data.as_value()
        m.d.comb += moves.eq(self.i.valid & self.i.ready)
        if self.bus_bytes >= ROW_BYTES:
            items = self.bus_bytes // ROW_BYTES
            at, final = Signal(range(items)), Signal()
            m.d.comb += [
                final.eq((at + 1 << ROW_BYTES.bit_length() - 1) >= word.count),
                self.o.payload.eq(whole.word_select(at, 8 * ROW_BYTES)),
                self.o.valid.eq(self.i.valid), self.i.ready.eq(self.o.ready & final),
            ]
            with m.If(self.o.valid & self.o.ready):
                m.d.sync += at.eq(Mux(final, 0, at + 1))
        else:
            # The first words wait for the last one: the oldest moves down to the item's first byte.
            parts = ROW_BYTES // self.bus_bytes
            held, at = Signal(8 * (ROW_BYTES - self.bus_bytes)), Signal(range(parts))
            final, alone = at == parts - 1, (at == 0) & word.last
            m.d.comb += [
                self.o.payload.eq(Mux(alone, whole, Cat(held, whole))), self.o.valid.eq(self.i.valid & (final | alone)),
                self.i.ready.eq(self.o.ready | ~(final | alone)),
            ]
            with m.If(moves):
                m.d.sync += [held.eq(Cat(held, whole)[len(whole):]), at.eq(Mux(word.last, 0, at + 1))]
        return m
