"""The linear engine on its bus: every result equals golden, whatever the bus does meanwhile."""

import os

import cocotb
import numpy as np
from olivine.linear.descriptor import Group
from olivine.olive.formats import LaneFormat

from tb.linear.bench import EngineBench, random_job

PATTERN = os.environ.get("OLIVINE_PATTERN", "always")
STALLED = os.environ.get("OLIVINE_STALLED", "ar r aw w b done").split()
JOBS = int(os.environ.get("OLIVINE_JOBS", "4"))
SEED = int(os.environ.get("OLIVINE_SEED", "1"))


@cocotb.test()
async def random_jobs(dut):
    """Random shapes and formats, one after the other, with the chosen channels stalling."""
    bench = EngineBench(dut, patterns=dict.fromkeys(STALLED, PATTERN), seed=SEED)
    await bench.start()
    rng = np.random.default_rng(SEED)
    for _ in range(JOBS):
        await bench.compute(random_job(rng, bench.config))


@cocotb.test()
async def every_format(dut):
    """Each weight format with each grouping, over two chunks, two panels and a ragged end."""
    bench = EngineBench(dut, patterns=dict.fromkeys(STALLED, PATTERN), seed=SEED + 1)
    await bench.start()
    rng = np.random.default_rng(SEED + 1)
    rows, lanes = bench.config.chunk_rows + 1, bench.config.lanes + 1
    for weight_format in LaneFormat:
        for group in Group:
            await bench.compute(random_job(rng, bench.config, m=rows, k=67, n=lanes, weight_format=weight_format,
                                           group=group))


@cocotb.test()
async def smallest(dut):
    """One token, one input, one output."""
    bench = EngineBench(dut, seed=SEED + 2)
    await bench.start()
    rng = np.random.default_rng(SEED + 2)
    for weight_format in LaneFormat:
        await bench.compute(random_job(rng, bench.config, m=1, k=1, n=1, weight_format=weight_format))
