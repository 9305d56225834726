"""Malformed programs on the whole core: it never hangs, says what golden says, writes nothing else, and goes on."""

import numpy as np
import pytest
from olivine.control.job import StatusCode
from olivine.vector.descriptor import VectorOp
from olivine_host.compiler.program import Program

from tests.core.arena import Arena
from tests.core.malformed import GUARDED, Snapshot, destinations, fault_of_moves, judge, racy, reach, spoil
from tests.core.rig import Host


class Spoilt:
    """An arena with a sequence that all malformed programs leave alone, unless they happen to name it."""

    def __init__(self, core, seed):
        self.core, self.arena = core, Arena(core.config, seed)
        arena = self.arena
        self.host = Host(core, [(0, arena.memory_bytes - 1, 3)], timeout=3_000)
        arena.fill(*arena.scratch)
        arena.put(arena.copy.address, arena.get(*arena.scratch))
        self.first = arena.image()
        arena.set_up()
        while len(arena.live) < 2:
            arena.open()
        bystander, victim = arena.live[:2]
        arena.live = [bystander]
        arena._step()
        self.bystander, arena.live = bystander, [victim]
        arena._step()
        arena.untouched = {self.bystander[0].slot}
        self.prologue = arena.pack(), arena.get(arena.tables.address, arena.tables.size)
        self.snapshot = Snapshot(arena)
        self.seen = {}
        self.renew()

    def renew(self):
        """A reset, and the prologue."""
        arena = self.arena
        self.host.reset()
        self.core.write((0, self.first))
        assert self.host.run(arena.code.address, arena.copy_scratchpad(back=True)).ok
        self.core.write((arena.tables.address, self.prologue[1]))
        outcome = self.host.run(arena.code.address, self.prologue[0])
        assert outcome.ok, outcome
        self.snapshot.restore(arena)

    def trial(self):
        arena, rng = self.arena, self.arena.rng
        arena.begin()
        while len(arena.program) < rng.choice((1, 4, 10)):
            arena.draw()
        good = arena.pack(extra_waits=0.2)
        tables = arena.get(arena.tables.address, arena.tables.size)
        self.snapshot.restore(arena)
        bad, spoilt = spoil(rng, good, tables, arena.at_table - arena.tables.address)
        arena.put(arena.tables.address, spoilt)
        # Addresses that went wrong may lead to the program itself.
        arena.put(arena.code.address, bad)
        undefined = racy(arena, good, bad)
        self.core.write((arena.tables.address, spoilt))
        outcome = self.host.run(arena.code.address, bad)
        assert not outcome.hangs, f"{outcome} {bad.hex()}"
        self.judge(outcome, bad, undefined)

    def judge(self, outcome, bad, undefined):
        """Whether golden says the same, and memory is as it must be."""
        arena = self.arena
        guarded = outcome.code in GUARDED or fault_of_moves(outcome)
        verdict = judge(arena, bad, outcome.index if guarded else None)
        known = verdict.code is not None and not undefined
        kind = ("racy" if undefined else "guarded" if guarded and known else "unmodelled" if not known else
                verdict.code.name)
        self.seen[kind] = self.seen.get(kind, 0) + 1
        if known and guarded:
            assert verdict.code is StatusCode.OK, f"{verdict}, {outcome}"
            if outcome.code in GUARDED:
                low, size = arena.scratch
                end = outcome.address + reach(arena, bad, outcome.index)
                assert not low <= outcome.address < end <= low + size and not end < arena.memory_bytes - 4096, outcome
        elif known:
            told = (outcome.code, outcome.unit, outcome.index, outcome.detail)
            want = (verdict.code, verdict.unit, verdict.index, verdict.detail)
            assert told == want, f"{outcome}, golden: {verdict}"
        if known:
            first = len(bad) // 64 if outcome.ok else outcome.index
            self.compare(destinations(arena, bad, first))
        self.go_on()

    def compare(self, excluded):
        arena = self.arena
        got = np.frombuffer(self.core.read(0, arena.memory_bytes), np.uint8)
        differs = got != np.frombuffer(arena.image(), np.uint8)
        differs[:arena.code.end] = False
        differs[arena.copy.address:arena.copy.end] = False
        for address, size in excluded:
            differs[address:address + size] = False
        assert not differs.any(), [hex(at) for at in np.flatnonzero(differs)[:8]]

    def go_on(self):
        """The next program is right: at once, and then everything from the beginning."""
        program = Program()
        program.add("vector", {"op": VectorOp.LANES, "groups": 1, "channels": 16, "x": self.arena.parameters.address,
                               "y": self.arena.copy.address, "last_lane": self.core.config.rows - 1})
        after = self.host.run(self.arena.code.address, program.pack())
        assert after.ok, after
        size = 16 * self.arena.word
        assert self.core.read(self.arena.copy.address, size) == self.core.read(self.arena.parameters.address, size)
        self.renew()


def run(core, seed, trials):
    spoilt = Spoilt(core, seed)
    for _ in range(trials):
        spoilt.trial()
    return spoilt.seen


def test_malformed(core):
    seen = run(core, 1, 40)
    assert len(seen) >= 4 and seen.get("BAD_FIELD", 0) > 3, seen
    assert seen.get("unmodelled", 0) + seen.get("racy", 0) < 20, seen


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_much_malformed(core, seed):
    """10,000 programs in all."""
    run(core, 100 + seed, 500)
