"""BurstReader: data, back-pressure, errors, abort, silence."""

import cocotb
from cocotb.triggers import RisingEdge
from olivine.memory.axi import Response

from tb.axi_memory import DECERR, SLVERR
from tb.memory.rig import Rig
from tb.streams import PATTERNS

PORTS = ("ar", "r", "i", "o")


@cocotb.test
async def alignments(dut):
    """Every head with every length over several bursts, all commands back to back."""
    rig = await Rig(dut).start()
    size = rig.bus_bytes
    commands = [(head + 0x140, count) for head in range(size) for count in range(1, 12 * size + 2)]
    rig.random.shuffle(commands)
    for command in commands:
        rig.push_read(*command)
    await rig.expect(commands)
    await rig.idle_after(rig.idle_read, "idle fell without a command")


@cocotb.test
async def boundaries(dut):
    """Transfers around 4 KiB boundaries; the memory refuses bursts across one."""
    rig = await Rig(dut).start()
    size = rig.bus_bytes
    commands = [(edge + place, count) for edge in (0x1000, 0x5000) for place in range(-2 * size, size + 1)
                for count in (1, size, 2 * size + 1, 5 * size)]
    commands += [(0, 3 * 4096), (0xFFF, 2 * 4096 + 2), (len(rig.content) - 1, 1),
                 (len(rig.content) - 4097, 4097)]
    for command in commands:
        rig.push_read(*command)
    await rig.expect(commands)


@cocotb.test
async def stalls(dut):
    """Random commands, with each channel stalled on its own by each pattern, then all at once."""
    rig = await Rig(dut).start()
    places = [{port: pattern} for port in PORTS for pattern in PATTERNS if pattern != "always"]
    places += [{port: rig.random.choice(list(PATTERNS)) for port in PORTS} for _ in range(4)]
    for seed, stalled in enumerate(places):
        for port in PORTS:
            pattern = stalled.get(port, "always")
            if port in rig.knobs:
                rig.knobs[port].turn(pattern, seed)
            else:
                rig.memory.set_pattern(port, pattern, seed)
        commands = [rig.random_command(rig.random.choice((4, 20, 150))) for _ in range(14)]
        for command in commands:
            rig.push_read(*command)
        await rig.expect(commands)


@cocotb.test
async def errors(dut):
    """An error at each beat of a transfer of several bursts: its address, and what is withheld."""
    rig = await Rig(dut).start()
    size = rig.bus_bytes
    before = (0x80, 3 * size)
    for head in range(0, size, max(1, size // 4)):
        addr, count = 0x200 + head, 10 * size + 1
        beats = (head + count + size - 1) // size
        for beat in range(beats):
            resp = rig.random.choice((SLVERR, DECERR))
            bad = 0x200 + beat * size
            rig.memory.inject(resp, bad + size // 2, bad + size // 2)
            # A second one, that must not replace the first.
            rig.memory.inject(SLVERR ^ DECERR ^ resp, bad + 2 * size, bad + 3 * size)
            rig.push_read(*before)
            rig.push_read(addr, count)
            await rig.expect([before])
            await rig.until(lambda: rig.error_read()["valid"] == 1)
            await rig.cycles(60)
            error = rig.error_read()
            assert error["resp"] == Response(resp)
            assert error["addr"] == max(bad, addr), f"{error['addr']:#x} is not the beat {bad:#x}"
            # Whole words of what came before the beat, and nothing of it or after.
            sink = rig.sinks[0]
            whole = max(0, bad - addr) // size
            got = await rig.collect(whole)
            assert b"".join(rig.word(word)[0] for word in got) == rig.content[addr:addr + whole * size]
            assert not any(rig.word(word)[1] for word in got)
            total = len(sink.received)
            rig.push_read(0x400, 4)      # goes nowhere: the reader waits for the abort
            await rig.cycles(40)
            assert len(sink.received) == total, "data after the error was delivered"
            await rig.clear_read()
            assert rig.error_read()["valid"] == 0
            rig.memory.heal()
            assert len(sink.received) == total
            rig.push_read(addr, count)
            await rig.expect([(addr, count)])
            assert rig.error_read()["valid"] == 0


@cocotb.test
async def abort(dut):
    """An abort in any cycle, held until idle or for one cycle; then normal work."""
    rig = await Rig(dut, check=False).start()
    for trial in range(75):
        for port in ("ar", "r"):
            rig.memory.set_pattern(port, rig.random.choice(list(PATTERNS)), trial)
        rig.knobs["o"].turn(rig.random.choice(list(PATTERNS)), trial)
        for _ in range(rig.random.randint(1, 5)):
            rig.push_read(*rig.random_command(200))
        await rig.cycles(rig.random.randint(0, 110))
        if trial % 3:
            await rig.clear_read()
            assert not rig.unsent(), "the abort left commands waiting"
        else:
            rig.abort_read(0, 1)
            await rig.cycles(1)
            rig.abort_read(0, 0)
            # What the sink takes in the abort's own cycle still belongs to the old commands, and so do
            # commands taken in it; those that are still at the port afterwards are executed.
            await rig.cycles(1)
            await rig.forget()
        commands = rig.unsent() + [rig.random_command(60) for _ in range(4)]
        for command in commands[-4:]:
            rig.push_read(*command)
        await rig.expect(commands)
        await rig.idle_after(rig.idle_read, "idle fell without a command")


@cocotb.test
async def silence(dut):
    """A silent memory: abort does not end until it answers; late data is discarded."""
    rig = await Rig(dut, check=False).start()
    for after in (0, 3, 33, 40):
        rig.push_read(0x100, 600)
        rig.memory.silence(after)
        await rig.cycles(after + 150)
        rig.abort_read(0, 1)
        for _ in range(200):
            await RisingEdge(dut.aclk)
            if rig.memory.outstanding or not rig.nothing_offered():
                assert not rig.idle_read(), "idle with something outstanding"
        rig.memory.silence(None)
        await rig.clear_read()
        rig.push_read(0x321, 77)
        await rig.expect([(0x321, 77)])
