"""Where the queries of each chunk lie, and where they go on chip."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ..control.job import command
from ..linear.rows import block_layout
from ..stream import fork
from .layout import CHUNKS
from .plan import ADDRESS_BITS, plan_layout, times
from .table import chunk_layout

__all__ = ["query_words", "QueryAddresses"]


def query_words(config):
    """Depth of the query store: two chunks, one at work and one being fetched."""
    return CHUNKS * config.state_words


class QueryAddresses(wiring.Component):
    """Asks for the queries of every chunk, one row group after the other.

    Members
    -------
    plan : In
    i : In(stream(chunk_layout))
    o_command : Out(stream(command)), o_block : Out(stream(block_layout))
        Where a row group lies in memory, and where its words go: contexts follow each other in the
        chunk's bank.

    Throughput: a row group a cycle, one idle cycle a chunk.
    """

    def __init__(self, config):
        self.config = config
        super().__init__({
            "plan": In(plan_layout(config)), "i": In(stream.Signature(chunk_layout(config))),
            "o_command": Out(stream.Signature(command(ADDRESS_BITS))),
            "o_block": Out(stream.Signature(block_layout(config, query_words(config)))),
        })

    def elaborate(self, platform):
        m = Module()
        config, plan, chunk = self.config, self.plan, self.i.payload
        addr, start = Signal(ADDRESS_BITS), Signal(range(query_words(config)))
        context = Signal(range(config.contexts + 1))
        active = Signal()
        last = context + 1 == chunk.contexts
        rows = Mux(last, chunk.last_rows, config.rows)
        sent = fork(m, active, self.o_command, self.o_block)
        m.d.comb += [
            self.o_command.payload.addr.eq(addr),
            self.o_command.payload.bytes.eq(times(plan.head_dim, rows) << plan.q_wide),
            self.o_block.payload.take.eq(rows << plan.q_wide), self.o_block.payload.wide.eq(plan.q_wide),
            self.o_block.payload.start.eq(start),
            self.i.ready.eq(active & sent & last),
        ]
        with m.If(~active):
            with m.If(self.i.valid):
                m.d.sync += [active.eq(1), context.eq(0), addr.eq(chunk.q),
                             start.eq(Mux(chunk.bank, config.state_words, 0))]
        with m.Elif(sent):
            m.d.sync += [context.eq(context + 1), addr.eq(addr + plan.q_stride), start.eq(start + plan.head_dim),
                         active.eq(~last)]
        return m
