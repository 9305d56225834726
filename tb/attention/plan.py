"""Planner: every illegal field, and every number of the plan, against golden.

Parameters: OLIVINE_CONFIG, OLIVINE_LATENCY.
"""

import random
from itertools import product

import cocotb
from amaranth.hdl import Shape
from cocotb.triggers import RisingEdge
from olivine.attention.descriptor import FIELDS, OPCODE_SCORE, AttentionDescriptor, OutputFormat
from olivine.attention.plan import plan_layout
from olivine.linear.descriptor import RowFormat
from olivine.olive.formats import LaneFormat
from olivine_golden.attention_legal import illegal_field

from tb.attention.jobs import CONFIG, descriptor, random_job, random_merge
from tb.numerics.pipeline import latency
from tb.streams import pack, start, unpack

LAYOUT = plan_layout(CONFIG)


def illegal_changes(rng, values):
    """Every way to spoil each field of a legal descriptor: (field, value)."""
    most = CONFIG.max_head_dim
    changes = {
        "opcode": [0, 1, 4, 128 + 2, 255, 2 ^ 1 << 1, *(2 ^ 1 << bit for bit in range(3, 8))],
        "q_format": [2, 3],
        "lse": [1] if values["o_format"] == OutputFormat.PARTIAL.value else [],
        "head_dim": [0, most + 8, 1, 2, 4, most - 1, 12, (1 << 9) - 8],
        "heads": [0], "groups": [0],
        "table": [values["table"] | 1 << bit for bit in (*range(6), *range(CONFIG.addr_width, 48))],
        "tree": [1], "cells": [1], "hitters": [1],      # without a cached job
        "reserved": [*(1 << bit for bit in range(0, 132, 5)), 1 << 131, rng.getrandbits(132) | 1],
    }
    return [(name, value) for name, options in changes.items() for value in options]


def any_job(rng):
    """The largest numbers as well as those of a simulation: no group's operands are looked at."""
    job = rng.choice((random_job, random_merge))(rng)
    values = job.fields()
    values |= {"heads": rng.choice((1, 511, rng.randint(1, 511))), "groups": rng.choice((1, 65_535, rng.randint(1, 9))),
               "window": rng.choice((0, (1 << 20) - 1, rng.getrandbits(20)))}
    return job, values


def plan_of(job, values):
    plan = {**job.plan(), **{name: values[name] for name in ("heads", "groups", "window")}}
    return pack(LAYOUT, {name: value for name, value in plan.items() if name in LAYOUT.members})


class Bench:
    """Puts in one descriptor after the other, and holds each."""

    def __init__(self, dut):
        self.dut = dut
        dut.job.value = dut.geometry.value = 0

    async def look(self, values):
        """What the unit says of a descriptor: (bad, field, plan), each at its latency, the job held."""
        self.dut.job.value = descriptor(values)
        await RisingEdge(self.dut.clk)      # the job is there
        await RisingEdge(self.dut.clk)      # a cycle later
        bad, field = int(self.dut.bad.value), int(self.dut.field.value)
        for _ in range(latency() - 1):
            await RisingEdge(self.dut.clk)
        return bad, field, int(self.dut.plan.value)


@cocotb.test()
async def plans(dut):
    """All numbers of legal descriptors: every head dimension with every format, and any others."""
    rng, bench = random.Random(1), Bench(dut)
    await start(dut)
    cases = [any_job(rng) for _ in range(200)]
    for head_dim, value_format, o_format in product(range(8, CONFIG.max_head_dim + 1, 8), LaneFormat, OutputFormat):
        job = random_job(rng, groups=1, rows=1, keys=1, head_dim=head_dim, value_format=value_format, o_format=o_format)
        cases.append((job, job.fields()))
    for job, values in cases:
        assert illegal_field(CONFIG, values) is None
        bad, _, plan = await bench.look(values)
        assert not bad, values
        expected = plan_of(job, values)
        assert plan == expected, {name: (got, want) for (name, got), want in zip(
            unpack(LAYOUT, plan).items(), unpack(LAYOUT, expected).values()) if got != want}


@cocotb.test()
async def spoils_one_field(dut):
    """Each illegal value of each field is found and named."""
    rng, bench = random.Random(2), Bench(dut)
    await start(dut)
    seen = set()
    for make, o_format in product((random_job, random_merge), (OutputFormat.PARTIAL, OutputFormat.INT8)):
        legal = make(rng, o_format=o_format).fields()
        for name, value in illegal_changes(rng, legal):
            bad, field, _ = await bench.look({**legal, name: value})
            assert bad and FIELDS[field] == name, (name, value, bad, field)
            seen.add(name)
    assert seen == set(FIELDS) - {"cached", "key_format", "value_format", "o_format", "causal", "window"}


@cocotb.test()
async def names_the_first(dut):
    """Of several illegal fields the first is reported, and legal descriptors in between are legal."""
    rng, bench = random.Random(3), Bench(dut)
    await start(dut)
    for _ in range(300):
        _, values = any_job(rng)
        for name, value in rng.sample(illegal_changes(rng, values), rng.randint(0, 4)):
            values[name] = value
        bad, field, _ = await bench.look(values)
        first = illegal_field(CONFIG, values)
        assert (bad, FIELDS[field] if bad else None) == (int(first is not None), first), values


@cocotb.test()
async def random_bits(dut):
    """Some fields hold noise."""
    rng, bench = random.Random(4), Bench(dut)
    await start(dut)
    legal = 0
    for _ in range(400):
        _, values = any_job(rng)
        for name in rng.sample(sorted(values), rng.randint(0, 3)):
            values[name] = rng.getrandbits(Shape.cast(AttentionDescriptor[name].shape).width)
        # What is legal of cached and score jobs is seen with the joined core.
        values |= {"cached": 0, "opcode": 0 if values["opcode"] == OPCODE_SCORE else values["opcode"]}
        bad, field, _ = await bench.look(values)
        first = illegal_field(CONFIG, values)
        legal += first is None
        assert (bad, FIELDS[field] if bad else None) == (int(first is not None), first), values
    assert 80 < legal < 320


@cocotb.test()
async def latencies(dut):
    """From a new descriptor to its plan, `latency` cycles; to ``bad``, one."""
    rng, bench = random.Random(5), Bench(dut)
    await start(dut)
    before = random_job(rng, groups=1, head_dim=8, q_format=RowFormat.INT8, o_format=OutputFormat.INT8)
    job = random_job(rng, head_dim=CONFIG.max_head_dim, q_format=RowFormat.INT12, o_format=OutputFormat.PARTIAL)
    new = plan_of(job, job.fields())
    await bench.look({**before.fields(), "heads": 0})
    dut.job.value = descriptor(job.fields())
    seen = []
    for _ in range(latency() + 3):
        await RisingEdge(dut.clk)
        seen.append((int(dut.bad.value), int(dut.plan.value) == new))
    assert [bad for bad, _ in seen] == [1] + [0] * (latency() + 2)
    assert [fine for _, fine in seen] == [False] * latency() + [True] * 3
