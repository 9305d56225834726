"""A multiplier cell against Python: products of either signs, enables and resets, each register of its own.

Parameters: OLIVINE_REGISTERS, those in use, with commas between; OLIVINE_MODE of the reset.
"""

import os
import random

import cocotb
from cocotb.triggers import ReadOnly, RisingEdge, Timer

from tb.streams import start

REGISTERS = [name for name in os.environ["OLIVINE_REGISTERS"].split(",") if name]
ASYNCHRONOUS = os.environ["OLIVINE_MODE"] == "ASYNC"
BITS = 18
EDGES = (0, 1, (1 << BITS - 1) - 1, 1 << BITS - 1, (1 << BITS) - 1)


def value(bits, signed):
    return bits - (1 << BITS) if signed and bits >> BITS - 1 else bits


def multiplied(a, b):
    return value(*a) * value(*b) % (1 << 2 * BITS)


class Model:
    """The registers, and what comes out with these inputs."""

    def __init__(self):
        self.a = self.b = (0, 0)
        self.inner = self.outer = 0

    def _values(self, a, b):
        a = self.a if "input_a" in REGISTERS else a
        b = self.b if "input_b" in REGISTERS else b
        product = multiplied(a, b)
        inner = self.inner if "pipeline" in REGISTERS else product
        return product, inner, self.outer if "output" in REGISTERS else inner

    def output(self, a, b):
        return self._values(a, b)[2]

    def clock(self, a, b, enable, clear):
        if clear:
            self.__init__()
        elif enable:
            product, inner, _ = self._values(a, b)
            self.a, self.b, self.inner, self.outer = a, b, product, inner


async def play(dut, rng, cycles, enables=(1,), clears=(0,)):
    model = Model()
    for name in ("a", "b", "signed_a", "signed_b", "enable"):
        getattr(dut, name).value = 0
    dut.clear.value = 1
    await start(dut)
    for _ in range(cycles):
        operands = [rng.choice(EDGES) if rng.random() < 0.5 else rng.getrandbits(BITS) for _ in range(2)]
        signs = [rng.getrandbits(1) for _ in range(2)]
        enable, clear = rng.choice(enables), rng.choice(clears)
        dut.a.value, dut.b.value = operands
        dut.signed_a.value, dut.signed_b.value = signs
        dut.enable.value, dut.clear.value = enable, clear
        a, b = zip(operands, signs)
        if ASYNCHRONOUS and clear:
            model = Model()
        await Timer(1, "ns")
        await ReadOnly()
        assert int(dut.p.value) == model.output(a, b), (a, b, enable, clear)
        await RisingEdge(dut.clk)
        model.clock(a, b, enable, clear)


@cocotb.test()
async def products(dut):
    await play(dut, random.Random(1), 500)


@cocotb.test()
async def enables(dut):
    await play(dut, random.Random(2), 300, enables=(0, 1))


@cocotb.test()
async def resets(dut):
    """A reset goes before the enable; an asynchronous one does not wait for the clock."""
    await play(dut, random.Random(3), 300, enables=(0, 1), clears=(0, 0, 1))
