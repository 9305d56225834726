"""Row operands: the walk over their blocks, and the loader that unpacks them.

Parameters: OLIVINE_CONFIG, OLIVINE_UNIT ("addresses", "loader", or "store": a loader with a scratchpad and blocks of
OLIVINE_DEPTH and OLIVINE_LONGEST words).
"""

import os
import random

import cocotb
from cocotb.triggers import RisingEdge
from olivine.config import CHANNEL_RUN, ROW_BITS
from olivine.linear.descriptor import RowFormat
from olivine.linear.rows import RowLoader, block_layout
from olivine_golden.plan import RowBlock
from olivine_golden.rounding import sat
from olivine_host.jobs import pack_rows

from tb.linear.jobs import CONFIG, random_job
from tb.linear.walk import Walk, at_full_speed, beginning, ragged
from tb.streams import PAIRS, PATTERNS, StreamChecker, StreamSource, cycle, pack, start, unpack

DEPTH = int(os.environ.get("OLIVINE_DEPTH", CONFIG.row_words))
LONGEST = int(os.environ.get("OLIVINE_LONGEST", CHANNEL_RUN))
BLOCK = block_layout(CONFIG, DEPTH)
MEMBERS = RowLoader(CONFIG, DEPTH, LONGEST).signature.members
BEATS, WORD = MEMBERS["i"].signature.members["payload"].shape, MEMBERS["o"].shape
ROWS, BUS = CONFIG.rows, CONFIG.bus_bytes


def payload(block):
    """A golden block as the loader is told of it."""
    return {"take": block.rows * (1 + block.wide), "wide": int(block.wide), "start": block.start,
            "first": int(block.first)}


# --- Addresses ----------------------------------------------------------------------------------------

def walk(dut, pair=("always", "always")):
    return Walk(dut, lambda job: job.row_blocks(), {"o_block": (BLOCK, payload)}, "o_command", pair)


async def walks_ragged_jobs(dut, pair):
    await ragged(walk(dut, pair), pair, jobs=2)


async def walks_at_full_speed(dut):
    await at_full_speed(walk(dut))


async def begins_large_jobs(dut, seed):
    await beginning(walk(dut, ("half", "always")), seed)


# --- Loader -------------------------------------------------------------------------------------------

class Chunk:
    """What one chunk brings: blocks, beats, and the words they become.

    Attributes
    ----------
    blocks, beats : list of int
        Payloads for the loader.
    words : list of (int, list of int)
        Scratchpad address and operands of each word, in the order of arrival.
    saturated : int
        Operands that do not fit.
    """

    def __init__(self, rng, blocks):
        self.blocks, self.beats, self.words, self.saturated = [], [], [], 0
        for block in blocks:
            x = [[self.operand(rng, block.wide) for _ in range(block.words)] for _ in range(block.rows)]
            image = pack_rows(x, ROWS, RowFormat.INT12 if block.wide else RowFormat.INT8)
            assert len(image) == block.bytes
            for first in range(0, len(image), BUS):
                part = image[first:first + BUS]
                self.beats.append(pack(BEATS, {"data": [*part, *rng.randbytes(BUS - len(part))],
                                               "count": len(part), "last": int(first + BUS >= len(image))}))
            self.blocks.append(pack(BLOCK, payload(block)))
            for index in range(block.words):
                column = [row[index] for row in x]
                fitting = [int(sat(value, ROW_BITS)) for value in column]
                self.saturated += sum(a != b for a, b in zip(column, fitting))
                self.words.append((block.start + index, fitting + [0] * (ROWS - block.rows)))

    @staticmethod
    def operand(rng, wide):
        if not wide:
            return rng.randint(-128, 127)
        return rng.choice((rng.randint(-2048, 2047), -2049, 2048, -2048, 2047, -32768, 32767,
                           rng.randint(-32768, 32767)))


def any_blocks(rng, count):
    """Blocks of all word sizes, one after the other: more mixed than a job's."""
    place = 0
    for index in range(count):
        rows, words = rng.randint(1, ROWS), rng.choice((1, 2, 3, rng.randint(1, 40)))
        wide = rng.random() < 0.5
        if place + words > CONFIG.row_words:
            return
        yield RowBlock(0, words * rows * (1 + wide), rows, words, wide, place, index == 0)
        place += words


class Loader:
    """Feeds chunks to the loader, and reads them back as the array does."""

    def __init__(self, dut, patterns=("always", "always"), seed=0):
        self.dut, self.rng = dut, random.Random(seed)
        self.beats = StreamSource(dut, "i", patterns[0], seed=1)
        self.blocks = StreamSource(dut, "i_block", patterns[1], seed=2)
        StreamChecker(dut, "i"), StreamChecker(dut, "i_block")
        self.saturated = 0
        self.asked = None       # word that ``o`` must be in this cycle
        self.known = 0          # words that are available at least
        self.taken = []         # cycles of the takes
        dut.chunk_done.value = dut.take.value = dut.addr.value = 0

    def push(self, chunk):
        self.blocks.push(chunk.blocks)
        self.beats.push(chunk.beats)

    async def cycle(self, read=None, new=False, take=False, done=False):
        """One cycle; returns how many words were available in it.

        Parameters
        ----------
        read : (int, list of int)
            Address and operands of the word to ask for.
        new : bool
            The word is the next to come: it counts only if it is there.
        """
        dut = self.dut
        dut.addr.value = self.rng.randrange(DEPTH) if read is None else read[0]
        dut.take.value, dut.chunk_done.value = int(take), int(done)
        await RisingEdge(dut.clk)
        if self.asked is not None:
            address, word = self.asked
            got = unpack(WORD, int(dut.o.value))
            assert got == word, f"cycle {cycle()}: word {address} is {got}, not {word}"
        available = int(dut.available.value)
        assert int(dut.any_available.value) == (available != 0)
        self.asked = None if new and not available else read
        self.known = available - take
        self.saturated += int(dut.saturated.value)
        if take:
            self.taken.append(cycle())
        return available

    async def meet(self, chunk, willing, linger):
        """Take a chunk's words in order, as they become available, and look at those before again.

        ``linger`` cycles pass after the last, in which nothing of the next chunk may come; at 0 the
        last word's first look is the chunk's last.
        """
        met, total, rng = 0, len(chunk.words), self.rng
        for _ in range(80 * total + 400):
            if met == total:
                break
            take, new = self.known > 0 and next(willing), rng.random() < 0.5
            read = chunk.words[met] if take or new else chunk.words[rng.randrange(met)] if met else None
            last = take and met == total - 1
            available = await self.cycle(read, take or new, take, done=last and not linger)
            assert met + available <= total, "words of the next chunk"
            met += take
        assert met == total, f"{met} of {total} words came"
        for index in range(linger):
            available = await self.cycle(rng.choice(chunk.words), done=index == linger - 1)
            assert available == 0, "words of the next chunk"

    async def run(self, chunks, pattern="always", linger=lambda: 0):
        willing = PATTERNS[pattern](3)
        for chunk in chunks:
            self.push(chunk)
        for chunk in chunks:
            await self.meet(chunk, willing, linger())
        for _ in range(3):
            assert await self.cycle() == 0
        assert self.saturated == sum(chunk.saturated for chunk in chunks)


def chunks_of(rng, job):
    """A job's blocks by chunk."""
    chunks = []
    for block in job.row_blocks():
        if block.first:
            chunks.append([])
        chunks[-1].append(block)
    return [Chunk(rng, blocks) for blocks in chunks]


async def loads_jobs(dut, pair):
    """Jobs of two or three chunks under stalls of the bus and of the array."""
    loader = Loader(dut, (pair[0], pair[1]), seed=f"jobs {pair}")
    await start(dut)
    rng = loader.rng
    job = random_job(rng, m=2 * CONFIG.chunk_rows + rng.randint(1, ROWS), k=rng.randint(1, 40))
    await loader.run(chunks_of(rng, job), pair[1], lambda: rng.choice((0, 1, 2, 40)))


async def loads_all_word_sizes_mixed(dut, pair):
    """Blocks of any row count and container, one after the other."""
    loader = Loader(dut, pair, seed=f"mixed {pair}")
    await start(dut)
    rng = loader.rng
    chunks = [Chunk(rng, any_blocks(rng, rng.randint(1, 8))) for _ in range(4)]
    await loader.run(chunks, "always", lambda: rng.choice((0, 3)))


async def loads_long_runs(dut):
    """The longest reduction, in both containers."""
    loader = Loader(dut, seed="long")
    await start(dut)
    for x_format in (RowFormat.INT8, RowFormat.INT12):
        job = random_job(loader.rng, m=CONFIG.chunk_rows - 1, k=CONFIG.max_reduction, x_format=x_format)
        loader.saturated = 0
        await loader.run(chunks_of(loader.rng, job))


async def fills_its_store(dut, pair):
    """Blocks of up to the longest, at the scratchpad's end too; none is the first of a chunk, so nothing waits for
    ``chunk_done``."""
    loader = Loader(dut, pair, seed=f"store {pair}")
    await start(dut)
    rng, blocks, place = loader.rng, [], 0
    while place < DEPTH:
        rows, wide = rng.randint(1, ROWS), rng.random() < 0.5
        words = min(rng.choice((LONGEST, LONGEST, rng.randint(1, LONGEST))), DEPTH - place)
        blocks.append(RowBlock(0, words * rows * (1 + wide), rows, words, wide, place, False))
        place += words
    # The last blocks go where the first were, and come without a word from the array.
    half = len(blocks) // 2
    first, again = Chunk(rng, blocks), Chunk(rng, blocks[:half])
    loader.push(first)
    await loader.meet(first, PATTERNS[pair[1]](3), 0)
    loader.push(again)
    await loader.meet(again, PATTERNS[pair[1]](4), 3)
    assert max(place for place, _ in first.words) == DEPTH - 1 and loader.saturated == first.saturated + again.saturated


async def one_word_a_cycle(dut):
    """Blocks of one word size enter without a bubble where the bus brings a word a cycle."""
    loader = Loader(dut, seed="fast")
    await start(dut)
    for x_format in (RowFormat.INT8, RowFormat.INT12):
        assert ROWS * x_format.bytes <= BUS
        job = random_job(loader.rng, m=CONFIG.chunk_rows, k=128, x_format=x_format)
        chunks = chunks_of(loader.rng, job)
        loader.saturated, loader.taken = 0, []
        await loader.run(chunks)
        words = len(chunks[0].words)
        assert len(loader.taken) == words and loader.taken[-1] - loader.taken[0] == words - 1


if os.environ["OLIVINE_UNIT"] == "addresses":
    walks_ragged_jobs = cocotb.test()(cocotb.parametrize(pair=PAIRS)(walks_ragged_jobs))
    walks_at_full_speed = cocotb.test()(walks_at_full_speed)
    begins_large_jobs = cocotb.test()(cocotb.parametrize(seed=range(8))(begins_large_jobs))
elif os.environ["OLIVINE_UNIT"] == "store":
    fills_its_store = cocotb.test()(cocotb.parametrize(pair=PAIRS[::3])(fills_its_store))
else:
    by_pair = cocotb.parametrize(pair=PAIRS[::3])
    loads_jobs = cocotb.test()(by_pair(loads_jobs))
    loads_all_word_sizes_mixed = cocotb.test()(by_pair(loads_all_word_sizes_mixed))
    loads_long_runs = cocotb.test()(loads_long_runs)
    one_word_a_cycle = cocotb.test()(one_word_a_cycle)
