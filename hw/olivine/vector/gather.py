"""Rows of a table chosen by indices: what is read of them."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..control.job import command
from ..linear.plan import ADDRESS_BITS, times
from ..memory.realign import words
from .plan import plan_layout

__all__ = ["SEGMENT_BEATS", "segment_layout", "SegmentReads"]

SEGMENT_BEATS = 8
"""Beats of a table row that are read at once, and so P times as many channels."""

INDEX_BITS = 32


def digit_bits(config):
    """Bits of an index that are multiplied in a cycle: an index takes about as long as the bus does for a segment."""
    return 4 if config.vector_cycles == 1 else 1


def segment_layout():
    """Part of a table row that is on its way: its ``beats``; nothing comes and it is 0 if ``empty``."""
    return data.StructLayout({"empty": 1, "beats": range(SEGMENT_BEATS + 1)})


class SegmentReads(wiring.Component):
    """From lists of indices to reads of the table: a segment of each of P rows, then the next segment of each.

    Members
    -------
    plan : In
    i : In(stream(words))
        Indices, whole beats; two hold those of a row group.
    o_command : Out(stream(command)), o_segment : Out(stream(segment_layout))
        A segment for each row; a command if it is not empty.

    A row beyond the address space gives a command beyond it, that no window holds. Throughput: a segment in two cycles,
    the first of each row in 12, where words have several parts in 36. Cost: three adders; a memory of P addresses
    (LUT RAM).
    """

    def __init__(self, config):
        self.config = config
        super().__init__({
            "plan": In(plan_layout(config)), "i": In(stream.Signature(words(config.bus_bytes))),
            "o_command": Out(stream.Signature(command(ADDRESS_BITS))),
            "o_segment": Out(stream.Signature(segment_layout())),
        })

    def elaborate(self, platform):
        m = Module()
        config, job, rows = self.config, self.plan.job, self.config.rows
        log_rows, log_bus = rows.bit_length() - 1, config.bus_bytes.bit_length() - 1

        # The beat where the next segment of each row begins. A bit more than addresses have says that it is beyond.
        bits, digits = config.addr_width - log_bus, digit_bits(config)
        m.submodules.rows = memory = Memory(
            shape=data.StructLayout({"beat": bits + 1, "empty": 1}), depth=rows, init=[])
        store, load = memory.write_port(), memory.read_port(domain="comb")
        row_beats = Signal(len(job.channels) - log_rows + 1)
        row, left, short = Signal(range(rows)), Signal.like(row_beats), Signal()
        empty, first = Signal(), Signal(init=1)
        digit, next_place = Signal(digits), Signal(range(INDEX_BITS // digits))
        product, far, place = Signal(bits), Signal(), Signal(range(INDEX_BITS // digits))
        grown, exact = (product << digits) + times(row_beats, digit), Signal(bits + 1)
        slots = config.bus_bytes // 4
        slot = row[:slots.bit_length() - 1]
        segment = self.o_segment.payload
        m.d.comb += [
            exact.eq(product + job.x[log_bus:config.addr_width]),
            row_beats.eq((job.channels + (rows - 1)) >> log_rows), short.eq(left <= SEGMENT_BEATS),
            load.addr.eq(row), store.addr.eq(row), segment.empty.eq(load.data.empty),
            segment.beats.eq(Mux(short, left, SEGMENT_BEATS)),
            self.o_command.payload.addr.eq(load.data.beat << log_bus),
            self.o_command.payload.bytes.eq(segment.beats << log_bus),
        ]
        # Digits of an index come from the highest on, each chosen a cycle ahead.
        m.d.comb += next_place.eq(place)
        m.d.sync += [place.eq(next_place), digit.eq(
            self.i.payload.data.as_value().word_select(Cat(~next_place, slot), digits))]
        with m.FSM():
            with m.State("INDEX"):
                m.d.sync += [empty.eq(1), product.eq(0), far.eq(0), left.eq(row_beats)]
                with m.If(self.i.valid):
                    m.next = "MULTIPLY"
            with m.State("MULTIPLY"):
                m.d.sync += [product.eq(grown), far.eq(far | grown[len(product):].any()), empty.eq(empty & digit.all())]
                m.d.comb += next_place.eq(place + 1)
                with m.If(place == INDEX_BITS // digits - 1):
                    m.d.comb += self.i.ready.eq(slot == slots - 1)
                    m.next = "STORE"
            with m.State("STORE"):
                m.d.comb += [store.en.eq(1), store.data.empty.eq(empty),
                             store.data.beat.eq(Cat(exact[:bits], exact[bits] | far))]
                m.next = "COMMAND"
            with m.State("COMMAND"):
                m.d.comb += self.o_command.valid.eq(~load.data.empty)
                with m.If(load.data.empty | self.o_command.ready):
                    m.next = "SEGMENT"
            with m.State("SEGMENT"):
                m.d.comb += [self.o_segment.valid.eq(1), store.data.empty.eq(load.data.empty),
                             store.data.beat.eq(load.data.beat + SEGMENT_BEATS),
                             store.en.eq(self.o_segment.ready)]
                with m.If(self.o_segment.ready):
                    m.d.sync += row.eq(row + 1)
                    m.next = "COMMAND"
                    with m.If(row == rows - 1):
                        m.d.sync += [first.eq(short), left.eq(left - SEGMENT_BEATS)]
                    with m.If(Mux(row == rows - 1, short, first)):
                        m.next = "INDEX"
        return m
