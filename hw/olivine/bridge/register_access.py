"""One access to a register at a time, over AXI4-Lite."""

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..memory.axi import Response
from ..program.axi_lite import DATA_BITS, AXI4Lite
from .frames import REGISTER_SPACE

__all__ = ["REGISTER_ADDRESS", "REGISTER_COMMAND", "RegisterAccess"]

REGISTER_ADDRESS = (REGISTER_SPACE - 1).bit_length()

REGISTER_COMMAND = data.StructLayout({"write": 1, "addr": REGISTER_ADDRESS, "data": DATA_BITS})


class RegisterAccess(wiring.Component):
    """Master of AXI4-Lite.

    Cycles: addresses and data are offered in the cycle after the command, ``done`` is in the cycle of the answer.
    Address and data of a write are offered together and wait for nothing.

    Cost on ECP5: about 20 LUTs.

    Members
    -------
    i : In(stream(REGISTER_COMMAND))
        Ready when nothing is at work.
    done : Out(1), resp : Out(Response), data : Out(32)
        For one cycle: the access ended; its answer, and of a read what was read.
    bus : Out(AXI4Lite)
    """

    def __init__(self):
        super().__init__({"i": In(stream.Signature(REGISTER_COMMAND)), "done": Out(1), "resp": Out(Response),
                          "data": Out(DATA_BITS), "bus": Out(AXI4Lite(REGISTER_ADDRESS))})

    def elaborate(self, platform):
        m = Module()
        bus, command = self.bus, Signal(REGISTER_COMMAND, reset_less=True)
        for channel in (bus.ar, bus.aw, bus.w):
            with m.If(channel.ready):
                m.d.sync += channel.valid.eq(0)
        m.d.comb += [
            self.data.eq(bus.r.payload.data), bus.ar.payload.addr.eq(command.addr),
            bus.aw.payload.addr.eq(command.addr), bus.w.payload.data.eq(command.data), bus.w.payload.strb.eq(-1),
        ]
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.i.ready.eq(1)
                m.d.sync += command.eq(self.i.payload)
                with m.If(self.i.valid):
                    m.d.sync += [valid.eq(self.i.payload.write) for valid in (bus.aw.valid, bus.w.valid)]
                    m.d.sync += bus.ar.valid.eq(~self.i.payload.write)
                    m.next = "WAIT"
            with m.State("WAIT"):
                m.d.comb += [bus.r.ready.eq(~command.write), bus.b.ready.eq(command.write)]
                with m.If(command.write):
                    m.d.comb += [self.done.eq(bus.b.valid), self.resp.eq(bus.b.payload.resp)]
                with m.Else():
                    m.d.comb += [self.done.eq(bus.r.valid), self.resp.eq(bus.r.payload.resp)]
                with m.If(self.done):
                    m.next = "IDLE"
        return m
