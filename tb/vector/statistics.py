"""Statistics of groups of rows against golden, each in its cycle; the next group follows at once."""

import cocotb
import numpy as np
from cocotb.triggers import ReadOnly, RisingEdge
from olivine.vector.norm import NormStatistics
from olivine_golden.vector import NormJob
from olivine_golden.vector.norm import statistics, sums

from tb.numerics.pipeline import latency
from tb.streams import pack, start, unpack
from tb.vector.words import CONFIG, LANES, shape_of, signed_values

LOW, HIGH = -1 << 23, (1 << 23) - 1
ROWS, PARTS = CONFIG.rows, CONFIG.vector_cycles
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


def word_part(x, part, last):
    """Input of the rows of a part; x is [P]."""
    values = x[part * LANES:(part + 1) * LANES].tolist()
    return pack(INPUT, {"place": {"valid": 1, "last": int(last), "counted": 0}, "data": values,
                        "squares": [value * value for value in values]})


def numbers_of(done):
    return [dict(zip(done._fields, (int(v[row]) for v in done))) for row in range(ROWS)]


async def take(dut, want, where):
    """Read the oldest rows and drop them."""
    assert int(dut.valid.value), where
    got = []
    for part in range(PARTS):
        if PARTS > 1:
            dut.part.value = part
        await ReadOnly()
        got += unpack(OUTPUT, int(dut.o.value))
        await RisingEdge(dut.clk)
    assert got == want, (where, got, want)
    dut.take.value = 1
    await RisingEdge(dut.clk)
    dut.take.value = 0


async def groups(dut, rng, job, count, gaps):
    """Some groups of one job, as close together as allowed, two at a time."""
    dut.job.value = pack(JOB, job._asdict())
    garbage = pack(INPUT, {"place": {"last": 1, "counted": 0}, "data": [LOW] * LANES})
    for _ in range(count):
        enter, settles, wanted, at, idle = {}, [], [], 0, 0
        for _ in range(2):
            x = rows_of(rng, job.channels)
            for channel in range(job.channels):
                last = channel == job.channels - 1
                at = max(at, idle) if last else at
                for part in range(PARTS):
                    enter[at] = word_part(x[:, channel], part, last)
                    at += 1 + (int(rng.integers(0, 3)) if gaps else 0)
                    ended = max(enter)
            settles.append(ended + latency())
            idle = settles[-1] + 1
            wanted.append(numbers_of(statistics(job, *sums(x))))
        for cycle in range(settles[-1] + 2):
            dut.i.value = enter.get(cycle, garbage)
            await RisingEdge(dut.clk)
            assert int(dut.settled.value) == (cycle in settles), cycle
        for want in wanted:
            await take(dut, want, job)
        await RisingEdge(dut.clk)
        assert not int(dut.valid.value)


async def begin(dut):
    dut.i.value = dut.job.value = dut.take.value = 0
    if PARTS > 1:
        dut.part.value = 0
    await start(dut)


@cocotb.test()
async def any_groups(dut):
    rng = np.random.default_rng(1)
    await begin(dut)
    for index, channels in enumerate((1, 2, 3, 37, 64, 1, 100, 8, 129)):
        for centred in (True, False):
            await groups(dut, rng, NormJob.of(channels, (0, 1e-5, 1e-12)[index % 3], centred), 3, index % 2)


@cocotb.test()
async def longest(dut):
    """4,096 channels of the largest residuals."""
    rng = np.random.default_rng(2)
    await begin(dut)
    job = NormJob.of(4096, 1e-5, True)
    dut.job.value = pack(JOB, job._asdict())
    x = np.full((ROWS, 4096), LOW)
    x[-1] = rng.choice([LOW, HIGH], 4096)
    for channel in range(4096):
        for part in range(PARTS):
            dut.i.value = word_part(x[:, channel], part, channel == 4095)
            await RisingEdge(dut.clk)
    dut.i.value = 0
    for _ in range(latency()):
        assert not int(dut.settled.value)
        await RisingEdge(dut.clk)
    assert int(dut.settled.value)
    await RisingEdge(dut.clk)
    await take(dut, numbers_of(statistics(job, *sums(x))), "longest")
