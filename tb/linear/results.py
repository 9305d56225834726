"""Results: the walk over their blocks, and the packer of words into beats.

Parameters: OLIVINE_CONFIG, OLIVINE_UNIT ("blocks" or "packer").
"""

import os
import random

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge
from olivine.linear.descriptor import RowFormat
from olivine.linear.epilogue import RESULT_BITS, result_layout
from olivine.linear.results import ResultPacker, block_layout
from olivine_golden.plan import ResultBlock
from olivine_host.jobs import pack_rows

from tb.linear.jobs import CONFIG, plan_bits, random_job
from tb.linear.walk import Walk, at_full_speed, beginning, ragged
from tb.streams import PAIRS, PATTERNS, StreamChecker, StreamSink, StreamSource, cycle, pack, start, unpack

ROWS, LANES, COLUMNS, BUS = CONFIG.rows, CONFIG.lanes, CONFIG.drain_columns, CONFIG.bus_bytes
BLOCK, WORD = block_layout(CONFIG), result_layout(CONFIG)
PACKER = ResultPacker(CONFIG)
BEATS = PACKER.signature.members["o"].signature.members["payload"].shape


def payload(block):
    return {"lanes": block.lanes, "rows": block.rows}


# --- Blocks -------------------------------------------------------------------------------------------

def walk(dut, pair=("always", "always")):
    return Walk(dut, lambda job: job.result_blocks(), {"o_block": (BLOCK, payload)}, "o_command", pair)


async def walks_ragged_jobs(dut, pair):
    """Also: ``done`` rises in the cycle after the last block was announced on both ports."""
    bench = walk(dut, pair)
    await ragged(bench, pair, jobs=1)
    assert dut.done.value == 1
    job = random_job(random.Random(f"done {pair}"))
    await bench.begin(job)
    count = len(list(job.result_blocks()))
    await RisingEdge(dut.clk)
    while True:
        await RisingEdge(dut.clk)
        if dut.done.value == 1:
            break
    for sink in bench.sinks.values():
        assert len(sink.received) == bench.announced + count
    assert max(sink.cycles[-1] for sink in bench.sinks.values()) == cycle() - 1
    await bench.compare(job, list(job.result_blocks()))


async def walks_at_full_speed(dut):
    await at_full_speed(walk(dut))


async def begins_large_jobs(dut, seed):
    await beginning(walk(dut, ("half", "always")), seed)
    assert dut.done.value == 0


# --- Packer -------------------------------------------------------------------------------------------

class Packer:
    """Sends words of results while there is credit, and collects beats.

    Attributes
    ----------
    credits : int
        Words that there is room for.
    """

    def __init__(self, dut, patterns=("always", "always", "always"), seed=0):
        self.dut, self.rng = dut, random.Random(f"{seed}")
        self.willing = PATTERNS[patterns[0]](1)
        self.blocks = StreamSource(dut, "i_block", patterns[1], seed=2)
        self.sink = StreamSink(dut, "o", patterns[2], seed=3)
        StreamChecker(dut, "o")
        self.credits = PACKER.depth
        dut.plan.value = dut.i_valid.value = dut.i.value = 0

    def results(self, block, y_format):
        """Random results of a block: its words, with noise where nothing exists, and its bytes."""
        limit = 1 << y_format.bits - 1
        values = [[self.rng.randrange(-limit, limit) for _ in range(block.lanes)] for _ in range(block.rows)]
        words = []
        for first in range(0, block.lanes, COLUMNS):
            words.append(pack(WORD, [[
                values[row][lane] if row < block.rows and lane < block.lanes
                else self.rng.randrange(-1 << RESULT_BITS - 1, 1 << RESULT_BITS - 1) for row in range(ROWS)]
                for lane in range(first, first + COLUMNS)]))
        return words, pack_rows(np.array(values), ROWS, y_format)

    async def cycle(self, word=None):
        dut = self.dut
        dut.i_valid.value = int(word is not None)
        dut.i.value = self.rng.getrandbits(WORD.size) if word is None else word
        await RisingEdge(dut.clk)
        # A word counts from the cycle in which it is sent; what leaves makes room in the cycle after.
        self.credits += int(dut.credit.value) - (word is not None)
        assert self.credits <= PACKER.depth, "more words left than came"

    async def send(self, words):
        for word in words:
            while not (self.credits and next(self.willing)):
                await self.cycle()
            await self.cycle(word)

    async def take(self, images):
        """Wait for the packets of blocks, and compare their bytes."""
        for image in images:
            for first in range(0, len(image), BUS):
                part = image[first:first + BUS]
                while not (got := self.sink.received):
                    await self.cycle()
                beat = unpack(BEATS, got.pop(0))
                assert bytes(beat["data"][:beat["count"]]) == part, (first, beat, part)
                assert beat["count"] == len(part) and beat["last"] == (first + BUS >= len(image))
        for _ in range(10):
            await self.cycle()
        assert not self.sink.received and self.credits == PACKER.depth


def any_blocks(rng, count):
    return [ResultBlock(0, 0, rng.choice((1, LANES, rng.randint(1, LANES))),
                        rng.choice((ROWS, rng.randint(1, ROWS)))) for _ in range(count)]


async def packs_blocks(dut, pair):
    """Blocks of any size, in every format, under stalls of the epilogue, of the blocks and of the bus."""
    bench = Packer(dut, (pair[0], pair[1], pair[1]), pair)
    begun = False
    for y_format in RowFormat:
        dut.plan.value = plan_bits(random_job(bench.rng, y_format=y_format))
        if not begun:
            await start(dut)
            begun = True
        blocks = any_blocks(bench.rng, 12)
        results = [bench.results(block, y_format) for block in blocks]
        bench.blocks.push(pack(BLOCK, payload(block)) for block in blocks)
        await bench.send([word for words, _ in results for word in words])
        await bench.take([image for _, image in results])


async def packs_jobs(dut):
    """The blocks of jobs, in their order."""
    bench = Packer(dut, ("bursty", "always", "bursty"))
    for index in range(3):
        job = random_job(bench.rng)
        dut.plan.value = plan_bits(job)
        if not index:
            await start(dut)
        blocks = list(job.result_blocks())
        results = [bench.results(block, job.y_format) for block in blocks]
        bench.blocks.push(pack(BLOCK, payload(block)) for block in blocks)
        await bench.send([word for words, _ in results for word in words])
        await bench.take([image for _, image in results])


async def holds_what_credits_say(dut):
    """While no beat leaves, all words that there is credit for find room; none is lost."""
    stopped = True
    bench = Packer(dut, ("always", "always", lambda seed: iter(lambda: not stopped, None)))
    job = random_job(bench.rng, m=2 * ROWS, n=LANES, y_format=RowFormat.INT16)
    dut.plan.value = plan_bits(job)
    await start(dut)
    blocks = [ResultBlock(0, 0, LANES, ROWS)] * 12
    results = [bench.results(block, RowFormat.INT16) for block in blocks]
    words = [word for words, _ in results for word in words]
    # Nobody has said what the words are: they stay.
    for word in words[:PACKER.depth]:
        await bench.cycle(word)
    for _ in range(30):
        await bench.cycle()
    assert bench.credits == 0
    # Now some of them leave for the gearbox, and as many are sent after them; the bus still stands.
    bench.blocks.push(pack(BLOCK, payload(block)) for block in blocks)
    sent = PACKER.depth
    for _ in range(60):
        full = not bench.credits
        await bench.cycle(None if full else words[sent])
        sent += not full
    assert PACKER.depth < sent < len(words) and bench.credits == 0
    stopped = False
    await bench.send(words[sent:])
    await bench.take([image for _, image in results])


async def one_channel_a_cycle(dut):
    """Full rows of one-byte results: the bus never waits for the packer."""
    bench = Packer(dut)
    job = random_job(bench.rng, y_format=RowFormat.INT8)
    dut.plan.value = plan_bits(job)
    await start(dut)
    blocks = [ResultBlock(0, 0, LANES, ROWS)] * 20
    results = [bench.results(block, RowFormat.INT8) for block in blocks]
    bench.blocks.push(pack(BLOCK, payload(block)) for block in blocks)
    begin = cycle()
    await bench.send([word for words, _ in results for word in words])
    beats = sum(-(-len(image) // BUS) for _, image in results)
    while len(bench.sink.received) < beats:
        await bench.cycle()
    cycles = bench.sink.cycles[-1] - begin
    channels = 20 * LANES
    assert channels <= cycles <= channels + 12, (cycles, channels)
    await bench.take([image for _, image in results])


# A unit that stands still fails, and does not wait for ever.
test = cocotb.test(timeout_time=500, timeout_unit="us")

if os.environ["OLIVINE_UNIT"] == "blocks":
    walks_ragged_jobs = test(cocotb.parametrize(pair=PAIRS)(walks_ragged_jobs))
    walks_at_full_speed = test(walks_at_full_speed)
    begins_large_jobs = test(cocotb.parametrize(seed=range(8))(begins_large_jobs))
else:
    packs_blocks = test(cocotb.parametrize(pair=PAIRS[::3])(packs_blocks))
    packs_jobs = test(packs_jobs)
    holds_what_credits_say = test(holds_what_credits_say)
    one_channel_a_cycle = test(one_channel_a_cycle)
