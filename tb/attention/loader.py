"""The query store: blocks of a job, in a batch and not, into words of P rows.

Parameter: OLIVINE_CONFIG.
"""

import random

import cocotb
from cocotb.triggers import RisingEdge
from olivine.attention.queries import QueryLoader, block_layout
from olivine.config import ROW_BITS
from olivine.linear.descriptor import RowFormat
from olivine_golden.rounding import sat

from tb.attention.jobs import BUS, CONFIG, ROWS, random_batch, random_job, unit_ports
from tb.streams import PAIRS, PATTERNS, StreamChecker, StreamSource, pack, start, unpack

BLOCK, BEATS, WORD = block_layout(CONFIG), unit_ports(QueryLoader, "i"), unit_ports(QueryLoader, "o")


def operand(rng, wide):
    return rng.choice((rng.randint(-2048, 2047), -2049, 2048, -32768, 32767)) if wide else rng.randint(-128, 127)


class Loader:
    """Feeds the blocks of a chunk, takes its words as they become available, and looks at each.

    Attributes
    ----------
    saturated : int
        Queries that the loader counted.
    """

    def __init__(self, dut, pair=("always", "always"), seed=0):
        self.dut, self.rng, self.saturated = dut, random.Random(f"{seed}"), 0
        self.beats, self.blocks = StreamSource(dut, "i", pair[0], seed=1), StreamSource(dut, "i_block", pair[1], seed=2)
        StreamChecker(dut, "i"), StreamChecker(dut, "i_block")
        self.willing = PATTERNS[pair[1]](3)
        dut.take.value = dut.addr.value = 0

    async def cycle(self, address=0, take=0):
        self.dut.addr.value, self.dut.take.value = address, take
        await RisingEdge(self.dut.clk)
        self.saturated += int(self.dut.saturated.value)
        return int(self.dut.available.value)

    def chunk(self, job, blocks):
        """Push a chunk's blocks; returns its words (address, rows) in order, and how many queries saturate."""
        wide, words, saturated = job.q_format is RowFormat.INT12, {}, 0
        for block in blocks:
            stored = [[operand(self.rng, wide) for _ in range(block.stored)] for _ in range(job.head_dim)]
            size = 2 if wide else 1
            image = b"".join((value & (1 << 8 * size) - 1).to_bytes(size, "little")
                             for word in stored for value in word)
            assert len(image) == block.bytes
            self.beats.push(pack(BEATS, {
                "data": [*image[at:at + BUS], *self.rng.randbytes(BUS - len(image[at:at + BUS]))],
                "count": len(image[at:at + BUS]), "last": int(at + BUS >= len(image))})
                for at in range(0, len(image), BUS))
            mask = (1 << block.rows) - 1 << block.first_row
            self.blocks.push([pack(BLOCK, {
                "take": block.stored * size, "wide": int(wide), "start": block.start, "turn": block.turn, "rows": mask,
                "keep": int(block.first_row > 0), "more": int(block.more)})])
            for index, word in enumerate(stored):
                rows = words.setdefault(block.start + index, [0] * ROWS)
                for row in range(block.first_row, block.first_row + block.rows):
                    value = word[(row + block.turn) % ROWS]
                    rows[row] = int(sat(value, ROW_BITS))
                    saturated += rows[row] != value
        return list(words.items()), saturated

    async def run(self, job):
        """Each chunk of a job, the next one's blocks pushed before its words are taken."""
        blocks = list(job.query_blocks())
        for chunk in job.chunks():
            count = sum(job.heads if job.groups[chunk.group].batch and job.heads > 1 else 1 for _ in chunk.rows)
            words, saturated = self.chunk(job, blocks[:count])
            blocks = blocks[count:]
            before = self.saturated
            for address, rows in words:
                while not (await self.cycle() and next(self.willing)):
                    pass
                await self.cycle(address, take=1)
                await self.cycle()
                assert unpack(WORD, int(self.dut.o.value)) == rows, (address, rows, unpack(WORD, int(self.dut.o.value)))
            for _ in range(3):
                assert await self.cycle() == 0, "more words than the chunk has"
            assert self.saturated - before == saturated, (self.saturated - before, saturated)


@cocotb.test()
@cocotb.parametrize(pair=PAIRS[::4])
async def loads_jobs(dut, pair):
    bench = Loader(dut, pair, f"jobs {pair}")
    await start(dut)
    for make in (random_job, random_batch, random_batch):
        await bench.run(make(bench.rng, rows=bench.rng.randint(1, 3 * ROWS)))


@cocotb.test()
async def loads_heads(dut):
    """A token's heads, from one up to P: words count when their last row is there; other rows are 0."""
    bench = Loader(dut, seed="heads")
    await start(dut)
    for heads in range(1, ROWS + 1):
        await bench.run(random_batch(bench.rng, heads=heads, groups=4, head_dim=16))
