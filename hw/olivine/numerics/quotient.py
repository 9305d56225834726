"""The softmax's last step: a weighted sum divided by the sum of its weights, by their reciprocal."""

from amaranth.hdl import EnableInserter, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .reciprocal import RECIPROCAL_BITS
from .rounding import rsh, sat, saturates

__all__ = ["Quotient", "MIN_EXPONENT"]

NUMERATOR_BITS = 40

MIN_EXPONENT = 15
"""Least exponent of l: a row that saw a key has l >= 1026 << 5, for the largest score of a page is
less than an octave below the page's integer maximum."""

OPERAND_BITS = 25
"""A numerator of more bits at the multiplier means a result of more than 16 bits."""

RESULT_BITS, FRACTION_BITS = 16, 7


class Quotient(wiring.Component):
    """``sat16(O / l * 2**7)`` from O, the exponent of l and the reciprocal of l's mantissa.

    ::

        X = sat25(rsh(O, exponent - 15))
        y = sat16(rsh(X * reciprocal, 25))

    Within 0.8 of the exact quotient with `Reciprocal`: 0.5 by the last rounding, 0.292 by the
    reciprocal, 0.002 by the first shift.

    ``latency`` 5 cycles in which `en` is high, one result a cycle. Cost: one 25 x 18 signed multiplier
    (two of an ECP5, one DSP48), a 40-bit shifter.

    Members
    -------
    en : In(1), initially 1
        The pipeline moves.
    i : In(struct)
        ``numerator``, signed 40 bits; ``exponent`` of l, unsigned 5 bits, smaller ones count as 15;
        ``reciprocal``, unsigned 17 bits. A numerator of 0 gives 0 whatever the others are.
    o : Out(struct)
        ``value``, signed 16 bits, 7 fractional; ``saturated``.
    """

    latency = 5

    def __init__(self):
        super().__init__({
            "en": In(1, init=1),
            "i": In(data.StructLayout({"numerator": signed(NUMERATOR_BITS), "exponent": 5,
                                       "reciprocal": unsigned(RECIPROCAL_BITS)})),
            "o": Out(data.StructLayout({"value": signed(RESULT_BITS), "saturated": 1})),
        })

    def elaborate(self, platform):
        m = Module()
        sync = m.d.sync
        places = Mux(self.i.exponent <= MIN_EXPONENT, 0, self.i.exponent - MIN_EXPONENT)[:5]

        # Cycle 0 -> 1: places to shift by.
        numerator_1, places_1 = Signal(signed(NUMERATOR_BITS)), Signal(5)
        factor_1 = Signal(RECIPROCAL_BITS)
        sync += [numerator_1.eq(self.i.numerator), places_1.eq(places), factor_1.eq(self.i.reciprocal)]

        # Cycle 1 -> 2: shift.
        shifted_2, factor_2 = Signal(signed(NUMERATOR_BITS)), Signal(RECIPROCAL_BITS)
        sync += [shifted_2.eq(rsh(numerator_1, places_1)), factor_2.eq(factor_1)]

        # Cycle 2 -> 3: saturate to the multiplier's width.
        operand_3, factor_3, beyond_3 = Signal(signed(OPERAND_BITS)), Signal(RECIPROCAL_BITS), Signal()
        sync += [operand_3.eq(sat(shifted_2, OPERAND_BITS)), beyond_3.eq(saturates(shifted_2, OPERAND_BITS)),
                 factor_3.eq(factor_2)]

        # Cycle 3 -> 4: multiply.
        product_4, beyond_4 = Signal(signed(OPERAND_BITS + RECIPROCAL_BITS + 1)), Signal()
        sync += [product_4.eq(operand_3 * factor_3), beyond_4.eq(beyond_3)]

        # Cycle 4 -> 5: round and saturate.
        rounded = rsh(product_4, RECIPROCAL_BITS + MIN_EXPONENT - FRACTION_BITS)
        sync += [self.o.value.eq(sat(rounded, RESULT_BITS)),
                 self.o.saturated.eq(beyond_4 | saturates(rounded, RESULT_BITS))]
        return EnableInserter(self.en)(m)
