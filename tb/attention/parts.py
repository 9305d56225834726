"""Partial results: the walk over their records, and the loader that unpacks them.

Parameters: OLIVINE_CONFIG, OLIVINE_UNIT ("addresses" or "loader").
"""

import os
import random
from collections import deque

import cocotb
from cocotb.triggers import RisingEdge
from olivine.attention.descriptor import partial_words
from olivine.attention.layout import O_BITS, SUM_BITS
from olivine.attention.parts import PartLoader
from olivine.attention.state import EMPTY_MAXIMUM
from olivine.memory.realign import words

from tb.attention.jobs import BUS, CONFIG, LANES, ROWS, random_merge, unit_ports
from tb.attention.walk import Walk
from tb.streams import PAIRS, StreamChecker, StreamSource, cycle, pack, start, unpack

PART = unit_ports(PartLoader, "i_part")
STATE, WORD = unit_ports(PartLoader, "o_state"), unit_ports(PartLoader, "o")
ROOM = 2 * LANES
"""Words of results that fit their queue."""


def part_fields(part):
    """A golden record as the loader is told of it."""
    return {"bank": part.bank, "context": part.context, "first": int(part.first), "final": int(part.final),
            "rows": part.rows, "address": part.address}


# --- Addresses ----------------------------------------------------------------------------------------

def walk(dut, pair=("always", "always")):
    return Walk(dut, lambda job: job.parts(), {"o_part": (PART, part_fields)}, pair, pages=True)


async def walks_any_job(dut, pair):
    bench, rng = walk(dut, pair), random.Random(f"walk {pair}")
    for _ in range(3):
        await bench.walk(random_merge(rng))


async def walks_many_parts(dut):
    """More parts than a job has pages, of every head dimension."""
    bench, rng = walk(dut), random.Random("many")
    for head_dim in range(8, CONFIG.max_head_dim + 1, 8):
        await bench.walk(random_merge(rng, rows=ROWS * CONFIG.contexts + 1, parts=rng.choice((1, 2, 40)),
                                      head_dim=head_dim))


async def a_record_in_three_cycles(dut):
    """The records of a chunk in one part follow one another in three cycles; a cycle more between parts."""
    bench, rng = walk(dut), random.Random("speed")
    job = random_merge(rng, groups=1, rows=ROWS * CONFIG.contexts, parts=9, head_dim=8)
    count = await bench.walk(job)
    for sink in bench.sinks.values():
        cycles = sink.cycles[-count:]
        assert cycles[-1] - cycles[0] == 3 * (count - 1) + 8


# --- Loader -------------------------------------------------------------------------------------------

class Record:
    """The content of one record: its bytes, and what they mean by row."""

    def __init__(self, rng, part, head_dim):
        self.part = part
        self.m = [rng.choice((-128, 128, rng.randint(-128, 128))) for _ in range(part.rows)]
        self.l = [rng.getrandbits(SUM_BITS) for _ in range(part.rows)]  # noqa: E741 - its name in the formulas
        top = 1 << O_BITS - 1
        self.o = [[rng.choice((-top, top - 1, rng.randrange(-top, top))) for _ in range(part.rows)]
                  for _ in range(head_dim)]
        halves = [*self.m, *(value >> 16 * half for half in (0, 1) for value in self.l)]
        halves += [value >> 16 * plane for values in self.o for plane in range(3) for value in values]
        self.bytes = b"".join((half & 0xffff).to_bytes(2, "little") for half in halves)
        assert len(self.bytes) == 2 * part.rows * partial_words(head_dim) == part.bytes

    def state(self):
        """What it adds to the running state: a row without a token has seen nothing."""
        missing = ROWS - self.part.rows
        return self.m + [EMPTY_MAXIMUM] * missing, self.l + [0] * missing

    def word(self, dim):
        return self.o[dim] + [0] * (ROWS - self.part.rows)


class Loader:
    """The loader, sources of beats and records, and what takes its words: a running state and a queue of results.

    Parameters
    ----------
    patterns : tuple of str
        Of the beats, and of the records.
    ready, credit : float
        Probability by cycle that the running state has its factors, and that a word of results leaves.
    """

    def __init__(self, dut, patterns=("always", "always"), ready=0.3, credit=1, seed=0):
        self.dut, self.rng, self.ready, self.credit = dut, random.Random(f"{seed}"), ready, credit
        self.beats = StreamSource(dut, "i", patterns[0], seed=1)
        self.parts = StreamSource(dut, "i_part", patterns[1], seed=2)
        StreamChecker(dut, "i"), StreamChecker(dut, "i_part")
        dut.unit_ready.value = dut.credit_return.value = 0
        self.events = deque()       # what must come: ("state", record), ("word", record, dim)
        self.owed = False           # the factors of the last state are awaited
        self.out, self.cycles = 0, []

    def push(self, job):
        for part in job.parts():
            record = Record(self.rng, part, job.head_dim)
            self.parts.push(pack(PART, part_fields(part)))
            image = record.bytes
            for first in range(0, len(image), BUS):
                some = image[first:first + BUS]
                self.beats.push(pack(words(BUS), {"data": [*some, *self.rng.randbytes(BUS - len(some))],
                                                  "count": len(some), "last": int(first + BUS >= len(image))}))
            self.events.append(("state", record, None))
            self.events += [("word", record, dim) for dim in range(job.head_dim)]

    async def cycle(self):
        dut, rng = self.dut, self.rng
        ready, credit = self.owed and rng.random() < self.ready, self.out > 0 and rng.random() < self.credit
        dut.unit_ready.value, dut.credit_return.value = int(ready), int(credit)
        await RisingEdge(dut.clk)
        state, word = unpack(STATE, int(dut.o_state.value) if dut.o_state.value.is_resolvable else 0), None
        if int(dut.o.value) & 1:
            word = unpack(WORD, int(dut.o.value))
        if state["valid"]:
            kind, record, _ = self.events.popleft()
            part, tag = record.part, state["tag"]
            assert kind == "state", "a state before all words of the record before"
            assert (state["m"], state["l"]) == record.state(), (state, record.state())
            got = [tag[name] for name in ("bank", "context", "first", "final")]
            assert got == [part.bank, part.context, part.first, part.final], (tag, part)
            self.owed = True
        elif word:
            kind, record, dim = self.events.popleft()
            part, tag = record.part, word["tag"]
            assert kind == "word" and not self.owed, "a word before the factors"
            assert (word["addr"], word["value"]) == (part.address + dim, record.word(dim)), (word, record.word(dim))
            got = [tag[name] for name in ("bank", "first", "final")]
            assert got == [part.bank, part.first, part.final], (tag, part)
            self.out += part.final
            assert self.out <= ROOM, "the results overflow their queue"
            self.cycles.append(cycle())
        self.out -= credit
        if ready:
            self.owed = False

    async def run(self, timeout=30_000):
        for _ in range(timeout):
            if not self.events:
                break
            await self.cycle()
        assert not self.events, "the loader stands still"
        for _ in range(30):
            await self.cycle()
        await self.parts.drained(1)


async def loads_jobs(dut, pair):
    bench = Loader(dut, pair, seed=f"jobs {pair}", credit=0.2 if "half" in pair else 1)
    await start(dut)
    for _ in range(2):
        bench.push(random_merge(bench.rng, groups=1, parts=bench.rng.randint(1, 3),
                                rows=bench.rng.randint(1, ROWS * CONFIG.contexts)))
        await bench.run()


async def loads_all_row_counts(dut):
    """Records of every number of rows, one after the other."""
    bench = Loader(dut, seed="rows", ready=1)
    await start(dut)
    for rows in range(1, 2 * ROWS + 1):
        for head_dim in (8, CONFIG.max_head_dim):
            bench.push(random_merge(bench.rng, groups=1, rows=rows, parts=2, head_dim=head_dim))
    await bench.run()


async def waits_for_factors_and_room(dut):
    """No word before the factors; in final records as many as there is room for."""
    bench = Loader(dut, seed="room", ready=0, credit=0)
    await start(dut)
    job = random_merge(bench.rng, groups=1, rows=ROWS * CONFIG.contexts, parts=1, head_dim=CONFIG.max_head_dim)
    bench.push(job)
    for _ in range(60):
        await bench.cycle()
    assert bench.owed and not bench.cycles
    bench.ready = 1
    for _ in range(3 * ROOM + 400):
        await bench.cycle()
    assert len(bench.cycles) == ROOM < len(job.chunks()[0].rows) * job.head_dim
    bench.credit = 1
    await bench.run()


async def a_word_in_three_cycles(dut):
    bench = Loader(dut, ready=1, seed="speed")
    await start(dut)
    job = random_merge(bench.rng, groups=1, rows=ROWS, parts=1, head_dim=CONFIG.max_head_dim)
    bench.push(job)
    await bench.run()
    apart = [after - before for before, after in zip(bench.cycles, bench.cycles[1:])]
    # A word of P int16 takes as many beats as it fills.
    assert set(apart) == {3 * max(1, 2 * ROWS // BUS)}, apart


# A unit that stands still fails, and does not wait for ever.
test = cocotb.test(timeout_time=500, timeout_unit="us")

if os.environ["OLIVINE_UNIT"] == "addresses":
    walks_any_job = test(cocotb.parametrize(pair=PAIRS[::2])(walks_any_job))
    walks_many_parts = test(walks_many_parts)
    a_record_in_three_cycles = test(a_record_in_three_cycles)
else:
    loads_jobs = test(cocotb.parametrize(pair=PAIRS[::3])(loads_jobs))
    loads_all_row_counts = test(loads_all_row_counts)
    waits_for_factors_and_room = test(waits_for_factors_and_room)
    a_word_in_three_cycles = test(a_word_in_three_cycles)
