"""Blocks whose inputs never change are evaluated once all the same, on both simulators."""

import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from tests import simulate


class Constants(wiring.Component):
    """Nothing that these outputs depend on ever changes."""

    i: In(1)
    constant: Out(3)
    chosen: Out(3)

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.constant.eq(5)
        never = Signal(2, init=1)
        with m.Switch(never):
            with m.Case(1):
                m.d.comb += self.chosen.eq(7)
            with m.Case(2):
                m.d.comb += self.chosen.eq(self.i)
        return m


@pytest.mark.parametrize("simulator", ["icarus", "verilator"])
def test_constant_outputs_are_known(simulator):
    simulate.run(Constants(), "tb.selftest.awake", simulator=simulator, expected=1)
