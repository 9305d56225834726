"""Planner: every illegal field, and every number of the plan, against golden."""

import random

import cocotb
from amaranth.hdl import Shape
from cocotb.triggers import RisingEdge
from olivine.linear.descriptor import FIELDS, Group, LinearDescriptor, RowFormat
from olivine.linear.plan import plan_layout
from olivine_golden.plan import illegal_field

from tb.linear.jobs import CONFIG, MOST, descriptor, fields, random_job
from tb.numerics.pipeline import latency
from tb.streams import pack, start, unpack

LAYOUT = plan_layout(CONFIG)


def illegal_changes(rng, values):
    """Every way to spoil each field of a legal descriptor: (field, value)."""
    wide_x = values["x_format"] != RowFormat.INT8.value
    wide_y = values["y_format"] != RowFormat.INT8.value
    changes = {
        "opcode": [0, 2, 3, 129, 255, *(1 ^ 1 << bit for bit in range(8))],
        "x_format": [2, 3], "y_format": [3], "group": [3],
        "group_shift": [1 << bit for bit in range(6)] if values["group"] == Group.CHANNEL.value else [],
        "m": [0], "k": [0, CONFIG.max_reduction + 1, (1 << 20) - 1, *(
            1 << bit for bit in range(CONFIG.max_reduction.bit_length(), 20))], "n": [0],
        "x": [values["x"] | 1] * wide_x + [values["x"] | 1 << bit for bit in range(CONFIG.addr_width, 48)],
        "w": [values["w"] | 1 << bit for bit in (*range(CONFIG.bus_bytes.bit_length() - 1),
                                                 *range(CONFIG.addr_width, 48))],
        "y": [values["y"] | 1] * wide_y + [values["y"] | 1 << bit for bit in range(CONFIG.addr_width, 48)],
        "reserved": [*(1 << bit for bit in range(30)), rng.getrandbits(30) | 1],
    }
    return [(name, value) for name, options in changes.items() for value in options]


class Bench:
    """Puts in one descriptor after the other, and holds each."""

    def __init__(self, dut):
        self.dut = dut
        dut.job.value = 0

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
    """All numbers of legal descriptors: small ones, and the largest that there are."""
    rng, bench = random.Random(1), Bench(dut)
    await start(dut)
    cases = [random_job(rng, big=index % 3 > 0) for index in range(300)]
    cases += [random_job(rng, m=m, k=k, n=n, big=True, group=group) for m in (1, MOST)
              for n in (1, MOST)              for k in (1, CONFIG.max_reduction) for group in Group]
    cases += [random_job(rng, m=size, n=size, k=min(size, CONFIG.max_reduction)) for size in range(1, 70)]
    for job in cases:
        values = fields(job)
        assert illegal_field(CONFIG, values) is None
        bad, _, plan = await bench.look(values)
        assert not bad, values
        expected = pack(LAYOUT, job.plan())
        assert plan == expected, {name: (got, want) for (name, got), want in zip(
            unpack(LAYOUT, plan).items(), unpack(LAYOUT, expected).values()) if got != want}


@cocotb.test()
async def spoils_one_field(dut):
    """Each illegal value of each field is found and named."""
    rng, bench = random.Random(2), Bench(dut)
    await start(dut)
    seen = set()
    for group in Group:
        for wide in (RowFormat.INT8, RowFormat.INT12):
            legal = fields(random_job(rng, big=True, group=group, x_format=wide, y_format=wide))
            for name, value in illegal_changes(rng, legal):
                bad, field, _ = await bench.look({**legal, name: value})
                assert bad and FIELDS[field] == name, (name, value, bad, field)
                seen.add(name)
    assert seen == set(FIELDS) - {"weight_format"}


@cocotb.test()
async def names_the_first(dut):
    """Of several illegal fields the first is reported, and legal descriptors in between are legal."""
    rng, bench = random.Random(3), Bench(dut)
    await start(dut)
    for _ in range(300):
        values = fields(random_job(rng, big=True))
        changes = illegal_changes(rng, values)
        for name, value in rng.sample(changes, rng.randint(0, 4)):
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
    for _ in range(600):
        values = fields(random_job(rng, big=True))
        for name in rng.sample(sorted(values), rng.randint(0, 3)):
            values[name] = rng.getrandbits(Shape.cast(LinearDescriptor[name].shape).width)
        bad, field, _ = await bench.look(values)
        first = illegal_field(CONFIG, values)
        legal += first is None
        assert (bad, FIELDS[field] if bad else None) == (int(first is not None), first), values
    assert 100 < legal < 500


@cocotb.test()
async def latencies(dut):
    """From a new descriptor to its plan, `latency` cycles; to ``bad``, one."""
    rng, bench = random.Random(5), Bench(dut)
    await start(dut)
    before = random_job(rng, m=1, n=1, k=1, group=Group.G64)
    job = random_job(rng, big=True, group=Group.G128, k=77)
    old, new = pack(LAYOUT, before.plan()), pack(LAYOUT, job.plan())
    await bench.look({**fields(before), "m": 0})
    dut.job.value = descriptor(fields(job))
    seen = []
    for _ in range(latency() + 3):
        await RisingEdge(dut.clk)
        seen.append((int(dut.bad.value), int(dut.plan.value) == new))
    assert old != new
    assert [bad for bad, _ in seen] == [1] + [0] * (latency() + 2)
    assert [fine for _, fine in seen] == [False] * latency() + [True] * 3
