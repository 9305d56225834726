"""Segments of a cached group: fetched, checked against the cache, and turned into the pages that each chunk sees."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..kvcache.descriptor import (
    BLOCK_UNIT,
    GENERATION_BITS,
    LENGTH_BITS,
    RECORD_BYTES,
    SLOT_BITS,
    CacheGeometry,
    CachePolicy,
    CacheStatus,
)
from ..kvcache.lookup import LookupAnswer, LookupRequest
from .descriptor import BASE_BYTES, SEGMENT_BYTES, SEGMENT_FIELDS, SEGMENTS, Segment
from .hitters.layout import cell_group_layout
from .layout import CHUNKS, GROUPS, mask_address
from .plan import ADDRESS_BITS, plan_layout
from .table import PAGE_BITS, page_layout

__all__ = ["kept_segment", "survey_layout", "SegmentWalk"]

INDEX_BITS = 16
"""Of an entry of a block table."""

kept_segment = data.StructLayout({
    "slot": unsigned(SLOT_BITS), "generation": unsigned(GENERATION_BITS), "first": unsigned(INDEX_BITS),
    "end": unsigned(LENGTH_BITS),
    "fenced": unsigned(INDEX_BITS),     # pages from this one on hold places that are not committed
    "rows": unsigned(64),
})
"""A segment as it is kept on chip."""


def survey_layout(config):
    """A chunk of rows: where its masks go, the rows it has, and between which positions it may see keys."""
    return data.StructLayout({
        "bank": range(CHUNKS), "contexts": range(config.contexts + 1), "last_rows": range(config.rows + 1),
        "low": unsigned(LENGTH_BITS), "high": unsigned(LENGTH_BITS)})


class SegmentWalk(wiring.Component):
    """The segments of one group.

    ``load`` takes them in: each is looked up and checked. ``survey`` counts, for a chunk, the pages that its rows see,
    and keeps which rows see which segment. ``emit`` offers those pages, each looked up again.

    A page that holds reserved places waits until the group's head has been appended; so does a group over cells as a
    whole, as any of its pages may hold new keys. If nobody appends, that is a fault.

    Members
    -------
    plan : In, geometry : In(CacheGeometry)
    head : In(16), count : In(8), address : In(48)
        The group's, constant from ``load`` on.
    load, survey, emit : In(1)
        Begin, while not ``busy``.
    chunk : In(survey_layout)
        Constant from ``survey`` to the end of ``emit``.
    busy : Out(1)
    i : In(stream(64))
        Segments, four elements each.
    pages : Out
        That the surveyed chunk sees.
    o_page : Out(stream(page_layout)), o_group : Out(stream(cell_group_layout))
        In a job over cells a group is offered once, at the end of ``load``.
    lookup : Out(stream(LookupRequest)), found : In(stream(LookupAnswer))
    appending : In(1)
        An append job is at work or waits for its turn, or what it has done is not yet known to the cache.
    mask_addr : In(mask_address), mask : Out(P)
        Rows of a context that see a segment; answered in the next cycle.
    fault : Out(struct ``valid``, ``field``, ``address``)
        A segment is illegal: its first illegal field, and its address. It stays.

    Cycles, with a lookup's q: 4 elements, q + 2 for each segment of a load; 3 and one a context for each of a survey;
    q + 5 for each page. Cost: a memory of 64 segments, one of 128 C words of P bits, one 16 x 24 multiplier.
    """

    def __init__(self, config):
        self.config = config
        super().__init__({
            "plan": In(plan_layout(config)), "geometry": In(CacheGeometry),
            "head": In(16), "count": In(8), "address": In(ADDRESS_BITS),
            "load": In(1), "survey": In(1), "emit": In(1), "chunk": In(survey_layout(config)), "busy": Out(1),
            "i": In(stream.Signature(64)), "pages": Out(PAGE_BITS),
            "o_page": Out(stream.Signature(page_layout(config))),
            "o_group": Out(stream.Signature(cell_group_layout(config))),
            "lookup": Out(stream.Signature(LookupRequest)), "found": In(stream.Signature(LookupAnswer)),
            "appending": In(1), "mask_addr": In(mask_address(config)), "mask": Out(config.rows),
            "fault": Out(data.StructLayout({"valid": 1, "field": 8, "address": ADDRESS_BITS})),
        })

    def elaborate(self, platform):
        m = Module()
        config, plan, geometry, chunk = self.config, self.plan, self.geometry, self.chunk
        log_lanes = config.lanes.bit_length() - 1

        m.submodules.segments = memory = Memory(shape=kept_segment, depth=SEGMENTS, init=[])
        read, write = memory.read_port(), memory.write_port()
        index = Signal(range(SEGMENTS))
        segment = Signal(kept_segment)
        m.d.comb += [read.addr.eq(index), read.en.eq(1), write.addr.eq(index), write.data.eq(segment)]
        last_segment = index + 1 == self.count

        m.submodules.masks = masks = Memory(shape=config.rows, depth=1 << mask_address(config).size, init=[])
        mask_read, mask_write = masks.read_port(), masks.write_port()
        context = Signal(range(config.contexts))
        target = Signal(mask_address(config))
        m.d.comb += [
            mask_read.addr.eq(self.mask_addr), mask_read.en.eq(1), self.mask.eq(mask_read.data),
            target.bank.eq(chunk.bank), target.segment.eq(index), target.context.eq(context),
            mask_write.addr.eq(target), mask_write.data.eq(segment.rows[:config.rows]),
        ]

        # One multiplier, two cycles from its operands to the product.
        factor, size, product = Signal(16), Signal(24), Signal(40)
        m.d.sync += product.eq(factor * size)
        head_offset = Signal(40)

        raw, part = Signal(Segment), Signal(range(SEGMENT_BYTES // BASE_BYTES))
        answer = Signal(LookupAnswer)
        asked = self.lookup.payload
        answered = self.found.valid & self.found.ready
        with m.If(answered):
            m.d.sync += answer.eq(self.found.payload)
        written, hope = Signal(), Signal()
        m.d.comb += written.eq(answer.appended > self.head)
        # An answer from before the end of an append job does not tell what the job did in the end.
        with m.If(self.lookup.valid & self.lookup.ready):
            m.d.sync += hope.eq(self.appending)

        # Pages of the segment that the chunk may see.
        last_context = context + 1 == chunk.contexts
        exists = Signal(config.rows)
        m.d.comb += exists.eq(Mux(last_context, (Const(1) << chunk.last_rows) - 1, (1 << config.rows) - 1))
        sees, some = Signal(SEGMENTS), Signal()
        here = Signal()
        low_page = chunk.low >> log_lanes
        first_page, end, end_page = Signal(INDEX_BITS), Signal(LENGTH_BITS), Signal(INDEX_BITS)
        m.d.comb += [
            first_page.eq(Mux(segment.first > low_page, segment.first, low_page)),
            end.eq(Mux(segment.end < chunk.high, segment.end, chunk.high)),
            end_page.eq((end + (config.lanes - 1)) >> log_lanes),
            here.eq(some & (end_page > first_page)),
        ]
        page = Signal(INDEX_BITS)
        left = Signal(LENGTH_BITS + 1)
        m.d.comb += left.eq(end - (page << log_lanes))
        offer = self.o_page.payload
        m.d.comb += [
            offer.keys.eq(Mux(left > config.lanes, config.lanes, left)), offer.position.eq(page << log_lanes),
            offer.segment.eq(index),
        ]
        emitting = Signal()

        bad, field = self._judge(m, raw, answer, written, hope, self._under_way(m, raw))
        self._group(m, answer, product, raw)
        with m.FSM() as fsm:
            m.d.comb += self.busy.eq(~fsm.ongoing("IDLE"))
            with m.State("IDLE"):
                m.d.sync += [index.eq(0), part.eq(0)]
                with m.If(self.load):
                    m.d.sync += [factor.eq(self.head), size.eq(geometry.page_bytes)]
                    m.next = "FETCH"
                with m.If(self.survey):
                    m.d.sync += [self.pages.eq(0), emitting.eq(0)]
                    m.next = "READ"
                with m.If(self.emit):
                    m.d.sync += emitting.eq(1)
                    m.next = "READ"

            # Load.
            with m.State("FETCH"):
                m.d.comb += self.i.ready.eq(1)
                with m.If(self.i.valid):
                    m.d.sync += [raw.eq(Cat(raw.as_value()[64:], self.i.payload)), part.eq(part + 1)]
                    with m.If(part == SEGMENT_BYTES // BASE_BYTES - 1):
                        m.next = "LOOK"
                    with m.If((index == 0) & (part == 3)):
                        m.d.sync += head_offset.eq(product)
            with m.State("LOOK"):
                m.d.comb += [self.lookup.valid.eq(1), asked.slot.eq(raw.slot), asked.generation.eq(raw.generation),
                             asked.index.eq(raw.first)]
                with m.If(self.lookup.ready):
                    m.next = "ANSWER"
            with m.State("ANSWER"):
                m.d.comb += self.found.ready.eq(1)
                m.d.sync += [factor.eq(raw.slot), size.eq(geometry.heads)]
                with m.If(self.found.valid):
                    m.next = "CHECK"
            with m.State("CHECK"):
                waits = plan.cells & (answer.status == CacheStatus.OK) & ~written & hope
                with m.If(waits):
                    m.next = "LOOK"
                with m.Elif(bad):
                    m.d.sync += [self.fault.valid.eq(1), self.fault.field.eq(field),
                                 self.fault.address.eq(self.address + (index << 5))]
                    m.next = "STOP"
                with m.Else():
                    m.d.sync += [segment[name].eq(raw[name]) for name in ("slot", "generation", "first", "end", "rows")]
                    m.d.sync += segment.fenced.eq(Mux(plan.cells | (raw.end <= answer.length), -1,
                                                      answer.length >> log_lanes))
                    m.next = "KEEP"
            with m.State("KEEP"):
                m.d.comb += write.en.eq(1)
                m.d.sync += index.eq(index + 1)
                m.next = "FETCH"
                with m.If(last_segment):
                    m.next = "IDLE"
                    with m.If(plan.cells):
                        m.next = "GROUP"
            with m.State("GROUP"):
                m.d.comb += self.o_group.valid.eq(1)
                with m.If(self.o_group.ready):
                    m.next = "IDLE"

            # Survey and emit: segment by segment.
            with m.State("READ"):
                m.next = "HELD"
            with m.State("HELD"):
                m.d.sync += [segment.eq(read.data), context.eq(0), some.eq(0)]
                m.next = "ROWS"
                with m.If(emitting):
                    m.d.sync += some.eq(1)
                    m.next = "PAGES"
            with m.State("ROWS"):
                m.d.comb += mask_write.en.eq(1)
                m.d.sync += [
                    some.eq(some | (segment.rows[:config.rows] & exists).any()), context.eq(context + 1),
                    # The next chunk's rows move down, and these come again after 64.
                    segment.rows.eq(Cat(segment.rows[config.rows:], segment.rows[:config.rows])),
                ]
                with m.If(last_context):
                    m.next = "COUNT"
            with m.State("COUNT"):
                m.d.comb += write.en.eq(1)
                m.d.sync += [sees.bit_select(index, 1).eq(here), index.eq(index + 1)]
                with m.If(here):
                    m.d.sync += self.pages.eq(self.pages + (end_page - first_page))
                m.next = "READ"
                with m.If(last_segment):
                    m.next = "IDLE"
            with m.State("PAGES"):
                m.d.sync += page.eq(first_page)
                m.next = "ASK"
                with m.If(~sees.bit_select(index, 1)):
                    m.d.sync += index.eq(index + 1)
                    m.next = "READ"
                    with m.If(last_segment):
                        m.next = "IDLE"
            with m.State("ASK"):
                m.d.comb += [self.lookup.valid.eq(1), asked.slot.eq(segment.slot),
                             asked.generation.eq(segment.generation), asked.index.eq(page)]
                with m.If(self.lookup.ready):
                    m.next = "TOLD"
            with m.State("TOLD"):
                m.d.comb += self.found.ready.eq(1)
                with m.If(self.found.valid):
                    m.d.sync += [factor.eq(self.found.payload.block), size.eq(geometry.block_units)]
                    m.next = "FENCE"
            with m.State("FENCE"):
                # The product is there in the next cycle.
                lost = (answer.status != CacheStatus.OK) | ~answer.present
                early = (page >= segment.fenced) & ~written
                m.next = "OFFER"
                with m.If(lost | early & ~hope):
                    m.d.sync += [self.fault.valid.eq(1), self.fault.address.eq(self.address + (index << 5)),
                                 self.fault.field.eq(SEGMENT_FIELDS.index("end"))]
                    with m.If(lost):
                        m.d.sync += self.fault.field.eq(SEGMENT_FIELDS.index("first"))
                    m.next = "STOP"
                with m.Elif(early):
                    m.next = "ASK"
            with m.State("OFFER"):
                m.d.comb += [self.o_page.valid.eq(1), offer.addr.eq(
                    geometry.base + (product << (BLOCK_UNIT.bit_length() - 1)) + head_offset)]
                with m.If(self.o_page.ready):
                    m.d.sync += page.eq(page + 1)
                    m.next = "ASK"
                    with m.If(page + 1 == end_page):
                        m.d.sync += index.eq(index + 1)
                        m.next = "READ"
                        with m.If(last_segment):
                            m.next = "IDLE"
            with m.State("STOP"):
                pass
        return m

    def _under_way(self, m, raw):
        """Whether the head's turn has come in spite of what the cache says: this job adds to the head before it just
        now, and not to this one. (Two groups are on chip, and the end of one more may be on its way to the cache.)"""
        entry = data.StructLayout({"valid": 1, "slot": SLOT_BITS, "head": 16})
        latest = [Signal(entry, name=f"latest_{index}") for index in range(GROUPS - 1)]
        with m.If(self.o_group.valid & self.o_group.ready):
            m.d.sync += [latest[0].valid.eq(1), latest[0].slot.eq(raw.slot), latest[0].head.eq(self.head)]
            m.d.sync += [after.eq(before) for before, after in zip(latest, latest[1:])]
        same = [item.valid & (item.slot == raw.slot) for item in latest]
        before = Cat(mine & (item.head + 1 == self.head) for mine, item in zip(same, latest)).any()
        again = Cat(mine & (item.head == self.head) for mine, item in zip(same, latest)).any()
        return before & ~again

    def _judge(self, m, raw, answer, written, hope, under_way):
        """Whether the segment at hand is illegal, and its first illegal field."""
        plan, log_lanes = self.plan, self.config.lanes.bit_length() - 1
        readable = Signal(LENGTH_BITS)
        m.d.comb += readable.eq(answer.length + Mux(written | hope, answer.reserved, 0))
        start = Signal(INDEX_BITS + log_lanes)
        m.d.comb += start.eq(raw.first << log_lanes)
        cells_wrong = (raw.end != answer.filled) | ~written | Mux(
            plan.hitters, (answer.summed != self.head) & ~under_way, answer.summed > self.head)
        conditions = [
            ("slot", answer.status == CacheStatus.NO_SEQUENCE),
            ("generation", answer.status != CacheStatus.OK),
            ("first", (start >= raw.end) & (raw.end != 0) | plan.cells & (raw.first != 0)),
            ("zero_first", raw.zero_first != 0),
            # Without cells a heavy-hitter sequence has no places that could be named by position.
            ("end", (raw.end == 0) | (plan.cells != (answer.policy == CachePolicy.HEAVY))
             | Mux(plan.cells, cells_wrong, raw.end > readable)),
            ("zero_end", raw.zero_end != 0),
            ("reserved", raw.reserved != 0),
        ]
        field = Signal(8)
        for name, condition in reversed(conditions):
            with m.If(condition):
                m.d.comb += field.eq(SEGMENT_FIELDS.index(name))
        return Cat(condition for _, condition in conditions).any(), field

    def _group(self, m, answer, product, raw):
        """What the unit for heavy hitters is told; ``product`` is slot * heads."""
        group, geometry = self.o_group.payload, self.geometry
        budget, used, held = (Signal(LENGTH_BITS + 1, name=name) for name in ("budget", "used", "held"))
        m.d.comb += [
            budget.eq(answer.size + answer.recent), used.eq(Mux(answer.length < budget, answer.length, budget)),
            held.eq(used + answer.reserved),
            group.slot.eq(raw.slot), group.log_cells.eq(geometry.log_cells),
            group.record.eq(geometry.records + ((product + self.head)
                                                << (geometry.log_cells + (RECORD_BYTES.bit_length() - 1)))),
            group.before.eq(answer.before), group.used.eq(used), group.tokens.eq(answer.reserved),
            group.filled.eq(answer.filled), group.length.eq(answer.length), group.recent.eq(answer.recent),
            group.drop.eq(Mux(held > budget, held - budget, 0)),
        ]
