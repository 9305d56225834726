"""The largest values of row groups as bytes."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..stream import Spare
from .descriptor import ENTRY_BYTES, LARGEST_COUNT, NO_INDEX
from .formats import LINEAR_BITS
from .largest import LaneLargest, Largest, entry, logits

__all__ = ["PickPacker", "Picks"]


def _image(pick):
    """An entry as it lies in memory."""
    value = Mux(pick.valid, pick.value, Const(-1 << LINEAR_BITS - 1, signed(LINEAR_BITS)))
    index = Mux(pick.valid, pick.index, Const(NO_INDEX, 32))
    return Cat(value, value[-1].replicate(32 - LINEAR_BITS), index)


class PickPacker(wiring.Component):
    """Entries of all rows to beats.

    Members
    -------
    start : In(1)
        New entries are at ``i``; they stay until the last beat is taken.
    i : In(ArrayLayout(ArrayLayout(entry, 8), P))
    o : Out(stream(bus bits))
        32 beats.
    done : Out(1)
        The last of them is taken in this cycle.

    Latency: 1 cycle. Throughput: a beat a cycle. Cost: a select of 32 for each bit of a beat.
    """

    def __init__(self, config):
        self.config = config
        self.beats = config.rows * LARGEST_COUNT * ENTRY_BYTES // config.bus_bytes
        super().__init__({
            "start": In(1), "i": In(data.ArrayLayout(data.ArrayLayout(entry, LARGEST_COUNT), config.rows)),
            "o": Out(stream.Signature(8 * config.bus_bytes)), "done": Out(1)})

    def elaborate(self, platform):
        m = Module()
        busy, beat = Signal(), Signal(range(self.beats))
        image = Cat(_image(pick) for row in self.i for pick in row)
        m.d.comb += [self.o.valid.eq(busy), self.o.payload.eq(image.word_select(beat, 8 * self.config.bus_bytes)),
                     self.done.eq(busy & self.o.ready & (beat == self.beats - 1))]
        with m.If(self.start):
            m.d.sync += [busy.eq(1), beat.eq(0)]
        with m.Elif(self.o.ready):
            m.d.sync += [beat.eq(beat + 1), busy.eq(busy & ~self.done)]
        return m


class Picks(wiring.Component):
    """The largest values of the rows of a group, in bytes.

    Members
    -------
    i : In(stream(logits))
        The next group's after ``done``.
    o : Out(stream(bus bits))
        32 beats of entries, row by row.
    done : Out(1)
        A group's last beat is taken in this cycle.

    Words of one part go through `Largest`, one a cycle whatever they hold, and `PickPacker`. Else each lane has a
    `LaneLargest`: a part a cycle, but for those with one of the largest values so far; then an entry a cycle.
    ``i.ready`` depends on a register alone. From a group's last part to its first beat are at least 4 cycles.
    """

    def __init__(self, config):
        self.config = config
        super().__init__({"i": In(stream.Signature(logits(config))), "o": Out(stream.Signature(8 * config.bus_bytes)),
                          "done": Out(1)})

    def elaborate(self, platform):
        m = Module()
        if self.config.vector_cycles == 1:
            self._of_words(m)
        else:
            self._of_parts(m)
        return m

    def _of_words(self, m):
        m.submodules.largest = largest = Largest(self.config, LARGEST_COUNT)
        m.submodules.packer = packer = PickPacker(self.config)
        m.d.comb += [
            self.i.ready.eq(1), largest.i_valid.eq(self.i.valid), largest.i.eq(self.i.payload),
            packer.start.eq(largest.o_valid), packer.i.eq(largest.o), self.o.valid.eq(packer.o.valid),
            self.o.payload.eq(packer.o.payload), packer.o.ready.eq(self.o.ready), self.done.eq(packer.done),
        ]

    def _of_parts(self, m):
        config, lanes, cycles = self.config, self.config.vector_lanes, self.config.vector_cycles
        units = [LaneLargest(cycles, LARGEST_COUNT) for _ in range(lanes)]
        draining, ready, steps = Signal(), Signal(), Signal()
        # Whether a lane has done with a value is known late in the cycle, and whether one comes as well: so there is a
        # register, and a place to wait in behind it, both of which are written without asking the lanes.
        m.submodules.spare = spare = Spare(logits(config))
        i = spare.o
        m.d.comb += self.i.ready.eq(spare.i.ready)
        with m.If(self.i.ready):
            m.d.sync += [spare.i.valid.eq(self.i.valid), spare.i.payload.eq(self.i.payload)]
        lane, row, place = Signal(range(lanes)), Signal(range(cycles)), Signal(range(LARGEST_COUNT))
        chosen = Signal(data.ArrayLayout(entry, lanes))
        for index, unit in enumerate(units):
            m.submodules[f"lane_{index}"] = unit
            m.d.comb += [
                unit.i.payload.value.eq(i.payload.data[index]), unit.i.payload.index.eq(i.payload.index),
                unit.i.valid.eq(i.valid & ready), chosen[index].eq(unit.o), unit.drain.eq(draining),
                unit.step.eq(steps & (lane == index)), unit.restart.eq(self.done),
            ]
        m.d.comb += [ready.eq(~draining & Cat(unit.i.ready for unit in units).all()), i.ready.eq(ready)]
        # Late is only whether the lanes have done; and when they drain they have.
        with m.If(Cat(unit.i.ready for unit in units).all()):
            m.d.sync += draining.eq((draining | (i.valid & i.payload.last)) & ~self.done)

        # Out: entries, of which several make a beat, or one several beats.
        there, last = Cat(unit.o_valid for unit in units).all(), Signal()
        image = _image(chosen[lane] if lanes > 1 else chosen[0])
        bus = 8 * config.bus_bytes
        if config.bus_bytes < ENTRY_BYTES:
            beat = Signal(range(ENTRY_BYTES // config.bus_bytes))
            m.d.comb += [self.o.valid.eq(there), self.o.payload.eq(image.word_select(beat, bus)),
                         last.eq(beat == ENTRY_BYTES // config.bus_bytes - 1)]
            moves = self.o.valid & self.o.ready
            with m.If(moves):
                m.d.sync += beat.eq(beat + 1)
            m.d.comb += steps.eq(moves & last)
        else:
            # The last entry of a beat needs no place of its own.
            slots = config.bus_bytes // ENTRY_BYTES
            waiting = Signal(8 * ENTRY_BYTES * (slots - 1))
            m.d.comb += [last.eq(place % slots == slots - 1), self.o.valid.eq(there & last),
                         self.o.payload.eq(Cat(waiting, image))]
            m.d.comb += steps.eq(there & (~last | self.o.ready))
            with m.If(steps):
                m.d.sync += waiting.eq(Cat(waiting, image)[8 * ENTRY_BYTES:])
        ends = (place == LARGEST_COUNT - 1) & (lane == lanes - 1) & (row == cycles - 1)
        m.d.comb += self.done.eq(steps & ends)
        with m.If(steps):
            m.d.sync += place.eq(place + 1)
            with m.If(place == LARGEST_COUNT - 1):
                if lanes > 1:
                    m.d.sync += lane.eq(lane + 1)
                with m.If(lane == lanes - 1):
                    m.d.sync += row.eq(row + 1)
