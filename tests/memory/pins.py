"""An AXI4 master whose channels are its ports, so that a testbench can break the rules."""

from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from olivine.memory.axi import AXI4, address_channel, read_channel, response_channel, write_channel

__all__ = ["Pins"]


class Pins(wiring.Component):
    """Wires from ``ar``, ``aw``, ``w`` to the bus, and from the bus to ``r``, ``b``."""

    def __init__(self, addr_width=16, bus_bytes=4, id_width=2):
        bus = AXI4(addr_width, 8 * bus_bytes, id_width)
        address = stream.Signature(address_channel(addr_width, id_width))
        super().__init__({
            "ar": In(address), "aw": In(address), "w": In(stream.Signature(write_channel(8 * bus_bytes))),
            "r": Out(stream.Signature(read_channel(8 * bus_bytes, id_width))),
            "b": Out(stream.Signature(response_channel(id_width))), "bus": Out(bus),
        })

    def elaborate(self, platform):
        m = Module()
        for channel in ("ar", "aw", "w"):
            connect(m, flipped(getattr(self, channel)), flipped(getattr(self.bus, channel)))
        for channel in ("r", "b"):
            connect(m, flipped(getattr(self.bus, channel)), flipped(getattr(self, channel)))
        return m
