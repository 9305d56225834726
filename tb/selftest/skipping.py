"""One test that passes and one that cocotb skips, which must not go unnoticed."""

import cocotb
from cocotb.triggers import Timer


@cocotb.test()
async def passes(dut):
    await Timer(1, "ns")


@cocotb.test(skip=True)
async def is_skipped(dut):
    await Timer(1, "ns")
