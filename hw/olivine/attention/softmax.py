"""The softmax of one page: integer maximum, powers of two, their sum."""

from amaranth.hdl import Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..config import GUARD_BITS, PROBABILITY_BITS
from ..numerics.exp2 import Exp2
from ..stream import read_later
from .layout import MAXIMUM_BITS, SCORE_BITS, SUM_BITS, block_sum_bits, score_tag
from .score import score_word

__all__ = ["block_state", "BlockSoftmax"]

MIN_LANES = 8
"""A unit's maximum and tag stand in one register until its first probabilities leave, and units follow one another
in as many cycles."""

DISTANCE_BITS = SCORE_BITS + 1
FRACTION_BITS = 8


def block_state(config):
    """What a page adds to the running state of its context, by row: the integer maximum ``m`` and the sum ``l`` in the
    units of the running sum, that is with `GUARD_BITS` more fractional bits than the probabilities."""
    return data.StructLayout({"valid": 1, "tag": score_tag(config),
                              "m": data.ArrayLayout(signed(MAXIMUM_BITS), config.rows),
                              "l": data.ArrayLayout(unsigned(SUM_BITS), config.rows)})


class BlockSoftmax(wiring.Component):
    """Keeps a page's scores until their maximum is known, then turns them into probabilities, one key a cycle.

    ::

        m = ceil(largest / 256)                 -128 where the row sees no key
        p = exp2(256 * m - score)               0 where the row does not see the key
        l = sum of p

        cycle  0  ``last`` of the unit          the last scores are written to the ring
               1  ring addressed
               2  score from the ring
               3  256 * m - score
               4  Exp2
               7  o, l

    **The user's part.** The ``last`` of two units are at least L cycles apart, and words of different units do not
    interleave; gaps within a unit are free.

    **Why the ring of 2 L words is enough.** The k <= L words of a unit are read in the k cycles after its last one,
    that is until the cycle of the next unit's last word at the latest, and the unit after that comes later still. So
    words of at most two units are held, and they are read in the order in which they were written, all of them.
    (Half of it would do, but then a word might be written in the cycle in which the one in its place is read.)

    Members
    -------
    i : In(score_word)
    o : Out(struct ``valid``, ``data``)
        ``[P]`` probabilities, unsigned 11 bits, in the order of the keys: ``tag.keys`` consecutive cycles a unit.
    done : Out(block_state)
        Once a unit, in order, in the cycle after its last word on ``o``, or L cycles after the unit before's if
        that is later. (A short unit follows a long one closely; the running state needs its time for both.)

    Latency: `latency` cycles from a unit's ``last`` to its first probabilities; throughput: one key a cycle.
    Cost: 17 * P bits of 2 L words, P / 2 tables of `Exp2`.
    """

    latency = 7

    def __init__(self, config):
        if config.lanes < MIN_LANES:
            raise ValueError(f"lanes is {config.lanes}: the softmax needs {MIN_LANES} or more")
        self.config = config
        super().__init__({
            "i": In(score_word(config)),
            "o": Out(data.StructLayout({"valid": 1, "data": data.ArrayLayout(PROBABILITY_BITS, config.rows)})),
            "done": Out(block_state(config)),
        })

    def elaborate(self, platform):
        m = Module()
        sync, config, i = m.d.sync, self.config, self.i
        rows, lanes = config.rows, config.lanes

        # The ring.
        word = data.StructLayout({"score": data.ArrayLayout(signed(SCORE_BITS), rows), "visible": rows})
        m.submodules.ring = ring = Memory(shape=word, depth=2 * lanes, init=[])
        head, tail = Signal(range(2 * lanes)), Signal(range(2 * lanes))
        write = ring.write_port()
        word_2 = read_later(m, ring, tail, write)
        m.d.comb += [write.addr.eq(head), write.data.score.eq(i.score), write.data.visible.eq(i.visible),
                     write.en.eq(i.valid)]
        sync += head.eq(head + i.valid)

        # The unit that is read, as it passes through: a register of cycle n holds it from the first word's cycle
        # n on, until the next unit's word is there.
        maxima = data.ArrayLayout(signed(MAXIMUM_BITS), rows)
        unit = data.StructLayout({"tag": score_tag(config), "m": maxima})
        unit_1, unit_8, m_3 = Signal(unit), Signal(unit), Signal(maxima)
        left = Signal(range(lanes + 1))
        with m.If(i.last):
            sync += [left.eq(i.tag.keys), unit_1.tag.eq(i.tag)]
            sync += [unit_1.m[row].eq((i.largest[row] + 255) >> FRACTION_BITS) for row in range(rows)]
        with m.Elif(left != 0):
            sync += left.eq(left - 1)

        place = data.StructLayout({"valid": 1, "first": 1, "last": 1})
        stage = {cycle: Signal(place, name=f"stage_{cycle}") for cycle in range(1, self.latency + 1)}
        m.d.comb += [stage[1].valid.eq(left != 0), stage[1].first.eq(left == unit_1.tag.keys),
                     stage[1].last.eq(left == 1)]
        sync += tail.eq(tail + stage[1].valid)
        for cycle in range(1, self.latency):
            sync += stage[cycle + 1].eq(stage[cycle])
        with m.If(stage[2].valid & stage[2].first):
            sync += m_3.eq(unit_1.m)
        with m.If(stage[7].valid & stage[7].first):
            sync += unit_8.eq(unit_1)

        # Cycles 2 to 7: a register behind the slow output of the block RAM, distance to the maximum, power.
        word_3 = Signal(word)
        visible = [word_3.visible, *(Signal(rows, name=f"visible_{cycle}") for cycle in range(4, 8))]
        sync += [word_3.eq(word_2), *(after.eq(before) for before, after in zip(visible, visible[1:]))]
        for pair in range(rows // 2):
            m.submodules[f"exp2_{pair}"] = exp2 = Exp2(DISTANCE_BITS, lanes=2)
            for lane in range(2):
                row = 2 * pair + lane
                # Where the key is not visible the distance means nothing, and neither does its power.
                distance = Signal(DISTANCE_BITS, name=f"distance_{row}")
                sync += distance.eq((m_3[row] << FRACTION_BITS) - word_3.score[row])
                m.d.comb += [exp2.i[lane].eq(distance),
                             self.o.data[row].eq(Mux(visible[-1][row], exp2.o[lane], 0))]
        m.d.comb += self.o.valid.eq(stage[7].valid)

        # Cycle 7: sums. Complete, they stand until the next unit's first word, which is late enough: the latest
        # time of a unit's `done` is L + 7 cycles after its last score, one before the next unit's sums begin.
        waiting, gap = Signal(), Signal(range(lanes))
        for row in range(rows):
            total = Signal(block_sum_bits(config), name=f"sum_{row}")
            with m.If(stage[7].valid):
                sync += total.eq(Mux(stage[7].first, 0, total) + self.o.data[row])
            m.d.comb += self.done.l[row].eq(total << GUARD_BITS)
        m.d.comb += [self.done.valid.eq(waiting & (gap == 0)), self.done.tag.eq(unit_8.tag),
                     self.done.m.eq(unit_8.m)]
        with m.If(self.done.valid):
            sync += [gap.eq(lanes - 1), waiting.eq(0)]
        with m.Elif(gap != 0):
            sync += gap.eq(gap - 1)
        with m.If(stage[7].valid & stage[7].last):
            sync += waiting.eq(1)
        return m
