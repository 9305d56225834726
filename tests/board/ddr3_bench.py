"""A board's DDR3 memory with its chip, as one design for the simulators."""

from dataclasses import replace

from amaranth.hdl import ClockDomain, Instance, Module, ResetSignal
from amaranth.lib import wiring
from amaranth.lib.cdc import ResetSynchronizer
from amaranth.lib.wiring import In, Out, connect, flipped
from olivine.board.ddr3 import Ddr3Memory
from olivine.board.ddr3_clocks import EdgeClock
from olivine.board.dram_parts import DDR3_PARTS
from olivine.bridge.register_access import REGISTER_ADDRESS
from olivine.memory.axi import AXI4
from olivine.program.axi_lite import AXI4Lite
from olivine.verilog import design
from olivine_host.simulation.ddr3 import FLIGHT, ddr3_parameters, ddr3_text

from tests.board.dram_bench import COUNTS

__all__ = ["Ddr3Bench", "ddr3_design", "small_ddr3"]


def small_ddr3(**changes):
    """The part with few rows and short waits at the beginning, for simulators that are slow."""
    return replace(DDR3_PARTS["mt41k256m16"], **{"row_bits": 11, "power_up": 5_000.0, "reset_to_cke": 5_000.0,
                                                 **changes})


class Ddr3Bench(wiring.Component):
    """`Ddr3Memory`, its clocks and the model of its chip: ``bus``, ``host``, and what the model counts. ``fast_source``
    and ``init_clk`` are clocks."""

    def __init__(self, core, bus_bits=64, addr_width=32, flight=FLIGHT):
        self.core, self.flight = core, flight
        self.memory = Ddr3Memory(core, bus_bits, addr_width)
        host = AXI4Lite(REGISTER_ADDRESS)
        super().__init__({"bus": In(AXI4(addr_width, bus_bits, core.id_width)), "host": In(host),
                          "registers": Out(host),
                          "ready": Out(1), "fast_source": In(1), "init_clk": In(1),
                          **{name: Out(32) for name in COUNTS}})

    def elaborate(self, platform):
        m = Module()
        m.submodules.edges = edges = EdgeClock()
        m.submodules.memory = memory = self.memory
        dram, fast, init = ClockDomain("dram"), ClockDomain("dram_fast", reset_less=True), ClockDomain("dram_init")
        dram.clk, fast.clk, init.clk = edges.slow, edges.fast, self.init_clk
        m.domains += [dram, fast, init]
        m.submodules.dram_reset = ResetSynchronizer(ResetSignal() | edges.reset, domain="dram")
        m.submodules.init_reset = ResetSynchronizer(ResetSignal(), domain="dram_init")
        connect(m, flipped(self.bus), memory.bus)
        connect(m, flipped(self.host), memory.host)
        connect(m, memory.registers, flipped(self.registers))
        m.d.comb += [edges.source.eq(self.fast_source), edges.stop.eq(memory.clk_stop),
                     edges.reset.eq(memory.clk_reset), self.ready.eq(memory.ready)]
        pins = memory.pins
        m.submodules.chip = Instance(
            "olivine_ddr3",
            **{f"p_{name}": value for name, value in ddr3_parameters(self.core.part, self.flight).items()},
            **{f"i_{name}": getattr(pins, name) for name in (
                "clk", "cke", "odt", "ras_n", "cas_n", "we_n", "a", "ba", "dm", "dq_o", "dq_oe", "dqs_o", "dqs_oe")},
            o_dq_i=pins.dq_i, o_dqs_i=pins.dqs_i, **{f"o_{name}": getattr(self, name) for name in COUNTS})
        return m


def ddr3_design(core, **options):
    """The bench, the generated controller and the models in one text."""
    made = design(Ddr3Bench(core, **options), "ddr3_bench", f"{core.part.name}, {core.clk_freq} Hz, CAS {core.cas}")
    return replace(made, text=made.text + core.text + ddr3_text())
