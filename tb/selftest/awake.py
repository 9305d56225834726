"""Outputs of what never changes: known from the first moment on."""

import cocotb
from cocotb.triggers import Timer


@cocotb.test()
async def outputs_are_known(dut):
    dut.i.value = 0
    await Timer(1, "ns")
    assert int(dut.constant.value) == 5
    assert int(dut.chosen.value) == 7
