"""The attention engine held up and given up: rows that are not ready, pages that are not written, aborts at any cycle.

With `AttentionCore`'s ports for it, and a cache, which is golden's.
"""

import os
from copy import deepcopy

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge
from olivine.attention.descriptor import OutputFormat
from olivine.control.job import StatusCode
from olivine.kvcache.descriptor import CacheGeometry, CacheOp, CachePolicy
from olivine.kvcache.lookup import CacheEvent, EventKind, LookupAnswer, LookupRequest
from olivine.linear.descriptor import RowFormat
from olivine_golden.cache_system import CacheSystem
from olivine_host.cache_jobs import AppendJob, Batch, CachedAttentionJob, Request, SegmentOf, cache_command
from olivine_host.cache_memory import CacheMemory

from tb.attention.bench import AttentionBench, random_merge
from tb.attention.faults import small_job
from tb.streams import StreamChecker, StreamSink, pack, unpack

SEED = int(os.environ.get("OLIVINE_SEED", "1"))
ABORTS = int(os.environ.get("OLIVINE_ABORTS", "40"))
HEADS, DIMS, TOKENS = 2, 8, 13


class CacheBench(AttentionBench):
    """The engine, its memory, and golden's cache: a plain sequence and one of heavy hitters, with tokens reserved.

    Attributes
    ----------
    plain, heavy : Handle
    withheld : bool
        The cache does not know yet that the reserved places are written, and pages hold what was there before.
    """

    def __init__(self, dut, **more):
        super().__init__(dut, **more)
        self.requests, self.told = StreamSink(dut, "lookup", "half", SEED), StreamSink(dut, "event", "half", SEED)
        for name in ("lookup", "event"):
            StreamChecker(dut, name)
        self.place = CacheMemory(self.config, heads=HEADS, head_dim=DIMS, blocks=8, log_cells=4, job_bytes=1 << 13)
        self.golden = CacheSystem(self.config, self.place.geometry, self.place.image())
        self.plain, self.heavy = self.sequence(), self.sequence(policy=CachePolicy.HEAVY, size=4, recent=3, chunk=2)
        for tokens in (TOKENS // 2, TOKENS - TOKENS // 2):
            self.append(self.plain, tokens)
            assert self.golden.run(cache_command(CacheOp.COMMIT, self.plain, count=tokens)).ok
        self.before = bytes(self.golden.memory)
        for handle in (self.plain, self.heavy):
            self.append(handle, 2)
        self.withheld = False
        dut.geometry.value = pack(CacheGeometry, self.place.geometry)
        cocotb.start_soon(self._cache())

    def sequence(self, **policy):
        return self.golden.run(cache_command(CacheOp.OPEN, **policy)).handle

    def append(self, handle, tokens):
        assert self.golden.run(cache_command(CacheOp.APPEND, handle, count=tokens)).ok
        keys, values = self.rng.integers(-128, 128, (2, tokens, HEADS * DIMS))
        job = AppendJob(self.place, [(handle, tokens)], keys, values, [(1, 0, 1, 0)] * HEADS, row_format=RowFormat.INT8)
        for address, content in job.regions:
            self.golden.memory[address:address + len(content)] = content
        assert self.golden.run(job.descriptor).ok
        self.place.reset()

    async def _cache(self):
        dut, taken, offered = self.dut, 0, False
        while True:
            await RisingEdge(dut.aclk)
            if not dut.aresetn.value:
                taken, offered = len(self.requests.received), False
                dut.found_valid.value = 0
                continue
            if offered and dut.found_ready.value:
                offered = False
                dut.found_valid.value = 0
            if not offered and len(self.requests.received) > taken:
                asked = unpack(LookupRequest, self.requests.received[taken])
                answer = dict(self.golden._found(asked["slot"], asked["generation"], asked["index"]))
                if self.withheld:
                    answer["appended"] = 0
                dut.found_payload.value = pack(LookupAnswer, answer)
                dut.found_valid.value = 1
                taken, offered = taken + 1, True

    def job(self, kind="plain", **options):
        """A job over the cache, in a batch, that sees the reserved places too; and memory with it."""
        self.place.reset()
        heavy = kind == "heavy"
        handle, end = (self.heavy, 2) if heavy else (self.plain, TOKENS + 2)
        rows = self.config.rows
        requests = [Request(self.rng.integers(-2048, 2048, (2, DIMS)), head, [SegmentOf(handle, end)], end - 2, 50_000,
                            19, place=(rows * head, DIMS * head, 0)) for head in range(HEADS)]
        q, o = self.rng.integers(-1 << 15, 1 << 15, (2, 2 * rows, HEADS * DIMS))
        job = CachedAttentionJob(self.place, requests, cells=heavy, hitters=heavy, o_format=OutputFormat.INT16,
                                 batch=Batch(q, o), **options)
        image = bytearray(self.before if self.withheld else self.golden.memory)
        for address, content in job.regions:
            image[address:address + len(content)] = content
        return job, image

    def expected(self, job):
        """Memory after the job."""
        system = deepcopy(self.golden)
        for address, content in job.regions:
            system.memory[address:address + len(content)] = content
        assert system.run(job.descriptor).ok
        return system.memory

    def read(self, regions, since):
        """Bursts read since then that touch one of (first, size)."""
        return [burst for burst in self.memory.reads[since:] if any(
            first < burst.address + burst.beats * self.config.bus_bytes and burst.address < first + size
            for first, size in regions)]

    def load_image(self, image):
        self.memory.memory[:len(image)] = image

    async def cycles(self, count):
        for _ in range(count):
            await RisingEdge(self.dut.aclk)


@cocotb.test()
async def given_up(dut):
    """Abort at any cycle of a job, held until its status or for a moment only; the next job runs right. Without a job
    nothing happens."""
    bench = AttentionBench(dut, seed=SEED)
    await bench.start()
    rng = np.random.default_rng(SEED)
    ended = {StatusCode.OK: 0, StatusCode.ABORTED: 0}
    for index in range(ABORTS):
        job = random_merge(rng, bench.config) if index % 4 == 3 else small_job(rng, bench.config)
        while not dut.job_ready.value:
            await RisingEdge(dut.aclk)
        if index % 8 == 7:
            dut.abort.value = 1
            await RisingEdge(dut.aclk)
            dut.abort.value = 0
        untouched = bench.load(job)
        bench.jobs.push(job.descriptor)
        await bench.jobs.drained()
        for _ in range(int(rng.integers(1, 900))):
            await RisingEdge(dut.aclk)
        dut.rows_ready.value = int(index % 5 != 0)
        dut.abort.value = 1
        if index % 3 == 1:
            await RisingEdge(dut.aclk)
            dut.abort.value = 0
        received, = await bench.done.collect(1, timeout=10_000)
        bench.collected += 1
        dut.abort.value, dut.rows_ready.value = 0, 1
        code = StatusCode(int(received) & 0xff)
        assert code in ended, code
        ended[code] += 1
        assert bench.memory.outstanding == 0, "reported before the bus was quiet"
        assert bench.untouched(job, untouched), "bytes outside the results changed"
        if index % 2:
            await bench.compute(job)
    assert all(ended.values()), ended


@cocotb.test()
async def rows_that_are_not_ready(dut):
    """Pages of committed keys are fetched, queries are not, nor is anything written, until ``rows_ready``."""
    bench = CacheBench(dut, seed=SEED)
    await bench.start()
    for stall in (1, 400, 1500):
        job, image = bench.job()
        bench.load_image(image)
        dut.rows_ready.value = 0
        reads, writes = len(bench.memory.reads), len(bench.memory.writes)
        bench.jobs.push(job.descriptor)
        await bench.jobs.drained()
        await bench.cycles(stall)
        queries = [(entry["q"], 2 * bench.config.rows * DIMS) for entry in job.entries]
        assert not bench.read(queries, reads) and len(bench.memory.writes) == writes
        pages = bench.read([bench.place.pool], reads)
        assert len(pages) >= 4 or stall < 1500, "no page was fetched ahead"
        assert not bench.done.received[bench.collected:]
        dut.rows_ready.value = 1
        received, = await bench.done.collect(1, timeout=10_000)
        bench.collected += 1
        assert StatusCode(int(received) & 0xff) is StatusCode.OK
        first, size = job.output
        assert bench.memory.memory[first:first + size] == bench.expected(job)[first:first + size]
        assert bench.read(queries, reads)


@cocotb.test()
async def pages_that_are_not_written(dut):
    """While an append job is expected, a job waits for the page that holds reserved places, and reads those before it;
    when none is, the job fails."""
    bench = CacheBench(dut, seed=SEED)
    await bench.start()
    for kind, fails in (("plain", False), ("heavy", False), ("plain", True), ("heavy", True)):
        bench.withheld = True
        job, image = bench.job(kind)
        bench.load_image(image)
        dut.appending.value = 1
        reads = len(bench.memory.reads)
        bench.jobs.push(job.descriptor)
        await bench.jobs.drained()
        await bench.cycles(1500)
        assert not bench.done.received[bench.collected:], "did not wait"
        # The last page of the plain sequence holds reserved places; of heavy hitters every page does.
        lanes, blocks = bench.config.lanes, bench.golden.cache.slots[bench.plain.slot].table
        late = [blocks[-1]] if kind == "plain" else bench.golden.cache.slots[bench.heavy.slot].table
        size = bench.place.geometry["page_bytes"]
        assert TOKENS // lanes == len(blocks) - 1
        assert not bench.read([(bench.place.page(block, head), size) for block in late for head in range(HEADS)], reads)
        if kind == "plain":
            assert bench.read([(bench.place.page(blocks[0], 0), size)], reads), "no page was fetched ahead"
        if not fails:
            expected = bench.expected(job)
            bench.withheld = False
            bench.memory.memory[bench.place.pool[0]:sum(bench.place.pool)] = bench.golden.memory[
                bench.place.pool[0]:sum(bench.place.pool)]
            for first, length in (bench.place.records,):
                bench.memory.memory[first:first + length] = bench.golden.memory[first:first + length]
        dut.appending.value = 0
        received, = await bench.done.collect(1, timeout=10_000)
        bench.collected += 1
        code = StatusCode(int(received) & 0xff)
        assert code is (StatusCode.BAD_SEGMENT if fails else StatusCode.OK), (kind, code)
        if not fails:
            first, size = job.output
            assert bench.memory.memory[first:first + size] == expected[first:first + size]


@cocotb.test()
async def heavy_hitters_given_up(dut):
    """The event that ends a job over heavy hitters says that it failed, and comes after those of its heads."""
    bench = CacheBench(dut, seed=SEED, latency=5)
    await bench.start()
    rng = np.random.default_rng(SEED)
    ended = {StatusCode.OK: 0, StatusCode.ABORTED: 0}
    for _ in range(ABORTS // 3):
        job, image = bench.job("heavy")
        bench.load_image(image)
        first = len(bench.told.received)
        bench.jobs.push(job.descriptor)
        await bench.jobs.drained()
        await bench.cycles(int(rng.integers(1, 1100)))
        dut.abort.value = 1
        received, = await bench.done.collect(1, timeout=10_000)
        bench.collected += 1
        dut.abort.value = 0
        code = StatusCode(int(received) & 0xff)
        ended[code] += 1
        assert bench.memory.outstanding == 0
        await bench.cycles(30)
        events = [unpack(CacheEvent, event) for event in bench.told.received[first:]]
        assert [event["kind"] for event in events].count(EventKind.ENDED) == 1 and events[-1]["kind"] is EventKind.ENDED
        assert bool(events[-1]["failed"]) == (code is StatusCode.ABORTED), (code, events)
        if code is StatusCode.OK:
            after = bench.expected(job)
            at, size = job.output
            assert bench.memory.memory[at:at + size] == after[at:at + size]
            at, size = bench.place.records
            assert bench.memory.memory[at:at + size] == after[at:at + size]
    assert all(ended.values()), ended
