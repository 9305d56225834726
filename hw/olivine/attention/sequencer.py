"""When the array takes its steps in attention: as soon as what a step needs is there.

The softmax of one context runs while the array works on the others; with few contexts, on the next page's keys. What
can keep a step waiting is counted by cause (`Stall`).
"""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ..control.job import Stall
from ..stream import Skid
from .layout import slots
from .plan import plan_layout
from .queries import query_words
from .steps import StepWalk, probability_words, step_layout
from .table import chunk_layout, page_layout

__all__ = ["TILE_SPACING", "Sequencer"]

TILE_SPACING = 8
"""Least cycles between two drains: a word of O is read, added to and written back within fewer."""


class Sequencer(wiring.Component):
    """Decides each cycle whether the array takes a step.

    ::

        chunks, pages -> StepWalk -> Skid -> now -> issue

    Whether a step is taken in a cycle is a register. It is decided the cycle before, of the step that will be ``now``
    in either case: so a word, a probability or a factor counts in the cycle after it is told. That the step taken
    meanwhile gives a word back is part of the next one (`step_layout`).

    Members
    -------
    plan : In
    i : In(stream(chunk_layout)), i_page : In(stream(page_layout)), cells_ready : In(1)
        As of `StepWalk`, which is up to three steps ahead.
    level : In
        Words in the tile buffer. This and the next two fall in the cycle after a step only by what that gives back.
    available : In
        Words of queries that the first pass over a chunk may read.
    probabilities : In
        Words of probabilities that are written and not given back.
    unit_ready : In(1)
        Another unit's factors can be read (`RunningState`).
    credit_return : In(1)
        A word of results left its queue, which holds ``credits`` of them.
    issue : Out(1)
        A step: its operands are addressed in this cycle. A register.
    step : Out(step_layout)
        Which, if ``issue``.
    count_illegal, release, take_query, probability_release : Out(1)
        Of the step that is taken.
    stall : Out(Stall)
        Why there is no step.

    Latency: 3 cycles from a chunk to its first step. Throughput: a step a cycle, and a cycle between chunks.
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
            "issue": Out(1), "step": Out(step_layout(config)), "count_illegal": Out(1), "release": Out(1),
            "take_query": Out(1), "probability_release": Out(1), "stall": Out(Stall, init=Stall.DONE),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.walk = walk = StepWalk(self.config)
        m.d.comb += [walk.plan.eq(self.plan), walk.cells_ready.eq(self.cells_ready)]
        wiring.connect(m, wiring.flipped(self.i), walk.i)
        wiring.connect(m, wiring.flipped(self.i_page), walk.i_page)

        layout = step_layout(self.config)
        # The walk does not see what moves: `Skid` holds the next step, and the one after it if need be.
        m.submodules.ahead = ahead = Skid(layout)
        wiring.connect(m, walk.o, ahead.i)
        there, moves, now, after = Signal(), Signal(), Signal(layout, name="now", reset_less=True), ahead.o.payload
        m.d.comb += [moves.eq(~there | self.issue), ahead.o.ready.eq(moves), self.step.eq(now)]
        with m.If(moves):
            m.d.sync += [there.eq(ahead.o.valid), now.eq(after)]

        ready, credits, spaced = self._counts(m, now)
        waits, stall = [], []
        for index, (step, word, probability) in enumerate(((now, now.offset, now.probability_offset),
                                                           (after, after.word_least, after.probability_least))):
            found, cause = Signal(5, name=f"waits_{index}"), Signal(Stall, name=f"cause_{index}")
            taken = self.take_query if step is after else 0
            m.d.comb += found.eq(Cat(
                step.needs_word & (word >= self.level),
                step.take_query & (self.available == taken),
                step.values & ((probability >= self.probabilities) | step.last & (ready <= step.unit)),
                step.last & ~spaced,
                step.last & step.results & (credits < step.tag.dims)))
            for place, reason in enumerate((Stall.LANE, Stall.ROW, Stall.SOFTMAX, Stall.DRAIN, Stall.OUTPUT)):
                with (m.If if place == 0 else m.Elif)(found[place]):
                    m.d.comb += cause.eq(reason)
            waits.append(found.any()), stall.append(cause)
        m.d.sync += [self.issue.eq(Mux(moves, ahead.o.valid & ~waits[1], ~waits[0])), self.stall.eq(stall[0])]
        with m.If(moves):
            m.d.sync += self.stall.eq(Mux(ahead.o.valid, stall[1], Mux(walk.o.valid, Stall.DONE, walk.stall)))
        m.d.comb += [getattr(self, name).eq(self.issue & now[name])
                     for name in ("count_illegal", "release", "take_query", "probability_release")]
        return m

    def _counts(self, m, now):
        """Units whose factors are there, room for results, and whether a tile may end in the next cycle. Tiles end so
        far apart that what an end takes need not be seen at once."""
        spacing = max(self.config.lanes, TILE_SPACING)
        ready, credits = Signal(range(2 * slots(self.config) + 1)), Signal(range(self.credits + 1), init=self.credits)
        drain_wait, end, unit_end, results = Signal(range(spacing)), Signal(), Signal(), Signal.like(now.tag.dims)
        m.d.comb += end.eq(self.issue & now.last)
        m.d.sync += [
            unit_end.eq(end & now.unit_end), results.eq(Mux(end & now.results, now.tag.dims, 0)),
            ready.eq(ready + self.unit_ready - unit_end), credits.eq(credits + self.credit_return - results),
        ]
        with m.If(end):
            m.d.sync += drain_wait.eq(spacing - 1)
        with m.Elif(drain_wait != 0):
            m.d.sync += drain_wait.eq(drain_wait - 1)
        return ready, credits, ~end & (drain_wait <= 1)
