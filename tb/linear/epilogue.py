"""Epilogue: the drains of whole jobs against golden; every result in its cycle, every tally.

Parameters: OLIVINE_CONFIG, OLIVINE_LATENCY.
"""

import random

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge
from olivine.config import CHANNEL_RUN, LANE_MAX, ROW_BITS
from olivine.linear.descriptor import Group, RowFormat
from olivine.linear.epilogue import result_layout
from olivine.linear.sequencer import PSUM_SPACING, tile_tag
from olivine.linear.weights import MULTIPLIER_SLOTS, RECORD_SLOTS, Record, channel_address
from olivine.olive.array import OliveArray
from olivine.olive.formats import LaneFormat
from olivine_golden.epilogue import requantize, scale_run

from tb.linear.jobs import CONFIG, plan_bits, random_job, tag
from tb.numerics.pipeline import latency
from tb.streams import pack, start, unpack

ROWS, LANES, COLUMNS = CONFIG.rows, CONFIG.lanes, CONFIG.drain_columns
INPUT = OliveArray(ROWS, LANES, CONFIG.element, COLUMNS, tile_tag(CONFIG)).signature.members["o"].shape
OUTPUT = result_layout(CONFIG)
LARGEST = CHANNEL_RUN * LANE_MAX << ROW_BITS - 1
"""Largest sum of a run."""


class Numbers:
    """A ring of slots with the numbers of the channels, as the loader keeps it.

    Whatever is released holds the next panel's or run's numbers in the following cycle.
    """

    def __init__(self, slots, table):
        self.layout, self.slots = channel_address(CONFIG, slots), slots
        self.table, self.base = table, 0

    def read(self, address):
        """Numbers of ``COLUMNS`` channels at an address."""
        place = unpack(self.layout, address)
        index = self.base + (place["slot"] - self.base) % self.slots
        if index >= len(self.table):
            return [0] * COLUMNS
        lane = place["lane"] // COLUMNS * COLUMNS
        return self.table[index][lane:lane + COLUMNS]


def random_records(rng, panels):
    """Records [panel][lane]: biases, multipliers and shifts of all sizes."""
    return [[{"bias": rng.choice((-(1 << 31), (1 << 31) - 1, rng.randint(-1 << 31, (1 << 31) - 1),
                                  rng.randint(-1000, 1000))),
              "mult": rng.choice((0, 1, 0xFFFF, rng.getrandbits(16), rng.getrandbits(16))),
              "shift": rng.choice((0, 63, rng.randrange(64), rng.randint(10, 40), rng.randint(10, 40))),
              "zero": rng.getrandbits(8)} for _ in range(LANES)] for _ in range(panels)]


class Bench:
    """Drains job after job, and checks all that comes out."""

    def __init__(self, dut, seed):
        self.dut, self.rng, self.np = dut, random.Random(seed), np.random.default_rng(seed)
        self.tallies = {"sum_saturated": 0, "output_saturated": 0}
        dut.plan.value = dut.i.value = dut.multiplier.value = dut.record.value = 0

    def sums(self, words):
        """Sums [words][COLUMNS, P] of all sizes up to the largest."""
        shape = words * COLUMNS, ROWS
        kind = self.rng.randrange(4)
        if kind == 0:
            return self.np.choice([-LARGEST, LARGEST, 0, -1], shape)
        if kind == 1:
            return np.full(shape, self.rng.choice((-LARGEST, LARGEST)))
        return self.np.integers(-LARGEST, LARGEST + 1, shape) >> (0 if kind == 2 else 16)

    def schedule(self, job, gaps, sums):
        """What enters and what must leave, by cycle; and the expected tallies."""
        pairs = job.int8 and CONFIG.element == "exponent"
        words = LANES // COLUMNS // (1 + pairs)
        enter, leave, psums = {}, {}, {}
        tallies = dict.fromkeys(self.tallies, 0)
        cycle = 3
        for step in job.steps():
            if not step.last:
                continue
            acc = sums(words)
            parts = -(-step.rows // CONFIG.vector_lanes)
            for index in range(words):
                enter[cycle + index] = pack(INPUT, {
                    "valid": 1, "first": int(index == 0), "last": int(index == words - 1),
                    "tag": tag(job, step), "lane": index * COLUMNS,
                    "data": acc[index * COLUMNS:(index + 1) * COLUMNS].tolist()})
            offset = step.half * LANES // 2
            exists = slice(0, step.lanes), slice(0, step.rows)
            channels = slice(offset, offset + step.lanes)
            multiplier = None
            if job.grouped:
                multiplier = np.array(self.multipliers.table[step.run_number][channels])[:, None]
            scaled = scale_run(acc[exists], multiplier, job.group_shift)
            place = step.context, step.half
            psums[place] = scaled + (0 if step.first_run else psums[place])
            if step.last_run:
                records = self.records.table[step.panel_number][channels]
                bias, mult, shift = (np.array([record[name] for record in records])[:, None]
                                     for name in ("bias", "mult", "shift"))
                done = requantize(psums[place], bias, mult, shift, job.y_format.bits)
                tallies["sum_saturated"] += int(done.sum_saturated.sum())
                tallies["output_saturated"] += int(done.output_saturated.sum())
                for index in range(-(-step.lanes // COLUMNS)):
                    complete = cycle + parts * (index + 1) - 1 + latency()
                    leave[complete] = done.y[index * COLUMNS:(index + 1) * COLUMNS].tolist()
            cycle += max(words * parts, PSUM_SPACING) + (self.rng.choice((0, 0, 1, 7)) if gaps else 0)
        return enter, leave, tallies

    async def run(self, job, gaps=False, sums=None):
        """Drain every tile of a job, as close together as allowed unless there are gaps."""
        dut, rng = self.dut, self.rng
        panels = job.panels * len(list(job.chunks()))
        self.records = Numbers(RECORD_SLOTS, random_records(rng, panels))
        self.multipliers = Numbers(MULTIPLIER_SLOTS, [
            [rng.choice((0, 255, rng.randrange(256))) for _ in range(LANES)]
            for _ in range(panels * job.runs)])
        enter, leave, tallies = self.schedule(job, gaps, sums or self.sums)
        dut.plan.value = plan_bits(job)
        seen = dict.fromkeys(self.tallies, 0)
        valid = pack(INPUT, {"valid": 1})
        for cycle in range(max(*enter, *leave) + LANES * ROWS + 6):
            dut.i.value = enter[cycle] if cycle in enter else rng.getrandbits(INPUT.size) & ~valid
            await RisingEdge(dut.clk)
            assert int(dut.o_valid.value) == (cycle in leave), (cycle, job)
            if cycle in leave:
                got = unpack(OUTPUT, int(dut.o.value))
                got = [column[:len(want)] for column, want in zip(got, leave[cycle])]
                assert got == leave[cycle], (cycle, job)
            for name in seen:
                seen[name] += int(getattr(dut, name).value)
            multiplier = self.multipliers.read(int(dut.multiplier_addr.value))
            record = self.records.read(int(dut.record_addr.value))
            dut.multiplier.value = sum(value << 8 * index for index, value in enumerate(multiplier))
            dut.record.value = sum((pack(Record, value) if value else 0) << Record.size * index
                                   for index, value in enumerate(record))
            self.multipliers.base += int(dut.multiplier_release.value)
            self.records.base += int(dut.record_release.value)
        assert self.multipliers.base == (panels * job.runs if job.grouped else 0), "multipliers released"
        assert self.records.base == panels, "records released"
        assert seen == tallies, (seen, tallies, job)
        for name, count in seen.items():
            self.tallies[name] += count


@cocotb.test()
async def any_job(dut):
    """Jobs of any shape and format, their drains apart at random."""
    bench = Bench(dut, 1)
    await start(dut)
    for index in range(6):
        await bench.run(random_job(bench.rng, group=list(Group)[index % 3]), gaps=True)
    assert bench.tallies["output_saturated"]


@cocotb.test()
async def one_context_as_close_as_may_be(dut):
    """Each drain adds to the partial sums of the one before, `PSUM_SPACING` cycles or a drain earlier."""
    bench = Bench(dut, 2)
    await start(dut)
    for weight_format in (LaneFormat.INT8, LaneFormat.INT4):
        for lanes in (LANES, LANES // 2 + 1, 1):
            await bench.run(random_job(bench.rng, m=ROWS, n=lanes, k=CONFIG.max_reduction, group=Group.G64,
                                       weight_format=weight_format))


@cocotb.test()
async def all_contexts_as_close_as_may_be(dut):
    bench = Bench(dut, 3)
    await start(dut)
    for group in Group:
        await bench.run(random_job(bench.rng, m=CONFIG.chunk_rows + 1, n=LANES + 1, group=group))


@cocotb.test()
async def sums_of_36_bits(dut):
    """Partial sums far beyond 36 bits saturate there, either way, and are counted."""
    bench = Bench(dut, 4)
    await start(dut)
    for largest in (-LARGEST, LARGEST):
        before = bench.tallies["sum_saturated"]
        for y_format in RowFormat:
            job = random_job(bench.rng, m=2 * ROWS - 1, n=LANES - 1, k=CONFIG.max_reduction, group=Group.G64,
                             y_format=y_format, group_shift=0)
            await bench.run(job, sums=lambda words, sum=largest: np.full((words * COLUMNS, ROWS), sum))
        assert bench.tallies["sum_saturated"] > before


@cocotb.test()
async def measured_latency(dut):
    """`latency` cycles from a drained word to its results."""
    bench = Bench(dut, 5)
    await start(dut)
    job = random_job(bench.rng, m=1, n=1, k=1)
    dut.plan.value = plan_bits(job)
    step = next(job.steps())
    dut.i.value = pack(INPUT, {"valid": 1, "first": 1, "tag": tag(job, step)})
    await RisingEdge(dut.clk)
    assert dut.o_valid.value == 0
    dut.i.value = 0
    for _ in range(latency() - 1):
        await RisingEdge(dut.clk)
        assert dut.o_valid.value == 0
    await RisingEdge(dut.clk)
    assert dut.o_valid.value == 1
