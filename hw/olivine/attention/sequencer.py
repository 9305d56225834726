"""Order of the array's steps in attention: chunks, pages, contexts; scores first, then weighted values.

::

    for chunk of P*C rows of a group:               pages cross the bus once
        in the order of `next_is_keys`:
            page's keys:   for context: d steps                 rows q, lanes k    -> scores
            page's values: for pass of L dims:
                             for context: a step a key          rows p, lanes v    -> O

A tile is replayed by every context and given back by the last. The softmax of one context runs while
the array works on the others; with few contexts, on the next page's keys. What can keep a step waiting is
counted by cause (`Stall`).
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

__all__ = ["TILE_SPACING", "tile_tag", "probability_words", "Sequencer"]

TILE_SPACING = 8
"""Least cycles between two drains: a word of O is read, added to and written back within fewer."""


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


class Sequencer(wiring.Component):
    """Decides each cycle whether the array takes a step, and which.

    Members
    -------
    plan : In
    i : In(stream(chunk_layout)), i_page : In(stream(page_layout))
        Chunks in order, and the pages of each.
    cells_ready : In(1)
        The positions of the cells of page ``i_page`` are on chip, and of a score job the chunk's log-sum-exp.
    level : In
        Words in the tile buffer.
    available : In
        Words of queries that the first pass over a chunk may read.
    probabilities : In
        Words of probabilities that are written and not given back.
    unit_ready : In(1)
        Another unit's factors can be read (`RunningState`).
    credit_return : In(1)
        A word of results left its queue, which holds ``credits`` of them.
    issue : Out(1)
        A step: its operands are addressed in this cycle.
    first, last, odd, values : Out(1)
        Of the tile; second element of a pair, second key of a word; the step is of P V.
    count_illegal : Out(1)
        This step shows its bytes for the first time.
    lanes : Out
        Lanes of the word that hold something: keys of the page, dims of the pass.
    tag : Out(tile_tag)
    offset, release : Out
        Word of the tile buffer; the word at the base is needed no more.
    query_addr : Out, take_query : Out(1)
        Word of the query store; it counts against ``available``.
    probability_offset : Out, probability_release : Out(1)
        Word of the store of probabilities, from the oldest on; the oldest is needed no more.
    stall : Out(Stall)
        Why there is no step.
    """

    def __init__(self, config):
        self.config = config
        self.credits = 2 * config.lanes
        super().__init__({
            "plan": In(plan_layout(config)), "i": In(stream.Signature(chunk_layout(config))),
            "i_page": In(stream.Signature(page_layout(config))), "cells_ready": In(1),
            "level": In(range(config.tile_words + 1)), "available": In(range(query_words(config) + 1)),
            "probabilities": In(range(probability_words(config) + 1)),
            "unit_ready": In(1), "credit_return": In(1),
            "issue": Out(1), "first": Out(1), "last": Out(1), "odd": Out(1), "values": Out(1),
            "count_illegal": Out(1), "lanes": Out(range(config.lanes + 1)), "tag": Out(tile_tag(config)),
            "offset": Out(range(config.tile_words)), "release": Out(1),
            "query_addr": Out(range(query_words(config))), "take_query": Out(1),
            "probability_offset": Out(range(probability_words(config))), "probability_release": Out(1),
            "stall": Out(Stall),
        })

    def elaborate(self, platform):
        m = Module()
        config, plan, chunk, tag = self.config, self.plan, self.i.payload, self.tag
        log_lanes = config.lanes.bit_length() - 1
        slot_count, spacing = slots(config), max(config.lanes, TILE_SPACING)

        # Where we are.
        values, active = Signal(), Signal()
        keys_done, values_done = Signal(PAGE_BITS), Signal(PAGE_BITS)
        passes, context = Signal.like(plan.passes), Signal(range(config.contexts))
        step = Signal(range(max(config.max_head_dim, config.lanes) + 1))
        row_base = Signal(range(config.state_words + 1))        # of the context, in query store and O memory
        score_slot, value_slot, page_slot = (Signal(range(slot_count), name=name)
                                             for name in ("score_slot", "value_slot", "page_slot"))
        probability = Signal(range(probability_words(config) + 1))  # words of this pass before this step

        def following(slot):
            return Mux(slot == slot_count - 1, 0, slot + 1)

        number = Mux(values, values_done, keys_done)
        first_page, final_page = number == 0, number + 1 == chunk.pages
        # Pages whose keys were taken up last, and before: those whose values may come.
        newer, older, page = (Signal(page_layout(config), name=name) for name in ("newer", "older", "page"))
        m.d.comb += page.eq(Mux(~values, self.i_page.payload, Mux(keys_done - values_done == 2, older, newer)))
        keys = page.keys
        last_pass, last_context = passes + 1 == plan.passes, context + 1 == chunk.contexts
        dims = Mux(last_pass, plan.last_dims, config.lanes)
        steps = Mux(values, keys, plan.head_dim)
        last_step = Signal()
        m.d.comb += last_step.eq(step + 1 == steps)

        # What a step needs.
        int8 = Mux(values, plan.value_int8, plan.key_int8)
        word = Mux(int8, step, step >> 1)
        ready, credits = Signal(range(2 * slot_count + 1)), Signal(range(self.credits + 1), init=self.credits)
        drain_wait = Signal(range(spacing))
        results = values & final_page
        m.d.comb += [
            # The last replay gives words back as it goes, so its word is the one at the base.
            self.offset.eq(Mux(last_context, 0, word)),
            self.probability_offset.eq(Mux(last_pass, 0, probability)),
            self.query_addr.eq(Mux(chunk.bank, config.state_words, 0) + row_base + step),
        ]
        waiting = {
            Stall.LANE: (self.offset >= self.level) & ~chunk.blank | ~values & ~self.i_page.valid,
            Stall.ROW: ~values & (first_page & (self.available == 0) | ~self.cells_ready),
            Stall.SOFTMAX: values & ((self.probability_offset >= self.probabilities)
                                     | last_step & (ready <= Mux(last_pass, 0, context))),
            Stall.DRAIN: last_step & (drain_wait != 0),
            Stall.OUTPUT: last_step & results & (credits < dims),
        }
        with m.If(~active):
            m.d.comb += self.stall.eq(Stall.DONE)
        for cause, condition in waiting.items():
            with m.Elif(condition):
                m.d.comb += self.stall.eq(cause)
        with m.Else():
            m.d.comb += self.issue.eq(1)

        tile_end = self.issue & last_step
        replay_end = tile_end & last_context
        page_end = replay_end & (last_pass | ~values)
        chunk_end = page_end & final_page & (values | plan.score)
        word_end = int8 | step[0] | last_step
        m.d.comb += [
            self.values.eq(values), self.first.eq(step == 0), self.last.eq(last_step), self.odd.eq(~int8 & step[0]),
            self.count_illegal.eq(self.issue & (context == 0) & ~chunk.blank & ~int8 & (values | ~step[0])),
            self.lanes.eq(Mux(values, dims, keys)),
            self.release.eq(self.issue & last_context & word_end & ~chunk.blank),
            self.take_query.eq(self.issue & ~values & first_page),
            self.probability_release.eq(self.issue & values & last_pass),
            tag.values.eq(values), tag.dims.eq(dims), tag.address.eq(row_base + (passes << log_lanes)),
            tag.score.bank.eq(chunk.bank), tag.score.context.eq(context), tag.score.slot.eq(score_slot),
            tag.score.first.eq(first_page), tag.score.final.eq(final_page), tag.score.keys.eq(keys),
            tag.score.position.eq(page.position), tag.score.segment.eq(page.segment),
            tag.score.group.eq(chunk.group),
            tag.merge.bank.eq(chunk.bank), tag.merge.slot.eq(value_slot), tag.merge.first.eq(first_page),
            tag.merge.final.eq(final_page),
            self.i.ready.eq(chunk_end), self.i_page.ready.eq(page_end & ~values),
        ]
        unit_end = tile_end & values & last_pass
        m.d.sync += [
            ready.eq(ready + self.unit_ready - unit_end),
            credits.eq(credits + self.credit_return - Mux(tile_end & results, dims, 0)),
        ]
        with m.If(tile_end):
            m.d.sync += drain_wait.eq(spacing - 1)
        with m.Elif(drain_wait != 0):
            m.d.sync += drain_wait.eq(drain_wait - 1)

        with m.If(~active):
            m.d.sync += [active.eq(self.i.valid), values.eq(0)]
        with m.If(self.issue):
            m.d.sync += [step.eq(step + 1), probability.eq(probability + values)]
        with m.If(tile_end):
            m.d.sync += [step.eq(0), context.eq(context + 1), row_base.eq(row_base + plan.head_dim)]
            with m.If(values):
                m.d.sync += value_slot.eq(following(value_slot))
            with m.Else():
                m.d.sync += score_slot.eq(following(score_slot))
        with m.If(replay_end):
            m.d.sync += [context.eq(0), row_base.eq(0), probability.eq(0)]
            with m.If(values):
                m.d.sync += [passes.eq(passes + 1), value_slot.eq(page_slot)]
        with m.If(page_end):
            keys_after, values_after = Signal(PAGE_BITS), Signal(PAGE_BITS)
            m.d.comb += [keys_after.eq(keys_done + (~values)[0]), values_after.eq(values_done + values)]
            m.d.sync += [passes.eq(0), keys_done.eq(keys_after), values_done.eq(values_after),
                         values.eq(~next_is_keys(chunk, keys_after, keys_after - values_after, plan.score))]
            with m.If(values):
                m.d.sync += [value_slot.eq(following(value_slot)), page_slot.eq(following(value_slot))]
            with m.Else():
                m.d.sync += [newer.eq(self.i_page.payload), older.eq(newer)]
        with m.If(chunk_end):
            m.d.sync += [keys_done.eq(0), values_done.eq(0), active.eq(0)]
        return m


assert CHUNKS == 2, "the query store's bank is one bit"
