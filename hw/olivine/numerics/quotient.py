"""The softmax's last step: a weighted sum divided by the sum of its weights, by their reciprocal."""

from amaranth.hdl import Cat, EnableInserter, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .narrow import rounded, shifted
from .reciprocal import RECIPROCAL_BITS
from .rounding import saturates

__all__ = ["Quotient", "places_of", "MIN_EXPONENT", "RESULT_BITS", "FORMAT_BITS"]

NUMERATOR_BITS = 40

MIN_EXPONENT = 15
"""Least exponent of l: a row that saw a key has l >= 1026 << 5, for the largest score of a page is
less than an octave below the page's integer maximum."""

OPERAND_BITS = 25
"""A numerator of more bits at the multiplier means a result of more than 16 bits."""

LOW_BITS = 17
"""Of the multiplier's numerator, for one multiplier of the two: 18 bits with a sign."""

RESULT_BITS = 16

FORMAT_BITS = (8, 12, 16)
"""Bits of a result, by ``format``; 3 is 16 bits as well."""


def places_of(exponent):
    """``exponent - MIN_EXPONENT`` of 5 bits where that is positive, else 0. As gates: a chain of carries is slower."""
    exponent = Value.cast(exponent)
    return Cat(*((exponent[index] ^ exponent[:index].all()) & exponent[-1] for index in range(4)), exponent.all())


class Quotient(wiring.Component):
    """``sat(O / l * scale)`` from O, the exponent of l, and a factor: the reciprocal of l's mantissa times a scale.

    ::

        X = sat25(rsh(O, places))              places = exponent - 15
        y = sat(rsh(X * factor, shift))

    The plain reciprocal and a shift of 25 give ``O / l`` with 7 fractional bits. In 16 bits that is within 0.8 of the
    exact quotient with `Reciprocal`: 0.5 by the last rounding, 0.292 by the reciprocal, 0.002 by the first shift.

    ``latency`` 7 cycles in which `en` is high, one result a cycle. Cost: one 25 x 18 signed multiplier
    (two of an ECP5, one DSP48), two shifters (`narrow`).

    Members
    -------
    en : In(1), initially 1
        The pipeline moves.
    i : In(struct)
        ``numerator``, signed 40 bits; ``places``, unsigned 5 bits, of the exponent of l (`places_of`);
        ``factor``, unsigned 17 bits; ``shift``, unsigned 6 bits; ``format``, index into `FORMAT_BITS`. A numerator
        of 0 gives 0 whatever the others are.
    o : Out(struct)
        ``value``, signed 16 bits; ``saturated``: at either of the two places.
    """

    latency = 7

    def __init__(self):
        super().__init__({
            "en": In(1, init=1),
            "i": In(data.StructLayout({"numerator": signed(NUMERATOR_BITS), "places": 5,
                                       "factor": unsigned(RECIPROCAL_BITS), "shift": unsigned(6), "format": 2})),
            "o": Out(data.StructLayout({"value": signed(RESULT_BITS), "saturated": 1})),
        })

    def elaborate(self, platform):
        m = Module()
        sync = m.d.sync

        def delayed(value, cycles):
            """``value`` that many cycles later."""
            for _ in range(cycles):
                held = Signal.like(value)
                m.d.sync += held.eq(value)
                value = held
            return value

        def registered(values):
            """A register for each."""
            held = [Signal.like(Value.cast(value)) for value in values]
            m.d.sync += [after.eq(before) for after, before in zip(held, values)]
            return held

        # Cycle 0 -> 1: shift.
        shifted_1 = registered(shifted(self.i.numerator, self.i.places, OPERAND_BITS))

        # Cycle 1 -> 2: round, saturate to the multiplier's width.
        operand_2, beyond_2 = Signal(signed(OPERAND_BITS)), Signal()
        whole, over = rounded(*shifted_1, OPERAND_BITS)
        sign = shifted_1[2]
        sync += [operand_2.eq(Mux(over, Cat((~sign).replicate(OPERAND_BITS - 1), sign), whole)), beyond_2.eq(over)]

        # Cycle 2 -> 4: multiply, by two multipliers, and add up: both in one cycle would be too long.
        factor_2 = delayed(self.i.factor, 2)
        low_3 = Signal(LOW_BITS + RECIPROCAL_BITS)
        high_3 = Signal(signed(OPERAND_BITS - LOW_BITS + RECIPROCAL_BITS + 1))
        product_4 = Signal(signed(OPERAND_BITS + RECIPROCAL_BITS + 1))
        sync += [low_3.eq(operand_2[:LOW_BITS] * factor_2), high_3.eq(operand_2[LOW_BITS:].as_signed() * factor_2),
                 product_4.eq((high_3 << LOW_BITS) + low_3)]

        # Cycle 4 -> 5: shift.
        shifted_5 = registered(shifted(product_4, delayed(self.i.shift, 4), RESULT_BITS))

        # Cycle 5 -> 6: round.
        whole_6, over_6, sign_6 = registered((*rounded(*shifted_5, RESULT_BITS), shifted_5[2]))

        # Cycle 6 -> 7: saturate to the result's width.
        beyond_6, format_6 = delayed(beyond_2, 4), delayed(self.i.format, 6)
        limit, over = Signal(RESULT_BITS), Signal()
        m.d.comb += [limit.eq(Cat((~sign_6).replicate(RESULT_BITS - 1), sign_6)), over.eq(over_6)]
        for format, bits in enumerate(FORMAT_BITS[:-1]):
            with m.If(format_6 == format):
                m.d.comb += [limit[bits - 1:].eq(sign_6.replicate(RESULT_BITS + 1 - bits)),
                             over.eq(over_6 | saturates(whole_6, bits))]
        sync += [self.o.value.eq(Mux(over, limit, whole_6)), self.o.saturated.eq(beyond_6 | over)]
        return EnableInserter(self.en)(m)
