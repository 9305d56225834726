"""The vector engine on its bus: every result equals golden, whatever the bus does meanwhile."""

import os

import cocotb
import numpy as np
from olivine.linear.descriptor import RowFormat
from olivine.vector.descriptor import Norm, VectorOp
from olivine.vector.formats import Function

from tb.vector.bench import VectorBench, VectorCase

PATTERN = os.environ.get("OLIVINE_PATTERN", "always")
STALLED = os.environ.get("OLIVINE_STALLED", "ar r aw w b done").split()
JOBS = int(os.environ.get("OLIVINE_JOBS", "4"))
SEED = int(os.environ.get("OLIVINE_SEED", "1"))


async def bench_of(dut, seed):
    bench = VectorBench(dut, patterns=dict.fromkeys(STALLED, PATTERN), seed=seed)
    await bench.start()
    return bench, np.random.default_rng(seed)


@cocotb.test()
async def residuals(dut):
    """Every way to add and every norm, over one row group and several."""
    bench, rng = await bench_of(dut, SEED)
    for norm in Norm:
        for add, fresh in ((0, 0), (1, 0), (1, 1)):
            if add or norm is not Norm.NONE:
                for groups in (1, bench.config.contexts if JOBS > 4 else 2):
                    await bench.compute(VectorCase(rng, bench.config, VectorOp.RESIDUAL, norm=norm, add=add,
                                                   fresh=fresh, groups=groups))


@cocotb.test()
async def functions(dut):
    """Every activation function to every format, and gates."""
    bench, rng = await bench_of(dut, SEED + 1)
    for function in Function:
        for row_format in RowFormat:
            await bench.compute(VectorCase(rng, bench.config, VectorOp.ACTIVATE, function=function.value,
                                           format=row_format.value))
    for row_format in RowFormat:
        await bench.compute(VectorCase(rng, bench.config, VectorOp.GATE, format=row_format.value))


@cocotb.test()
async def gathers(dut):
    """Rows of all lengths around those of segments, indices that repeat and that are missing."""
    bench, rng = await bench_of(dut, SEED + 2)
    segment = 8 * bench.config.rows
    for channels in (1, bench.config.rows + 1, segment - 1, segment, segment + 1, 2 * segment, 2 * segment + 1):
        await bench.compute(VectorCase(rng, bench.config, VectorOp.GATHER, channels=channels))


@cocotb.test()
async def rotations(dut):
    """Both pairings, all dims of a head and some."""
    bench, rng = await bench_of(dut, SEED + 3)
    for interleaved in (0, 1):
        for channels, pairs in ((2, 1), (8, 4), (9, 4), (bench.config.max_head_dim, bench.config.max_head_dim // 2),
                                (bench.config.max_head_dim, 3)):
            await bench.compute(VectorCase(rng, bench.config, VectorOp.ROTATE, channels=channels, pairs=pairs,
                                           interleaved=interleaved, groups=2))


@cocotb.test()
async def choices(dut):
    """The largest of few and of many values; lanes from everywhere to everywhere."""
    bench, rng = await bench_of(dut, SEED + 4)
    for channels in (1, 7, 8, 9, 60):
        await bench.compute(VectorCase(rng, bench.config, VectorOp.LARGEST, channels=channels))
    for first in range(bench.config.rows):
        for last in range(first, bench.config.rows):
            await bench.compute(VectorCase(rng, bench.config, VectorOp.LANES, first_lane=first, last_lane=last))


@cocotb.test()
async def random_jobs(dut):
    """Any job after any other."""
    bench, rng = await bench_of(dut, SEED + 5)
    for _ in range(JOBS):
        await bench.compute(VectorCase(rng, bench.config))
