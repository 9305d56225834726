"""Leading one to the top: what logarithm and reciprocal start from."""

from amaranth.hdl import Cat, EnableInserter, Module, Mux, Signal, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Normalize", "normalized"]


def normalized(width):
    """An unsigned number as ``mantissa * 2**(exponent - width + 1)``, the mantissa's top bit set.

    Zero has mantissa 0 and exponent 0.
    """
    return data.StructLayout({"mantissa": unsigned(width), "exponent": range(width)})


class Normalize(wiring.Component):
    """Shift an unsigned number left until its top bit is set, and tell its exponent.

    ``latency`` 2 cycles in which `en` is high, one result a cycle; each cycle does half of the shifts.
    Cost: width * log2(width) two-way selects.

    Parameters
    ----------
    width : int
        Power of two, 4 to 64.

    Members
    -------
    en : In(1), initially 1
        The pipeline moves.
    i : In(unsigned(width))
    o : Out(normalized(width))
    """

    latency = 2

    def __init__(self, width=32):
        if width not in (4, 8, 16, 32, 64):
            raise ValueError(f"width is {width!r}: allowed are 4, 8, 16, 32 and 64")
        self.width = width
        super().__init__({"en": In(1, init=1), "i": In(width), "o": Out(normalized(width))})

    def elaborate(self, platform):
        m = Module()
        value, exponent = self.i, []
        steps = range((self.width - 1).bit_length())[::-1]
        middle = len(steps) // 2
        for position, step in enumerate(steps):
            if position == middle:
                # Cycle 0 -> 1 did the long shifts, cycle 1 -> 2 does the short ones.
                stage = Signal(self.width + middle)
                m.d.sync += stage.eq(Cat(value, *exponent))
                value, exponent = stage[:self.width], list(stage[self.width:])
            stays = value[-1 << step:].any()
            value = Mux(stays, value, value << (1 << step))[:self.width]
            exponent.append(stays)
        # Bits were found from the top; zero, which never stays, has exponent 0 by itself.
        m.d.sync += [self.o.mantissa.eq(value), self.o.exponent.eq(Cat(reversed(exponent)))]
        return EnableInserter(self.en)(m)
