"""The residual stream: what a linear layer gives is added to it, and the next one's rows are made of it."""

from amaranth.hdl import Module, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..config import PARTIAL_SUM_BITS, REQUANT_BITS
from ..numerics.popcount import popcount
from ..numerics.rounding import rsh, sat, saturates
from .formats import FACTOR_BITS, LINEAR_BITS, RESIDUAL_BITS, SHIFT_BITS, word
from .results import FINISH, delayed, exists, finish, result_members

__all__ = ["ResidualAdder", "ResidualRequantizer"]


class ResidualAdder(wiring.Component):
    """``sat24(residual + rsh(sat36(x) * mult, shift))``, P rows a cycle.

    Parameters
    ----------
    config : AcceleratorConfig
    source_bits : int
        Bits of x: 16 for results of a linear layer, up to 40 for its sums.

    Members
    -------
    i : In(word)
        ``data`` is x; beside it ``residual`` ``[P]``, and ``mult`` (u16) and ``shift`` of the channel.
    o : Out(word), of residuals
    addend_saturated, sum_saturated : Out(range(P + 1))
        How many of the word's existing rows saturated where; beside ``o``.

    Latency: `latency` cycles. Throughput: one word a cycle. Never waits. Cost, for each row: one multiplier,
    16 x 17 or 36 x 17 bits (two of an ECP5), and its shifter.
    """

    latency = 6

    def __init__(self, config, source_bits=LINEAR_BITS):
        if not isinstance(source_bits, int) or not 8 <= source_bits <= PARTIAL_SUM_BITS:
            raise ValueError(f"source_bits is {source_bits!r}: allowed is 8 to {PARTIAL_SUM_BITS}")
        self.config, self.source_bits = config, source_bits
        events = range(config.rows + 1)
        super().__init__({
            "i": In(word(config, signed(source_bits), mult=FACTOR_BITS, shift=SHIFT_BITS,
                         residual=data.ArrayLayout(signed(RESIDUAL_BITS), config.rows))),
            "o": Out(word(config, signed(RESIDUAL_BITS))),
            "addend_saturated": Out(events), "sum_saturated": Out(events),
        })

    def elaborate(self, platform):
        m = Module()
        sync, i, rows = m.d.sync, self.i, self.config.rows
        mult, shift = delayed(m, i.mult, 1), delayed(m, i.shift, 3)
        place_5 = delayed(m, i.place, 5)
        addend_over, sum_over = Signal(rows), Signal(rows)
        sync += self.o.place.eq(place_5)
        for row in range(rows):
            operand = Signal(signed(min(self.source_bits, REQUANT_BITS)), name=f"operand_{row}")
            product, held, rounded, total = (Signal(signed(len(operand) + FACTOR_BITS + (name == "total")),
                                                    name=f"{name}_{row}")
                                             for name in ("product", "held", "rounded", "total"))
            sync += [
                operand.eq(sat(i.data[row], REQUANT_BITS)),
                product.eq(operand * mult),
                held.eq(product),
                rounded.eq(rsh(held, shift)),
                total.eq(rounded + delayed(m, i.residual[row], 4)),
                self.o.data[row].eq(sat(total, RESIDUAL_BITS)),
                addend_over[row].eq(delayed(m, saturates(i.data[row], REQUANT_BITS), 5) & exists(place_5, row)),
                sum_over[row].eq(saturates(total, RESIDUAL_BITS) & exists(place_5, row)),
            ]
        m.d.comb += [self.addend_saturated.eq(popcount(addend_over)), self.sum_saturated.eq(popcount(sum_over))]
        return m


class ResidualRequantizer(wiring.Component):
    """``sat(rsh(residual * mult, shift), format)``, P rows a cycle: rows of a linear layer without a norm.

    Members
    -------
    mult : In(16), shift : In(6), format : In(RowFormat)
        Constant while words are in flight.
    i : In(word), of residuals
    o : Out(result_word)
    saturated : Out(range(P + 1))
        How many of the word's existing rows saturated; beside ``o``.

    Latency: `latency` cycles. Throughput: one word a cycle. Never waits. Cost, for each row: one 24 x 17 multiplier
    and its shifter.
    """

    latency = FINISH

    def __init__(self, config):
        self.config = config
        super().__init__({"mult": In(FACTOR_BITS), "i": In(word(config, signed(RESIDUAL_BITS))),
                          **result_members(config)})

    def elaborate(self, platform):
        m = Module()
        finish(m, self, self.i.place, [self.i.data[row] * self.mult for row in range(self.config.rows)])
        return m
