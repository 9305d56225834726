"""Order of the array's steps: chunks, panels, runs, contexts and, within a run, its steps.

::

    for chunk of P*C rows:                      weights cross the bus once
        for panel of L output channels:
            for run of the reduction:           a tile in the tile buffer, replayed by every context
                for context of the chunk:       P rows
                    for step of the run:        one rank-1 update

Budget: a step every cycle once its operands are here. A run of at least L / columns steps hides the drain of the one
before; with ``vector_cycles`` above 1 it takes so many for each part of a word that holds rows, up to vector_cycles * L
/ columns. What can keep a step waiting is counted by cause (`Stall`).
"""

from amaranth.hdl import Const, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..control.job import Stall
from .parts import last_part
from .plan import plan_layout
from .weights import MULTIPLIER_SLOTS, RECORD_SLOTS

__all__ = ["PSUM_SPACING", "tile_tag", "Sequencer"]

PSUM_SPACING = 4
"""Least cycles between two drains: a partial sum is read, added to and written back within three."""


def tile_tag(config):
    """What the epilogue must know of a drained tile."""
    return data.StructLayout({
        "context": range(config.contexts),
        "first_run": 1, "last_run": 1,          # start a partial sum, finish it
        "half": 1,                              # second half of the channels (exponent with INT8)
        "release_run": 1, "release_panel": 1,   # nobody needs the multipliers, the records after this
        "multiplier_slot": range(MULTIPLIER_SLOTS), "record_slot": range(RECORD_SLOTS),
        "lanes": range(config.lanes + 1),       # channels of this drain that exist
        "rows": range(config.rows + 1),         # rows that hold a token
    })


class Sequencer(wiring.Component):
    """Decides each cycle whether the array takes a step, and which.

    Members
    -------
    plan : In
    level : In, run_complete : In(1)
        Words in the tile buffer; another run is wholly there (`WeightLoader`).
    available : In
        Row words that the first pass over a chunk may read (`RowLoader`).
    credit_return : In(1)
        A word of results left its queue.
    issue : Out(1)
        A step: its operands are addressed in this cycle.
    first, last, odd, half : Out(1)
        Of the run; second element of a pair; second half of the channels.
    count_illegal : Out(1)
        This step shows its bytes for the first time.
    tag : Out(tile_tag)
    offset, release : Out
        Word of the tile buffer, and whether it is needed no more.
    row_addr : Out, take_row : Out(1), chunk_done : Out(1)
        Word of the scratchpad; it counts against ``available``; the chunk's last step is issued.
    stall : Out(Stall)
        Why there is no step.
    done : Out(1)
        Every step has been issued.
    """

    def __init__(self, config):
        self.config = config
        self.credits = 2 * config.lanes // config.drain_columns
        super().__init__({
            "plan": In(plan_layout(config)),
            "level": In(range(config.tile_words + 1)), "run_complete": In(1),
            "available": In(range(config.row_words + 1)), "credit_return": In(1),
            "issue": Out(1), "first": Out(1), "last": Out(1), "odd": Out(1), "half": Out(1),
            "count_illegal": Out(1), "tag": Out(tile_tag(config)),
            "offset": Out(range(config.tile_words)), "release": Out(1),
            "row_addr": Out(range(config.row_words)), "take_row": Out(1), "chunk_done": Out(1),
            "stall": Out(Stall), "done": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        config, plan = self.config, self.plan
        drain_cycles = config.lanes // config.drain_columns

        groups = Signal.like(plan.row_groups)               # row groups left
        contexts = Signal(range(config.contexts + 1))       # in this chunk
        panels, runs = Signal.like(plan.panels), Signal.like(plan.runs)     # left, this one included
        context = Signal(range(config.contexts))
        step = Signal.like(plan.run_steps)
        run_addr, block_addr = Signal(range(config.row_words)), Signal(range(config.row_words))
        record_slot, multiplier_slot = Signal(range(RECORD_SLOTS)), Signal(range(MULTIPLIER_SLOTS))

        # Where we are.
        steps = Mux(runs == 1, plan.last_run_steps, plan.run_steps)
        lanes = Mux(panels == 1, plan.last_lanes, config.lanes)
        first_panel, last_panel, first_run, last_chunk = Signal(init=1), panels == 1, Signal(init=1), Signal()
        last_run, last_context = runs == 1, context + 1 == contexts
        last_step, last_half = Signal(), Signal(init=1)
        m.d.comb += [last_step.eq(step + 1 == steps), last_chunk.eq(groups <= config.contexts),
                     contexts.eq(Mux(last_chunk, groups, config.contexts))]
        lanes_here = lanes
        pairs = 0
        if config.element == "exponent":
            # A byte takes two lanes: a tile is replayed once more where there are channels for it.
            pairs, half_lanes = plan.int8, config.lanes // 2
            more = lanes > half_lanes
            m.d.comb += last_half.eq(~pairs | ~more | self.half)
            lanes_here = Mux(~pairs, lanes, Mux(self.half, lanes - half_lanes, Mux(more, half_lanes, lanes)))

        # What a step needs.
        word = Mux(plan.int8, step, step >> 1)
        final_replay = last_context & last_half
        complete = Signal(range(config.tile_words + 1))     # whole runs ahead of the array
        drain_wait = Signal(range(max(drain_cycles * config.vector_cycles, PSUM_SPACING)))
        credits = Signal(range(self.credits + 1), init=self.credits)
        words_out = (lanes_here + (config.drain_columns - 1)) // config.drain_columns
        m.d.comb += [
            # The last replay gives words back as it goes, so its word is the one at the base.
            self.offset.eq(Mux(final_replay, 0, word)),
            self.odd.eq(~plan.int8 & step[0]), self.row_addr.eq(block_addr + step),
        ]
        lane_missing = (self.offset >= self.level) | (last_step & (complete == 0))
        row_missing = first_panel & ~self.half & (self.available == 0)
        drain_busy = last_step & (drain_wait != 0)
        no_room = last_step & last_run & (credits < words_out)

        active = Signal()
        with m.If(~active):
            m.d.comb += self.stall.eq(Stall.DONE)
        with m.Elif(lane_missing):
            m.d.comb += self.stall.eq(Stall.LANE)
        with m.Elif(row_missing):
            m.d.comb += self.stall.eq(Stall.ROW)
        with m.Elif(drain_busy):
            m.d.comb += self.stall.eq(Stall.DRAIN)
        with m.Elif(no_room):
            m.d.comb += self.stall.eq(Stall.OUTPUT)
        with m.Else():
            m.d.comb += self.issue.eq(1)

        tile_end = self.issue & last_step
        run_end = tile_end & final_replay
        panel_end = run_end & last_run
        chunk_end = panel_end & last_panel
        m.d.comb += [
            self.first.eq(step == 0), self.last.eq(last_step),
            self.count_illegal.eq(self.issue & (context == 0) & ~self.odd & ~plan.int8),
            self.release.eq(self.issue & final_replay & (plan.int8 | step[0] | last_step)),
            self.take_row.eq(self.issue & first_panel & ~self.half),
            self.chunk_done.eq(chunk_end),
            self.tag.context.eq(context),
            self.tag.first_run.eq(first_run), self.tag.last_run.eq(last_run), self.tag.half.eq(self.half),
            self.tag.release_run.eq(final_replay & plan.grouped),
            self.tag.release_panel.eq(final_replay & last_run),
            self.tag.multiplier_slot.eq(multiplier_slot), self.tag.record_slot.eq(record_slot),
            self.tag.lanes.eq(lanes_here),
            self.tag.rows.eq(Mux(last_chunk & last_context, plan.last_rows, config.rows)),
        ]
        m.d.sync += [
            complete.eq(complete + self.run_complete - run_end),
            credits.eq(credits + self.credit_return - Mux(tile_end & last_run, words_out, 0)),
        ]

        def spacing(words):
            """Cycles between two drains, less one: a word takes one for each of its parts."""
            last, cycles = last_part(config, self.tag.rows), Const(max(words, PSUM_SPACING) - 1)
            for part in range(1, config.vector_cycles):
                cycles = Mux(last == part, max(words * (part + 1), PSUM_SPACING) - 1, cycles)
            return cycles

        with m.If(tile_end):
            m.d.sync += drain_wait.eq(Mux(pairs, spacing(drain_cycles // 2), spacing(drain_cycles)))
        with m.Elif(drain_wait != 0):
            m.d.sync += drain_wait.eq(drain_wait - 1)

        with m.FSM():
            with m.State("START"):
                m.d.sync += [groups.eq(plan.row_groups), panels.eq(plan.panels), runs.eq(plan.runs)]
                m.next = "RUN"
            with m.State("RUN"):
                m.d.comb += active.eq(1)
                with m.If(self.issue):
                    m.d.sync += step.eq(step + 1)
                with m.If(tile_end):
                    m.d.sync += step.eq(0)
                    if config.element == "exponent":
                        m.d.sync += self.half.eq(~last_half)
                    with m.If(last_half):
                        m.d.sync += [context.eq(context + 1), block_addr.eq(block_addr + plan.k)]
                with m.If(run_end):
                    m.d.sync += [context.eq(0), runs.eq(runs - 1), first_run.eq(0),
                                 multiplier_slot.eq(multiplier_slot + plan.grouped),
                                 run_addr.eq(run_addr + plan.run_steps), block_addr.eq(run_addr + plan.run_steps)]
                with m.If(panel_end):
                    m.d.sync += [runs.eq(plan.runs), first_run.eq(1), panels.eq(panels - 1), first_panel.eq(0),
                                 run_addr.eq(0), block_addr.eq(0), record_slot.eq(record_slot + 1)]
                with m.If(chunk_end):
                    m.d.sync += [panels.eq(plan.panels), first_panel.eq(1), groups.eq(groups - config.contexts)]
                    with m.If(last_chunk):
                        m.next = "DONE"
            with m.State("DONE"):
                m.d.comb += self.done.eq(1)
        return m
