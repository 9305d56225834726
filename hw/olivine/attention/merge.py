"""The weighted values O of every context: what pages and partial results add up to."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..stream import read_later
from .layout import O_BITS, SHIFT_BITS, factors_layout, merge_tag, slots

__all__ = ["merged_word", "BlockMerge"]


def merged_word(config):
    """A finished O of one dim, by row."""
    return data.StructLayout({"valid": 1, "value": data.ArrayLayout(signed(O_BITS), config.rows)})


class BlockMerge(wiring.Component):
    """P-lane SIMD: ``O = rsh(O, old) + rsh(value, new)``, one dim a cycle, O so far in a memory.

    One of ``old`` and ``new`` is 0 (`RunningState`), so there is one shifter; the bit that rounds is the adder's carry.

    ::

        cycle  0  word         O and factors addressed
               1  O and factors from their memories; which of both is shifted
               2  >>
               3  +
               4  write back, or o

    In a ``first`` unit O so far is 0. A ``final`` one is not written back but leaves on ``o``. O stays within 40 bits
    as long as the configuration's ``max_sequence`` holds; nothing saturates.

    Members
    -------
    i : In(struct ``valid``, ``addr``, ``tag``, ``value``)
        ``addr``: where the context keeps this dim. ``value``: ``[P]`` signed 40 bits, a page's weighted values
        already in the units of O (shifted left by `GUARD_BITS`), or a partial result's O. Two words of the same
        ``addr`` come `spacing` cycles apart or more.
    slot : Out(range(slots)), factors : In(factors_layout)
        Asked in cycle 0, answered in cycle 1 (`RunningState`).
    o : Out(merged_word)

    Latency: `latency` cycles. Throughput: one word a cycle. Cost: 40 * P bits of ``state_words`` words, a 40-bit
    shifter for each row.
    """

    latency = 4
    spacing = 5

    def __init__(self, config):
        self.config = config
        super().__init__({
            "i": In(data.StructLayout({"valid": 1, "addr": range(config.state_words), "tag": merge_tag(config),
                                       "value": data.ArrayLayout(signed(O_BITS), config.rows)})),
            "slot": Out(range(slots(config))), "factors": In(factors_layout(config)),
            "o": Out(merged_word(config)),
        })

    def elaborate(self, platform):
        m = Module()
        sync, config, i = m.d.sync, self.config, self.i
        values = data.ArrayLayout(signed(O_BITS), config.rows)

        place = data.StructLayout({"valid": 1, "addr": range(config.state_words), "tag": merge_tag(config)})
        stage = [Signal(place, name=f"stage_{cycle}") for cycle in range(self.latency + 1)]
        m.d.comb += [stage[0][name].eq(i[name]) for name in ("valid", "addr", "tag")]
        for before, after in zip(stage, stage[1:]):
            sync += after.eq(before)

        m.submodules.memory = memory = Memory(shape=values, depth=config.state_words, init=[])
        write = memory.write_port()
        before = read_later(m, memory, i.addr, write)
        value_1, shifted_2, other_2, shifted_3, other_3, total_4 = (
            Signal(values, name=name)
            for name in ("value_1", "shifted_2", "other_2", "shifted_3", "other_3", "total_4"))
        m.d.comb += [
            self.slot.eq(i.tag.slot),
            write.addr.eq(stage[4].addr), write.data.eq(total_4), write.en.eq(stage[4].valid & ~stage[4].tag.final),
            self.o.valid.eq(stage[4].valid & stage[4].tag.final),
            self.o.value.eq(total_4),
        ]
        # Cycle 1 to 2: registers behind the slow outputs of the memories.
        sync += value_1.eq(i.value)
        places, round_3 = Signal(data.ArrayLayout(SHIFT_BITS, config.rows)), Signal(config.rows)
        for row in range(config.rows):
            old, value = self.factors[row].old, value_1[row]
            so_far = Mux(stage[1].tag.first, 0, before[row])
            sync += [
                shifted_2[row].eq(Mux(old != 0, so_far, value)), other_2[row].eq(Mux(old != 0, value, so_far)),
                places[row].eq(old | self.factors[row].new),
                # One bit below the point is the last one shifted out, which rounds.
                Cat(round_3[row], shifted_3[row]).eq(Cat(Const(0, 1), shifted_2[row]).as_signed() >> places[row]),
                other_3[row].eq(other_2[row]),
                total_4[row].eq(shifted_3[row] + other_3[row] + round_3[row]),
            ]
        return m
