"""The block pool against golden: every answer, and ``free`` in every cycle.

Parameters: OLIVINE_BLOCKS (that there are), OLIVINE_COUNTS_BITS, OLIVINE_LATENCY, OLIVINE_INTERVAL.
"""

import os
import random

import cocotb
from cocotb.triggers import ClockCycles, RisingEdge
from olivine.kvcache.formats import BLOCK_BITS, PoolAnswer, PoolCommand, PoolOp, PoolStatus
from olivine_golden.block_pool import BlockPool

from tb.streams import StreamChecker, StreamSink, StreamSource, pack, start, unpack, valid_without_ready

BLOCKS, COUNTS_BITS, LATENCY, INTERVAL = (
    int(os.environ[f"OLIVINE_{name}"]) for name in ("BLOCKS", "COUNTS_BITS", "LATENCY", "INTERVAL"))
OPERATIONS = 2_000
MOODS = {
    "fill": (.8, .15, .05),
    "empty": (.05, .15, .8),
    "share": (.1, .8, .1),
    "churn": (.4, .1, .5),
}
"""Shares of ALLOC, RETAIN and RELEASE, for a while each, so that the pool and its counts reach both ends."""


def operations(pool, count, seed):
    """Operations, their answers, the free blocks after each and, of a block retained or released, the users before;
    golden does them as they are chosen."""
    rng, made = random.Random(seed), []
    for number in range(count):
        if number % (8 * BLOCKS) == 0:
            mood = rng.choice(list(MOODS))
            favourite = rng.randrange(BLOCKS)
        op = rng.choices(list(PoolOp), MOODS[mood])[0]
        held = [block for block, users in enumerate(pool.counts) if users]
        block = rng.choice([favourite, *held] * 3 + [rng.randrange(BLOCKS), BLOCKS, rng.getrandbits(BLOCK_BITS)])
        users = None if op is PoolOp.ALLOC or block >= BLOCKS else pool.counts[block]
        made.append(({"op": op, "block": block}, pool.do(op, block), pool.free, users))
    return made


class Bench:
    def __init__(self, dut, idle="always", stall="always"):
        self.dut, self.pool = dut, BlockPool(BLOCKS, COUNTS_BITS)
        self.source, self.sink = StreamSource(dut, "i", idle, 1), StreamSink(dut, "o", stall, 2)
        self.checkers = StreamChecker(dut, "i"), StreamChecker(dut, "o")
        self.free, self.after, self.users = BLOCKS, [], []
        dut.size.value = BLOCKS
        cocotb.start_soon(self._watch())

    async def _watch(self):
        """``free`` is that after the operation whose answer is, or was last, offered."""
        await RisingEdge(self.dut.clk)
        while self.dut.rst.value != 0:
            await RisingEdge(self.dut.clk)
        taken = 0
        while True:
            if self.dut.rst.value == 1:
                self.free = BLOCKS
                await RisingEdge(self.dut.clk)
                continue
            valid = self.dut.o__valid.value == 1
            if valid:
                self.free = self.after[taken]
                if self.users[taken] is not None:
                    assert int(self.dut.users.value) == self.users[taken], f"users, at answer {taken}"
            assert int(self.dut.free.value) == self.free, f"free, at answer {taken}"
            taken += valid and self.dut.o__ready.value == 1
            await RisingEdge(self.dut.clk)

    async def run(self, made):
        """Send commands and compare the answers with golden's."""
        self.after += [free for _, _, free, _ in made]
        self.users += [users for *_, users in made]
        self.source.push([pack(PoolCommand, command) for command, *_ in made])
        answers = await self.sink.collect(len(made), timeout=40 * len(made))
        for number, ((command, golden, *_), bits) in enumerate(zip(made, answers)):
            assert unpack(PoolAnswer, bits) == golden._asdict(), (number, command, golden)


@cocotb.test
@cocotb.parametrize(patterns=[("always", "always"), ("half", "half"), ("bursty", "bursty"), ("always", "rare"),
                              ("rare", "always"), ("always", "alternate")])
async def random_operations(dut, patterns):
    bench = Bench(dut, *patterns)
    await start(dut)
    made = operations(bench.pool, OPERATIONS, " ".join(patterns))
    await bench.run(made)
    assert {answer.status for _, answer, *_ in made} == set(PoolStatus)
    assert {free for _, _, free, _ in made} == set(range(BLOCKS + 1)), "empty, full and all between"
    assert {answer.freed for _, answer, *_ in made} == {0, 1}
    for checker in bench.checkers:
        assert checker.transfers == OPERATIONS


@cocotb.test
async def timing(dut):
    """A command every other cycle, and the answer two cycles after it."""
    bench = Bench(dut)
    await start(dut)
    await bench.run(operations(bench.pool, 200, 3))
    taken, answered = bench.source.cycles, bench.sink.cycles
    assert {after - before for before, after in zip(taken, taken[1:])} == {INTERVAL}
    assert {after - before for before, after in zip(taken, answered)} == {LATENCY}


@cocotb.test
async def reset_empties_memories_that_were_used(dut):
    bench = Bench(dut)
    await start(dut)
    for seed in range(6):
        await bench.run(operations(bench.pool, 15 * BLOCKS, seed))
        bench.pool = BlockPool(BLOCKS, COUNTS_BITS)
        dut.rst.value = 1
        await RisingEdge(dut.clk)
        dut.rst.value = 0


@cocotb.test
async def no_such_operation(dut):
    """Refused, and nothing changes."""
    bench = Bench(dut)
    await start(dut)
    await bench.run(operations(bench.pool, 50, 4))
    for block in range(BLOCKS + 1):
        bench.after.append(bench.free)
        bench.users.append(None)
        bench.source.push(block << PoolCommand["block"].offset | 3)
        answer, = await bench.sink.collect(1)
        assert unpack(PoolAnswer, answer) == {"status": PoolStatus.BAD_BLOCK, "block": block, "freed": 0}
    await bench.run(operations(bench.pool, 200, 5))


@cocotb.test
async def a_stalled_answer_holds_one_command_behind_it(dut):
    dut.size.value = BLOCKS
    source = StreamSource(dut, "i")
    for name in ("i", "o"):
        StreamChecker(dut, name)
    source.push([pack(PoolCommand, {"op": PoolOp.ALLOC})] * 4)
    dut.o__ready.value = 0
    await start(dut)
    await valid_without_ready(dut, "o")
    await ClockCycles(dut.clk, 20)
    assert len(source.sent) == 2
    assert int(dut.free.value) == BLOCKS - 1, "the one behind has not been done yet"
    sink = StreamSink(dut, "o")
    answers = [unpack(PoolAnswer, bits) for bits in await sink.collect(4)]
    assert [answer["block"] for answer in answers] == [block if block < BLOCKS else 0 for block in range(4)]
