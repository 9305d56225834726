"""The tables of an append job, checked as a whole before anything is written."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ...control.job import StatusCode, command
from ..addresses import address_bits
from ..descriptor import GENERATION_BITS, CachePolicy, CacheStatus
from ..lookup import LookupAnswer, LookupRequest
from ..slots import block_bits, slot_bits
from .descriptor import ROW_BYTES, ROW_FIELDS, SCALES_BYTES, AppendRow, AppendScales
from .plan import plan_layout

__all__ = ["place_bits", "row_layout", "refusal_layout", "RowCheck"]

SCALES_FIELDS = tuple(name for name, _ in AppendScales)

def row_layout(config):
    """A checked row."""
    return data.StructLayout({
        "slot": slot_bits(config),
        "free": 1,                      # the cell stands in the head's list of free cells
        "number": place_bits(config),   # the cell, or its number in that list
        "where": max(GENERATION_BITS, block_bits(config)),  # the cell's block, or the sequence's generation
        "last": 1,                      # the sequence's last reserved place
    })


def place_bits(config):
    """Of a place of a sequence, and of how many there are."""
    return config.max_sequence.bit_length()


def refusal_layout(config):
    """An entry that ends the job."""
    return data.StructLayout({"valid": 1, "code": StatusCode, "field": 8, "address": address_bits(config)})


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
        All may. A register.
    fault : Out(refusal_layout)
        The first entry that is not right. It sticks, and ``done`` stays low. What is said of rows in the cycle before
        it and from then on does not matter.

    Cycles: a read, a cycle for each head, 3 for each row, 5 and the answer's latency for each lookup: two for each
    sequence, and one more for each further block. Cost: a flag for each slot: a job names a sequence once, or its
    heads would count twice.
    """

    def __init__(self, config):
        self.config = config
        super().__init__({
            "plan": In(plan_layout(config)),
            "o_command": Out(stream.Signature(command(address_bits(config)))), "i": In(stream.Signature(64)),
            "o_request": Out(stream.Signature(LookupRequest)), "i_answer": In(stream.Signature(LookupAnswer)),
            "o_valid": Out(1), "o_index": Out(range(config.chunk_rows)), "o": Out(row_layout(config)),
            "done": Out(1), "fault": Out(refusal_layout(config)),
        })

    def elaborate(self, platform):
        m = Module()
        config, plan, out = self.config, self.plan, self.o
        log_lanes = config.lanes.bit_length() - 1
        scales, place = AppendScales(self.i.payload), place_bits(config)
        entry, entry_addr = Signal(AppendRow), Signal(address_bits(config))
        index, heads = Signal(range(config.chunk_rows + 1)), Signal(9)

        # What the cache last said, and of whom.
        known, asked, answer = Signal(), Signal(LookupRequest), Signal(LookupAnswer)
        # Its first cell that is neither taken nor below ``before``, and the free cells that are below.
        first, below = Signal(place), Signal(place)
        # Of the row, in registers: its cell, that it is the sequence's last, and the job's; from the cycle in which it
        # is looked at on. A cycle later: what else is judged.
        cell, last, last_row = Signal(place), Signal(), Signal()
        same, free, at_block = Signal(), Signal(), Signal()

        # The row that must come: a sequence's first, or the next of one that has begun. Of that the cache was asked for
        # the row before: if it must be asked for another sequence, the row does not follow.
        inside, left, offset, named = Signal(), Signal(), Signal(place), Signal(config.sequences)
        slot = entry.slot[:len(out.slot)]
        m.d.sync += [
            cell.eq(first + offset), last.eq(offset + 1 == answer.reserved[:place]),
            last_row.eq(index + 1 == plan.rows), free.eq(offset < below),
            same.eq(known & (asked.slot == entry.slot) & (asked.generation == entry.generation)),
            at_block.eq(asked.index[:max(place - log_lanes, 0)] == cell >> log_lanes),
        ]
        m.d.comb += [
            self.o_index.eq(index), out.slot.eq(slot), out.free.eq(free), out.number.eq(Mux(free, offset, cell)),
            out.where.eq(Mux(free, entry.generation, answer.block[:block_bits(config)])), out.last.eq(last),
        ]
        # A row is at the offset that must come, which the answer's reserved places have, or refused.
        wrong = [
            ("slot", answer.status == CacheStatus.NO_SEQUENCE),
            ("generation", answer.status != CacheStatus.OK),
            ("slot", (answer.appended != plan.first_head) | (~inside & named.bit_select(slot, 1))),
            ("offset", (inside & left) | (entry.offset != offset) | (offset >= answer.reserved)),
            ("reserved", entry.reserved != 0),
            ("offset", last_row & ~last),
            ("offset", (offset >= below) & (asked.index[:max(place - log_lanes, 0)] == cell >> log_lanes)
             & ~answer.present),
        ]
        bad = Signal(len(wrong))
        m.d.sync += bad.eq(Cat(condition for _, condition in wrong))
        # An entry is taken.
        takes = Signal()
        m.d.comb += [
            self.i.ready.eq(takes),
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
                    m.d.sync += takes.eq(1)
                    m.next = "SCALES"
            with m.State("SCALES"):
                with m.If(self.i.valid):
                    m.d.sync += [entry_addr.eq(entry_addr + SCALES_BYTES), heads.eq(heads - 1)]
                    with m.If(heads == 1):
                        m.d.sync += entry_addr.eq(plan.table)
                        m.next = "ROW"
                    with m.If((scales.zero_key != 0) | (scales.zero_value != 0)):
                        m.d.sync += [
                            takes.eq(0), self.fault.valid.eq(1), self.fault.code.eq(StatusCode.BAD_ENTRY),
                            self.fault.address.eq(entry_addr),
                            self.fault.field.eq(Mux(scales.zero_key != 0, SCALES_FIELDS.index("zero_key"),
                                                    SCALES_FIELDS.index("zero_value"))),
                        ]
                        m.next = "STUCK"
            with m.State("ROW"):
                with m.If(self.i.valid):
                    m.d.sync += [takes.eq(0), entry.eq(self.i.payload)]
                    m.next = "LOOK"
            with m.State("LOOK"):
                m.next = "JUDGE"
            with m.State("JUDGE"):
                # The check goes on, whatever is found: it is told a cycle later.
                with m.If(same & ~self.fault.valid):
                    m.d.sync += [self.fault.valid.eq(bad.any()), self.fault.code.eq(StatusCode.BAD_ROW),
                                 self.fault.address.eq(entry_addr)]
                    for number in reversed(range(len(wrong))):
                        with m.If(bad[number]):
                            m.d.sync += self.fault.field.eq(ROW_FIELDS.index(wrong[number][0]))
                with m.If(~same):
                    m.d.sync += left.eq(1)
                    m.next = "ASK"
                with m.Elif(free | at_block):
                    m.d.comb += self.o_valid.eq(1)
                    m.d.sync += [
                        named.bit_select(slot, 1).eq(1), index.eq(index + 1),
                        entry_addr.eq(entry_addr + ROW_BYTES), inside.eq(~last), left.eq(0),
                        offset.eq(Mux(last, 0, offset + 1)), takes.eq(~last_row),
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
                # A length beyond all places is more than is kept.
                kept = answer.size[:place] + answer.recent[:place]
                length = answer.length[:place] | answer.length[place:].any().replicate(place)
                heavy = answer.policy == CachePolicy.HEAVY
                m.d.sync += first.eq(Mux(heavy & (kept < length), kept, length))
                m.next = "BELOW"
            with m.State("BELOW"):
                m.d.sync += below.eq(Mux(heavy, answer.before[:place] - first, 0))
                m.next = "LOOK"
            with m.State("DONE"):
                m.d.sync += self.done.eq(~self.fault.valid)
            with m.State("STUCK"):
                pass
        return m
