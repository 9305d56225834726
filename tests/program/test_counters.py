"""What the registers' testbench cannot wait for: counters at the end of their range."""

from amaranth.sim import Simulator
from olivine.config import PRESETS
from olivine.control.job import TALLIES
from olivine.control.registers import COUNTER_BITS, TALLY_BITS
from olivine.program.counters import NAMES, ROUND, Counters


def test_tallies_stay_at_their_largest_and_counters_wrap():
    counters, ends = Counters(PRESETS["tiny"]), {}
    first, second, *others = TALLIES

    async def run(ctx):
        ctx.set(counters.running, 1)
        await ctx.tick().repeat(ROUND)
        for name, value in ((first, (1 << TALLY_BITS) - 3), (second, (1 << TALLY_BITS) - 4),
                            ("array_useful", (1 << COUNTER_BITS) - 3)):
            ctx.set(counters.memory.data[NAMES.index(name)], value)
            ctx.set(counters.counts[name], 3)
        await ctx.tick()
        for name in (first, second, "array_useful"):
            ctx.set(counters.counts[name], 0)
        await ctx.tick().repeat(2 * ROUND)
        ends.update({name: ctx.get(counters.memory.data[index]) for index, name in enumerate(NAMES)})

    simulator = Simulator(counters)
    simulator.add_clock(1e-6)
    simulator.add_testbench(run)
    simulator.run()
    # Above a tally's bits the memory may hold anything.
    assert all(ends[name] % (1 << TALLY_BITS) == (1 << TALLY_BITS) - 1 for name in (first, second))
    assert ends["array_useful"] == 0
    assert all(ends[name] == 0 for name in others)
