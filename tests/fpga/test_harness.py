"""A unit between shift registers: what is shifted in reaches it, what it says comes out."""

import random

import pytest
from amaranth.hdl import Module, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator
from olivine.board.harness import ScanHarness

# Harnesses that are only counted.
pytestmark = pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")


class Sum(wiring.Component):
    """Members of several shapes, nested and turned around."""

    def __init__(self):
        super().__init__({
            "flag": In(1), "numbers": In(data.ArrayLayout(signed(3), 2)),
            "bus": Out(wiring.Signature({"request": Out(4), "answer": In(2)})),
            "sum": Out(signed(5))})

    def elaborate(self, platform):
        m = Module()
        m.d.sync += self.sum.eq(self.numbers[0] + self.numbers[1])
        m.d.comb += self.bus.request.eq(self.bus.answer << self.flag)
        return m


class Inert(wiring.Component):
    o: Out(1)

    def elaborate(self, platform):
        m = Module()
        held = Signal()
        m.d.sync += [held.eq(~held), self.o.eq(held)]
        return m


def test_bits_are_counted():
    harness = ScanHarness(Sum())
    assert (harness.inputs, harness.outputs) == (1 + 6 + 2, 4 + 5)


def test_without_inputs_there_is_nothing_to_shift():
    with pytest.raises(ValueError, match="Inert has 0 bits of inputs and 1 of outputs"):
        ScanHarness(Inert())


def simulate(cycles, seed=1):
    """Random bits in; per cycle what came in, the unit's inputs and outputs in the order of its signature, and what
    came out."""
    unit = Sum()
    harness = ScanHarness(unit)
    values = [(member.flow, value) for _, member, value in unit.signature.flatten(unit)]
    rng = random.Random(seed)
    seen = []

    def word(ctx, flow):
        bits = []
        for own, value in values:
            if own == flow:
                raw = ctx.get(value.as_value() if hasattr(value, "as_value") else value.as_unsigned())
                bits += [(raw >> bit) & 1 for bit in range(len(value.as_value() if hasattr(value, "as_value")
                                                               else value))]
        return bits

    async def bench(ctx):
        for _ in range(cycles):
            bit = rng.getrandbits(1)
            ctx.set(harness.scan_in, bit)
            seen.append((bit, word(ctx, In), word(ctx, Out), ctx.get(harness.scan_out)))
            await ctx.tick()

    simulator = Simulator(harness)
    simulator.add_clock(1e-8)
    simulator.add_testbench(bench)
    simulator.run()
    return harness, seen


def test_inputs_are_the_bits_shifted_in():
    harness, seen = simulate(200)
    for cycle in range(harness.inputs, len(seen)):
        assert seen[cycle][1] == [seen[cycle - 1 - bit][0] for bit in range(harness.inputs)]


def test_every_output_bit_reaches_the_end_once():
    harness, seen = simulate(300)
    begin = harness.outputs + 2
    some = 0
    for cycle in range(begin, len(seen)):
        expected = 0
        for bit in range(harness.outputs):
            expected ^= seen[cycle - harness.latency(bit)][2][bit]
        assert seen[cycle][3] == expected, cycle
        some += expected
    assert 50 < some < len(seen) - 50, "the outputs hardly change: nothing is shown"
