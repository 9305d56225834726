"""The softmax's last step: a weighted sum divided by the sum of its weights, by their reciprocal."""

from amaranth.hdl import EnableInserter, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .reciprocal import RECIPROCAL_BITS
from .rounding import rsh, sat, saturates

__all__ = ["Quotient", "MIN_EXPONENT", "RESULT_BITS", "FORMAT_BITS"]

NUMERATOR_BITS = 40

MIN_EXPONENT = 15
"""Least exponent of l: a row that saw a key has l >= 1026 << 5, for the largest score of a page is
less than an octave below the page's integer maximum."""

OPERAND_BITS = 25
"""A numerator of more bits at the multiplier means a result of more than 16 bits."""

RESULT_BITS = 16

FORMAT_BITS = (8, 12, 16)
"""Bits of a result, by ``format``; 3 is 16 bits as well."""


class Quotient(wiring.Component):
    """``sat(O / l * scale)`` from O, the exponent of l, and a factor: the reciprocal of l's mantissa times a scale.

    ::

        X = sat25(rsh(O, exponent - 15))
        y = sat(rsh(X * factor, shift))

    The plain reciprocal and a shift of 25 give ``O / l`` with 7 fractional bits. In 16 bits that is within 0.8 of the
    exact quotient with `Reciprocal`: 0.5 by the last rounding, 0.292 by the reciprocal, 0.002 by the first shift.

    ``latency`` 5 cycles in which `en` is high, one result a cycle. Cost: one 25 x 18 signed multiplier
    (two of an ECP5, one DSP48), a 40-bit and a 43-bit shifter.

    Members
    -------
    en : In(1), initially 1
        The pipeline moves.
    i : In(struct)
        ``numerator``, signed 40 bits; ``exponent`` of l, unsigned 5 bits, smaller ones count as 15;
        ``factor``, unsigned 17 bits; ``shift``, unsigned 6 bits; ``format``, index into `FORMAT_BITS`. A numerator
        of 0 gives 0 whatever the others are.
    o : Out(struct)
        ``value``, signed 16 bits; ``saturated``: at either of the two places.
    """

    latency = 5

    def __init__(self):
        super().__init__({
            "en": In(1, init=1),
            "i": In(data.StructLayout({"numerator": signed(NUMERATOR_BITS), "exponent": 5,
                                       "factor": unsigned(RECIPROCAL_BITS), "shift": unsigned(6), "format": 2})),
            "o": Out(data.StructLayout({"value": signed(RESULT_BITS), "saturated": 1})),
        })

    def elaborate(self, platform):
        m = Module()
        sync = m.d.sync
        # exponent - MIN_EXPONENT where that is positive: 16 is the least.
        places = Mux(self.i.exponent[-1], self.i.exponent[:-1] + 1, 0)

        def delayed(value, cycles):
            """``value`` that many cycles later."""
            for _ in range(cycles):
                held = Signal.like(value)
                m.d.sync += held.eq(value)
                value = held
            return value

        # Cycle 0 -> 1: shift.
        shifted_1 = Signal(signed(NUMERATOR_BITS))
        sync += shifted_1.eq(rsh(self.i.numerator, places))

        # Cycle 1 -> 2: saturate to the multiplier's width.
        operand_2, beyond_2 = Signal(signed(OPERAND_BITS)), Signal()
        sync += [operand_2.eq(sat(shifted_1, OPERAND_BITS)), beyond_2.eq(saturates(shifted_1, OPERAND_BITS))]

        # Cycle 2 -> 3: multiply.
        product_3 = Signal(signed(OPERAND_BITS + RECIPROCAL_BITS + 1))
        sync += product_3.eq(operand_2 * delayed(self.i.factor, 2))

        # Cycle 3 -> 4: round.
        rounded_4 = Signal.like(product_3)
        sync += rounded_4.eq(rsh(product_3, delayed(self.i.shift, 3)))

        # Cycle 4 -> 5: saturate to the result's width.
        beyond_4, format_4 = delayed(beyond_2, 2), delayed(self.i.format, 4)
        with m.Switch(format_4):
            for format, bits in enumerate(FORMAT_BITS):
                with m.Case(format) if format < len(FORMAT_BITS) - 1 else m.Default():
                    sync += [self.o.value.eq(sat(rounded_4, bits)),
                             self.o.saturated.eq(beyond_4 | saturates(rounded_4, bits))]
        return EnableInserter(self.en)(m)
