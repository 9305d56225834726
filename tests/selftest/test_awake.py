"""Blocks whose inputs have not changed yet are evaluated once all the same, on both simulators."""

import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from tests import simulate


class Waiting(wiring.Component):
    """Outputs that follow a state and a constant; nothing changes before the first clock edge."""

    i: In(1)
    constant: Out(3)
    chosen: Out(3)

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.constant.eq(5)
        with m.FSM():
            with m.State("FIRST"):
                m.d.comb += self.chosen.eq(7)
                with m.If(self.i):
                    m.next = "SECOND"
            with m.State("SECOND"):
                m.next = "FIRST"
        return m


@pytest.mark.parametrize("simulator", ["icarus", "verilator"])
def test_outputs_are_known_at_once(simulator):
    simulate.run(Waiting(), "tb.selftest.awake", simulator=simulator, expected=1)
