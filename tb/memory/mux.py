"""ReadMux with several readers: who gets what, and that nobody waits for another's consumer."""

import cocotb

from tb.memory.rig import Rig
from tb.streams import PATTERNS


async def read_all(rig, per_reader, longest=150):
    """Random commands on every reader; each must get its own data, in order."""
    commands = [[rig.random_command(longest) for _ in range(per_reader)] for _ in range(rig.readers)]
    for reader, mine in enumerate(commands):
        for command in mine:
            rig.push_read(*command, reader)
    for reader, mine in enumerate(commands):
        await rig.expect(mine, reader)


@cocotb.test
async def in_order(dut):
    rig = await Rig(dut).start()
    await read_all(rig, 30)
    assert {burst.id for burst in rig.memory.reads} == set(range(rig.readers))


@cocotb.test
async def interleaved(dut):
    """Beats of different IDs in random order, inside bursts too, under every pattern on AR and R."""
    rig = await Rig(dut, interleave=True).start()
    for seed, pattern in enumerate(PATTERNS):
        for channel in ("ar", "r"):
            rig.memory.set_pattern(channel, pattern, seed)
        rig.knobs["o"].turn(rig.random.choice(("always", "half", "bursty")), seed)
        await read_all(rig, 10)


@cocotb.test
async def taking_turns(dut):
    """With all readers at work the bus moves a beat a cycle and they share it evenly."""
    rig = await Rig(dut).start()
    size = rig.bus_bytes
    for reader in range(rig.readers):
        rig.push_read(reader * 0x2000, 300 * size, reader)
    for reader in range(rig.readers):
        await rig.expect([(reader * 0x2000, 300 * size)], reader)
    r = rig.memory.transfers["r"]
    cocotb.log.info(f"{rig.readers} readers: {(len(r) - 1) / (r[-1] - r[0]):.4f} beats a cycle")
    assert r[-1] - r[0] == len(r) - 1
    halves = [sum(burst.id == n for burst in rig.memory.reads[:len(rig.memory.reads) // 2])
              for n in range(rig.readers)]
    assert max(halves) - min(halves) <= 1, halves


@cocotb.test
async def one_stuck(dut):
    """A consumer that takes nothing does not hold up the others."""
    rig = await Rig(dut).start()
    rig.stuck.add(0)
    rig.push_read(0, 4000, 0)
    await rig.cycles(100)
    for reader in range(1, rig.readers):
        rig.push_read(0x2000, 1000, reader)
        await rig.expect([(0x2000, 1000)], reader)


@cocotb.test
async def one_aborted(dut):
    """An abort of one reader leaves the others' data alone."""
    rig = await Rig(dut, interleave=True, check=False).start()
    for trial in range(12):
        commands = [[rig.random_command(150) for _ in range(6)] for _ in range(rig.readers)]
        victim = trial % rig.readers
        for reader, mine in enumerate(commands):
            for command in mine:
                rig.push_read(*command, reader)
        await rig.cycles(rig.random.randint(0, 100))
        await rig.clear_read(victim)
        for reader, mine in enumerate(commands):
            if reader != victim:
                await rig.expect(mine, reader)
        rig.push_read(5, 50, victim)
        await rig.expect([(5, 50)], victim)
