"""`BoardTop` for a board with DDR3 memory on an ECP5."""

from amaranth.hdl import Cat, ClockDomain, Const
from amaranth.lib import wiring
from amaranth.lib.cdc import ResetSynchronizer

from .ddr3 import Ddr3Memory
from .ddr3_clocks import EdgeClock
from .ddr3_pins import Ddr3Pins
from .top import BoardTop

__all__ = ["Ddr3Top"]


class Ddr3Top(BoardTop):
    """`BoardTop` whose memory is DDR3, which the host levels.

    **Clocks.** ``dram_fast`` is the clock of the memory's edges, ``dram`` half of it, ``dram_init`` that in which the
    PHY's delays are set up; the PLL makes the first and the last, `EdgeClock` the second.

    **Resets.** All of the memory's are reset with ``sync``. Then the PHY stops ``dram_fast`` for a moment, and resets
    ``dram`` once more, as after the power.

    Parameters
    ----------
    dram : Ddr3Core
        Its bus is wider than the configuration's.
    config, divisor, ports, max_payload
        See `BoardTop`.

    Of a chip that the configuration's addresses do not reach, half of what they reach is used.

    Members
    -------
    core_clk, dram_fast_clk, dram_init_clk, locked : In(1)
    rx, tx, leds
        See `BoardTop`. Memory is ready when the host has levelled it.
    pins : Out(Ddr3Pins)
        Only without ``ports``.
    """

    dram_clocks = ("dram_fast_clk", "dram_init_clk")
    pin_signature = Ddr3Pins
    needs = "more than "

    @staticmethod
    def _fits(controller_bits, bus_bits):
        return controller_bits > bus_bits

    def _size(self, dram):
        # Half of a preset's address space is much less than the chip has; the scratchpad is at the end of it.
        return 1 << min(dram.addr_width, self.config.addr_width - 1)

    def _memory(self):
        return Ddr3Memory(self.dram, self.config.bus_bits, self.config.addr_width, self.ports)

    def _registers(self, m, bridge, core, memory):
        wiring.connect(m, bridge.host, memory.host)
        wiring.connect(m, memory.registers, core.host)
        m.d.comb += [self._edges.stop.eq(memory.clk_stop), self._edges.reset.eq(memory.clk_reset)]

    def _board(self, memory):
        # The second bit: that memory is the host's to level.
        return Cat(memory.ready, Const(1))

    def _memory_domains(self, m, held):
        m.submodules.edges = self._edges = edges = EdgeClock()
        dram, fast, init = ClockDomain("dram"), ClockDomain("dram_fast", reset_less=True), ClockDomain("dram_init")
        dram.clk, fast.clk, init.clk = edges.slow, edges.fast, self.dram_init_clk
        m.domains += [dram, fast, init]
        m.d.comb += edges.source.eq(self.dram_fast_clk)
        m.submodules.dram_reset = ResetSynchronizer(held | edges.reset, domain="dram")
        m.submodules.init_reset = ResetSynchronizer(held, domain="dram_init")
