"""BusJoin: whole masters on one bus, each at the level of its channels."""

import os
import random

import cocotb
from cocotb.triggers import ClockCycles, RisingEdge
from olivine.memory.axi import Response, address_channel, read_channel, response_channel, write_channel

from tb.axi_memory import SLVERR, AxiMemory
from tb.streams import PATTERNS, StreamChecker, StreamSink, StreamSource, pack, start, unpack

MASTERS, ID_WIDTH = int(os.environ["OLIVINE_MASTERS"]), int(os.environ["OLIVINE_ID_WIDTH"])
REGION = 0x4000
"""Each master writes in a region of its own, so that the order between masters does not matter."""


class Master:
    """One master: its bursts, and the answers that it waits for by ID."""

    def __init__(self, setup, index, name):
        dut, seed = setup.dut, 100 * index
        self.setup, self.index, self.random = setup, index, random.Random(seed)
        self.addresses, self.responses = (make(setup.addr_width, ID_WIDTH) for make in (
            address_channel, lambda _, width: response_channel(width)))
        self.beats = write_channel(8 * setup.bus_bytes)
        self.aw, self.w = (StreamSource(dut, f"{name}_{channel}", setup.pattern(channel), seed + n)
                           for n, channel in enumerate(("aw", "w")))
        self.b = StreamSink(dut, f"{name}_b", "always", seed + 2)
        self.writes = {}        # ID -> responses that are owed
        self.read = {}          # ID -> (data, response, last) of each beat that is owed
        self.compared = 0       # answers
        self.data = read_channel(8 * setup.bus_bytes, ID_WIDTH)
        self.ar = StreamSource(dut, f"{name}_ar", setup.pattern("ar"), seed + 3)
        self.r = StreamSink(dut, f"{name}_r", "always", seed + 4)
        StreamChecker(dut, f"{name}_r")
        StreamChecker(dut, f"{name}_b")

    def _place(self, beats, first, size):
        """An address for so many beats, in one piece of 4 KiB."""
        lane = self.setup.bus_bytes
        return first + self.random.randrange(size // 0x1000) * 0x1000 + \
            self.random.randrange((0x1000 - beats * lane) // lane + 1) * lane

    def push_write(self, beats, ident, response=Response.OKAY, place=None):
        """A burst whose response comes with ``ident``."""
        setup, size = self.setup, self.setup.bus_bytes
        addr = self._place(beats, self.index * REGION, REGION) if place is None else place
        content = self.random.randbytes(beats * size)
        if response is Response.OKAY:
            setup.expected[addr:addr + len(content)] = content
        self.aw.push(pack(self.addresses, {"id": ident, "addr": addr, "len": beats - 1}))
        for beat in range(beats):
            word = int.from_bytes(content[beat * size:(beat + 1) * size], "little")
            self.w.push(pack(self.beats, {"data": word, "strb": (1 << size) - 1, "last": beat == beats - 1}))
        self.writes.setdefault(ident, []).append(response)

    def push_read(self, beats, ident):
        """Of memory that nobody writes."""
        setup, size = self.setup, self.setup.bus_bytes
        addr = self._place(beats, MASTERS * REGION, 0x4000)
        self.ar.push(pack(self.addresses, {"id": ident, "addr": addr, "len": beats - 1}))
        content = setup.content[addr:addr + beats * size]
        self.read.setdefault(ident, []).extend(
            (int.from_bytes(content[beat * size:(beat + 1) * size], "little"), Response.OKAY, beat == beats - 1)
            for beat in range(beats))

    async def settle(self, timeout=40_000):
        """Wait for all that is owed, and compare it with what came, ID by ID."""
        owed = sum(map(len, self.writes.values()))
        await self._compare(self.b, self.responses, owed, self.writes, lambda beat: beat["resp"], timeout)
        await self._compare(self.r, self.data, sum(map(len, self.read.values())), self.read,
                            lambda beat: (beat["data"], beat["resp"], bool(beat["last"])), timeout)

    async def _compare(self, sink, shape, owed, queues, value, timeout):
        self.compared += owed
        for bits in await sink.collect(owed, timeout=timeout):
            beat = unpack(shape, bits)
            queue = queues.get(beat["id"])
            assert queue, f"master {self.index}: an answer of ID {beat['id']} that it did not ask for"
            assert value(beat) == queue.pop(0), f"master {self.index}, ID {beat['id']}: {beat}"
        queues.clear()

    def surplus(self):
        """Answers that nobody owed."""
        return len(self.b.received) + len(self.r.received) - self.compared


class Setup:
    """The masters and a memory."""

    def __init__(self, dut, patterns=None, **options):
        self.dut, self.patterns = dut, patterns or {}
        self.bus_bytes, self.addr_width = len(dut.m_axi_wdata) // 8, len(dut.m_axi_awaddr)
        size = MASTERS * REGION + 0x4000
        self.content = random.Random(5).randbytes(size)
        self.expected = bytearray(self.content)
        self.memory = AxiMemory(dut, size=size, **{"latency": 8, **options})
        self.memory.write(0, self.content)
        self.memory.start()
        self.masters = [Master(self, index, f"masters_{index}") for index in range(MASTERS)]

    def pattern(self, channel):
        return self.patterns.get(channel, "always")

    async def start(self):
        await start(self.dut, clock="aclk", reset="aresetn", active_low=True)
        await ClockCycles(self.dut.aclk, 2)
        return self

    async def settle(self):
        for master in self.masters:
            await master.settle()
        await ClockCycles(self.dut.aclk, 20)
        for master in self.masters:
            assert not master.surplus(), f"master {master.index}: an answer too many"
        assert self.memory.outstanding == 0
        got = self.memory.read(0, len(self.expected))
        assert got == bytes(self.expected), \
            f"memory differs at {next(n for n, (a, b) in enumerate(zip(got, self.expected)) if a != b):#x}"


def gaps(cycles):
    return sum(b - a - 1 for a, b in zip(cycles, cycles[1:]))


@cocotb.test
async def mixed(dut):
    """Reads and writes of every master and ID, interleaved by the memory, with stalls on all channels but R, which
    masters always take."""
    chooser = random.Random(3)
    setup = Setup(dut, patterns={"aw": "half", "w": "bursty", "ar": "half"}, interleave=True)
    await setup.start()
    for seed, pattern in enumerate(PATTERNS):
        for channel in ("ar", "r", "aw", "w", "b"):
            setup.memory.set_pattern(channel, pattern if seed else chooser.choice(list(PATTERNS)), seed)
        for master in setup.masters:
            for _ in range(20):
                ident = chooser.randrange(1 << ID_WIDTH)
                master.push_write(chooser.choice((1, 2, 7, 16)), ident)
                master.push_read(chooser.choice((1, 3, 16)), chooser.randrange(1 << ID_WIDTH))
        await setup.settle()
    idents = {burst.id for burst in setup.memory.writes} | {burst.id for burst in setup.memory.reads}
    assert idents == set(range(MASTERS << ID_WIDTH)), "an ID was never used"
    for index in range(MASTERS):
        assert all(burst.id >> ID_WIDTH == index for burst in setup.memory.writes
                   if burst.address // REGION == index)


@cocotb.test
@cocotb.parametrize(beats=[1, 3, 16])
async def full_speed(dut, beats):
    """All masters at once: no gap on R and on W, one address a cycle, and turns."""
    setup = await Setup(dut).start()
    bursts = 96 // beats
    for master in setup.masters:
        for burst in range(bursts):
            master.push_write(beats, burst % (1 << ID_WIDTH))
            master.push_read(beats, burst % (1 << ID_WIDTH))
    await setup.settle()
    transfers = setup.memory.transfers
    assert gaps(transfers["w"]) == 0 and gaps(transfers["r"]) == 0, (gaps(transfers["w"]), gaps(transfers["r"]))
    assert gaps(transfers["ar"]) == 0
    assert beats > 1 or gaps(transfers["aw"]) == 0
    for kind in (setup.memory.reads, setup.memory.writes):
        order = [burst.id >> ID_WIDTH for burst in kind]
        assert order == list(range(MASTERS)) * bursts, "masters do not take turns"


@cocotb.test
async def alone(dut):
    """One master has the whole bus while the others are silent: one cycle to the address, one to the beats."""
    setup = await Setup(dut).start()
    memory = setup.memory
    for master in setup.masters:
        before = {name: len(cycles) for name, cycles in memory.transfers.items()}
        for _ in range(20):
            master.push_write(4, 0)
            master.push_read(4, 0)
        await setup.settle()
        mine = {name: cycles[before[name]:] for name, cycles in memory.transfers.items()}
        assert gaps(mine["w"]) == 0 and gaps(mine["r"]) == 0
        assert mine["w"][0] - mine["aw"][0] == 1, "the first beat does not go with its address"


@cocotb.test
async def errors(dut):
    """An error goes to the master whose burst it was, and to nobody else."""
    setup = await Setup(dut).start()
    for victim in range(MASTERS):
        setup.memory.inject(SLVERR, victim * REGION, victim * REGION + 0xFF, reads=False)
        for index, master in enumerate(setup.masters):
            for ident in range(1 << ID_WIDTH):
                bad = Response.SLVERR if index == victim else Response.OKAY
                master.push_write(4, ident, bad, place=index * REGION + 0x40)
        await setup.settle()
        setup.memory.heal()


@cocotb.test
async def late_beats(dut):
    """A master that pauses inside its burst: the others wait, and nothing gets mixed up."""
    setup = await Setup(dut, patterns={"w": "rare"}).start()
    for master in setup.masters:
        for _ in range(12):
            master.push_write(5, 0)
    await setup.settle()
    await RisingEdge(dut.aclk)
