"""Masks of token trees: columns of random masks, of ragged chunks.

Parameter: OLIVINE_CONFIG.
"""

import random

import cocotb
from cocotb.triggers import RisingEdge
from olivine.attention.layout import CHUNKS
from olivine.attention.trees import TreeMasks
from olivine.kvcache.descriptor import TREE_PLACES

from tb.attention.jobs import CONFIG, ROWS, unit_ports
from tb.streams import PAIRS, StreamChecker, StreamSource, pack, start

ADDR = unit_ports(TreeMasks, "addr")

# A unit that stands still fails, and does not wait for ever.
test = cocotb.test(timeout_time=500, timeout_unit="us")


class Bench:
    """The unit, and what its memory must hold: ``columns[bank, context, place]``."""

    def __init__(self, dut, seed, pattern="always"):
        self.dut, self.rng, self.columns = dut, random.Random(f"{seed}"), {}
        self.source = StreamSource(dut, "i", pattern)
        self.checker = StreamChecker(dut, "i")
        for name in ("load", "bank", "contexts", "last_rows", "addr"):
            getattr(dut, name).value = 0

    def push(self, rows):
        """Random masks of a chunk's rows."""
        rng = self.rng
        masks = [rng.choice((0, (1 << 64) - 1, 1 << rng.randrange(64), rng.getrandbits(64))) for _ in range(rows)]
        self.source.push(masks)
        return masks

    async def load(self, bank, contexts, last_rows, masks=None):
        """A chunk of random masks, or of those that were pushed. Returns the cycles that the unit was busy."""
        dut = self.dut
        masks = masks or self.push((contexts - 1) * ROWS + last_rows)
        dut.bank.value, dut.contexts.value, dut.last_rows.value, dut.load.value = bank, contexts, last_rows, 1
        await RisingEdge(dut.clk)
        dut.load.value = 0
        await RisingEdge(dut.clk)
        busy = 0
        while int(dut.busy.value):
            busy += 1
            await RisingEdge(dut.clk)
        for context in range(contexts):
            part = masks[context * ROWS:(context + 1) * ROWS]
            for place in range(TREE_PLACES):
                self.columns[bank, context, place] = sum((mask >> place & 1) << row for row, mask in enumerate(part))
        return busy

    async def compare(self, keys):
        """Each column is there in the cycle after its address."""
        for key in keys:
            self.dut.addr.value = pack(ADDR, dict(zip(("bank", "context", "place"), key)))
            await RisingEdge(self.dut.clk)
            await RisingEdge(self.dut.clk)
            got = int(self.dut.column.value)
            assert got == self.columns[key], (key, got, self.columns[key])


@test
@cocotb.parametrize(pattern=sorted({idle for idle, _ in PAIRS}))
async def random_chunks(dut, pattern):
    """Of one context to all, with one row in the last to all; the other bank stays as it was."""
    bench = Bench(dut, pattern, pattern)
    await start(dut)
    for turn in range(6):
        contexts = CONFIG.contexts if turn < 2 else bench.rng.randint(1, CONFIG.contexts)
        await bench.load(turn % CHUNKS, contexts, bench.rng.choice((1, ROWS, bench.rng.randint(1, ROWS))))
        await bench.compare(bench.rng.sample(sorted(bench.columns), 100))
    assert bench.checker.transfers


@test
async def every_place(dut):
    """Of both banks and all contexts."""
    bench = Bench(dut, "every")
    await start(dut)
    for bank in range(CHUNKS):
        await bench.load(bank, CONFIG.contexts, ROWS)
    await bench.compare(sorted(bench.columns))


@test
async def takes_no_more_than_its_rows(dut):
    """The masks of the next chunk, which come at once, wait until it begins."""
    bench = Bench(dut, "more")
    await start(dut)
    shapes = [(1, 1), (CONFIG.contexts, 1), (1, ROWS - 1), (2, ROWS)]
    pushed = [bench.push((contexts - 1) * ROWS + last_rows) for contexts, last_rows in shapes]
    for turn, (shape, masks) in enumerate(zip(shapes, pushed)):
        await bench.load(turn % CHUNKS, *shape, masks)
        for _ in range(5):
            await RisingEdge(dut.clk)
        assert len(bench.source.sent) == sum(map(len, pushed[:turn + 1]))
        await bench.compare(sorted(bench.columns))


@test
async def cycles(dut):
    """P and 64 for each context, if nothing stalls."""
    bench = Bench(dut, "cycles")
    await start(dut)
    for contexts in range(1, CONFIG.contexts + 1):
        for last_rows in (1, ROWS):
            assert await bench.load(0, contexts, last_rows) == (ROWS + TREE_PLACES) * contexts
