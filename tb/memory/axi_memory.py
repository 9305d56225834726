"""The AXI4 memory model itself: its timing, its ordering, and every rule that it enforces."""

import cocotb
from cocotb.triggers import ClockCycles
from olivine.memory.axi import address_channel, read_channel, response_channel, write_channel

from tb.axi_memory import DECERR, OKAY, SLVERR, AxiMemory, ProtocolError
from tb.streams import StreamSink, StreamSource, pack, start, unpack

SIZE = 0x8000
ADDRESS, READ = address_channel(16, 2), read_channel(32, 2)
WRITE, RESPONSE = write_channel(32), response_channel(2)


class Setup:
    def __init__(self, dut, **options):
        self.dut = dut
        self.ar, self.aw, self.w = (StreamSource(dut, name) for name in ("ar", "aw", "w"))
        self.r, self.b = StreamSink(dut, "r"), StreamSink(dut, "b")
        self.memory = AxiMemory(dut, size=SIZE, **options)
        self.content = bytes(range(256)) * (SIZE // 256)
        self.memory.write(0, self.content)
        self.memory.start()

    async def start(self):
        await start(self.dut, clock="aclk", reset="aresetn", active_low=True)
        await ClockCycles(self.dut.aclk, 2)
        return self

    def read(self, addr, beats, ident=0):
        self.ar.push(pack(ADDRESS, {"id": ident, "addr": addr, "len": beats - 1}))

    def write(self, addr, words, strobes=15, ident=0):
        self.aw.push(pack(ADDRESS, {"id": ident, "addr": addr, "len": len(words) - 1}))
        self.beats(words, strobes)

    def beats(self, words, strobes=15):
        for index, word in enumerate(words):
            self.w.push(pack(WRITE, {"data": word, "strb": strobes, "last": index == len(words) - 1}))

    async def answers(self, count):
        return [unpack(READ, bits) for bits in await self.r.collect(count)]

    async def responses(self, count):
        return [unpack(RESPONSE, bits) for bits in await self.b.collect(count)]

    async def refused(self, text):
        """The model must end with a ProtocolError that says ``text``; who awaits its task gets it."""
        cocotb.start_soon(self._deadline(text))
        try:
            await self.memory.task
        except ProtocolError as error:
            assert text in str(error), f"{error} does not say {text!r}"

    async def _deadline(self, text):
        await ClockCycles(self.dut.aclk, 200)
        assert self.memory.task.done(), f"the memory did not notice: {text}"


@cocotb.test
@cocotb.parametrize(latency=[1, 2, 30])
async def timing(dut, latency):
    """Latency as the docstring counts it, and a beat a cycle with bursts back to back."""
    s = await Setup(dut, latency=latency).start()
    for burst in range(8):
        s.read(burst * 16, 4, burst % 4)
    beats = await s.answers(32)
    assert [beat["data"] for beat in beats] == [
        int.from_bytes(s.content[4 * n:4 * n + 4], "little") for n in range(32)]
    assert [beat["last"] for beat in beats] == [0, 0, 0, 1] * 8
    assert [beat["id"] for beat in beats] == [n // 4 % 4 for n in range(32)]
    assert s.r.cycles[0] - s.ar.cycles[0] == latency
    assert s.r.cycles[-1] - s.r.cycles[0] == 31
    s.write(0x100, [1, 2, 3, 4])
    s.write(0x110, [5])
    await s.responses(2)
    assert [s.b.cycles[n] - s.w.cycles[last] for n, last in ((0, 3), (1, 4))] == [latency, latency]
    assert s.memory.read(0x100, 20) == b"".join(n.to_bytes(4, "little") for n in (1, 2, 3, 4, 5))


@cocotb.test
async def ordering(dut):
    """A read sees what was there at its address; a write is there with its response, not before."""
    s = await Setup(dut).start()
    s.write(0x40, [0xAAAAAAAA])
    await s.w.drained()
    s.read(0x40, 1)                                 # before the response: the old word
    await ClockCycles(dut.aclk, 10)
    await s.responses(1)
    s.read(0x40, 1)
    old, new = await s.answers(2)
    assert (old["data"], new["data"]) == (0x43424140, 0xAAAAAAAA)
    s.write(0x40, [0x11223344], strobes=0b0110)
    await s.responses(1)
    assert s.memory.read(0x40, 4) == bytes([0xAA, 0x33, 0x22, 0xAA])
    assert s.memory.bytes_written == 6


@cocotb.test
async def injected(dut):
    """Errors on the beats and bursts that touch a range, and outside of the memory; nothing is written."""
    s = await Setup(dut).start()
    s.memory.inject(SLVERR, 0x106, 0x108)
    s.read(0x100, 4)
    s.read(SIZE - 8, 2)
    s.read(SIZE, 1)
    beats = await s.answers(7)
    assert [beat["resp"].value for beat in beats] == [OKAY, SLVERR, SLVERR, OKAY, OKAY, OKAY, DECERR]
    assert beats[1]["data"] != 0x07060504, "an error carries junk"
    s.write(0x100, [0] * 4)
    s.write(0x10C, [0])
    assert [b["resp"].value for b in await s.responses(2)] == [SLVERR, OKAY]
    assert s.memory.read(0x100, 12) == s.content[:12]
    s.memory.heal()
    s.read(0x104, 1)
    assert (await s.answers(1))[0]["resp"].value == OKAY


@cocotb.test
async def silent(dut):
    """Nothing moves during a silence; with a length it ends by itself."""
    s = await Setup(dut).start()
    s.memory.silence(0, 200)
    begin = s.memory.cycle
    s.read(0, 4)
    s.write(0x40, [1])
    await s.answers(4)
    await s.responses(1)
    assert min(cycle for cycles in s.memory.transfers.values() for cycle in cycles) >= begin + 200
    s.memory.silence(5)
    s.read(0, 1)
    await ClockCycles(dut.aclk, 500)
    assert s.memory.outstanding == 1
    s.memory.silence(None)
    await s.answers(1)


@cocotb.test
async def interleaving(dut):
    """Beats of different IDs mix; those of one ID stay in order."""
    s = await Setup(dut, interleave=True).start()
    for burst in range(8):
        s.read(burst * 32, 8, burst % 4)
    beats = await s.answers(64)
    order = [beat["id"] for beat in beats]
    assert sum(a != b for a, b in zip(order, order[1:])) > 20
    for ident in range(4):
        want = [int.from_bytes(s.content[4 * n:4 * n + 4], "little")
                for burst in (ident, ident + 4) for n in range(8 * burst, 8 * burst + 8)]
        assert [beat["data"] for beat in beats if beat["id"] == ident] == want


@cocotb.test
@cocotb.parametrize(channel=["ar", "aw", "w"], fault=["withdrawn", "changed"])
async def unstable(dut, channel, fault):
    """An offer that does not hold until it is taken."""
    s = Setup(dut, patterns={channel: iter(lambda: False, True)})
    await s.start()
    await ClockCycles(dut.aclk, 5)
    valid, payload = getattr(dut, f"{channel}_valid"), getattr(dut, f"{channel}_payload")
    payload.value = 1 << 4
    valid.value = 1
    await ClockCycles(dut.aclk, 2)
    if fault == "withdrawn":
        valid.value = 0
    else:
        payload.value = 3 << 4
    await s.refused("fell before the transfer" if fault == "withdrawn" else "changed from")


@cocotb.test
async def crossing(dut):
    s = await Setup(dut).start()
    s.read(0x0FF0, 4)
    await s.answers(4)
    s.read(0x0FF4, 4)
    await s.refused("crosses a 4 KiB boundary")


@cocotb.test
@cocotb.parametrize(beats=[3, 5])
async def last_beat(dut, beats):
    s = await Setup(dut).start()
    s.aw.push(pack(ADDRESS, {"addr": 0x40, "len": 3}))
    s.beats([0] * beats)
    await s.refused("wlast is")


@cocotb.test
async def too_long(dut):
    s = await Setup(dut, max_beats=16).start()
    s.read(0, 17)
    await s.refused("at most 16")


@cocotb.test
async def early_strobes(dut):
    s = await Setup(dut).start()
    s.write(0x42, [0], strobes=0b0111)
    await s.refused("before address")


@cocotb.test
async def unknown_levels(dut):
    s = await Setup(dut).start()
    await ClockCycles(dut.aclk, 2)
    if "verilator" in cocotb.SIM_NAME.lower():
        cocotb.log.info("Verilator has two states: an X cannot be tried")
        return
    dut.ar_valid.value = cocotb.types.Logic("X")
    await s.refused("arvalid is X")
