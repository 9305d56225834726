"""Row operands: fetched block by block in the array's order, unpacked to P-wide words on chip."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from ..config import CHANNEL_RUN, GROUPS, ROW_BITS
from ..control.job import command
from ..numerics.popcount import popcount
from ..numerics.rounding import sat, saturates
from ..stream import Gearbox, Queue, SerialGearbox, Spare, fork
from .plan import address_bits, plan_layout, times
from .walk import BlockWalk

__all__ = ["RowAddresses", "RowLoader"]


def block_layout(config, depth=None):
    """One block: the row operands of one run and one context. ``depth``: words of the scratchpad, by default
    those of a chunk's whole reduction."""
    return data.StructLayout({
        "take": range(2 * config.rows + 1),     # bytes a word
        "wide": 1,                              # int16 containers
        "start": range(depth or config.row_words),  # first word in the scratchpad
        "first": 1,                             # first block of a chunk
    })


class RowAddresses(wiring.Component):
    """Walks chunks, runs and contexts and asks for their blocks of row operands.

    Members
    -------
    plan : In
    o_command : Out(stream(command)), o_block : Out(stream(block_layout))
        Where a block lies in memory, and where its words go.

    Throughput: one block a cycle. Starts by itself after reset; stops after the last block.
    """

    def __init__(self, config):
        self.config = config
        super().__init__({
            "plan": In(plan_layout(config)),
            "o_command": Out(stream.Signature(command(address_bits(config)))),
            "o_block": Out(stream.Signature(block_layout(config))),
        })

    def elaborate(self, platform):
        m = Module()
        config, plan = self.config, self.plan
        log_rows = config.rows.bit_length() - 1
        piece_bits = (config.rows * CHANNEL_RUN * 2).bit_length()
        m.submodules.walk = walk = BlockWalk(config, len(plan.x_stride), piece_bits, len(plan.runs))
        block = walk.block
        # Words of a context are consecutive in the scratchpad, contexts follow each other.
        start, run_start = Signal(range(config.row_words)), Signal(range(config.row_words))
        steps = Mux(block.last_piece, plan.last_run_steps, plan.run_steps)
        m.d.comb += [
            walk.base.eq(plan.x), walk.stride.eq(plan.x_stride),
            walk.row_groups.eq(plan.row_groups), walk.last_rows.eq(plan.last_rows), walk.pieces.eq(plan.runs),
            walk.piece_bytes.eq(plan.run_steps << log_rows << plan.x_wide),
            walk.last_piece_bytes.eq(Mux(plan.long_run, plan.last_rows << exact_log2(GROUPS[1]),
                                         plan.last_rows << exact_log2(GROUPS[0])) << plan.x_wide),
            self.o_command.payload.addr.eq(block.addr),
            self.o_command.payload.bytes.eq(times(steps, block.rows) << plan.x_wide),
            self.o_block.payload.take.eq(block.rows << plan.x_wide), self.o_block.payload.wide.eq(plan.x_wide),
            self.o_block.payload.start.eq(start),
            self.o_block.payload.first.eq((block.context == 0) & block.first_piece),
            walk.advance.eq(fork(m, walk.valid, self.o_command, self.o_block)),
        ]
        with m.If(walk.valid & walk.advance):
            m.d.sync += start.eq(start + plan.k)
            with m.If(block.last_context):
                next_run = Mux(block.last_piece, 0, run_start + plan.run_steps)
                m.d.sync += [start.eq(next_run), run_start.eq(next_run)]
        return m


class RowLoader(wiring.Component):
    """Unpacks blocks of row operands into the scratchpad and says how far the array may read.

    Members
    -------
    i : In(stream of bus beats)
        The blocks' bytes, a packet a block.
    i_block : In(stream(block_layout))
    chunk_done : In(1)
        The array has read its chunk for the last time: the next may overwrite it.
    take : In(1), available : Out
        Words loaded that the array has not yet met on its first pass over the chunk.
    any_available : Out(1)
        There are any: a register.
    addr : In, o : Out(ArrayLayout(signed(12), P))
        ``o`` is word ``addr`` of the cycle before.
    saturated : Out(range(P + 1))
        Row operands that did not fit 12 bits in this cycle.

    Throughput: one word a cycle, as far as the bus brings them. Rows that hold no token read 0. A block may enter two
    cycles after the one before began to, and three after ``chunk_done``.

    Parameters
    ----------
    config : AcceleratorConfig
    depth : int
        Words of the scratchpad; by default a chunk's whole reduction.
    longest : int
        Words of the longest block.
    """

    def __init__(self, config, depth=None, longest=CHANNEL_RUN):
        self.config, self.depth, self.longest = config, depth or config.row_words, longest
        count = range(config.bus_bytes + 1)
        super().__init__({
            "i": In(stream.Signature(data.StructLayout({
                "data": data.ArrayLayout(8, config.bus_bytes), "count": count, "last": 1}))),
            "i_block": In(stream.Signature(block_layout(config, self.depth))),
            "chunk_done": In(1), "take": In(1), "available": Out(range(self.depth + 1)),
            "any_available": Out(1), "addr": In(range(self.depth)),
            "o": Out(data.ArrayLayout(signed(ROW_BITS), config.rows)),
            "saturated": Out(range(config.rows + 1)),
        })

    def elaborate(self, platform):
        m = Module()
        config = self.config
        word_bytes = 2 * config.rows
        m.submodules.gearbox = gearbox = (SerialGearbox if config.vector_cycles > 1 else Gearbox)(
            8, config.bus_bytes, word_bytes)
        m.submodules.memory = memory = Memory(shape=unsigned(ROW_BITS * config.rows), depth=self.depth, init=[])
        # Blocks whose bytes are still to come, and blocks on their way through the gearbox.
        m.submodules.coming = coming = Queue(block_layout(config, self.depth), 4)
        m.submodules.inside = inside = Queue(block_layout(config, self.depth), 4)
        write, read = memory.write_port(), memory.read_port()
        # Whoever counts the blocks waits for a register, and not for the room here.
        m.submodules.spare = spare = Spare(block_layout(config, self.depth))
        wiring.connect(m, wiring.flipped(self.i_block), spare.i)
        wiring.connect(m, spare.o, coming.i)

        # Into the gearbox. It knows one word size at a time: a block of another waits until it is empty.
        block = coming.o.payload
        entered = Signal()                      # the current packet's first beat is in
        chunk_free, chunk_done = Signal(init=1), Signal()
        take = Signal(range(word_bytes + 1), init=1)
        admitted, may_enter, enters = Signal(), Signal(), Signal()     # the next packet; the next beat
        entered_next, admitted_next = Signal(), Signal()
        empty = inside.level == 0
        m.d.comb += [
            entered_next.eq(entered), admitted_next.eq(admitted),
            gearbox.i.payload.eq(self.i.payload), gearbox.take.eq(take),
            gearbox.i.valid.eq(self.i.valid & may_enter), self.i.ready.eq(gearbox.i.ready & may_enter),
            enters.eq(gearbox.i.valid & gearbox.i.ready & ~entered),
            coming.o.ready.eq(enters), inside.i.valid.eq(enters), inside.i.payload.eq(block),
        ]
        with m.If(gearbox.i.valid & gearbox.i.ready):
            m.d.comb += entered_next.eq(~self.i.payload.last)
        # What the next block waits for lasts until it enters; so it is found a cycle ahead, while the one before enters
        # and before the bus brings it.
        with m.If(enters):
            m.d.comb += admitted_next.eq(0)
        with m.Elif(coming.o.valid & inside.i.ready & (chunk_free | ~block.first) & (empty | (take == block.take))):
            m.d.comb += admitted_next.eq(1)
            m.d.sync += take.eq(block.take)
        m.d.sync += [entered.eq(entered_next), admitted.eq(admitted_next), may_enter.eq(entered_next | admitted_next),
                     chunk_done.eq(self.chunk_done)]
        with m.If(enters & block.first):
            m.d.sync += chunk_free.eq(0)
        with m.Elif(chunk_done):
            m.d.sync += chunk_free.eq(1)

        # Out of it, into the scratchpad: bytes past the word's own read 0, and so do rows without a token.
        word = gearbox.o.payload.data
        index = Signal(range(self.longest))
        overflow = Signal(config.rows)
        # A word's block is inside, as it entered before the word left the gearbox.
        m.d.comb += [gearbox.o.ready.eq(1), inside.o.ready.eq(gearbox.o.valid & gearbox.o.payload.last)]
        # The memory is many blocks, far apart: what it is written has a register, and counts a cycle later.
        m.d.sync += [write.en.eq(gearbox.o.valid), write.addr.eq(inside.o.payload.start + index)]
        for row in range(config.rows):
            wide = Cat(word[2 * row], word[2 * row + 1]).as_signed()
            m.d.comb += overflow[row].eq(inside.o.payload.wide & saturates(wide, ROW_BITS))
            m.d.sync += write.data.word_select(row, ROW_BITS).eq(
                Mux(inside.o.payload.wide, sat(wide, ROW_BITS), word[row].as_signed()))
        with m.If(gearbox.o.valid):
            m.d.sync += index.eq(Mux(gearbox.o.payload.last, 0, index + 1))
        m.d.sync += [
            self.available.eq(self.available + write.en - self.take),
            self.any_available.eq(write.en | Mux(self.take, self.available[1:].any(), self.available.any())),
            self.saturated.eq(Mux(gearbox.o.valid, popcount(overflow), 0)),
        ]

        m.d.comb += [read.addr.eq(self.addr), read.en.eq(1), self.o.eq(read.data)]
        return m
