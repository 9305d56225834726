"""BoardMemory with LiteDRAM and a chip that checks its timings."""

import os
import random

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge, Timer, with_timeout
from olivine.memory.axi import Response, address_channel, read_channel, response_channel, write_channel

from tb.streams import StreamChecker, StreamSink, StreamSource, pack, unpack

CORE_PS, DRAM_PS = int(os.environ["OLIVINE_CORE_PS"]), int(os.environ["OLIVINE_DRAM_PS"])
PHASE_PS = int(os.environ.get("OLIVINE_PHASE_PS", DRAM_PS // 4))
"""How far the chip's clock is behind the controller's."""


class Setup:
    """A master, and what memory must hold."""

    def __init__(self, dut, patterns=None):
        self.dut, patterns = dut, patterns or {}
        self.bus_bytes = 8
        shape = len(dut.bus__ar__payload)
        self.random = random.Random(7)
        self.addresses = address_channel(32, shape - 40)
        self.beats, self.data = write_channel(64), read_channel(64, shape - 40)
        self.responses = response_channel(shape - 40)
        for number, name in enumerate(("ar", "aw", "w")):
            setattr(self, name, StreamSource(dut, f"bus__{name}", patterns.get(name, "always"), number))
        for number, name in enumerate(("r", "b")):
            setattr(self, name, StreamSink(dut, f"bus__{name}", patterns.get(name, "always"), number + 3))
            StreamChecker(dut, f"bus__{name}")
        self.content, self.reads, self.writes = {}, [], []

    async def start(self, wait=True):
        dut = self.dut
        await start_clocks(dut)
        if wait:
            await with_timeout(RisingEdge(dut.ready), 1_000, "us") if not dut.ready.value else None
        return self

    def write(self, addr, words, ident=0, strobes=None):
        self.aw.push(pack(self.addresses, {"id": ident, "addr": addr, "len": len(words) - 1}))
        for beat, word in enumerate(words):
            strobe = 0xFF if strobes is None else strobes[beat]
            mask = sum(0xFF << 8 * lane for lane in range(8) if strobe >> lane & 1)
            place = addr // 8 + beat
            self.content[place] = self.content.get(place, 0) & ~mask | word & mask
            self.w.push(pack(self.beats, {"data": word, "strb": strobe, "last": beat == len(words) - 1}))
        self.writes.append({"id": ident, "resp": Response.OKAY})

    def read(self, addr, beats, ident=0):
        self.ar.push(pack(self.addresses, {"id": ident, "addr": addr, "len": beats - 1}))
        self.reads += [{"id": ident, "data": self.content[addr // 8 + beat], "resp": Response.OKAY,
                        "last": int(beat == beats - 1)} for beat in range(beats)]

    async def settle(self):
        got = [unpack(self.responses, bits) for bits in await self.b.collect(len(self.writes), timeout=200_000)]
        assert got == self.writes
        got = [unpack(self.data, bits) for bits in await self.r.collect(len(self.reads), timeout=200_000)]
        wrong = [(n, a, b) for n, (a, b) in enumerate(zip(got, self.reads)) if a != b]
        assert not wrong, (len(wrong), wrong[:3])
        self.reads, self.writes = [], []
        assert self.dut.errors.value == 0, f"the chip counts {int(self.dut.errors.value)} violations: see the log"

    def words(self, beats):
        return [self.random.getrandbits(64) for _ in range(beats)]


async def start_clocks(dut):
    async def late():
        # A period more: the chip still counts the edges of the test before.
        await Timer(DRAM_PS + PHASE_PS, "ps")
        await Clock(dut.dram_pin_clk, DRAM_PS, unit="ps").start()

    dut.rst.value = dut.dram_rst.value = 1
    cocotb.start_soon(Clock(dut.clk, CORE_PS, unit="ps").start())
    cocotb.start_soon(Clock(dut.dram_clk, DRAM_PS, unit="ps").start())
    cocotb.start_soon(late())
    await ClockCycles(dut.clk, 8)
    await ClockCycles(dut.dram_clk, 8)
    dut.rst.value = dut.dram_rst.value = 0


@cocotb.test
async def initialises(dut):
    """ready rises once the chip is set up; what was asked for before is answered then."""
    setup = await Setup(dut).start(wait=False)
    setup.write(0x100, setup.words(2))
    await ClockCycles(dut.clk, 20)
    assert dut.ready.value == 0
    await with_timeout(RisingEdge(dut.ready), 1_000, "us")
    assert not setup.b.received
    await setup.settle()
    setup.read(0x100, 2)
    await setup.settle()


@cocotb.test
async def read_back(dut):
    """Bursts of all lengths all over the memory, with strobes and stalls."""
    await reads_back(await Setup(dut, STALLS).start())


STALLS = {"r": "bursty", "b": "half", "w": "half"}


async def reads_back(setup):
    size = int(os.environ["OLIVINE_SIZE"])
    for turn in range(int(os.environ.get("OLIVINE_TURNS", 6))):
        bursts = []
        for _ in range(10):
            beats = setup.random.choice((1, 2, 5, 16, 33))
            addr = setup.random.randrange(size // 4096) * 4096 + setup.random.randrange(512 - beats) * 8
            setup.write(addr, setup.words(beats), setup.random.randrange(4))
            bursts.append((addr, beats))
        await setup.settle()
        for addr, beats in bursts:
            setup.write(addr, setup.words(beats), 1, [setup.random.getrandbits(8) for _ in range(beats)])
        await setup.settle()
        for addr, beats in bursts:
            setup.read(addr, beats, turn % 4)
        await setup.settle()
    assert int(setup.dut.refreshes.value) >= 1


@cocotb.test
async def answers_wait(dut):
    """A master that takes no answer for a while loses none: neither responses nor data."""
    gate = Gate()
    await loses_no_answer(await Setup(dut, {"r": gate, "b": gate}).start(), gate)


class Gate:
    """A pattern that is what is set."""

    willing = False

    def __call__(self, seed):
        while True:
            yield self.willing


async def loses_no_answer(setup, gate):
    dut = setup.dut
    for place in range(50):
        setup.write(0x2000 + 8 * place, setup.words(1), place % 4)
    await ClockCycles(dut.clk, 600)
    assert not setup.b.received
    gate.willing = True
    await setup.settle()
    gate.willing = False
    for place in range(5):
        setup.read(0x2000 + 80 * place, 10, place % 4)
    await ClockCycles(dut.clk, 600)
    gate.willing = True
    await setup.settle()
