"""Testbench of `olivine.stream.Queue`; also of any unit that hands payloads on unchanged.

Parameters: OLIVINE_DEPTH (entries that fit), OLIVINE_LATENCY (cycles), OLIVINE_LEVEL (1 if it has a level).
"""

import os
import random

import cocotb
from cocotb.triggers import RisingEdge

from tb.streams import PAIRS, StreamChecker, StreamSink, StreamSource, start, valid_without_ready

DEPTH, LATENCY = int(os.environ["OLIVINE_DEPTH"]), int(os.environ["OLIVINE_LATENCY"])
LEVEL = os.environ.get("OLIVINE_LEVEL", "0") == "1"


def payloads(dut, n, seed):
    width = len(dut.i__payload) if hasattr(dut, "i__payload") else 0
    rng = random.Random(seed)
    return [rng.getrandbits(width) for _ in range(n)]


@cocotb.test()
@cocotb.parametrize(pair=PAIRS)
async def hands_on_in_order(dut, pair):
    source, sink = StreamSource(dut, "i", pair[0], seed=1), StreamSink(dut, "o", pair[1], seed=2)
    StreamChecker(dut, "i"), StreamChecker(dut, "o")
    if LEVEL:
        cocotb.start_soon(level_counts(dut))
    await start(dut)
    values = payloads(dut, 4 * DEPTH + 50, seed=3)
    source.push(values)
    assert await sink.collect(len(values)) == values
    for _ in range(2 * DEPTH + 10):
        await RisingEdge(dut.clk)
    assert sink.received == values, "more came out than went in"


async def level_counts(dut):
    held = 0
    while True:
        await RisingEdge(dut.clk)
        if dut.rst.value == 0:
            assert int(dut.level.value) == held
            held += int(dut.i__valid.value) & int(dut.i__ready.value)
            held -= int(dut.o__valid.value) & int(dut.o__ready.value)


@cocotb.test()
async def one_payload_a_cycle(dut):
    source, sink = StreamSource(dut, "i"), StreamSink(dut, "o")
    await start(dut)
    values = payloads(dut, 3 * DEPTH + 100, seed=4)
    source.push(values)
    assert await sink.collect(len(values)) == values
    period = 1 if DEPTH > 1 else 2
    assert sink.cycles[0] - source.cycles[0] == LATENCY
    assert sink.cycles[-1] - sink.cycles[0] == period * (len(values) - 1)


@cocotb.test()
async def holds_as_many_as_it_says(dut):
    source, sink = StreamSource(dut, "i"), StreamSink(dut, "o", pattern=lambda seed: iter(lambda: False, None))
    await start(dut)
    source.push(payloads(dut, DEPTH + 5, seed=5))
    for _ in range(DEPTH + 20):
        await RisingEdge(dut.clk)
    assert len(source.sent) == DEPTH
    assert sink.received == []


@cocotb.test()
async def offers_without_being_asked(dut):
    source = StreamSource(dut, "i")
    await start(dut)
    source.push(payloads(dut, 1, seed=6))
    await valid_without_ready(dut, "o", timeout=LATENCY + 4)


@cocotb.test()
async def forgets_on_reset(dut):
    source = StreamSource(dut, "i")
    sink = StreamSink(dut, "o", pattern=lambda seed: iter(lambda: False, None))
    await start(dut)
    source.push(payloads(dut, DEPTH, seed=7))
    await source.drained()
    dut.rst.value = 1
    await RisingEdge(dut.clk)
    dut.rst.value = 0
    for _ in range(LATENCY + 2):
        await RisingEdge(dut.clk)
        assert dut.o__valid.value == 0
    assert sink.received == []
