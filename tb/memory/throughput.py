"""Cycles of BurstReader and BurstWriter against a memory with 30 cycles of latency."""

import cocotb
from cocotb.triggers import RisingEdge

from tb.memory.rig import Rig

LATENCY = 30


def rate(cycles):
    """Transfers a cycle, from the first transfer to the last."""
    return (len(cycles) - 1) / (cycles[-1] - cycles[0])


def gaps(cycles):
    return [b - a for a, b in zip(cycles, cycles[1:])]


@cocotb.test
async def read_latency(dut):
    """The cycle budget of the docstring: command to AR, AR to AR, beat to word."""
    rig = await Rig(dut, latency=LATENCY).start()
    await rig.cycles(3)
    now = []

    async def watch():
        while True:
            await RisingEdge(dut.aclk)
            now.append((int(dut.i_read_0_valid.value) & int(dut.i_read_0_ready.value),
                        int(dut.m_axi_arvalid.value) & int(dut.m_axi_arready.value),
                        int(dut.m_axi_rvalid.value), int(dut.o_read_0_valid.value)))
    task = cocotb.start_soon(watch())
    rig.push_read(0x100, rig.bus_bytes)
    await rig.expect([(0x100, rig.bus_bytes)])
    task.cancel()
    taken, ar, r, o = ([cycle for cycle, line in enumerate(now) if line[column]][0] for column in range(4))
    cocotb.log.info(f"command to AR {ar - taken}, AR to R {r - ar}, R to word {o - r}")
    assert (ar - taken, r - ar, o - r) == (3 if rig.readers == 1 else 4, LATENCY, 3)


@cocotb.test
async def long_read(dut):
    """One long aligned read: a beat every cycle."""
    rig = await Rig(dut, latency=LATENCY).start()
    rig.push_read(0, 1500 * rig.bus_bytes)
    await rig.expect([(0, 1500 * rig.bus_bytes)])
    r, o = rig.memory.transfers["r"], rig.sinks[0].cycles
    cocotb.log.info(f"long read: {rate(r):.4f} beats a cycle on R, {rate(o):.4f} words a cycle")
    assert rate(r) == 1 and rate(o) == 1


@cocotb.test
async def short_reads(dut):
    """64-byte commands, aligned: an AR every 4 beats (or faster) and no bubble on R."""
    rig = await Rig(dut, latency=LATENCY).start()
    commands = [(rig.random.randrange(1000) * 64, 64) for _ in range(300)]
    for command in commands:
        rig.push_read(*command)
    await rig.expect(commands)
    r, ar = rig.memory.transfers["r"], rig.memory.transfers["ar"]
    cocotb.log.info(f"64-byte reads: {rate(r):.4f} beats a cycle, closest ARs {min(gaps(ar))} cycles")
    assert rate(r) == 1 and min(gaps(ar)) == 2


@cocotb.test
async def single_beats(dut):
    """Commands of one beat: an AR in two cycles."""
    rig = await Rig(dut, latency=LATENCY).start()
    commands = [(rig.random.randrange(1000) * 64, 1) for _ in range(300)]
    for command in commands:
        rig.push_read(*command)
    await rig.expect(commands)
    r, ar = rig.memory.transfers["r"], rig.memory.transfers["ar"]
    cocotb.log.info(f"one-beat reads: {rate(r):.4f} beats a cycle")
    assert gaps(ar) == [2] * 299
    assert rate(r) >= 0.49


@cocotb.test
async def unaligned_reads(dut):
    """Unaligned 64-byte commands: a beat more each on R, and no further bubble."""
    rig = await Rig(dut, latency=LATENCY).start()
    commands = [(64 * n + 1 + n % (rig.bus_bytes - 1), 64) for n in range(200)]
    for command in commands:
        rig.push_read(*command)
    await rig.expect(commands)
    r, o = rig.memory.transfers["r"], rig.sinks[0].cycles
    cocotb.log.info(f"unaligned 64-byte reads: {rate(r):.4f} beats a cycle, {rate(o):.4f} words a cycle")
    words = 64 // rig.bus_bytes
    assert rate(r) == 1 and rate(o) >= 0.99 * words / (words + 1)


@cocotb.test
async def long_write(dut):
    """One long aligned write: a beat every cycle once it runs, and no wait for responses."""
    rig = await Rig(dut, latency=LATENCY).start()
    content = rig.random.randbytes(1000 * rig.bus_bytes)
    rig.push_write(0, content)
    await rig.until(lambda: len(rig.memory.writes) and rig.memory.outstanding == 0 and rig.idle_write())
    w, i = rig.memory.transfers["w"], rig.data.cycles
    cocotb.log.info(f"long write: {rate(w):.4f} beats a cycle on W, {rate(i):.4f} words a cycle")
    # The first word may wait in its spare place for the command.
    assert rate(w) == 1 and rate(i[1:]) == 1
    rig.expect_memory(content + rig.content[len(content):])


@cocotb.test
async def short_writes(dut):
    """64-byte writes, aligned: a beat every cycle."""
    rig = await Rig(dut, latency=LATENCY).start()
    expected = bytearray(rig.content)
    for _ in range(200):
        addr, content = rig.random.randrange(1000) * 64, rig.random.randbytes(64)
        expected[addr:addr + 64] = content
        rig.push_write(addr, content)
    await rig.until(lambda: len(rig.memory.transfers["b"]) == 200)
    w, i = rig.memory.transfers["w"], rig.data.cycles
    cocotb.log.info(f"64-byte writes: {rate(w):.4f} beats a cycle on W, {rate(i):.4f} words a cycle")
    # The first word may wait in its spare place for the command.
    assert rate(w) == 1 and rate(i[1:]) == 1
    rig.expect_memory(bytes(expected))


@cocotb.test
async def write_latency(dut):
    """The cycle budget of the docstring: command to word, last word to AW, AW to W, W to idle."""
    rig = await Rig(dut, latency=LATENCY).start()
    await rig.cycles(3)
    now = []

    async def watch():
        while True:
            await RisingEdge(dut.aclk)
            now.append(tuple(int(getattr(dut, f"{name}valid").value) & int(getattr(dut, f"{name}ready").value)
                             for name in ("i_command_", "i_write_", "m_axi_aw", "m_axi_w", "m_axi_b")))
    task = cocotb.start_soon(watch())
    rig.push_write(0, rig.random.randbytes(4 * rig.bus_bytes))
    await rig.until(lambda: len(rig.memory.transfers["b"]) == 1)
    task.cancel()
    command, word, aw, w, b = ([cycle for cycle, line in enumerate(now) if line[column]]
                               for column in range(5))
    cocotb.log.info(f"command to second word {word[1] - command[0]}, last word to AW {aw[0] - word[-1]}, AW to W "
                    f"{w[0] - aw[0]}, last W to B {b[0] - w[-1]}")
    assert word[1] - command[0] == 3 and aw[0] - word[-1] == 2 and w[0] == aw[0] and b[0] - w[-1] == LATENCY
    assert gaps(w) == [1, 1, 1]
