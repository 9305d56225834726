"""What a job reads, put together to words of operands, part by part."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..memory.realign import words
from .formats import CONTAINER_BITS, LINEAR_BITS, RESIDUAL_BITS, word_place
from .passes import pass_layout
from .pipeline import PARAMETER_BITS
from .plan import plan_layout

__all__ = ["elements", "operand_layout", "counted", "Operands"]


def elements(config):
    """A part of a word as it lies in memory."""
    return data.ArrayLayout(signed(LINEAR_BITS), config.vector_lanes)


def operand_layout(config):
    """A part of a channel of P rows: what its pass needs of it. ``place.valid`` is 0, whoever takes it sets it.
    ``end`` with the word's last part, ``final`` in the job's last pass; ``updates`` new residuals, ``normal`` those
    that are normalised. They stay to the cycle after the pass's last part."""
    parameter = signed(PARAMETER_BITS)
    return data.StructLayout({
        "second": 1, "updates": 1, "normal": 1, "final": 1, "end": 1, "part": range(config.vector_cycles),
        "place": word_place(config), "index": 20, "x": elements(config), "r": elements(config),
        "residual": data.ArrayLayout(signed(RESIDUAL_BITS), config.vector_lanes),
        "gamma": parameter, "beta": parameter})


def counted(config, part, rows):
    """Which of a part's rows are among the first ``rows``."""
    lanes = config.vector_lanes
    return Cat((part * lanes if config.vector_cycles > 1 else 0) + lane < rows for lane in range(lanes))


class Operands(wiring.Component):
    """Joins the streams of x, r and norm parameters, word by word, pass by pass.

    Members
    -------
    plan : In
    i_pass : In(stream(pass_layout))
        Taken in the cycle after the pass's last part.
    i_x, i_r, i_t : In(stream(words))
        Whole beats: a word of x or r, half a word of residuals, parameters of P / 2 channels.
    o : Out(stream(operand_layout))
        The parts of a word, in order; rows of x are moved round by the job's rotation. ``place.last`` with a pass's
        last word. Not in ROTATE.
    closed : Out(1)
        The pass's last part was taken in the cycle before.

    Latency: none. Throughput: a part a cycle, and a cycle between passes; with residuals a word takes two cycles at
    least.
    """

    def __init__(self, config):
        self.config = config
        beats = stream.Signature(words(config.bus_bytes))
        super().__init__({
            "plan": In(plan_layout(config)), "i_pass": In(stream.Signature(pass_layout(config))),
            "i_x": In(beats), "i_r": In(beats), "i_t": In(beats), "o": Out(stream.Signature(operand_layout(config))),
            "closed": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        config, plan, job = self.config, self.plan, self.plan.job
        now, word, lanes = self.i_pass.payload, self.o.payload, config.vector_lanes
        index, last, moves = Signal.like(job.channels), Signal(), Signal()
        part, end, ends = Signal(range(config.vector_cycles)), Signal(init=config.vector_cycles == 1), Signal()

        wants_x, wants_one, wants_pair, wants_t = now.takes.x, now.takes.r, now.takes.residuals, now.takes.t
        beat = self.i_r.payload.data.as_value()
        containers, has_residuals, takes_half, ends_beat = self._containers(m, part, beat, wants_pair, moves & end)

        # Parameters leave their beat one by one.
        slots = config.bus_bytes // 4
        slot = Signal(range(max(slots, 2)))
        parameter = self.i_t.payload.data.as_value().word_select(slot, 2 * PARAMETER_BITS)
        with m.If(moves & end & wants_t):
            m.d.sync += slot.eq(Mux(last | (slot == slots - 1), 0, slot + 1))

        x = self.i_x.payload.data.as_value()
        first = Signal(range(config.rows))
        m.d.comb += [
            first.eq(part * lanes - job.rotation if config.vector_cycles > 1 else -job.rotation),
            *(word.x[lane].eq(x.word_select((first + lane)[:len(first)], LINEAR_BITS)) for lane in range(lanes)),
            self.o.valid.eq(self.i_pass.valid & ~self.closed & (self.i_x.valid | ~wants_x) & (self.i_t.valid | ~wants_t)
                            & (has_residuals | ~wants_pair) & (self.i_r.valid | ~wants_one) & ~now.turns),
            moves.eq(self.o.valid & self.o.ready),
            self.i_pass.ready.eq(self.closed), self.i_x.ready.eq(moves & end & wants_x),
            self.i_r.ready.eq(takes_half | (moves & ((wants_pair & ends_beat) | (wants_one & end)))),
            self.i_t.ready.eq(moves & end & wants_t & (last | (slot == slots - 1))),
            word.second.eq(now.second), word.updates.eq(now.updates), word.normal.eq(wants_t),
            word.final.eq(now.final), word.end.eq(end), word.part.eq(part),
            word.index.eq(index), word.place.last.eq(last), word.place.counted.eq(counted(config, part, now.rows)),
            word.r.eq(beat.word_select(part, LINEAR_BITS * lanes)),
            word.gamma.eq(parameter[:PARAMETER_BITS]), word.beta.eq(parameter[PARAMETER_BITS:]),
            *(word.residual[lane].eq(Mux(wants_pair, containers.word_select(lane, CONTAINER_BITS)[:RESIDUAL_BITS], 0))
              for lane in range(lanes)),
        ]
        # Whether a part is taken is known late, and much follows a pass's last one: that comes a cycle later.
        m.d.sync += self.closed.eq(moves & ends)
        if config.vector_cycles > 1:
            with m.If(moves):
                nearly = part == config.vector_cycles - 2
                m.d.sync += [part.eq(part + 1), end.eq(nearly), ends.eq(nearly & last)]
        else:
            m.d.comb += ends.eq(last)
        with m.If(moves & end):
            m.d.sync += [index.eq(Mux(last, 0, index + 1)), last.eq(Mux(last, plan.single, index + 1 == plan.top))]
        with m.Elif(~self.i_pass.valid):
            # Nothing is begun.
            m.d.sync += last.eq(plan.single)
        return m

    def _containers(self, m, part, beat, wants_pair, moves):
        """Containers of a part, whether they are here, whether half of them is taken, whether a beat ends with them."""
        if self.config.vector_cycles > 1:
            # A beat is half the parts of a word.
            half = part[:len(part) - 1]
            containers = beat.word_select(half, CONTAINER_BITS * self.config.vector_lanes) if len(half) else beat
            return containers, self.i_r.valid, 0, half.all() if len(half) else 1
        # The first half of a word waits for the second. Of the next pass it is not taken before that has come.
        half, has_half = Signal(len(beat)), Signal()
        takes_half = self.i_r.valid & self.i_pass.valid & wants_pair & ~has_half & ~self.closed
        with m.If(takes_half):
            m.d.sync += [half.eq(beat), has_half.eq(1)]
        with m.If(moves):
            m.d.sync += has_half.eq(0)
        return Cat(half, beat), self.i_r.valid & has_half, takes_half, 1
