"""Results on their way to memory: queued, packed to bytes, and addressed block by block."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..control.job import command
from ..stream import Gearbox, Queue, SerialGearbox, Skid, fork
from .descriptor import RowFormat
from .epilogue import RESULT_BITS, result_layout
from .plan import address_bits, plan_layout, times
from .walk import BlockWalk

__all__ = ["ResultBlocks", "ResultPacker"]


class ResultBlocks(wiring.Component):
    """Walks chunks, panels and contexts: one block of results, contiguous in memory, for each.

    Members
    -------
    plan : In
    o_command : Out(stream(command))
    o_block : Out(stream(struct ``lanes``, ``rows``))
        Its channels and rows.
    done : Out(1)
        Every block has been announced.

    Throughput: one block a cycle. Starts by itself after reset.
    """

    def __init__(self, config):
        self.config = config
        super().__init__({
            "plan": In(plan_layout(config)),
            "o_command": Out(stream.Signature(command(address_bits(config)))),
            "o_block": Out(stream.Signature(block_layout(config))),
            "done": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        config, plan = self.config, self.plan
        log_rows, log_lanes = config.rows.bit_length() - 1, config.lanes.bit_length() - 1
        piece_bits = (config.rows * config.lanes * 2).bit_length()
        m.submodules.walk = walk = BlockWalk(config, len(plan.y_stride), piece_bits, len(plan.panels))
        block = walk.block
        lanes = Mux(block.last_piece, plan.last_lanes, config.lanes)
        m.d.comb += [
            walk.base.eq(plan.y), walk.stride.eq(plan.y_stride),
            walk.row_groups.eq(plan.row_groups), walk.last_rows.eq(plan.last_rows), walk.pieces.eq(plan.panels),
            walk.piece_bytes.eq(1 << log_lanes << log_rows << plan.y_wide),
            walk.last_piece_bytes.eq(plan.last_rows << log_lanes << plan.y_wide),
            self.o_command.payload.addr.eq(block.addr),
            self.o_command.payload.bytes.eq(times(lanes, block.rows) << plan.y_wide),
            self.o_block.payload.lanes.eq(lanes), self.o_block.payload.rows.eq(block.rows),
            walk.advance.eq(fork(m, walk.valid, self.o_command, self.o_block)),
            self.done.eq(walk.done),
        ]
        return m


def block_layout(config):
    """Channels and rows of a block of results."""
    return data.StructLayout({"lanes": range(config.lanes + 1), "rows": range(config.rows + 1)})


class ResultPacker(wiring.Component):
    """Queues words of results and packs the rows that exist into bus beats.

    Members
    -------
    plan : In
    i_valid : In(1), i : In(result_layout)
        A word from the epilogue. There must be room: whoever sends it counts words with ``credit``.
    i_block : In(stream(block_layout))
    credit : Out(1)
        A word left the queue.
    o : Out(stream of bus beats)
        A packet a block.

    Throughput: one channel a cycle. Holds two panels' worth of one context.
    """

    def __init__(self, config):
        self.config = config
        self.depth = 2 * config.lanes // config.drain_columns
        super().__init__({
            "plan": In(plan_layout(config)), "i_valid": In(1), "i": In(result_layout(config)), "credit": Out(1),
            "i_block": In(stream.Signature(block_layout(config))),
            "o": Out(stream.Signature(data.StructLayout({
                "data": data.ArrayLayout(8, config.bus_bytes), "count": range(config.bus_bytes + 1), "last": 1}))),
        })

    def elaborate(self, platform):
        m = Module()
        config, plan = self.config, self.plan
        columns = config.drain_columns
        m.submodules.queue = queue = Queue(result_layout(config), self.depth)
        m.submodules.blocks = blocks = Queue(block_layout(config), 4)
        m.submodules.gearbox = gearbox = (SerialGearbox if config.vector_cycles > 1 else Gearbox)(
            8, 2 * config.rows, config.bus_bytes)
        # Whoever counts credits does not wait for the gearbox, nor that for what comes out of block RAM.
        m.submodules.door = door = Skid(gearbox.i.payload.shape())
        wiring.connect(m, door.o, gearbox.i)
        wiring.connect(m, wiring.flipped(self.i_block), blocks.i)
        wiring.connect(m, gearbox.o, wiring.flipped(self.o))

        lane = Signal(range(config.lanes))
        column = lane[:columns.bit_length() - 1]
        word = queue.o.payload[column] if columns > 1 else queue.o.payload[0]
        block = blocks.o.payload
        last_lane, taken = lane + 1 == block.lanes, Signal()
        m.d.comb += [
            queue.i.valid.eq(self.i_valid), queue.i.payload.eq(self.i),
            gearbox.take.eq(config.bus_bytes),
            door.i.valid.eq(queue.o.valid & blocks.o.valid),
            door.i.payload.count.eq(block.rows << plan.y_wide), door.i.payload.last.eq(last_lane),
            taken.eq(door.i.valid & door.i.ready),
            queue.o.ready.eq(taken & (last_lane | (column == columns - 1) if columns > 1 else 1)),
            self.credit.eq(queue.o.valid & queue.o.ready),
            blocks.o.ready.eq(taken & last_lane),
        ]
        bytes_out = door.i.payload.data
        for row in range(config.rows):
            low, high = word[row][:8], word[row][8:RESULT_BITS]
            with m.If(plan.y_format == RowFormat.INT8):
                m.d.comb += bytes_out[row].eq(low)
            with m.Else():
                m.d.comb += [bytes_out[2 * row].eq(low), bytes_out[2 * row + 1].eq(high)]
        with m.If(taken):
            m.d.sync += lane.eq(Mux(last_lane, 0, lane + 1))
        return m
