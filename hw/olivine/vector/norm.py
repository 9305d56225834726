"""Layer norm and RMS norm of the residual stream: sums over the channels, then every residual normalised."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..numerics.rounding import rsh, sat
from .formats import (
    BETA_FRACTION,
    MEAN_FRACTION,
    NORMAL_BITS,
    RESIDUAL_BITS,
    NormRow,
    word,
)
from .moments import Moments, NormJob, row_sums
from .results import delayed, narrow, result_members

__all__ = ["NormStatistics", "Normaliser", "PARAMETER_BITS"]

PARAMETER_BITS = 16
"""gamma and beta of a channel."""


class NormStatistics(wiring.Component):
    """Mean and reciprocal deviation of P rows, from the words of all their channels.

    Sums and sums of squares are exact (36 and 59 bits for 4,096 channels); what becomes of them see `Moments` and
    `olivine_golden.vector.norm`.

    Members
    -------
    job : In(NormJob)
        Constant from the first word until `o_valid`.
    i : In(word), of residuals
        In any order, with any gaps; ``place.last`` ends the group of rows. The next group may follow at once, but
        its last word must come after this group's `o_valid`.
    o_valid : Out(1), o : Out(ArrayLayout(NormRow, P))
        New rows, for a cycle; `o` stays until the next.

    Latency: `latency` cycles from the last word to `o_valid`, 6 P + 17. Throughput: one word a cycle. Never waits.
    Cost, for each row: two 24 x 13 multipliers, accumulators of 36 and 59 bits; once: `Moments`.
    """

    def __init__(self, config):
        self.config = config
        self._moments = Moments(config)
        self.latency = 5 + self._moments.latency
        super().__init__({"job": In(NormJob), "i": In(word(config, signed(RESIDUAL_BITS))), "o_valid": Out(1),
                          "o": Out(data.ArrayLayout(NormRow, config.rows))})

    def elaborate(self, platform):
        m = Module()
        sync = m.d.sync
        m.submodules.moments = moments = self._moments
        place_4 = delayed(m, self.i.place, 4)
        sums, first = Signal(row_sums(self.config)), Signal(init=1)
        half = RESIDUAL_BITS // 2
        with m.If(place_4.valid):
            sync += first.eq(place_4.last)
        for row in range(self.config.rows):
            x = Signal(signed(RESIDUAL_BITS), name=f"x_{row}")
            low, high, square = (Signal(signed(bits), name=f"{name}_{row}") for name, bits in (
                ("low", RESIDUAL_BITS + half), ("high", RESIDUAL_BITS + half), ("square", 2 * RESIDUAL_BITS)))
            low_held, high_held = delayed(m, low, 1), delayed(m, high, 1)
            sync += [
                x.eq(self.i.data[row]),
                low.eq(x * x[:half]), high.eq(x * x[half:].as_signed()),
                square.eq((high_held << half) + low_held),
            ]
            x_4 = delayed(m, x, 3)
            with m.If(place_4.valid):
                sync += [sums[row].total.eq(Mux(first, 0, sums[row].total) + x_4),
                         sums[row].squares.eq(Mux(first, 0, sums[row].squares) + square.as_unsigned())]
        m.d.comb += [
            moments.job.eq(self.job), moments.sums.eq(sums),
            moments.start.eq(delayed(m, place_4.valid & place_4.last, 1)),
            self.o_valid.eq(moments.o_valid), self.o.eq(moments.o),
        ]
        return m


class Normaliser(wiring.Component):
    """Normalised residuals, scaled and biased by the channel, P rows a cycle.

    ::

        cycle  0  x
               1  d = (x << 18) - mean
               2  rsh pre
               3  sat25
               4  * factor (u17)
               5  (multiplier's second register)
               6  rsh post
               7  sat25: normalised, 18 fractional bits
               8  * gamma (int16)
               9  (multiplier's second register)
              10  rsh shift: 4 fractional bits
              11  + beta, rounded
              12  o: saturated to the format

    Members
    -------
    shift : In(6), format : In(RowFormat)
        Constant while words are in flight.
    rows : In(ArrayLayout(NormRow, P))
        Of the word at `i`, in its cycle.
    i : In(word), of residuals
        Beside the data the channel's ``gamma`` and ``beta``, int16: they fold the output's scale. A gamma of 1 is
        one output step for each standard deviation at a shift of 14; beta is in 16ths of an output step.
    o : Out(result_word)
    saturated : Out(range(P + 1))
        How many of the word's existing rows saturated; beside ``o``.

    Latency: `latency` cycles. Throughput: one word a cycle. Never waits. Cost, for each row: a 25 x 18 and a 25 x 16
    multiplier (two of an ECP5 each), three shifters.
    """

    latency = 12

    def __init__(self, config):
        self.config = config
        parameter = signed(PARAMETER_BITS)
        super().__init__({
            "rows": In(data.ArrayLayout(NormRow, config.rows)),
            "i": In(word(config, signed(RESIDUAL_BITS), gamma=parameter, beta=parameter)),
            **result_members(config),
        })

    def elaborate(self, platform):
        m = Module()
        gamma = delayed(m, self.i.gamma, 7)
        # Half an output step, for the rounding.
        biased = Signal(signed(PARAMETER_BITS + 1))
        m.d.sync += biased.eq(delayed(m, self.i.beta, 9) + (1 << BETA_FRACTION - 1))
        rounded = [self._row(m, row, gamma, biased) for row in range(self.config.rows)]
        narrow(m, self, delayed(m, self.i.place, 11), rounded)
        return m

    def _row(self, m, row, gamma, biased):
        """A row's results in cycle 11, not yet saturated."""
        def register(bits, name):
            return Signal(signed(bits), name=f"{name}_{row}")

        sync, numbers = m.d.sync, self.rows[row]
        factor, pre, post = delayed(m, numbers.factor, 3), delayed(m, numbers.pre, 1), delayed(m, numbers.post, 5)

        # Cycles 0 to 3: operand.
        width = RESIDUAL_BITS + MEAN_FRACTION + 1
        moved, shifted, operand = register(width, "moved"), register(width, "shifted"), register(NORMAL_BITS, "operand")
        exact = Cat(Const(0, MEAN_FRACTION), self.i.data[row]).as_signed()
        sync += [moved.eq(exact - numbers.mean), shifted.eq(rsh(moved, pre)), operand.eq(sat(shifted, NORMAL_BITS))]

        # Cycles 3 to 7: normalise.
        product, held, normal = (register(NORMAL_BITS + 17, name) for name in ("product", "held", "normal"))
        n = register(NORMAL_BITS, "n")
        sync += [product.eq(operand * factor), held.eq(product), normal.eq(rsh(held, post)),
                 n.eq(sat(normal, NORMAL_BITS))]

        # Cycles 7 to 11: scale and bias.
        scaled, scaled_held, scaled_rounded = (register(NORMAL_BITS + PARAMETER_BITS, name) for name in (
            "scaled", "scaled_held", "scaled_rounded"))
        result = register(NORMAL_BITS + PARAMETER_BITS + 1 - BETA_FRACTION, "result")
        sync += [scaled.eq(n * gamma), scaled_held.eq(scaled), scaled_rounded.eq(rsh(scaled_held, self.shift)),
                 result.eq(scaled_rounded + biased >> BETA_FRACTION)]
        return result
