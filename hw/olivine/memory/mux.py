"""Several read streams on one AXI4 port."""

from amaranth.hdl import Module, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..stream.arbiter import Arbiter
from .axi import ReadPort
from .checks import check_integer

__all__ = ["ReadMux"]


class ReadMux(wiring.Component):
    """Gives several readers one bus; the ID of a burst is the number of the port that asked.

    Data of different IDs may come interleaved in any way, inside bursts too.

    Cycle budget: AR passes one register, one address a cycle, ports taking turns; an address offered
    on the bus stays until taken. R passes without a register, and is ready when the port of its ID is:
    readers that promise room (`BurstReader`) never stand in each other's way.

    Parameters
    ----------
    addr_width, bus_bits : int
    ports : int
        Readers, 1 to 16.
    id_width : int
        ID bits, of the ports and of the bus; default the fewest that name all ports, at least 1.

    Members
    -------
    ports : In(ReadPort), array
        The readers' addresses; their IDs are not looked at.
    bus : Out(ReadPort)
        A beat with an ID that no port has is taken and dropped.
    """

    def __init__(self, addr_width, bus_bits, ports, id_width=None):
        self.addr_width = check_integer("addr_width", addr_width, 13, 64)
        self.bus_bits = check_integer("bus_bits", bus_bits, 8, 1024)
        self.port_count = check_integer("ports", ports, 1, 16)
        fewest = max(1, (ports - 1).bit_length())
        self.id_width = check_integer("id_width", fewest if id_width is None else id_width, fewest, 16)
        port = ReadPort(addr_width, bus_bits, self.id_width)
        super().__init__({"ports": In(port).array(ports), "bus": Out(port)})

    def elaborate(self, platform):
        m = Module()
        wanted = data.StructLayout({"addr": unsigned(self.addr_width), "len": unsigned(8)})
        m.submodules.arbiter = arbiter = Arbiter(wanted, self.port_count)
        granted, bus = arbiter.o.payload, self.bus
        m.d.comb += [
            bus.ar.payload.addr.eq(granted.payload.addr),
            bus.ar.payload.len.eq(granted.payload.len),
            bus.ar.payload.id.eq(granted.source),
            bus.ar.valid.eq(arbiter.o.valid),
            arbiter.o.ready.eq(bus.ar.ready),
            bus.r.ready.eq(1),
        ]
        for index, port in enumerate(self.ports):
            mine = bus.r.payload.id == index
            m.d.comb += [
                arbiter.i[index].payload.addr.eq(port.ar.payload.addr),
                arbiter.i[index].payload.len.eq(port.ar.payload.len),
                arbiter.i[index].valid.eq(port.ar.valid),
                port.ar.ready.eq(arbiter.i[index].ready),
                port.r.payload.eq(bus.r.payload),
                port.r.valid.eq(bus.r.valid & mine),
            ]
            with m.If(mine):
                m.d.comb += bus.r.ready.eq(port.r.ready)
        return m
