"""Two takers of one stream, each with stalls of its own."""

import os
import random

import cocotb

from tb.streams import PATTERNS, StreamChecker, StreamSink, StreamSource, start, valid_without_ready

PATTERN = os.environ.get("OLIVINE_PATTERN", "always")


@cocotb.test()
async def everyone_takes_everything(dut):
    """Both see every payload once and in order, whatever the other does."""
    rng = random.Random(1)
    values = [rng.getrandbits(8) for _ in range(200)]
    source = StreamSource(dut, "i", PATTERN, 1)
    left = StreamSink(dut, "o_left", "half", 2)
    right = StreamSink(dut, "o_right", PATTERN, 3)
    for name in ("i", "o_left", "o_right"):
        StreamChecker(dut, name)
    await start(dut)
    source.push(values)
    assert await left.collect(len(values)) == values
    assert await right.collect(len(values)) == values
    assert PATTERN in PATTERNS


@cocotb.test()
async def nobody_waits_for_ready(dut):
    """Either output offers before anyone is ready."""
    source = StreamSource(dut, "i")
    dut.o_left__ready.value = 0
    dut.o_right__ready.value = 0
    await start(dut)
    source.push([1])
    await valid_without_ready(dut, "o_left")
    await valid_without_ready(dut, "o_right")
