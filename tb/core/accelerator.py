"""The whole core, as a host of its own making sees it: AXI4-Lite of cocotbext-axi, and an unkind AXI4 memory.

Parameters: OLIVINE_IMAGE, OLIVINE_EXPECTED, files with memory before and after; OLIVINE_PROGRAM, OLIVINE_LENGTH, where
the program lies; OLIVINE_RESULT, the answer of its last operation on the cache.
"""

import os
from pathlib import Path

import cocotb
from cocotb.triggers import RisingEdge, with_timeout
from cocotbext.axi import AxiLiteBus, AxiLiteMaster
from olivine.control.instruction import INSTRUCTION_BYTES
from olivine.control.job import StatusCode
from olivine.control.registers import BY_NAME, IDENTIFIER, WINDOW_BASE, WINDOW_REGISTERS

from tb.axi_memory import AxiMemory
from tb.streams import PERIOD, start

IMAGE, EXPECTED = (Path(os.environ[f"OLIVINE_{name}"]).read_bytes() for name in ("IMAGE", "EXPECTED"))
PROGRAM, LENGTH, RESULT = (int(os.environ[f"OLIVINE_{name}"]) for name in ("PROGRAM", "LENGTH", "RESULT"))
WINDOW = {register.name: WINDOW_BASE + register.offset for register in WINDOW_REGISTERS}
DONE, FAULTED, ABORTED, INTERRUPT = 2, 4, 8, 16

test = cocotb.test(timeout_time=2, timeout_unit="ms")


class Host:
    def __init__(self, dut, **options):
        self.dut = dut
        self.memory = AxiMemory(dut, size=len(IMAGE), **options).start()
        self.memory.write(0, IMAGE)
        self.lite = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axil"), dut.aclk, dut.aresetn,
                                  reset_active_level=False)

    async def start(self):
        await start(self.dut, clock="aclk", reset="aresetn", active_low=True)
        assert await self.read("ID") == IDENTIFIER
        await self.lite.write_dword(WINDOW["LAST_LO"], len(IMAGE) - 1)
        await self.lite.write_dword(WINDOW["FLAGS"], 3)
        for name, value in (("BUS_TIMEOUT", 2000), ("INTERRUPT_ENABLE", 1), ("PROGRAM_LO", PROGRAM),
                            ("LENGTH", LENGTH)):
            await self.write(name, value)
        return self

    async def read(self, name):
        return await self.lite.read_dword(BY_NAME[name].offset)

    async def write(self, name, value):
        await self.lite.write_dword(BY_NAME[name].offset, value)

    async def run(self, abort_after=None):
        """Run the program until the interrupt; returns STATUS."""
        await self.write("CONTROL", 1)
        if abort_after is not None:
            for _ in range(abort_after):
                await RisingEdge(self.dut.aclk)
            await self.write("CONTROL", 2)
        if not int(self.dut.irq.value):
            await with_timeout(RisingEdge(self.dut.irq), 20_000 * PERIOD, "ns")
        status = await self.read("STATUS")
        await self.write("CONTROL", 4)
        assert not int(self.dut.irq.value)
        return status


@test
async def program(dut):
    """Linear, vector and cache instructions through the scratchpad leave golden's memory; stalled, too."""
    host = await Host(dut, interleave=True, latency=20).start()
    for pattern in ("always", "bursty"):
        for channel in ("ar", "r", "aw", "w", "b"):
            host.memory.set_pattern(channel, pattern, 3)
        host.memory.write(0, IMAGE)
        assert await host.run() == DONE | INTERRUPT
        assert host.memory.read(0, len(IMAGE)) == EXPECTED
    # Each run opens one more sequence.
    assert await host.read("RESULT_LO") == RESULT + 1
    assert await host.read("CYCLES_LO") > 100


@test
async def abort_and_again(dut):
    """Given up, and a fault of the bus; then the program is right."""
    host = await Host(dut, latency=20).start()
    assert await host.run(abort_after=100) == ABORTED | INTERRUPT
    host.memory.inject(2, PROGRAM + INSTRUCTION_BYTES, PROGRAM + INSTRUCTION_BYTES)
    assert await host.run() == FAULTED | INTERRUPT
    fault = await host.read("FAULT")
    assert (StatusCode(fault & 0xff), fault >> 16) == (StatusCode.READ_SLVERR, 7)
    assert await host.read("FAULT_INDEX") == 1
    host.memory.heal()
    host.memory.write(0, IMAGE)
    assert await host.run() == DONE | INTERRUPT
    assert host.memory.read(0, len(IMAGE)) == EXPECTED
