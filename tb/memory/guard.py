"""AddressGuard: what passes at the edges of windows, refusals, order and speed."""

import random

import cocotb
from cocotb.triggers import ClockCycles, RisingEdge
from olivine.control.job import Window, command, span

from tb.streams import PAIRS, StreamChecker, StreamSink, StreamSource, pack, start

WIDTH = 16
TOP = (1 << WIDTH) - 1
WINDOWS = 3


def windows(*entries):
    """(first, last, readable, writable) each."""
    shape = Window(WIDTH)
    bits = 0
    for index, (first, last, readable, writable) in enumerate(entries):
        bits |= pack(shape, {"first": first, "last": last, "readable": readable,
                             "writable": writable}) << index * shape.size
    return bits


def wanted(addr, count):
    return pack(command(WIDTH), {"addr": addr, "bytes": count})


def let_through(addr, count):
    """What leaves for a command that may go."""
    return pack(span(WIDTH), {"addr": addr, "last": addr + count - 1})


class Setup:
    """Guard with three windows; ``write`` is what its instance asks for."""

    def __init__(self, dut, entries, source="always", sink="always", seed=0):
        self.dut, self.entries = dut, entries
        self.source = StreamSource(dut, "i", source, seed)
        self.sink = StreamSink(dut, "o", sink, seed + 1)
        StreamChecker(dut, "o")
        dut.windows.value = windows(*entries)
        dut.clear.value = 0
        self.write = dut._name.endswith("write")

    def allowed(self, addr, count):
        return any((w if self.write else r) and count and first <= addr and addr + count - 1 <= last
                   for first, last, r, w in self.entries)

    def fault(self):
        value = int(self.dut.fault.value)
        return (value & 1, value >> 1)

    async def judge(self, addr, count):
        """Offer one command; whether it passed. A refusal is cleared."""
        before = len(self.sink.received)
        self.source.push(wanted(addr, count))
        await self.source.drained()
        await ClockCycles(self.dut.clk, WINDOWS + 3)
        passed = len(self.sink.received) > before
        valid, address = self.fault()
        assert passed != bool(valid), f"{count} bytes at {addr:#x}: passed {passed}, fault {valid}"
        if valid:
            assert address == addr
            # Held back, whatever comes next, until cleared.
            self.source.push(wanted(self.entries[0][0], 1))
            await ClockCycles(self.dut.clk, 4)
            assert self.fault() == (1, addr) and len(self.sink.received) == before
            self.dut.clear.value = 1
            await RisingEdge(self.dut.clk)
            self.dut.clear.value = 0
            await ClockCycles(self.dut.clk, WINDOWS + 5)
            assert self.fault()[0] == (0 if self.allowed(self.entries[0][0], 1) else 1)
            if self.fault()[0]:
                self.dut.clear.value = 1
                await RisingEdge(self.dut.clk)
                self.dut.clear.value = 0
                await RisingEdge(self.dut.clk)
        else:
            assert self.sink.received[-1] == let_through(addr, count)
        assert passed == self.allowed(addr, count), f"{count} bytes at {addr:#x}: passed {passed}"
        return passed


@cocotb.test
async def edges(dut):
    """One byte inside and outside of every edge, at both ends of the address space too."""
    entries = [(0x1000, 0x1FFF, 1, 1), (0x2000, 0x2000, 1, 1), (0xF000, TOP, 1, 1)]
    setup = Setup(dut, entries)
    await start(dut)
    passed = 0
    for addr, count in [
            (0x1000, 1), (0x0FFF, 1), (0x1FFF, 1), (0x1FFF, 2), (0x1000, 0x1000), (0x1000, 0x1001),
            (0x0FFF, 2), (0x2000, 1), (0x2001, 1), (0x2000, 2), (0x1800, 0x801),
            (TOP, 1), (TOP, 2), (0xF000, 0x1000), (0xF000, 0x1001), (0xEFFF, 0x1001), (0, 1), (0, 0),
            (0x1000, 0), (0x1001, 0),
            # Sums that come back into a window when taken modulo the address space, or modulo 2**32.
            (TOP, 0x2000), (0x1000, 1 << 16), (0x1000, (1 << 16) + 1), (0x1100, 0xFFFF_FFFF),
            (0x1100, 0xFFFF_FF01), (0xFFFF, 0xFFFF_FFFF), (1, 0xFFFF_FFFF)]:
        passed += await setup.judge(addr, count)
    assert passed == 6


@cocotb.test
async def permissions(dut):
    """Closed, read-only, write-only and overlapping windows."""
    setup = Setup(dut, [(0, TOP, 0, 0), (0x100, 0x1FF, 1, 0), (0x180, 0x27F, 0, 1)])
    await start(dut)
    for addr, count in [(0, 1), (0x100, 1), (0x17F, 1), (0x180, 1), (0x1FF, 1), (0x200, 1), (0x27F, 1),
                        (0x100, 0x100), (0x180, 0x100), (0x180, 0x80), (0x100, 0x180)]:
        await setup.judge(addr, count)


@cocotb.test
async def no_window(dut):
    """Nothing passes: no permission at all, and a window whose last byte is before its first."""
    setup = Setup(dut, [(0, 0, 0, 0), (0x200, 0x1FF, 1, 1), (TOP, 0, 1, 1)])
    await start(dut)
    for addr, count in [(0, 1), (0x200, 1), (0x1FF, 1), (0x1FF, 2), (TOP, 1), (TOP, 2), (0x200, 0)]:
        assert not await setup.judge(addr, count)


@cocotb.test
async def random_windows(dut):
    rng = random.Random(7)
    setup = Setup(dut, [(0, 0, 0, 0)] * 3)
    await start(dut)
    for _ in range(40):
        cuts = sorted(rng.sample(range(TOP + 1), 6))
        entries = [(cuts[2 * n], cuts[2 * n + 1], rng.random() < 0.8, rng.random() < 0.8) for n in range(3)]
        setup.entries = entries
        dut.windows.value = windows(*entries)
        for _ in range(6):
            first, last = rng.choice(entries)[:2]
            addr = max(0, first + rng.choice((-1, 0, 1, rng.randrange(0x100))))
            await setup.judge(addr, max(0, rng.choice((last, last + 1, last - rng.randrange(64))) - addr + 1))


@cocotb.test
async def clear_spares_good_commands(dut):
    """``clear`` with nothing refused drops nothing, not even a command that waits."""
    setup = Setup(dut, [(0, TOP, 1, 1)] * 3, sink="rare")
    await start(dut)
    dut.clear.value = 1
    setup.source.push([wanted(n, 1) for n in range(30)])
    assert await setup.sink.collect(30) == [let_through(n, 1) for n in range(30)]


@cocotb.test
async def speed(dut):
    """One command in four cycles, three cycles of latency."""
    setup = Setup(dut, [(0, TOP, 1, 1)] * 3)
    await start(dut)
    rng = random.Random(3)
    asked = [(rng.randrange(0x8000), rng.randint(1, 0x8000)) for _ in range(100)]
    setup.source.push([wanted(*entry) for entry in asked])
    assert await setup.sink.collect(100) == [let_through(*entry) for entry in asked]
    cycles = setup.sink.cycles
    assert cycles[-1] - cycles[0] == 4 * 99, "not one command in four cycles"
    assert cycles[0] - setup.source.cycles[0] == 3, "not three cycles of latency"


@cocotb.test
async def lookup(dut):
    """A command that lies in another window than the one before is offered a cycle later for each window between, and
    one that lies in none is refused when all have been looked at; the window found stays, over a refusal too."""
    setup = Setup(dut, [(0x1000 * n, 0x1000 * n + 0xFFF, 1, 1) for n in range(WINDOWS)])
    await start(dut)
    at = 0
    for target in (0, 2, 2, 1, 0, 1, 1, 0, 2):
        setup.source.push(wanted(0x1000 * target + 5, 7))
        await setup.sink.collect(1)
        assert setup.sink.cycles[-1] - setup.source.cycles[-1] == 3 + (target - at) % WINDOWS, (at, target)
        at = target
        setup.source.push(wanted(0x1000 * WINDOWS, 1))
        await setup.source.drained()
        for cycle in range(1, WINDOWS + 4):
            await RisingEdge(dut.clk)
            assert int(dut.busy.value) == 1 and setup.fault()[0] == (cycle > WINDOWS + 2), cycle
        dut.clear.value = 1
        await RisingEdge(dut.clk)
        dut.clear.value = 0
        await RisingEdge(dut.clk)
        assert int(dut.busy.value) == 0


@cocotb.test
@cocotb.parametrize(pair=PAIRS)
async def flow(dut, pair):
    """Allowed commands pass in order under every pair of stall patterns; refused ones are left out."""
    rng = random.Random(5)
    setup = Setup(dut, [(0, 0x7FFF, 1, 1), (0xC000, TOP, 1, 1), (0, 0, 0, 0)], *pair, seed=9)
    await start(dut)
    asked = [(rng.choice((rng.randrange(TOP), rng.randrange(0x4000))), rng.randint(1, 0x4000))
             for _ in range(50)]
    setup.source.push([wanted(*entry) for entry in asked])
    good = [entry for entry in asked if setup.allowed(*entry)]
    refused = []
    for _ in range(2000):
        await RisingEdge(dut.clk)
        valid, addr = setup.fault()
        if valid and int(dut.clear.value) == 0:
            refused.append(addr)
            dut.clear.value = 1
        else:
            dut.clear.value = 0
        if len(refused) + len(setup.sink.received) == len(asked):
            break
    assert setup.sink.received == [let_through(*entry) for entry in good]
    assert refused == [addr for addr, count in asked if not setup.allowed(addr, count)]
    assert good and refused
