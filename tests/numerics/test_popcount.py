"""Number of ones: every value of the narrow widths, random ones of the wide."""

import random
import warnings

import pytest
from amaranth.hdl import Module, Signal, signed
from amaranth.sim import Simulator
from olivine.numerics.popcount import popcount


def simulate(shape, values):
    m = Module()
    i = Signal(shape)
    count = popcount(i)
    # Wide enough, and no sign: every bit of it is compared.
    o = Signal(16)
    m.d.comb += o.eq(count)
    assert not count.shape().signed and len(count) <= len(i).bit_length() + 1

    async def bench(ctx):
        for value in values:
            ctx.set(i, value)
            assert ctx.get(o) == (value & (1 << len(i)) - 1).bit_count(), value

    simulator = Simulator(m)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")     # that a design may have no clock
        simulator.add_testbench(bench)
        simulator.run()


@pytest.mark.parametrize("width", range(1, 10))
def test_every_value(width):
    simulate(width, range(1 << width))


@pytest.mark.parametrize("width", [12, 17, 31, 64, 100])
def test_wide_values(width):
    rng = random.Random(width)
    simulate(width, [0, (1 << width) - 1, *(1 << bit for bit in range(width)),
                     *(rng.getrandbits(width) for _ in range(200))])


def test_signed_values_count_their_bits():
    simulate(signed(5), range(-16, 16))
