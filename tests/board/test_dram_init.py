import gc

import pytest
from amaranth.sim import Simulator
from olivine.board.dram_init import InitSequencer

# What a constructor refuses is never elaborated.
pytestmark = pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")

STEPS = ((0, 0, 0), (3, 1024, 7), (1, 11, 1), (0, 1, 2))


def _writes(steps, cycles=60):
    """(cycle, address, value) of each write, and the cycle in which done rises."""
    unit = InitSequencer(steps)
    writes, done = [], []

    async def watch(ctx):
        for cycle in range(cycles):
            if ctx.get(unit.write):
                writes.append((cycle, ctx.get(unit.address), ctx.get(unit.value)))
            done.append(ctx.get(unit.done))
            await ctx.tick()

    simulator = Simulator(unit)
    simulator.add_clock(1e-6)
    simulator.add_testbench(watch)
    simulator.run()
    return writes, done


def test_writes_and_waits():
    writes, done = _writes(STEPS)
    assert [write[1:] for write in writes] == [step[:2] for step in STEPS]
    gaps = [b[0] - a[0] for a, b in zip(writes, writes[1:])]
    assert gaps == [step[2] + 3 for step in STEPS[:-1]]
    assert done.index(1) == writes[-1][0] + STEPS[-1][2] + 2 and all(done[done.index(1):])


def test_one_step():
    writes, done = _writes([(5, 0, 0)])
    assert [write[1:] for write in writes] == [(5, 0)] and done[-1]


@pytest.mark.parametrize("steps, message", [
    ((), "steps is empty"),
    (((1 << 14, 0, 0),), "does not fit 14 bits of address"),
    (((0, 1 << 32, 0),), "32 of data"),
    (((0, 0, -1),), "waits less than nothing"),
])
def test_refuses(steps, message):
    with pytest.raises(ValueError, match=message):
        InitSequencer(steps)
    gc.collect()    # what was refused goes here, and not in another test
