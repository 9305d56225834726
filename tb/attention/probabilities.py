"""Store of probabilities: words come and go in order, and any of those held can be read.

Parameter: OLIVINE_CONFIG.
"""

import random
from collections import deque

import cocotb
from cocotb.triggers import RisingEdge
from olivine.attention.datapath import ProbabilityStore

from tb.attention.jobs import CONFIG, LANES, unit_ports
from tb.streams import start

WORDS = CONFIG.contexts * LANES
"""Words of C units."""

WIDTH = unit_ports(ProbabilityStore, "i").size


@cocotb.test()
@cocotb.parametrize(rates=[(1, 1), (0.5, 0.5), (0.2, 0.9), (0.9, 0.2), (1, 0.8)])
async def keeps_what_it_holds(dut, rates):
    """Words at some rates in and out, never more than there is room for, all of which it takes; many times around."""
    rng = random.Random(f"{rates}")
    dut.i_valid.value = dut.i.value = dut.offset.value = dut.release.value = 0
    await start(dut)
    held, asked, most, turns = deque(), None, 0, 0
    while turns < 12 * WORDS:
        enters, leaves = len(held) < WORDS and rng.random() < rates[0], bool(held) and rng.random() < rates[1]
        word = rng.getrandbits(WIDTH)
        offset = rng.choice((0, len(held) - 1, rng.randrange(len(held)))) if held else rng.randrange(WORDS)
        dut.i_valid.value, dut.i.value = int(enters), word
        dut.offset.value, dut.release.value = offset, int(leaves)
        await RisingEdge(dut.clk)
        assert int(dut.level.value) == len(held)
        assert asked is None or int(dut.o.value) == asked, (int(dut.o.value), asked)
        asked = held[offset] if held else None
        if leaves:
            held.popleft()
        if enters:
            held.append(word)
            turns += 1
        most = max(most, len(held))
    assert most == WORDS or rates[0] <= rates[1]
