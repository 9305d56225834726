"""The walk over the table of a cached job: what its rows see, and how many pages its chunks meet.

Segments themselves are `tb.attention.segments`'. Parameter: OLIVINE_CONFIG.
"""

import random

import cocotb
from cocotb.triggers import RisingEdge
from olivine.attention import descriptor as declared
from olivine.attention.descriptor import ENTRY_BYTES, SEGMENT_BYTES
from olivine.attention.plan import address_bits, plan_layout
from olivine.attention.table import chunk_layout
from olivine.attention.walk import TableWalk
from olivine.control.job import command
from olivine.kvcache.descriptor import CacheGeometry
from olivine.kvcache.lookup import LookupAnswer, LookupRequest
from olivine_golden.cached_attention import ALL_ROWS, cached_bounds, pages_met

from tb.attention.jobs import CONFIG, LANES, ROWS, random_job, unit_ports
from tb.attention.segment_bench import NO_BOUND, ZEROS, Sequence, entries, golden_group
from tb.streams import StreamChecker, StreamSink, StreamSource, pack, start, unpack

COMMAND, CHUNK = command(address_bits(CONFIG)), chunk_layout(CONFIG)
TABLE, SEGMENTS, MASKS = 0x1000, 0x2000, 0x3000
SLOT, GENERATION, HEAD = 1, 77, 2


class CachedWalker:
    """The walk, the memory that it reads, a cache of one sequence, and a user who takes each chunk and ends it."""

    def __init__(self, dut, seed):
        self.dut, self.rng = dut, random.Random(seed)
        self.elements, self.answers = (StreamSource(dut, name, "half", seed=1) for name in ("i", "found"))
        self.commands, self.lookups, self.pages = (StreamSink(dut, name, "half", seed=2)
                                                   for name in ("o_command", "lookup", "o_page"))
        for name in ("i", "found", "o_command", "lookup", "o_page", "o_chunk"):
            StreamChecker(dut, name)
        for name in ("plan", "o_chunk__ready", "chunk_done", "bounds_addr", "appending", "mask_addr", "tree_addr",
                     "o_group__ready", "o_cells__ready"):
            getattr(dut, name).value = 0
        dut.geometry.value = pack(CacheGeometry, {"block_units": 1, "page_bytes": CONFIG.bus_bytes, "heads": HEAD + 1})

    async def begin(self, kind, rows, heads, window):
        """One group over the whole of one sequence, whose step is appended."""
        rng = self.rng
        length = rng.randint(2 * LANES, 4 * LANES)
        reserved = rng.randint(1, 64)
        self.sequence = Sequence(GENERATION, table=entries(rng, length + reserved), length=length, reserved=reserved,
                                 appended=HEAD + 1)
        segment = ZEROS | {"slot": SLOT, "generation": GENERATION, "end": length + reserved, "rows": ALL_ROWS}
        masks = [rng.getrandbits(64) for _ in range(rows)]
        self.group = golden_group(rng, [segment], rows, length, tree=masks if kind == "tree" else None)
        entry = {"segments": SEGMENTS, "head": HEAD, "rows": rows, "count": 1, "position": length,
                 "tree": MASKS if kind == "tree" else 0}
        self.job = random_job(rng, groups=1, heads=heads, window=window, causal=kind == "causal", head_dim=8)
        self.memory = {}
        for base, size, layout, values in ((TABLE, ENTRY_BYTES, declared.CachedGroup, entry),
                                           (SEGMENTS, SEGMENT_BYTES, declared.Segment, segment)):
            bits = pack(layout, values)
            self.memory |= {base + 8 * part: bits >> 64 * part & (1 << 64) - 1 for part in range(size // 8)}
        self.memory |= {MASKS + 8 * row: mask for row, mask in enumerate(masks)}
        plan = self.job.plan() | {"cached": 1, "tree": int(kind == "tree"), "table": TABLE, "lse": 0}
        layout = plan_layout(CONFIG)
        self.dut.plan.value = pack(layout, {name: value for name, value in plan.items() if name in layout.members})
        self.served = len(self.commands.received), len(self.lookups.received)
        self.dut.rst.value = 1
        await RisingEdge(self.dut.clk)
        self.dut.rst.value = 0

    async def cycle(self):
        await RisingEdge(self.dut.clk)
        commands, lookups = self.served
        for bits in self.commands.received[commands:]:
            asked = unpack(COMMAND, bits)
            self.elements.push(self.memory[asked["addr"] + place] for place in range(0, asked["bytes"], 8))
        for bits in self.lookups.received[lookups:]:
            asked = unpack(LookupRequest, bits)
            assert asked["slot"] == SLOT
            self.answers.push(pack(LookupAnswer, self.sequence.answer(asked["generation"], asked["index"])))
        self.served = len(self.commands.received), len(self.lookups.received)

    async def offered(self):
        """The next chunk that is offered."""
        for _ in range(4_000):
            if self.dut.o_chunk__valid.value == 1:
                return unpack(CHUNK, int(self.dut.o_chunk__payload.value))
            assert int(self.dut.fault.value) & 1 == 0
            await self.cycle()
        raise AssertionError("no chunk comes")

    async def bounds(self, bank, context):
        self.dut.bounds_addr.value = pack(unit_ports(TableWalk, "bounds_addr"), {"bank": bank, "context": context})
        await self.cycle()
        await self.cycle()
        return [seen(row["low"], row["high"]) for row in unpack(unit_ports(TableWalk, "bounds"),
                                                                int(self.dut.bounds.value))]

    async def run(self, kind, rows, heads, window):
        dut = self.dut
        await self.begin(kind, rows, heads, window)
        kinds = {"heads": heads, "causal": kind == "causal", "window": window}
        size = ROWS * self.job.contexts
        low, high = cached_bounds(self.group, **kinds)
        taken = len(self.pages.received)
        for number, met in enumerate(pages_met(self.group, lanes=LANES, chunk_rows=size, **kinds)):
            chunk = await self.offered()
            first = number * size
            assert chunk["bank"] == number % 2 and chunk["contexts"] == -(-(min(first + size, rows) - first) // ROWS)
            for context in range(chunk["contexts"]):
                numbers = range(first + context * ROWS, first + (context + 1) * ROWS)
                want = [seen(int(low[row]), int(high[row])) if row < rows else (0, 0) for row in numbers]
                got = await self.bounds(chunk["bank"], context)
                assert got == want, (kind, kinds, first, context, got, want)
            pages = sum(each.end - each.first for each in met)
            assert (chunk["pages"], chunk["blank"]) == (max(pages, 1), int(not pages)), (chunk, met)
            dut.o_chunk__ready.value = 1
            await self.cycle()
            dut.o_chunk__ready.value, dut.chunk_done.value = 0, 1
            await self.cycle()
            dut.chunk_done.value = 0
            taken += chunk["pages"]
            while len(self.pages.received) < taken:
                await self.cycle()
        for _ in range(20):
            await self.cycle()
        assert dut.done.value == 1 and len(self.pages.received) == taken


def seen(low, high):
    """Bounds as they are compared: inside the places that there are, and all alike where there is no key."""
    low, high = max(low, 0), min(high, NO_BOUND)
    return (low, high) if high > low else (0, 0)


@cocotb.test(timeout_time=4, timeout_unit="ms")
@cocotb.parametrize(kind=["open", "causal", "tree"])
async def bounds_of_rows(dut, kind):
    """Two chunks and a rest. Rows of a causal job see up to themselves, of a tree the committed keys, whatever token
    they are of; without either all there is, though more than an entry that is not cached would say."""
    bench = CachedWalker(dut, f"bounds {kind}")
    await start(dut)
    for heads in (1, 2, ROWS + 1):
        for window in (0, 3, LANES):
            await bench.run(kind, 2 * ROWS * CONFIG.contexts + 1, heads, window)
