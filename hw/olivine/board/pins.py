"""A board's top on the pins of a platform of Amaranth, with the PLL that makes its clocks."""

from amaranth.hdl import Module
from amaranth.lib import io, wiring

from .clocks import Pll
from .ddr3_clocks import Ddr3Pll
from .ddr3_top import Ddr3Top
from .dram_parts import Ddr3Core
from .top import BoardTop

__all__ = ["PinnedTop"]


class PinnedTop(wiring.Component):
    """`BoardTop` or `Ddr3Top` with the platform's oscillator, its ``uart`` 0, its ``sdram`` 0 or ``ddr3`` 0, and its
    lights.

    Parameters
    ----------
    config, divisor, dram, words
        See `BoardTop`.
    pll : PllPlan
        With the memory's clock if there is ``dram``; of DDR3 twice its controller's.
    lights : sequence of (str, str or None)
        Resource and subsignal of the lights, numbered from 0 each; as many as there are of `olivine.board.top.LEDS`.
    """

    def __init__(self, config, divisor, pll, *, dram=None, words=None, lights=()):
        self.config, self.divisor, self.pll, self.dram, self.words = config, divisor, pll, dram, words
        self.lights = tuple(lights)
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        ddr3 = isinstance(self.dram, Ddr3Core)
        ports = platform.request("ddr3" if ddr3 else "sdram", 0, dir="-") if self.dram else None
        m.submodules.top = top = (Ddr3Top if ddr3 else BoardTop)(
            self.config, self.divisor, dram=self.dram, words=self.words, ports=ports)
        m.submodules.clocks = clocks = (Ddr3Pll if ddr3 else Pll)(self.pll)
        m.submodules.oscillator = oscillator = io.Buffer("i", platform.request(platform.default_clk, dir="-"))
        uart = platform.request("uart", 0, dir="-")
        m.submodules.rx, m.submodules.tx = rx, tx = io.Buffer("i", uart.rx), io.Buffer("o", uart.tx)
        m.d.comb += [
            clocks.oscillator.eq(oscillator.i), top.core_clk.eq(clocks.core), top.locked.eq(clocks.locked),
            top.rx.eq(rx.i), tx.o.eq(top.tx),
        ]
        if ddr3:
            m.d.comb += [top.dram_fast_clk.eq(clocks.fast), top.dram_init_clk.eq(clocks.init)]
        elif self.dram:
            m.d.comb += [top.dram_clk.eq(clocks.dram), top.dram_pin_clk.eq(clocks.dram_pin)]
        for number, (name, part) in enumerate(self.lights):
            port = platform.request(name, number, dir="-")
            m.submodules[f"light_{number}"] = light = io.Buffer("o", getattr(port, part) if part else port)
            m.d.comb += light.o.eq(top.leds[number])
        return m
