"""Several writers on one AXI4 port."""

from amaranth.hdl import Cat, Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..stream.arbiter import Arbiter
from ..stream.queue import Queue
from .axi import WritePort
from .checks import check_integer

__all__ = ["WriteMux", "join_writes"]

_AHEAD = 8
"""Bursts whose address is granted before their last beat is sent. Two would do on a bus that takes both at once."""


def join_writes(m, ports, bus, id_of, source_of):
    """Puts several write ports on one bus. What IDs mean is for the caller to say.

    Parameters
    ----------
    m : Module
    ports : list of WritePort
        As a component that joins them sees them: its inputs.
    bus : WritePort
    id_of : function
        From a granted address and the number of its port to the ID on the bus.
    source_of : function
        From an ID on the bus to the number of the port whose response it is.
    """
    m.submodules.aw_arbiter = arbiter = Arbiter(ports[0].aw.payload.shape(), len(ports))
    # The ports of the granted addresses, in order: whose beats come next on W.
    m.submodules.w_order = order = Queue(range(len(ports)), _AHEAD)
    granted = arbiter.o.payload
    m.d.comb += [
        bus.aw.payload.addr.eq(granted.payload.addr),
        bus.aw.payload.len.eq(granted.payload.len),
        bus.aw.payload.id.eq(id_of(granted.payload, granted.source)),
        bus.aw.valid.eq(arbiter.o.valid),
        arbiter.o.ready.eq(bus.aw.ready),
        order.i.valid.eq(Cat(port.aw.valid & port.aw.ready for port in ports).any()),
        order.o.ready.eq(bus.w.valid & bus.w.ready & bus.w.payload.last),
        bus.b.ready.eq(1),
    ]
    for index, port in enumerate(ports):
        sends = order.o.valid & (order.o.payload == index)
        mine = source_of(bus.b.payload.id) == index
        m.d.comb += [
            arbiter.i[index].payload.eq(port.aw.payload),
            arbiter.i[index].valid.eq(port.aw.valid & order.i.ready),
            port.aw.ready.eq(arbiter.i[index].ready & order.i.ready),
            port.w.ready.eq(sends & bus.w.ready),
            # The ports' IDs are the lower bits, if they are narrower.
            port.b.payload.id.eq(bus.b.payload.id),
            port.b.payload.resp.eq(bus.b.payload.resp),
            port.b.valid.eq(bus.b.valid & mine),
        ]
        with m.If(port.aw.valid & port.aw.ready):
            m.d.comb += order.i.payload.eq(index)
        with m.If(sends):
            m.d.comb += [bus.w.payload.eq(port.w.payload), bus.w.valid.eq(port.w.valid)]
        with m.If(mine):
            m.d.comb += bus.b.ready.eq(port.b.ready)


class WriteMux(wiring.Component):
    """Gives several writers one bus; the ID of a burst is the number of the port that asked.

    **The user's part.** A port offers an address only when the burst's beats are there to follow without a pause, and
    takes responses always, as `BurstWriter` does. A port that does not keeps the others waiting: W carries the
    bursts one after the other.

    Cycle budget: AW passes one register, one address a cycle, ports taking turns; an address offered on the bus stays
    until taken. W and B pass without a register. A burst's beats may go from the cycle in which its address is on
    the bus, bursts follow each other without a bubble, in the order of their addresses.

    Stalls: AW waits while 8 bursts have an address and are not sent.

    Parameters
    ----------
    addr_width, bus_bits : int
    ports : int
        Writers, 1 to 16.
    id_width : int
        ID bits, of the ports and of the bus; default the fewest that name all ports, at least 1.

    Members
    -------
    ports : In(WritePort), array
        The writers' bursts; their IDs are not looked at.
    bus : Out(WritePort)
        A response with an ID that no port has is taken and dropped.

    Cost: a register of an address; a choice of one of ``ports`` for each bit of AW and W.
    """

    def __init__(self, addr_width, bus_bits, ports, id_width=None):
        self.addr_width = check_integer("addr_width", addr_width, 13, 64)
        self.bus_bits = check_integer("bus_bits", bus_bits, 8, 1024)
        self.port_count = check_integer("ports", ports, 1, 16)
        fewest = max(1, (ports - 1).bit_length())
        self.id_width = check_integer("id_width", fewest if id_width is None else id_width, fewest, 16)
        port = WritePort(addr_width, bus_bits, self.id_width)
        super().__init__({"ports": In(port).array(ports), "bus": Out(port)})

    def elaborate(self, platform):
        m = Module()
        join_writes(m, list(self.ports), self.bus, lambda address, port: port, lambda ident: ident)
        return m
