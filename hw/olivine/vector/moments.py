"""From the sums of rows to what normalises them, one row after the other on one multiplier."""

from amaranth.hdl import Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..numerics.rounding import rsh
from .formats import (
    EPSILON_BITS,
    MAX_CHANNELS,
    MEAN_FRACTION,
    RECIPROCAL_SHIFT,
    RSQRT_BITS,
    SQUARES_BITS,
    SUM_BITS,
    VALUE_BITS,
    NormRow,
)
from .results import delayed
from .rsqrt import Rsqrt

__all__ = ["NormJob", "row_sums", "Moments"]

DIGIT_BITS = 18
STEPS = 6
"""Products of a row."""

NormJob = data.StructLayout({
    "channels": range(MAX_CHANNELS + 1), "reciprocal": unsigned(RECIPROCAL_SHIFT + 1),
    "epsilon": unsigned(EPSILON_BITS), "centred": 1,
})
"""``centred`` is layer norm, else RMS norm. ``reciprocal``, ``epsilon``: see `olivine.vector.formats`."""


def row_sums(config):
    """Sum and sum of squares of the rows of a part."""
    return data.ArrayLayout(data.StructLayout({"total": signed(SUM_BITS), "squares": unsigned(SQUARES_BITS)}),
                            config.vector_lanes)


class Moments(wiring.Component):
    """Mean and reciprocal deviation of P rows from their sums.

    ::

        step 0      channels * squares          + epsilon
             1, 2   |total| * |total|           V is the difference: channels**2 times the variance
             3 to 5 |total| * reciprocal        the mean

    The products go through one multiplier, 18 bits of one operand a cycle; V goes through `Rsqrt`, and from there
    through the octave of ``channels``. RMS norm leaves out the second and the third.

    Members
    -------
    job : In(NormJob)
        Constant from `start` until the rows are out.
    i_valid : In(1), i : In(row_sums)
        The parts of a group of rows, one after the other.
    start : In(1)
        With the last one. The next group's first part not before `o_valid`.
    o_valid : Out(1)
        For a cycle, with new rows.
    o : Out(ArrayLayout(NormRow, P))
        Stays until the next.

    For words of one part; for others there is `SerialMoments`.

    Latency: `latency` cycles from `start` to `o_valid`, 6 P + 12. Cost: one 59 x 18 multiplier (four of an ECP5), one
    13 x 17, those of `Rsqrt`, and an adder of 90 bits.
    """

    def __init__(self, config):
        self.config = config
        self.latency = STEPS * config.rows + 12
        super().__init__({"job": In(NormJob), "i_valid": In(1), "i": In(row_sums(config)), "start": In(1),
                          "o_valid": Out(1), "o": Out(data.ArrayLayout(NormRow, config.rows))})

    def elaborate(self, platform):
        m = Module()
        sync, rows, job = m.d.sync, self.config.rows, self.job

        # Cycle 0 -> 1: the sums of the row at work are those of index 0.
        lanes = self.config.vector_lanes
        sums = Signal(data.ArrayLayout(self.i.shape().elem_shape, rows))
        count, step, busy = Signal(range(rows)), Signal(range(STEPS)), Signal()
        with m.If(self.i_valid):
            sync += [*(sums[row].eq(sums[row + lanes]) for row in range(rows - lanes)),
                     *(sums[rows - lanes + lane].eq(self.i[lane]) for lane in range(lanes)), busy.eq(self.start)]
        with m.Elif(step == STEPS - 1):
            sync += [step.eq(0), count.eq(count + 1)]
            sync += [sums[row].eq(sums[row + 1]) for row in range(rows - 1)]
            with m.If(count == rows - 1):
                sync += busy.eq(0)
        with m.Elif(busy):
            sync += step.eq(step + 1)

        # Cycles 1 to 4: operands, product, the multiplier's second register.
        tag_1 = Signal(data.StructLayout({"valid": 1, "last": 1, "negative": 1, "step": step.shape()}))
        size = Signal(SUM_BITS)
        wide, digit = Signal(SQUARES_BITS), Signal(DIGIT_BITS)
        product = Signal(SQUARES_BITS + DIGIT_BITS)
        m.d.comb += [tag_1.valid.eq(busy), tag_1.last.eq(count == rows - 1), tag_1.negative.eq(sums[0].total < 0),
                     tag_1.step.eq(step), size.eq(Mux(sums[0].total < 0, -sums[0].total, sums[0].total))]
        digits = (job.channels, size[DIGIT_BITS:], size[:DIGIT_BITS], job.reciprocal[2 * DIGIT_BITS:],
                  job.reciprocal[DIGIT_BITS:2 * DIGIT_BITS], job.reciprocal[:DIGIT_BITS])
        with m.Switch(step):
            for index, value in enumerate(digits):
                with m.Case(index) if index < STEPS - 1 else m.Default():
                    sync += digit.eq(value)
        sync += [wide.eq(Mux(step == 0, sums[0].squares, size)), product.eq(wide * digit)]
        held, tag_4 = delayed(m, product, 1), delayed(m, tag_1, 3)

        # Cycle 4 -> 5: digits add up.
        sum_5 = Signal(SUM_BITS + RECIPROCAL_SHIFT + 1)
        tag_5 = delayed(m, tag_4, 1)
        begins = (tag_4.step == 0) | (tag_4.step == 1) | (tag_4.step == 3)
        sync += sum_5.eq(Mux(begins, 0, sum_5 << DIGIT_BITS) + held)

        # Cycle 5 -> 6: variance and mean.
        variance, mean = Signal(VALUE_BITS), Signal(NormRow["mean"].shape)
        means = Signal(data.ArrayLayout(NormRow["mean"].shape, rows))
        magnitude = rsh(sum_5, RECIPROCAL_SHIFT - MEAN_FRACTION)
        m.d.comb += mean.eq(Mux(job.centred, Mux(tag_5.negative, -magnitude, magnitude), 0))
        with m.If(tag_5.step == 0):
            sync += variance.eq(sum_5 + job.epsilon)
        with m.If((tag_5.step == 2) & job.centred):
            sync += variance.eq(variance - sum_5)
        with m.If(tag_5.valid & (tag_5.step == STEPS - 1)):
            sync += self._shifted(means, mean)

        # Root of the variance, times the channels' mantissa.
        m.submodules.rsqrt = rsqrt = Rsqrt()
        m.d.comb += rsqrt.i.eq(variance)
        done = delayed(m, tag_5, 1 + rsqrt.latency)
        octave, scaled = Signal(range(13)), Signal(13)
        for bit in range(13):
            with m.If(job.channels[bit]):
                sync += [octave.eq(bit), scaled.eq(job.channels << 12 - bit)]
        root, exponent = Signal(13 + RSQRT_BITS), Signal(signed(7))
        sync += [root.eq(scaled * rsqrt.o.root), exponent.eq(rsqrt.o.exponent - octave)]
        row = Signal(NormRow)
        factors = Signal(data.ArrayLayout(NormRow, rows))
        m.d.comb += [row.factor.eq(rsh(root, 13)), row.pre.eq(Mux(exponent < -1, 0, exponent + 1)),
                     row.post.eq(Mux(exponent < -1, exponent + 16, 15))]
        finished = delayed(m, done, 1)
        with m.If(finished.valid & (finished.step == 2)):
            sync += self._shifted(factors, row)

        # All rows leave together, after the last one's mean, which is older than its factor.
        last = delayed(m, finished.valid & finished.last & (finished.step == 2), 1)
        sync += self.o_valid.eq(last)
        with m.If(last):
            sync += self.o.eq(factors)
            sync += [self.o[index].mean.eq(means[index]) for index in range(rows)]
        return m

    def _shifted(self, array, value):
        """Assignments that make room for ``value`` at the end."""
        ahead = [array[index].eq(array[index + 1]) for index in range(self.config.rows - 1)]
        return [*ahead, array[self.config.rows - 1].eq(value)]
