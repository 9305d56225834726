"""Where the queries of each chunk lie, and where they go on chip."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..config import ROW_BITS
from ..control.job import command
from ..memory.realign import words
from ..numerics.popcount import popcount
from ..numerics.rounding import sat, saturates
from ..stream import Gearbox, Queue, SerialGearbox, fork, read_later
from .layout import CHUNKS
from .plan import ADDRESS_BITS, plan_layout, times
from .table import chunk_layout

__all__ = ["query_words", "block_layout", "QueryAddresses", "QueryLoader"]


def query_words(config):
    """Depth of the query store: two chunks, one at work and one being fetched."""
    return CHUNKS * config.state_words


def block_layout(config):
    """Queries that lie in memory one after the other: head_dim words of a row group, or of a batch one head's."""
    return data.StructLayout({
        "take": range(2 * config.rows + 1),     # bytes a word
        "wide": 1,                              # int16 containers
        "start": range(query_words(config)),    # first word in the store
        "turn": range(config.rows),             # lanes that a word moves down by
        "rows": config.rows,                    # a bit each: those that the block brings
        "keep": 1,                              # the others stay as they are; else they become 0
        "more": 1,                              # the next block brings other rows of the same words
    })


class QueryAddresses(wiring.Component):
    """Asks for the queries of every chunk, one row group after the other; of a token's heads in a batch, one head after
    the other.

    Members
    -------
    plan : In
    i : In(stream(chunk_layout))
    o_command : Out(stream(command)), o_block : Out(stream(block_layout))
        Where a block lies in memory, and where its words go: contexts follow each other in the
        chunk's bank.

    Throughput: a block in four cycles, one more a chunk: which rows it brings, what it is, its offer, and what follows,
    as it is known late that both have taken it.
    """

    def __init__(self, config):
        self.config = config
        super().__init__({
            "plan": In(plan_layout(config)), "i": In(stream.Signature(chunk_layout(config))),
            "o_command": Out(stream.Signature(command(ADDRESS_BITS))),
            "o_block": Out(stream.Signature(block_layout(config))),
        })

    def elaborate(self, platform):
        m = Module()
        config, plan, chunk, block = self.config, self.plan, self.i.payload, self.o_block.payload
        addr, start = Signal(ADDRESS_BITS), Signal(range(query_words(config)))
        context, head = Signal(range(config.contexts + 1)), Signal(range(config.rows))
        active, counted, offered = Signal(), Signal(), Signal()
        # First what the chunk says of the block, in a cycle of its own.
        by_head, last_head, last_context = Signal(), Signal(), Signal()
        rows, stored = Signal(range(config.rows + 1)), Signal(range(config.rows + 1))
        rows_here = Mux(context + 1 == chunk.contexts, chunk.last_rows, config.rows)
        one_by_one = chunk.batch & (plan.heads != 1)
        m.d.sync += [
            counted.eq(active), by_head.eq(one_by_one), last_head.eq(~one_by_one | (head + 1 == chunk.last_rows)),
            last_context.eq(context + 1 == chunk.contexts), rows.eq(rows_here),
            stored.eq(Mux(chunk.batch, config.rows, rows_here)),
        ]
        # Then what it is.
        sent, told = fork(m, offered, self.o_command, self.o_block), Signal()   # told: both know of it, on to the next
        m.d.comb += [
            self.o_command.payload.addr.eq(addr), block.start.eq(start), block.keep.eq(head != 0),
            block.wide.eq(plan.q_wide), block.more.eq(~last_head), self.i.ready.eq(told & last_context & last_head),
        ]
        with m.If(~offered):
            m.d.sync += [
                offered.eq(counted), self.o_command.payload.bytes.eq(times(plan.head_dim, stored) << plan.q_wide),
                block.take.eq(stored << plan.q_wide), block.turn.eq(Mux(chunk.batch, chunk.lane - head, 0)),
                block.rows.eq(Mux(by_head, 1 << head, (1 << rows) - 1)),
            ]
        stride = Mux(chunk.batch, Mux(by_head, plan.head_dim, chunk.q_words) << config.rows.bit_length(), plan.q_stride)
        with m.If(~active):
            with m.If(self.i.valid):
                m.d.sync += [active.eq(1), context.eq(0), addr.eq(chunk.q),
                             start.eq(Mux(chunk.bank, config.state_words, 0))]
        m.d.sync += told.eq(sent)
        with m.If(sent):
            m.d.sync += [offered.eq(0), counted.eq(0)]
        with m.If(told):
            m.d.sync += [addr.eq(addr + stride), counted.eq(0)]
            with m.If(~last_head):
                m.d.sync += head.eq(head + 1)
            with m.Else():
                m.d.sync += [head.eq(0), context.eq(context + 1), start.eq(start + plan.head_dim),
                             active.eq(~last_context)]
        return m


class QueryLoader(wiring.Component):
    """Unpacks blocks of queries into their store and says how far the array may read.

    Members
    -------
    i : In(stream(words))
        The blocks' bytes, a packet a block.
    i_block : In(stream(block_layout))
    take : In(1), available : Out
        Words loaded, with all their rows, that the array has not yet met on its first pass over the chunk.
    addr : In, o : Out(ArrayLayout(signed(12), P))
        ``o`` is word ``addr`` of the cycle before.
    saturated : Out(range(P + 1))
        Queries that did not fit 12 bits three cycles ago.

    Throughput: one word a cycle, as far as the bus brings them. Rows that hold no token read 0.

    Cost: a memory of `query_words` with a write enable for each row, a gearbox, a rotator of P lanes.
    """

    def __init__(self, config):
        self.config, self.depth = config, query_words(config)
        super().__init__({
            "i": In(stream.Signature(words(config.bus_bytes))), "i_block": In(stream.Signature(block_layout(config))),
            "take": In(1), "available": Out(range(self.depth + 1)),
            "addr": In(range(self.depth)), "o": Out(data.ArrayLayout(signed(ROW_BITS), config.rows)),
            "saturated": Out(range(config.rows + 1)),
        })

    def elaborate(self, platform):
        m = Module()
        config = self.config
        word_bytes = 2 * config.rows
        m.submodules.gearbox = gearbox = (SerialGearbox if config.vector_cycles > 1 else Gearbox)(
            8, config.bus_bytes, word_bytes)
        m.submodules.memory = memory = Memory(shape=self.o.shape(), depth=self.depth, init=[])
        # Blocks whose bytes are still to come, and blocks on their way through the gearbox; of each the first in a
        # register.
        m.submodules.coming = coming = Queue(block_layout(config), 4)
        m.submodules.inside = inside = Queue(block_layout(config), 4)
        ahead, block = (Signal(block_layout(config), name=name, reset_less=True) for name in ("ahead", "block"))
        known, at_work = Signal(), Signal()
        write = memory.write_port(granularity=1)
        # A register says whether there is room for another block: one more may have come since.
        m.d.sync += self.i_block.ready.eq(coming.level < coming.depth - 1)
        m.d.comb += [coming.i.valid.eq(self.i_block.valid & self.i_block.ready),
                     coming.i.payload.eq(self.i_block.payload)]
        with m.If(inside.o.ready):
            m.d.sync += [block.eq(inside.o.payload), at_work.eq(inside.o.valid)]

        # Into the gearbox. It knows one word size at a time: a block of another waits until it is empty, and a cycle.
        entered, enters, may_enter = Signal(), Signal(), Signal()   # entered: the current packet's first beat is in
        take = Signal(range(word_bytes + 1), init=1)
        same, room = Signal(), Signal()         # the block ahead has this word size; another one has room inside
        m.d.sync += room.eq(inside.level < inside.depth - 1)
        empty = ~inside.o.valid & ~at_work
        m.d.comb += [
            may_enter.eq(entered | (known & room & same)),
            gearbox.i.payload.eq(self.i.payload),
            gearbox.i.valid.eq(self.i.valid & may_enter), self.i.ready.eq(gearbox.i.ready & may_enter),
            gearbox.take.eq(take),
            enters.eq(gearbox.i.valid & gearbox.i.ready & ~entered),
            coming.o.ready.eq(~known), inside.i.valid.eq(enters), inside.i.payload.eq(ahead),
        ]
        # That a block enters is known late: its place is free a cycle later.
        with m.If(~known):
            m.d.sync += [ahead.eq(coming.o.payload), known.eq(coming.o.valid), same.eq(coming.o.payload.take == take)]
        with m.Elif(enters):
            m.d.sync += known.eq(0)
        with m.If(known & ~same & empty & ~entered):
            m.d.sync += [take.eq(ahead.take), same.eq(1)]
        with m.If(gearbox.i.valid & gearbox.i.ready):
            m.d.sync += entered.eq(~self.i.payload.last)

        # Out of it, row by row to their lanes, into a register.
        word, moves, here = gearbox.o.payload, Signal(), gearbox.o.payload.data.as_value()
        index = Signal(range(config.max_head_dim))
        for stage in range(len(block.turn)):
            here = Mux(block.turn[stage], here.rotate_right(16 << stage), here)
        turned = Signal(8 * word_bytes)
        m.d.comb += [gearbox.o.ready.eq(at_work), moves.eq(gearbox.o.valid & at_work), turned.eq(here),
                     inside.o.ready.eq(~at_work | moves & word.last)]
        with m.If(moves):
            m.d.sync += index.eq(Mux(word.last, 0, index + 1))
        place = data.StructLayout({"addr": range(self.depth), "rows": config.rows, "en": config.rows, "whole": 1,
                                   "data": data.ArrayLayout(signed(16), config.rows)})
        later, valid = Signal(place, reset_less=True), Signal()
        m.d.sync += [
            valid.eq(moves), later.addr.eq(block.start + index), later.rows.eq(block.rows),
            later.en.eq(block.rows | ~block.keep.replicate(config.rows)), later.whole.eq(~block.more),
            *(later.data[row].eq(Mux(block.wide, turned.word_select(row, 16).as_signed(), word.data[row].as_signed()))
              for row in range(config.rows)),
        ]

        # To 12 bits, and into the store.
        overflow, beyond = Signal(config.rows), Signal(config.rows)
        m.d.comb += [write.addr.eq(later.addr), write.en.eq(later.en & valid.replicate(config.rows))]
        for row in range(config.rows):
            m.d.comb += overflow[row].eq(later.rows[row] & saturates(later.data[row], ROW_BITS))
            with m.If(later.rows[row]):
                m.d.comb += write.data[row].eq(sat(later.data[row], ROW_BITS))
        m.d.sync += [
            self.available.eq(self.available + (valid & later.whole) - self.take),
            beyond.eq(overflow & valid.replicate(config.rows)), self.saturated.eq(popcount(beyond)),
        ]
        m.d.comb += self.o.eq(read_later(m, memory, self.addr, write))
        return m
