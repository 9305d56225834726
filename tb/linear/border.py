"""Border: every byte of every format in every lane, against golden.

Parameters: OLIVINE_LANES, OLIVINE_ELEMENT.
"""

import os
import random

import cocotb
from cocotb.triggers import Timer
from olivine.linear.border import Border
from olivine.olive.formats import LaneFormat
from olivine_golden.border import lane_operands

from tb.streams import pack, unpack

LANES, ELEMENT = int(os.environ["OLIVINE_LANES"]), os.environ["OLIVINE_ELEMENT"]
LANE = Border(LANES, ELEMENT).signature.members["o"].shape


async def check(dut, word, lane_format, odd, half):
    dut.word.value = int.from_bytes(bytes(word), "little")
    dut.weight_format.value = lane_format.value
    dut.odd.value = odd
    if hasattr(dut, "half"):
        dut.half.value = half
    await Timer(1, "ns")
    operands, illegal = lane_operands(word, lane_format, ELEMENT, odd, half)
    if ELEMENT == "exponent":
        operands = [{"exponent": exponent, "integer": integer} for exponent, integer in operands]
    got = int(dut.o.value)
    assert got == pack(LANE, operands), (word, lane_format, odd, half, unpack(LANE, got), operands)
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


@cocotb.test()
async def anything_after_anything(dut):
    """Random words in random formats: what was before does not matter."""
    rng = random.Random(1)
    for _ in range(500):
        word = [rng.choice((rng.randrange(256), 0x88, 0x80, 0x08, rng.randrange(16) << 4 | 8))
                for _ in range(LANES)]
        await check(dut, word, rng.choice(list(LaneFormat)), rng.randrange(2), rng.randrange(2))
