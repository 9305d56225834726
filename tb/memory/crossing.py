"""AxiCrossing: streams in one clock, an AXI4 memory in another."""

import os
import random

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge
from cocotb.utils import get_sim_time
from olivine.memory.axi import Response, address_channel, read_channel, response_channel, write_channel

from tb.axi_memory import AxiMemory
from tb.streams import PATTERNS, StreamChecker, StreamSink, StreamSource, pack, unpack

MASTER_PS, SLAVE_PS = int(os.environ["OLIVINE_MASTER_PS"]), int(os.environ["OLIVINE_SLAVE_PS"])
"""Periods of the two clocks."""

DEPTH = int(os.environ["OLIVINE_DEPTH"])
SIZE = 0x8000


class Setup:
    """A master of streams, a memory behind the crossing, and what each read must give."""

    def __init__(self, dut, patterns=None, latency=4):
        self.dut, patterns = dut, patterns or {}
        self.bus_bytes, self.addr_width, id_width = len(dut.m_axi_wdata) // 8, len(dut.m_axi_awaddr), \
            len(dut.m_axi_awid)
        self.addresses = address_channel(self.addr_width, id_width)
        self.beats, self.data = write_channel(8 * self.bus_bytes), read_channel(8 * self.bus_bytes, id_width)
        self.responses = response_channel(id_width)
        self.random, self.ids = random.Random(11), 1 << id_width
        for number, name in enumerate(("ar", "aw", "w")):
            setattr(self, name, StreamSource(dut, f"master_{name}", patterns.get(name, "always"), number))
        for number, name in enumerate(("r", "b")):
            setattr(self, name, StreamSink(dut, f"master_{name}", patterns.get(name, "always"), number + 3))
            StreamChecker(dut, f"master_{name}")
        self.memory = AxiMemory(dut, clock=dut.dram_clk, reset=(dut.dram_rst, 1), size=SIZE, latency=latency,
                                patterns={name: kind for name, kind in patterns.items() if isinstance(kind, str)})
        self.content = bytearray(self.random.randbytes(SIZE))
        self.memory.write(0, bytes(self.content))
        self.memory.start()
        self.reads, self.writes = [], []

    async def start(self):
        """Both clocks, at phases that drift; both resets together."""
        dut = self.dut
        dut.aresetn.value, dut.dram_rst.value = 0, 1
        cocotb.start_soon(Clock(dut.aclk, MASTER_PS, unit="ps").start())
        cocotb.start_soon(Clock(dut.dram_clk, SLAVE_PS, unit="ps").start())
        await ClockCycles(dut.aclk, 8)
        await ClockCycles(dut.dram_clk, 8)
        dut.aresetn.value, dut.dram_rst.value = 1, 0
        await ClockCycles(dut.aclk, 8)
        return self

    def place(self, beats, first, size):
        step = self.bus_bytes
        return first + self.random.randrange(size // 0x1000) * 0x1000 \
            + self.random.randrange((0x1000 - beats * step) // step + 1) * step

    def write(self, beats, ident):
        """A burst into the upper half, with random strobes."""
        addr, size = self.place(beats, SIZE // 2, SIZE // 2), self.bus_bytes
        self.aw.push(pack(self.addresses, {"id": ident, "addr": addr, "len": beats - 1}))
        for beat in range(beats):
            word, strobe = self.random.randbytes(size), self.random.getrandbits(size)
            for lane in range(size):
                if strobe >> lane & 1:
                    self.content[addr + beat * size + lane] = word[lane]
            self.w.push(pack(self.beats, {"data": int.from_bytes(word, "little"), "strb": strobe,
                                          "last": beat == beats - 1}))
        self.writes.append({"id": ident, "resp": Response.OKAY})

    def read(self, beats, ident):
        """A burst of the lower half, which nobody writes."""
        addr, size = self.place(beats, 0, SIZE // 2), self.bus_bytes
        self.ar.push(pack(self.addresses, {"id": ident, "addr": addr, "len": beats - 1}))
        for beat in range(beats):
            word = self.content[addr + beat * size:addr + (beat + 1) * size]
            self.reads.append({"id": ident, "data": int.from_bytes(word, "little"), "resp": Response.OKAY,
                               "last": int(beat == beats - 1)})

    async def settle(self):
        """Everything that is owed comes, in order and as it should be, and nothing else."""
        got = [unpack(self.data, bits) for bits in await self.r.collect(len(self.reads), timeout=100_000)]
        assert got == self.reads, next((n, a, b) for n, (a, b) in enumerate(zip(got, self.reads)) if a != b)
        got = [unpack(self.responses, bits) for bits in await self.b.collect(len(self.writes), timeout=100_000)]
        assert got == self.writes
        received = len(self.r.received), len(self.b.received)
        await ClockCycles(self.dut.aclk, 30)
        assert (len(self.r.received), len(self.b.received)) == received, "an answer that nobody asked for"
        assert self.memory.read(0, SIZE) == bytes(self.content)
        self.reads, self.writes = [], []


@cocotb.test
async def random_bursts(dut):
    """Reads and writes with every stall pattern on either side."""
    names = list(PATTERNS)
    chooser = random.Random(3)
    setup = await Setup(dut, {name: chooser.choice(names) for name in ("ar", "r", "aw", "w", "b")}).start()
    for seed, pattern in enumerate(names):
        for channel in ("ar", "r", "aw", "w", "b"):
            setup.memory.set_pattern(channel, pattern if seed % 2 else chooser.choice(names), seed)
        for _ in range(15):
            setup.write(chooser.choice((1, 2, 7, 16, 40)), chooser.randrange(setup.ids))
            setup.read(chooser.choice((1, 3, 16, 40)), chooser.randrange(setup.ids))
        await setup.settle()


@cocotb.test
async def full_speed(dut):
    """Without stalls each channel moves one beat a cycle of the slower clock, bursts back to back."""
    setup = await Setup(dut).start()
    for _ in range(40):
        setup.write(10, 0)
        setup.read(10, 1)
    await setup.settle()
    period, moved = max(MASTER_PS, SLAVE_PS), setup.memory.transfers
    for name in ("r", "w"):
        # From the fourth burst on: before, the other side fills the queues at its own pace.
        cycles = moved[name][40:]
        spent = (cycles[-1] - cycles[0]) * SLAVE_PS / period
        if DEPTH >= 8:
            assert spent <= 1.02 * (len(cycles) - 1) + 2, f"{name}: {spent:.0f} cycles for {len(cycles)} beats"


@cocotb.test
async def latency(dut):
    """AR moves at the fourth edge of the receiver after the edge that took it."""
    setup = await Setup(dut).start()
    for gap in (3, 7, 10, 12):
        await ClockCycles(dut.aclk, gap)
        setup.read(1, 0)
        while not (dut.master_ar_valid.value == 1 and dut.master_ar_ready.value == 1):
            await RisingEdge(dut.aclk)
        taken = get_sim_time("ps")
        while not (dut.m_axi_arvalid.value == 1 and dut.m_axi_arready.value == 1):
            await RisingEdge(dut.dram_clk)
        cycles = (get_sim_time("ps") - taken) / SLAVE_PS
        assert 3 < cycles <= 4, cycles
    await setup.settle()


@cocotb.test
async def offers(dut):
    """valid waits for no ready: a beat of W appears before the memory is willing."""
    setup = await Setup(dut).start()
    setup.memory.silence(0)
    await ClockCycles(dut.dram_clk, 2)
    setup.write(2, 0)
    for _ in range(40):
        await RisingEdge(dut.dram_clk)
        if dut.m_axi_wvalid.value == 1 and dut.m_axi_awvalid.value == 1:
            break
    else:
        raise AssertionError("AW and W are not offered")
    setup.memory.silence(None)
    await setup.settle()


@cocotb.test
@cocotb.parametrize(last=["master", "slave"])
async def reset_midway(dut, last):
    """A reset of both while every queue holds something forgets it all, whichever side leaves it first."""
    open_ = False

    def gate(seed):
        while True:
            yield open_

    setup = await Setup(dut, {"r": gate, "b": gate}).start()
    setup.memory.set_pattern("r", "always")
    setup.memory.set_pattern("b", "always")
    setup.write(1, 0)
    setup.read(DEPTH, 1)
    await ClockCycles(dut.aclk, 60)
    assert dut.master_r_valid.value == 1 and dut.master_b_valid.value == 1
    setup.memory.silence(0)
    setup.read(1, 0)
    content = bytes(setup.content)
    setup.write(3, 0)
    await ClockCycles(dut.aclk, 30)
    assert dut.m_axi_arvalid.value == dut.m_axi_awvalid.value == dut.m_axi_wvalid.value == 1
    dut.aresetn.value, dut.dram_rst.value = 0, 1
    await ClockCycles(dut.aclk, 6)
    await ClockCycles(dut.dram_clk, 6)
    for side in ("slave", "master") if last == "master" else ("master", "slave"):
        if side == "master":
            dut.aresetn.value = 1
        else:
            dut.dram_rst.value = 0
        await ClockCycles(dut.aclk, 5)
    setup.memory.silence(None)
    open_ = True
    setup.reads, setup.writes, setup.content = [], [], bytearray(content)
    for _ in range(5):
        setup.write(3, 1)
        setup.read(9, 0)
    await setup.settle()
