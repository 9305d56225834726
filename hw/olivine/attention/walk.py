"""The walk over a job's table: fetched entry by entry, checked, and cut into chunks of rows with the pages they see.

For each group the walk reads its entry, then for each chunk of rows it goes over the rows, one a cycle, and
works out which keys each of them sees; from the first and the last follow the pages that the chunk needs.
It runs ahead of the array by one chunk, and by as many pages as the engine's queue of pages holds.
"""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..control.job import StatusCode, command
from ..kvcache.descriptor import CacheGeometry
from ..kvcache.lookup import LookupAnswer, LookupRequest
from .descriptor import BASE_BYTES, ENTRY_BYTES, SEGMENT_BYTES, SEGMENTS, AttentionGroup, CachedGroup
from .entries import EntryCheck
from .hitters.layout import cell_chunk_layout, cell_group_layout
from .layout import CHUNKS, bounds_layout, mask_address, place_bits, tree_address
from .plan import ADDRESS_BITS, STRIDE_BITS, address_bits, address_outside, plan_layout
from .segments import SegmentWalk
from .table import chunk_layout, page_layout, params_layout
from .trees import TreeMasks

__all__ = ["TableWalk", "kept_bounds"]


def kept_bounds(config):
    """Of `bounds_layout` what is stored: places on chip, and past all of them."""
    places = place_bits(config)
    return data.ArrayLayout(data.StructLayout({"low": places, "high": places}), config.rows)


class TableWalk(wiring.Component):
    """Walks the groups of a job.

    Members
    -------
    plan : In, geometry : In(CacheGeometry)
    o_command : Out(stream(command)), i : In(stream(64))
        What to read of table, segments, tree masks and lists, and what came.
    o_page : Out(stream(page_layout))
        Pages of each chunk, in order; one of a blank chunk.
    o_chunk : Out(stream(chunk_layout))
    o_group : Out(stream(cell_group_layout)), o_cells : Out(stream(cell_chunk_layout))
        Of a job over cells: each group before its chunks, each chunk before it is offered on ``o_chunk``.
    lookup, found, appending
        As of `SegmentWalk`.
    params : Out(ArrayLayout(params_layout, CHUNKS))
        By bank, from the chunk's offer to its end.
    bounds_addr : In(struct ``bank``, ``context``), bounds : Out(bounds_layout)
    mask_addr, mask : as of `SegmentWalk`; tree_addr, tree_column : as of `TreeMasks`
        Which keys the rows of a context see; answered in the next cycle.
    chunk_done : In(1)
        The oldest chunk has ended: its bank may be used again.
    done : Out(1)
        Every chunk of the job and all its pages have been taken.
    fault : Out(struct ``valid``, ``code``, ``field``, ``address``)
        An entry, a segment or a page's base is illegal. It stays.

    Cycles: 6 and the memory's latency and 8 elements for an entry, then for each chunk a cycle a row (P for
    each context) and 7, the memory's latency, and two for each of its pages; for a blank one a cycle a row and 5. Of a
    cached job `SegmentWalk` says what takes the list's place. Starts by itself after reset.
    """

    def __init__(self, config):
        self.config = config
        super().__init__({
            "plan": In(plan_layout(config)), "geometry": In(CacheGeometry),
            "o_command": Out(stream.Signature(command(address_bits(config)))), "i": In(stream.Signature(64)),
            "o_page": Out(stream.Signature(page_layout(config))),
            "o_chunk": Out(stream.Signature(chunk_layout(config))),
            "o_group": Out(stream.Signature(cell_group_layout(config))),
            "o_cells": Out(stream.Signature(cell_chunk_layout(config))),
            "lookup": Out(stream.Signature(LookupRequest)), "found": In(stream.Signature(LookupAnswer)),
            "appending": In(1),
            "params": Out(data.ArrayLayout(params_layout, CHUNKS)),
            "bounds_addr": In(data.StructLayout({"bank": range(CHUNKS), "context": range(config.contexts)})),
            "bounds": Out(bounds_layout(config)),
            "mask_addr": In(mask_address(config)), "mask": Out(config.rows),
            "tree_addr": In(tree_address(config)), "tree_column": Out(config.rows),
            "chunk_done": In(1), "done": Out(1),
            "fault": Out(data.StructLayout({"valid": 1, "code": StatusCode, "field": 8, "address": ADDRESS_BITS})),
        })

    def elaborate(self, platform):
        m = Module()
        config, plan, chunk = self.config, self.plan, self.o_chunk.payload
        groups, entry_addr = Signal(16), Signal(address_bits(config))
        raw = Signal(8 * ENTRY_BYTES)
        entry, cached = data.View(AttentionGroup, raw), data.View(CachedGroup, raw)
        elements = Signal(range(ENTRY_BYTES // BASE_BYTES))
        rows_left = Signal(20)
        free = Signal(range(CHUNKS + 1), init=CHUNKS)
        take_bank, ended = Signal(), Signal()
        m.d.sync += [ended.eq(self.chunk_done), free.eq(free + ended - take_bank)]

        m.submodules.check = check = EntryCheck(config)
        m.submodules.segments = segments = SegmentWalk(config)
        m.submodules.trees = trees = TreeMasks(config)
        m.d.comb += [
            check.plan.eq(plan), check.geometry.eq(self.geometry), check.entry.eq(raw),
            segments.plan.eq(plan), segments.geometry.eq(self.geometry), segments.head.eq(cached.head),
            segments.count.eq(cached.count),
            segments.appending.eq(self.appending), segments.mask_addr.eq(self.mask_addr), self.mask.eq(segments.mask),
            segments.chunk.bank.eq(chunk.bank), segments.chunk.contexts.eq(chunk.contexts),
            segments.chunk.last_rows.eq(chunk.last_rows),
            trees.bank.eq(chunk.bank), trees.contexts.eq(chunk.contexts), trees.last_rows.eq(chunk.last_rows),
            trees.addr.eq(self.tree_addr), self.tree_column.eq(trees.column),
            segments.i.payload.eq(self.i.payload), trees.i.payload.eq(self.i.payload),
        ]
        for source, target in ((segments.lookup, self.lookup), (segments.o_group, self.o_group)):
            wiring.connect(m, source, wiring.flipped(target))
        wiring.connect(m, wiring.flipped(self.found), segments.found)

        # Where the next row group lies; of a batch row groups lie as far apart as the entry says. In a merge job, which
        # has no queries, ``q`` says how far it lies into each partial result.
        log_rows = config.rows.bit_length() - 1
        q, o, rows_before, first_row = (Signal.like(chunk.q), Signal.like(chunk.o), Signal(20), Signal(20))
        q_stride, o_stride = Signal(STRIDE_BITS), Signal(STRIDE_BITS)
        m.d.comb += [
            chunk.batch.eq(cached.batch), chunk.lane.eq(cached.lane), chunk.q_words.eq(cached.q_words),
            chunk.o_words.eq(cached.o_words), chunk.part.eq(chunk.q), chunk.lse.eq(entry.lse + (first_row << 2)),
            q_stride.eq(Mux(chunk.batch, cached.q_words << (log_rows + 1),
                            Mux(plan.merge, plan.part_stride, plan.q_stride))),
            o_stride.eq(Mux(chunk.batch, cached.o_words << (log_rows + 1), plan.o_stride)),
        ]

        context, row, last_row = Signal(range(config.contexts)), Signal(range(config.rows)), Signal()
        bound = self._rows(m, entry, context, row, last_row)
        past, low_edge, upper, limit, capped, low, high, seen = (bound[name] for name in (
            "past", "low_edge", "upper", "limit", "capped", "low", "high", "seen"))
        head, last_head, one_head = Signal(9), Signal(), plan.heads == 1    # of the row's token
        exists = Signal()                       # rows are left
        m.d.comb += [seen.low.eq(Mux(exists, low, 0)), seen.high.eq(Mux(exists, high, 0))]

        # Pages of the chunk.
        log_lanes = config.lanes.bit_length() - 1
        chunk_low, chunk_high = Signal.like(low), Signal.like(low)
        begins = Signal(init=1)                 # the chunk's first row
        # Of counts what is looked at, a cycle after they change: of the group's rows and the job's groups later still;
        # rows go down by one a cycle, and pages every other cycle.
        last_chunk, last_group, few_rows, last_page = (
            Signal(name=name) for name in ("last_chunk", "last_group", "few_rows", "last_page"))
        first_chunk = Signal()                  # of the group
        # Pages of a chunk are no more than those of all segments; the partial results of a merge job, than keys.
        counts = range(max(config.max_sequence, SEGMENTS * config.table_entries) + 1)
        pages, left, number, first_page = Signal(counts), Signal(counts), Signal(counts), Signal(counts)
        last_keys = Signal(range(config.lanes + 1))
        # They are looked at cycles later; and ``chunk_low`` is that of the first of several rows.
        minus_low = Signal(len(low) - log_lanes)
        m.d.sync += [
            segments.chunk.low.eq(Mux(plan.cells, 0, chunk_low)),
            segments.chunk.high.eq(chunk_high | (plan.cells | plan.tree | ~plan.causal).replicate(len(chunk_high))),
            minus_low.eq(-(chunk_low >> log_lanes)),
        ]
        # Whole pages below ``chunk_high``, one more if there is a rest, less those below ``chunk_low``: one addition,
        # into which the rest is carried.
        seen_pages = Signal(len(minus_low) + 1)
        m.d.comb += seen_pages.eq((Cat(chunk_high[:log_lanes].any(), chunk_high[log_lanes:])
                                   + Cat(Const(1, 1), minus_low))[:len(minus_low) + 1])

        crooked, crooked_addr, page_moves = self._pages(m, entry, last_page, number, last_keys, segments)
        m.d.comb += [
            *(self.o_cells.payload[name].eq(chunk[name]) for name in ("bank", "contexts", "last_rows", "lse")),
            self.o_cells.payload.first.eq(first_chunk), self.o_cells.payload.last.eq(last_chunk),
        ]

        m.d.sync += [last_chunk.eq(rows_left == 0), last_group.eq(groups == 1), few_rows.eq(rows_left <= 2),
                     last_page.eq(left == 1)]

        # What is read lies at a base plus an offset, and so does what is at fault: registers, and their sum a cycle
        # later. Which they are follows from the state alone, as every bit waits for it.
        base, asked, asking = Signal(address_bits(config)), self.o_command.payload, Signal()
        offset = Signal(23)                     # of rows or pages, 8 bytes each
        failed = Signal()
        m.d.comb += self.o_command.valid.eq(asking)
        m.d.sync += self.fault.valid.eq(failed)
        with m.If(~asking & ~failed):
            m.d.sync += asked.addr.eq(base + offset)
        fault = self.fault
        m.d.comb += fault.address.eq(Mux(fault.code == StatusCode.BAD_BASE, crooked_addr, asked.addr))

        def at(address, by=0):
            """Where the next state asks, or what is at fault lies."""
            return [base.eq(address), offset.eq(by)]

        def ask(size, then):
            """In a state: a command, and the state after it. Where, the state before has said."""
            with m.If(~asking):
                m.d.sync += [asking.eq(1), asked.bytes.eq(size)]
            with m.Elif(self.o_command.ready):
                m.d.sync += asking.eq(0)
                m.next = then

        at_segment = at(cached.segments, segments.fault.index << (SEGMENT_BYTES.bit_length() - 1))
        with m.If(segments.fault.valid):
            m.d.sync += failed.eq(1)
        # What it would be is loaded as long as there is none.
        with m.If(~failed):
            m.d.sync += [fault.code.eq(StatusCode.BAD_ENTRY), fault.field.eq(check.field)]
            with m.If(segments.fault.valid):
                m.d.sync += [fault.code.eq(StatusCode.BAD_SEGMENT), fault.field.eq(segments.fault.field)]
            with m.If(self._listing):
                m.d.sync += [fault.code.eq(StatusCode.BAD_BASE), fault.field.eq(0)]
        # The parts are told to begin by registers.
        m.d.sync += [segments.load.eq(0), segments.survey.eq(0), segments.emit.eq(0), trees.load.eq(0)]
        with m.FSM():
            with m.State("START"):
                m.d.sync += [groups.eq(plan.groups), entry_addr.eq(plan.table), *at(plan.table)]
                m.next = "ASK"
            with m.State("ASK"):
                ask(ENTRY_BYTES, "ENTRY")
            with m.State("ENTRY"):
                m.d.comb += self.i.ready.eq(1)
                with m.If(self.i.valid):
                    m.d.sync += [raw.eq(Cat(raw[64:], self.i.payload)), elements.eq(elements + 1)]
                    with m.If(elements == ENTRY_BYTES // BASE_BYTES - 1):
                        m.next = "JUDGE"
            with m.State("JUDGE"):
                m.next = "JUDGED"
            with m.State("JUDGED"):
                m.next = "CHECK"
            with m.State("CHECK"):
                m.d.sync += [rows_left.eq(entry.rows), exists.eq(entry.rows != 0), past.eq(entry.position + 1),
                             upper.eq(entry.position + ~plan.tree), head.eq(0), last_head.eq(one_head),
                             first_chunk.eq(1), q.eq(Mux(plan.merge, 0, entry.q)), o.eq(entry.o),
                             rows_before.eq(0), *at(cached.segments)]
                m.next = "BANK"
                with m.If(plan.cached):
                    m.next = "SEGMENTS"
                with m.If(check.bad):
                    # It lies where it was asked for.
                    m.d.sync += failed.eq(1)
                    m.next = "STOP"
            with m.State("SEGMENTS"):
                ask(cached.count << (SEGMENT_BYTES.bit_length() - 1), "LOAD")
                m.d.sync += segments.load.eq(~asking)
            with m.State("LOAD"):
                m.d.comb += [segments.i.valid.eq(self.i.valid), self.i.ready.eq(segments.i.ready)]
                m.d.sync += at_segment
                with m.If(~segments.busy):
                    m.next = "BANK"
            with m.State("BANK"):
                m.d.sync += [chunk.q.eq(q), chunk.o.eq(o), first_row.eq(rows_before), low_edge.eq(past - plan.window),
                             capped.eq(~(plan.causal | plan.tree) | (upper > limit))]
                with m.If(free != 0):
                    m.d.comb += take_bank.eq(1)
                    m.d.sync += [row.eq(0), context.eq(0), begins.eq(1)]
                    for index in range(CHUNKS):
                        with m.If(chunk.bank == index):
                            m.d.sync += [self.params[index][name].eq(entry[name]) for name, _ in params_layout]
                    m.next = "ROWS"
            with m.State("ROWS"):
                m.d.comb += last_row.eq(row == config.rows - 1)
                m.d.sync += [row.eq(row + 1), begins.eq(0)]
                with m.If(begins):
                    m.d.sync += chunk_low.eq(low)
                with m.If(exists):
                    m.d.sync += [rows_left.eq(rows_left - 1), exists.eq(rows_left != 1), chunk_high.eq(high),
                                 chunk.last_rows.eq(row + 1), head.eq(head + 1), last_head.eq(head + 2 == plan.heads)]
                    with m.If(last_head):
                        m.d.sync += [head.eq(0), last_head.eq(one_head), past.eq(past + 1), low_edge.eq(low_edge + 1)]
                        with m.If(~plan.tree):
                            m.d.sync += [upper.eq(upper + 1), capped.eq(capped | (upper == limit))]
                with m.If(last_row):
                    m.d.sync += [row.eq(0), context.eq(context + 1), chunk.contexts.eq(context + 1), q.eq(q + q_stride),
                                 o.eq(o + o_stride), rows_before.eq(rows_before + config.rows)]
                    with m.If(few_rows | (context + 1 == plan.contexts)):
                        m.next = "PAGES"
                        with m.If(plan.cached):
                            m.d.sync += segments.survey.eq(1)
                            m.next = "SURVEY"
            with m.State("PAGES"):
                sees_some = Signal()
                m.d.comb += sees_some.eq(chunk_high > chunk_low)
                m.d.sync += [
                    chunk.blank.eq(~plan.merge & ~sees_some),
                    first_page.eq(Mux(plan.merge | ~sees_some, 0, chunk_low >> log_lanes)),
                    pages.eq(Mux(plan.merge, entry.keys, Mux(sees_some, seen_pages[1:], 1))),
                    last_keys.eq(Mux(sees_some, (chunk_high - 1)[:log_lanes] + 1, 1)),
                ]
                m.next = "OFFER"
            with m.State("SURVEY"):
                m.next = "COUNT"
            with m.State("COUNT"):
                m.d.sync += [chunk.blank.eq(segments.pages == 0), first_page.eq(0), last_keys.eq(1),
                             pages.eq(Mux(segments.pages == 0, 1, segments.pages)), *at(cached.tree, first_row << 3)]
                with m.If(~segments.busy):
                    m.next = "OFFER"
                    with m.If(plan.tree):
                        m.next = "TREE"
                    with m.If(plan.cells):
                        m.next = "CELLS"
            with m.State("TREE"):
                # Masks lie in memory row by row.
                rows = Signal(range(config.chunk_rows + 1))
                m.d.comb += rows.eq(((chunk.contexts - 1) << log_rows) + chunk.last_rows)
                m.d.sync += trees.load.eq(~asking)
                ask(rows << 3, "MASKS")
            with m.State("MASKS"):
                m.d.comb += [trees.i.valid.eq(self.i.valid), self.i.ready.eq(trees.i.ready)]
                with m.If(~trees.busy):
                    m.next = "OFFER"
            with m.State("CELLS"):
                m.d.comb += self.o_cells.valid.eq(1)
                with m.If(self.o_cells.ready):
                    m.next = "OFFER"
            with m.State("OFFER"):
                m.d.comb += [
                    self.o_chunk.valid.eq(1), chunk.pages.eq(pages), chunk.last.eq(last_group & last_chunk),
                    chunk.lookahead.eq((chunk.contexts << 1) <= config.contexts),
                ]
                m.d.sync += [left.eq(pages), number.eq(first_page), *at(entry.bases, first_page << 3)]
                with m.If(self.o_chunk.ready):
                    m.d.sync += first_chunk.eq(0)
                    m.next = "LIST"
                    with m.If(chunk.blank):
                        m.d.sync += self._listing.eq(1)
                        m.next = "BASES"
                    with m.Elif(plan.cached):
                        m.d.sync += segments.emit.eq(1)
                        m.next = "SEGMENT"
            with m.State("LIST"):
                ask(left << 3, "BASES")
                m.d.sync += self._listing.eq(asking & self.o_command.ready)
            with m.State("BASES"):
                with m.If(crooked):
                    m.d.sync += [self._listing.eq(0), failed.eq(1)]
                    m.next = "STOP"
                with m.Elif(page_moves):
                    m.d.sync += [left.eq(left - 1), number.eq(number + 1)]
                    with m.If(last_page | chunk.blank):
                        m.d.sync += self._listing.eq(0)
                        m.next = "NEXT"
            with m.State("SEGMENT"):
                m.next = "EMIT"
            with m.State("EMIT"):
                m.d.sync += at_segment
                with m.If(~segments.busy):
                    m.next = "NEXT"
            with m.State("NEXT"):
                m.d.sync += [chunk.bank.eq(chunk.bank + 1), *at(entry_addr, ENTRY_BYTES)]
                m.next = "BANK"
                with m.If(last_chunk):
                    m.d.sync += [groups.eq(groups - 1), entry_addr.eq(entry_addr + ENTRY_BYTES),
                                 chunk.group.eq(chunk.group + 1)]
                    m.next = "ASK"
                    with m.If(last_group):
                        m.next = "DONE"
            with m.State("DONE"):
                m.d.comb += self.done.eq(1)
            with m.State("STOP"):
                pass
        return m

    def _rows(self, m, entry, context, row, last_row):
        """The bounds of the row of this cycle, and the memory that keeps those of a context."""
        config, plan, chunk = self.config, self.plan, self.o_chunk.payload
        # Places, and past all of them: what lies beyond counts as that.
        places = place_bits(config)
        low, high, no_bound = Signal(places), Signal(places), (1 << places) - 1
        # Position of the first key that the row of this cycle does not see any more, and of the first that it does.
        past, low_edge = Signal(signed(27)), Signal(signed(27))
        # Where its keys end: at ``upper``, which is ``past``, of a tree its committed keys, as the mask says the rest;
        # and at ``limit``, if nothing else ends them or that comes first (``capped``).
        limit, upper, capped = Signal(places), Signal(signed(27)), Signal()
        m.d.sync += limit.eq(Mux(plan.cached, no_bound, entry.keys))
        m.d.comb += [
            low.eq(Mux((plan.window == 0) | (low_edge < 0), 0, Mux(low_edge >> len(low) != 0, -1, low_edge))),
            high.eq(Mux(capped, limit, Mux(upper < 0, 0, upper))),
        ]
        of_rows = kept_bounds(config)
        m.submodules.memory = memory = Memory(shape=of_rows, depth=CHUNKS * config.contexts, init=[])
        write, read = memory.write_port(), memory.read_port()
        bounds, seen = Signal(of_rows), Signal(of_rows.elem_shape)
        for index in range(config.rows):
            m.d.comb += [self.bounds[index][name].eq(read.data[index][name]) for name in ("low", "high")]
        m.d.comb += [
            read.addr.eq(self.bounds_addr.bank * config.contexts + self.bounds_addr.context), read.en.eq(1),
            write.data.eq(bounds),
        ]
        # A row's bounds enter the word, which is written with the context's last row, a cycle after they were found.
        found, place = Signal.like(seen), Signal.like(row)
        m.d.sync += [found.eq(seen), place.eq(row), write.en.eq(last_row),
                     write.addr.eq(chunk.bank * config.contexts + context)]
        for index in range(config.rows):
            with m.If(place == index):
                m.d.sync += bounds[index].eq(found)
        m.d.comb += write.data[-1].eq(found)
        return {"past": past, "low_edge": low_edge, "upper": upper, "limit": limit, "capped": capped, "low": low,
                "high": high, "seen": seen}

    def _pages(self, m, entry, last_page, number, last_keys, segments):
        """Pages, from where they come: the list, the segments, or one that is not fetched. What the list offers is
        added up and judged in a cycle of its own, so a page comes in two. Returns whether that is illegal, its address,
        and whether a page moves, should it be of the list or blank: the segments' are known later."""
        config, plan, chunk, page = self.config, self.plan, self.o_chunk.payload, self.o_page.payload
        self._listing, wrong, held = Signal(), Signal(), Signal()
        base, start, kept = self.i.payload, Signal(ADDRESS_BITS), Signal(ADDRESS_BITS)
        listed = chunk.blank | held & ~wrong
        m.d.comb += start.eq(base[:48] + entry.page_offset)
        with m.If(self._listing):
            with m.If(held):
                with m.If(self.o_page.ready & ~wrong):
                    m.d.sync += held.eq(0)
            with m.Else():
                m.d.sync += [
                    held.eq(self.i.valid & ~chunk.blank), kept.eq(start),
                    wrong.eq(base[48:].any() | address_outside(config, base[:48])
                             | Mux(plan.merge, start[0], start[:config.bus_bytes.bit_length() - 1].any())),
                ]
            m.d.comb += [
                page.addr.eq(Mux(chunk.blank, 0, kept)), page.position.eq(number << config.lanes.bit_length() - 1),
                page.keys.eq(Mux(last_page | chunk.blank, last_keys, config.lanes)),
                self.o_page.valid.eq(listed), self.i.ready.eq(~held & ~chunk.blank),
            ]
        with m.Else():
            m.d.comb += [page.eq(segments.o_page.payload), self.o_page.valid.eq(segments.o_page.valid),
                         segments.o_page.ready.eq(self.o_page.ready)]
        return held & wrong, kept, listed & self.o_page.ready
