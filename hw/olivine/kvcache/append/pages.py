"""Runs of places to the writes that fill them, and the reports that are due once those are answered."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ...linear.plan import times
from ...memory.burst import chunk_beats
from ...memory.writer import column_command
from ...numerics.narrow import plus
from ...stream import Queue, fork
from ..addresses import address_bits, address_sum
from ..descriptor import SLOT_BITS
from ..lookup import CacheEvent, EventKind
from .places import run_layout
from .plan import plan_layout
from .store import piece_layout

__all__ = ["BURSTS_BITS", "report_layout", "PageWrites", "Reports"]

BURSTS_BITS = 16
"""Bursts are counted modulo 2**16: far more than are ever unanswered."""

report_layout = data.StructLayout({"slot": SLOT_BITS, "bursts": BURSTS_BITS})
"""A head of a sequence, and how many bursts of the job must be answered before it counts as appended."""


class PageWrites(wiring.Component):
    """For each step the columns of its runs' keys, then the values of each row, block by block.

    Members
    -------
    plan : In
    i : In(stream(run_layout))
    o_command : Out(stream(column_command)), o_piece : Out(stream(piece_layout))
        A write, and what it takes from the store.
    o_report : Out(stream(report_layout))
        Of each sequence whose last row was in a step, after the step's last write.
    done : Out(1)
        Every write and report of the job has been offered and taken.

    Throughput: a write in two cycles, the first of which finds its place in the page, and a cycle for each run of a
    step at its end. Cost: a memory of P runs.

    Parameters
    ----------
    config : AcceleratorConfig
    burst_beats : int
        Longest burst of the writer, which cuts commands at its multiples.
    """

    def __init__(self, config, burst_beats):
        self.config = config
        self.burst_bytes = chunk_beats(config.bus_bytes, burst_beats) * config.bus_bytes
        super().__init__({
            "plan": In(plan_layout(config)), "i": In(stream.Signature(run_layout(config))),
            "o_command": Out(stream.Signature(column_command(address_bits(config), config.bus_bytes))),
            "o_piece": Out(stream.Signature(piece_layout(config))),
            "o_report": Out(stream.Signature(report_layout)), "done": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        config, plan, asks, piece = self.config, self.plan, self.o_command.payload, self.o_piece.payload
        log_bus, log_lanes = config.bus_bytes.bit_length() - 1, config.lanes.bit_length() - 1
        log_burst = self.burst_bytes.bit_length() - 1

        # The step's runs, kept while their keys go out.
        m.submodules.runs = runs = Memory(shape=unsigned(run_layout(config).size), depth=config.rows, init=[])
        write, read = runs.write_port(), runs.read_port(domain="comb")
        new, run = self.i.payload, run_layout(config)(read.data)
        number, last_run = Signal(range(config.rows)), Signal(range(config.rows))
        m.d.comb += [write.addr.eq(number), write.data.eq(new), read.addr.eq(number)]

        heads, groups = Signal.like(plan.heads), Signal.like(plan.groups)
        # Where values begin in a page, and of a row the next block's; in beats.
        page_beats = range(config.lanes * (2 * config.max_head_dim // config.bus_bytes + 2))
        values_at, block_at, at = Signal(page_beats), Signal(page_beats), Signal(page_beats)
        keys = Signal()     # It is one of keys.
        placed = Signal()   # ``at`` is that of the write at hand, which is on offer.
        row, block, first_word = (
            Signal(range(config.rows)), Signal(range(config.max_head_dim // config.lanes + 1)), Signal.like(piece.word))
        lane, page = Signal(range(config.lanes)), Signal.like(run.page)
        full = Signal()     # The block is.
        beats = Mux(full, plan.full_beats, plan.last_beats)
        size = Mux(full, plan.full_beats << log_bus, plan.last_bytes)
        last_block = block + 1 == plan.full_blocks + (plan.last_bytes != 0)
        last_row, last_of_step = row + 1 == run.count, Signal()

        # Bursts, and those of the last write, a cycle later: as many as its bytes fill, and one if it begins so far
        # inside of its first that it needs one more.
        bursts = Signal(BURSTS_BITS)
        total, more, part = Signal(BURSTS_BITS), Signal(range((1 << len(at) + log_bus - log_burst) + 1)), Signal()
        last_byte = asks.bytes[:len(at) + log_bus] - 1
        m.d.comb += [total.eq(plus(bursts, Cat(more, Const(0, 1)), part)), self.o_report.payload.slot.eq(run.slot),
                     self.o_report.payload.bursts.eq(total)]
        sent = fork(m, placed, self.o_command, self.o_piece)
        m.d.sync += [bursts.eq(total), more.eq(0), part.eq(0)]
        with m.If(sent):
            m.d.sync += [more.eq((last_byte >> log_burst) + 1),
                         part.eq(asks.addr[:log_burst] + last_byte[:log_burst] >> log_burst)]
        m.d.comb += [page.eq(Mux(keys, new.page, run.page)), asks.addr.eq(address_sum(page, at << log_bus)),
                     self.i.ready.eq(sent & keys), write.en.eq(sent & keys)]
        with m.If(keys):
            m.d.comb += [
                asks.bytes.eq(plan.key_beats << log_bus), asks.column.eq(1), asks.low.eq(new.lane),
                asks.high.eq(new.lane + new.count - 1),
                piece.column.eq(1), piece.row.eq(new.first), piece.low.eq(asks.low), piece.high.eq(asks.high),
                piece.beats.eq(plan.key_beats), piece.last.eq(new.end),
            ]
        with m.Else():
            m.d.comb += [
                last_of_step.eq(last_block & last_row & (number == last_run)), asks.bytes.eq(size),
                piece.row.eq(run.first + row), piece.word.eq(first_word), piece.beats.eq(beats),
                piece.last.eq(last_of_step),
            ]

        with m.FSM():
            with m.State("START"):
                m.d.sync += [keys.eq(1), heads.eq(plan.heads), groups.eq(plan.groups),
                             values_at.eq(plan.key_beats << log_lanes - log_bus)]
                m.next = "KEYS"
            with m.State("KEYS"):
                sub_block = new.lane[log_bus:]
                m.d.sync += [at.eq(times(plan.key_beats, sub_block)), placed.eq((placed | self.i.valid) & ~sent)]
                with m.If(sent):
                    m.d.sync += number.eq(number + 1)
                    with m.If(new.end):
                        m.d.sync += [number.eq(0), last_run.eq(number), keys.eq(0)]
                        m.next = "RUN"
            with m.State("RUN"):
                m.d.sync += [row.eq(0), block.eq(0), full.eq(plan.full_blocks != 0), lane.eq(run.lane),
                             first_word.eq(0), block_at.eq(values_at)]
                m.next = "VALUES"
            with m.State("VALUES"):
                m.d.sync += [at.eq(block_at + times(lane, beats)), placed.eq(~sent)]
                with m.If(sent):
                    m.d.sync += [block.eq(block + 1), full.eq(block + 1 < plan.full_blocks),
                                 first_word.eq(first_word + beats),
                                 block_at.eq(block_at + (plan.full_beats << log_lanes))]
                    with m.If(last_block):
                        m.d.sync += [block.eq(0), full.eq(plan.full_blocks != 0), first_word.eq(0), row.eq(row + 1),
                                     lane.eq(lane + 1), block_at.eq(values_at)]
                        with m.If(last_row):
                            m.d.sync += number.eq(number + 1)
                            m.next = "RUN"
                            with m.If(last_of_step):
                                m.d.sync += number.eq(0)
                                m.next = "REPORT"
            with m.State("REPORT"):
                m.d.comb += self.o_report.valid.eq(run.last)
                with m.If(~run.last | self.o_report.ready):
                    m.d.sync += number.eq(number + 1)
                    with m.If(number == last_run):
                        m.d.sync += [number.eq(0), groups.eq(groups - 1), keys.eq(1)]
                        m.next = "KEYS"
                        with m.If(groups == 1):
                            m.d.sync += [groups.eq(plan.groups), heads.eq(heads - 1)]
                            with m.If(heads == 1):
                                m.next = "DONE"
            with m.State("DONE"):
                m.d.comb += self.done.eq(1)
        return m


class Reports(wiring.Component):
    """Holds reports back until the writes that they tell of are answered.

    Members
    -------
    i : In(stream(report_layout))
    answered : In(1)
        A burst of the job was answered.
    failed : In(1)
        One of those answered failed: nothing more is reported.
    o : Out(stream(CacheEvent))
        Falls with ``failed``.
    idle : Out(1)
        None is held.
    """

    def __init__(self, config):
        self.config = config
        super().__init__({
            "i": In(stream.Signature(report_layout)), "answered": In(1), "failed": In(1),
            "o": Out(stream.Signature(CacheEvent)), "idle": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        # Those of two steps.
        m.submodules.held = held = Queue(report_layout, 2 * self.config.rows)
        wiring.connect(m, wiring.flipped(self.i), held.i)
        bursts, behind = Signal(BURSTS_BITS), Signal(BURSTS_BITS)
        m.d.sync += bursts.eq(bursts + self.answered)
        m.d.comb += [
            behind.eq(bursts - held.o.payload.bursts), self.idle.eq(held.level == 0),
            self.o.payload.kind.eq(EventKind.APPENDED), self.o.payload.slot.eq(held.o.payload.slot),
            # Answered at least as many: the difference is not negative.
            self.o.valid.eq(held.o.valid & ~behind[-1] & ~self.failed),
            held.o.ready.eq(self.o.ready & self.o.valid),
        ]
        return m
