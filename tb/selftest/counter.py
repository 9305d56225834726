"""Counts with a small counter; one test that fails on request, to see that failures are seen."""

import os

import cocotb
from cocotb.triggers import ReadOnly, RisingEdge

from tb.streams import start


@cocotb.test()
async def counts(dut):
    dut.step.value = 0
    dut.enable.value = 0
    await start(dut)
    dut.step.value = 3
    dut.enable.value = 1
    for expected in (0, 3, 6, 9):
        await RisingEdge(dut.clk)
        assert int(dut.count.value) == expected
    await ReadOnly()


@cocotb.test()
async def fails_on_request(dut):
    dut.step.value = 0
    dut.enable.value = 0
    await start(dut)
    assert os.environ.get("OLIVINE_FAIL") != "yes"
