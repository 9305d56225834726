"""Reader and writer against cocotbext-axi's AxiRam, a slave that others wrote."""

import itertools
import logging
import random

import cocotb
from cocotbext.axi import AxiBus, AxiRam

from tb.memory.rig import Rig

SIZE = 1 << 14


def ram(dut, content, pauses):
    logging.getLogger("cocotb").setLevel(logging.WARNING)
    bus = AxiBus.from_prefix(dut, "m_axi")
    slave = AxiRam(bus, dut.aclk, dut.aresetn, reset_active_level=False, size=SIZE)
    slave.write(0, content)
    if pauses:
        rng = random.Random(pauses)
        for channel in (slave.write_if.aw_channel, slave.write_if.w_channel, slave.write_if.b_channel,
                        slave.read_if.ar_channel, slave.read_if.r_channel):
            channel.set_pause_generator(itertools.cycle([rng.random() < 0.4 for _ in range(97)]))
    return slave


@cocotb.test
@cocotb.parametrize(pauses=[0, 1])
async def reads(dut, pauses):
    rig = Rig(dut, memory=False, size=SIZE, seed=pauses)
    ram(dut, rig.content, pauses)
    await rig.start()
    commands = [rig.random_command(300) for _ in range(50)] + [(0xFFE, 5), (SIZE - 1, 1)]
    for command in commands:
        rig.push_read(*command)
    await rig.expect(commands)


@cocotb.test
@cocotb.parametrize(pauses=[0, 1])
async def writes(dut, pauses):
    rig = Rig(dut, memory=False, size=SIZE, seed=pauses)
    slave = ram(dut, rig.content, pauses)
    await rig.start()
    expected = bytearray(rig.content)
    for addr, count in [rig.random_command(300) for _ in range(50)] + [(0xFFE, 5), (SIZE - 1, 1)]:
        content = rig.random.randbytes(count)
        expected[addr:addr + count] = content
        rig.push_write(addr, content)
    await rig.commands.drained()
    await rig.until(rig.idle_write)
    assert slave.read(0, SIZE) == bytes(expected)
