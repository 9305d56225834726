"""The vector engine under bad input: each fault has its precise status, never a hang, and the next job runs right."""

import os
import random

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge
from olivine.control.job import StatusCode
from olivine.vector.descriptor import FIELDS, NO_INDEX, Norm, VectorDescriptor, VectorOp
from olivine.vector.formats import MAX_CHANNELS
from olivine_golden.vector.job import bad_field

from tb.axi_memory import DECERR, SLVERR
from tb.streams import pack
from tb.vector.bench import VectorBench, VectorCase

SEED = int(os.environ.get("OLIVINE_SEED", "1"))
DESCRIPTORS = int(os.environ.get("OLIVINE_DESCRIPTORS", "2000"))
STRIDE = int(os.environ.get("OLIVINE_STRIDE", "1"))

READS = {SLVERR: StatusCode.READ_SLVERR, DECERR: StatusCode.READ_DECERR}
WRITES = {SLVERR: StatusCode.WRITE_SLVERR, DECERR: StatusCode.WRITE_DECERR}


def small_cases(rng, config):
    """A job of each kind with every kind of transfer in it, of a few hundred cycles."""
    rows = config.rows
    yield VectorCase(rng, config, VectorOp.RESIDUAL, add=1, fresh=0, norm=Norm.LAYER, channels=2 * rows + 1, groups=2)
    yield VectorCase(rng, config, VectorOp.RESIDUAL, add=1, fresh=1, norm=Norm.REQUANTIZE, channels=7, groups=2)
    yield VectorCase(rng, config, VectorOp.GATE, channels=9, groups=2)
    yield VectorCase(rng, config, VectorOp.ROTATE, channels=6, pairs=2, heads=2, groups=2)
    while True:
        case = VectorCase(rng, config, VectorOp.GATHER, channels=9 * rows + 1, groups=1)
        if len({*case.indices.tolist()}) > 1:
            break
    yield case
    yield VectorCase(rng, config, VectorOp.LARGEST, channels=9, groups=1)
    yield VectorCase(rng, config, VectorOp.LANES, channels=9, groups=2)


def beats_read(case, config):
    """Addresses of the beats of each region that a job reads."""
    beat, job = config.bus_bytes, case.fields
    for name, (place, size) in case.regions.items():
        if (place, size) in case.written and not (name == "r" and not job["fresh"]) and name != "x":
            continue
        if name == "x" and case.op is VectorOp.GATHER:
            stride = -(-job["channels"] // config.rows) * beat
            chosen = sorted({index for index in case.indices.tolist() if index < 1 << 31})
            yield from (place + index * stride + at for index in chosen for at in range(0, stride, beat))
        else:
            yield from range(place, place + size, beat)


def touches(case, at):
    return any(place <= at < place + size for place, size in case.written)


@cocotb.test()
async def illegal_descriptors(dut):
    """Every illegal field is named, nothing moves on the bus, and a legal job runs right in between."""
    bench = VectorBench(dut, seed=SEED)
    await bench.start()
    rng, shapes = random.Random(SEED), np.random.default_rng(SEED)
    config = bench.config
    cases = [VectorCase(shapes, config, op, channels=6) for op in VectorOp for _ in range(4)]
    seen = dict.fromkeys(FIELDS, 0)
    widths = {name: field.width for name, field in VectorDescriptor}
    edges = (0, 1, 2, 3, config.rows - 1, config.rows, config.contexts, config.contexts + 1, config.max_head_dim + 1,
             7, 8, 12, 13, MAX_CHANNELS, MAX_CHANNELS + 1, (1 << 53) + 1, config.bus_bytes, config.bus_bytes // 2,
             1 << config.addr_width)
    index = 0
    while index < DESCRIPTORS:
        fields = dict(rng.choice(cases).fields)
        for name in rng.sample(FIELDS, rng.choice([1, 1, 1, 2])):
            value = rng.choice((rng.choice(edges), rng.getrandbits(widths[name]), 1 << rng.randrange(widths[name])))
            fields[name] = value & (1 << widths[name]) - 1
        bad = bad_field(config, fields)
        if bad is None:
            # Still legal: it would be a job somewhere in memory.
            continue
        bursts = len(bench.memory.reads) + len(bench.memory.writes)
        status = await bench.submit(pack(VectorDescriptor, fields))
        assert status["code"] is StatusCode.BAD_FIELD, (fields, bad, status)
        assert FIELDS[status["detail"]] == bad, (fields, bad, FIELDS[status["detail"]])
        assert len(bench.memory.reads) + len(bench.memory.writes) == bursts, "a refused job reached the bus"
        seen[bad] += 1
        index += 1
        if index % 500 == 0:
            await bench.compute(rng.choice(cases))
    assert DESCRIPTORS < 1000 or all(seen.values()), seen


@cocotb.test()
async def outside_windows(dut):
    """Each region of a job just outside its window, one after the other."""
    bench = VectorBench(dut, seed=SEED)
    await bench.start()
    rng = np.random.default_rng(SEED)
    top = len(bench.memory.memory) - 1
    for case in small_cases(rng, bench.config):
        bench.load(case)
        untouched = bytes(bench.memory.memory)
        for name, (first, size) in case.regions.items():
            reads = name != "y" and not (name == "r" and case.fields["fresh"])
            if case.op is VectorOp.GATHER and name == "x" or case.regions["y"] == case.regions["x"]:
                # Not all of a table is read; and what is done in place is read and written.
                continue
            last = first + size - 1
            code = StatusCode.GUARD_READ if reads else StatusCode.GUARD_WRITE
            everything_but = [(0, first - 1, 1, 1), (last + 1, top, 1, 1)] if first else [(last + 1, top, 1, 1)]
            wrong_kind = [*everything_but, (first, last, code is StatusCode.GUARD_WRITE, code is StatusCode.GUARD_READ)]
            for windows in (everything_but, wrong_kind):
                bench.open(windows)
                status = await bench.submit(case.descriptor)
                assert status["code"] is code, (case.op, name, windows, status)
                assert first <= status["address"] <= last, (name, windows, status)
                changed = [at for at, (a, b) in enumerate(zip(bench.memory.memory, untouched))
                           if a != b and not touches(case, at)]
                assert not changed, "a byte outside the results changed"
        bench.open([(0, top, 1, 1)])
        await bench.compute(case)


@cocotb.test()
async def far_rows(dut):
    """A table's row beyond the address space is refused, however far; no address wraps around."""
    bench = VectorBench(dut, seed=SEED)
    await bench.start()
    rng = np.random.default_rng(SEED)
    bench.open([(0, (1 << bench.config.addr_width) - 1, 1, 1)])
    for index in (1 << 27, 1 << 30, 0xFFFF_FFFE, 0x8000_0000):
        case = VectorCase(rng, bench.config, VectorOp.GATHER, channels=61 * bench.config.rows, groups=1)
        case.indices[:] = 0
        case.indices[-1] = index
        case.fill(bench.memory.memory)
        status = await bench.submit(case.descriptor)
        far = case.fields["x"] + index * 61 * bench.config.bus_bytes
        reached = far < 1 << bench.config.addr_width
        assert status["code"] is (StatusCode.READ_DECERR if reached else StatusCode.GUARD_READ), (index, status)
        if reached:
            assert status["address"] == far, (index, status)
        else:
            assert status["address"] >> bench.config.addr_width, (index, status)
    # A multiple of the address space, so that the bits that addresses have would be those of the table's begin.
    case.indices[:] = NO_INDEX
    case.indices[-1] = (1 << 33) // bench.config.bus_bytes
    case.fill(bench.memory.memory)
    case.fields["channels"] = (1 << 16) * bench.config.rows
    status = await bench.submit(case.descriptor, timeout=2_000)
    assert status["code"] is StatusCode.GUARD_READ, status
    bench.open([(0, len(bench.memory.memory) - 1, 1, 1)])
    await bench.compute(VectorCase(rng, bench.config, VectorOp.GATHER))


@cocotb.test()
async def bus_errors(dut):
    """An error at each beat of each region: reported with its address, and the next job runs right."""
    bench = VectorBench(dut, seed=SEED, latency=5)
    await bench.start()
    rng = np.random.default_rng(SEED)
    bus, index = bench.config.bus_bytes, 0
    for case in small_cases(rng, bench.config):
        reads = [(at, READS) for at in beats_read(case, bench.config)]
        writes = [(at, WRITES) for place, size in case.written for at in range(place, place + size, bus)]
        for at, codes in [*reads, *writes][index % STRIDE::STRIDE]:
            response = (SLVERR, DECERR)[index % 2]
            index += 1
            expected, _ = bench.load(case)
            bench.memory.inject(response, at, at + bus - 1, reads=codes is READS, writes=codes is WRITES)
            status = await bench.submit(case.descriptor)
            assert status["code"] is codes[response], (case.op, case.fields, hex(at), status)
            if codes is READS:
                assert status["address"] // bus == at // bus, (hex(at), status)
            else:
                bad = [burst for burst in bench.memory.writes if burst.address == status["address"] // bus * bus]
                assert any(burst.address <= at < burst.address + burst.beats * bus for burst in bad), (hex(at), status)
            assert bench.memory.outstanding == 0, "reported before the bus was quiet"
            outside = [place for place, (a, b) in enumerate(zip(bench.memory.memory, expected))
                       if a != b and not touches(case, place)]
            assert not outside, "bytes outside the results changed"
            bench.memory.heal()
            if index % 8 == 0:
                await bench.compute(case)
        await bench.compute(case)


@cocotb.test()
async def silence(dut):
    """A bus that is silent for a while, for longer than the limit, and for good."""
    limit = 200
    bench = VectorBench(dut, seed=SEED, timeout=limit)
    await bench.start()
    rng = np.random.default_rng(SEED)
    for number, case in enumerate(small_cases(rng, bench.config)):
        begin = 10 + 25 * number
        bench.memory.silence(begin, limit - 50)
        await bench.compute(case)
        await bench.ready()
        bench.load(case)
        bench.memory.silence(begin, 3 * limit)
        status = await bench.submit(case.descriptor)
        assert status["code"] in (StatusCode.TIMEOUT, StatusCode.OK), status
        if status["code"] is StatusCode.OK:
            # The job was over before the silence.
            bench.memory.silence(None)
        await bench.compute(case)
    bench.load(case)
    bench.memory.silence(30)
    status = await bench.submit(case.descriptor)
    assert status["code"] is StatusCode.TIMEOUT, status
    for _ in range(3 * limit):
        await RisingEdge(dut.aclk)
        assert dut.job_ready.value == 0, "a job was taken while the bus owed answers"
    bench.memory.silence(None)
    await bench.reset()
    await bench.compute(case)


@cocotb.test()
async def given_up(dut):
    """A job is given up in any cycle: it ends soon, with the bus quiet, and the next one runs right."""
    bench = VectorBench(dut, seed=SEED)
    await bench.start()
    rng = np.random.default_rng(SEED)
    edge = RisingEdge(dut.aclk)
    ended = dict.fromkeys((StatusCode.OK, StatusCode.ABORTED), 0)
    for case in [case for _ in range(1 + 4 // STRIDE) for case in small_cases(rng, bench.config)]:
        expected, tallies = bench.load(case)
        bench.jobs.push(case.descriptor)
        await bench.jobs.drained()
        for _ in range(int(rng.integers(0, 400))):
            await edge
        dut.abort.value = 1
        for _ in range(int(rng.integers(1, 8))):
            await edge
        dut.abort.value = 0
        status = await bench.collect()
        ended[status["code"]] += 1
        if status["code"] is StatusCode.OK:
            bench.check(case, expected, tallies, status)
        else:
            assert bench.memory.outstanding == 0, "reported before the bus was quiet"
            assert not [at for at, (a, b) in enumerate(zip(bench.memory.memory, expected))
                        if a != b and not touches(case, at)], "bytes outside the results changed"
        await bench.compute(case)
    assert all(ended.values()), ended


@cocotb.test()
async def late_rows(dut):
    """Until its rows are there a job reads norm parameters at most; then it runs right."""
    bench = VectorBench(dut, seed=SEED)
    await bench.start()
    rng = np.random.default_rng(SEED)
    for case in small_cases(rng, bench.config):
        expected, tallies = bench.load(case)
        rows = bytes(bench.memory.memory)
        # What the job may not read yet is not there yet.
        early = {"t"} if case.op is VectorOp.RESIDUAL else set()
        for name, (place, size) in case.regions.items():
            if name not in early and (place, size) not in case.written:
                bench.memory.memory[place:place + size] = bench.rng.bytes(size)
        dut.rows_ready.value = 0
        first = len(bench.memory.reads)
        bench.jobs.push(case.descriptor)
        await bench.jobs.drained()
        for _ in range(int(rng.integers(100, 300))):
            await RisingEdge(dut.aclk)
        asked = {burst.address for burst in bench.memory.reads[first:]}
        allowed = range(case.regions["t"][0], sum(case.regions["t"])) if early and "t" in case.regions else ()
        assert asked <= {*allowed}, (case.op, asked)
        assert bool(asked) == bool(allowed), "parameters are fetched early"
        assert len(bench.done.received) == bench.collected
        bench.memory.memory[:] = rows
        dut.rows_ready.value = 1
        bench.check(case, expected, tallies, await bench.collect())


@cocotb.test()
async def reset_in_mid_job(dut):
    """Joint reset at any cycle of a job."""
    bench = VectorBench(dut, seed=SEED)
    await bench.start()
    rng = np.random.default_rng(SEED)
    for case in small_cases(rng, bench.config):
        bench.load(case)
        bench.jobs.push(case.descriptor)
        await bench.jobs.drained()
        for _ in range(int(rng.integers(1, 300))):
            await RisingEdge(dut.aclk)
        await bench.reset()
        await bench.compute(case)
