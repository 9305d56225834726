"""The end of a row: O over l, requantized to the output's format."""

from amaranth.hdl import Module, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..numerics.quotient import RESULT_BITS, Quotient
from .descriptor import OutputFormat
from .layout import CHUNKS
from .merge import merged_word

__all__ = ["NormaliserParameters", "Normaliser"]

NormaliserParameters = data.StructLayout({"o_shift": 6})


class Normaliser(wiring.Component):
    """P quotients, one dim a cycle: ``y = sat(rsh(sat25(rsh(O, exponent - 15)) * factor, o_shift))``.

    Members
    -------
    i : In(merged_word)
    params : In(ArrayLayout(NormaliserParameters, CHUNKS))
        By ``tag.bank``; constant while words of the bank are in flight.
    o_format : In(OutputFormat)
        Format of all words in flight. Partial results do not come this way; ``PARTIAL`` counts as ``INT16``.
    o : Out(struct ``valid``, ``value``, ``saturated``)
        ``[P]`` results, sign-extended to 16 bits; a bit for each row that saturated. Rows without a key, and rows
        that hold no token, have O = 0: they give 0 and do not saturate.

    Latency: `latency` cycles. Throughput: one word a cycle. Cost: a `Quotient` for each row.
    """

    latency = Quotient.latency

    def __init__(self, config):
        self.config = config
        super().__init__({
            "i": In(merged_word(config)), "params": In(data.ArrayLayout(NormaliserParameters, CHUNKS)),
            "o_format": In(OutputFormat),
            "o": Out(data.StructLayout({"valid": 1, "value": data.ArrayLayout(signed(RESULT_BITS), self.config.rows),
                                        "saturated": config.rows})),
        })

    def elaborate(self, platform):
        m = Module()
        valid = Signal(self.latency)
        m.d.sync += valid.eq((valid << 1) | self.i.valid)
        m.d.comb += self.o.valid.eq(valid[-1])
        for row in range(self.config.rows):
            m.submodules[f"quotient_{row}"] = quotient = Quotient()
            m.d.comb += [
                quotient.i.numerator.eq(self.i.value[row]), quotient.i.exponent.eq(self.i.exponent[row]),
                quotient.i.factor.eq(self.i.factor[row]), quotient.i.shift.eq(self.params[self.i.tag.bank].o_shift),
                quotient.i.format.eq(self.o_format.as_value()),
                self.o.value[row].eq(quotient.o.value), self.o.saturated[row].eq(quotient.o.saturated),
            ]
        return m
