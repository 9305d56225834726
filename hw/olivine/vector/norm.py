"""Layer norm and RMS norm of the residual stream: what normalises rows, from sums over their channels."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..stream import Queue
from .formats import NormRow
from .moments import Moments, NormJob, row_sums
from .pipeline import square_word
from .serial_moments import SerialMoments

__all__ = ["NormStatistics"]

_RANKS = 2
"""Row groups whose statistics are known and not used up."""


class NormStatistics(wiring.Component):
    """Mean and reciprocal deviation of P rows, from the words of all their channels.

    Sums and sums of squares are exact (36 and 59 bits for 4,096 channels); what becomes of them see `Moments` and
    `olivine_golden.vector.norm`.

    Members
    -------
    job : In(NormJob)
        Constant from the first word until `settled`.
    i : In(square_word)
        Parts of words, in any order of channels, with any gaps; ``place.last`` ends the group of rows. The next group
        may follow at once, but its last word must come after this group's `settled`.
    settled : Out(1)
        For a cycle: a group has its rows.
    valid : Out(1), part : In(range(vector_cycles)), o : Out(ArrayLayout(NormRow, lanes))
        The oldest group that has, and rows of one of its parts.
    take : In(1)
        Drops that group. At most two are kept: a third must not settle.

    Latency: `latency` cycles from the last part to `settled`, a cycle more to `valid`. Throughput: a part a cycle.
    Never waits. Cost, for each lane: additions of 36 and 59 bits; once: `Moments`.
    """

    def __init__(self, config):
        self.config = config
        self._moments = Moments(config) if config.vector_cycles == 1 else SerialMoments(config)
        self.latency = self._moments.latency
        super().__init__({
            "job": In(NormJob), "i": In(square_word(config)), "settled": Out(1), "valid": Out(1),
            "part": In(range(config.vector_cycles)), "o": Out(data.ArrayLayout(NormRow, config.vector_lanes)),
            "take": In(1)})

    def elaborate(self, platform):
        m = Module()
        config, place = self.config, self.i.place
        m.submodules.moments = moments = self._moments

        # Sums move round with the parts, so that the first are those of the part that comes; a group leaves zeros.
        sums = Signal(data.ArrayLayout(row_sums(config), config.vector_cycles))
        new, part = Signal(row_sums(config)), Signal(range(config.vector_cycles))
        for lane in range(config.vector_lanes):
            m.d.comb += [new[lane].total.eq(sums[0][lane].total + self.i.data[lane]),
                         new[lane].squares.eq(sums[0][lane].squares + self.i.squares[lane])]
        with m.If(place.valid):
            m.d.sync += [*(sums[index].eq(sums[index + 1]) for index in range(config.vector_cycles - 1)),
                         sums[config.vector_cycles - 1].eq(new)]
            if config.vector_cycles > 1:
                m.d.sync += part.eq(part + 1)
        with m.If(place.valid & place.last):
            m.d.sync += sums[config.vector_cycles - 1].eq(0)
        m.d.comb += [moments.job.eq(self.job), moments.i_valid.eq(place.valid & place.last), moments.i.eq(new),
                     moments.start.eq(moments.i_valid & (part == config.vector_cycles - 1))]
        if config.vector_cycles == 1:
            m.submodules.ranks = ranks = Queue(self.o.shape(), _RANKS)
            m.d.comb += [self.settled.eq(moments.o_valid), ranks.i.valid.eq(moments.o_valid),
                         ranks.i.payload.eq(moments.o), ranks.o.ready.eq(self.take), self.valid.eq(ranks.o.valid),
                         self.o.eq(ranks.o.payload)]
        else:
            self._ranks(m, moments)
        return m

    def _ranks(self, m, moments):
        """A memory for each lane's rows, of one part after the other."""
        filling, reading, full = Signal(), Signal(), Signal(range(_RANKS + 1))
        lanes = self.config.vector_lanes
        to = moments.row[:len(moments.row) - len(self.part)]
        for lane in range(lanes):
            m.submodules[f"rows_{lane}"] = memory = Memory(
                shape=NormRow, depth=_RANKS * self.config.vector_cycles, init=[])
            write, read = memory.write_port(), memory.read_port(domain="comb")
            m.d.comb += [
                write.addr.eq(Cat(moments.row[len(to):], filling)), write.data.eq(moments.o),
                write.en.eq(moments.o_valid & (to == lane if lanes > 1 else 1)),
                read.addr.eq(Cat(self.part, reading)), self.o[lane].eq(read.data),
            ]
        m.d.comb += [self.settled.eq(moments.done), self.valid.eq(full != 0)]
        m.d.sync += full.eq(full + moments.done - self.take)
        with m.If(moments.done):
            m.d.sync += filling.eq(~filling)
        with m.If(self.take):
            m.d.sync += reading.eq(~reading)
