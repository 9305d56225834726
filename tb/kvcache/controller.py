"""The cache's controller against golden: random operations, events and lookups.

Parameters: OLIVINE_CONFIG, OLIVINE_BLOCKS (of the pool that there are), OLIVINE_OPERATIONS, OLIVINE_EVERY (so many
operations everything is compared).
"""

import os

import cocotb
from olivine.kvcache.descriptor import CacheStatus

from tb.kvcache.controller_machine import Machine
from tb.streams import StreamChecker

OPERATIONS = int(os.environ.get("OLIVINE_OPERATIONS", "300"))
PATTERNS = ("always", "half", "always", "bursty", "rare", "always", "alternate", "always")
"""In turn, for every stream."""
EVERY = int(os.environ.get("OLIVINE_EVERY", "20"))
STREAMS = ("command", "answer", "lookup", "found", "event", "o_move", "i_moved")


@cocotb.test
async def random_operations(dut):
    machine = Machine(dut, seed=OPERATIONS)
    checkers = [StreamChecker(dut, name) for name in STREAMS] if OPERATIONS <= 1000 else []
    await machine.start()
    for count in range(OPERATIONS):
        if count % 50 == 0:
            machine.ports.use(PATTERNS[count // 50 % len(PATTERNS)])
        await machine.step(thorough=count % EVERY == 0)
    await machine.compare_all()
    dut._log.info(f"{OPERATIONS} operations, {machine.ports.now} cycles, {machine.ports.asked} lookups: "
                  + ", ".join(f"{status.name} {count}" for status, count in machine.statuses.most_common()))
    dut._log.info(", ".join(f"{count} {event}" for event, count in sorted(machine.events.items())))
    if OPERATIONS >= 5000:
        assert set(machine.statuses) == set(CacheStatus), "every status is reached"
        assert min(machine.statuses.values()) >= 10
    assert all(checker.transfers for checker in checkers)
