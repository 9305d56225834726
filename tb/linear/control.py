"""The linear engine held up and given up: rows that are not ready, aborts at any cycle. With `LinearCore`'s ports for
it."""

import os

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge
from olivine.control.job import StatusCode

from tb.linear.bench import EngineBench
from tb.linear.faults import small_job

SEED = int(os.environ.get("OLIVINE_SEED", "1"))
ABORTS = int(os.environ.get("OLIVINE_ABORTS", "40"))


async def finish(bench):
    """Wait for the status; returns its code."""
    received, = await bench.done.collect(1, timeout=10_000)
    bench.collected += 1
    return StatusCode(int(received) & 0xff)


@cocotb.test()
async def given_up(dut):
    """Abort at any cycle of a job, held until its status or for a moment only; the next job runs right. Without a job
    nothing happens."""
    bench = EngineBench(dut, seed=SEED)
    await bench.start()
    rng = np.random.default_rng(SEED)
    ended = {StatusCode.OK: 0, StatusCode.ABORTED: 0}
    for index in range(ABORTS):
        job = small_job(rng, bench.config)
        if index % 8 == 7:
            dut.abort.value = 1
            await RisingEdge(dut.aclk)
            dut.abort.value = 0
        expected = bench.load(job)
        bench.jobs.push(job.descriptor)
        await bench.jobs.drained()
        for _ in range(int(rng.integers(1, 1200))):
            await RisingEdge(dut.aclk)
        dut.rows_ready.value = int(index % 5 != 0)
        dut.abort.value = 1
        if index % 3 == 1:
            await RisingEdge(dut.aclk)
            dut.abort.value = 0
        code = await finish(bench)
        dut.abort.value, dut.rows_ready.value = 0, 1
        ended[code] += 1
        assert bench.memory.outstanding == 0, "reported before the bus was quiet"
        first, size = job.output
        outside = [at for at, (a, b) in enumerate(zip(bench.memory.memory, expected))
                   if a != b and (code is StatusCode.OK or not first <= at < first + size)]
        assert not outside, "bytes outside the results changed"
        if index % 2:
            await bench.compute(job)
    assert all(ended.values()), ended


@cocotb.test()
async def rows_that_are_not_ready(dut):
    """Weights are fetched, rows are not, nor is anything written, until ``rows_ready``."""
    bench = EngineBench(dut, seed=SEED)
    await bench.start()
    rng = np.random.default_rng(SEED)
    bus = bench.config.bus_bytes
    for stall in (1, 300, 1200):
        job = small_job(rng, bench.config)
        expected = bench.load(job)
        dut.rows_ready.value = 0
        reads, writes = len(bench.memory.reads), len(bench.memory.writes)
        bench.jobs.push(job.descriptor)
        await bench.jobs.drained()
        for _ in range(stall):
            await RisingEdge(dut.aclk)
        first, size = job.regions[1][0], len(job.regions[1][1])
        early = bench.memory.reads[reads:]
        assert not [burst for burst in early if first < burst.address + burst.beats * bus
                    and burst.address < first + size] and len(bench.memory.writes) == writes
        assert early or stall == 1, "no weights were fetched ahead"
        dut.rows_ready.value = 1
        assert await finish(bench) is StatusCode.OK
        assert bench.memory.memory == expected
