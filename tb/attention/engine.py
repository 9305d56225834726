"""The attention engine on its bus: every result equals golden, whatever the bus does meanwhile."""

import os

import cocotb
import numpy as np
from olivine.attention.descriptor import OutputFormat
from olivine.olive.formats import LaneFormat

from tb.attention.bench import AttentionBench, random_job, random_merge

PATTERN = os.environ.get("OLIVINE_PATTERN", "always")
STALLED = os.environ.get("OLIVINE_STALLED", "ar r aw w b done").split()
JOBS = int(os.environ.get("OLIVINE_JOBS", "4"))
SEED = int(os.environ.get("OLIVINE_SEED", "1"))


@cocotb.test()
async def simple(dut):
    """One row, one page, plain formats: what to look at first when all others fail."""
    bench = AttentionBench(dut, seed=SEED)
    await bench.start()
    rng = np.random.default_rng(SEED)
    lanes = bench.config.lanes
    for rows, keys in ((1, lanes), (1, 1), (bench.config.rows, 2 * lanes), (3 * bench.config.rows, 3 * lanes - 1)):
        await bench.compute(random_job(rng, bench.config, head_dim=8, groups=1, rows=rows, keys=keys, heads=1,
                                       key_format=LaneFormat.INT8, value_format=LaneFormat.INT8, causal=False, window=0,
                                       o_format=OutputFormat.INT16))


@cocotb.test()
async def ragged_pages_at_full_rate(dut):
    """A few keys past a full page, as fast as pages can follow each other: the ends of units are close."""
    bench = AttentionBench(dut, seed=SEED, latency=1)
    await bench.start()
    rng = np.random.default_rng(SEED)
    config = bench.config
    for head_dim in (8, 16):
        for contexts in range(1, config.attention_contexts(head_dim) + 1):
            for more in (1, 3, config.lanes - 1):
                await bench.compute(random_job(
                    rng, config, head_dim=head_dim, groups=2, rows=contexts * config.rows, keys=config.lanes + more,
                    heads=1, causal=False, window=0, key_format=LaneFormat.OVP4_INT,
                    value_format=LaneFormat.OVP4_FLINT))


@cocotb.test()
async def random_jobs(dut):
    """Random shapes, masks and formats, one after the other, with the chosen channels stalling."""
    bench = AttentionBench(dut, patterns=dict.fromkeys(STALLED, PATTERN), seed=SEED)
    await bench.start()
    rng = np.random.default_rng(SEED)
    for _ in range(JOBS):
        await bench.compute(random_job(rng, bench.config))


@cocotb.test()
async def merges(dut):
    """Partial results of random jobs, merged."""
    bench = AttentionBench(dut, patterns=dict.fromkeys(STALLED, PATTERN), seed=SEED)
    await bench.start()
    rng = np.random.default_rng(SEED + 1)
    for _ in range(max(2, JOBS // 5)):
        await bench.compute(random_merge(rng, bench.config))
