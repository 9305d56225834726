import gc

import pytest
from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from olivine.memory.axi import AXI4
from olivine.memory.reader import bus_error
from olivine.memory.realign import words
from olivine.memory.writer import BurstWriter, column_span

from tests.memory.bench import MemoryBench
from tests.simulate import run

# What a constructor refuses is never elaborated.
pytestmark = pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")

SINGLE = {"max_burst_beats": 1, "depth_beats": 4, "max_outstanding": 8}
SHORT = {"max_burst_beats": 4, "depth_beats": 8, "max_outstanding": 8}


class ColumnBench(wiring.Component):
    """A writer with column commands on an AXI4 bus; members are named as in `MemoryBench`."""

    def __init__(self, bus_bytes, options, addr_width=32):
        self.writer = BurstWriter(addr_width, bus_bytes, columns=True, **options)
        super().__init__({
            "i_command": In(stream.Signature(column_span(addr_width, bus_bytes))),
            "i_write": In(stream.Signature(words(bus_bytes))),
            "abort_write": In(1), "idle_write": Out(1), "error_write": Out(bus_error(addr_width)),
            "bus": Out(AXI4(addr_width, 8 * bus_bytes)),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.writer = writer = self.writer
        connect(m, flipped(self.i_command), writer.i_command)
        connect(m, flipped(self.i_write), writer.i)
        connect(m, writer.port.aw, flipped(self.bus.aw))
        connect(m, writer.port.w, flipped(self.bus.w))
        connect(m, flipped(self.bus.b), writer.port.b)
        m.d.comb += [writer.abort.eq(self.abort_write), self.idle_write.eq(writer.idle),
                     self.error_write.eq(writer.error)]
        return m


WIDE = pytest.param(16, {}, marks=pytest.mark.slow)


@pytest.mark.parametrize("bus_bytes, options", [(4, SHORT), (4, SINGLE), WIDE], ids=["b4", "b4-single", "b16"])
def test_writer(bus_bytes, options):
    run(MemoryBench(bus_bytes, writer=options), "tb.memory.writer", name="memory_bench", expected=7)


@pytest.mark.parametrize("bus_bytes, options", [(4, SHORT), (2, {**SINGLE, "max_outstanding": 16}), (16, {})],
                         ids=["b4", "b2-single", "b16"])
def test_columns(bus_bytes, options):
    run(ColumnBench(bus_bytes, options), "tb.memory.writer_columns", name="memory_bench", expected=5,
        parameters={"aligned": 0})


@pytest.mark.parametrize("bus_bytes, options", [(4, SHORT), WIDE], ids=["b4", "b16"])
def test_without_shifter(bus_bytes, options):
    run(ColumnBench(bus_bytes, {**options, "realign": False}), "tb.memory.writer_columns", name="memory_bench",
        expected=5, parameters={"aligned": 1})


@pytest.mark.slow
def test_plain_commands_of_a_writer_with_columns():
    run(ColumnBench(4, SHORT), "tb.memory.writer", name="memory_bench", expected=7)


@pytest.mark.slow
def test_columns_on_verilator():
    run(ColumnBench(8, {}), "tb.memory.writer_columns", simulator="verilator", name="memory_bench", expected=5,
        parameters={"aligned": 0})


def test_refuses():
    with pytest.raises(TypeError, match="columns must be True or False, not 1"):
        BurstWriter(32, 4, columns=1)
    with pytest.raises(TypeError, match="realign must be True or False, not 1"):
        BurstWriter(32, 4, realign=1)
    gc.collect()    # what was refused goes here, and not in another test
