"""Segments of a cached group: fetched, checked against the cache, and turned into the pages that each chunk sees."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..kvcache.descriptor import (
    BLOCK_UNIT,
    GENERATION_BITS,
    LENGTH_BITS,
    RECORD_BYTES,
    CacheGeometry,
    CachePolicy,
    CacheStatus,
)
from ..kvcache.lookup import LookupAnswer, LookupRequest
from ..stream import read_later
from .descriptor import BASE_BYTES, SEGMENT_BYTES, SEGMENT_FIELDS, SEGMENTS, Segment
from .hitters.layout import cell_group_layout
from .layout import CHUNKS, GROUPS, mask_address, place_bits
from .plan import address_bits, plan_layout
from .product import RunningProduct, saturated
from .table import PAGE_BITS, page_layout

__all__ = ["survey_layout", "SegmentWalk"]

FACTOR_BITS = 20
"""Of heads, slots and blocks, and of the powers of two that a record has bytes."""


def kept_layouts(config):
    """What is kept on chip of a legal segment, a word each: the rows that see it, and whether those of the surveyed
    chunk do; and the places. The cache has no more sequences, and a sequence no more places, than configured."""
    index = range(config.table_entries + 1)
    return data.StructLayout({"rows": unsigned(64), "seen": 1}), data.StructLayout({
        "slot": range(max(config.sequences, 2)), "generation": unsigned(GENERATION_BITS),
        "first": index, "end": unsigned(place_bits(config)),
        "fenced": index, "fence": 1})       # ``fence``: pages from ``fenced`` on hold places that are not committed


def _less(a, b):
    """Whether ``a`` is less than ``b``, by a carry chain: of sums synthesis else makes a long chain of gates."""
    return (a - b)[-1]


def survey_layout(config):
    """A chunk of rows: where its masks go, the rows it has, and between which positions it may see keys."""
    place = unsigned(place_bits(config))
    return data.StructLayout({
        "bank": range(CHUNKS), "contexts": range(config.contexts + 1), "last_rows": range(config.rows + 1),
        "low": place, "high": place})


class SegmentWalk(wiring.Component):
    """The segments of one group.

    ``load`` takes them in: each is looked up and checked. ``survey`` counts, for a chunk, the pages that its rows see,
    and keeps which rows see which segment. ``emit`` offers those pages, each looked up again.

    A page that holds reserved places waits until the group's head has been appended; so does a group over cells as a
    whole, as any of its pages may hold new keys. If nobody appends, that is a fault.

    Members
    -------
    plan : In, geometry : In(CacheGeometry)
    head : In(16), count : In(8)
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
    fault : Out(struct ``valid``, ``field``, ``index``)
        A segment is illegal: its first illegal field, and its number in the list. It stays.

    Where the geometry or a block's number leads out of the address space, a page's ``addr`` and a group's ``record``
    have their highest bit set, so that the guard refuses them.

    Cycles, with a lookup's q: 4 elements, q + 5 for each segment of a load, and some 30 for the record of a group over
    cells; 4 and one a context for each segment of a survey; for each page q + 3, and one for each bit of the block's
    number, at least one. Cost: 1,400 LUTs of an ECP5 (`ecp5`), a memory of 128 words of 65 bits, one of 128 C words of
    P bits.
    """

    def __init__(self, config):
        self.config = config
        super().__init__({
            "plan": In(plan_layout(config)), "geometry": In(CacheGeometry),
            "head": In(16), "count": In(8),
            "load": In(1), "survey": In(1), "emit": In(1), "chunk": In(survey_layout(config)), "busy": Out(1),
            "i": In(stream.Signature(64)), "pages": Out(PAGE_BITS),
            "o_page": Out(stream.Signature(page_layout(config))),
            "o_group": Out(stream.Signature(cell_group_layout(config))),
            "lookup": Out(stream.Signature(LookupRequest)), "found": In(stream.Signature(LookupAnswer)),
            "appending": In(1), "mask_addr": In(mask_address(config)), "mask": Out(config.rows),
            "fault": Out(data.StructLayout({"valid": 1, "field": 8, "index": range(SEGMENTS)})),
        })

    def elaborate(self, platform):
        m = Module()
        config, plan, geometry, chunk = self.config, self.plan, self.geometry, self.chunk
        log_lanes = config.lanes.bit_length() - 1

        seen_by, places = kept_layouts(config)
        m.submodules.segments = memory = Memory(shape=max(seen_by.size, places.size), depth=2 * SEGMENTS, init=[])
        write = memory.write_port()
        index, half = Signal(range(SEGMENTS)), Signal()     # half: of a segment, its places
        rows, segment, looked_up = Signal(seen_by), Signal(places), Signal(places)
        m.d.comb += [write.addr.eq(Cat(0, index)), write.data.eq(rows)]
        kept = read_later(m, memory, Cat(half, index), write, same=1)
        last_segment = index + 1 == self.count

        m.submodules.masks = masks = Memory(shape=config.rows, depth=1 << mask_address(config).size, init=[])
        mask_read, mask_write = masks.read_port(), masks.write_port()
        context = Signal(range(config.contexts))
        target = Signal(mask_address(config))
        m.d.comb += [
            mask_read.addr.eq(self.mask_addr), mask_read.en.eq(1), self.mask.eq(mask_read.data),
            target.bank.eq(chunk.bank), target.segment.eq(index), target.context.eq(context),
            mask_write.addr.eq(target), mask_write.data.eq(rows.rows[:config.rows]),
        ]

        # Addresses: of the group's head in block 0, of its record, of pages.
        width = address_bits(config)
        m.submodules.product = product = RunningProduct(width, FACTOR_BITS)
        head_base, heading = Signal(width), Signal()
        unit = BLOCK_UNIT.bit_length() - 1
        page_size, answer = Signal(width), Signal(LookupAnswer)
        m.d.comb += [
            page_size.eq(saturated(Cat(Const(0, unit), geometry.block_units), width)),
            # What most begin with; head and record begin otherwise.
            product.start.eq(head_base), product.size.eq(page_size), product.factor.eq(answer.block),
        ]
        # Whether segments are read for their pages; else they are loaded or counted.
        emitting, asks = Signal(), Signal()
        with m.If(heading & ~product.busy):
            m.d.sync += [head_base.eq(product.sum), heading.eq(0)]

        raw, part = Signal(Segment), Signal(range(SEGMENT_BYTES // BASE_BYTES))
        asked = self.lookup.payload
        answered = self.found.valid & self.found.ready
        written, hope = Signal(), Signal()      # ``written``: what the answer says of the group's head
        with m.If(answered):
            m.d.sync += [answer.eq(self.found.payload), written.eq(_less(self.head, self.found.payload.appended))]
        # An answer from before the end of an append job does not tell what the job did in the end.
        with m.If(self.lookup.valid & self.lookup.ready):
            m.d.sync += hope.eq(self.appending)

        # Pages of the segment that the chunk may see: where they begin and end are registers, right from the second
        # cycle of a segment on, and so is what they say of the page at hand.
        last_context = context + 1 == chunk.contexts
        exists = Signal(config.rows)
        m.d.comb += exists.eq(Mux(last_context, (Const(1) << chunk.last_rows) - 1, (1 << config.rows) - 1))
        some, here, here_seen, early = Signal(), Signal(), Signal(), Signal()
        low_page = chunk.low >> log_lanes
        first_page, end_page, page = Signal.like(segment.first), Signal.like(segment.first), Signal.like(segment.first)
        end, pages = Signal.like(segment.end), Signal(range(SEGMENTS * config.table_entries + 1))
        seen_pages, last_keys = Signal(signed(len(end_page) + 1)), Signal(range(config.lanes + 1))
        m.d.comb += [
            end.eq(Mux(segment.end < chunk.high, segment.end, chunk.high)),
            seen_pages.eq(end_page - first_page), here.eq(some & (seen_pages > 0)), self.pages.eq(pages),
        ]
        following, last_page = Signal.like(page), Signal()
        offer = self.o_page.payload
        m.d.comb += [
            following.eq(page + 1), offer.position.eq(page << log_lanes), offer.segment.eq(index),
            offer.keys.eq(Mux(last_page, last_keys, config.lanes)), offer.addr.eq(product.sum),
        ]
        m.d.sync += [
            first_page.eq(Mux(segment.first > low_page, segment.first, low_page)),
            end_page.eq((end + (config.lanes - 1)) >> log_lanes), last_keys.eq((end - 1)[:log_lanes] + 1),
            last_page.eq(following == end_page), early.eq(segment.fence & (page >= segment.fenced)),
        ]

        # A lookup is on offer from the first cycle of its state on, and follows from registers: much waits for it.
        m.d.comb += [
            self.lookup.valid.eq(asks), asked.slot.eq(Mux(emitting, segment.slot, raw.slot)),
            asked.generation.eq(Mux(emitting, segment.generation, raw.generation)),
            asked.index.eq(Mux(emitting, page, raw.first)),
        ]
        with m.If(self.lookup.ready):
            m.d.sync += asks.eq(0)

        def ask(state):
            m.d.sync += asks.eq(1)
            m.next = state

        bad, field, waits = self._judge(m, raw, answer, written, hope, self._under_way(m, raw))
        self._group(m, answer, product.sum, raw)
        m.d.comb += [
            self.fault.index.eq(index),
            *(looked_up[name].eq(raw[name]) for name in ("slot", "generation", "first", "end")),
            looked_up.fence.eq(~plan.cells & (raw.end > answer.length)),
            looked_up.fenced.eq(answer.length >> log_lanes),
        ]
        with m.FSM() as fsm:
            m.d.comb += self.busy.eq(~fsm.ongoing("IDLE"))
            with m.State("IDLE"):
                m.d.sync += [index.eq(0), part.eq(0)]
                m.d.comb += [product.load.eq(self.load), product.start.eq(saturated(geometry.base, width)),
                             product.size.eq(geometry.page_bytes), product.factor.eq(self.head)]
                with m.If(self.load):
                    m.d.sync += [heading.eq(1), emitting.eq(0)]
                    m.next = "FETCH"
                with m.If(self.survey):
                    m.d.sync += [pages.eq(0), emitting.eq(0)]
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
                        ask("LOOK")
            with m.State("LOOK"):
                with m.If(self.lookup.ready):
                    m.next = "ANSWER"
            with m.State("ANSWER"):
                m.d.comb += self.found.ready.eq(1)
                with m.If(self.found.valid):
                    m.next = "JUDGE"
            with m.State("JUDGE"):
                m.next = "JUDGED"
            with m.State("JUDGED"):
                m.next = "CHECK"
            with m.State("CHECK"):
                with m.If(waits):
                    ask("LOOK")
                with m.Elif(bad):
                    m.d.sync += [self.fault.valid.eq(1), self.fault.field.eq(field)]
                    m.next = "STOP"
                with m.Else():
                    m.d.comb += [write.en.eq(1), write.addr[0].eq(1), write.data.eq(looked_up)]
                    m.d.sync += rows.rows.eq(raw.rows)
                    m.next = "KEEP"
            with m.State("KEEP"):
                m.d.comb += write.en.eq(1)
                m.d.sync += index.eq(index + 1)
                m.next = "FETCH"
                with m.If(last_segment):
                    m.next = "IDLE"
                    with m.If(plan.cells):
                        m.next = "HEADING"
            # A record's number, then its address.
            with m.State("HEADING"):
                m.d.comb += [product.load.eq(~heading), product.start.eq(self.head), product.size.eq(geometry.heads),
                             product.factor.eq(raw.slot)]
                with m.If(~heading):
                    m.next = "NUMBER"
            with m.State("NUMBER"):
                m.d.comb += [product.load.eq(~product.busy), product.start.eq(saturated(geometry.records, width)),
                             product.size.eq(product.sum), product.factor.eq(Const(RECORD_BYTES) << geometry.log_cells)]
                with m.If(~product.busy):
                    m.next = "RECORD"
            with m.State("RECORD"):
                with m.If(~product.busy):
                    m.next = "GROUP"
            with m.State("GROUP"):
                m.d.comb += self.o_group.valid.eq(1)
                with m.If(self.o_group.ready):
                    m.next = "IDLE"

            # Survey and emit: segment by segment. The first word read is what is needed first.
            with m.State("READ"):
                m.d.comb += half.eq(emitting)
                m.next = "HELD"
            with m.State("HELD"):
                m.d.comb += half.eq(~emitting)
                m.d.sync += [context.eq(0), some.eq(0)]
                m.next = "ROWS"
                with m.If(emitting):
                    m.d.sync += segment.eq(kept)
                    m.next = "PAGES"
                with m.Else():
                    m.d.sync += rows.eq(kept)
            with m.State("ROWS"):
                m.d.comb += mask_write.en.eq(1)
                m.d.sync += [
                    some.eq(some | (rows.rows[:config.rows] & exists).any()), context.eq(context + 1),
                    # The next chunk's rows move down, and these come again after 64.
                    rows.rows.eq(Cat(rows.rows[config.rows:], rows.rows[:config.rows])),
                ]
                with m.If(context == 0):
                    m.d.sync += segment.eq(kept)
                with m.If(last_context):
                    m.next = "SURVEYED"
            with m.State("SURVEYED"):
                m.next = "COUNT"
            with m.State("COUNT"):
                m.d.comb += [write.en.eq(1), write.data[len(rows.rows)].eq(here)]
                m.d.sync += index.eq(index + 1)
                with m.If(here):
                    m.d.sync += pages.eq(pages + seen_pages[:-1])
                m.next = "READ"
                with m.If(last_segment):
                    m.next = "IDLE"
            with m.State("PAGES"):
                m.d.sync += here_seen.eq(data.View(seen_by, kept[:seen_by.size]).seen)
                m.next = "PAGE"
            with m.State("PAGE"):
                m.d.sync += [page.eq(first_page), asks.eq(here_seen)]
                m.next = "ASK"
                with m.If(~here_seen):
                    m.d.sync += index.eq(index + 1)
                    m.next = "READ"
                    with m.If(last_segment):
                        m.next = "IDLE"
            with m.State("ASK"):
                with m.If(self.lookup.ready):
                    m.next = "TOLD"
            with m.State("TOLD"):
                m.d.comb += self.found.ready.eq(~heading)
                with m.If(answered):
                    m.next = "FENCE"
            with m.State("FENCE"):
                m.d.comb += product.load.eq(1)
                lost = (answer.status != CacheStatus.OK) | ~answer.present
                m.next = "OFFER"
                with m.If(lost | early & ~written & ~hope):
                    m.d.sync += [self.fault.valid.eq(1), self.fault.field.eq(SEGMENT_FIELDS.index("end"))]
                    with m.If(lost):
                        m.d.sync += self.fault.field.eq(SEGMENT_FIELDS.index("first"))
                    m.next = "STOP"
                with m.Elif(early & ~written):
                    ask("ASK")
            with m.State("OFFER"):
                m.d.comb += self.o_page.valid.eq(~product.busy)
                with m.If(self.o_page.valid & self.o_page.ready):
                    m.d.sync += page.eq(following)
                    ask("ASK")
                    with m.If(last_page):
                        m.d.sync += [index.eq(index + 1), asks.eq(0)]
                        m.next = "READ"
                        with m.If(last_segment):
                            m.next = "IDLE"
            with m.State("STOP"):
                pass
        return m

    def _under_way(self, m, raw):
        """Whether the head's turn has come in spite of what the cache says: this job adds to the head before it just
        now, and not to this one. (Two groups are on chip, and the end of one more may be on its way to the cache.)"""
        slot = raw.slot[:max((self.config.sequences - 1).bit_length(), 1)]      # of a sequence that there is
        entry = data.StructLayout({"valid": 1, "slot": len(slot), "head": 16, "following": 16})
        latest = [Signal(entry, name=f"latest_{index}") for index in range(GROUPS - 1)]
        with m.If(self.o_group.valid & self.o_group.ready):
            m.d.sync += [latest[0].valid.eq(1), latest[0].slot.eq(slot), latest[0].head.eq(self.head),
                         latest[0].following.eq(self.head + 1)]
            m.d.sync += [after.eq(before) for before, after in zip(latest, latest[1:])]
        same = [item.valid & (item.slot == slot) for item in latest]
        before = Cat(mine & (item.following == self.head) for mine, item in zip(same, latest)).any()
        again = Cat(mine & (item.head == self.head) for mine, item in zip(same, latest)).any()
        under_way = Signal()
        m.d.sync += under_way.eq(before & ~again)
        return under_way

    def _judge(self, m, raw, answer, written, hope, under_way):
        """Whether the segment at hand is illegal, its first illegal field, and whether it has to wait for its head: in
        the third cycle after the answer."""
        plan, log_lanes = self.plan, self.config.lanes.bit_length() - 1
        # The sum has a cycle of its own, and so have comparisons with the head. Whether places are reserved for good is
        # known late: both ends are compared with before.
        most = Signal(LENGTH_BITS)
        m.d.sync += most.eq(answer.length + answer.reserved)
        beyond = Mux(written | hope, _less(most, raw.end), _less(answer.length, raw.end))
        ahead, other = Signal(), Signal()
        m.d.sync += [ahead.eq(_less(self.head, answer.summed)), other.eq(answer.summed != self.head)]
        cells_wrong = (raw.end != answer.filled) | ~written | Mux(plan.hitters, other & ~under_way, ahead)
        end_page = (raw.end + (self.config.lanes - 1)) >> log_lanes
        conditions = [
            ("slot", answer.status == CacheStatus.NO_SEQUENCE),
            ("generation", answer.status != CacheStatus.OK),
            ("first", (raw.first >= end_page) & (raw.end != 0) | plan.cells & (raw.first != 0)),
            ("zero_first", raw.zero_first != 0),
            # Without cells a heavy-hitter sequence has no places that could be named by position.
            ("end", (raw.end == 0) | (plan.cells != (answer.policy == CachePolicy.HEAVY))
             | Mux(plan.cells, cells_wrong, beyond)),
            ("zero_end", raw.zero_end != 0),
            ("reserved", raw.reserved != 0),
        ]
        field, wrong, waits = Signal(8), Signal(len(conditions)), Signal()
        m.d.sync += [wrong.eq(Cat(condition for _, condition in conditions)),
                     waits.eq(plan.cells & (answer.status == CacheStatus.OK) & ~written & hope)]
        for index, (name, _) in reversed(list(enumerate(conditions))):
            with m.If(wrong[index]):
                m.d.comb += field.eq(SEGMENT_FIELDS.index(name))
        return wrong.any(), field, waits

    def _group(self, m, answer, record, raw):
        """What the unit for heavy hitters is told."""
        group = self.o_group.payload
        # Cells that the step leaves beyond the budget; before it no more than the budget are used.
        room, excess = Signal(signed(LENGTH_BITS + 2)), Signal(signed(LENGTH_BITS + 2))
        m.d.comb += [
            room.eq(answer.size + answer.recent - answer.length), excess.eq(answer.reserved - room),
            group.slot.eq(raw.slot), group.log_cells.eq(self.geometry.log_cells), group.record.eq(record),
            group.before.eq(answer.before), group.tokens.eq(answer.reserved), group.filled.eq(answer.filled),
            group.length.eq(answer.length), group.recent.eq(answer.recent),
            group.drop.eq(Mux(room < 0, answer.reserved, Mux(excess < 0, 0, excess))),
        ]
