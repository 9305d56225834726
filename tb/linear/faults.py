"""The linear engine under bad input: each fault has its precise status, never a hang, and the next job runs right."""

import os
import random

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge
from olivine.control.job import StatusCode
from olivine.linear.descriptor import FIELDS, Group, LinearDescriptor, RowFormat
from olivine.olive.formats import LaneFormat

from tb.axi_memory import DECERR, SLVERR
from tb.linear.bench import EngineBench, fields_of, random_job
from tb.streams import pack

SEED = int(os.environ.get("OLIVINE_SEED", "1"))
DESCRIPTORS = int(os.environ.get("OLIVINE_DESCRIPTORS", "2000"))
STRIDE = int(os.environ.get("OLIVINE_STRIDE", "1"))


def small_job(rng, config, **fixed):
    """A job of a few hundred cycles with every kind of transfer in it."""
    return random_job(rng, config, **{"m": config.rows + 1, "k": 66, "n": config.lanes + 1,
                                      "weight_format": LaneFormat.OVP4_INT, "group": Group.G64, **fixed})


def spoil(rng, config, fields):
    """Make one or two fields illegal; returns their names."""
    wide_x, wide_y = fields["x_format"] != 0, fields["y_format"] != 0
    outside = 1 << config.addr_width
    choices = {
        "opcode": lambda: rng.choice([0, rng.randrange(2, 256)]),
        "x_format": lambda: rng.choice([2, 3]),
        "y_format": lambda: 3,
        "group": lambda: 3,
        "group_shift": lambda: rng.randrange(1, 64),
        "m": lambda: 0,
        "k": lambda: rng.choice([0, config.max_reduction + 1, rng.randrange(config.max_reduction + 1, 1 << 20)]),
        "n": lambda: 0,
        "x": lambda: rng.choice([fields["x"] | 1, outside]) if wide_x else outside * rng.randrange(1, 1 << 8),
        "w": lambda: rng.choice([fields["w"] + rng.randrange(1, config.bus_bytes), outside]),
        "y": lambda: rng.choice([fields["y"] | 1, outside]) if wide_y else outside * rng.randrange(1, 1 << 8),
        "reserved": lambda: 1 << rng.randrange(30),
    }
    spoilt = rng.sample(sorted(choices), rng.choice([1, 1, 1, 2]))
    for name in spoilt:
        if name == "group_shift":
            # A shift means something in groups only.
            fields["group"] = Group.CHANNEL.value
        fields[name] = choices[name]()
    return spoilt


@cocotb.test()
async def illegal_descriptors(dut):
    """Every illegal field is named, nothing moves on the bus, and a legal job runs right in between."""
    bench = EngineBench(dut, seed=SEED)
    await bench.start()
    rng, shapes = random.Random(SEED), np.random.default_rng(SEED)
    jobs = [random_job(shapes, bench.config, m=2, k=5, n=3) for _ in range(8)]
    seen = dict.fromkeys(FIELDS, 0)
    for index in range(DESCRIPTORS):
        fields = fields_of(rng.choice(jobs).descriptor)
        spoilt = spoil(rng, bench.config, fields)
        # The first illegal field is reported; a field spoilt later may have made an earlier one illegal or legal.
        names = [name for name in FIELDS if name in spoilt]
        if "group" in spoilt and "group_shift" in spoilt:
            names.remove("group" if fields["group"] == Group.CHANNEL.value else "group_shift")
        bursts = len(bench.memory.reads) + len(bench.memory.writes)
        status = await bench.submit(pack(LinearDescriptor, fields))
        assert status["code"] is StatusCode.BAD_FIELD, (fields, spoilt, status)
        assert FIELDS[status["detail"]] == names[0], (fields, spoilt, FIELDS[status["detail"]])
        assert len(bench.memory.reads) + len(bench.memory.writes) == bursts, "a refused job reached the bus"
        seen[names[0]] += 1
        if index % 500 == 499:
            await bench.compute(rng.choice(jobs))
    assert all(count for name, count in seen.items() if name != "weight_format"), seen


@cocotb.test()
async def outside_windows(dut):
    """Each region of a job just outside its window, one after the other."""
    bench = EngineBench(dut, seed=SEED)
    await bench.start()
    rng = np.random.default_rng(SEED)
    config, top = bench.config, len(bench.memory.memory) - 1
    for _ in range(3):
        job = small_job(rng, config)
        (w, image), (x, rows) = job.regions
        y, size = job.output
        bench.load(job)
        untouched = bytes(bench.memory.memory)
        for first, last, code in ((w, w + len(image) - 1, StatusCode.GUARD_READ),
                                  (x, x + len(rows) - 1, StatusCode.GUARD_READ),
                                  (y, y + size - 1, StatusCode.GUARD_WRITE)):
            everything_but = [(0, first - 1, 1, 1), (last + 1, top, 1, 1)]
            late = [(0, last - 1, 1, 1), (last + 1, top, 1, 1)]
            wrong_kind = [*everything_but, (first, last, code is StatusCode.GUARD_WRITE, code is StatusCode.GUARD_READ)]
            for windows in (everything_but, late, wrong_kind):
                bench.open(windows)
                status = await bench.submit(job.descriptor)
                assert status["code"] is code, (windows, status)
                assert first <= status["address"] <= last, (windows, status)
                if windows is not late:
                    assert status["address"] == first, (windows, status)
                bench.memory.memory[:] = bytes(
                    b if y <= at < y + size else a
                    for at, (a, b) in enumerate(zip(bench.memory.memory, untouched)))
                assert bytes(bench.memory.memory) == untouched, "a byte outside the results changed"
        bench.open([(0, top, 1, 1)])
        await bench.compute(job)
    # Off the end of the address space: no address wraps around to an open window.
    bench.open([(0, (1 << config.addr_width) - 1, 1, 1)])
    fields = fields_of(job.descriptor)
    for name, code in (("x", StatusCode.GUARD_READ), ("w", StatusCode.GUARD_READ), ("y", StatusCode.GUARD_WRITE)):
        status = await bench.submit(pack(LinearDescriptor, {
            **fields, name: (1 << config.addr_width) - 64, "m": 64, "x_format": RowFormat.INT8.value}))
        assert status["code"] in (code, StatusCode.READ_DECERR, StatusCode.WRITE_DECERR), (name, status)
    bench.open([(0, top, 1, 1)])
    await bench.compute(job)


@cocotb.test()
async def bus_errors(dut):
    """An error at each beat of each region: reported with its address, and the next job runs right."""
    bench = EngineBench(dut, seed=SEED, latency=5)
    await bench.start()
    rng = np.random.default_rng(SEED)
    bus = bench.config.bus_bytes
    job = small_job(rng, bench.config, k=9, group=Group.CHANNEL)
    (w, image), (x, rows) = job.regions
    y, size = job.output
    reads = {SLVERR: StatusCode.READ_SLVERR, DECERR: StatusCode.READ_DECERR}
    writes = {SLVERR: StatusCode.WRITE_SLVERR, DECERR: StatusCode.WRITE_DECERR}
    index = 0
    for first, length, codes in ((w, len(image), reads), (x, len(rows), reads), (y, size, writes)):
        for beat in range(first // bus, (first + length - 1) // bus + 1, STRIDE):
            response = (SLVERR, DECERR)[index % 2]
            index += 1
            low = max(beat * bus, first)
            high = min(beat * bus + bus, first + length) - 1
            expected = bench.load(job)
            bench.memory.inject(response, low, high, reads=codes is reads, writes=codes is writes)
            status = await bench.submit(job.descriptor)
            assert status["code"] is codes[response], (hex(low), status)
            if codes is reads:
                assert status["address"] // bus == beat, (hex(low), status)
            else:
                bad = [burst for burst in bench.memory.writes if burst.address == status["address"] // bus * bus]
                assert bad and any(burst.address // bus <= beat < burst.address // bus + burst.beats for burst in bad)
            assert bench.memory.outstanding == 0, "reported before the bus was quiet"
            outside = [at for at, (a, b) in enumerate(zip(bench.memory.memory, expected))
                       if a != b and not y <= at < y + size]
            assert not outside, "bytes outside the results changed"
            bench.memory.heal()
            if index % 8 == 0:
                await bench.compute(job)
    await bench.compute(job)


@cocotb.test()
async def silence(dut):
    """A bus that is silent for a while, for longer than the limit, and for good."""
    limit = 200
    bench = EngineBench(dut, seed=SEED, timeout=limit)
    await bench.start()
    rng = np.random.default_rng(SEED)
    edge = RisingEdge(dut.aclk)
    for index in range(6):
        job = small_job(rng, bench.config)
        # Shorter than the limit: only slow.
        begin = 20 + 110 * index
        bench.memory.silence(begin, limit - 50)
        nominal = (await bench.compute(job))["cycles"]
        # Longer: reported at once, late beats are dropped, the next job waits for the bus and runs right.
        bench.load(job)
        start = bench.memory.cycle
        bench.memory.silence(begin, 3 * limit)
        status = await bench.submit(job.descriptor)
        if status["code"] is StatusCode.OK:
            # The job was over before the silence.
            assert bench.memory.cycle - start < begin + limit
            bench.memory.silence(None)
        else:
            assert status["code"] is StatusCode.TIMEOUT, status
            # The limit runs from when the job next needs the bus.
            assert bench.memory.cycle - start < max(begin, nominal) + limit + 40, "the status came late"
        await bench.compute(job)
    # For good: a status, no new job is taken, and the joint reset helps.
    job = small_job(rng, bench.config)
    bench.load(job)
    bench.memory.silence(100)
    status = await bench.submit(job.descriptor)
    assert status["code"] is StatusCode.TIMEOUT, status
    for _ in range(3 * limit):
        await edge
        assert dut.job_ready.value == 0, "a job was taken while the bus owed answers"
    bench.memory.silence(None)
    await bench.reset()
    await bench.compute(job)


@cocotb.test()
async def reset_in_mid_job(dut):
    """Joint reset at any cycle of a job."""
    bench = EngineBench(dut, seed=SEED)
    await bench.start()
    rng = np.random.default_rng(SEED)
    for _ in range(12):
        job = small_job(rng, bench.config)
        bench.load(job)
        bench.jobs.push(job.descriptor)
        await bench.jobs.drained()
        for _ in range(int(rng.integers(1, 700))):
            await RisingEdge(dut.aclk)
        await bench.reset()
        await bench.compute(job)
