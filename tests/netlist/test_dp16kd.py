"""The model of ECP5's block memory against a list of bits, over widths and modes."""

import pytest
from amaranth.hdl import Cat, ClockSignal, Instance, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from olivine.verilog import design

from tests import simulate
from tests.netlist.cells import with_cells


class BlockMemory(wiring.Component):
    """One cell, its pins as ports; ``selected`` is for the pins that only choose."""

    def __init__(self, widths, mode="NORMAL", reset="SYNC"):
        self.widths, self.mode, self.reset = widths, mode, reset
        members = {}
        for port in "ab":
            members |= {f"address_{port}": In(14), f"data_{port}": In(18), f"enable_{port}": In(1),
                        f"write_{port}": In(1), f"clear_{port}": In(1), f"out_{port}": Out(18)}
        super().__init__(members)

    def elaborate(self, platform):
        m = Module()
        # A statement of the domain, so that there is a clock.
        m.d.sync += Signal().eq(1)
        pins = {}
        for port in "ab":
            capital = port.upper()
            value = {name: getattr(self, f"{name}_{port}") for name in ("address", "data", "enable", "write", "clear",
                                                                        "out")}
            pins |= {f"i_AD{capital}{index}": bit for index, bit in enumerate(Cat(value["address"]))}
            pins |= {f"i_DI{capital}{index}": bit for index, bit in enumerate(Cat(value["data"]))}
            pins |= {f"o_DO{capital}{index}": bit for index, bit in enumerate(Cat(value["out"]))}
            pins |= {f"i_CE{capital}": value["enable"], f"i_WE{capital}": value["write"], f"i_OCE{capital}": 1,
                     f"i_RST{capital}": value["clear"], f"i_CLK{capital}": ClockSignal(),
                     f"p_WRITEMODE_{capital}": self.mode, f"p_DATA_WIDTH_{capital}": self.widths["ab".index(port)]}
        m.submodules += Instance("DP16KD", p_RESETMODE=self.reset, **pins)
        return m


@pytest.mark.parametrize("widths, mode, reset", [
    ((18, 18), "NORMAL", "SYNC"), ((9, 18), "READBEFOREWRITE", "SYNC"), ((4, 9), "WRITETHROUGH", "SYNC"),
    ((1, 2), "NORMAL", "ASYNC"), ((36, 36), "NORMAL", "SYNC"), ((36, 9), "NORMAL", "SYNC"),
    ((18, 36), "NORMAL", "ASYNC")], ids=str)
def test_widths_and_modes(widths, mode, reset):
    simulate.run(with_cells(design(BlockMemory(widths, mode, reset))), "tb.netlist.dp16kd", expected=1, parameters={
        "width_a": widths[0], "width_b": widths[1], "mode": mode, "reset": reset})
