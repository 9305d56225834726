"""A board's memory with its chip, as one design for the simulators."""

from dataclasses import replace

from amaranth.hdl import Instance, Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from olivine.board.dram import BoardMemory
from olivine.board.dram_parts import SDRAM_PARTS
from olivine.memory.axi import AXI4
from olivine.verilog import design
from olivine_host.simulation.board import SDRAM, chip_parameters

__all__ = ["DramBench", "dram_design", "small"]

COUNTS = ("errors", "restarts", "refreshes", "activates", "reads", "writes")


def small(name="sdr-32m", **changes):
    """A part with few rows and a short power-up, for simulators that are slow."""
    return replace(SDRAM_PARTS[name], **{"row_bits": 11, "power_up": 5_000.0, **changes})


class DramBench(wiring.Component):
    """`BoardMemory` and the model of its chip: ``bus``, ``ready``, and what the model counts."""

    def __init__(self, core, addr_width=32, memory=None, **chip):
        self.core, self.chip = core, chip
        self.memory = BoardMemory(core, addr_width) if memory is None else memory
        super().__init__({"bus": In(AXI4(addr_width, core.bus_bits, core.id_width)), "ready": Out(1),
                          **{name: Out(32) for name in COUNTS}})

    def elaborate(self, platform):
        m = Module()
        m.submodules.memory = memory = self.memory
        connect(m, flipped(self.bus), memory.bus)
        m.d.comb += self.ready.eq(memory.ready)
        part, pins = self.core.part, memory.pins
        parameters = {**chip_parameters(part), **self.chip}
        m.submodules.chip = Instance(
            "olivine_sdram", **{f"p_{name}": value for name, value in parameters.items()},
            **{f"i_{name}": getattr(pins, name) for name in (
                "clk", "cke", "cs_n", "ras_n", "cas_n", "we_n", "a", "ba", "dm", "dq_o", "dq_oe")},
            o_dq_i=pins.dq_i, **{f"o_{name}": getattr(self, name) for name in COUNTS})
        return m


def dram_design(core, bench=DramBench, **options):
    """The bench, the generated controller and the model in one text."""
    made = design(bench(core, **options), "dram_bench", f"{core.part.name}, {core.clk_freq} Hz, CAS {core.cas}")
    return replace(made, text=made.text + core.text + SDRAM.read_text())
