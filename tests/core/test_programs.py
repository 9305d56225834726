"""Random programs of all units on the whole core: memory, scratchpad, tallies and results are golden's."""

import numpy as np
import pytest
from olivine.olive.formats import LaneFormat

from tests.core.arena import Arena
from tests.core.rig import Host

FORMATS = [(LaneFormat.INT8, LaneFormat.INT8), (LaneFormat.OVP4_INT, LaneFormat.OVP4_FLINT),
           (LaneFormat.INT8, LaneFormat.OVP4_INT)]


class Pair:
    """An arena, and the core beside it."""

    def __init__(self, core, seed):
        self.core, self.arena = core, Arena(core.config, seed, FORMATS[seed % len(FORMATS)])
        self.host = Host(core, [(0, self.arena.memory_bytes - 1, 3)])
        self.arena.fill(*self.arena.scratch)
        self.settle()
        core.write((0, self.arena.image()))
        self.run(self.arena.copy_scratchpad(back=True))
        self.arena.set_up()
        self.play()

    def settle(self):
        """Golden's copy of the scratchpad is as the core's will be."""
        self.arena.put(self.arena.copy.address, self.arena.get(*self.arena.scratch))

    def run(self, program):
        outcome = self.host.run(self.arena.code.address, program)
        assert outcome.ok, f"{outcome} {listed(self.arena)[outcome.index:outcome.index + 1]}"
        return outcome

    def play(self, extra_waits=0.0):
        """Run what was drawn as one program, and compare."""
        arena = self.arena
        self.core.write((arena.tables.address, arena.get(arena.tables.address, arena.tables.size)))
        outcome = self.run(arena.pack(extra_waits))
        assert (self.host.tallies(), outcome.result) == (arena.tallies, arena.result)
        assert sum(outcome.completed.values()) == len(arena.program)
        self.compare(arena.image(), arena.get(*arena.scratch), "the program")
        arena.begin()
        return outcome

    def play_apart(self):
        """Run what was drawn (with `watch`) instruction by instruction, and compare after each."""
        arena = self.arena
        self.core.write((arena.tables.address, arena.get(arena.tables.address, arena.tables.size)))
        image = arena.pack()
        for index, (memory, scratch) in enumerate(arena.after):
            alone = bytearray(image[64 * index:64 * index + 64])
            alone[1:12] = bytes([1]) + bytes(10)     # the last one, which waits for nobody
            self.run(bytes(alone))
            # Tables of later instructions are in memory already.
            self.compare(memory, scratch, f"instruction {index}, {arena.program.instructions[index]}",
                         arena.tables.end)
        arena.begin()

    def compare(self, memory, scratch, what, first=None):
        arena = self.arena
        first = arena.code.end if first is None else first
        self.run(arena.copy_scratchpad())
        self.settle()
        got = np.frombuffer(self.core.read(0, arena.memory_bytes), np.uint8)
        want = np.frombuffer(memory, np.uint8).copy()
        copy = slice(arena.copy.address, arena.copy.address + arena.copy.size)
        want[copy] = np.frombuffer(scratch, np.uint8)
        differs = np.flatnonzero(got[first:] != want[first:]) + first
        assert not differs.size, (what, [hex(at) for at in differs[:8]], len(differs), listed(arena))


def listed(arena):
    return [(index, instruction.kind, {name: hex(value) if isinstance(value, int) else value
                                       for name, value in instruction.fields.items()})
            for index, instruction in enumerate(arena.program.instructions)]


def play(core, seed, programs, apart=0):
    pair = Pair(core, seed)
    arena = pair.arena
    kinds = set()
    for number in range(programs + apart):
        arena.watch = number >= programs
        size = arena.rng.choice((3, 12, 30, 50))
        while len(arena.program) < size and not arena.full:
            arena.draw()
        kinds |= {instruction.kind for instruction in arena.program.instructions}
        if arena.watch:
            pair.play_apart()
        else:
            pair.play(extra_waits=arena.rng.choice((0, 0, 0.2, 0.5)))
    return kinds


@pytest.mark.parametrize("seed, stall", [(1, 0), (2, 40), (3, 0)])
def test_programs(core, seed, stall):
    core.stall(stall)
    kinds = play(core, seed, 13, apart=int(seed == 1))
    assert kinds >= {"linear", "attention", "append", "cache", "vector"}, kinds


@pytest.mark.parametrize("seed, stall", [(4, 0), *(pytest.param(seed, 20 * (seed % 3), marks=pytest.mark.slow)
                                                  for seed in range(200, 210))])
def test_words_in_parts(parts_core, seed, stall):
    """The same with `vector_cycles` above 1."""
    parts_core.stall(stall)
    play(parts_core, seed, 13)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_many_programs(core, seed):
    """About 500 programs, 12,000 instructions."""
    core.stall((0, 20, 60)[seed % 3])
    assert "score" in play(core, 100 + seed, 48, apart=4)
