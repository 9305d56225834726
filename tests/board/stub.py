"""A board without an accelerator: registers, and a master that keeps memory busy. Built in seconds."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from olivine.board.ddr3_top import Ddr3Top
from olivine.board.dram_parts import DDR3_PARTS
from olivine.board.top import BoardTop
from olivine.core.accelerator import ID_BITS
from olivine.core.activity import CoreActivity
from olivine.memory.axi import AXI4
from olivine.program.axi_lite import AXI4Lite
from olivine.program.registers import Registers
from olivine_host.simulation.board import DIVISOR, MAX_PAYLOAD, board_controller

__all__ = ["StubCore", "StubTop", "StubDdr3Top", "stub_top"]

BURST = 8


class StubCore(wiring.Component):
    """Registers as the core has them; reads a burst at address 0 after the other. A program never ends."""

    def __init__(self, config):
        self.config = config
        super().__init__({"host": In(AXI4Lite(12)), "bus": Out(AXI4(config.addr_width, config.bus_bits, ID_BITS)),
                          "irq": Out(1), "activity": Out(CoreActivity)})

    def elaborate(self, platform):
        m = Module()
        config, bus = self.config, self.bus
        m.submodules.registers = registers = Registers(config, config.scratchpad_base, config.scratchpad_words)
        wiring.connect(m, wiring.flipped(self.host), registers.bus)
        owed = Signal()
        m.d.comb += [self.irq.eq(registers.irq), self.activity.running.eq(registers.running),
                     bus.ar.valid.eq(~owed), bus.ar.payload.len.eq(BURST - 1), bus.r.ready.eq(1), bus.b.ready.eq(1)]
        with m.If(bus.ar.valid & bus.ar.ready):
            m.d.sync += owed.eq(1)
        with m.If(bus.r.valid & bus.r.payload.last):
            m.d.sync += owed.eq(0)
        return m


class StubTop(BoardTop):
    def _core(self):
        return StubCore(self.config)


class StubDdr3Top(Ddr3Top):
    def _core(self):
        return StubCore(self.config)


def stub_top(config, dram="sdr-32m", words=None):
    """As the simulated board has it."""
    top = StubDdr3Top if dram in DDR3_PARTS else StubTop
    return top(config, DIVISOR, dram=dram and board_controller(config, dram), words=words, max_payload=MAX_PAYLOAD)
