"""AXI4 from one clock to another."""

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.fifo import AsyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from .axi import AXI4
from .checks import check_integer, check_power_of_two

__all__ = ["AxiCrossing"]


class AxiCrossing(wiring.Component):
    """All five channels between a master and a slave whose clocks have nothing to do with each other.

    Each channel is a queue with Gray-coded pointers, whose output is a register
    (`amaranth.lib.fifo.AsyncFIFOBuffered`): behind it lie the units of a whole core. Channels stay in order; between
    channels nothing is promised, as AXI4 has it.

    Latency: a payload moves at the fourth edge of its receiver after the sender's edge that took it.
    Throughput: one beat a cycle of the slower clock on each channel, bursts back to back, from ``depth`` 8 on.
    Stalls: a full queue stalls its sender alone.

    Reset: both domains together, for 4 cycles of the slower clock; either may leave it first. A reset of one side
    alone loses bursts of the other, which AXI4 does not allow.

    Parameters
    ----------
    addr_width, bus_bits, id_width : int
        As of `AXI4`.
    depth : int
        Payloads a channel holds, and one more in its register. Power of two from 4.
    master_domain, slave_domain : str
        Clock domains of the two members.

    Members
    -------
    master : In(AXI4)
        The master's side, in ``master_domain``.
    slave : Out(AXI4)
        The slave's side, in ``slave_domain``.

    Cost: a memory of ``depth`` payloads a channel (LUT RAM on ECP5 at 16) and a register of one,
    6 counters of log2(depth) + 1 bits each.
    """

    def __init__(self, addr_width, bus_bits, id_width=1, depth=16, *, master_domain="sync", slave_domain="dram"):
        self.addr_width = check_integer("addr_width", addr_width, 13, 64)
        self.bus_bits = check_power_of_two("bus_bits", bus_bits, 8, 1024)
        self.id_width = check_integer("id_width", id_width, 1, 16)
        self.depth = check_power_of_two("depth", depth, 4, 1024)
        self.master_domain, self.slave_domain = master_domain, slave_domain
        port = AXI4(addr_width, bus_bits, id_width)
        super().__init__({"master": In(port), "slave": Out(port)})

    def elaborate(self, platform):
        m = Module()
        there, back = (self.master_domain, self.slave_domain), (self.slave_domain, self.master_domain)
        for name in ("ar", "aw", "w"):
            self._channel(m, name, getattr(self.master, name), getattr(self.slave, name), *there)
        for name in ("r", "b"):
            self._channel(m, name, getattr(self.slave, name), getattr(self.master, name), *back)
        return m

    def _channel(self, m, name, source, sink, source_domain, sink_domain):
        payload = source.payload.as_value()
        m.submodules[name] = queue = AsyncFIFOBuffered(width=len(payload), depth=self.depth + 1,
                                                       w_domain=source_domain, r_domain=sink_domain)
        m.d.comb += [
            queue.w_data.eq(payload), queue.w_en.eq(source.valid), source.ready.eq(queue.w_rdy),
            sink.payload.as_value().eq(queue.r_data), sink.valid.eq(queue.r_rdy), queue.r_en.eq(sink.ready),
        ]
