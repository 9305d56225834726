"""Outputs are known from the first moment on, before anything has changed."""

import cocotb
from cocotb.triggers import Timer


@cocotb.test()
async def outputs_are_known(dut):
    dut.i.value = 0
    dut.clk.value = 0
    dut.rst.value = 0
    await Timer(1, "ns")
    assert int(dut.constant.value) == 5
    assert int(dut.chosen.value) == 7
