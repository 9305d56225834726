"""AxiUpsizer: streams of a narrow master, an AXI4 memory on the wide side."""

import os
import random

import cocotb
from cocotb.triggers import ClockCycles
from olivine.memory.axi import Response, address_channel, read_channel, response_channel, write_channel

from tb.axi_memory import SLVERR, AxiMemory
from tb.streams import PATTERNS, StreamChecker, StreamSink, StreamSource, pack, start, unpack

NARROW, RATIO = int(os.environ["OLIVINE_NARROW"]) // 8, int(os.environ["OLIVINE_RATIO"])
BURSTS = int(os.environ["OLIVINE_BURSTS"])
SIZE = 0x8000
CHANNELS = ("ar", "r", "aw", "w", "b")


class Rig:
    """What the master asks, and what must come and be in memory then."""

    def __init__(self, dut, patterns=None, latency=4):
        self.dut, patterns = dut, patterns or {}
        ids = len(dut.m_axi_awid)
        self.random, self.ids = random.Random(5), 1 << ids
        addresses = address_channel(len(dut.m_axi_awaddr), ids)
        self.shapes = {"ar": addresses, "aw": addresses, "w": write_channel(8 * NARROW),
                       "r": read_channel(8 * NARROW, ids), "b": response_channel(ids)}
        self.source = {name: StreamSource(dut, f"master_{name}", patterns.get(name, "always"), number)
                       for number, name in enumerate(("ar", "aw", "w"))}
        self.sink = {name: StreamSink(dut, f"master_{name}", patterns.get(name, "always"), number)
                     for number, name in enumerate(("r", "b"))}
        for name in self.sink:
            StreamChecker(dut, f"master_{name}")
        self.memory = AxiMemory(dut, size=SIZE, latency=latency, patterns=patterns)
        self.content = bytearray(self.random.randbytes(SIZE))
        self.memory.write(0, bytes(self.content))
        self.memory.start()
        self.owed = {"r": [], "b": []}

    async def start(self):
        await start(self.dut, clock="aclk", reset="aresetn", active_low=True)
        return self

    def push(self, channel, **fields):
        self.source[channel].push(pack(self.shapes[channel], fields))

    def place(self, beats, first):
        """Any place of a burst within 4 KiB."""
        return first + self.random.randrange(SIZE // 0x2000) * 0x1000 \
            + self.random.randrange((0x1000 - beats * NARROW) // NARROW + 1) * NARROW

    def write(self, beats, addr=None):
        addr, ident = self.place(beats, SIZE // 2) if addr is None else addr, self.random.randrange(self.ids)
        self.push("aw", id=ident, addr=addr, len=beats - 1)
        for beat in range(beats):
            word, strobe = self.random.randbytes(NARROW), self.random.getrandbits(NARROW)
            for lane in range(NARROW):
                if strobe >> lane & 1:
                    self.content[addr + beat * NARROW + lane] = word[lane]
            self.push("w", data=int.from_bytes(word, "little"), strb=strobe, last=beat == beats - 1)
        self.owed["b"].append({"id": ident, "resp": Response.OKAY})

    def read(self, beats, addr=None):
        addr, ident = self.place(beats, 0) if addr is None else addr, self.random.randrange(self.ids)
        self.push("ar", id=ident, addr=addr, len=beats - 1)
        for beat in range(beats):
            word = self.content[addr + beat * NARROW:addr + (beat + 1) * NARROW]
            self.owed["r"].append({"id": ident, "data": int.from_bytes(word, "little"), "resp": Response.OKAY,
                                   "last": int(beat == beats - 1)})

    async def settle(self):
        for channel, owed in self.owed.items():
            got = [unpack(self.shapes[channel], bits)
                   for bits in await self.sink[channel].collect(len(owed), timeout=200_000)]
            assert got == owed, next((n, a, b) for n, (a, b) in enumerate(zip(got, owed)) if a != b)
        received = [len(sink.received) for sink in self.sink.values()]
        await ClockCycles(self.dut.aclk, 30)
        assert [len(sink.received) for sink in self.sink.values()] == received, "an answer that nobody asked for"
        assert self.memory.read(0, SIZE) == bytes(self.content)
        self.owed = {"r": [], "b": []}


@cocotb.test
async def random_bursts(dut):
    """Reads and writes from any part of a wide beat to any other, with every stall pattern on either side."""
    names, chooser = list(PATTERNS), random.Random(3)
    rig = await Rig(dut, {name: chooser.choice(names) for name in CHANNELS}).start()
    for seed, pattern in enumerate(names):
        for channel in CHANNELS:
            rig.memory.set_pattern(channel, pattern if seed % 2 else chooser.choice(names), seed)
        for _ in range(25):
            rig.write(chooser.choice((1, 2, 3, 7, 16, 40)))
            rig.read(chooser.choice((1, 2, 3, 7, 16, 40)))
        await rig.settle()


@cocotb.test
async def ends_of_a_page(dut):
    """Bursts that end with 4 KiB, and the longest: the memory refuses one that crosses."""
    rig = await Rig(dut).start()
    longest = min(256, 0x1000 // NARROW)
    for beats in (1, RATIO - 1, RATIO, RATIO + 1, longest):
        rig.write(beats, SIZE - beats * NARROW)
        rig.read(beats, 0x2000 - beats * NARROW)
        rig.read(beats, 0x1000)
    await rig.settle()
    for kind in (rig.memory.reads, rig.memory.writes):
        assert max(burst.beats for burst in kind) == longest // RATIO, "as few wide beats as hold the burst"


@cocotb.test
async def full_speed(dut):
    """Without stalls a narrow beat a cycle, bursts back to back."""
    rig = await Rig(dut).start()
    for _ in range(20):
        rig.write(4 * RATIO, rig.place(4 * RATIO, SIZE // 2) & -(NARROW * RATIO))
        rig.read(4 * RATIO, rig.place(4 * RATIO, 0) & -(NARROW * RATIO))
    await rig.settle()
    for moved in (rig.source["w"].cycles, rig.sink["r"].cycles):
        assert len(moved) == 80 * RATIO
        # A short queue of bursts waits for the memory's latency.
        if BURSTS >= 8:
            assert moved[-1] - moved[0] == len(moved) - 1, moved[-1] - moved[0]


@cocotb.test
async def errors_pass(dut):
    """Of a wide beat each narrow one has the response."""
    rig = await Rig(dut).start()
    wide = NARROW * RATIO
    rig.memory.inject(SLVERR, 0x1000, 0x1000 + wide - 1)
    rig.read(RATIO, 0x1000)
    rig.read(RATIO, 0x1000 + wide)
    got = [unpack(rig.shapes["r"], bits)["resp"] for bits in await rig.sink["r"].collect(2 * RATIO)]
    assert got == [Response.SLVERR] * RATIO + [Response.OKAY] * RATIO


@cocotb.test
async def offers(dut):
    """valid waits for no ready, and W for its address alone."""
    rig = await Rig(dut).start()
    rig.memory.silence(0)
    await ClockCycles(dut.aclk, 2)
    rig.push("w", data=1, strb=1, last=1)
    await ClockCycles(dut.aclk, 10)
    assert dut.m_axi_wvalid.value == 0 and dut.master_w_ready.value == 0
    rig.push("ar", addr=0)
    rig.push("aw", addr=SIZE // 2)
    await ClockCycles(dut.aclk, 4)
    assert dut.m_axi_arvalid.value == dut.m_axi_awvalid.value == 1
    rig.memory.silence(None)
    await rig.sink["b"].collect(1)
    await rig.sink["r"].collect(1)
