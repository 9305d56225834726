"""Border: every byte of every format in every lane, against golden.

Parameters: OLIVINE_LANES, OLIVINE_ELEMENT; OLIVINE_ACROSS, 1 if pairs may lie across lanes.
"""

import os
import random

import cocotb
from amaranth.lib import data
from cocotb.triggers import Timer
from olivine.olive.element import lane_shape
from olivine.olive.formats import LaneFormat
from olivine_golden.border import lane_operands

from tb.streams import pack, unpack

LANES, ELEMENT = int(os.environ["OLIVINE_LANES"]), os.environ["OLIVINE_ELEMENT"]
ACROSS = os.environ.get("OLIVINE_ACROSS") == "1"
LANE = data.ArrayLayout(lane_shape(ELEMENT), LANES)


async def check(dut, word, lane_format, odd, half, across=False):
    dut.word.value = int.from_bytes(bytes(word), "little")
    dut.weight_format.value = lane_format.value
    dut.odd.value = 1 if lane_format is LaneFormat.INT8 and ELEMENT == "folded" else odd
    if hasattr(dut, "half"):
        dut.half.value = half
    if ACROSS:
        dut.pairs_across.value = int(across)
    if hasattr(dut, "clk"):
        dut.rst.value = 0
        for level in (0, 1, 0, 1):      # the format's register, then the others
            dut.clk.value = level
            await Timer(1, "ns")
    await Timer(1, "ns")
    operands, illegal = lane_operands(word, lane_format, ELEMENT, odd, half, across)
    if ELEMENT == "exponent":
        operands = [{"exponent": exponent, "integer": integer} for exponent, integer in operands]
    got = int(dut.o.value)
    assert got == pack(LANE, operands), (word, lane_format, odd, half, across, unpack(LANE, got), operands)
    flags = sum(int(bad) << lane for lane, bad in enumerate(illegal))
    assert int(dut.illegal.value) == flags, (word, lane_format)


@cocotb.test()
@cocotb.parametrize(lane_format=[fmt.name for fmt in LaneFormat])
async def every_byte_in_every_lane(dut, lane_format):
    """Each lane sees all 256 bytes, and no two lanes the same."""
    # Where `half` does not count, it is anything.
    halves = (0, 1) if (ELEMENT, lane_format) == ("exponent", "INT8") else (None,)
    for odd in (0, 1):
        for half in halves:
            for first in range(256):
                word = [(first + 37 * lane) % 256 for lane in range(LANES)]
                await check(dut, word, LaneFormat[lane_format], odd, first >> 3 & 1 if half is None else half)


async def every_byte_across_every_two_lanes(dut, lane_format):
    """Each pair of lanes sees all 256 bytes in both halves of the word, and no two pairs the same."""
    for odd in (0, 1):
        for first in range(256):
            word = [(first + 37 * byte) % 256 for byte in range(LANES)]
            await check(dut, word, LaneFormat[lane_format], odd, 0, across=True)


if ACROSS:
    four_bit = [lane_format.name for lane_format in LaneFormat if lane_format is not LaneFormat.INT8]
    every_byte_across_every_two_lanes = cocotb.test()(
        cocotb.parametrize(lane_format=four_bit)(every_byte_across_every_two_lanes))


@cocotb.test()
async def anything_after_anything(dut):
    """Random words in random formats: what was before does not matter."""
    rng = random.Random(1)
    for _ in range(500):
        word = [rng.choice((rng.randrange(256), 0x88, 0x80, 0x08, rng.randrange(16) << 4 | 8))
                for _ in range(LANES)]
        lane_format = rng.choice(list(LaneFormat))
        across = ACROSS and lane_format is not LaneFormat.INT8 and rng.random() < 0.5
        await check(dut, word, lane_format, rng.randrange(2), rng.randrange(2), across)
