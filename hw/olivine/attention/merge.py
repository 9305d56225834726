"""The weighted values O of every context: what pages and partial results add up to."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..numerics.rounding import rsh
from .layout import FACTOR_BITS, O_BITS, factors_layout, merge_tag, slots

__all__ = ["merged_word", "BlockMerge"]


def merged_word(config):
    """A finished O of one dim, by row, with the exponent and the factor of its row that normalise it."""
    return data.StructLayout({"valid": 1, "tag": merge_tag(config),
                              "value": data.ArrayLayout(signed(O_BITS), config.rows),
                              "exponent": data.ArrayLayout(5, config.rows),
                              "factor": data.ArrayLayout(FACTOR_BITS, config.rows)})


class BlockMerge(wiring.Component):
    """P-lane SIMD: ``O = rsh(O, old) + rsh(value, new)``, one dim a cycle, O so far in a memory.

    ::

        cycle  0  word         O and factors addressed
               1  O and factors from their memories
               2  rsh
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

    Latency: `latency` cycles. Throughput: one word a cycle. Cost: 40 * P bits of ``state_words`` words, two 40-bit
    shifters for each row.
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
        read, write = memory.read_port(), memory.write_port()
        value_1, value_2, so_far_2, kept_3, added_3, total_4 = (
            Signal(values, name=name) for name in ("value_1", "value_2", "so_far_2", "kept_3", "added_3", "total_4"))
        factors = [Signal(factors_layout(config), name=f"factors_{cycle}") for cycle in (2, 3, 4)]
        m.d.comb += [
            self.slot.eq(i.tag.slot), read.addr.eq(i.addr), read.en.eq(1),
            write.addr.eq(stage[4].addr), write.data.eq(total_4), write.en.eq(stage[4].valid & ~stage[4].tag.final),
            self.o.valid.eq(stage[4].valid & stage[4].tag.final), self.o.tag.eq(stage[4].tag),
            self.o.value.eq(total_4),
        ]
        # Cycle 1 to 2: registers behind the slow outputs of the memories.
        sync += [value_1.eq(i.value), value_2.eq(value_1),
                 so_far_2.eq(Mux(stage[1].tag.first, 0, read.data.as_value())),
                 factors[0].eq(self.factors), factors[1].eq(factors[0]), factors[2].eq(factors[1])]
        for row in range(config.rows):
            sync += [kept_3[row].eq(rsh(so_far_2[row], factors[0][row].old)),
                     added_3[row].eq(rsh(value_2[row], factors[0][row].new)),
                     total_4[row].eq(kept_3[row] + added_3[row])]
            m.d.comb += [self.o.exponent[row].eq(factors[2][row].exponent),
                         self.o.factor[row].eq(factors[2][row].factor)]
        return m
