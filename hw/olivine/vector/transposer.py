"""Segments of P table rows, row by row, to words of P rows, channel by channel."""

from amaranth.hdl import Cat, Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..memory.realign import words
from ..stream import Queue
from .gather import SEGMENT_BEATS, segment_layout
from .plan import plan_layout

__all__ = ["Transposer", "ElementTransposer"]

SEGMENTS_AHEAD = 16


class _Banks(wiring.Component):
    """Two banks of segments, one of which is filled while the other is emptied: what both transposers have.

    Members
    -------
    plan : In
    i_segment : In(stream(segment_layout)), i : In(stream(words))
        Segments of P rows, and the beats of those that are not empty.
    o : Out(stream(words))
        Whole beats, one a channel.
    """

    def __init__(self, config):
        self.config = config
        beats = stream.Signature(words(config.bus_bytes))
        super().__init__({"plan": In(plan_layout(config)), "i_segment": In(stream.Signature(segment_layout())),
                          "i": In(beats), "o": Out(beats)})

    def _fill(self, m):
        """Take segments as their beats are taken at ``i``.

        Returns the bank, the row and the beat that come next, and whether a beat is wanted.
        """
        rows = self.config.rows
        m.submodules.coming = coming = Queue(segment_layout(), SEGMENTS_AHEAD)
        wiring.connect(m, wiring.flipped(self.i_segment), coming.i)
        self.full, self.empty = Signal(2), Signal(2 * rows)
        bank, row, beat = Signal(), Signal(range(rows)), Signal(range(SEGMENT_BEATS))
        # The segment at work is a register: its beats are taken without looking into the queue.
        segment, there = Signal(segment_layout()), Signal()
        free, taken, ends = Signal(), Signal(), Signal()
        m.d.comb += [
            free.eq(there & ~self.full.bit_select(bank, 1)), taken.eq(self.i.valid & self.i.ready),
            ends.eq(Mux(segment.empty, free, taken & (beat + 1 == segment.beats))), coming.o.ready.eq(ends | ~there),
        ]
        with m.If(coming.o.ready):
            m.d.sync += [segment.eq(coming.o.payload), there.eq(coming.o.valid)]
        with m.If(taken):
            m.d.sync += beat.eq(beat + 1)
        with m.If(ends):
            m.d.sync += [beat.eq(0), row.eq(row + 1), self.empty.bit_select(Cat(row, bank), 1).eq(segment.empty)]
            with m.If(row == rows - 1):
                m.d.sync += [self.full.bit_select(bank, 1).eq(1), bank.eq(~bank)]
        return bank, row, beat, free & ~segment.empty

    def _drain(self, m, leaves):
        """Give channels as each ``leaves``: the bank, the channel's place in it, and whether the bank is full."""
        plan = self.plan
        bank, place = Signal(), Signal(range(SEGMENT_BEATS * self.config.rows))
        done, begun, last = Signal.like(plan.top), Signal(), Signal()
        with m.If(leaves):
            m.d.sync += [place.eq(place + 1), done.eq(done + 1), begun.eq(~last),
                         last.eq(Mux(last, plan.single, done + 1 == plan.top))]
            with m.If(last):
                m.d.sync += [place.eq(0), done.eq(0)]
            with m.If(last | (place == SEGMENT_BEATS * self.config.rows - 1)):
                m.d.sync += [self.full.bit_select(bank, 1).eq(0), bank.eq(~bank)]
        with m.Elif(~begun):
            m.d.sync += last.eq(plan.single)
        return bank, place, self.full.bit_select(bank, 1)


class Transposer(_Banks):
    """Beats in, words out, each in a cycle.

    Latency: 2 cycles from the last beat of P segments to the first word. Throughput: a beat in and a word out a cycle.
    Cost: two banks of `SEGMENT_BEATS` beats for each row (LUT RAM), a select of P for each bit of a word.
    """

    def elaborate(self, platform):
        m = Module()
        config, rows = self.config, self.config.rows
        m.submodules.store = store = Memory(
            shape=data.ArrayLayout(unsigned(8 * config.bus_bytes), rows), depth=2 * SEGMENT_BEATS, init=[])
        write, read = store.write_port(granularity=1), store.read_port(domain="comb")

        # In: row by row.
        bank, row, beat, wanted = self._fill(m)
        m.d.comb += [
            self.i.ready.eq(wanted), write.addr.eq(Cat(beat, bank)),
            write.en.eq(Mux(self.i.valid & self.i.ready, 1 << row, 0)),
            *(write.data[index].eq(self.i.payload.data.as_value()) for index in range(rows)),
        ]

        # Out: channel by channel.
        log_rows = rows.bit_length() - 1
        valid, word, advance, leaves = Signal(), Signal.like(self.o.payload.data), Signal(), Signal()
        bank, place, there = self._drain(m, leaves)
        absent = self.empty.word_select(bank, rows)
        picked = Cat(Mux(absent[index], 0, read.data[index].word_select(place[:log_rows], 16)) for index in range(rows))
        m.d.comb += [
            read.addr.eq(Cat(place[log_rows:], bank)), advance.eq(~valid | self.o.ready), leaves.eq(advance & there),
            self.o.valid.eq(valid), self.o.payload.data.eq(word), self.o.payload.count.eq(config.bus_bytes),
        ]
        with m.If(advance):
            m.d.sync += [valid.eq(there), word.eq(picked)]
        return m


class ElementTransposer(_Banks):
    """The same for words whose parts are single rows: by a memory that takes and gives one element a cycle.

    Latency: P + 2 cycles from the last beat of P segments to the first word. Throughput: P cycles for a beat, one
    more for a word. Cost: a memory of two banks of `SEGMENT_BEATS` beats for each row (block RAM).
    """

    def elaborate(self, platform):
        m = Module()
        config, rows = self.config, self.config.rows
        m.submodules.store = store = Memory(shape=unsigned(16), depth=2 * SEGMENT_BEATS * rows * rows, init=[])
        write, read = store.write_port(), store.read_port()

        # In: row by row, each element to its channel.
        bank, row, beat, wanted = self._fill(m)
        element = Signal(range(rows))
        m.d.comb += [
            write.en.eq(self.i.valid & wanted), write.addr.eq(Cat(row, element, beat, bank)),
            write.data.eq(self.i.payload.data.as_value().word_select(element, 16)),
            self.i.ready.eq(wanted & (element == rows - 1)),
        ]
        with m.If(write.en):
            m.d.sync += element.eq(element + 1)

        # Out: channel by channel, collected to words; one waits to be taken while the next comes.
        at, coming_word, word = Signal(range(rows)), Signal(8 * config.bus_bytes), Signal(8 * config.bus_bytes)
        valid, reads, arrives, absent, whole, goes, leaves = (Signal(name=name) for name in (
            "valid", "reads", "arrives", "absent", "whole", "goes", "leaves"))
        bank, place, there = self._drain(m, leaves)
        m.d.comb += [
            read.addr.eq(Cat(at, place, bank)), leaves.eq(reads & (at == rows - 1)),
            # An element that is read arrives a cycle later; the first of a word is read as the word before goes.
            reads.eq(there & (~whole | goes)),
            goes.eq(whole & ~arrives & (~valid | self.o.ready)),
            self.o.valid.eq(valid), self.o.payload.data.eq(word), self.o.payload.count.eq(config.bus_bytes),
        ]
        m.d.sync += [arrives.eq(reads), absent.eq(self.empty.bit_select(Cat(at, bank), 1)),
                     whole.eq(leaves | whole & ~goes)]
        with m.If(arrives):
            m.d.sync += coming_word.eq(Cat(coming_word[16:], read.data & ~absent.replicate(16)))
        with m.If(reads):
            m.d.sync += at.eq(at + 1)
        with m.If(goes):
            m.d.sync += [word.eq(coming_word), valid.eq(1)]
        with m.Elif(self.o.ready):
            m.d.sync += valid.eq(0)
        return m
