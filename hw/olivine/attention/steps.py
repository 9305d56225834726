"""The array's steps in attention, in order: chunks, pages, contexts; scores first, then weighted values.

::

    for chunk of P*C rows of a group:               pages cross the bus once
        in the order of `next_is_keys`:
            page's keys:   for context: d steps                 rows q, lanes k    -> scores
            page's values: for pass of L dims:
                             for context: a step a key          rows p, lanes v    -> O

A tile is replayed by every context and given back by the last.
"""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..control.job import Stall
from .layout import CHUNKS, merge_tag, score_tag, slots
from .pages import next_is_keys
from .plan import plan_layout
from .queries import query_words
from .table import PAGE_BITS, chunk_layout, page_layout

__all__ = ["tile_tag", "probability_words", "step_layout", "StepWalk"]


def probability_words(config):
    """Depth of the store of probabilities, words of P: those of C units."""
    return slots(config) * config.lanes


def tile_tag(config):
    """What happens to a tile's sums: scores of a unit, or a page's part of O."""
    return data.StructLayout({
        "values": 1, "score": score_tag(config), "merge": merge_tag(config),
        "address": range(config.state_words),   # in the O memory, of the pass's first dim
        "dims": range(config.lanes + 1),        # of the pass
    })


def _longest(config):
    """Steps of the longest tile."""
    return max(config.max_head_dim, config.lanes)


def step_layout(config):
    """A step, and all that it needs.

    ``needs_word`` of the tile buffer, at ``offset``, unless the chunk is blank; ``release`` gives the base back.
    ``take_query`` of the first page's scores. ``probability_release`` gives the oldest word back. A tile of values ends
    when the factors of its ``unit`` are there, counted from the oldest; ``results`` need room for ``tag.dims`` words.
    ``word_least`` and ``probability_least`` are ``offset`` and ``probability_offset``, and 1 more if the step before
    gives a word back: what must be exceeded as long as that has not happened.
    """
    words, probabilities = range(config.tile_words + 1), range(probability_words(config) + 1)
    return data.StructLayout({
        "values": 1, "first": 1, "last": 1, "odd": 1, "count_illegal": 1, "lanes": range(config.lanes + 1),
        "tag": tile_tag(config), "needs_word": 1, "offset": words, "word_least": words, "release": 1,
        "query_addr": range(query_words(config)), "take_query": 1, "probability_offset": probabilities,
        "probability_least": probabilities, "probability_release": 1, "unit_end": 1, "unit": range(config.contexts),
        "results": 1})


class PageOrder(wiring.Component):
    """Which of a chunk's tiles comes next, of keys or of values, and how long it is.

    Members
    -------
    plan, chunk, page : In
        The chunk at work, and the page of keys that is next.
    start : In(1)
        None is.
    values, page_end : In(1)
        Kind of the tile; its last step is taken in this cycle.
    first, final : Out(1)
        Of the chunk's pages.
    values_after : Out(1)
        What follows if ``page_end``.
    left, left_after : Out
        Steps of a tile but the first: of this one, of the one that follows.
    """

    def __init__(self, config):
        self.config = config
        left = range(_longest(config))
        super().__init__({
            "plan": In(plan_layout(config)), "chunk": In(chunk_layout(config)), "page": In(page_layout(config)),
            "start": In(1), "values": In(1), "page_end": In(1), "first": Out(1), "final": Out(1),
            "values_after": Out(1), "left": Out(left), "left_after": Out(left),
        })

    def elaborate(self, platform):
        m = Module()
        chunk = self.chunk
        # Pages whose keys are to come, and whether there is one, or none; how many of them are ahead of values.
        keys_left, keys_final, keys_over, ahead = Signal(PAGE_BITS), Signal(), Signal(), Signal(2)
        keys_first, values_first = Signal(), Signal()
        # Steps of values of the page whose values are next, and of the page whose keys were last.
        older, newer, arriving, of_keys = (Signal.like(self.left, name=name)
                                           for name in ("older", "newer", "arriving", "of_keys"))
        m.d.comb += [
            arriving.eq(self.page.keys - 1), of_keys.eq(self.plan.head_dim - 1),
            self.first.eq(Mux(self.values, values_first, keys_first)),
            self.final.eq(Mux(self.values, keys_over & (ahead == 1), keys_final)),
            self.values_after.eq(~next_is_keys(
                Mux(self.values, ~keys_over, ~keys_final), Mux(self.values, ahead - 1, ahead + 1)[:2],
                chunk.lookahead, self.plan.score)),
            self.left.eq(Mux(self.values, older, of_keys)),
            self.left_after.eq(Mux(~self.values_after, of_keys,
                                   Mux(self.values, newer, Mux(ahead == 0, arriving, older)))),
        ]
        with m.If(self.start):
            m.d.sync += [keys_left.eq(chunk.pages), keys_final.eq(chunk.pages == 1), keys_over.eq(0), ahead.eq(0),
                         keys_first.eq(1), values_first.eq(1)]
        with m.Elif(self.page_end):
            with m.If(self.values):
                m.d.sync += [values_first.eq(0), ahead.eq(ahead - 1), older.eq(newer)]
            with m.Else():
                m.d.sync += [keys_first.eq(0), ahead.eq(ahead + 1), newer.eq(arriving), keys_left.eq(keys_left - 1),
                             keys_final.eq(keys_left == 2), keys_over.eq(keys_final)]
                with m.If(ahead == 0):
                    m.d.sync += older.eq(arriving)
        return m


class StepWalk(wiring.Component):
    """All steps, one after the other, whether or not their operands are there.

    Members
    -------
    plan : In
    i : In(stream(chunk_layout)), i_page : In(stream(page_layout))
        Chunks in order, and the pages of each. They are taken with their last step.
    cells_ready : In(1)
        The positions of the cells of page ``i_page`` are on chip, and of a score job the chunk's log-sum-exp.
    o : Out(stream(step_layout))
    stall : Out(Stall)
        Why there is no step: `Stall.DONE` if there is no chunk.

    Throughput: a step a cycle, a cycle between chunks, and one before a tile of one or two steps. What comes next is
    decided while a tile goes on: that a step is the last of its tile, a tile of its replay and so on are registers.
    """

    def __init__(self, config):
        self.config = config
        super().__init__({
            "plan": In(plan_layout(config)), "i": In(stream.Signature(chunk_layout(config))),
            "i_page": In(stream.Signature(page_layout(config))), "cells_ready": In(1),
            "o": Out(stream.Signature(step_layout(config))), "stall": Out(Stall),
        })

    def elaborate(self, platform):
        m = Module()
        config, plan, chunk, page, o = self.config, self.plan, self.i.payload, self.i_page.payload, self.o.payload
        log_lanes, longest = config.lanes.bit_length() - 1, _longest(config)

        # Where we are; and whether that is the last step, context or pass.
        active, values = Signal(), Signal()
        step, left, first, last = Signal(range(longest)), Signal(range(longest)), Signal(), Signal()
        context, last_context = Signal(range(config.contexts)), Signal()
        passes, last_pass = Signal.like(plan.passes), Signal()
        row_base = Signal(range(config.state_words + 1))        # of the context, in O memory
        query = Signal(range(query_words(config)))
        probability = Signal(range(probability_words(config) + 1))  # words of this pass before this step
        released, probability_released = Signal(), Signal()     # by the step before
        m.submodules.pages = pages = PageOrder(config)

        present, go = Signal(), Signal()
        # Of what this step is the end, were it taken; that it is taken is known last. Of what the tile is the end is
        # known from its second cycle on: so a tile of one or two steps begins a cycle later (``goes``).
        closes_replay, closes_page, closes_chunk, ends_page, ends_chunk, goes = (Signal(name=name) for name in (
            "closes_replay", "closes_page", "closes_chunk", "ends_page", "ends_chunk", "goes"))
        tile_end, replay_end, page_end, chunk_end = (
            Signal(name=name) for name in ("tile_end", "replay_end", "page_end", "chunk_end"))
        m.d.comb += [
            present.eq(values | (self.i_page.valid & self.cells_ready)), self.o.valid.eq(goes & present),
            go.eq(self.o.valid & self.o.ready),
            tile_end.eq(go & last), replay_end.eq(go & closes_replay), page_end.eq(go & closes_page),
            chunk_end.eq(go & closes_chunk),
            self.i.ready.eq(chunk_end), self.i_page.ready.eq(page_end & ~values),
            pages.plan.eq(plan), pages.chunk.eq(chunk), pages.page.eq(page), pages.values.eq(values),
            pages.page_end.eq(page_end), pages.start.eq(~active),
        ]
        closing = last_context & (last_pass | ~values)
        closing_chunk = closing & pages.final & (values | plan.score)
        m.d.sync += [
            ends_page.eq(closing), ends_chunk.eq(closing_chunk), goes.eq(active),
            *(closes.eq(Mux(go, (left == 1) & ends, active & last & here)) for closes, ends, here in (
                (closes_replay, last_context, last_context), (closes_page, ends_page, closing),
                (closes_chunk, ends_chunk, closing_chunk))),
        ]
        with m.If(~active):
            m.d.comb += self.stall.eq(Stall.DONE)
        with m.Elif(~values & ~self.i_page.valid):
            m.d.comb += self.stall.eq(Stall.LANE)
        with m.Elif(~present):
            m.d.comb += self.stall.eq(Stall.ROW)
        with m.Elif(~goes):
            m.d.comb += self.stall.eq(Stall.DRAIN)

        # The step.
        int8, word, dims = Signal(), Signal.like(step), Signal(range(config.lanes + 1))
        m.d.comb += [
            int8.eq(Mux(values, plan.value_int8, plan.key_int8)), word.eq(Mux(int8, step, step >> 1)),
            dims.eq(Mux(last_pass, plan.last_dims, config.lanes)),
            o.values.eq(values), o.first.eq(first), o.last.eq(last), o.odd.eq(~int8 & step[0]),
            o.count_illegal.eq((context == 0) & ~chunk.blank & ~int8 & (values | ~step[0])),
            o.lanes.eq(Mux(values, dims, page.keys)), o.needs_word.eq(~chunk.blank),
            # The last replay gives words back as it goes, so its word is the one at the base.
            o.offset.eq(Mux(last_context, 0, word)), o.word_least.eq(o.offset + released),
            o.release.eq(last_context & (int8 | step[0] | last) & ~chunk.blank),
            o.query_addr.eq(query), o.take_query.eq(~values & pages.first),
            o.probability_offset.eq(Mux(last_pass, 0, probability)),
            o.probability_least.eq(o.probability_offset + probability_released),
            o.probability_release.eq(values & last_pass), o.unit_end.eq(last & values & last_pass),
            o.unit.eq(Mux(last_pass, 0, context)), o.results.eq(values & pages.final),
        ]
        tag = o.tag
        m.d.comb += [
            tag.values.eq(values), tag.dims.eq(dims), tag.address.eq(row_base + (passes << log_lanes)),
            tag.score.bank.eq(chunk.bank), tag.score.context.eq(context),
            tag.score.first.eq(pages.first), tag.score.final.eq(pages.final), tag.score.keys.eq(page.keys),
            tag.score.position.eq(page.position), tag.score.segment.eq(page.segment),
            tag.score.group.eq(chunk.group),
            tag.merge.bank.eq(chunk.bank), tag.merge.first.eq(pages.first), tag.merge.final.eq(pages.final),
        ]
        self._slots(m, tag, values, tile_end, replay_end, page_end)

        # And the next one.
        single_pass, single_context, base = Signal(), Signal(), Signal.like(query)
        m.d.comb += [single_pass.eq(plan.passes == 1), single_context.eq(chunk.contexts == 1),
                     base.eq(Mux(chunk.bank, config.state_words, 0))]
        with m.If(go):
            m.d.sync += [step.eq(step + 1), left.eq(left - 1), first.eq(0), last.eq(left == 1),
                         query.eq(query + ~values), probability.eq(probability + values),
                         released.eq(o.release), probability_released.eq(o.probability_release)]
        with m.If(tile_end):
            # Of the next replay or pass the tile is as long; of the next page as that says.
            after = Mux(closing, pages.left_after, pages.left)
            m.d.sync += [step.eq(0), first.eq(1), left.eq(after), last.eq(after == 0),
                         goes.eq(after[1:].any()), context.eq(context + 1),
                         last_context.eq(context + 2 == chunk.contexts), row_base.eq(row_base + plan.head_dim)]
        with m.If(replay_end):
            m.d.sync += [context.eq(0), last_context.eq(single_context), row_base.eq(0), query.eq(base),
                         probability.eq(0)]
            with m.If(values):
                m.d.sync += [passes.eq(passes + 1), last_pass.eq(passes + 2 == plan.passes)]
        with m.If(page_end):
            m.d.sync += [passes.eq(0), last_pass.eq(single_pass), values.eq(pages.values_after)]
        with m.If(chunk_end):
            m.d.sync += [active.eq(0), goes.eq(0)]
        with m.If(~active):
            m.d.sync += [active.eq(self.i.valid), goes.eq(self.i.valid), values.eq(0), step.eq(0), first.eq(1),
                         last.eq(0), left.eq(plan.head_dim - 1), query.eq(base), last_context.eq(single_context),
                         last_pass.eq(single_pass)]
        return m

    def _slots(self, m, tag, values, tile_end, replay_end, page_end):
        """Slots of units, in the order of scores; in that of values they begin anew with each pass."""
        count = slots(self.config)
        score_slot, value_slot, page_slot = (Signal(range(count), name=name)
                                             for name in ("score_slot", "value_slot", "page_slot"))

        def following(slot):
            return Mux(slot == count - 1, 0, slot + 1)

        m.d.comb += [tag.score.slot.eq(score_slot), tag.merge.slot.eq(value_slot)]
        with m.If(tile_end & ~values):
            m.d.sync += score_slot.eq(following(score_slot))
        with m.If(tile_end & values):
            m.d.sync += value_slot.eq(following(value_slot))
            with m.If(replay_end):
                m.d.sync += value_slot.eq(page_slot)
            with m.If(page_end):
                m.d.sync += [value_slot.eq(following(value_slot)), page_slot.eq(following(value_slot))]


assert CHUNKS == 2, "the query store's bank is one bit"
