"""What happens to a sum once it leaves the array: group multiplier, partial sum, requantization."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..config import PARTIAL_SUM_BITS, REQUANT_BITS
from ..numerics.narrow import shift_right
from ..numerics.popcount import popcount
from ..numerics.rounding import sat, saturates
from ..stream import read_later
from .descriptor import RowFormat
from .parts import SUM_BITS, DrainParts, part_layout
from .plan import plan_layout
from .sequencer import tile_tag
from .weights import MULTIPLIER_SLOTS, RECORD_SLOTS, Record, channel_address

__all__ = ["RESULT_BITS", "result_layout", "Epilogue"]

RESULT_BITS = 16
FACTOR_BITS = 16
"""Width of a channel's multiplier."""
CYCLES = 13
"""From the rows of a word to its results."""


def result_layout(config):
    """A word of results: P rows of ``columns`` consecutive channels."""
    return data.ArrayLayout(data.ArrayLayout(signed(RESULT_BITS), config.rows), config.drain_columns)


class Epilogue(wiring.Component):
    """SIMD over the words that drain from the array, ``vector_lanes`` rows a cycle.

    ::

        cycle  0  rows of a word              group multipliers addressed
               1  (multipliers read, a register behind their memory)
               2  (the multiplication's own registers)
               3  * multiplier (u8)
               4  >> group_shift              partial sum addressed
               5  + partial sum (40 bits), rounded
               6  write back, + bias          (records addressed in cycle 5)
               7  sat36
               8  * mult (u16)
               9  (multiplier's second register)
              10  >> shift, 17 bits of it
              11  rounded
              12  sat to the result's width
              13  o

    With ``vector_cycles`` above 1, a word's rows come one part after the other out of `DrainParts`, a cycle later, and
    ``o_valid`` comes with the last.

    Members
    -------
    plan : In
    i : In(struct ``valid``, ``first``, ``last``, ``tag``, ``lane``, ``data``)
        From the array. ``lane`` counts the channels of this drain.
    multiplier_addr, multiplier, multiplier_release; record_addr, record, record_release
        The numbers of the channels (`WeightLoader`).
    o_valid : Out(1), o : Out(result_layout)
        Finished words whose first channel exists. Never waits: the sequencer keeps room. Rows without a token hold
        anything.
    sum_saturated, output_saturated : Out
        How many sums, results of existing rows and channels saturated, by the cycle.

    Latency: `latency` cycles from a word to its first part's results. Throughput: a part a cycle; a partial sum may be
    used again after 3 cycles.
    Cost, for each of vector_lanes * columns: a 27 x 9 and a 36 x 17 multiplier, two shifters; for each of P * columns
    40 bits for each context and channel.
    """

    def __init__(self, config, drain_shape):
        self.config = config
        self.latency = CYCLES + (DrainParts.latency if config.vector_cycles > 1 else 0)
        events = range(config.rows * config.drain_columns + 1)
        super().__init__({
            "plan": In(plan_layout(config)), "i": In(drain_shape),
            "multiplier_addr": Out(channel_address(config, MULTIPLIER_SLOTS)),
            "multiplier": In(data.ArrayLayout(8, config.drain_columns)), "multiplier_release": Out(1),
            "record_addr": Out(channel_address(config, RECORD_SLOTS)),
            "record": In(data.ArrayLayout(Record, config.drain_columns)), "record_release": Out(1),
            "o_valid": Out(1), "o": Out(result_layout(config)),
            "sum_saturated": Out(events), "output_saturated": Out(events),
        })

    def elaborate(self, platform):
        m = Module()
        config, plan = self.config, self.plan
        columns, rows, lanes = config.drain_columns, config.vector_lanes, config.lanes
        each = [(column, row) for column in range(columns) for row in range(rows)]
        sums = self._sums(m)

        # Tags travel with the data: stage[n] holds those of the rows in cycle n.
        place = data.StructLayout({"valid": 1, "last": 1, "final": 1, "tag": tile_tag(config),
                                   "lane": range(lanes),        # channel in the panel
                                   "index": range(lanes),       # channel in this drain
                                   "part": range(config.vector_cycles)})
        stage = [Signal(place, name=f"stage_{cycle}") for cycle in range(CYCLES + 1)]
        m.d.comb += [*(stage[0][name].eq(sums[name]) for name in ("valid", "last", "final", "tag", "part")),
                     stage[0].index.eq(sums.lane),
                     stage[0].lane.eq(sums.lane + Mux(sums.tag.half, lanes // 2, 0))]
        for before, after in zip(stage, stage[1:]):
            m.d.sync += after.eq(before)

        def lanes_of(shape, cycle):
            """A register for each column and row, holding the word's values in ``cycle``."""
            return {at: Signal(shape, name=f"value_{cycle}_{at[0]}_{at[1]}") for at in each}

        # Cycles 0 to 3: group multiplier. The choice among a memory's word is not the multiplication's cycle, whose
        # operands are in registers that do nothing else, so that the multiplier's own take their place.
        m.d.comb += [self.multiplier_addr.slot.eq(stage[0].tag.multiplier_slot),
                     self.multiplier_addr.lane.eq(stage[0].lane),
                     self.multiplier_release.eq(stage[0].valid & stage[0].last & stage[0].tag.release_run)]
        came, waits, acc = (lanes_of(signed(SUM_BITS), cycle) for cycle in (1, 2, 3))
        product = lanes_of(signed(SUM_BITS + 8), 4)
        chosen, factor = ([Signal(8, name=f"{name}_{column}") for column in range(columns)]
                          for name in ("chosen", "factor"))
        for column in range(columns):
            m.d.sync += [chosen[column].eq(Mux(plan.grouped, self.multiplier[column], 1)),
                         factor[column].eq(chosen[column])]
        for at in each:
            m.d.sync += [came[at].eq(sums.data[at[0]][at[1]]), waits[at].eq(came[at]), acc[at].eq(waits[at]),
                         product[at].eq(acc[at] * factor[at[0]])]

        # Cycles 4 to 6: partial sum. What the shift leaves below the point rounds in the same addition.
        depth = config.contexts * lanes // columns * config.vector_cycles
        m.submodules.psums = psums = Memory(shape=unsigned(PARTIAL_SUM_BITS * rows * columns), depth=depth, init=[])
        write = psums.write_port()

        def psum_addr(stage):
            return ((stage.tag.context * (lanes // columns) + stage.lane // columns) * config.vector_cycles
                    + stage.part)

        shifted, total = lanes_of(signed(SUM_BITS + 9), 5), lanes_of(signed(PARTIAL_SUM_BITS), 6)
        m.d.comb += [write.addr.eq(psum_addr(stage[6])), write.en.eq(stage[6].valid & ~stage[6].tag.last_run)]
        # Words behind one another are of other lanes or parts.
        so_far = read_later(m, psums, psum_addr(stage[4]), write)
        for index, at in enumerate(each):
            before = Mux(stage[5].tag.first_run, 0, so_far.word_select(index, PARTIAL_SUM_BITS))
            m.d.sync += [shifted[at].eq(Cat(Const(0, 1), product[at]).as_signed() >> plan.group_shift),
                         # The lowest bit is added to itself: its carry is what rounds.
                         total[at].eq(shifted[at] + Cat(shifted[at][0], before).as_signed() >> 1)]
            m.d.comb += write.data.word_select(index, PARTIAL_SUM_BITS).eq(total[at])

        # Cycles 6 to 13: bias, requantization.
        m.d.comb += [self.record_addr.slot.eq(stage[5].tag.record_slot), self.record_addr.lane.eq(stage[5].lane),
                     self.record_release.eq(stage[6].valid & stage[6].last & stage[6].tag.release_panel)]
        mult = [[Signal(unsigned(FACTOR_BITS), name=f"mult_{cycle}_{column}") for column in range(columns)]
                for cycle in (7, 8)]
        shift = [[Signal(unsigned(6), name=f"shift_{cycle}_{column}") for column in range(columns)]
                 for cycle in (7, 8, 9, 10)]
        for column in range(columns):
            m.d.sync += [mult[0][column].eq(self.record[column].mult), mult[1][column].eq(mult[0][column]),
                         shift[0][column].eq(self.record[column].shift),
                         *(after[column].eq(before[column]) for before, after in zip(shift, shift[1:]))]
        biased, finished = lanes_of(signed(PARTIAL_SUM_BITS + 1), 7), lanes_of(signed(REQUANT_BITS), 8)
        scaled, scaled_held = (lanes_of(signed(REQUANT_BITS + FACTOR_BITS), cycle) for cycle in (9, 10))
        near, rounded = (lanes_of(signed(RESULT_BITS + 1), cycle) for cycle in (11, 12))
        (far, far_held), (sign, sign_held) = ([lanes_of(1, cycle) for cycle in (11, 12)] for _ in range(2))
        sum_over, output_over = Signal(len(each)), Signal(len(each))
        for index, at in enumerate(each):
            column, row = at

            def exists(stage, row=row, column=column):
                return (stage.valid & stage.tag.last_run & (stage.part * rows + row < stage.tag.rows)
                        & (stage.index + column < stage.tag.lanes))

            floor, half, beyond = shift_right(scaled_held[at], shift[3][column], RESULT_BITS)
            m.d.sync += [
                biased[at].eq(total[at] + self.record[column].bias),
                finished[at].eq(sat(biased[at], REQUANT_BITS)),
                sum_over[index].eq(saturates(biased[at], REQUANT_BITS) & exists(stage[7])),
                scaled[at].eq(finished[at] * mult[1][column]), scaled_held[at].eq(scaled[at]),
                near[at].eq(Cat(half, floor)), far[at].eq(beyond), sign[at].eq(scaled_held[at][-1]),
                # The lowest bit lies below the point.
                rounded[at].eq(near[at] + near[at][0] >> 1), far_held[at].eq(far[at]), sign_held[at].eq(sign[at]),
            ]
            value, over = _saturated(m, rounded[at], far_held[at], sign_held[at], plan.y_format, f"{column}_{row}")
            m.d.sync += output_over[index].eq(over & exists(stage[12]))
            with m.Switch(stage[12].part):
                for part in range(config.vector_cycles):
                    with m.Case(part):
                        m.d.sync += self.o[column][part * rows + row].eq(value)
        final = stage[CYCLES]
        m.d.comb += self.o_valid.eq(final.valid & final.final & final.tag.last_run & (final.index < final.tag.lanes))
        m.d.sync += [self.sum_saturated.eq(popcount(sum_over)), self.output_saturated.eq(popcount(output_over))]
        return m

    def _sums(self, m):
        """The sums of cycle 0, as `part_layout` says."""
        config, i = self.config, self.i
        if config.vector_cycles > 1:
            m.submodules.parts = parts = DrainParts(config, i.shape())
            words = config.lanes // config.drain_columns
            m.d.comb += [parts.i.eq(i), parts.words.eq(
                Mux(self.plan.int8, words // 2, words) if config.element == "exponent" else words)]
            return parts.o
        sums = Signal(part_layout(config, i.tag.shape()))
        m.d.comb += [*(sums[name].eq(i[name]) for name in ("valid", "last", "tag", "lane")), sums.final.eq(1),
                     *(sums.data[column][row].eq(i.data[column][row])
                       for column in range(config.drain_columns) for row in range(config.rows))]
        return sums


def _saturated(m, rounded, far, sign, y_format, name):
    """What is ``rounded``, or ``far`` beyond its bits, as a format has it: (value, whether it saturated)."""
    over, limit = Signal(name=f"over_{name}"), Signal(RESULT_BITS, name=f"limit_{name}")
    with m.Switch(y_format):
        for width in RowFormat:
            with m.Case(width):
                m.d.comb += [
                    over.eq(far | saturates(rounded, width.bits)),
                    limit.eq(Cat((~sign).replicate(width.bits - 1), sign.replicate(RESULT_BITS - width.bits + 1)))]
    return Mux(over, limit, rounded[:RESULT_BITS]), over
