"""Order of the array's steps: chunks, panels, runs, contexts and, within a run, its steps.

::

    for chunk of P*C rows:                      weights cross the bus once
        for panel of L output channels:
            for run of the reduction:           a tile in the tile buffer, replayed by every context
                for context of the chunk:       P rows
                    for step of the run:        one rank-1 update

Budget: a step every cycle once its operands are here, from the fourth cycle after reset on. A run of at least L /
columns steps hides the drain of the one before; with ``vector_cycles`` above 1 it takes so many for each part of a word
that holds rows, up to vector_cycles * L / columns. What can keep a step waiting is counted by cause (`Stall`).
"""

from amaranth.hdl import Const, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..config import CHANNEL_RUN
from ..control.job import Stall
from .parts import last_part
from .plan import plan_layout
from .weights import MULTIPLIER_SLOTS, RECORD_SLOTS

__all__ = ["PSUM_SPACING", "tile_tag", "tile_layout", "TileWalk", "Sequencer"]

PSUM_SPACING = 4
"""Least cycles between two drains: a partial sum is read, added to and written back within three. `TileWalk` finds the
next tile meanwhile."""


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


def tile_layout(config):
    """One tile: what is the same in all of its steps, and what its end does. ``more_steps``: its steps less one."""
    return data.StructLayout({
        "tag": tile_tag(config),
        "more_steps": range(CHANNEL_RUN), "row_addr": range(config.row_words),     # of its first step
        "final_replay": 1,                      # nobody needs its words after it
        "first_look": 1, "first_panel": 1,      # its words, its row operands are met for the first time
        "ends_chunk": 1, "ends_job": 1,
        "words_out": range(config.lanes // config.drain_columns + 1),           # of results
        "spacing": range(max(config.lanes // config.drain_columns * config.vector_cycles, PSUM_SPACING)),
    })


class TileWalk(wiring.Component):
    """Walks the tiles of a job in their order.

    Members
    -------
    plan : In
    advance : In(1)
        Go on to the next tile.
    o : Out(tile_layout)
        ``spacing``: cycles to the next tile's end at least, less one.

    Throughput: a tile every `spacing` cycles, the first in the second cycle after reset.
    """

    spacing = 2
    """Cycles between two of ``advance``, and from one to its tile at ``o``."""

    def __init__(self, config):
        self.config = config
        super().__init__({"plan": In(plan_layout(config)), "advance": In(1), "o": Out(tile_layout(config))})

    def elaborate(self, platform):
        m = Module()
        config, plan, tag = self.config, self.plan, self.o.tag
        drain_cycles = config.lanes // config.drain_columns

        groups = Signal.like(plan.row_groups)               # row groups left
        contexts = Signal(range(config.contexts + 1))       # in this chunk
        panels, runs = Signal.like(plan.panels), Signal.like(plan.runs)     # left, this one included
        context, half = Signal(range(config.contexts)), Signal()
        run_addr, block_addr = Signal(range(config.row_words)), Signal(range(config.row_words))
        record_slot, multiplier_slot = Signal(range(RECORD_SLOTS)), Signal(range(MULTIPLIER_SLOTS))

        # Where we are. What the counts say of it is found in a cycle of its own.
        first_panel, last_panel, first_run, last_run = Signal(init=1), Signal(), Signal(init=1), Signal()
        last_chunk, last_context, last_half, final_replay = Signal(), Signal(), Signal(init=1), Signal()
        lanes, lanes_here = Signal(range(config.lanes + 1)), Signal(range(config.lanes + 1))
        few = groups <= config.contexts
        m.d.sync += [last_run.eq(runs == 1), last_panel.eq(panels == 1), last_chunk.eq(few),
                     last_context.eq(context + 1 == contexts)]
        m.d.comb += [
            contexts.eq(Mux(few, groups, config.contexts)),
            final_replay.eq(last_context & last_half),
            lanes.eq(Mux(last_panel, plan.last_lanes, config.lanes)), lanes_here.eq(lanes),
        ]
        pairs = 0
        if config.element == "exponent":
            # A byte takes two lanes: a tile is replayed once more where there are channels for it.
            pairs, half_lanes = plan.int8, config.lanes // 2
            more = lanes > half_lanes
            m.d.comb += [
                last_half.eq(~pairs | ~more | half),
                lanes_here.eq(Mux(~pairs, lanes, Mux(half, lanes - half_lanes, Mux(more, half_lanes, lanes)))),
            ]

        def spacing(words):
            """Cycles between two drains, less one: a word takes one for each of its parts."""
            last, cycles = last_part(config, tag.rows), Const(max(words, PSUM_SPACING) - 1)
            for part in range(1, config.vector_cycles):
                cycles = Mux(last == part, max(words * (part + 1), PSUM_SPACING) - 1, cycles)
            return cycles

        m.d.comb += [
            tag.context.eq(context), tag.half.eq(half), tag.first_run.eq(first_run), tag.last_run.eq(last_run),
            tag.release_run.eq(final_replay & plan.grouped), tag.release_panel.eq(final_replay & last_run),
            tag.multiplier_slot.eq(multiplier_slot), tag.record_slot.eq(record_slot), tag.lanes.eq(lanes_here),
            tag.rows.eq(Mux(last_chunk & last_context, plan.last_rows, config.rows)),
            self.o.more_steps.eq(Mux(last_run, plan.last_run_steps, plan.run_steps) - 1),
            self.o.row_addr.eq(block_addr), self.o.final_replay.eq(final_replay),
            self.o.first_look.eq(context == 0), self.o.first_panel.eq(first_panel),
            self.o.ends_chunk.eq(final_replay & last_run & last_panel),
            self.o.ends_job.eq(final_replay & last_run & last_panel & last_chunk),
            self.o.words_out.eq((lanes_here + (config.drain_columns - 1)) // config.drain_columns),
            self.o.spacing.eq(Mux(pairs, spacing(drain_cycles // 2), spacing(drain_cycles))),
        ]

        with m.FSM():
            with m.State("START"):
                m.d.sync += [groups.eq(plan.row_groups), panels.eq(plan.panels), runs.eq(plan.runs)]
                m.next = "WALK"
            with m.State("WALK"):
                with m.If(self.advance):
                    if config.element == "exponent":
                        m.d.sync += half.eq(~last_half)
                    with m.If(last_half):
                        m.d.sync += [context.eq(context + 1), block_addr.eq(block_addr + plan.k)]
                    with m.If(final_replay):
                        m.d.sync += [context.eq(0), runs.eq(runs - 1), first_run.eq(0),
                                     multiplier_slot.eq(multiplier_slot + plan.grouped),
                                     run_addr.eq(run_addr + plan.run_steps),
                                     block_addr.eq(run_addr + plan.run_steps)]
                        with m.If(last_run):
                            m.d.sync += [runs.eq(plan.runs), first_run.eq(1), panels.eq(panels - 1),
                                         first_panel.eq(0), run_addr.eq(0), block_addr.eq(0),
                                         record_slot.eq(record_slot + 1)]
                            with m.If(last_panel):
                                m.d.sync += [panels.eq(plan.panels), first_panel.eq(1),
                                             groups.eq(groups - config.contexts)]
        return m


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

        # The tile at work, and the one after it, which the walk finds in the cycles that two tiles' ends are apart.
        m.submodules.walk = walk = TileWalk(config)
        tile, ahead = Signal(tile_layout(config)), walk.o
        begin, ended = Signal(), Signal()       # the job's first tile is here; a tile ended the cycle before
        m.d.comb += [walk.plan.eq(plan), walk.advance.eq(begin | ended)]

        # The step: everything that says what it is and needs is a register.
        left = Signal(range(CHANNEL_RUN))       # in the tile, after this one
        first, last_step, second = Signal(), Signal(), Signal()
        complete = Signal(range(config.tile_words + 1))     # whole runs ahead of the array
        drain_wait, drain_busy = Signal.like(tile.spacing), Signal()
        credits = Signal(range(self.credits + 1), init=self.credits)
        # Of the tile that ended the cycle before. Nothing looks at what they change before a tile can end again.
        run_used, words_used = Signal(), Signal.like(tile.words_out)
        row_needed = tile.first_panel & ~tile.tag.half
        lane_missing = (self.offset >= self.level) | (last_step & (complete == 0))
        row_missing = row_needed & (self.available == 0)
        no_room = last_step & tile.tag.last_run & (credits < tile.words_out)

        active = Signal()
        with m.If(~active):
            m.d.comb += self.stall.eq(Stall.DONE)
        with m.Elif(lane_missing):
            m.d.comb += self.stall.eq(Stall.LANE)
        with m.Elif(row_missing):
            m.d.comb += self.stall.eq(Stall.ROW)
        with m.Elif(last_step & drain_busy):
            m.d.comb += self.stall.eq(Stall.DRAIN)
        with m.Elif(no_room):
            m.d.comb += self.stall.eq(Stall.OUTPUT)
        with m.Else():
            m.d.comb += self.issue.eq(1)

        tile_end = self.issue & last_step
        word_end = plan.int8 | second           # the step is its word's last
        m.d.comb += [
            self.first.eq(first), self.last.eq(last_step), self.odd.eq(~plan.int8 & second),
            self.half.eq(tile.tag.half), self.tag.eq(tile.tag),
            self.count_illegal.eq(self.issue & tile.first_look & ~second & ~plan.int8),
            self.release.eq(self.issue & tile.final_replay & (word_end | last_step)),
            self.take_row.eq(self.issue & row_needed),
            self.chunk_done.eq(tile_end & tile.ends_chunk),
        ]
        m.d.sync += [
            ended.eq(tile_end), run_used.eq(tile_end & tile.final_replay),
            words_used.eq(Mux(tile_end & tile.tag.last_run, tile.words_out, 0)),
            complete.eq(complete + self.run_complete - run_used),
            credits.eq(credits + self.credit_return - words_used),
        ]
        with m.If(tile_end):
            m.d.sync += [drain_wait.eq(tile.spacing), drain_busy.eq(1)]
        with m.Elif(drain_busy):
            m.d.sync += [drain_wait.eq(drain_wait - 1), drain_busy.eq(drain_wait != 1)]

        # What comes next is known before it is known whether this step is taken.
        fresh = ~active | last_step
        with m.If(begin | self.issue):
            m.d.sync += [
                first.eq(fresh), second.eq(~fresh & ~second),
                left.eq(Mux(fresh, ahead.more_steps, left - 1)),
                last_step.eq(Mux(fresh, ahead.more_steps == 0, left == 1)),
                self.row_addr.eq(Mux(fresh, ahead.row_addr, self.row_addr + 1)),
                # The last replay gives words back as it goes, so its word is the one at the base.
                self.offset.eq(Mux(fresh, 0, self.offset + (word_end & ~tile.final_replay))),
            ]
        with m.If(begin | tile_end):
            m.d.sync += tile.eq(ahead)

        # The walk's first tile, and then the one after it; no word can be here as early.
        start = Signal(range(2 * walk.spacing))
        with m.FSM():
            with m.State("START"):
                m.d.comb += begin.eq(start == walk.spacing)
                m.d.sync += start.eq(start + 1)
                with m.If(start == 2 * walk.spacing - 1):
                    m.next = "RUN"
            with m.State("RUN"):
                m.d.comb += active.eq(1)
                with m.If(tile_end & tile.ends_job):
                    m.next = "DONE"
            with m.State("DONE"):
                m.d.comb += self.done.eq(1)
        return m
