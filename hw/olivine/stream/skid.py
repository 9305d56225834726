"""A register slice that cuts the paths of a stream in both directions."""

from amaranth.hdl import Module, Shape, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Skid"]


class Skid(wiring.Component):
    """Register slice: no combinational path between its two sides, in either direction.

    One payload a cycle. When the output stalls, the payload that is already on its way lands in a
    spare register and ``i.ready`` falls a cycle later. Costs two registers of the payload's width and one
    two-way choice per bit.

    Parameters
    ----------
    shape : shape-like
        Of the payload.

    Attributes
    ----------
    latency : int
        Cycles from a transfer into the empty slice to ``o.valid``: 1.

    Members
    -------
    i : In(stream)
    o : Out(stream)
    """

    latency = 1

    def __init__(self, shape):
        self.shape = shape
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape))})

    def elaborate(self, platform):
        m = Module()
        width = Shape.cast(self.shape).width
        payload, spare = Signal(width, reset_less=True), Signal(width, reset_less=True)
        valid, spare_valid = Signal(), Signal()
        m.d.comb += [
            self.i.ready.eq(~spare_valid),
            self.o.valid.eq(valid),
            self.o.payload.eq(payload),
        ]
        with m.If(self.o.ready | ~valid):
            # The spare register is older than what arrives; while it is full nothing arrives.
            with m.If(spare_valid):
                m.d.sync += payload.eq(spare)
            with m.Else():
                m.d.sync += payload.eq(self.i.payload)
            m.d.sync += [valid.eq(spare_valid | self.i.valid), spare_valid.eq(0)]
        with m.Elif(self.i.valid):
            m.d.sync += spare_valid.eq(1)
        # Whether what comes has to stay there is known late, so it enters in any case. ``valid`` follows from
        # ``spare_valid``; without it synthesis takes this for the choice above, and keeps registers of constant bits.
        with m.If(~(spare_valid & valid)):
            m.d.sync += spare.eq(self.i.payload)
        return m
