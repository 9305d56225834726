"""The attention engine under bad input: each fault has its precise status, none hangs, the next job runs right."""

import os
import random

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge
from olivine.attention.descriptor import (
    ENTRY_BYTES,
    FIELDS,
    GROUP_FIELDS,
    AttentionDescriptor,
    AttentionGroup,
    OutputFormat,
)
from olivine.control.job import StatusCode
from olivine.olive.formats import LaneFormat

from tb.attention.bench import AttentionBench, random_job, random_merge
from tb.axi_memory import DECERR, SLVERR
from tb.streams import pack, unpack

SEED = int(os.environ.get("OLIVINE_SEED", "1"))
DESCRIPTORS = int(os.environ.get("OLIVINE_DESCRIPTORS", "2000"))
STRIDE = int(os.environ.get("OLIVINE_STRIDE", "1"))


def small_job(rng, config, **fixed):
    """A job of a few hundred cycles with every kind of transfer in it."""
    return random_job(rng, config, **{
        "head_dim": 8, "groups": 2, "rows": config.rows + 1, "keys": config.lanes + 3, "heads": 1, "causal": False,
        "window": 0, "key_format": LaneFormat.OVP4_INT, "value_format": LaneFormat.INT8,
        "o_format": OutputFormat.INT16, "lse": True, **fixed})


def fields_of(layout, bits):
    return {name: int(getattr(value, "value", value)) for name, value in unpack(layout, bits).items()}


def spoil(rng, config, fields):
    """Make one or two fields of a descriptor illegal; returns their names."""
    outside = 1 << config.addr_width
    choices = {
        "opcode": lambda: rng.choice([0, 1, rng.randrange(4, 256)]),
        "q_format": lambda: rng.choice([2, 3]),
        "lse": lambda: 1,
        "head_dim": lambda: rng.choice([0, rng.randrange(1, 8), config.max_head_dim + 8, 8 * rng.randrange(0, 5) + 3,
                                        511]),
        "heads": lambda: 0,
        "groups": lambda: 0,
        "table": lambda: rng.choice([fields["table"] + rng.randrange(1, ENTRY_BYTES), outside]),
        "reserved": lambda: 1 << rng.randrange(AttentionDescriptor["reserved"].width),
    }
    spoilt = rng.sample(sorted(choices), rng.choice([1, 1, 1, 2]))
    for name in spoilt:
        fields[name] = choices[name]()
        if name == "lse":
            # Partial results have no log-sum-exp beside them.
            fields["o_format"] = OutputFormat.PARTIAL.value
    return spoilt


def spoil_entry(rng, config, job, fields):
    """Make a field of an entry illegal; returns its name."""
    outside = 1 << config.addr_width
    choices = {
        "q": lambda: outside, "o": lambda: rng.choice([fields["o"] | 1, outside]),
        "lse": lambda: rng.choice([fields["lse"] + rng.randrange(1, 4), outside]),
        "zero_shift": lambda: 1 << rng.randrange(4),
        "bases": lambda: rng.choice([fields["bases"] + rng.randrange(1, 8), outside]),
        "zero_bases": lambda: 1 << rng.randrange(16), "rows": lambda: 0,
        "keys": lambda: rng.choice([0, config.max_sequence + 1, (1 << 20) - 1]),
        "zero_keys": lambda: 1 << rng.randrange(24), "zero_position": lambda: 1 << rng.randrange(40),
        "zero_page": lambda: 1 << rng.randrange(32), "reserved": lambda: 1 << rng.randrange(64),
    }
    name = rng.choice(sorted(choices))
    fields[name] = choices[name]()
    return name


@cocotb.test()
async def illegal_descriptors(dut):
    """Every illegal field is named, nothing moves on the bus, and a legal job runs right in between."""
    bench = AttentionBench(dut, seed=SEED)
    await bench.start()
    rng, shapes = random.Random(SEED), np.random.default_rng(SEED)
    jobs = [small_job(shapes, bench.config) for _ in range(4)]
    seen = dict.fromkeys(FIELDS, 0)
    for index in range(DESCRIPTORS):
        fields = fields_of(AttentionDescriptor, rng.choice(jobs).descriptor)
        spoilt = spoil(rng, bench.config, fields)
        names = [name for name in FIELDS if name in spoilt]
        bursts = len(bench.memory.reads) + len(bench.memory.writes)
        status = await bench.submit(pack(AttentionDescriptor, fields))
        assert status["code"] is StatusCode.BAD_FIELD, (fields, spoilt, status)
        assert FIELDS[status["detail"]] == names[0], (fields, spoilt, FIELDS[status["detail"]])
        assert len(bench.memory.reads) + len(bench.memory.writes) == bursts, "a refused job reached the bus"
        seen[names[0]] += 1
        if index % 500 == 499:
            await bench.compute(rng.choice(jobs))
    assert all(seen[name] for name in ("opcode", "q_format", "lse", "head_dim", "heads", "groups", "table",
                                       "reserved")), seen


@cocotb.test()
async def illegal_entries(dut):
    """An illegal field of any entry is named, with the entry's address; bad bases are, with the page's."""
    bench = AttentionBench(dut, seed=SEED)
    await bench.start()
    rng, shapes = random.Random(SEED), np.random.default_rng(SEED)
    config = bench.config
    seen = set()
    for _ in range(max(30, DESCRIPTORS // 20)):
        job = small_job(shapes, config)
        group = rng.randrange(2)
        noise = bench.load(job)
        address = group * ENTRY_BYTES
        fields = fields_of(AttentionGroup, int.from_bytes(noise[address:address + ENTRY_BYTES], "little"))
        name = spoil_entry(rng, config, job, fields)
        spoilt = pack(AttentionGroup, fields).to_bytes(ENTRY_BYTES, "little")
        bench.memory.memory[address:address + ENTRY_BYTES] = spoilt
        untouched = bytearray(bench.memory.memory)
        status = await bench.submit(job.descriptor)
        assert status["code"] is StatusCode.BAD_ENTRY, (name, status)
        assert (GROUP_FIELDS[status["detail"]], status["address"]) == (name, address), (name, status)
        assert bench.untouched(job, untouched), "bytes outside the results changed"
        seen.add(name)
    assert len(seen) >= 8, seen
    for merge in (False, True):
        for wrong in (1, 1 << 48, 1 << 63):
            job = random_merge(shapes, config) if merge else small_job(shapes, config)
            bench.load(job)
            entry = job.entries[-1]
            bases = bench.memory.memory[entry["bases"]:entry["bases"] + 8]
            bench.memory.memory[entry["bases"]:entry["bases"] + 8] = (
                int.from_bytes(bases, "little") ^ wrong).to_bytes(8, "little")
            status = await bench.submit(job.descriptor)
            assert status["code"] is StatusCode.BAD_BASE, (merge, wrong, status)
            base = job.bases[-1][0] + job.page_offset
            assert status["address"] == (base + 1 if wrong == 1 else base), (merge, hex(base), status)
    await bench.compute(small_job(shapes, config))


def regions_of(job):
    """(address, bytes, is a write) of each part of a job that moves over the bus."""
    parts = [(address, len(content), False) for address, content in job.regions]
    return [*parts, (*job.output, True)]


@cocotb.test()
async def outside_windows(dut):
    """Each region of a job just outside its window, one after the other."""
    bench = AttentionBench(dut, seed=SEED)
    await bench.start()
    rng = np.random.default_rng(SEED)
    top = len(bench.memory.memory) - 1
    for make in (small_job, lambda rng, config: random_merge(rng, config)):
        job = make(rng, bench.config)
        untouched = bench.load(job)
        for first, size, write in regions_of(job):
            code = StatusCode.GUARD_WRITE if write else StatusCode.GUARD_READ
            last = first + size - 1
            everything_but = [(0, first - 1, 1, 1), (last + 1, top, 1, 1)] if first else [(last + 1, top, 1, 1)]
            wrong_kind = [*everything_but, (first, last, int(write), int(not write))]
            for windows in (everything_but, wrong_kind):
                bench.open(windows)
                status = await bench.submit(job.descriptor)
                assert status["code"] is code, (windows, hex(first), status)
                assert first <= status["address"] <= last, (windows, status)
                assert bench.untouched(job, untouched), "bytes outside the results changed"
        bench.open([(0, top, 1, 1)])
        await bench.compute(job)


@cocotb.test()
async def bus_errors(dut):
    """An error at each beat of each region: reported with its address, and the next job runs right."""
    bench = AttentionBench(dut, seed=SEED, latency=5)
    await bench.start()
    rng = np.random.default_rng(SEED)
    bus = bench.config.bus_bytes
    job = small_job(rng, bench.config, rows=2, groups=1, o_format=OutputFormat.PARTIAL, lse=False)
    reads = {SLVERR: StatusCode.READ_SLVERR, DECERR: StatusCode.READ_DECERR}
    writes = {SLVERR: StatusCode.WRITE_SLVERR, DECERR: StatusCode.WRITE_DECERR}
    untouched = bench.load(job)
    await bench.compute(job)
    touched = {beat for burst in bench.memory.reads for beat in
               range(burst.address // bus, burst.address // bus + burst.beats)}
    index = 0
    for first, length, write in regions_of(job):
        codes = writes if write else reads
        for beat in range(first // bus, (first + length - 1) // bus + 1, STRIDE):
            if not write and beat not in touched:
                continue        # a cell of a page that no key takes
            response = (SLVERR, DECERR)[index % 2]
            index += 1
            low = max(beat * bus, first)
            high = min(beat * bus + bus, first + length) - 1
            untouched = bench.load(job)
            bench.memory.inject(response, low, high, reads=not write, writes=write)
            status = await bench.submit(job.descriptor)
            assert status["code"] is codes[response], (hex(low), status)
            if write:
                bad = [burst for burst in bench.memory.writes if burst.address == status["address"] // bus * bus]
                assert any(burst.address // bus <= beat < burst.address // bus + burst.beats for burst in bad)
            else:
                assert status["address"] // bus == beat, (hex(low), status)
            assert bench.memory.outstanding == 0, "reported before the bus was quiet"
            assert bench.untouched(job, untouched), "bytes outside the results changed"
            bench.memory.heal()
            if index % 16 == 0:
                await bench.compute(job)
    assert index > 20 // STRIDE
    await bench.compute(job)


@cocotb.test()
async def silence(dut):
    """A bus that is silent for a while, for longer than the limit, and for good."""
    limit = 200
    bench = AttentionBench(dut, seed=SEED, timeout=limit)
    await bench.start()
    rng = np.random.default_rng(SEED)
    timeouts = 0
    for index in range(6):
        job = small_job(rng, bench.config)
        begin = 20 + 70 * index
        bench.memory.silence(begin, limit - 50)
        await bench.compute(job)
        bench.load(job)
        bench.memory.silence(begin, 3 * limit)
        status = await bench.submit(job.descriptor)
        if status["code"] is StatusCode.OK:
            bench.memory.silence(None)
        else:
            assert status["code"] is StatusCode.TIMEOUT, status
            timeouts += 1
        await bench.compute(job)
    assert timeouts
    job = small_job(rng, bench.config)
    bench.load(job)
    bench.memory.silence(100)
    status = await bench.submit(job.descriptor)
    assert status["code"] is StatusCode.TIMEOUT, status
    for _ in range(3 * limit):
        await RisingEdge(dut.aclk)
        assert dut.job_ready.value == 0, "a job was taken while the bus owed answers"
    bench.memory.silence(None)
    await bench.reset()
    await bench.compute(job)


@cocotb.test()
async def reset_in_mid_job(dut):
    """Joint reset at any cycle of a job."""
    bench = AttentionBench(dut, seed=SEED)
    await bench.start()
    rng = np.random.default_rng(SEED)
    for index in range(12):
        job = random_merge(rng, bench.config) if index % 4 == 3 else small_job(rng, bench.config)
        bench.load(job)
        bench.jobs.push(job.descriptor)
        await bench.jobs.drained()
        for _ in range(int(rng.integers(1, 700))):
            await RisingEdge(dut.aclk)
        await bench.reset()
        await bench.compute(job)
