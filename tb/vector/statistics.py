"""Statistics of groups of rows against golden, each in its cycle; the next group follows at once."""

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge
from olivine.vector.norm import NormStatistics
from olivine_golden.vector import NormJob
from olivine_golden.vector.norm import statistics, sums

from tb.numerics.pipeline import latency
from tb.streams import pack, start, unpack
from tb.vector.words import CONFIG, ROWS, shape_of, signed_values

LOW, HIGH = -1 << 23, (1 << 23) - 1
INPUT, JOB, OUTPUT = (shape_of(NormStatistics(CONFIG), name) for name in ("i", "job", "o"))


def rows_of(rng, channels):
    """Residuals [P, channels]: any, or far from 0 and hardly apart, or the largest."""
    kind = rng.integers(0, 4)
    if kind == 0:
        return signed_values(rng, 24, (ROWS, channels))
    if kind == 1:
        return rng.integers(LOW + 1, HIGH, (ROWS, 1)) + rng.integers(-1, 2, (ROWS, channels))
    if kind == 2:
        return rng.choice([LOW, HIGH], (ROWS, 1)) + np.zeros((1, channels), int)
    return rng.normal(0, 2000, (ROWS, channels)).astype(int)


async def groups(dut, rng, job, count, gaps):
    """Some groups of one job, as close together as allowed."""
    dut.job.value = pack(JOB, job._asdict())
    channels = job.channels
    enter, leave, at, idle = {}, {}, 0, 0
    for _ in range(count):
        x = rows_of(rng, channels)
        done = statistics(job, *sums(x))
        for channel in range(channels):
            last = channel == channels - 1
            if last:
                at = max(at, idle)
            enter[at] = {"place": {"valid": 1, "last": int(last), "rows": ROWS}, "data": x[:, channel].tolist()}
            if last:
                idle = at + latency() + 1
                leave[at + latency()] = [dict(zip(done._fields, (int(v[row]) for v in done))) for row in range(ROWS)]
            at += 1 + (int(rng.integers(0, 3)) if gaps else 0)
    garbage = pack(INPUT, {"place": {"last": 1, "rows": ROWS}, "data": [LOW] * ROWS})
    kept = None
    for cycle in range(max(leave) + 3):
        dut.i.value = pack(INPUT, enter[cycle]) if cycle in enter else garbage
        await RisingEdge(dut.clk)
        assert int(dut.o_valid.value) == (cycle in leave), cycle
        kept = leave.get(cycle, kept)
        if kept:
            got = unpack(OUTPUT, int(dut.o.value))
            assert got == kept, (cycle, got, kept, job)


@cocotb.test()
async def any_groups(dut):
    rng = np.random.default_rng(1)
    dut.i.value = dut.job.value = 0
    await start(dut)
    for index, channels in enumerate((1, 2, 3, 37, 64, 1, 100, 8, 129)):
        for centred in (True, False):
            await groups(dut, rng, NormJob.of(channels, (0, 1e-5, 1e-12)[index % 3], centred), 3, index % 2)


@cocotb.test()
async def longest(dut):
    """4,096 channels of the largest residuals."""
    rng = np.random.default_rng(2)
    dut.i.value = dut.job.value = 0
    await start(dut)
    job = NormJob.of(4096, 1e-5, True)
    dut.job.value = pack(JOB, job._asdict())
    x = np.full((ROWS, 4096), LOW)
    x[-1] = rng.choice([LOW, HIGH], 4096)
    done = statistics(job, *sums(x))
    for channel in range(4096):
        dut.i.value = pack(INPUT, {"place": {"valid": 1, "last": int(channel == 4095), "rows": ROWS},
                                   "data": x[:, channel].tolist()})
        await RisingEdge(dut.clk)
    dut.i.value = 0
    for _ in range(latency()):
        assert not int(dut.o_valid.value)
        await RisingEdge(dut.clk)
    assert int(dut.o_valid.value)
    got = unpack(OUTPUT, int(dut.o.value))
    assert got == [dict(zip(done._fields, (int(v[row]) for v in done))) for row in range(ROWS)]
