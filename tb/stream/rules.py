"""The testbench kit itself: what a checker must find on units that break one rule each.

Parameter: OLIVINE_VIOLATION, the text that the checker must report; empty on a unit without fault.
"""

import os

import cocotb
from cocotb.triggers import RisingEdge

from tb.streams import StreamChecker, StreamSink, StreamSource, start, valid_without_ready

VIOLATION = os.environ.get("OLIVINE_VIOLATION", "")


@cocotb.test()
async def checker(dut):
    source = StreamSource(dut, "i", "half", seed=1)
    sink = StreamSink(dut, "o", "half", seed=2)
    watch, inward = StreamChecker(dut, "o", strict=False), StreamChecker(dut, "i")
    await start(dut)
    source.push(range(100, 200))
    for _ in range(600):
        await RisingEdge(dut.clk)
    assert inward.transfers == len(source.sent) == 100
    assert watch.transfers == len(sink.received)
    if VIOLATION not in ("", "waits"):
        assert watch.violations and all(VIOLATION in text for text in watch.violations), watch.violations
    else:
        assert watch.violations == [] and sink.received == source.sent == list(range(100, 200))


@cocotb.test(expect_fail=VIOLATION not in ("", "waits"))
async def strict_checker_fails_the_test(dut):
    source, sink = StreamSource(dut, "i"), StreamSink(dut, "o", "half", seed=2)
    StreamChecker(dut, "o")
    await start(dut)
    source.push(range(100))
    await sink.collect(50)


@cocotb.test()
async def collect_gives_up(dut):
    source, sink = StreamSource(dut, "i"), StreamSink(dut, "o")
    await start(dut)
    source.push([1, 2])
    try:
        await sink.collect(300, timeout=50)
    except TimeoutError as error:
        assert "o: " in str(error) and "of 300 payloads within 50 cycles" in str(error)
    else:
        raise AssertionError("collect returned what never came")


@cocotb.test()
async def drained_gives_up(dut):
    source = StreamSource(dut, "i")
    dut.o__ready.value = 0
    await start(dut)
    source.push(range(20))
    try:
        await source.drained(timeout=60)
    except TimeoutError as error:
        assert "i: 16 payloads were not taken within 60 cycles" in str(error)
    else:
        raise AssertionError("drained returned before everything was taken")


@cocotb.test()
async def valid_that_waits(dut):
    source = StreamSource(dut, "i")
    await start(dut)
    source.push([1])
    try:
        await valid_without_ready(dut, "o", timeout=20)
    except AssertionError as error:
        assert VIOLATION == "waits" and "did not rise within 20 cycles" in str(error)
    else:
        assert VIOLATION != "waits"
