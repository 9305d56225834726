"""Checked rows to runs of neighbouring places in pages, head by head."""

from amaranth.hdl import Module, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ...control.job import StatusCode, command
from ...stream import Queue
from ..addresses import LOG_BLOCK_UNIT, address_bits, address_clip, address_double, address_sum
from ..descriptor import RECORD_BYTES, CacheGeometry
from ..lookup import LookupAnswer, LookupRequest
from ..slots import block_bits, slot_bits
from .descriptor import ROW_BYTES, ROW_FIELDS, SCALES_BYTES, AppendScales
from .plan import plan_layout, scales_layout
from .rows import place_bits, refusal_layout, row_layout

__all__ = ["run_layout", "PlaceWalk"]

AHEAD = 8
"""Rows whose free cells are asked for before the first of them is there."""

FREE_CELL_BYTES = 2
FREE_LIST = 6
"""Bytes for each cell of a record before its list of free cells: sums and positions."""

LOG_RECORD_BYTES = RECORD_BYTES.bit_length() - 1


def run_layout(config):
    """Consecutive rows of a step that go to consecutive places of one sub-block.

    ``page`` is the page's address, ``lane`` the first place, ``first`` the first row; ``last``: the final row is its
    sequence's last; ``end``: no run follows in the step.
    """
    return data.StructLayout({
        "page": address_bits(config), "lane": range(config.lanes), "first": range(config.rows),
        "count": range(config.rows + 1), "slot": slot_bits(config), "last": 1, "end": 1})


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
    o_scales : Out(stream(scales_layout))
        One a head.
    o : Out(stream(run_layout))
    fault : Out(refusal_layout)
        A free cell that cannot be. It sticks, and the walk with it.

    Cycles: 3 a row, 1 where it begins another run, and 1 and one for each bit of the block's number where that is
    another than the row's before; 5, one for each bit of the slot's number, and the latency of a lookup where the cell
    is read; 4 a head. That is hidden as long as a run has more beats. The first head's address and that of the first
    record take a cycle a bit before the first row, while the check is at work. Cost: a memory of P * C rows, two adders
    of an address that multiply bit by bit, and two that add.
    """

    def __init__(self, config):
        self.config = config
        super().__init__({
            "plan": In(plan_layout(config)), "geometry": In(CacheGeometry),
            "i_valid": In(1), "i_index": In(range(config.chunk_rows)), "i": In(row_layout(config)), "go": In(1),
            "o_command": Out(stream.Signature(command(address_bits(config)))), "i_item": In(stream.Signature(64)),
            "o_request": Out(stream.Signature(LookupRequest)), "i_answer": In(stream.Signature(LookupAnswer)),
            "o_scales": Out(stream.Signature(scales_layout)), "o": Out(stream.Signature(run_layout(config))),
            "fault": Out(refusal_layout(config)),
        })
        self._asked = data.StructLayout({
            "scales": 1, "row": row_layout(config), "index": range(config.chunk_rows), "end": 1})
        self._place = data.StructLayout({
            "page": address_bits(config), "cell": place_bits(config), "row": range(config.rows),
            "slot": slot_bits(config), "last": 1, "end": 1})

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
        layout, width = row_layout(config), address_bits(config)
        m.submodules.rows = rows = Memory(shape=unsigned(layout.size), depth=config.chunk_rows, init=[])
        write, read = rows.write_port(), rows.read_port()
        row, asks = layout(read.data), self.o_command
        heads, index, scales_addr = Signal(9), Signal(range(config.chunk_rows)), Signal(width)
        last = index + 1 == plan.rows
        # The head's list of free cells in slot 0's record; from one slot's to the next, from one head's to the next.
        list_at, stride, head_stride = Signal(width), Signal(width), Signal(width)
        # Of the row: its slot's list, then its entry, as far as they are added up.
        at, term, left = Signal(width), Signal(width), Signal(slot_bits(config))
        cells = Signal.like(geometry.log_cells)
        m.d.comb += [
            write.en.eq(self.i_valid), write.addr.eq(self.i_index), write.data.eq(self.i), read.addr.eq(index),
            asked.payload.row.eq(row), asked.payload.index.eq(index),
            asked.payload.end.eq(last | index[:config.rows.bit_length() - 1].all()),
        ]
        with m.FSM():
            with m.State("START"):
                m.d.sync += [
                    heads.eq(plan.heads), scales_addr.eq(plan.scales), cells.eq(geometry.log_cells),
                    list_at.eq((plan.first_head << LOG_RECORD_BYTES) | FREE_LIST), head_stride.eq(RECORD_BYTES),
                    stride.eq(geometry.heads << LOG_RECORD_BYTES),
                ]
                m.next = "CELLS"
            with m.State("CELLS"):
                with m.If(cells != 0):
                    m.d.sync += [cells.eq(cells - 1),
                                 *(value.eq(address_double(value)) for value in (list_at, head_stride, stride))]
                with m.Elif(self.go):
                    m.d.sync += list_at.eq(address_sum(list_at, geometry.records))
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
                m.d.sync += [at.eq(list_at), term.eq(stride), left.eq(row.slot)]
                m.next = "PUSH"
                with m.If(row.free):
                    m.next = "RECORD"
            with m.State("RECORD"):
                m.d.sync += [left.eq(left >> 1), term.eq(address_double(term))]
                with m.If(left == 0):
                    m.d.sync += at.eq(address_sum(at, row.number << 1))
                    m.next = "FREE"
                with m.Elif(left[0]):
                    m.d.sync += at.eq(address_sum(at, term))
            with m.State("FREE"):
                m.d.comb += [asks.valid.eq(1), asks.payload.bytes.eq(FREE_CELL_BYTES), asks.payload.addr.eq(at)]
                with m.If(asks.ready):
                    m.next = "PUSH"
            with m.State("PUSH"):
                m.d.comb += asked.valid.eq(1)
                with m.If(asked.ready):
                    m.d.sync += index.eq(index + 1)
                    m.next = "READ"
                    with m.If(last):
                        m.d.sync += [index.eq(0), heads.eq(heads - 1), scales_addr.eq(scales_addr + SCALES_BYTES),
                                     list_at.eq(address_sum(list_at, head_stride))]
                        m.next = "SCALES"
                        with m.If(heads == 1):
                            m.next = "DONE"
            with m.State("DONE"):
                pass

    def _resolve(self, m, asked, place):
        """Rows to places, in pages whose address is known."""
        config, plan, geometry = self.config, self.plan, self.geometry
        log_lanes, width = config.lanes.bit_length() - 1, address_bits(config)
        row = asked.payload.row
        # A cell that was read may have any value.
        cell = Signal(max(place_bits(config), 8 * FREE_CELL_BYTES))
        # Products are added up bit by bit: the first head's page, then the block of number ``block``, where that is
        # another than the one before, ``known``.
        block, known = Signal(block_bits(config)), Signal(block_bits(config))
        left, term, total = Signal(16), Signal(width), Signal(width)
        head_offset, begun, first_head = Signal(width), Signal(), Signal(init=1)
        request, answer = self.o_request, self.i_answer
        # An item leaves in the cycle after it was used, by a register: nobody looks for one so soon.
        used = Signal()
        m.d.sync += used.eq(0)
        m.d.comb += [
            self.i_item.ready.eq(used),
            *(self.o_scales.payload[name].eq(AppendScales(self.i_item.payload)[name]) for name, _ in scales_layout),
            request.payload.slot.eq(row.slot), request.payload.generation.eq(row.where),
            request.payload.index.eq(cell >> log_lanes), place.payload.cell.eq(cell),
            place.payload.page.eq(address_sum(total, head_offset)),
            place.payload.row.eq(asked.payload.index), place.payload.slot.eq(row.slot),
            place.payload.last.eq(row.last), place.payload.end.eq(asked.payload.end),
        ]
        with m.FSM():
            with m.State("START"):
                m.d.sync += [left.eq(plan.first_head), term.eq(geometry.page_bytes), total.eq(0)]
                m.next = "MULTIPLY"
            with m.State("MULTIPLY"):
                m.d.sync += [left.eq(left >> 1), term.eq(address_double(term))]
                with m.If(left[0]):
                    m.d.sync += total.eq(address_sum(total, term))
                with m.If(left == 0):
                    m.next = "PLACE"
                    with m.If(~begun):
                        m.d.sync += [begun.eq(1), head_offset.eq(total), left.eq(0), known.eq(0),
                                     total.eq(address_clip(geometry.base, width))]
                        m.next = "NEXT"
            with m.State("NEXT"):
                with m.If(asked.valid):
                    m.d.sync += [block.eq(row.where), cell.eq(row.number)]
                    m.next = "BLOCK"
                    with m.If(asked.payload.scales):
                        m.next = "SCALES"
                    with m.Elif(row.free):
                        m.next = "CELL"
            with m.State("SCALES"):
                m.d.comb += self.o_scales.valid.eq(self.i_item.valid)
                with m.If(self.i_item.valid & self.o_scales.ready):
                    m.d.comb += asked.ready.eq(1)
                    # The first head's is there.
                    m.d.sync += [used.eq(1), first_head.eq(0)]
                    with m.If(~first_head):
                        m.d.sync += head_offset.eq(address_sum(head_offset, geometry.page_bytes))
                    m.next = "NEXT"
            with m.State("CELL"):
                with m.If(self.i_item.valid):
                    m.d.sync += [used.eq(1), cell.eq(self.i_item.payload[:8 * FREE_CELL_BYTES])]
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
                m.next = "PLACE"
                with m.If(block != known):
                    m.d.sync += [known.eq(block), left.eq(block), term.eq(geometry.block_units << LOG_BLOCK_UNIT),
                                 total.eq(address_clip(geometry.base, width))]
                    m.next = "MULTIPLY"
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
        held, cell = Signal(), Signal.like(new.cell)    # cell: the one after the run
        # Neighbours of one sub-block are in one block. A place is known a cycle before it is offered, but for its page.
        joins = Signal()
        m.d.sync += joins.eq(~run.end & (new.slot == run.slot) & (new.cell == cell) & (new.cell[:log_bus] != 0))
        leaves = self.o.valid & self.o.ready
        m.d.comb += [
            self.o.valid.eq(held & (run.end | (place.valid & ~joins))),
            # The next run begins in the cycle after one has left: so no place waits for who takes the runs.
            place.ready.eq(~held | joins),
        ]
        with m.If(leaves):
            m.d.sync += held.eq(0)
        with m.If(place.valid & place.ready):
            m.d.sync += [held.eq(1), cell.eq(new.cell + 1), run.last.eq(new.last), run.end.eq(new.end)]
            with m.If(held):
                m.d.sync += run.count.eq(run.count + 1)
            with m.Else():
                m.d.sync += [run.page.eq(new.page), run.lane.eq(new.cell), run.first.eq(new.row), run.count.eq(1),
                             run.slot.eq(new.slot)]
