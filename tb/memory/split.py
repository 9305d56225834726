"""BusSplit and Scratchpad: bursts of many IDs to both memories, the order of each ID, and the speed of each."""

import os
import random

import cocotb
from cocotb.triggers import RisingEdge
from olivine.memory.axi import Response, address_channel, read_channel, response_channel, write_channel

from tb.axi_memory import SLVERR, AxiMemory
from tb.streams import PATTERNS, StreamSink, StreamSource, pack, start, unpack

WORDS, ID_WIDTH = int(os.environ["OLIVINE_WORDS"]), int(os.environ["OLIVINE_ID_WIDTH"])
IDS = 1 << ID_WIDTH
FAR_BYTES = 0x4000


class Rig:
    """A master that takes all answers at once, and what both memories must hold."""

    def __init__(self, dut, patterns=None, **memory):
        patterns = patterns or {}
        self.dut, self.random = dut, random.Random(3)
        self.beat, self.addr_width = len(dut.m_axi_wdata) // 8, len(dut.m_axi_awaddr)
        self.base = (1 << self.addr_width) - WORDS * self.beat
        self.memory = AxiMemory(dut, size=FAR_BYTES, **{"latency": 8, **memory})
        self.memory.start()
        for channel in ("ar", "aw", "w", "r", "b"):
            self.memory.set_pattern(channel, patterns.get(channel, "always"), 1)
        self.content = {self.base: bytearray(WORDS * self.beat), 0: bytearray(FAR_BYTES)}
        self.memory.write(0, bytes(FAR_BYTES))
        self.shapes = {**dict.fromkeys(("ar", "aw"), address_channel(self.addr_width, ID_WIDTH)),
                       "w": write_channel(8 * self.beat), "r": read_channel(8 * self.beat, ID_WIDTH),
                       "b": response_channel(ID_WIDTH)}
        self.source = {name: StreamSource(dut, f"master_{name}", patterns.get(f"master_{name}", "always"), n)
                       for n, name in enumerate(("ar", "aw", "w"))}
        self.sink = {name: StreamSink(dut, f"master_{name}", "always") for name in ("r", "b")}
        self.owed = {"r": {}, "b": {}}

    async def start(self):
        await start(self.dut, clock="aclk", reset="aresetn", active_low=True)
        # What the test before left in the scratchpad.
        for address in range(self.base, 1 << self.addr_width, 16 * self.beat):
            self.source["aw"].push(pack(self.shapes["aw"], {"addr": address, "len": 15}))
            for beat in range(16):
                self.source["w"].push(pack(self.shapes["w"], {"strb": (1 << self.beat) - 1, "last": beat == 15}))
        await self.sink["b"].collect(WORDS // 16, timeout=60_000)
        return self

    def place(self, beats, near=None):
        near = self.random.getrandbits(1) if near is None else near
        size = WORDS * self.beat if near else FAR_BYTES
        page = self.random.randrange(size // 0x1000) * 0x1000
        return (self.base if near else 0), page + self.random.randrange(0x1000 // self.beat - beats + 1) * self.beat

    def write(self, beats, ident, near=None, resp=Response.OKAY):
        region, at = self.place(beats, near)
        self.source["aw"].push(pack(self.shapes["aw"], {"id": ident, "addr": region + at, "len": beats - 1}))
        for beat in range(beats):
            strb, content = self.random.getrandbits(self.beat), self.random.randbytes(self.beat)
            self.source["w"].push(pack(self.shapes["w"], {"data": int.from_bytes(content, "little"), "strb": strb,
                                                          "last": beat == beats - 1}))
            for lane in range(self.beat):
                if strb >> lane & 1:
                    self.content[region][at + beat * self.beat + lane] = content[lane]
        self.owed["b"].setdefault(ident, []).append((resp,))

    def read(self, beats, ident, near=None):
        region, at = self.place(beats, near)
        self.source["ar"].push(pack(self.shapes["ar"], {"id": ident, "addr": region + at, "len": beats - 1}))
        content = self.content[region]
        self.owed["r"].setdefault(ident, []).extend(
            (int.from_bytes(content[at + n * self.beat:at + (n + 1) * self.beat], "little"), Response.OKAY,
             int(n == beats - 1)) for n in range(beats))

    async def settle(self, channel):
        """All that is owed on R or B comes, of each ID in order."""
        owed, self.owed[channel] = self.owed[channel], {}
        for bits in await self.sink[channel].collect(sum(map(len, owed.values())), timeout=60_000):
            answer = unpack(self.shapes[channel], bits)
            got = (answer["data"], answer["resp"], answer["last"]) if channel == "r" else (answer["resp"],)
            assert owed[answer["id"]] and got == owed[answer["id"]].pop(0), (channel, answer)

    async def rounds(self, count, each=40):
        for _ in range(count):
            for _ in range(each):
                self.write(self.random.choice((1, 2, 7, 16)), self.random.randrange(IDS))
            await self.settle("b")
            for _ in range(each):
                self.read(self.random.choice((1, 2, 7, 16)), self.random.randrange(IDS))
            await self.settle("r")


@cocotb.test
async def both_memories(dut):
    rig = await Rig(dut).start()
    await rig.rounds(4)


@cocotb.test
@cocotb.parametrize(pattern=[name for name in PATTERNS if name != "always"])
async def under_patterns(dut, pattern):
    rig = await Rig(dut, dict.fromkeys(("ar", "aw", "w", "r", "b", "master_ar", "master_aw", "master_w"), pattern),
                    interleave=True).start()
    await rig.rounds(2, 30)


@cocotb.test
async def one_id(dut):
    """Bursts of one ID that change sides with every burst come back in order."""
    rig = await Rig(dut, latency=30).start()
    for turn in range(30):
        rig.write(3, 1, near=turn % 2)
    await rig.settle("b")
    for turn in range(30):
        rig.read(3, 1, near=turn % 2)
    await rig.settle("r")


@cocotb.test
async def errors_pass(dut):
    rig = await Rig(dut).start()
    rig.memory.inject(SLVERR, 0, FAR_BYTES - 1)
    for _ in range(8):
        rig.write(2, 0, near=True)
        rig.write(2, 1, near=False, resp=Response.SLVERR)
    await rig.settle("b")


@cocotb.test
async def below_the_window(dut):
    """The byte before the window is the far memory's, which has none there."""
    rig = await Rig(dut).start()
    for address, resp in ((rig.base - rig.beat, Response.DECERR), (rig.base, Response.OKAY)):
        rig.source["ar"].push(pack(rig.shapes["ar"], {"addr": address}))
        bits, = await rig.sink["r"].collect(1)
        assert unpack(rig.shapes["r"], bits)["resp"] == resp, hex(address)


@cocotb.test
async def a_beat_a_cycle(dut):
    """From the scratchpad, in bursts of 16, and to it, without a bubble; the far side stands still meanwhile."""
    rig = await Rig(dut).start()
    cycles = {"r": [], "w": []}

    async def watch():
        while True:
            await RisingEdge(dut.aclk)
            now = cocotb.utils.get_sim_time("step")
            for name, seen in cycles.items():
                if all(int(getattr(dut, f"master_{name}_{side}").value) for side in ("valid", "ready")):
                    seen.append(now)

    for _ in range(8):
        rig.write(16, 0, near=True)
    cocotb.start_soon(watch())
    await rig.settle("b")
    for _ in range(8):
        rig.read(16, 0, near=True)
    await rig.settle("r")
    period = min(b - a for a, b in zip(cycles["w"], cycles["w"][1:]))
    for name, seen in cycles.items():
        assert seen[-1] - seen[0] == (8 * 16 - 1) * period, name
