"""The units of `olivine.memory` behind one AXI4 port, as their testbenches see them."""

from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from olivine.control.job import span
from olivine.memory.axi import AXI4
from olivine.memory.mux import ReadMux
from olivine.memory.reader import BurstReader, bus_error
from olivine.memory.realign import words
from olivine.memory.writer import BurstWriter

__all__ = ["MemoryBench"]


class MemoryBench(wiring.Component):
    """Readers, through a `ReadMux` if there are several, and a writer.

    Members are those of the units: ``i_read``, ``o_read`` (arrays), ``i_command``, ``i_write``; each
    unit's ``abort``, ``idle`` and ``error`` with its name behind; ``bus``.

    Parameters
    ----------
    bus_bytes, readers : int
    reader, writer : dict
        Further parameters of the units.
    """

    def __init__(self, bus_bytes, readers=1, addr_width=32, reader=None, writer=None):
        self.bus_bytes, self.readers, self.addr_width = bus_bytes, readers, addr_width
        self.reader, self.writer = reader or {}, writer or {}
        self.id_width = max(1, (readers - 1).bit_length())
        commands, data = stream.Signature(span(addr_width)), stream.Signature(words(bus_bytes))
        super().__init__({
            "i_read": In(commands).array(readers), "o_read": Out(data).array(readers),
            "abort_read": In(1).array(readers), "idle_read": Out(1).array(readers),
            "error_read": Out(bus_error(addr_width)).array(readers),
            "i_command": In(commands), "i_write": In(data),
            "abort_write": In(1), "idle_write": Out(1), "error_write": Out(bus_error(addr_width)),
            "bus": Out(AXI4(addr_width, 8 * bus_bytes, self.id_width)),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.mux = mux = ReadMux(self.addr_width, 8 * self.bus_bytes, self.readers)
        for index in range(self.readers):
            reader = BurstReader(self.addr_width, self.bus_bytes, id=index, id_width=self.id_width,
                                 **self.reader)
            m.submodules[f"reader_{index}"] = reader
            connect(m, flipped(self.i_read[index]), reader.i)
            connect(m, reader.o, flipped(self.o_read[index]))
            port = reader.port
            if self.readers > 1:
                connect(m, port, mux.ports[index])
                port = mux.bus
            m.d.comb += [reader.abort.eq(self.abort_read[index]), self.idle_read[index].eq(reader.idle),
                         self.error_read[index].eq(reader.error)]
        connect(m, port.ar, flipped(self.bus.ar))
        connect(m, flipped(self.bus.r), port.r)
        m.submodules.writer = writer = BurstWriter(self.addr_width, self.bus_bytes, id_width=self.id_width,
                                                   **self.writer)
        connect(m, flipped(self.i_command), writer.i_command)
        connect(m, flipped(self.i_write), writer.i)
        for channel in ("aw", "w"):
            connect(m, getattr(writer.port, channel), flipped(getattr(self.bus, channel)))
        connect(m, flipped(self.bus.b), writer.port.b)
        m.d.comb += [writer.abort.eq(self.abort_write), self.idle_write.eq(writer.idle),
                     self.error_write.eq(writer.error)]
        return m
