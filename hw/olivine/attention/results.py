"""Results of attention on their way to memory: queued, packed to bytes, and addressed block by block."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..control.job import command
from ..memory.realign import words
from ..stream import Gearbox, Queue, fork
from .descriptor import PARTIAL_HEADER, PARTIAL_PLANES, OutputFormat
from .layout import CHUNKS, O_BITS, record_layout
from .plan import ADDRESS_BITS, plan_layout, times
from .table import chunk_layout

__all__ = ["result_layout", "block_layout", "ResultBlocks", "ResultPacker"]


def result_layout(config):
    """A word of results: one dim of P rows; partial results take all bits, the others the low 16."""
    return data.ArrayLayout(signed(O_BITS), config.rows)


def block_layout(config):
    """Contiguous results of one row group: the log-sum-exp, or ``dims`` dims, of a partial result after the
    ``header``. ``last`` of a chunk."""
    return data.StructLayout({"lse": 1, "header": 1, "last": 1, "rows": range(config.rows + 1),
                              "dims": range(config.lanes + 1)})


class ResultBlocks(wiring.Component):
    """Walks passes and contexts of every chunk, in the order in which results leave the array.

    After a context's first dims comes its log-sum-exp, if the job asks for it. In a merge job the contexts are
    the outer walk.

    Members
    -------
    plan : In
    i : In(stream(chunk_layout))
    o_command : Out(stream(command)), o_block : Out(stream(block_layout))
    done : Out(1)
        Every block of the job has been announced.

    Throughput: a block a cycle, one idle cycle a chunk.
    """

    def __init__(self, config):
        self.config = config
        super().__init__({
            "plan": In(plan_layout(config)), "i": In(stream.Signature(chunk_layout(config))),
            "o_command": Out(stream.Signature(command(ADDRESS_BITS))),
            "o_block": Out(stream.Signature(block_layout(config))),
            "done": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        config, plan, chunk, block = self.config, self.plan, self.i.payload, self.o_block.payload
        active, lse = Signal(), Signal()
        context, passes = Signal(range(config.contexts)), Signal.like(plan.passes)
        group_addr, lse_addr = Signal(ADDRESS_BITS), Signal(ADDRESS_BITS)
        before, here = Signal(12), Signal(12)   # words of a row group before this pass, and in it

        last_context, last_pass, first_pass = context + 1 == chunk.contexts, passes + 1 == plan.passes, passes == 0
        dims = Mux(last_pass, plan.last_dims, config.lanes)
        rows = Mux(last_context, chunk.last_rows, config.rows)
        header = plan.partial & first_pass
        sent = fork(m, active, self.o_command, self.o_block)
        m.d.comb += [
            here.eq(Mux(plan.partial, times(dims, Const(PARTIAL_PLANES)) + Mux(header, PARTIAL_HEADER, 0), dims)),
            self.o_command.payload.addr.eq(Mux(lse, lse_addr, group_addr + (times(before, rows) << plan.o_wide))),
            self.o_command.payload.bytes.eq(Mux(lse, rows << 2, times(here, rows) << plan.o_wide)),
            block.lse.eq(lse), block.header.eq(header), block.rows.eq(rows), block.dims.eq(dims),
        ]
        more = ~lse & plan.lse & first_pass     # the log-sum-exp follows
        context_end = Signal()
        m.d.comb += [
            context_end.eq(sent & ~more),
            block.last.eq(~more & last_context & last_pass),
            self.i.ready.eq(sent & block.last),
        ]
        with m.If(sent):
            m.d.sync += lse.eq(more)
        with m.If(context_end):
            with m.If(plan.merge & ~last_pass):
                # Partial results come record by record: all dims of a context follow each other.
                m.d.sync += [passes.eq(passes + 1), before.eq(before + here)]
            with m.Else():
                m.d.sync += [context.eq(context + 1), group_addr.eq(group_addr + plan.o_stride),
                             lse_addr.eq(lse_addr + (config.rows << 2))]
                with m.If(plan.merge):
                    m.d.sync += [passes.eq(0), before.eq(0)]
                with m.If(last_context):
                    m.d.sync += [context.eq(0), passes.eq(passes + 1), group_addr.eq(chunk.o), before.eq(before + here)]
                    with m.If(last_pass):
                        m.d.sync += [active.eq(0), self.done.eq(chunk.last)]
        with m.If(~active & self.i.valid & ~self.done):
            m.d.sync += [active.eq(1), passes.eq(0), context.eq(0), before.eq(0), group_addr.eq(chunk.o),
                         lse_addr.eq(chunk.lse)]
        return m


class ResultPacker(wiring.Component):
    """Queues words of results and packs the rows that exist into bus beats.

    Members
    -------
    plan : In
    i_valid : In(1), i : In(result_layout)
        A word. There must be room: whoever sends it counts words with ``credit``.
    record_valid : In(1), record : In(record_layout)
        Running state of a context whose results will follow, in the order of contexts; at most those of
        two chunks wait.
    i_block : In(stream(block_layout))
    credit : Out(1)
        A word left the queue.
    o : Out(stream(words))
        A packet a block.
    chunk_done : Out(1)
        A chunk's last word is on its way out.

    Throughput: one word of results a cycle, a word of partial results in three. Holds 2 L words.
    """

    def __init__(self, config):
        self.config = config
        self.depth = 2 * config.lanes
        super().__init__({
            "plan": In(plan_layout(config)), "i_valid": In(1), "i": In(result_layout(config)),
            "record_valid": In(1), "record": In(record_layout(config)),
            "i_block": In(stream.Signature(block_layout(config))), "credit": Out(1),
            "o": Out(stream.Signature(words(config.bus_bytes))), "chunk_done": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        config, plan, rows = self.config, self.plan, self.config.rows
        m.submodules.queue = queue = Queue(result_layout(config), self.depth)
        m.submodules.records = records = Queue(record_layout(config), CHUNKS * config.contexts)
        m.submodules.blocks = blocks = Queue(block_layout(config), 4)
        m.submodules.gearbox = gearbox = Gearbox(8, 2 * rows, config.bus_bytes)
        wiring.connect(m, wiring.flipped(self.i_block), blocks.i)
        wiring.connect(m, gearbox.o, wiring.flipped(self.o))
        block, word, record, out = blocks.o.payload, queue.o.payload, records.o.payload, gearbox.i.payload

        taken = Signal()
        part = Signal(range(max(PARTIAL_HEADER, PARTIAL_PLANES)))   # word of the header, plane, half of the LSE
        dim, in_header = Signal(range(config.lanes)), Signal(init=1)
        header = block.header & in_header
        last_dim, last_part = dim + 1 == block.dims, Signal()
        m.d.comb += [
            queue.i.valid.eq(self.i_valid), queue.i.payload.eq(self.i),
            records.i.valid.eq(self.record_valid), records.i.payload.eq(self.record),
            gearbox.take.eq(config.bus_bytes), taken.eq(gearbox.i.valid & gearbox.i.ready),
        ]
        halves = [out.data.as_value().word_select(row, 16) for row in range(rows)]
        with m.If(block.lse):
            # Two words of int32, the first for the first half of the rows.
            many = block.rows > rows // 2
            m.d.comb += [
                gearbox.i.valid.eq(blocks.o.valid & records.o.valid),
                last_part.eq((part == 1) | ~many),
                out.count.eq(Mux(part == 1, block.rows - rows // 2, Mux(many, rows // 2, block.rows)) << 2),
                out.last.eq(last_part), blocks.o.ready.eq(taken & last_part),
                records.o.ready.eq(taken & last_part),
            ]
            for index in range(max(rows // 2, 1)):
                value = Mux(part == 1, record[index + rows // 2].lse, record[index].lse).as_signed()
                extended = Signal(signed(32), name=f"lse_{index}")
                m.d.comb += [extended.eq(value), halves[2 * index].eq(extended[:16]),
                             halves[2 * index + 1].eq(extended[16:])]
        with m.Elif(header):
            m.d.comb += [
                gearbox.i.valid.eq(blocks.o.valid & records.o.valid), last_part.eq(part == PARTIAL_HEADER - 1),
                out.count.eq(block.rows << 1), records.o.ready.eq(taken & last_part),
            ]
            for row, half in enumerate(halves):
                wide = Signal(signed(16), name=f"m_{row}")
                m.d.comb += [wide.eq(record[row].m),
                             half.eq(Mux(part == 0, wide, Mux(part == 1, record[row].l[:16], record[row].l[16:])))]
        with m.Else():
            m.d.comb += [
                gearbox.i.valid.eq(blocks.o.valid & queue.o.valid),
                last_part.eq(~plan.partial | (part == PARTIAL_PLANES - 1)),
                out.count.eq(block.rows << plan.o_wide), out.last.eq(last_part & last_dim),
                queue.o.ready.eq(taken & last_part), blocks.o.ready.eq(taken & out.last),
            ]
            for row, half in enumerate(halves):
                value = Cat(word[row], word[row][-1].replicate(8))
                m.d.comb += half.eq(value.word_select(part, 16))
            with m.If(plan.o_format == OutputFormat.INT8):
                m.d.comb += [out.data[row].eq(word[row][:8]) for row in range(rows)]
        with m.If(taken):
            m.d.sync += part.eq(Mux(last_part, 0, part + 1))
            with m.If(last_part & ~block.lse):
                m.d.sync += in_header.eq(0)
                with m.If(~header):
                    m.d.sync += dim.eq(Mux(last_dim, 0, dim + 1))
            with m.If(blocks.o.ready):
                m.d.sync += in_header.eq(1)
        m.d.comb += [self.credit.eq(queue.o.valid & queue.o.ready),
                     self.chunk_done.eq(blocks.o.ready & block.last)]
        return m
