"""The append engine between memory and cache: bytes and events equal golden, whatever both do meanwhile."""

import os

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge
from olivine.kvcache.descriptor import CachePolicy
from olivine.linear.descriptor import RowFormat
from olivine.olive.formats import LaneFormat

from tb.kvcache.append_bench import AppendBench, AppendCase

PATTERN = os.environ.get("OLIVINE_PATTERN", "always")
STALLED = os.environ.get("OLIVINE_STALLED", "ar r aw w b done lookup found event").split()
JOBS = int(os.environ.get("OLIVINE_JOBS", "4"))
SEED = int(os.environ.get("OLIVINE_SEED", "1"))


@cocotb.test()
async def simple(dut):
    """One row, plain formats: what to look at first when all others fail."""
    bench = AppendBench(dut, seed=SEED)
    await bench.start()
    rng = np.random.default_rng(SEED)
    for rows in (1, bench.config.rows, bench.config.rows + 1):
        await bench.compute(AppendCase(rng, bench.config, rows=rows, heads=1, head_dim=8, policies=(CachePolicy.NONE,),
                                       key_format=LaneFormat.INT8, value_format=LaneFormat.INT8,
                                       row_format=RowFormat.INT8))


@cocotb.test()
async def every_format(dut):
    """All formats of keys, of values and of the source."""
    bench = AppendBench(dut, patterns=dict.fromkeys(STALLED, PATTERN), seed=SEED)
    await bench.start()
    rng = np.random.default_rng(SEED)
    for index in rng.permutation(16)[:2 * JOBS]:
        await bench.compute(AppendCase(rng, bench.config, rows=bench.config.rows + 1, heads=2, geometry_heads=3,
                                       key_format=LaneFormat(int(index) % 4),
                                       value_format=LaneFormat(int(index) // 4),
                                       row_format=RowFormat(int(index) % 3)))


@cocotb.test()
async def every_first_place(dut):
    """A sequence that begins at each place of a block: runs end with their sub-block, their block and their step."""
    bench = AppendBench(dut, seed=SEED)
    await bench.start()
    rng = np.random.default_rng(SEED)
    lanes, rows = bench.config.lanes, bench.config.rows
    for length in range(lanes):
        await bench.compute(AppendCase(rng, bench.config, rows=rows + 1, reserved=rows + 1, heads=1, geometry_heads=1,
                                       head_dim=8, length=length, policies=(CachePolicy.NONE,)))


@cocotb.test()
async def random_jobs(dut):
    """Random caches and jobs, one after the other, with the chosen channels stalling."""
    bench = AppendBench(dut, patterns=dict.fromkeys(STALLED, PATTERN), seed=SEED)
    await bench.start()
    rng = np.random.default_rng(SEED)
    for _ in range(JOBS):
        await bench.compute(AppendCase(rng, bench.config))


@cocotb.test()
async def heavy_hitters(dut):
    """Free cells, read head by head."""
    bench = AppendBench(dut, patterns=dict.fromkeys(STALLED, PATTERN), seed=SEED)
    await bench.start()
    rng = np.random.default_rng(SEED + 1)
    for _ in range(JOBS):
        await bench.compute(AppendCase(rng, bench.config, policies=(CachePolicy.HEAVY,), most=4))


@cocotb.test()
async def busy_covers_the_job(dut):
    """Busy from acceptance until the report, and until the bus owes nothing."""
    bench = AppendBench(dut, seed=SEED)
    await bench.start()
    rng = np.random.default_rng(SEED)
    case = AppendCase(rng, bench.config, rows=3, heads=1)
    assert dut.busy.value == 0
    task = cocotb.start_soon(bench.compute(case))
    while not dut.job_valid.value or not dut.job_ready.value:
        await RisingEdge(dut.aclk)
    await RisingEdge(dut.aclk)
    while not dut.done_valid.value:
        assert dut.busy.value == 1
        await RisingEdge(dut.aclk)
    await task
    for _ in range(4):
        await RisingEdge(dut.aclk)
    assert dut.busy.value == 0
