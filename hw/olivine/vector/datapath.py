"""From operands to beats of results: the pipelines of the vector unit, and what keeps them from overflowing."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ..linear.descriptor import RowFormat
from ..memory.realign import words
from ..stream import Queue, Skid, Spare
from .formats import ANGLE_FRACTION
from .norm import NormStatistics
from .operands import Operands
from .passes import pass_layout
from .picks import Picks
from .pipeline import Pipeline
from .plan import plan_layout
from .results import BeatPacker
from .rotary import Turner

__all__ = ["result_beats", "Datapath"]


def result_beats(config):
    """Beats of results that wait for the bus or are in a pipeline: one a cycle needs the longest pipeline and 5."""
    return 32 if config.vector_cycles == 1 else 16


class Datapath(wiring.Component):
    """Runs each word through what its job's operation needs, in `vector_cycles` parts.

    ::

        x, r, t -> Operands -+-> Pipeline -> BeatPacker --+-> queue -> o
        x, r -> Turner ------+      | squares             |
                             |      +-> NormStatistics -> Pipeline
                             +-> Picks -------------------+

    A word enters when its result has a place in the queue of results.

    Members
    -------
    plan : In
    i_pass : In(stream(pass_layout))
    i_x, i_r, i_t : In(stream(words))
        Whole beats.
    o : Out(stream(words))
        Whole beats of all writes.
    done : Out(1)
        Everything has left.
    sat_output, sat_sum : Out(range(P + 1))
        Results and sums of residuals of rows that count that saturated, in this cycle.

    Latency: that of the pipeline, and 1, with words of several parts 2. Throughput: a part a cycle; a word of residuals
    two cycles at least; of dims that turn a part in two. Before the first word of a pass of another kind than the one
    before, the pipeline runs empty.

    Cost, of `ecp5` with `vector_cycles` 4: 3,200 LUTs, 6 multipliers, 4 block RAMs; of the LUTs the pipeline has 1,230,
    statistics 810, the largest values 300, the turner 290.
    """

    def __init__(self, config):
        self.config = config
        beats, rows = stream.Signature(words(config.bus_bytes)), range(config.rows + 1)
        super().__init__({
            "plan": In(plan_layout(config)), "i_pass": In(stream.Signature(pass_layout(config))),
            "i_x": In(beats), "i_r": In(beats), "i_t": In(beats), "o": Out(beats), "done": Out(1),
            "sat_output": Out(rows), "sat_sum": Out(rows),
        })

    def elaborate(self, platform):
        m = Module()
        config, job = self.config, self.plan.job
        depth = result_beats(config)
        m.submodules.operands = operands = Operands(config)
        m.submodules.turner = turner = Turner(config)
        m.submodules.pipeline = pipeline = Pipeline(config)
        m.submodules.packer = packer = BeatPacker(config)
        m.submodules.picks = largest = Picks(config)
        m.submodules.results = results = Queue(8 * config.bus_bytes, depth)
        op = self.plan.op
        self._sources(m, operands, turner, op)

        # A word enters if it is there, and so is room for what it becomes; its first part takes that.
        word, go, begun, packing = operands.o.payload, Signal(), Signal(), Signal()
        closed, updates, kind, room = operands.closed, Signal(), Signal(), Signal()
        free, gives = Signal(range(depth + 1), init=depth), Signal()
        may_enter, next_kind = self._residuals(m, word, closed, updates, go, kind, pipeline)
        picking = op.largest
        m.d.comb += [
            updates.eq(word.updates),
            room.eq(begun | Mux(updates, ~job.add | free[1:].any(), picking | free.any())),
            go.eq(operands.o.valid & room & may_enter & ~packing & (~picking | largest.i.ready)),
            operands.o.ready.eq(go), turner.may.eq(free.any()), largest.o.ready.eq(free.any()),
        ]
        # Who takes is known late: both numbers are ready by then. While picks are packed there is no pass.
        m.d.sync += free.eq(free + gives)
        with m.If((go & ~begun) | turner.takes | (largest.o.valid & largest.o.ready)):
            m.d.sync += free.eq(free + gives - Mux(packing, 1, Mux(updates, job.add << 1, ~picking)))
        if config.vector_cycles > 1:
            with m.If(go):
                m.d.sync += begun.eq(~word.end)
        self._operate(m, pipeline, word, turner, go, next_kind, op)
        m.d.comb += [
            largest.i.valid.eq(go & picking), largest.i.payload.last.eq(word.place.last & word.end),
            largest.i.payload.index.eq(word.index), largest.i.payload.data.eq(word.x),
        ]
        with m.If(closed & picking):
            m.d.sync += packing.eq(1)
        with m.Elif(largest.done):
            m.d.sync += packing.eq(0)

        # Beats of results: one source at a time has one. Sums that are not updated are none.
        m.d.comb += [
            packer.wide.eq(pipeline.mode.add), packer.i.eq(pipeline.o),
            packer.i.place.valid.eq(pipeline.o.place.valid & (~pipeline.mode.add | job.add)),
            results.i.valid.eq(packer.o_valid | (largest.o.valid & largest.o.ready)),
            results.i.payload.eq(Mux(picking, largest.o.payload, packer.o)),
            self.sat_sum.eq(Mux(pipeline.mode.add, pipeline.saturated, 0)),
            self.sat_output.eq(Mux(pipeline.mode.add, 0, pipeline.saturated)),
        ]
        m.d.comb += gives.eq(results.o.valid & results.o.ready)
        self._end(m, results, free == depth, (closed & word.final) | turner.final, packing)
        return m

    def _sources(self, m, operands, turner, op):
        """Streams to the operands, in ROTATE to the turner. Whether a word enters is known late in the cycle: each beat
        has a place to wait in, so that the readers do not hear of it. Where a word takes several cycles, every beat
        waits a cycle there, and what is made of it begins at a register. A pass comes long before its first word."""
        m.d.comb += [operands.plan.eq(self.plan), turner.plan.eq(self.plan)]
        m.submodules.passes = passes = Skid(pass_layout(self.config))
        wiring.connect(m, wiring.flipped(self.i_pass), passes.i)
        doors = {"i_pass": passes.o}
        for name in ("i_x", "i_r", "i_t"):
            m.submodules[f"door_{name[2:]}"] = door = (Skid if self.config.vector_cycles > 1 else Spare)(
                words(self.config.bus_bytes))
            wiring.connect(m, wiring.flipped(getattr(self, name)), door.i)
            doors[name] = door.o
        wiring.connect(m, doors["i_t"], operands.i_t)
        for name in ("i_pass", "i_x", "i_r"):
            source, target, other = doors[name], getattr(operands, name), getattr(turner, name)
            # In ROTATE the operands take nothing by themselves, and the turner only what it is offered.
            m.d.comb += [target.payload.eq(source.payload), other.payload.eq(source.payload),
                         target.valid.eq(source.valid), other.valid.eq(source.valid & op.rotate),
                         source.ready.eq(other.ready | target.ready)]

    def _residuals(self, m, word, closed, updates, go, kind, pipeline):
        """Statistics of RESIDUAL's first passes for its second ones. Returns whether a word may enter, and ``kind`` of
        the next cycle."""
        config, job = self.config, self.plan.job
        m.submodules.statistics = statistics = NormStatistics(config)
        normalises = self.plan.normalises
        m.d.comb += [
            statistics.job.channels.eq(job.channels), statistics.job.reciprocal.eq(job.reciprocal),
            statistics.job.epsilon.eq(job.epsilon), statistics.job.centred.eq(self.plan.centred),
            statistics.i.eq(pipeline.squares), statistics.part.eq(word.part),
            statistics.i.place.valid.eq(pipeline.squares.place.valid & normalises),
            statistics.take.eq(closed & word.normal), pipeline.i.rows.eq(statistics.o),
        ]

        # A new residual is two beats, so that a word of one part may enter every other cycle. A pass of another kind
        # waits until the pipeline is empty. Statistics of a row group end before the next one's last word.
        filled = Signal(range(pipeline.long + 2))
        spaced, pending = Signal(), Signal()
        next_kind = Signal()
        m.d.comb += next_kind.eq(Mux(filled == 0, word.second, kind))
        m.d.sync += [kind.eq(next_kind), filled.eq(Mux(filled == 0, 0, filled - 1))]
        if config.vector_cycles == 1:
            m.d.sync += spaced.eq(go & updates & job.add)
        with m.If(go):
            m.d.sync += filled.eq(pipeline.long + 1)
        with m.If(closed & updates & normalises):
            m.d.sync += pending.eq(1)
        with m.Elif(statistics.settled):
            m.d.sync += pending.eq(0)
        return (kind == word.second) & ~spaced & ~(updates & word.place.last & pending) & (
            ~word.normal | statistics.valid), next_kind

    def _operate(self, m, pipeline, word, turner, go, kind, op):
        """Operands to the pipeline, and what it makes of them: a register, so of the next cycle's ``kind``."""
        job, i = self.plan.job, pipeline.i
        mode = Signal.like(pipeline.mode, name="mode", reset_less=True)
        residual, moves = op.residual, op.gather | op.lanes
        normalises = self.plan.normalises
        m.d.sync += [
            mode.normal.eq(residual & kind & normalises), mode.add.eq(residual & ~kind),
            mode.residual.eq(residual & kind), mode.function.eq(op.activate),
            mode.long.eq((residual & kind & normalises) | op.activate),
            mode.turn.eq(op.rotate), mode.other.eq(op.gate | op.rotate),
            mode.kind.eq(job.function), mode.fraction.eq(job.fraction),
            mode.factor.eq(Mux(kind, job.out_mult, job.mult | moves)),
            mode.shift.eq(Mux(kind, job.out_shift, job.shift)), mode.format.eq(job.format),
        ]
        with m.If(moves | op.rotate):
            m.d.sync += mode.format.eq(RowFormat.INT16)
        m.d.comb += [
            pipeline.mode.eq(mode), i.place.eq(word.place), i.place.valid.eq(go & ~op.largest), i.x.eq(word.x),
            i.other.eq(word.r), i.residual.eq(word.residual), i.gamma.eq(word.gamma), i.beta.eq(word.beta),
        ]
        with m.If(op.rotate):
            m.d.sync += mode.shift.eq(ANGLE_FRACTION)
            m.d.comb += [getattr(i, name).eq(getattr(turner.o, name))
                         for name in ("place", "x", "other", "own", "minus")]

    def _end(self, m, results, empty, ends, packing):
        """Results to the bus; whether all have left."""
        ended = Signal()
        with m.If(ends):
            m.d.sync += ended.eq(1)
        m.d.comb += [
            self.o.valid.eq(results.o.valid), self.o.payload.data.eq(results.o.payload),
            self.o.payload.count.eq(self.config.bus_bytes), results.o.ready.eq(self.o.ready),
        ]
        # Of the last beat the bus will tell much later.
        m.d.sync += self.done.eq(ended & empty & ~packing)
