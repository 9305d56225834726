"""The tables of an append job, checked as a whole before anything is written."""

from amaranth.hdl import Cat, Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ...control.job import StatusCode, command
from ...linear.plan import ADDRESS_BITS
from ..descriptor import GENERATION_BITS, LENGTH_BITS, SLOT_BITS, CachePolicy, CacheStatus
from ..formats import BLOCK_BITS
from ..lookup import LookupAnswer, LookupRequest
from .descriptor import ROW_BYTES, ROW_FIELDS, SCALES_BYTES, AppendRow, AppendScales
from .plan import plan_layout

__all__ = ["row_layout", "refusal_layout", "RowCheck"]

SCALES_FIELDS = tuple(name for name, _ in AppendScales)

row_layout = data.StructLayout({
    "slot": SLOT_BITS, "generation": GENERATION_BITS,
    "free": 1,                  # the cell stands in the head's list of free cells
    "number": LENGTH_BITS,      # the cell, or its number in that list
    "block": BLOCK_BITS,        # of a cell
    "last": 1,                  # the sequence's last reserved place
})
"""A checked row."""

refusal_layout = data.StructLayout({"valid": 1, "code": StatusCode, "field": 8, "address": ADDRESS_BITS})
"""An entry that ends the job."""


class RowCheck(wiring.Component):
    """Reads scales and rows once and finds where each row goes. Starts by itself after reset.

    A row is looked up where its sequence, or the block that it goes to, is another than the row's before.

    Members
    -------
    plan : In
    o_command : Out(stream(command)), i : In(stream(64))
        Reads of the tables, entries of 8 bytes.
    o_request : Out(stream(LookupRequest)), i_answer : In(stream(LookupAnswer))
    o_valid : Out(1), o_index : Out, o : Out(row_layout)
        A row that may be appended.
    done : Out(1)
        All may.
    fault : Out(refusal_layout)
        The first entry that is not right. It sticks, and the check with it.

    Cycles: a read, a cycle for each head, 2 for each row, 4 and the answer's latency for each lookup: two for each
    sequence, and one more for each further block. Cost: a flag for each slot: a job names a sequence once, or its
    heads would count twice.
    """

    def __init__(self, config):
        self.config = config
        super().__init__({
            "plan": In(plan_layout(config)),
            "o_command": Out(stream.Signature(command(ADDRESS_BITS))), "i": In(stream.Signature(64)),
            "o_request": Out(stream.Signature(LookupRequest)), "i_answer": In(stream.Signature(LookupAnswer)),
            "o_valid": Out(1), "o_index": Out(range(config.chunk_rows)), "o": Out(row_layout),
            "done": Out(1), "fault": Out(refusal_layout),
        })

    def elaborate(self, platform):
        m = Module()
        config, plan, out = self.config, self.plan, self.o
        log_lanes = config.lanes.bit_length() - 1
        scales = AppendScales(self.i.payload)
        entry, entry_addr, index = Signal(AppendRow), Signal(ADDRESS_BITS), Signal(range(config.chunk_rows + 1))
        heads = Signal(9)

        # What the cache last said, and of whom.
        known, asked, answer = Signal(), Signal(LookupRequest), Signal(LookupAnswer)
        # Its first cell that is neither taken nor below ``before``, and the free cells that are below.
        first, below = Signal(LENGTH_BITS), Signal(LENGTH_BITS)
        cell = Signal(unsigned(LENGTH_BITS))
        same = known & (asked.slot == entry.slot) & (asked.generation == entry.generation)

        # The row that must come: a sequence's first, or the next of one that has begun.
        inside, next_offset = Signal(), Signal(LENGTH_BITS)
        inside_slot, inside_generation = Signal(SLOT_BITS), Signal(GENERATION_BITS)
        named = Signal(config.sequences)
        follows = Mux(inside, (entry.slot == inside_slot) & (entry.generation == inside_generation)
                      & (entry.offset == next_offset), entry.offset == 0)
        m.d.comb += [
            cell.eq(first + entry.offset), self.o_index.eq(index),
            out.slot.eq(entry.slot), out.generation.eq(entry.generation), out.free.eq(entry.offset < below),
            out.number.eq(Mux(out.free, entry.offset, cell)), out.block.eq(answer.block),
            out.last.eq(entry.offset + 1 == answer.reserved),
        ]
        at_block = asked.index == (cell >> log_lanes)[:16]
        last_row = index + 1 == plan.rows
        wrong = [
            ("slot", answer.status == CacheStatus.NO_SEQUENCE),
            ("generation", answer.status != CacheStatus.OK),
            ("slot", (answer.appended != plan.first_head) | (~inside & named.bit_select(entry.slot, 1))),
            ("offset", ~follows | (entry.offset >= answer.reserved)),
            ("reserved", entry.reserved != 0),
            ("offset", last_row & ~out.last),
            ("offset", ~out.free & at_block & ~answer.present),
        ]
        bad = Signal(len(wrong))
        m.d.comb += [
            bad.eq(Cat(condition for _, condition in wrong)),
            self.o_request.payload.slot.eq(entry.slot), self.o_request.payload.generation.eq(entry.generation),
            self.o_request.payload.index.eq(Mux(same, cell >> log_lanes, 0)),
        ]
        with m.FSM():
            with m.State("START"):
                m.d.sync += [entry_addr.eq(plan.scales), heads.eq(plan.heads)]
                m.next = "ASK SCALES"
            with m.State("ASK SCALES"):
                m.d.comb += [self.o_command.valid.eq(1), self.o_command.payload.addr.eq(plan.scales),
                             self.o_command.payload.bytes.eq(plan.heads * SCALES_BYTES)]
                with m.If(self.o_command.ready):
                    m.next = "ASK ROWS"
            with m.State("ASK ROWS"):
                m.d.comb += [self.o_command.valid.eq(1), self.o_command.payload.addr.eq(plan.table),
                             self.o_command.payload.bytes.eq(plan.rows * ROW_BYTES)]
                with m.If(self.o_command.ready):
                    m.next = "SCALES"
            with m.State("SCALES"):
                m.d.comb += self.i.ready.eq(1)
                with m.If(self.i.valid):
                    m.d.sync += [entry_addr.eq(entry_addr + SCALES_BYTES), heads.eq(heads - 1)]
                    with m.If(heads == 1):
                        m.d.sync += entry_addr.eq(plan.table)
                        m.next = "ROW"
                    with m.If((scales.zero_key != 0) | (scales.zero_value != 0)):
                        m.d.sync += [
                            self.fault.valid.eq(1), self.fault.code.eq(StatusCode.BAD_ENTRY),
                            self.fault.address.eq(entry_addr),
                            self.fault.field.eq(Mux(scales.zero_key != 0, SCALES_FIELDS.index("zero_key"),
                                                    SCALES_FIELDS.index("zero_value"))),
                        ]
                        m.next = "STUCK"
            with m.State("ROW"):
                m.d.comb += self.i.ready.eq(1)
                with m.If(self.i.valid):
                    m.d.sync += entry.eq(self.i.payload)
                    m.next = "JUDGE"
            with m.State("JUDGE"):
                with m.If(~same):
                    m.next = "ASK"
                with m.Elif(bad.any()):
                    m.d.sync += [self.fault.valid.eq(1), self.fault.code.eq(StatusCode.BAD_ROW),
                                 self.fault.address.eq(entry_addr)]
                    for number in reversed(range(len(wrong))):
                        with m.If(bad[number]):
                            m.d.sync += self.fault.field.eq(ROW_FIELDS.index(wrong[number][0]))
                    m.next = "STUCK"
                with m.Elif(out.free | at_block):
                    m.d.comb += self.o_valid.eq(1)
                    m.d.sync += [
                        named.bit_select(entry.slot, 1).eq(1), index.eq(index + 1),
                        entry_addr.eq(entry_addr + ROW_BYTES), inside.eq(~out.last),
                        inside_slot.eq(entry.slot), inside_generation.eq(entry.generation),
                        next_offset.eq(entry.offset + 1),
                    ]
                    m.next = "ROW"
                    with m.If(last_row):
                        m.next = "DONE"
                with m.Else():
                    m.next = "ASK"
            with m.State("ASK"):
                m.d.comb += self.o_request.valid.eq(1)
                with m.If(self.o_request.ready):
                    m.d.sync += [asked.eq(self.o_request.payload), known.eq(1)]
                    m.next = "ANSWER"
            with m.State("ANSWER"):
                m.d.comb += self.i_answer.ready.eq(1)
                with m.If(self.i_answer.valid):
                    m.d.sync += answer.eq(self.i_answer.payload)
                    m.next = "FIRST"
            with m.State("FIRST"):
                kept = answer.size + answer.recent
                heavy = answer.policy == CachePolicy.HEAVY
                m.d.sync += first.eq(Mux(heavy & (kept < answer.length), kept, answer.length))
                m.next = "BELOW"
            with m.State("BELOW"):
                m.d.sync += below.eq(Mux(heavy, answer.before - first, 0))
                m.next = "JUDGE"
            with m.State("DONE"):
                m.d.comb += self.done.eq(1)
            with m.State("STUCK"):
                pass
        return m
