"""Two engines and one array: each gets its own sums, and no other's; nobody waits for ever.

Parameter: OLIVINE_CONFIG.
"""

import json
import os
import random

import cocotb
import numpy as np
from amaranth.lib import data
from cocotb.triggers import RisingEdge
from olivine.config import AcceleratorConfig
from olivine.olive.array import array_shapes
from olivine.olive.decoder import form_layout, lane_code
from olivine.olive.formats import IDENTIFIER, LaneFormat
from olivine_golden.array import accumulate
from olivine_golden.border import lane_operands

from tb.streams import pack, start, unpack

CONFIG = AcceleratorConfig(**json.loads(os.environ["OLIVINE_CONFIG"]))
TAGS = (5, 9)
SHAPES = [{**array_shapes(CONFIG.rows, CONFIG.lanes, CONFIG.element, CONFIG.drain_columns, tag),
           "lane": data.ArrayLayout(lane_code(CONFIG.element), CONFIG.lanes)} for tag in TAGS]


def form_of(lane_format):
    return pack(form_layout, {"ovp": lane_format in (LaneFormat.OVP4_INT, LaneFormat.OVP4_FLINT),
                              "flint": lane_format is LaneFormat.OVP4_FLINT, "int8": lane_format is LaneFormat.INT8})


def code_of(byte, second, lane_format):
    """What a border chooses of a byte: its first element or its second, or of INT8 all of it."""
    low = byte & 15 if second or lane_format is LaneFormat.INT8 else byte >> 4
    neighbour = byte >> 4 if second else byte & 15
    ovp = lane_format in (LaneFormat.OVP4_INT, LaneFormat.OVP4_FLINT)
    return {"code": low, "outlier": int(ovp and neighbour == IDENTIFIER), "high": byte >> 4}


def value_of(byte, second, lane_format):
    return lane_operands([byte], lane_format, "folded", bool(second))[0][0]


class Engine:
    """Runs jobs of a few tiles, some of which are given up on the way.

    Attributes
    ----------
    expected : list
        (tag, sums [L, P]) of the tiles that must leave.
    """

    def __init__(self, dut, index, rng):
        self.dut, self.index, self.rng, self.shapes = dut, index, rng, SHAPES[index]
        self.expected, self.got, self.jobs, self.granted_for = [], [], 0, 0
        for name in ("busy", "wanted", "step", "row", "lane", "form"):
            self.port(name).value = 0

    def port(self, name):
        return getattr(self.dut, f"user_{self.index}__{name}")

    async def tick(self, **step):
        rng, shapes = self.rng, self.shapes
        noise = {"first": rng.getrandbits(1), "last": rng.getrandbits(1), "tag": rng.getrandbits(TAGS[self.index])}
        given = {name: value for name, value in step.items() if name in noise or name == "valid"}
        self.port("step").value = pack(shapes["step"], {"valid": 0, "pairs": 0, **noise, **given})
        self.port("row").value = pack(shapes["row"], step["row"].tolist()) if "row" in step else rng.getrandbits(
            shapes["row"].size)
        self.port("lane").value = pack(shapes["lane"], step["lane"]) if "lane" in step else rng.getrandbits(
            shapes["lane"].size)
        await RisingEdge(self.dut.clk)
        out = unpack(shapes["o"], int(self.port("o").value))
        if out["valid"]:
            if out["first"]:
                assert out["lane"] == 0
                self.got.append((out["tag"], []))
            self.got[-1][1].extend(out["data"])

    async def run(self, jobs):
        for _ in range(jobs):
            await self.job()
            self.jobs += 1

    async def job(self):
        rng, lanes = self.rng, CONFIG.lanes
        for _ in range(rng.randrange(4)):
            await self.tick()
        lane_format = rng.choice(list(LaneFormat))
        self.port("busy").value, self.port("form").value = 1, form_of(lane_format)
        for _ in range(rng.randrange(12)):
            await self.tick()
            assert not int(self.port("granted").value), "granted and not wanted"
        # What the other left in the array must not be seen from the first cycle on.
        self.got.clear(), self.expected.clear()
        self.port("wanted").value = 1
        while not int(self.port("granted").value):
            await self.tick()
            self.granted_for += 1
            assert self.granted_for < 4000, "it waits for ever"
        self.granted_for = 0
        fails = rng.random() < 0.3
        for _ in range(rng.randint(1, 4)):
            steps, tag = lanes + rng.randrange(3), rng.getrandbits(TAGS[self.index])
            rows = np.array([[rng.randint(-2048, 2047) for _ in range(CONFIG.rows)] for _ in range(steps)])
            chosen = [[(rng.getrandbits(8), rng.getrandbits(1)) for _ in range(lanes)] for _ in range(steps)]
            columns = np.array([[value_of(byte, second, lane_format) for byte, second in step] for step in chosen])
            for number in range(steps):
                self.port("wanted").value = rng.getrandbits(1)      # once it is granted, it does not matter
                await self.tick(valid=1, first=int(number == 0), last=int(number == steps - 1), tag=tag,
                                row=rows[number],
                                lane=[code_of(byte, second, lane_format) for byte, second in chosen[number]])
                assert int(self.port("granted").value)
            self.expected.append((tag, accumulate(rows, columns).tolist()))
        self.port("wanted").value = 0
        for _ in range(rng.randrange(lanes) if fails else lanes + 8):
            await self.tick()
        if not fails:
            assert self.got == self.expected, f"engine {self.index}"
        self.port("busy").value = 0
        await self.tick()
        count = len(self.got), [len(words) for _, words in self.got]
        for _ in range(rng.choice((1, 1, 2 * lanes))):
            await self.tick()
        assert (len(self.got), [len(words) for _, words in self.got]) == count, "sums of a job that is over"


@cocotb.test()
async def two_engines(dut):
    await start(dut)
    engines = [Engine(dut, index, random.Random(index)) for index in range(2)]
    tasks = [cocotb.start_soon(engine.run(40)) for engine in engines]
    clash = cocotb.start_soon(never_both(dut))
    for task in tasks:
        await task
    clash.cancel()
    assert all(engine.jobs == 40 for engine in engines)


async def never_both(dut):
    while True:
        await RisingEdge(dut.clk)
        assert not (int(dut.user_0__granted.value) and int(dut.user_1__granted.value))
