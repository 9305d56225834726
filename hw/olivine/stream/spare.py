"""A spare place that cuts the path of a stream's ``ready``, and costs no cycle."""

from amaranth.hdl import Module, Mux, Shape, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Spare"]


class Spare(wiring.Component):
    """Passes a stream on in the same cycle; ``i.ready`` depends on a register alone.

    What is offered while the output does not take it lands in a spare register, and goes first. For streams whose
    ``ready`` is made of much, such as room in several places; where ``valid`` and the payload are the long paths, or
    both, a `Skid` cuts them at a cycle's cost.

    One payload a cycle. Costs a register of the payload's width and a two-way choice for each bit.

    Parameters
    ----------
    shape : shape-like
        Of the payload.

    Attributes
    ----------
    latency : int
        Cycles from ``i.valid`` to ``o.valid``: 0.

    Members
    -------
    i : In(stream)
    o : Out(stream)
    held : Out(1)
        The spare place is taken.
    """

    latency = 0

    def __init__(self, shape):
        self.shape = shape
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape)), "held": Out(1)})

    def elaborate(self, platform):
        m = Module()
        spare, held = Signal(Shape.cast(self.shape).width, reset_less=True), Signal()
        # Every bit of the payload waits for ``held``. ``free`` says the opposite to those who wait for nothing else;
        # of two registers that say the same synthesis would make one.
        free = Signal(init=1)
        m.d.comb += [
            self.i.ready.eq(free), self.held.eq(~free),
            self.o.valid.eq(~free | self.i.valid), self.o.payload.eq(Mux(held, spare, self.i.payload)),
        ]
        with m.If(free):
            m.d.sync += [held.eq(self.i.valid & ~self.o.ready), free.eq(~self.i.valid | self.o.ready)]
        with m.Elif(self.o.ready):
            m.d.sync += [held.eq(0), free.eq(1)]
        # ``held`` alone says the same; but synthesis takes that for the choice above, and keeps registers of constant
        # bits.
        with m.If(~(held & self.o.valid)):
            m.d.sync += spare.eq(self.i.payload)
        return m
