"""Cycles of append jobs against what they must read and write, on the `edge` preset and a memory of 30 cycles."""

import os

import cocotb
import numpy as np
from olivine.kvcache.descriptor import CachePolicy
from olivine.linear.descriptor import RowFormat
from olivine.olive.formats import LaneFormat

from tb.kvcache.append_bench import AppendBench, AppendCase

SEED = int(os.environ.get("OLIVINE_SEED", "1"))
MEMORY = 6 << 20
HEADS = 12
START = 200
"""Cycles of a job besides its beats: tables, lookups, the first and the last transfer's latency."""


async def measure(dut, limit, key_format=LaneFormat.INT8, value_format=LaneFormat.INT8, row_format=RowFormat.INT8,
                  policies=(CachePolicy.NONE,), start=START, **fixed):
    """Run a job of `HEADS` heads of 64 dims, and hold its cycles against ``limit`` for each head."""
    bench = AppendBench(dut, seed=SEED, size=MEMORY)
    await bench.start()
    case = AppendCase(np.random.default_rng(SEED), bench.config, heads=HEADS, geometry_heads=HEADS, head_dim=64,
                      key_format=key_format, value_format=value_format, row_format=row_format, policies=policies,
                      channels=0, full=0, **fixed)
    status = await bench.compute(case)
    cycles = status["cycles"]
    dut._log.info(f"{cycles} cycles, {cycles / HEADS:.1f} a head; beats a head: "
                  f"{status['beats_read'] / HEADS:.1f} read, {status['beats_written'] / HEADS:.1f} written")
    assert cycles <= start + HEADS * limit, (cycles, start, limit)


@cocotb.test()
async def one_row(dut):
    """A decode step of one sequence: 64 beats of keys, 4 of values."""
    await measure(dut, 72, rows=1, reserved=1, length=21)


@cocotb.test()
async def prompt(dut):
    """64 rows of one sequence: for 8 rows 64 beats of keys and 32 of values."""
    await measure(dut, 1.1 * 8 * 96, rows=64, reserved=64, length=0)


@cocotb.test()
async def wide_prompt(dut):
    """Rows in 16-bit containers: 128 beats read for 96 written."""
    await measure(dut, 1.1 * 8 * 128, rows=64, reserved=64, length=0, row_format=RowFormat.INT16)


@cocotb.test()
async def narrow_prompt(dut):
    """4 bit: for 8 rows 32 beats of keys and 16 of values, and 64 pairs of dims to encode."""
    await measure(dut, 1.1 * 8 * 64, rows=64, reserved=64, length=0, key_format=LaneFormat.OVP4_INT,
                  value_format=LaneFormat.OVP4_FLINT)


@cocotb.test()
async def batch(dut):
    """A decode step of eight sequences."""
    await measure(dut, 1.05 * 8 * 68, rows=8, reserved=1)


@cocotb.test()
async def heavy_batch(dut):
    """The same of heavy hitters in 4 bit, whose free cells are read."""
    await measure(dut, 1.1 * 8 * 34, rows=8, reserved=1, policies=(CachePolicy.HEAVY,),
                  key_format=LaneFormat.OVP4_INT, value_format=LaneFormat.OVP4_INT)
