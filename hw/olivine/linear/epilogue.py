"""What happens to a sum once it leaves the array: group multiplier, partial sum, requantization."""

from amaranth.hdl import Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..config import ACCUMULATOR_BITS, PARTIAL_SUM_BITS, REQUANT_BITS
from ..numerics.popcount import popcount
from ..numerics.rounding import rsh, sat, saturates
from .descriptor import RowFormat
from .plan import plan_layout
from .sequencer import tile_tag
from .weights import MULTIPLIER_SLOTS, RECORD_SLOTS, Record, channel_address

__all__ = ["RESULT_BITS", "result_layout", "Epilogue"]

RESULT_BITS = 16


def result_layout(config):
    """A word of results: P rows of ``columns`` consecutive channels."""
    return data.ArrayLayout(data.ArrayLayout(signed(RESULT_BITS), config.rows), config.drain_columns)


class Epilogue(wiring.Component):
    """P-lane SIMD over the words that drain from the array, one a cycle.

    ::

        cycle  0  word from the array          group multipliers addressed
               1  * multiplier (u8)
               2  (multiplier's second register)
               3  rsh group_shift              partial sum addressed
               4  + partial sum (40 bits)      records addressed
               5  write back, or + bias, sat36
               6  * mult (u16)
               7  (multiplier's second register)
               8  rsh shift
               9  sat to the result's width
              10  o

    Members
    -------
    plan : In
    i : In(struct ``valid``, ``first``, ``last``, ``tag``, ``lane``, ``data``)
        From the array. ``lane`` counts the channels of this drain.
    multiplier_addr, multiplier, multiplier_release; record_addr, record, record_release
        The numbers of the channels (`WeightLoader`).
    o_valid : Out(1), o : Out(result_layout)
        Finished words whose first channel exists. Never waits: the sequencer keeps room.
    sum_saturated, output_saturated : Out
        How many sums, results of existing rows and channels saturated, by the cycle.

    Latency: `latency` cycles. Throughput: one word a cycle; a partial sum may be used again after 3.
    Cost, for each of P * columns: a 32 x 9 and a 36 x 17 multiplier, and 40 bits for each context and
    channel.
    """

    latency = 10

    def __init__(self, config, drain_shape):
        self.config = config
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
        columns, rows, lanes = config.drain_columns, config.rows, config.lanes
        each = [(column, row) for column in range(columns) for row in range(rows)]

        # Tags travel with the data: stage[n] holds those of the word in cycle n.
        place = data.StructLayout({"valid": 1, "last": 1, "tag": tile_tag(config),
                                   "lane": range(lanes),        # channel in the panel
                                   "index": range(lanes)})      # channel in this drain
        stage = [Signal(place, name=f"stage_{cycle}") for cycle in range(self.latency + 1)]
        m.d.comb += [stage[0].valid.eq(self.i.valid), stage[0].last.eq(self.i.last), stage[0].tag.eq(self.i.tag),
                     stage[0].index.eq(self.i.lane),
                     stage[0].lane.eq(self.i.lane + Mux(self.i.tag.half, lanes // 2, 0))]
        for before, after in zip(stage, stage[1:]):
            m.d.sync += after.eq(before)

        def lanes_of(shape, cycle):
            """A register for each column and row, holding the word's values in ``cycle``."""
            return {at: Signal(shape, name=f"value_{cycle}_{at[0]}_{at[1]}") for at in each}

        # Cycles 0 to 2: group multiplier.
        m.d.comb += [self.multiplier_addr.slot.eq(stage[0].tag.multiplier_slot),
                     self.multiplier_addr.lane.eq(stage[0].lane),
                     self.multiplier_release.eq(stage[0].valid & stage[0].last & stage[0].tag.release_run)]
        acc = lanes_of(signed(ACCUMULATOR_BITS), 1)
        product, product_held = (lanes_of(signed(PARTIAL_SUM_BITS), cycle) for cycle in (2, 3))
        for at in each:
            factor = Mux(plan.grouped, self.multiplier[at[0]], 1)
            m.d.sync += [acc[at].eq(self.i.data[at[0]][at[1]]), product[at].eq(acc[at] * factor),
                         product_held[at].eq(product[at])]

        # Cycles 3 to 5: partial sum.
        depth = config.contexts * lanes // columns
        m.submodules.psums = psums = Memory(shape=unsigned(PARTIAL_SUM_BITS * rows * columns), depth=depth, init=[])
        read, write = psums.read_port(), psums.write_port()

        def psum_addr(stage):
            return stage.tag.context * (lanes // columns) + stage.lane // columns

        scaled, total = lanes_of(signed(PARTIAL_SUM_BITS), 4), lanes_of(signed(PARTIAL_SUM_BITS), 5)
        m.d.comb += [read.addr.eq(psum_addr(stage[3])), read.en.eq(1), write.addr.eq(psum_addr(stage[5])),
                     write.en.eq(stage[5].valid & ~stage[5].tag.last_run)]
        for index, at in enumerate(each):
            kept = read.data.word_select(index, PARTIAL_SUM_BITS).as_signed()
            m.d.sync += [scaled[at].eq(rsh(product_held[at], plan.group_shift)),
                         total[at].eq(scaled[at] + Mux(stage[4].tag.first_run, 0, kept))]
            m.d.comb += write.data.word_select(index, PARTIAL_SUM_BITS).eq(total[at])

        # Cycles 5 to 10: bias, requantization.
        m.d.comb += [self.record_addr.slot.eq(stage[4].tag.record_slot), self.record_addr.lane.eq(stage[4].lane),
                     self.record_release.eq(stage[5].valid & stage[5].last & stage[5].tag.release_panel)]
        mult = [Signal(unsigned(16), name=f"mult_{column}") for column in range(columns)]
        shift = [[Signal(unsigned(6), name=f"shift_{cycle}_{column}") for column in range(columns)]
                 for cycle in (6, 7, 8)]
        for column in range(columns):
            m.d.sync += [mult[column].eq(self.record[column].mult), shift[0][column].eq(self.record[column].shift),
                         shift[1][column].eq(shift[0][column]), shift[2][column].eq(shift[1][column])]
        finished = lanes_of(signed(REQUANT_BITS), 6)
        scaled_out, scaled_held, rounded = (lanes_of(signed(REQUANT_BITS + 17), cycle) for cycle in (7, 8, 9))
        sum_over, output_over = Signal(len(each)), Signal(len(each))
        for index, at in enumerate(each):
            column, row = at
            biased = total[at] + self.record[column].bias

            def exists(stage, row=row, column=column):
                return (stage.valid & stage.tag.last_run & (row < stage.tag.rows)
                        & (stage.index + column < stage.tag.lanes))

            m.d.sync += [
                finished[at].eq(sat(biased, REQUANT_BITS)),
                sum_over[index].eq(saturates(biased, REQUANT_BITS) & exists(stage[5])),
                scaled_out[at].eq(finished[at] * mult[column]), scaled_held[at].eq(scaled_out[at]),
                rounded[at].eq(rsh(scaled_held[at], shift[2][column])),
            ]
            narrow = {width: (sat(rounded[at], width.bits), saturates(rounded[at], width.bits)) for width in RowFormat}
            with m.Switch(plan.y_format):
                for width, (value, over) in narrow.items():
                    with m.Case(width):
                        m.d.sync += [self.o[column][row].eq(value), output_over[index].eq(over & exists(stage[9]))]
        final = stage[self.latency]
        m.d.comb += self.o_valid.eq(final.valid & final.tag.last_run & (final.index < final.tag.lanes))
        m.d.sync += [self.sum_saturated.eq(popcount(sum_over)), self.output_saturated.eq(popcount(output_over))]
        return m
