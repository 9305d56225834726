"""Checked rows to runs of neighbouring places in pages, head by head."""

from amaranth.hdl import Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ...control.job import StatusCode, command
from ...linear.plan import ADDRESS_BITS
from ...stream import Queue
from ..descriptor import BLOCK_UNIT, LENGTH_BITS, RECORD_BYTES, SLOT_BITS, CacheGeometry
from ..formats import BLOCK_BITS
from ..lookup import LookupAnswer, LookupRequest
from .descriptor import ROW_BYTES, ROW_FIELDS, SCALES_BYTES, AppendScales
from .plan import plan_layout
from .rows import refusal_layout, row_layout

__all__ = ["run_layout", "PlaceWalk"]

AHEAD = 8
"""Rows whose free cells are asked for before the first of them is there."""

FREE_CELL_BITS = 16
LOG_RECORD_BYTES = RECORD_BYTES.bit_length() - 1
LOG_BLOCK_UNIT = BLOCK_UNIT.bit_length() - 1


def run_layout(config):
    """Consecutive rows of a step that go to consecutive places of one sub-block.

    ``page`` is the page's address, ``lane`` the first place, ``first`` the first row; ``last``: the final row is its
    sequence's last; ``end``: no run follows in the step.
    """
    return data.StructLayout({
        "page": ADDRESS_BITS, "lane": range(config.lanes), "first": range(config.rows), "count": range(config.rows + 1),
        "slot": SLOT_BITS, "last": 1, "end": 1})


class PlaceWalk(wiring.Component):
    """For each head of a job, for each row group: its scales, and the runs of its rows.

    A heavy-hitter sequence has other free cells in every head: they are read, up to `AHEAD` rows before they are
    needed, and looked up. Other rows go where the check found them to belong.

    Members
    -------
    plan : In, geometry : In(CacheGeometry)
    i_valid : In(1), i_index : In, i : In(row_layout)
        Rows as they are checked.
    go : In(1)
        All are.
    o_command : Out(stream(command)), i_item : In(stream(64))
        Reads of scales and of free cells, each of which comes as one item.
    o_request : Out(stream(LookupRequest)), i_answer : In(stream(LookupAnswer))
    o_scales : Out(stream(AppendScales))
        One a head.
    o : Out(stream(run_layout))
    fault : Out(refusal_layout)
        A free cell that cannot be. It sticks, and the walk with it.

    Cycles: 3 a row, 5 and the latency of a lookup where the cell is read; 4 a head. Cost: a memory of P * C rows,
    two 16 x 16 multipliers.
    """

    def __init__(self, config):
        self.config = config
        super().__init__({
            "plan": In(plan_layout(config)), "geometry": In(CacheGeometry),
            "i_valid": In(1), "i_index": In(range(config.chunk_rows)), "i": In(row_layout), "go": In(1),
            "o_command": Out(stream.Signature(command(ADDRESS_BITS))), "i_item": In(stream.Signature(64)),
            "o_request": Out(stream.Signature(LookupRequest)), "i_answer": In(stream.Signature(LookupAnswer)),
            "o_scales": Out(stream.Signature(AppendScales)), "o": Out(stream.Signature(run_layout(config))),
            "fault": Out(refusal_layout),
        })
        self._asked = data.StructLayout({"scales": 1, "row": row_layout, "index": range(config.chunk_rows), "end": 1})
        self._place = data.StructLayout({
            "page": ADDRESS_BITS, "block": BLOCK_BITS, "cell": LENGTH_BITS, "row": range(config.rows),
            "slot": SLOT_BITS, "last": 1, "end": 1})

    def elaborate(self, platform):
        m = Module()
        m.submodules.asked = asked = Queue(self._asked, AHEAD)
        self._ask(m, asked.i)
        place = stream.Signature(self._place).create()
        self._resolve(m, asked.o, place)
        self._merge(m, place)
        return m

    def _ask(self, m, asked):
        """Walk heads and rows, asking memory for what must be read of them."""
        config, plan, geometry = self.config, self.plan, self.geometry
        m.submodules.rows = rows = Memory(shape=unsigned(row_layout.size), depth=config.chunk_rows, init=[])
        write, read = rows.write_port(), rows.read_port()
        row, asks = row_layout(read.data), self.o_command
        heads, head = Signal(9), Signal(unsigned(16))
        index, scales_addr, record = Signal(range(config.chunk_rows)), Signal(ADDRESS_BITS), Signal(32)
        cells = 1 << geometry.log_cells
        last = index + 1 == plan.rows
        m.d.comb += [
            write.en.eq(self.i_valid), write.addr.eq(self.i_index), write.data.eq(self.i), read.addr.eq(index),
            asked.payload.row.eq(row), asked.payload.index.eq(index),
            asked.payload.end.eq(last | index[:config.rows.bit_length() - 1].all()),
        ]
        with m.FSM():
            with m.State("START"):
                with m.If(self.go):
                    m.d.sync += [heads.eq(plan.heads), head.eq(plan.first_head), scales_addr.eq(plan.scales)]
                    m.next = "SCALES"
            with m.State("SCALES"):
                m.d.comb += [asks.valid.eq(1), asks.payload.addr.eq(scales_addr), asks.payload.bytes.eq(SCALES_BYTES)]
                with m.If(asks.ready):
                    m.next = "PUSH SCALES"
            with m.State("PUSH SCALES"):
                m.d.comb += [asked.valid.eq(1), asked.payload.scales.eq(1)]
                with m.If(asked.ready):
                    m.next = "READ"
            with m.State("READ"):
                m.d.comb += read.en.eq(1)
                m.next = "ROW"
            with m.State("ROW"):
                m.d.sync += record.eq(row.slot * geometry.heads + head)
                m.next = "PUSH"
                with m.If(row.free):
                    m.next = "FREE"
            with m.State("FREE"):
                m.d.comb += [
                    asks.valid.eq(1), asks.payload.bytes.eq(FREE_CELL_BITS // 8),
                    asks.payload.addr.eq(geometry.records + (record << geometry.log_cells << LOG_RECORD_BYTES)
                                         + (cells << 2) + (cells << 1) + (row.number << 1)),
                ]
                with m.If(asks.ready):
                    m.next = "PUSH"
            with m.State("PUSH"):
                m.d.comb += asked.valid.eq(1)
                with m.If(asked.ready):
                    m.d.sync += index.eq(index + 1)
                    m.next = "READ"
                    with m.If(last):
                        m.d.sync += [index.eq(0), head.eq(head + 1), heads.eq(heads - 1),
                                     scales_addr.eq(scales_addr + SCALES_BYTES)]
                        m.next = "SCALES"
                        with m.If(heads == 1):
                            m.next = "DONE"
            with m.State("DONE"):
                pass

    def _resolve(self, m, asked, place):
        """Rows to places, in pages whose address is known."""
        config, plan, geometry = self.config, self.plan, self.geometry
        log_lanes = config.lanes.bit_length() - 1
        row = asked.payload.row
        block, cell = Signal(BLOCK_BITS), Signal(LENGTH_BITS)
        block_offset, head_offset, begun = Signal(32), Signal(ADDRESS_BITS), Signal()
        request, answer = self.o_request, self.i_answer
        m.d.comb += [
            self.o_scales.payload.eq(self.i_item.payload),
            request.payload.slot.eq(row.slot), request.payload.generation.eq(row.generation),
            request.payload.index.eq(cell >> log_lanes),
            place.payload.block.eq(block), place.payload.cell.eq(cell),
            place.payload.page.eq(geometry.base + (block_offset << LOG_BLOCK_UNIT) + head_offset),
            place.payload.row.eq(asked.payload.index), place.payload.slot.eq(row.slot),
            place.payload.last.eq(row.last), place.payload.end.eq(asked.payload.end),
        ]
        with m.FSM():
            with m.State("NEXT"):
                with m.If(asked.valid):
                    m.d.sync += [block.eq(row.block), cell.eq(row.number)]
                    m.next = "BLOCK"
                    with m.If(asked.payload.scales):
                        m.next = "SCALES"
                    with m.Elif(row.free):
                        m.next = "CELL"
            with m.State("SCALES"):
                m.d.comb += [self.o_scales.valid.eq(self.i_item.valid), self.i_item.ready.eq(self.o_scales.ready)]
                with m.If(self.i_item.valid & self.o_scales.ready):
                    m.d.comb += asked.ready.eq(1)
                    m.d.sync += [begun.eq(1),
                                 head_offset.eq(Mux(begun, head_offset + geometry.page_bytes, plan.first_page))]
                    m.next = "NEXT"
            with m.State("CELL"):
                m.d.comb += self.i_item.ready.eq(1)
                with m.If(self.i_item.valid):
                    m.d.sync += cell.eq(self.i_item.payload[:FREE_CELL_BITS])
                    m.next = "ASK"
            with m.State("ASK"):
                m.d.comb += request.valid.eq(1)
                with m.If(request.ready):
                    m.next = "ANSWER"
            with m.State("ANSWER"):
                m.d.comb += answer.ready.eq(1)
                with m.If(answer.valid):
                    m.d.sync += block.eq(answer.payload.block)
                    m.next = "BLOCK"
                    with m.If(~answer.payload.present | (cell >= answer.payload.before)):
                        m.d.sync += [
                            self.fault.valid.eq(1), self.fault.code.eq(StatusCode.BAD_ROW),
                            self.fault.field.eq(ROW_FIELDS.index("offset")),
                            self.fault.address.eq(plan.table + asked.payload.index * ROW_BYTES),
                        ]
                        m.next = "STUCK"
            with m.State("BLOCK"):
                m.d.sync += block_offset.eq(block * geometry.block_units)
                m.next = "PLACE"
            with m.State("PLACE"):
                m.d.comb += place.valid.eq(1)
                with m.If(place.ready):
                    m.d.comb += asked.ready.eq(1)
                    m.next = "NEXT"
            with m.State("STUCK"):
                pass

    def _merge(self, m, place):
        """Neighbouring places to runs."""
        config, run, new = self.config, self.o.payload, place.payload
        log_bus = config.bus_bytes.bit_length() - 1
        held, block, cell = Signal(), Signal(BLOCK_BITS), Signal(LENGTH_BITS)    # cell: the one after the run
        joins = (~run.end & (new.slot == run.slot) & (new.block == block) & (new.cell == cell)
                 & (new.cell[:log_bus] != 0))
        leaves = self.o.valid & self.o.ready
        m.d.comb += [
            self.o.valid.eq(held & (run.end | (place.valid & ~joins))),
            place.ready.eq(~held | leaves | (joins & ~run.end)),
        ]
        with m.If(leaves):
            m.d.sync += held.eq(0)
        with m.If(place.valid & place.ready):
            m.d.sync += [held.eq(1), cell.eq(new.cell + 1), run.last.eq(new.last), run.end.eq(new.end)]
            with m.If(held & ~leaves):
                m.d.sync += run.count.eq(run.count + 1)
            with m.Else():
                m.d.sync += [run.page.eq(new.page), run.lane.eq(new.cell), run.first.eq(new.row), run.count.eq(1),
                             run.slot.eq(new.slot), block.eq(new.block)]
