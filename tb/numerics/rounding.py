"""rsh, sat and saturates of one word, over every value and every shift, also past the word."""

import os

import cocotb
from cocotb.triggers import Timer
from olivine_golden.rounding import rsh, sat, saturates

WIDTH = int(os.environ["OLIVINE_WIDTH"])
BITS = int(os.environ["OLIVINE_BITS"])


def _signed(port):
    """A port's number; ports of one bit have no ``to_signed``."""
    number = int(port.value)
    return number - (1 << len(port)) if number >> len(port) - 1 else number


@cocotb.test()
async def exhaustive(dut):
    mask = (1 << WIDTH) - 1
    for word in range(1 << WIDTH):
        dut.x.value = word
        number = word - (1 << WIDTH) if word >> WIDTH - 1 else word
        for shift in range(1 << len(dut.shift)):
            dut.shift.value = shift
            await Timer(1, "ns")
            assert _signed(dut.rsh_signed) == rsh(number, shift), (number, shift)
            assert int(dut.rsh_unsigned.value) == rsh(word, shift) & mask, (word, shift)
        assert _signed(dut.sat) == sat(number, BITS), number
        assert int(dut.saturates.value) == saturates(number, BITS), number
