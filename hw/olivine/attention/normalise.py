"""The end of a row: O over l, requantized to the output's format."""

from amaranth.hdl import Module, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..numerics.quotient import RESULT_BITS, Quotient
from .descriptor import OutputFormat
from .layout import FACTOR_BITS, O_BITS

__all__ = ["NormaliserParameters", "Normaliser", "lanes", "PASS"]

NormaliserParameters = data.StructLayout({"o_shift": 6})

PASS = {"places": 0, "factor": 1, "shift": 0, "o_format": OutputFormat.INT16.value}
"""What leaves a number of 16 bits as it is."""


def lanes(config):
    """Quotients of a configuration: one, or one for each row."""
    return 1 if config.vector_lanes == 1 else config.rows


class Normaliser(wiring.Component):
    """Quotients, a group of `lanes` rows a cycle: ``y = sat(rsh(sat25(rsh(O, places)) * factor, shift))``.

    Members
    -------
    i : In(struct)
        ``valid``; by row ``value`` (O), ``places`` (of the exponent of l), ``factor``; ``shift``; ``o_format``, of
        which ``PARTIAL`` counts as ``INT16``.
    o : Out(struct ``valid``, ``value``, ``saturated``)
        Results, sign-extended to 16 bits; a bit for each row that saturated. Rows without a key, and rows
        that hold no token, have O = 0: they give 0 and do not saturate.

    Latency: `latency` cycles. Throughput: a group a cycle. Cost: a `Quotient` for each row of a group.
    """

    latency = Quotient.latency

    def __init__(self, config):
        self.config, self.lanes = config, lanes(config)
        super().__init__({
            "i": In(data.StructLayout({
                "valid": 1, "value": data.ArrayLayout(signed(O_BITS), self.lanes),
                "places": data.ArrayLayout(5, self.lanes), "factor": data.ArrayLayout(FACTOR_BITS, self.lanes),
                "shift": 6, "o_format": OutputFormat})),
            "o": Out(data.StructLayout({"valid": 1, "value": data.ArrayLayout(signed(RESULT_BITS), self.lanes),
                                        "saturated": self.lanes})),
        })

    def elaborate(self, platform):
        m = Module()
        valid = Signal(self.latency)
        m.d.sync += valid.eq((valid << 1) | self.i.valid)
        m.d.comb += self.o.valid.eq(valid[-1])
        for row in range(self.lanes):
            m.submodules[f"quotient_{row}"] = quotient = Quotient()
            m.d.comb += [
                quotient.i.numerator.eq(self.i.value[row]), quotient.i.places.eq(self.i.places[row]),
                quotient.i.factor.eq(self.i.factor[row]), quotient.i.shift.eq(self.i.shift),
                quotient.i.format.eq(self.i.o_format.as_value()),
                self.o.value[row].eq(quotient.o.value), self.o.saturated[row].eq(quotient.o.saturated),
            ]
        return m
