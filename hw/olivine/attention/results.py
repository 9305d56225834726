"""Results of attention on their way to memory: queued, normalised, packed to bytes, and addressed block by block."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..memory.realign import words
from ..memory.writer import column_command
from ..numerics.popcount import popcount
from ..numerics.quotient import places_of
from ..stream import Gearbox, Queue, SerialGearbox, fork
from .descriptor import PARTIAL_HEADER, PARTIAL_PLANES
from .layout import CHUNKS, FACTOR_BITS, LSE_BITS, MAXIMUM_BITS, O_BITS, SUM_BITS, record_layout
from .normalise import PASS, Normaliser, NormaliserParameters
from .plan import ADDRESS_BITS, plan_layout, times
from .replay import ReplayQueue
from .state import record_place
from .table import chunk_layout

__all__ = ["result_layout", "block_layout", "ResultBlocks", "ResultPacker", "kept_layout"]


def result_layout(config):
    """A word of finished O: one dim of P rows."""
    return data.ArrayLayout(signed(O_BITS), config.rows)


def block_layout(config):
    """Contiguous results of one row group: the log-sum-exp, or ``dims`` dims, of a partial result after the
    ``header``. ``last`` of a chunk. ``place``: whose record. ``rows``: those stored, all in a batch, where row r lies
    in lane r + ``turn`` modulo P. ``again``: the next block brings other rows of the same dims."""
    return data.StructLayout({"lse": 1, "header": 1, "last": 1, "rows": range(config.rows + 1),
                              "dims": range(config.lanes + 1), "turn": range(config.rows), "again": 1,
                              "place": record_place(config)})


def kept_layout(config):
    """Of a record what the job writes, or what its results need, by row."""
    return data.ArrayLayout(data.UnionLayout({
        "partial": data.StructLayout({"m": signed(MAXIMUM_BITS), "l": unsigned(SUM_BITS)}),
        "whole": data.StructLayout({"lse": signed(LSE_BITS), "exponent": unsigned(5), "factor": FACTOR_BITS}),
    }), config.rows)


class ResultBlocks(wiring.Component):
    """Walks passes and contexts of every chunk, in the order in which results leave the array.

    After a context's first dims comes its log-sum-exp, if the job asks for it. In a merge job the contexts are
    the outer walk. Of a token's heads in a batch each has a block of its own, head after head in every pass.

    Members
    -------
    plan : In
    i : In(stream(chunk_layout))
    o_command : Out(stream(column_command)), o_block : Out(stream(block_layout))
        In a batch a column: of each word the lanes of the rows that the block brings.
    done : Out(1)
        Every block of the job has been announced.

    Throughput: a block in four cycles, one more a chunk: its rows and words, where it lies, its offer, and what
    follows, as it is known late that both have taken it.
    """

    def __init__(self, config):
        self.config = config
        super().__init__({
            "plan": In(plan_layout(config)), "i": In(stream.Signature(chunk_layout(config))),
            "o_command": Out(stream.Signature(column_command(ADDRESS_BITS, config.bus_bytes))),
            "o_block": Out(stream.Signature(block_layout(config))),
            "done": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        config, plan, chunk = self.config, self.plan, self.i.payload
        active, lse = Signal(), Signal()
        context, passes = Signal(range(config.contexts)), Signal.like(plan.passes)
        group_addr, lse_addr = Signal(ADDRESS_BITS), Signal(ADDRESS_BITS)
        before = Signal(12)                     # words of a row group before this pass
        partly = Signal(len(before) + config.rows.bit_length())     # as many of the last row group's rows
        # A token's heads in a batch: its row h lies in words of its own.
        by_head, head, head_addr = Signal(), Signal(range(config.rows)), Signal(ADDRESS_BITS)

        # First the rows and words of the block, in a cycle of their own.
        counted, here = Signal(), Signal(12)
        rows, stored = Signal(range(config.rows + 1)), Signal(range(config.rows + 1))
        last_context, last_pass, first_pass = context + 1 == chunk.contexts, passes + 1 == plan.passes, passes == 0
        dims = Mux(last_pass, plan.last_dims, config.lanes)
        header = plan.partial & first_pass
        rows_here = Mux(last_context, chunk.last_rows, config.rows)
        m.d.sync += [
            partly.eq(times(before, chunk.last_rows)),
            counted.eq(active), rows.eq(rows_here), by_head.eq(chunk.batch & (plan.heads != 1)),
            stored.eq(Mux(chunk.batch & ~lse, config.rows, rows_here)),
            here.eq(Mux(plan.partial, times(dims, Const(PARTIAL_PLANES)) + Mux(header, PARTIAL_HEADER, 0), dims)),
        ]
        # Then where it lies, and what it is.
        offered, more = Signal(), Signal()      # ``more``: the log-sum-exp follows
        asked, block = self.o_command.payload, self.o_block.payload
        sent = fork(m, offered, self.o_command, self.o_block)
        again = by_head & ~lse & (head + 1 != rows)
        follows = ~lse & plan.lse & first_pass & ~again
        told = Signal()                         # both know of the block: on to the next
        # All rows of a group are a power of two, and what fewer take has been known for long.
        skipped = Mux(stored[-1], before << config.rows.bit_length() - 1, partly)
        m.d.comb += self.i.ready.eq(told & block.last)
        with m.If(counted & ~offered):
            m.d.sync += [
                offered.eq(1), more.eq(follows),
                asked.addr.eq(Mux(lse, lse_addr, Mux(head != 0, head_addr, group_addr)
                                  + (skipped << plan.o_wide))),
                asked.bytes.eq(Mux(lse, rows << 2, times(here, stored) << plan.o_wide)),
                block.lse.eq(lse), block.header.eq(header), block.rows.eq(stored), block.dims.eq(dims),
                block.turn.eq(Mux(chunk.batch & ~lse, chunk.lane - head, 0)), block.again.eq(again),
                block.place.bank.eq(chunk.bank), block.place.context.eq(context),
                block.last.eq(~follows & ~again & last_context & last_pass),
            ]
            if config.bus_bytes == 2 * config.rows:
                behind = chunk.lane + Mux(by_head, 1, rows)
                m.d.sync += [asked.column.eq(chunk.batch & ~lse & (by_head | (rows != config.rows))),
                             asked.low.eq(chunk.lane << 1), asked.high.eq((behind << 1) - 1)]
        context_end = told & ~more & ~block.again
        m.d.sync += told.eq(sent)
        with m.If(sent):
            m.d.sync += [offered.eq(0), counted.eq(0)]
        with m.If(told):
            m.d.sync += [counted.eq(0), lse.eq(more), head.eq(Mux(block.again, head + 1, 0)),
                         head_addr.eq(Mux(head != 0, head_addr, group_addr)
                                      + (plan.head_dim << config.rows.bit_length()))]
        with m.If(context_end):
            with m.If(plan.merge & ~last_pass):
                # Partial results come record by record: all dims of a context follow each other.
                m.d.sync += [passes.eq(passes + 1), before.eq(before + here)]
            with m.Else():
                stride = Mux(chunk.batch, chunk.o_words << config.rows.bit_length(), plan.o_stride)
                m.d.sync += [context.eq(context + 1), group_addr.eq(group_addr + stride),
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
    """Queues words of finished O, normalises them and packs the rows that exist into bus beats; in a batch, a word to a
    beat.

    ::

        words ─> ReplayQueue ─┐
        records ─> by context ┴> a row or all ─> register ─> what of them ─> register ─> Normaliser ─> Queue ─> gearbox
                                                                                                               │
                                                                                                               └─> o

    The pipeline never stands still: a word enters when it has a place in the queue behind it.

    What is written as it is, partial results and log-sum-exps, goes the same way with a factor of 1, in halves of 16
    bits. With one quotient (`Normaliser`) rows follow one another in the order of their lanes.

    Members
    -------
    plan : In
    params : In(ArrayLayout(NormaliserParameters, CHUNKS))
        By the block's bank; constant while words of the bank are in flight.
    i_valid : In(1), i : In(result_layout)
        A word. There must be room: whoever sends it counts words with ``credit``.
    record_valid : In(1), record_place : In(record_place), record : In(record_layout)
        Running state of a context, before its words; it stays until another of its place comes.
    i_block : In(stream(block_layout))
    credit : Out(1)
        A word left the queue, in the cycle before.
    o : Out(stream(words))
        A packet a block.
    saturated : Out(range(P + 1))
        Results that saturated, by the cycle.
    chunk_done : Out(1)
        A chunk's last word is on its way out, since the cycle before; its records and parameters are no longer needed.

    Throughput: one word of results a cycle, a word of partial results in three; in a batch a word of one of a token's
    heads. With one quotient, a row a cycle in place of a word. Holds 2 L words. Cost: a `Normaliser`, 41 bits for each
    row of 2 C contexts, a queue of `behind` words in LUT RAM, a gearbox.
    """

    behind = 16

    def __init__(self, config):
        self.config = config
        self.depth = 2 * config.lanes
        super().__init__({
            "plan": In(plan_layout(config)), "params": In(data.ArrayLayout(NormaliserParameters, CHUNKS)),
            "i_valid": In(1), "i": In(result_layout(config)),
            "record_valid": In(1), "record_place": In(record_place(config)), "record": In(record_layout(config)),
            "i_block": In(stream.Signature(block_layout(config))), "credit": Out(1),
            "o": Out(stream.Signature(words(config.bus_bytes))), "saturated": Out(range(config.rows + 1)),
            "chunk_done": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        config, plan, rows = self.config, self.plan, self.config.rows
        m.submodules.queue = queue = ReplayQueue(result_layout(config), self.depth)
        m.submodules.blocks = blocks = Queue(block_layout(config), 4)
        m.submodules.normaliser = normaliser = Normaliser(config)
        lanes = normaliser.lanes
        serial = lanes != rows
        m.submodules.gearbox = gearbox = (SerialGearbox if config.vector_cycles > 1 else Gearbox)(
            8, 2 * lanes, config.bus_bytes)
        # Whether the gearbox takes a word is known late, and the pipeline has many registers.
        m.submodules.leaving = leaving = Queue(gearbox.i.payload.shape(), self.behind)
        wiring.connect(m, wiring.flipped(self.i_block), blocks.i)
        wiring.connect(m, leaving.o, gearbox.i)
        wiring.connect(m, gearbox.o, wiring.flipped(self.o))
        # The block at work, in a register.
        block, at_work = Signal(block_layout(config), reset_less=True), Signal()
        word, out = queue.o.payload, leaving.i.payload
        record = self._record(m, block.place)

        # Where we are: a dim of the block, a word of the header, plane or half of the LSE, a row.
        taken, ends = Signal(), Signal()
        part, lane = Signal(range(max(PARTIAL_HEADER, PARTIAL_PLANES))), Signal(range(rows))
        dim, in_header = Signal(range(config.lanes)), Signal(init=1)
        # Of the dim, the row and the part at hand, that it is the last is found with the one before. A block of a
        # ``single`` part: as a rule there are two halves of the LSE, three words of a partial result's header, and as
        # many of each of its dims.
        last_dim, last_lane = Signal(), Signal() if serial else Const(1, 1)
        last_part, single = Signal(), Signal()
        header, raw = block.header & in_header, Signal()
        end_dim, end_lane = Signal.like(dim), Signal.like(lane)      # of the block
        step, last, count = Signal(), Signal(), Signal.like(out.count)
        # Places behind the pipeline that nobody has. That there is one is a register, though another may be taken in
        # this cycle: so one stays free. From a word's entry to its place's return it is 13 cycles.
        places, room, left = Signal(range(self.behind + 1), init=self.behind), Signal(), Signal()
        m.d.sync += [left.eq(leaving.o.valid & leaving.o.ready), places.eq(places + left - taken), room.eq(places > 1)]
        m.d.comb += [
            queue.i.valid.eq(self.i_valid), queue.i.payload.eq(self.i), gearbox.take.eq(config.bus_bytes),
            # A word has its record before it, and so has the log-sum-exp, which comes after words.
            taken.eq(at_work & (block.lse | queue.o.valid) & room),
            raw.eq(block.lse | plan.partial),
            step.eq(taken & last_lane & last_part), ends.eq(taken & last), blocks.o.ready.eq(~at_work | ends),
            queue.keep.eq(block.again), queue.back.eq(block.again & last_dim),
        ]
        many = block.rows > rows // 2
        with m.If(block.lse):
            # int32: rows one after the other, or two words, the first for the first half of the rows.
            m.d.comb += last.eq(last_part & last_lane)
        with m.Elif(~header):
            m.d.comb += [last.eq(last_part & last_lane & last_dim), queue.o.ready.eq(step)]
        if serial:
            m.d.comb += count.eq(Mux(raw | plan.o_wide, 2, 1))
        else:
            m.d.comb += count.eq(block.rows << (raw | plan.o_wide))
            with m.If(block.lse):
                m.d.comb += count.eq(Mux(part[0], block.rows - rows // 2, Mux(many, rows // 2, block.rows)) << 2)
        part_moves, lane_moves = (last_lane | block.lse, last_part | ~block.lse) if serial else (1, 1)
        with m.If(taken & part_moves):
            # The second part is an LSE's last; of three the third is, behind part 1.
            m.d.sync += [part.eq(Mux(last_part, 0, part + 1)),
                         last_part.eq(Mux(last_part, single, block.lse | part[0]))]
        if serial:
            with m.If(taken & lane_moves):
                m.d.sync += [lane.eq(Mux(last_lane, 0, lane + 1)),
                             last_lane.eq(Mux(last_lane, end_lane == 0, lane + 1 == end_lane))]
        with m.If(step & ~block.lse):
            m.d.sync += in_header.eq(0)
            with m.If(~header):
                m.d.sync += [dim.eq(Mux(last_dim, 0, dim + 1)),
                             last_dim.eq(Mux(last_dim, end_dim == 0, dim + 1 == end_dim))]
        with m.If(ends):
            m.d.sync += in_header.eq(1)
        # A block begins where the one before has ended: at its first dim and row.
        with m.If(blocks.o.ready):
            begins, one_part = blocks.o.payload, Signal()
            m.d.comb += one_part.eq(Mux(begins.lse, 0 if serial else begins.rows <= rows // 2, ~plan.partial))
            m.d.sync += [block.eq(begins), at_work.eq(blocks.o.valid), end_dim.eq(begins.dims - 1),
                         end_lane.eq(begins.rows - 1), last_dim.eq(begins.dims == 1),
                         last_part.eq(one_part), single.eq(one_part)]
            if serial:
                m.d.sync += last_lane.eq(begins.rows == 1)
        m.d.sync += [self.credit.eq(queue.o.valid & queue.o.ready & ~queue.keep), self.chunk_done.eq(ends & block.last)]

        # The word of this cycle, into a register before anything is chosen, as the memory's output is slow.
        picked_valid, picked = Signal(), Signal(data.StructLayout({
            "lse": 1, "header": 1, "raw": 1, "part": part.shape(), "row": lane.shape(),
            "shift": normaliser.i.shift.shape(), "word": word.shape(),
            "record": data.ArrayLayout(record.shape().elem_shape, lanes)}), reset_less=True)
        row = (lane - block.turn)[:len(lane)]
        m.d.sync += [
            picked_valid.eq(taken), picked.lse.eq(block.lse), picked.header.eq(header), picked.raw.eq(raw),
            picked.part.eq(part), picked.shift.eq(self.params[block.place.bank].o_shift),
            picked.row.eq(row), picked.word.eq(word),
            *(picked.record[index].eq(record[row if serial else index]) for index in range(lanes)),
        ]
        # Of each what is to be normalised, or passed on, into the next; numbers need no reset, ``entered`` says whether
        # they count.
        entry, entered = Signal.like(normaliser.i, reset_less=True), Signal()
        part, record = picked.part, picked.record
        for index in range(lanes):
            value, kept = picked.word[picked.row if serial else index], record[index]
            of_lse = Signal(signed(LSE_BITS), name=f"lse_{index}")
            if serial:
                m.d.comb += of_lse.eq(kept.whole.lse)
            else:
                m.d.comb += of_lse.eq(Mux(part[0], record[rows // 2 + index // 2].whole.lse,
                                          record[index // 2].whole.lse))
            half = part[0] if serial else index % 2
            element = Signal(signed(16), name=f"element_{index}")
            with m.If(picked.lse):
                m.d.comb += element.eq(Mux(half, of_lse >> 16, of_lse))
            with m.Elif(picked.header):
                m.d.comb += element.eq(Mux(part == 0, kept.partial.m,
                                           Mux(part == 1, kept.partial.l[:16], kept.partial.l[16:])))
            with m.Else():
                m.d.comb += element.eq(Cat(value, value[-1].replicate(8)).word_select(part, 16))
            m.d.sync += [entry.value[index].eq(Mux(picked.raw, element, value)),
                         entry.places[index].eq(Mux(picked.raw, PASS["places"], places_of(kept.whole.exponent))),
                         entry.factor[index].eq(Mux(picked.raw, PASS["factor"], kept.whole.factor))]
        m.d.sync += [entered.eq(picked_valid),
                     entry.shift.eq(Mux(picked.raw, PASS["shift"], picked.shift)),
                     entry.o_format.eq(Mux(picked.raw, PASS["o_format"], plan.o_format.as_value()))]

        # Along with them: how many bytes they are, in which lanes, and whether they are here for the last time.
        about = data.StructLayout({"count": out.count.shape(), "last": 1, "turn": block.turn.shape(), "counts": 1,
                                   "narrow": 1})
        along = [Signal(about, name=f"along_{cycle}") for cycle in range(normaliser.latency + 3)]
        m.d.comb += [along[0].count.eq(count), along[0].last.eq(last), along[0].turn.eq(block.turn),
                     along[0].counts.eq(~block.again), along[0].narrow.eq(~raw & ~plan.o_wide)]
        m.d.sync += [after.eq(before) for before, after in zip(along, along[1:])]
        done, turned = along[-1], normaliser.o.value.as_value()
        if not serial:
            # In containers of 16 bits; what is not of a batch stays in its lane.
            for stage in range(len(block.turn)):
                turned = Mux(done.turn[stage], turned.rotate_left(16 << stage), turned)
        m.d.comb += [
            normaliser.i.eq(entry), normaliser.i.valid.eq(entered), leaving.i.valid.eq(normaliser.o.valid),
            out.data.eq(turned), out.count.eq(done.count), out.last.eq(done.last),
        ]
        if not serial:
            with m.If(done.narrow):
                m.d.comb += [out.data[row].eq(normaliser.o.value[row][:8]) for row in range(rows)]
        counts = normaliser.o.valid & done.counts
        m.d.sync += self.saturated.eq(popcount(normaliser.o.saturated & counts.replicate(lanes)))
        return m

    def _record(self, m, place):
        """Keeps records; returns that of a place."""
        layout = kept_layout(self.config)
        m.submodules.records = memory = Memory(shape=layout, depth=1 << record_place(self.config).size, init=[])
        write, read = memory.write_port(), memory.read_port(domain="comb")
        m.d.comb += [read.addr.eq(place), write.addr.eq(self.record_place), write.en.eq(self.record_valid)]
        for index in range(self.config.rows):
            kept, record = write.data[index], self.record[index]
            with m.If(self.plan.partial):
                m.d.comb += [kept.partial.m.eq(record.m), kept.partial.l.eq(record.l)]
            with m.Else():
                m.d.comb += [kept.whole[name].eq(record[name]) for name in ("lse", "exponent", "factor")]
        return read.data
