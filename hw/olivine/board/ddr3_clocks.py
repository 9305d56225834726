"""Clocks of DDR3 memory on an ECP5: that of its edges, which can be stopped, and half of it for the controller."""

from amaranth.hdl import Instance, Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .clocks import Pll, output

__all__ = ["INIT_MHZ", "Ddr3Pll", "EdgeClock"]

INIT_MHZ = 25.0
"""Of the clock that sets the PHY's delays up, at most: LiteDRAM counts its waits for that."""


class Ddr3Pll(Pll):
    """`Pll` whose first output is the clock of the memory's edges.

    Parameters
    ----------
    plan : PllPlan
        Made for the memory's clock, which is twice its controller's.

    Members
    -------
    oscillator : In(1)
    core, fast, init : Out(1)
        ``init`` is at most `INIT_MHZ`.
    locked : Out(1)
        From no clock domain.
    """

    members = ("core", "fast", "init")

    def _memory(self, m, first):
        divider = -int(-self.plan.vco_mhz // INIT_MHZ)
        m.d.comb += self.fast.eq(first)
        return output("CLKOS", divider) | {"o_CLKOS": self.init}


class EdgeClock(wiring.Component):
    """The primitives between a PLL and a DDR3 PHY, as FPGA-TN-02035 has them: the clock of the edges is on lines of its
    own, and is stopped while the PHY's delays are set up, so that all primitives leave their reset in the same period.

    All of the memory's pins are on one side of the chip: a clock for two would need an ECLKBRIDGECS.

    Members
    -------
    source : In(1)
        From the PLL.
    stop, reset : In(1)
        From the PHY, in the clock of its initialisation.
    fast, slow : Out(1)
        The clock of the edges, and half of it.
    """

    def __init__(self):
        super().__init__({"source": In(1), "stop": In(1), "reset": In(1), "fast": Out(1), "slow": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.sync = Instance("ECLKSYNCB", i_ECLKI=self.source, i_STOP=self.stop, o_ECLKO=self.fast)
        m.submodules.half = Instance("CLKDIVF", p_DIV="2.0", i_ALIGNWD=0, i_CLKI=self.fast, i_RST=self.reset,
                                     o_CDIVX=self.slow)
        return m
