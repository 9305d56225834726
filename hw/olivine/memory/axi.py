"""AXI4 channels as streams, as the core's ports speak them.

Only what varies is carried: every burst is INCR, every beat is as wide as the bus, and lock, cache
and protection are constants that the top level ties (see `olivine.verilog`). The response channels
are streams too, so ``ready`` always flows against the payload.
"""

from amaranth.hdl import unsigned
from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["BOUNDARY", "Response", "address_channel", "read_channel", "write_channel", "response_channel",
           "ReadPort", "WritePort", "AXI4"]

BOUNDARY = 4096
"""No burst crosses a multiple of this many bytes (AXI4, A3.4.1)."""


class Response(enum.Enum, shape=2):
    OKAY = 0
    EXOKAY = 1
    SLVERR = 2
    DECERR = 3


def address_channel(addr_width, id_width=1):
    """AR or AW: ``len`` is beats minus one; ``id`` names the read stream."""
    return data.StructLayout({"id": unsigned(id_width), "addr": unsigned(addr_width), "len": unsigned(8)})


def read_channel(bus_bits, id_width=1):
    """R: one beat of data."""
    return data.StructLayout({"id": unsigned(id_width), "data": unsigned(bus_bits), "resp": Response,
                              "last": unsigned(1)})


def write_channel(bus_bits):
    """W: one beat of data; bit i of ``strb`` enables byte i."""
    return data.StructLayout({"data": unsigned(bus_bits), "strb": unsigned(bus_bits // 8), "last": unsigned(1)})


def response_channel(id_width=1):
    """B: one response a burst."""
    return data.StructLayout({"id": unsigned(id_width), "resp": Response})


class ReadPort(wiring.Signature):
    """AR and R, seen from the master."""

    def __init__(self, addr_width, bus_bits, id_width=1):
        self.addr_width, self.bus_bits, self.id_width = addr_width, bus_bits, id_width
        super().__init__({
            "ar": Out(stream.Signature(address_channel(addr_width, id_width))),
            "r": In(stream.Signature(read_channel(bus_bits, id_width))),
        })


class WritePort(wiring.Signature):
    """AW, W and B, seen from the master."""

    def __init__(self, addr_width, bus_bits, id_width=1):
        self.addr_width, self.bus_bits, self.id_width = addr_width, bus_bits, id_width
        super().__init__({
            "aw": Out(stream.Signature(address_channel(addr_width, id_width))),
            "w": Out(stream.Signature(write_channel(bus_bits))),
            "b": In(stream.Signature(response_channel(id_width))),
        })


class AXI4(wiring.Signature):
    """All five channels, seen from the master."""

    def __init__(self, addr_width, bus_bits, id_width=1):
        self.addr_width, self.bus_bits, self.id_width = addr_width, bus_bits, id_width
        super().__init__({**ReadPort(addr_width, bus_bits, id_width).members,
                          **WritePort(addr_width, bus_bits, id_width).members})
