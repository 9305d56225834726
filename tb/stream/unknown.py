"""A checker must find X and Z, in whichever signal they are. Parameter: OLIVINE_VIOLATION, what it reports."""

import os

import cocotb
from cocotb.triggers import RisingEdge

from tb.streams import StreamChecker, StreamSource, start


@cocotb.test()
async def unknown_values_are_found(dut):
    source = StreamSource(dut, "i")
    dut.o__ready.value = 0
    watch = StreamChecker(dut, "o", strict=False)
    await start(dut)
    source.push([0, 0, 0])
    for _ in range(10):
        await RisingEdge(dut.clk)
    assert any(os.environ["OLIVINE_VIOLATION"] in text for text in watch.violations), watch.violations
