"""Rotary positions: pairs of a head's dimensions, turned by an angle of the row's position."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..memory.realign import words
from .formats import ANGLE_FRACTION, LINEAR_BITS, word_place
from .operands import counted, elements
from .passes import pass_layout
from .plan import plan_layout
from .results import delayed

__all__ = ["WordBank", "turner_word", "Turner"]


class WordBank(wiring.Component):
    """Words of a stream in two banks: one is read, in any order, part by part, while the other fills.

    Parameters
    ----------
    config : AcceleratorConfig
    depth : int
        Most words of a bank. Power of two.

    Members
    -------
    count : In(range(depth + 1))
        Words that fill a bank; constant.
    i : In(stream(words))
        Whole beats, one a word.
    full : Out(1)
        The bank that is read next has all its words.
    address : In(range(depth)), part : In(range(vector_cycles))
    o : Out(elements)
        That part of the word at ``address`` of that bank, a cycle later.
    release : In(1)
        That bank may fill again; the other one is read from the next cycle on.

    Throughput: a part a cycle on both sides. Cost: a memory of 2 ``depth`` words, as wide as a part.
    """

    def __init__(self, config, depth):
        self.config, self.depth = config, depth
        super().__init__({
            "count": In(range(depth + 1)), "i": In(stream.Signature(words(config.bus_bytes))), "full": Out(1),
            "address": In(range(depth)), "part": In(range(config.vector_cycles)), "o": Out(elements(config)),
            "release": In(1)})

    def elaborate(self, platform):
        m = Module()
        cycles = self.config.vector_cycles
        m.submodules.memory = memory = Memory(shape=elements(self.config), depth=2 * self.depth * cycles, init=[])
        write, read = memory.write_port(), memory.read_port()
        filling, reading, full, place, part = Signal(), Signal(), Signal(2), Signal(range(self.depth)), Signal(
            range(cycles))
        m.d.comb += [
            write.en.eq(self.i.valid & ~full.bit_select(filling, 1)), self.i.ready.eq(write.en & (part == cycles - 1)),
            write.addr.eq(Cat(part, place, filling)),
            write.data.eq(self.i.payload.data.as_value().word_select(part, write.data.shape().size)),
            read.addr.eq(Cat(self.part, self.address, reading)), self.o.eq(read.data),
            self.full.eq(full.bit_select(reading, 1)),
        ]
        with m.If(self.release):
            m.d.sync += [full.bit_select(reading, 1).eq(0), reading.eq(~reading)]
        if cycles > 1:
            with m.If(write.en):
                m.d.sync += part.eq(part + 1)
        with m.If(self.i.ready):
            m.d.sync += place.eq(place + 1)
            with m.If(place + 1 == self.count):
                m.d.sync += [place.eq(0), full.bit_select(filling, 1).eq(1), filling.eq(~filling)]
        return m


def turner_word(config):
    """Parts of dims and their sines or cosines, two for each part of a result: see `pipeline_word`."""
    return data.StructLayout({"place": word_place(config), "x": elements(config), "other": elements(config), "own": 1,
                              "minus": 1})


class Turner(wiring.Component):
    """Brings the heads of a ROTATE job to the pipeline, dim by dim.

    Members
    -------
    plan : In
    i_pass : In(stream(pass_layout))
        A head each; taken with its last word.
    i_x, i_r : In(stream(words))
        Words of heads; angles of row groups.
    may : In(1)
        There is room for a result.
    takes : Out(1), final : Out(1)
        A result has begun, and takes its room; it is the job's last one.
    o : Out(turner_word)
        Dims that stay are turned by nothing.

    Throughput: a part of a result in two cycles. A head begins when all its words are here, the first of a row group
    when its angles are. Cost: memories for two heads and for the angles of two row groups.
    """

    def __init__(self, config):
        self.config = config
        beats = stream.Signature(words(config.bus_bytes))
        super().__init__({
            "plan": In(plan_layout(config)), "i_pass": In(stream.Signature(pass_layout(config))), "i_x": In(beats),
            "i_r": In(beats), "may": In(1), "takes": Out(1), "final": Out(1), "o": Out(turner_word(config)),
        })

    def elaborate(self, platform):
        m = Module()
        config, job, now = self.config, self.plan.job, self.i_pass.payload
        depth = 1 << (config.max_head_dim - 1).bit_length()
        m.submodules.heads = heads = WordBank(config, depth)
        m.submodules.angles = angles = WordBank(config, depth)
        wiring.connect(m, wiring.flipped(self.i_x), heads.i)
        wiring.connect(m, wiring.flipped(self.i_r), angles.i)

        # Two cycles a part of a dim: its partner's, with the sine, and its own, with the cosine.
        dim, own, last = Signal(range(depth)), Signal(), Signal()
        part, begun, ends = Signal(range(config.vector_cycles)), Signal(), Signal()
        turning = Signal(range(config.max_head_dim + 1))
        upper = Mux(job.interleaved, dim[0], dim >= job.pairs)
        pair, partner = Signal(range(depth)), Signal(range(depth))
        m.d.comb += [
            heads.count.eq(job.channels), angles.count.eq(job.pairs << 1), turning.eq(job.pairs << 1),
            last.eq(dim == self.plan.top), ends.eq(own & (part == config.vector_cycles - 1)),
            pair.eq(Mux(job.interleaved, dim >> 1, Mux(upper, dim - job.pairs, dim))),
            partner.eq(Mux(job.interleaved, dim ^ 1, Mux(upper, dim - job.pairs, dim + job.pairs))),
            self.takes.eq(~begun & self.i_pass.valid & heads.full & angles.full & self.may),
            heads.address.eq(Mux(own, dim, partner)), heads.part.eq(part),
            angles.address.eq(Cat(~own, pair)), angles.part.eq(part),
            self.i_pass.ready.eq(ends & last), heads.release.eq(ends & last),
            angles.release.eq(ends & last & now.end), self.final.eq(self.takes & last & now.final),
        ]
        with m.If(self.takes | begun):
            m.d.sync += [own.eq(~own), begun.eq(~ends)]
        if config.vector_cycles > 1:
            with m.If(own):
                m.d.sync += part.eq(part + 1)
        with m.If(ends):
            m.d.sync += dim.eq(Mux(last, 0, dim + 1))

        # A cycle later the words are here, and behind the block RAMs, which are slow, a register.
        o, one = self.o, 1 << ANGLE_FRACTION
        stays = delayed(m, dim >= turning, 2)
        angle = delayed(m, angles.o, 1)
        m.d.comb += [
            o.place.valid.eq(delayed(m, self.takes | begun, 2)), o.place.last.eq(delayed(m, last, 2)),
            o.place.counted.eq(delayed(m, counted(config, part, now.rows), 2)), o.own.eq(delayed(m, own, 2)),
            o.minus.eq(delayed(m, ~upper, 2)), o.x.eq(delayed(m, heads.o, 1)),
            *(o.other[lane].eq(Mux(stays, Mux(o.own, Const(one, signed(LINEAR_BITS)), 0), angle[lane]))
              for lane in range(config.vector_lanes)),
        ]
        return m
