"""Watchdog: against a model, cycle by cycle."""

import random

import cocotb
from cocotb.triggers import RisingEdge

from tb.streams import start


class Model:
    """The cycles since the last one without waiting or with progress."""

    def __init__(self):
        self.silent = 0

    def step(self, limit, waiting, progress):
        """What ``expired`` is in the next cycle, by what waited and moved in the one before."""
        self.silent = self.silent + 1 if waiting and not progress and limit else 0
        if limit and self.silent >= limit:
            self.silent = 0
            return 1
        return 0


@cocotb.test
async def exact(dut):
    """The pulse comes two cycles after the limit's last silent one, and lasts one cycle."""
    dut.limit.value, dut.waiting.value, dut.progress.value = 5, 0, 0
    await start(dut)
    await RisingEdge(dut.clk)
    for limit in (1, 2, 5, 13):
        dut.limit.value = limit
        dut.waiting.value = 1
        seen = []
        for cycle in range(1, 3 * limit + 3):
            await RisingEdge(dut.clk)       # the end of silent cycle number ``cycle``
            if int(dut.expired.value):
                seen.append(cycle)
        assert seen == [limit + 2, 2 * limit + 2, 3 * limit + 2], (limit, seen)
        dut.waiting.value = 0
        await RisingEdge(dut.clk)
        await RisingEdge(dut.clk)


@cocotb.test
async def never(dut):
    """A limit of 0 never expires, not even when the counter would come around."""
    dut.limit.value, dut.waiting.value, dut.progress.value = 0, 1, 0
    await start(dut)
    for _ in range(300):
        await RisingEdge(dut.clk)
        assert int(dut.expired.value) == 0


@cocotb.test
async def largest(dut):
    """The largest limit is reached."""
    dut.limit.value, dut.waiting.value, dut.progress.value = (1 << len(dut.limit)) - 1, 1, 0
    await start(dut)
    for cycle in range(1, (1 << len(dut.limit)) + 1):
        await RisingEdge(dut.clk)
        assert int(dut.expired.value) == 0, cycle
    await RisingEdge(dut.clk)
    assert int(dut.expired.value) == 1


@cocotb.test
async def random_walk(dut):
    dut.limit.value, dut.waiting.value, dut.progress.value = 3, 0, 0
    await start(dut)
    rng, model = random.Random(11), Model()
    expired, before = None, (0, 0)
    inputs = (3, 0, 0)
    for cycle in range(4000):
        await RisingEdge(dut.clk)
        if expired is not None:
            assert int(dut.expired.value) == expired, cycle
        expired, before = model.step(inputs[0], *before), inputs[1:]
        inputs = (inputs[0] if rng.random() < 0.97 else rng.randrange(12), int(rng.random() < 0.9),
                  int(rng.random() < 0.15))
        dut.limit.value, dut.waiting.value, dut.progress.value = inputs
