"""How much of the peak of 8 bytes a clock of the controller arrives from DDR3, by the order of the addresses."""

import cocotb

from tb.board.ddr3 import Ddr3Setup
from tb.board.dram_speed import record


@cocotb.test
async def speed(dut):
    """Records each pattern, and the latency of reads one at a time."""
    await record(await (await Ddr3Setup(dut).start()).level(), 8)
