"""`BusSplit` with a `Scratchpad` on its near side, as its testbench sees it."""

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from olivine.memory.axi import AXI4
from olivine.memory.scratchpad import Scratchpad
from olivine.memory.split import BusSplit

__all__ = ["SplitBench"]


class SplitBench(wiring.Component):
    """``master`` is plain streams; ``bus`` the far side."""

    def __init__(self, addr_width, bus_bits, words, id_width):
        self.sizes = addr_width, bus_bits, words, id_width
        port = AXI4(addr_width, bus_bits, id_width)
        super().__init__({"master": In(port), "bus": Out(port)})

    def elaborate(self, platform):
        m = Module()
        addr_width, bus_bits, words, id_width = self.sizes
        m.submodules.split = split = BusSplit(addr_width, bus_bits, words * bus_bits // 8, id_width)
        m.submodules.scratchpad = scratchpad = Scratchpad(addr_width, bus_bits, words, id_width)
        wiring.connect(m, wiring.flipped(self.master), split.master)
        wiring.connect(m, split.near, scratchpad.bus)
        wiring.connect(m, split.far, wiring.flipped(self.bus))
        return m
