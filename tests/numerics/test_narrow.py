"""Narrowing shifters: what is left, what was dropped, and, rounded and saturated, golden's results."""

import random

import pytest
from amaranth.hdl import Const, Module, Signal, signed
from amaranth.sim import Simulator
from olivine.numerics.narrow import plus, rounded, shift_right, shifted
from olivine_golden.rounding import rsh, sat


@pytest.mark.parametrize("width, shift_bits, bits, cases", [(7, 4, 3, None), (7, 2, 4, None), (5, 3, 6, None),
                                                            (43, 6, 16, 3000), (42, 5, 25, 3000)])
def test_equals_golden(width, shift_bits, bits, cases):
    m, rng = Module(), random.Random(width)
    value, shift = Signal(signed(width)), Signal(shift_bits)
    result, over = Signal(signed(bits + 2)), Signal()
    here, beyond, sign = shifted(value, shift, bits)
    assert here.shape() == signed(bits + 2)
    whole, outside = rounded(here, beyond, sign, bits)
    m.d.comb += [result.eq(whole), over.eq(outside)]
    sign_of = Signal()
    m.d.comb += sign_of.eq(sign)

    def numbers():
        if cases is None:
            yield from ((x, n) for x in range(-1 << width - 1, 1 << width - 1) for n in range(1 << shift_bits))
        for _ in range(cases or 0):
            n = rng.randrange(1 << shift_bits)
            near = [(edge << n) + rng.randint(-2, 2) + rng.choice((0, 1 << n >> 1, -(1 << n >> 1)))
                    for edge in (1 << bits - 1, -1 << bits - 1, 1 << bits, -1 << bits, 1 << bits + 1, -1 << bits + 1)]
            x = rng.choice([*near, rng.getrandbits(width), rng.getrandbits(rng.randint(1, width))])
            yield ((x + (1 << width - 1)) % (1 << width)) - (1 << width - 1), n

    async def bench(ctx):
        for x, n in numbers():
            ctx.set(value, x)
            ctx.set(shift, n)
            await ctx.delay(1e-9)
            want = int(rsh(x, n))
            limited = int(sat(want, bits))
            assert ctx.get(over) == (limited != want), (x, n)
            if ctx.get(over):
                assert ctx.get(sign_of) == (x < 0)
            else:
                assert ctx.get(result) == want, (x, n)

    simulator = Simulator(m)
    simulator.add_testbench(bench)
    simulator.run()


@pytest.mark.parametrize("width, distances, bits", [(8, 4, 5), (8, 3, 8), (6, 4, 9), (11, 4, 3), (42, 6, 26)])
def test_shift(width, distances, bits):
    """Floor, half and what does not fit, for every value and distance of small ones."""
    m, value, amount = Module(), Signal(signed(width)), Signal(distances)
    outputs = [Signal(signed(bits)), Signal(), Signal(), Signal(signed(bits + 1))]
    floor, half, beyond = shift_right(value, amount, bits)
    m.d.comb += [output.eq(result) for output, result in zip(
        outputs, (floor, half, beyond, plus(outputs[0], Const(-3, signed(3)), outputs[1])))]
    rng = random.Random(width)
    cases = [(v, n) for v in range(-1 << width - 1, 1 << width - 1) for n in range(1 << distances)] \
        if width < 12 else [(rng.getrandbits(width) - (1 << width - 1) >> rng.randrange(width), n)
                            for _ in range(60) for n in range(1 << distances)]

    async def testbench(ctx):
        for v, n in cases:
            ctx.set(value, v)
            ctx.set(amount, n)
            got = [ctx.get(output) for output in outputs]
            assert got[2] == (not -1 << bits - 1 <= v >> n < 1 << bits - 1), (v, n)
            if not got[2]:
                assert got[0] == v >> n and got[1] == (2 * v >> n & 1), (v, n)
                assert got[3] == (v >> n) - 3 + got[1], (v, n)

    simulator = Simulator(m)
    simulator.add_testbench(testbench)
    simulator.run()
