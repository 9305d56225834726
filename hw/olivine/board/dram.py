"""A board's memory behind an AXI4 port in the core's clock."""

from amaranth.hdl import ClockSignal, Instance, Module, ResetSignal
from amaranth.lib import wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out, connect, flipped

from ..memory.axi import AXI4
from ..memory.checks import check_integer
from ..memory.crossing import AxiCrossing
from ..memory.scratchpad import Scratchpad
from .controller import controller_bus
from .dram_init import InitSequencer
from .dram_parts import DramCore
from .dram_pins import SdramPads, SdramPins

__all__ = ["BoardMemory", "BlockMemory"]


class BoardMemory(wiring.Component):
    """Single-data-rate SDRAM: a LiteDRAM controller, its initialisation, and the way into its clock.

    Until ``ready`` no address is taken. Then reads and writes are answered in order, each kind for itself; a read
    that comes after the response of a write sees what it wrote. Every answer is OKAY. Addresses count modulo the
    memory's size.

    Latency of a read and share of the peak of 2 bytes a clock: measured, in ``docs/board-memory.md``.

    Parameters
    ----------
    core : DramCore
        From `olivine_host.fpga.litedram.sdr_core`.
    addr_width : int
        Of ``bus``.
    ports : object
        The board's pins, with attributes as `SdramPins` has members, each an I/O port of Amaranth. None for a
        simulation: pins are the member ``pins``.
    domain, dram_domain : str
        Clocks of the bus and of the memory. Both are reset together.
    pin_domain : str
        Clock of the memory's clock pin: that of the memory, later by a part of a period.
    depth : int
        Of the crossing's queues.

    Members
    -------
    bus : In(AXI4)
        Bus width and ID width are the controller's.
    ready : Out(1)
        The memory is initialised; in ``domain``.
    pins : Out(SdramPins)
        Only without ``ports``.

    Cost, all of it: 1,264 LUT4, 146 CCU2C, 1,423 flip-flops, 130 LUT RAMs (Yosys, `synth_ecp5`, 64 bits, 7 of ID).
    """

    def __init__(self, core, addr_width=32, ports=None, *, domain="sync", dram_domain="dram", pin_domain="dram_pin",
                 depth=16):
        if not isinstance(core, DramCore):
            raise TypeError(f"core must be a DramCore, not {core!r}")
        self.core, self.ports = core, ports
        self.addr_width = check_integer("addr_width", addr_width, core.addr_width, 64)
        self.domain, self.dram_domain, self.pin_domain, self.depth = domain, dram_domain, pin_domain, depth
        members = {"bus": In(AXI4(addr_width, core.bus_bits, core.id_width)), "ready": Out(1)}
        if ports is None:
            members["pins"] = Out(SdramPins(core.part))
        super().__init__(members)

    def elaborate(self, platform):
        m = Module()
        core = self.core
        m.submodules.crossing = crossing = AxiCrossing(
            self.addr_width, core.bus_bits, core.id_width, self.depth, master_domain=self.domain,
            slave_domain=self.dram_domain)
        connect(m, flipped(self.bus), crossing.master)
        m.submodules.init = init = InitSequencer(core.steps, domain=self.dram_domain)
        m.submodules.ready = FFSynchronizer(init.done, self.ready, o_domain=self.domain)
        m.submodules.pads = pads = SdramPads(core.part, self.ports, self.dram_domain, self.pin_domain)
        if self.ports is None:
            connect(m, pads.pins, flipped(self.pins))
        controller = {
            "i_clk": ClockSignal(self.dram_domain), "i_rst": ResetSignal(self.dram_domain),
            "i_csr_adr": init.address, "i_csr_we": init.write, "i_csr_dat_w": init.value,
            **pads.controller(),
        }
        controller |= controller_bus(m, core, crossing.slave, init.done, self.dram_domain)
        m.submodules.controller = Instance(core.module, **controller)
        if hasattr(platform, "add_file"):
            platform.add_file(f"{core.module}.v", core.text)
        return m


class BlockMemory(wiring.Component):
    """On-chip memory in place of `BoardMemory`: the same interface for boards and tests without DRAM.

    Latency, throughput, order: those of `Scratchpad`.

    Parameters
    ----------
    addr_width, bus_bits, id_width : int
    words : int
        Bus beats. Power of two.

    Members
    -------
    bus : In(AXI4)
    ready : Out(1)
        Always high.
    """

    def __init__(self, addr_width, bus_bits, words, id_width=1):
        self.memory = Scratchpad(addr_width, bus_bits, words, id_width)
        super().__init__({"bus": In(AXI4(addr_width, bus_bits, id_width)), "ready": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.memory = self.memory
        connect(m, flipped(self.bus), self.memory.bus)
        m.d.comb += self.ready.eq(1)
        return m
