"""Products of small numbers added to an address, bit by bit."""

from amaranth.hdl import Cat, Const, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["RunningProduct", "saturated"]


def saturated(value, width):
    """``value`` in ``width`` bits, of which the highest tells that the others do not say it all."""
    return Cat(value[:width - 1], value[width - 1:].any()) if len(value) >= width else value


class RunningProduct(wiring.Component):
    """``sum = start + factor * size``, a bit of the factor a cycle, from the lowest on.

    Parameters
    ----------
    width : int
        Of the sum. Its highest bit is sticky: whatever reaches it, now or on the way, leaves it set.
    factor_bits : int

    Members
    -------
    load : In(1), start, size : In(width), factor : In(factor_bits)
        Begin, whether ``busy`` or not.
    busy : Out(1), sum : Out(width)
        ``sum`` is the result when ``busy`` is low: as many cycles after ``load`` as the factor has bits up to its
        highest 1, at least one, and one.

    Cost: an adder, and a choice of two for each bit of three registers.
    """

    def __init__(self, width, factor_bits):
        self.width, self.factor_bits = width, factor_bits
        super().__init__({"load": In(1), "start": In(width), "size": In(width), "factor": In(factor_bits),
                          "busy": Out(1), "sum": Out(width)})

    def elaborate(self, platform):
        m = Module()
        size, factor, total = Signal(self.width), Signal(self.factor_bits), Signal(self.width)
        m.d.comb += total.eq(self.sum[:-1] + size[:-1])
        m.d.sync += self.busy.eq(self.load | factor[1:].any())
        with m.If(self.load):
            m.d.sync += [self.sum.eq(self.start), size.eq(self.size), factor.eq(self.factor)]
        with m.Else():
            m.d.sync += [size.eq(Cat(Const(0, 1), size[:-2], size[-2:].any())), factor.eq(factor >> 1)]
            with m.If(factor[0]):
                m.d.sync += self.sum.eq(Cat(total[:-1], total[-1] | self.sum[-1] | size[-1]))
        return m
