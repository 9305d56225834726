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
        steps = range((self.width - 1).bit_length())[::-1]
        middle = len(steps) // 2
        # Cycle 0 -> 1 does the long shifts, cycle 1 -> 2 the short ones.
        value, exponent = _shift(self.i, steps[:middle])
        stage = Signal(self.width + middle)
        m.d.sync += stage.eq(Cat(value, *exponent))
        value, of_rest = _shift(stage[:self.width], steps[middle:])
        exponent = [*stage[self.width:], *of_rest]
        # Bits were found from the top; zero, which never stays, has exponent 0 by itself.
        m.d.sync += [self.o.mantissa.eq(value), self.o.exponent.eq(Cat(reversed(exponent)))]
        return EnableInserter(self.en)(m)


def _shift(value, steps):
    """``value`` shifted left by the powers of two ``steps``, falling by 1, where that loses no 1; and for each whether
    it was not. All are found at once, from which groups of as many bits as the last step has hold a 1."""
    width, size = len(value), 1 << steps[-1]
    groups = Cat(value[width - size * (index + 1):width - size * index].any()
                 for index in range(2 << steps[0] - steps[-1]))
    kept = []
    for step in steps:
        high, low = groups[:len(groups) // 2], groups[len(groups) // 2:]
        stays = high.any()
        groups = Mux(stays, high, low)
        value = Mux(stays, value, value << (1 << step))[:width]
        kept.append(stays)
    return value, kept
