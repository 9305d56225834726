"""A board's DDR3 memory behind an AXI4 port in the core's clock."""

from amaranth.hdl import ClockSignal, DomainRenamer, Instance, Module, Mux, ResetSignal, Signal
from amaranth.lib import wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out, connect, flipped

from ..bridge.register_access import REGISTER_ADDRESS
from ..memory.axi import AXI4
from ..memory.checks import check_integer
from ..memory.crossing import AxiCrossing
from ..memory.join import attach
from ..memory.upsizer import AxiUpsizer
from ..program.axi_lite import AXI4Lite
from .controller import controller_bus
from .ddr3_pins import Ddr3Pads, Ddr3Pins
from .ddr3_window import Ddr3Window
from .dram_init import InitSequencer
from .dram_parts import Ddr3Core

__all__ = ["Ddr3Memory"]


class Ddr3Memory(wiring.Component):
    """DDR3 SDRAM: a LiteDRAM controller with its PHY, its initialisation, and the ways into its clock.

    The chip is initialised from a ROM. Then memory answers, but what is read is right only when the host has found
    where reads are to be sampled (`olivine_host.board.levelling`), through registers at the end of the host's space;
    it says so in one of them, which makes ``ready``. Writes need no levelling.

    Until the initialisation has ended no address is taken. Then reads and writes are answered in order, each kind for
    itself; a read that comes after the response of a write sees what it wrote. Every answer is OKAY. Addresses count
    modulo the memory's size.

    A reset of both clocks begins anew; what the chip holds is not known then.

    Parameters
    ----------
    core : Ddr3Core
        From `olivine_host.fpga.litedram.ddr3_core`.
    bus_bits, addr_width : int
        Of ``bus``; it is narrower than the controller's, and may have fewer addresses than the chip.
    ports : object
        The board's pins, see `Ddr3Pads`. None: they are the member ``pins``.
    domain, dram_domain, fast_domain, init_domain : str
        Clocks of the bus, of the controller, of the memory's edges (twice that), and of what sets up the PHY's delays.
    depth : int
        Of the crossing's queues.

    Members
    -------
    bus : In(AXI4)
        Its ID width is the controller's.
    host : In(AXI4Lite), registers : Out(AXI4Lite)
        The host, and what it reaches below the window of `Ddr3Window`.
    ready : Out(1)
        The host has levelled; in ``domain``.
    clk_stop, clk_reset : Out(1)
        For `EdgeClock`.
    pins : Out(Ddr3Pins)
        Only without ``ports``.
    """

    def __init__(self, core, bus_bits, addr_width=32, ports=None, *, domain="sync", dram_domain="dram",
                 fast_domain="dram_fast", init_domain="dram_init", depth=16):
        if not isinstance(core, Ddr3Core):
            raise TypeError(f"core must be a Ddr3Core, not {core!r}")
        self.core, self.bus_bits, self.ports = core, bus_bits, ports
        self.addr_width = check_integer("addr_width", addr_width, 13, 64)
        self.domain, self.dram_domain, self.depth = domain, dram_domain, depth
        self.fast_domain, self.init_domain = fast_domain, init_domain
        host = AXI4Lite(REGISTER_ADDRESS)
        members = {"bus": In(AXI4(addr_width, bus_bits, core.id_width)), "host": In(host), "registers": Out(host),
                   "ready": Out(1), "clk_stop": Out(1), "clk_reset": Out(1)}
        if ports is None:
            members["pins"] = Out(Ddr3Pins(core.part))
        super().__init__(members)

    def elaborate(self, platform):
        m = Module()
        core = self.core
        m.submodules.init = init = InitSequencer(core.steps, domain=self.dram_domain)
        initialised = Signal()
        m.submodules.initialised = FFSynchronizer(init.done, initialised, o_domain=self.domain)
        m.submodules.window = window = Ddr3Window(core.part.data_bits // 8, self.domain, self.dram_domain)
        connect(m, flipped(self.host), window.host)
        connect(m, window.core, flipped(self.registers))
        m.d.comb += [window.initialised.eq(initialised), self.ready.eq(window.levelled)]

        m.submodules.crossing = crossing = AxiCrossing(
            self.addr_width, self.bus_bits, core.id_width, self.depth, master_domain=self.domain,
            slave_domain=self.dram_domain)
        self._gate(m, crossing.master, initialised)
        # The chip may have more addresses than the bus.
        upsizer = AxiUpsizer(max(self.addr_width, core.addr_width), self.bus_bits, core.bus_bits, core.id_width)
        m.submodules.upsizer = DomainRenamer(self.dram_domain)(upsizer)
        attach(m, crossing.slave, upsizer.master)

        m.submodules.pads = pads = Ddr3Pads(core.part, self.ports)
        if self.ports is None:
            connect(m, pads.pins, flipped(self.pins))
        controller = {
            "i_clk": ClockSignal(self.dram_domain), "i_rst": ResetSignal(self.dram_domain),
            "i_fast_clk": ClockSignal(self.fast_domain),
            "i_init_clk": ClockSignal(self.init_domain), "i_init_rst": ResetSignal(self.init_domain),
            "o_clk_stop": self.clk_stop, "o_clk_reset": self.clk_reset,
            "i_csr_adr": Mux(init.done, window.address, init.address), "o_csr_dat_r": window.found,
            "i_csr_we": Mux(init.done, window.write, init.write),
            "i_csr_dat_w": Mux(init.done, window.value, init.value),
            **pads.controller(), **controller_bus(m, core, upsizer.slave, init.done, self.dram_domain),
        }
        m.submodules.controller = Instance(core.module, **controller)
        if hasattr(platform, "add_file"):
            platform.add_file(f"{core.module}.v", core.text)
        return m

    def _gate(self, m, crossing, initialised):
        """Nothing enters the crossing before: the memory's side is reset once more when the PHY's delays are set up."""
        for name in ("ar", "aw", "w"):
            source, sink = getattr(self.bus, name), getattr(crossing, name)
            m.d.comb += [sink.payload.eq(source.payload), sink.valid.eq(source.valid & initialised),
                         source.ready.eq(sink.ready & initialised)]
        for name in ("r", "b"):
            source, sink = getattr(crossing, name), getattr(self.bus, name)
            m.d.comb += [sink.payload.eq(source.payload), sink.valid.eq(source.valid), source.ready.eq(sink.ready)]
