"""Ddr3Memory with LiteDRAM, stand-ins for the primitives, and a chip that checks its timings."""

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge, with_timeout
from olivine.board.ddr3_registers import BASE, INITIALISED, LEVELLED, STATE, Phy, offset_of
from olivine_host.simulation.ddr3 import FLIGHT

from tb.board.dram import CORE_PS, DRAM_PS, STALLS, Gate, Setup, loses_no_answer, reads_back

LANES, SLVERR = 2, 2
DELAYS, SLIPS = 8, 4
INIT_PS = 40_000


class Ddr3Setup(Setup):
    """A master, what memory must hold, and a host."""

    async def start(self, wait=True):
        dut = self.dut
        for channel in ("ar", "aw", "w"):
            getattr(dut, f"host__{channel}__valid").value = 0
            getattr(dut, f"registers__{channel}__ready").value = 0
        for channel in ("r", "b"):
            getattr(dut, f"host__{channel}__ready").value = 1
            getattr(dut, f"registers__{channel}__valid").value = 0
            getattr(dut, f"registers__{channel}__payload").value = 0
        dut.rst.value = 1
        for clock, period in ((dut.clk, CORE_PS), (dut.fast_source, DRAM_PS // 2), (dut.init_clk, INIT_PS)):
            cocotb.start_soon(Clock(clock, period, unit="ps").start())
        await ClockCycles(dut.clk, 16)
        dut.rst.value = 0
        if wait:
            await with_timeout(self.initialised(), 1_000, "us")
        return self

    async def initialised(self):
        while not await self.get(STATE) & INITIALISED:
            await ClockCycles(self.dut.clk, 20)

    async def _moves(self, channel):
        while True:
            await RisingEdge(self.dut.clk)
            if getattr(self.dut, f"host__{channel}__ready").value == 1:
                getattr(self.dut, f"host__{channel}__valid").value = 0
                return

    async def _answer(self, channel):
        while True:
            await RisingEdge(self.dut.clk)
            if getattr(self.dut, f"host__{channel}__valid").value == 1:
                return int(getattr(self.dut, f"host__{channel}__payload").value)

    async def get(self, offset, resp=0):
        self.dut.host__ar__payload.value = offset
        self.dut.host__ar__valid.value = 1
        await self._moves("ar")
        answer = await self._answer("r")
        assert answer >> 32 == resp, answer
        return answer & 0xffff_ffff

    async def put(self, offset, value=1, resp=0):
        self.dut.host__aw__payload.value = offset
        self.dut.host__w__payload.value = value | 0xf << 32
        self.dut.host__aw__valid.value = self.dut.host__w__valid.value = 1
        await self._moves("aw")
        self.dut.host__w__valid.value = 0
        assert await self._answer("b") == resp

    async def place(self, lanes, delay, slip):
        """Reads of these byte lanes, a bit each, are sampled so."""
        await self.put(offset_of(Phy.DLY_SEL), lanes)
        for reset, more, times in ((Phy.RDLY_DQ_RST, Phy.RDLY_DQ_INC, delay),
                                   (Phy.RDLY_DQ_BITSLIP_RST, Phy.RDLY_DQ_BITSLIP, slip)):
            await self.put(offset_of(reset))
            for _ in range(times):
                await self.put(offset_of(more))
        await self.put(offset_of(Phy.DLY_SEL), 0)

    async def windows(self):
        """By lane, the (delay, slip) with which a pattern comes back and its strobes in time."""
        pattern = self.words(16)
        self.write(0, pattern)
        await self.b.collect(1, timeout=20_000)
        self.writes, right = [], [set() for _ in range(LANES)]
        for slip in range(SLIPS):
            for delay in range(DELAYS):
                await self.place(3, delay, slip)
                await self.put(offset_of(Phy.BURSTDET_CLR))
                self.read(0, 16)
                got = list(await self.r.collect(16, timeout=20_000))
                self.reads = []
                seen = await self.get(offset_of(Phy.BURSTDET_SEEN))
                for lane in range(LANES):
                    mask = 0x00ff_00ff_00ff_00ff << 8 * lane
                    data = [(bits >> self.data["data"].offset) & mask for bits in got]
                    if seen >> lane & 1 and data == [word & mask for word in pattern]:
                        right[lane].add((delay, slip))
        return right

    async def level(self):
        """As a host does it, with what is known of the bench's lines."""
        for lane, flight in enumerate(FLIGHT):
            first, last = window(flight)
            await self.place(1 << lane, (first + last) // 2, flight - 1)
        await self.put(STATE, LEVELLED)
        return self


def window(flight):
    """First and last delay that the stand-ins take for lines so long."""
    return max(0, 2 * flight - 1), min(DELAYS - 1, 2 * flight + 2)


@cocotb.test
async def initialises(dut):
    """Before the chip is set up its registers answer SLVERR; what was asked of memory is answered then, not before."""
    setup = await Ddr3Setup(dut).start(wait=False)
    setup.write(0x100, setup.words(2))
    assert await setup.get(STATE) == LANES << 8
    await setup.get(offset_of(Phy.DLY_SEL), SLVERR)
    await setup.put(offset_of(Phy.DLY_SEL), 1, SLVERR)
    await setup.put(STATE, LEVELLED)
    assert await setup.get(STATE) == LANES << 8 and dut.ready.value == 0, "what is not initialised is not levelled"
    assert not setup.b.received
    await with_timeout(setup.initialised(), 1_000, "us")
    await setup.settle()
    await setup.put(STATE, LEVELLED)
    assert await setup.get(STATE) == LANES << 8 | INITIALISED | LEVELLED and dut.ready.value == 1
    await setup.put(STATE, 0)
    assert dut.ready.value == 0


@cocotb.test
async def windows_follow_the_lines(dut):
    """Each lane is read rightly with the settings that its lines ask for, and with no other."""
    setup = await Ddr3Setup(dut).start()
    for flight, right in zip(FLIGHT, await setup.windows(), strict=True):
        first, last = window(flight)
        assert right == {(delay, flight - 1) for delay in range(first, last + 1)}, (flight, right)
    assert dut.errors.value == 0


@cocotb.test
async def read_back(dut):
    """Bursts of all lengths all over the memory, with strobes and stalls."""
    await reads_back(await (await Ddr3Setup(dut, STALLS).start()).level())


@cocotb.test
async def answers_wait(dut):
    """A master that takes no answer for a while loses none: neither responses nor data."""
    gate = Gate()
    await loses_no_answer(await (await Ddr3Setup(dut, {"r": gate, "b": gate}).start()).level(), gate)


@cocotb.test
async def registers_below_are_the_core_s(dut):
    """An access below the window reaches the core, and its answer the host."""
    setup = await Ddr3Setup(dut).start()
    dut.registers__ar__ready.value = 1
    task = cocotb.start_soon(setup.get(BASE - 4))
    while not dut.registers__ar__valid.value == 1:
        await RisingEdge(dut.clk)
    assert int(dut.registers__ar__payload.value) == BASE - 4
    dut.registers__ar__ready.value = 0
    dut.registers__r__payload.value = 0x1234
    dut.registers__r__valid.value = 1
    await RisingEdge(dut.clk)
    dut.registers__r__valid.value = 0
    assert await task == 0x1234
    await setup.get(STATE)
    assert dut.registers__ar__valid.value == 0


@cocotb.test
async def a_reset_begins_anew(dut):
    """In the midst of traffic: rows are open then, and the chip has no reset of its own."""
    setup = await (await Ddr3Setup(dut).start()).level()
    before = int(dut.restarts.value)
    for place in range(8):
        setup.write(0x10000 * place, setup.words(2))
        setup.read(0x10000 * place, 2)
    await ClockCycles(dut.clk, 40)
    assert dut.ready.value == 1 and len(setup.r.received) < len(setup.reads), "it is at work"
    dut.rst.value = 1
    await ClockCycles(dut.clk, 16)
    dut.rst.value = 0
    await ClockCycles(dut.clk, 2)
    assert dut.ready.value == 0
    await with_timeout(setup.initialised(), 1_000, "us")
    await setup.level()
    setup.r.received.clear()
    setup.b.received.clear()
    setup.reads, setup.writes = [], []
    setup.write(0x40, setup.words(9))
    await setup.settle()
    setup.read(0x40, 9)
    await setup.settle()
    assert dut.restarts.value == before + 1
