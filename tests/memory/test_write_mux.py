import gc

import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from olivine.memory.axi import AXI4, WritePort
from olivine.memory.write_mux import WriteMux

from tests.simulate import run

# What a constructor refuses is never elaborated.
pytestmark = pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")


class WriteBench(wiring.Component):
    """A `WriteMux` on an AXI4 bus that reads nothing."""

    def __init__(self, bus_bits, ports, id_width=None, addr_width=20):
        self.mux = WriteMux(addr_width, bus_bits, ports, id_width)
        port = WritePort(addr_width, bus_bits, self.mux.id_width)
        super().__init__({"ports": In(port).array(ports), "bus": Out(AXI4(addr_width, bus_bits, self.mux.id_width))})

    def elaborate(self, platform):
        m = Module()
        m.submodules.mux = mux = self.mux
        for index in range(mux.port_count):
            connect(m, flipped(self.ports[index]), mux.ports[index])
        connect(m, mux.bus.aw, flipped(self.bus.aw))
        connect(m, mux.bus.w, flipped(self.bus.w))
        connect(m, flipped(self.bus.b), mux.bus.b)
        return m


def _run(ports, id_width=None, bus_bits=32, simulator="icarus"):
    bench = WriteBench(bus_bits, ports, id_width)
    run(bench, "tb.memory.write_mux", simulator=simulator, expected=6,
        parameters={"masters": ports, "id_width": bench.mux.id_width})


@pytest.mark.parametrize("ports, id_width", [(2, None), (3, 3)])
def test_mux(ports, id_width):
    _run(ports, id_width)


@pytest.mark.slow
@pytest.mark.parametrize("ports", [1, 5])
def test_on_verilator(ports):
    _run(ports, bus_bits=128, simulator="verilator")


@pytest.mark.parametrize("arguments, message", [
    ((32, 32, 0), "ports is 0: allowed is 1 to 16"),
    ((32, 32, 5, 2), "id_width is 2: allowed is 3 to 16"),
])
def test_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        WriteMux(*arguments)
    gc.collect()    # what was refused goes here, and not in another test
