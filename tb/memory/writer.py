"""BurstWriter: bytes in memory, back-pressure, errors, abort, silence."""

import cocotb
from cocotb.triggers import RisingEdge
from olivine.memory.axi import Response

from tb.axi_memory import DECERR, SLVERR
from tb.memory.rig import Rig
from tb.streams import PATTERNS

PORTS = ("aw", "w", "b", "command", "data")


def stall(rig, stalled, seed):
    for port in PORTS:
        pattern = stalled.get(port, "always")
        if port in rig.knobs:
            rig.knobs[port].turn(pattern, seed)
        else:
            rig.memory.set_pattern(port, pattern, seed)


async def write(rig, expected, commands):
    """Write random bytes to each of the commands, and compare all of memory once idle."""
    for addr, count in commands:
        content = rig.random.randbytes(count)
        expected[addr:addr + count] = content
        rig.push_write(addr, content)
    await rig.commands.drained()
    await rig.idle_after(rig.idle_write, "idle fell without a command", timeout=100_000)
    rig.expect_memory(bytes(expected), f"{len(commands)} writes from {commands[0]}")


@cocotb.test
async def alignments(dut):
    """Every head with every length over several bursts, all commands back to back."""
    rig = await Rig(dut).start()
    size = rig.bus_bytes
    expected = bytearray(rig.content)
    commands = [(head, count) for head in range(size) for count in range(1, 10 * size + 2)]
    rig.random.shuffle(commands)
    # Apart from each other, so that a byte too many shows.
    gap = 12 * size
    for part in range(0, len(commands), 80):
        await write(rig, expected, [(0x100 + n * gap + head, count)
                                    for n, (head, count) in enumerate(commands[part:part + 80])])
    assert rig.memory.bytes_written == sum(count for _, count in commands)


@cocotb.test
async def boundaries(dut):
    """Transfers around 4 KiB boundaries; the memory refuses bursts across one."""
    rig = await Rig(dut).start()
    size = rig.bus_bytes
    expected = bytearray(rig.content)
    await write(rig, expected, [(0x1000 + place, count) for place in range(-2 * size, size + 1)
                                for count in (1, size, 2 * size + 1, 5 * size)])
    await write(rig, expected, [(0x2FFF, 4096 + 2), (0, 1), (len(expected) - 1, 1),
                                (len(expected) - 2 * size - 1, 2 * size)])


@cocotb.test
async def stalls(dut):
    """Random commands, with each channel stalled on its own by each pattern, then all at once."""
    rig = await Rig(dut).start()
    expected = bytearray(rig.content)
    places = [{port: pattern} for port in PORTS for pattern in PATTERNS if pattern != "always"]
    places += [{port: rig.random.choice(list(PATTERNS)) for port in PORTS} for _ in range(4)]
    for seed, stalled in enumerate(places):
        stall(rig, stalled, seed)
        await write(rig, expected, [rig.random_command(rig.random.choice((4, 20, 150))) for _ in range(12)])


@cocotb.test
async def errors(dut):
    """An error on each burst of a transfer: its first address, and memory elsewhere as it should be."""
    rig = await Rig(dut).start()
    size = rig.bus_bytes
    expected = bytearray(rig.content)
    for head in (0, 1, size - 1):
        addr, count = 0x200 + head, 10 * size + 1
        for beat in range((head + count + size - 1) // size):
            resp = rig.random.choice((SLVERR, DECERR))
            bad = 0x200 + beat * size
            rig.memory.inject(resp, bad, bad)
            # A later one must not replace it.
            rig.memory.inject(SLVERR ^ DECERR ^ resp, 0x4000, 0x4000)
            before = len(rig.memory.writes)
            rig.push_write(addr, expected[addr:addr + count])
            rig.push_write(0x4000, expected[0x4000:0x4004])
            await rig.until(lambda: rig.error_write()["valid"] == 1)
            await rig.until(lambda: rig.memory.outstanding == 0 and rig.idle_write())
            burst = next(burst for burst in rig.memory.writes[before:]
                         if burst.address <= bad < burst.address + burst.beats * size)
            error = rig.error_write()
            assert error["resp"] == Response(resp)
            assert error["addr"] == max(burst.address, addr), f"{error['addr']:#x} for {burst}"
            await rig.clear_write()
            assert rig.error_write()["valid"] == 0
            rig.memory.heal()
            await write(rig, expected, [(addr, count)])
            assert rig.error_write()["valid"] == 0


@cocotb.test
async def abort(dut):
    """An abort in any cycle; what was offered is finished, then normal work."""
    rig = await Rig(dut).start()
    expected = bytearray(rig.content)
    for trial in range(75):
        stall(rig, {port: rig.random.choice(list(PATTERNS)) for port in PORTS}, trial)
        begun = []
        for _ in range(rig.random.randint(1, 5)):
            addr, count = rig.random_command(200)
            begun.append((addr, count))
            # Written with what is there: whatever part of it is written changes nothing.
            rig.push_write(addr, bytes(expected[addr:addr + count]))
        await rig.cycles(rig.random.randint(0, 110))
        await rig.clear_write()
        await write(rig, expected, [rig.random_command(60) for _ in range(3)])


@cocotb.test
async def short_abort(dut):
    """An abort of one cycle: drains, and takes the commands that come afterwards."""
    rig = await Rig(dut).start()
    expected = bytearray(rig.content)
    for trial in range(40):
        for port in ("aw", "w", "b"):
            rig.memory.set_pattern(port, rig.random.choice(list(PATTERNS)), trial)
        addr, count = rig.random_command(200)
        rig.push_write(addr, bytes(expected[addr:addr + count]))
        # Everything has entered, so that nothing of it is at the ports afterwards.
        await rig.data.drained()
        await rig.cycles(rig.random.randint(0, 60))
        rig.abort_write(1)
        await rig.cycles(1)
        rig.abort_write(0)
        await write(rig, expected, [rig.random_command(60) for _ in range(3)])


@cocotb.test
async def silence(dut):
    """A silent memory: abort does not end until it answers."""
    rig = await Rig(dut).start()
    expected = bytearray(rig.content)
    for after in (0, 3, 20, 40):
        rig.push_write(0x100, bytes(expected[0x100:0x100 + 600]))
        rig.memory.silence(after)
        await rig.cycles(after + 150)
        rig.abort_write(1)
        for _ in range(300):
            await RisingEdge(dut.aclk)
            if rig.memory.outstanding or not rig.nothing_offered():
                assert not rig.idle_write(), "idle with something outstanding"
        rig.memory.silence(None)
        await rig.clear_write()
        await write(rig, expected, [(0x321, 77)])
