"""Sums on their way from the array to fewer lanes than it has rows."""

from amaranth.hdl import Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..config import CHANNEL_RUN, LANE_MAX, ROW_BITS
from ..stream import read_later

__all__ = ["SUM_BITS", "part_layout", "last_part", "DrainParts"]

SUM_BITS = 1 + (CHANNEL_RUN * LANE_MAX << ROW_BITS - 1).bit_length()
"""Width of the sum of a run."""


def part_layout(config, tag):
    """Sums of ``columns`` consecutive channels and ``vector_lanes`` rows. ``part``: which of the channels' rows;
    ``final``: the last that are there; ``last``: of the drain."""
    return data.StructLayout({
        "valid": 1, "last": 1, "final": 1, "tag": tag, "lane": range(config.lanes), "part": range(config.vector_cycles),
        "data": data.ArrayLayout(data.ArrayLayout(signed(SUM_BITS), config.vector_lanes), config.drain_columns)})


def last_part(config, rows):
    """Number of the last part that has any of the first ``rows`` rows."""
    return (rows - 1)[:(config.rows - 1).bit_length()] >> (config.vector_lanes - 1).bit_length()


class DrainParts(wiring.Component):
    """Takes a drain's words, one a cycle, and gives each in its parts, one a cycle. Parts without rows are left out.

    Parameters
    ----------
    config : AcceleratorConfig
        With ``vector_cycles`` above 1.
    drain : Shape
        Of the array's ``o``.

    Members
    -------
    i : In(drain)
        Nothing keeps it waiting: the sequencer begins a drain only when the one before, in its parts, is over.
    words : In
        Words of a drain.
    o : Out(part_layout)

    Latency: `latency` cycles from a word to its first part, the next ones each a cycle later.
    Cost: block RAM for a drain, a choice of one part of a word.
    """

    latency = 2

    def __init__(self, config, drain):
        self.config = config
        self.depth = config.lanes // config.drain_columns
        super().__init__({"i": In(drain), "words": In(range(self.depth + 1)),
                          "o": Out(part_layout(config, drain["tag"].shape))})

    def elaborate(self, platform):
        m = Module()
        config, o = self.config, self.o
        columns, rows, here = config.drain_columns, config.rows, config.vector_lanes
        m.submodules.sums = sums = Memory(shape=unsigned(SUM_BITS * rows * columns), depth=self.depth, init=[],
                                          attrs={"ram_style": "block"})
        write = sums.write_port()
        m.d.comb += [write.en.eq(self.i.valid), write.addr.eq(self.i.lane // columns),
                     *(write.data.word_select(column * rows + row, SUM_BITS).eq(self.i.data[column][row])
                       for column in range(columns) for row in range(rows))]

        # A drain's first word comes with the last part of the drain before at the earliest. It is read in the cycle
        # after that, when it is there, and so no word is read while it is written.
        index, following = Signal(range(self.depth)), Signal(range(self.depth))
        begins, tag = Signal(), Signal.like(o.tag)
        m.d.sync += begins.eq(self.i.valid & self.i.first)
        with m.If(self.i.valid & self.i.first):
            m.d.sync += tag.eq(self.i.tag)
        with m.If(begins):
            m.d.sync += [o.valid.eq(1), o.tag.eq(tag)]
        with m.Elif(o.last):
            m.d.sync += o.valid.eq(0)
        word = read_later(m, sums, following, write)
        m.d.sync += index.eq(following)
        m.d.comb += [
            following.eq(index), o.lane.eq(index * columns), o.final.eq(o.part == last_part(config, o.tag.rows)),
            o.last.eq(o.valid & o.final & (index + 1 == self.words)),
        ]
        with m.Switch(o.part):
            for part in range(config.vector_cycles):
                with m.Case(part):
                    m.d.comb += [o.data[column][row].eq(
                        word.word_select(column * rows + part * here + row, SUM_BITS))
                        for column in range(columns) for row in range(here)]
        with m.If(o.valid):
            m.d.sync += o.part.eq(Mux(o.final, 0, o.part + 1))
            with m.If(o.final):
                m.d.comb += following.eq(Mux(o.last, 0, index + 1))
        return m
