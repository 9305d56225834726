"""Partial results of attention over different keys, fetched to be merged: merge jobs.

For each chunk, part by part, context by context, a record comes in: its m and l enter the running state as a
page's would, and its O the O memory in place of a page's weighted values. One record is at work at a time.
"""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..control.job import command
from ..memory.realign import words
from ..stream import Gearbox, SerialGearbox, fork
from .descriptor import PARTIAL_HEADER, PARTIAL_PLANES
from .layout import CHUNKS, MAXIMUM_BITS, O_BITS, merge_tag
from .plan import ADDRESS_BITS, plan_layout, times
from .softmax import block_state
from .state import EMPTY_MAXIMUM
from .table import PAGE_BITS, chunk_layout, page_layout

__all__ = ["part_layout", "PartAddresses", "PartLoader"]


def part_layout(config):
    """One record: whose it is, and where its O goes."""
    return data.StructLayout({
        "bank": range(CHUNKS), "context": range(config.contexts), "first": 1, "final": 1,
        "rows": range(config.rows + 1), "address": range(config.state_words)})


class PartAddresses(wiring.Component):
    """Asks for the records of every chunk.

    Members
    -------
    plan : In
    i : In(stream(chunk_layout)), i_page : In(stream(page_layout))
    o_command : Out(stream(command)), o_part : Out(stream(part_layout))

    Throughput: a record in three cycles, one more a part of a chunk: its rows, its bytes, its offer.
    """

    def __init__(self, config):
        self.config = config
        super().__init__({
            "plan": In(plan_layout(config)), "i": In(stream.Signature(chunk_layout(config))),
            "i_page": In(stream.Signature(page_layout(config))),
            "o_command": Out(stream.Signature(command(ADDRESS_BITS))),
            "o_part": Out(stream.Signature(part_layout(config))),
        })

    def elaborate(self, platform):
        m = Module()
        config, plan, chunk, part = self.config, self.plan, self.i.payload, self.o_part.payload
        done, context = Signal(PAGE_BITS), Signal(range(config.contexts))
        addr, start = Signal(ADDRESS_BITS), Signal(ADDRESS_BITS)
        row_base = Signal(range(config.state_words + 1))
        # A record is at work; its rows are known; it is on offer.
        active, counted, offered, last = Signal(), Signal(), Signal(), Signal()
        at_last = context + 1 == chunk.contexts
        m.d.sync += [
            counted.eq(active), last.eq(at_last), part.bank.eq(chunk.bank),
            part.rows.eq(Mux(at_last, chunk.last_rows, config.rows)),
            part.first.eq(done == 0), part.final.eq(done + 1 == chunk.pages),
        ]
        sent = fork(m, offered, self.o_command, self.o_part)
        m.d.comb += [
            start.eq(self.i_page.payload.addr + chunk.part), self.o_command.payload.addr.eq(addr),
            part.context.eq(context), part.address.eq(row_base), self.i.ready.eq(sent & last & part.final),
        ]
        with m.If(~offered):
            m.d.sync += [offered.eq(counted),
                         self.o_command.payload.bytes.eq(times(plan.part_words, part.rows) << 1)]
        with m.If(~active):
            m.d.comb += self.i_page.ready.eq(self.i.valid)
            with m.If(self.i_page.valid & self.i_page.ready):
                m.d.sync += [active.eq(1), addr.eq(start), context.eq(0), row_base.eq(0)]
        with m.If(sent):
            m.d.sync += [context.eq(context + 1), addr.eq(addr + plan.part_stride),
                         row_base.eq(row_base + plan.head_dim), offered.eq(0), counted.eq(0)]
            with m.If(last):
                m.d.sync += [active.eq(0), done.eq(Mux(part.final, 0, done + 1))]
        return m


class PartLoader(wiring.Component):
    """Unpacks records and feeds them to the running state and the O memory.

    Members
    -------
    i : In(stream(words)), i_part : In(stream(part_layout))
    o_state : Out(block_state)
    unit_ready : In(1)
        The running state has the factors of what was last given.
    o : Out(struct ``valid``, ``addr``, ``tag``, ``value``)
        Words of O.
    credit_return : In(1)
        A word of results left its queue.

    Throughput: a word of O in three cycles, a record's header in four.
    """

    def __init__(self, config):
        self.config = config
        self.credits = 2 * config.lanes
        super().__init__({
            "i": In(stream.Signature(words(config.bus_bytes))),
            "i_part": In(stream.Signature(part_layout(config))),
            "o_state": Out(block_state(config)),
            "unit_ready": In(1),
            "o": Out(data.StructLayout({
                "valid": 1, "addr": range(config.state_words), "tag": merge_tag(config),
                "value": data.ArrayLayout(signed(O_BITS), config.rows)})),
            "credit_return": In(1),
        })

    def elaborate(self, platform):
        m = Module()
        config, part, rows = self.config, self.i_part.payload, self.config.rows
        m.submodules.gearbox = gearbox = (SerialGearbox if config.vector_cycles > 1 else Gearbox)(
            8, config.bus_bytes, 2 * rows)
        inside, entered = Signal(), Signal()        # a record is at work; its last byte is in the gearbox
        index, dim = Signal(range(max(PARTIAL_HEADER, PARTIAL_PLANES))), Signal(range(config.max_head_dim))
        credits = Signal(range(self.credits + 1), init=self.credits)
        low = Signal(32 * rows)                     # the two words before this one
        word = gearbox.o.payload.data.as_value()
        taken, spend = Signal(), Signal()
        # The third of three words, and whether O may leave with it. There is room for a word of results when there was
        # in the cycle before, as the one before that has been spent two cycles ago or more.
        at_third, may = index[1], Signal()
        taking, giving = Signal(), Signal()         # in HEADER or WORDS; in GIVE
        m.d.comb += [
            # Between records the payload is anything, and words of no bytes would come out of an empty gearbox.
            gearbox.take.eq(Mux(self.i_part.valid, part.rows << 1, 2)), gearbox.i.payload.eq(self.i.payload),
            gearbox.i.valid.eq(self.i.valid & inside & ~entered),
            self.i.ready.eq(gearbox.i.ready & inside & ~entered),
            gearbox.o.ready.eq(giving | taking & (~at_third | may)), taken.eq(gearbox.o.valid & gearbox.o.ready),
            self.o_state.valid.eq(giving), self.o.valid.eq(gearbox.o.valid & taking & at_third & may),
            spend.eq(self.o.valid & part.final),
            self.o_state.tag.bank.eq(part.bank), self.o_state.tag.context.eq(part.context),
            self.o_state.tag.first.eq(part.first), self.o_state.tag.final.eq(part.final),
            self.o.addr.eq(part.address + dim), self.o.tag.bank.eq(part.bank), self.o.tag.first.eq(part.first),
            self.o.tag.final.eq(part.final),
        ]
        with m.If(gearbox.i.valid & gearbox.i.ready & self.i.payload.last):
            m.d.sync += entered.eq(1)
        with m.If(taken):
            m.d.sync += [low.eq(Cat(low[16 * rows:], word)), index.eq(Mux(at_third, 0, index + 1))]
        m.d.sync += credits.eq(credits + self.credit_return - spend)
        # Rows that hold a token: a record is here for more than a cycle before its first word is whole.
        tokens = Signal(rows)
        m.d.sync += tokens.eq(Cat(row < part.rows for row in range(rows)))
        for row, exists in enumerate(tokens):
            first, second, third = (low.word_select(row, 16), low.word_select(rows + row, 16),
                                    word.word_select(row, 16))
            # Words of the header: m, low and high half of l. A row that holds no token has seen nothing.
            m.d.comb += [
                self.o_state.m[row].eq(Mux(exists, first[:MAXIMUM_BITS].as_signed(), EMPTY_MAXIMUM)),
                self.o_state.l[row].eq(Mux(exists, Cat(second, third), 0)),
                self.o.value[row].eq(Mux(exists, Cat(first, second, third[:8]).as_signed(), 0)),
            ]
        with m.FSM() as fsm:
            with m.State("IDLE"):
                m.d.sync += entered.eq(0)
                with m.If(self.i_part.valid):
                    m.d.sync += [inside.eq(1), taking.eq(1)]
                    m.next = "HEADER"
            with m.State("HEADER"):
                with m.If(gearbox.o.valid & at_third):
                    m.d.sync += [taking.eq(0), giving.eq(1)]
                    m.next = "GIVE"
            with m.State("GIVE"):
                # A cycle of its own, as many registers wait for it.
                m.d.sync += giving.eq(0)
                m.next = "STATE"
            with m.State("STATE"):
                with m.If(self.unit_ready):
                    m.d.sync += taking.eq(1)
                    m.next = "WORDS"
            with m.State("WORDS"):
                with m.If(self.o.valid):
                    m.d.sync += dim.eq(dim + 1)
                    with m.If(gearbox.o.payload.last):
                        m.d.comb += self.i_part.ready.eq(1)
                        m.d.sync += [dim.eq(0), inside.eq(0), taking.eq(0)]
                        m.next = "IDLE"
        m.d.sync += may.eq(fsm.ongoing("WORDS") & (~part.final | (credits != 0)))
        return m
