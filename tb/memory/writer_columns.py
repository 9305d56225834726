"""BurstWriter with column commands: bytes in memory between plain commands, back-pressure, errors, abort, speed.

Parameter: OLIVINE_ALIGNED (0, 1), whether plain commands start at whole beats only.
"""

import os

import cocotb
from olivine.memory.axi import Response
from olivine.memory.realign import words
from olivine.memory.writer import column_span

from tb.axi_memory import DECERR, SLVERR
from tb.memory.rig import Rig
from tb.memory.writer import PORTS, stall
from tb.streams import PATTERNS, pack

ALIGNED = os.environ["OLIVINE_ALIGNED"] == "1"


class Columns(Rig):
    """A `Rig` that keeps what memory should hold."""

    def __init__(self, dut, **options):
        super().__init__(dut, **options)
        self.expected = bytearray(self.content)

    def push_column(self, addr, beats, low, high, content=None):
        """Queue a column command with random words, or those of ``content``. Only enabled bytes are expected."""
        size = self.bus_bytes
        shape = column_span(self.addr_width, size)
        self.commands.push(pack(shape, {"addr": addr, "last": addr + beats * size - 1, "column": 1, "low": low,
                                        "high": high}))
        content = self.random.randbytes(beats * size) if content is None else content
        for place in range(0, beats * size, size):
            word = content[place:place + size]
            self.expected[addr + place + low:addr + place + high + 1] = word[low:high + 1]
            # What a word says of itself is not looked at.
            self.data.push(pack(words(size), {"data": list(word), "count": self.random.randint(0, size),
                                              "last": self.random.getrandbits(1)}))

    def push_plain(self, addr, count):
        """Queue a plain command, with lanes that mean nothing."""
        content = self.random.randbytes(count)
        addr -= addr % self.bus_bytes if ALIGNED else 0
        self.expected[addr:addr + count] = content
        shape = column_span(self.addr_width, self.bus_bytes)
        lanes = {name: self.random.randrange(self.bus_bytes) for name in ("low", "high")}
        self.commands.push(pack(shape, {"addr": addr, "last": addr + count - 1, **lanes}))
        self.push_words(content)

    def random_column(self, longest):
        size = self.bus_bytes
        beats = self.random.randint(1, longest)
        low = self.random.randrange(size)
        high = self.random.choice((low, self.random.randrange(low, size)))
        return self.random.randrange(len(self.content) // size - beats + 1) * size, beats, low, high

    async def settle(self, what):
        await self.commands.drained()
        await self.idle_after(self.idle_write, "idle fell without a command", timeout=100_000)
        self.expect_memory(bytes(self.expected), what)


@cocotb.test
async def lanes(dut):
    """Every low with every high, over bursts and a 4 KiB boundary, between plain commands from anywhere."""
    rig = await Columns(dut).start()
    size = rig.bus_bytes
    for low in range(size):
        for high in range(low, size):
            rig.push_column(0x1000 - size * rig.random.randint(0, 6), rig.random.randint(1, 12), low, high)
            if rig.random.random() < 0.5:
                rig.push_plain(rig.random.randrange(0x3000), rig.random.randint(1, 5 * size))
    await rig.settle("all lanes")


@cocotb.test
async def stalls(dut):
    """Column and plain commands mixed, each channel stalled by each pattern, then all at once."""
    rig = await Columns(dut).start()
    places = [{port: pattern} for port in PORTS for pattern in PATTERNS if pattern != "always"]
    places += [{port: rig.random.choice(list(PATTERNS)) for port in PORTS} for _ in range(4)]
    for seed, stalled in enumerate(places):
        stall(rig, stalled, seed)
        for _ in range(12):
            if rig.random.random() < 0.6:
                rig.push_column(*rig.random_column(rig.random.choice((1, 4, 20))))
            else:
                rig.push_plain(*rig.random_command(rig.random.choice((4, 20, 150))))
        await rig.settle(f"stalls {stalled}")


@cocotb.test
async def errors(dut):
    """An error on each beat of a column: its burst's first beat, the rest as it should be, then normal work."""
    rig = await Columns(dut).start()
    size, beats = rig.bus_bytes, 11
    addr = 0x200 + size
    for beat in range(beats):
        resp = rig.random.choice((SLVERR, DECERR))
        bad = addr + beat * size
        rig.memory.inject(resp, bad, bad)
        before = len(rig.memory.writes)
        rig.push_column(addr, beats, size - 1, size - 1, bytes(rig.expected[addr:addr + beats * size]))
        await rig.until(lambda: rig.error_write()["valid"] == 1)
        await rig.until(lambda: rig.memory.outstanding == 0 and rig.idle_write())
        burst = next(burst for burst in rig.memory.writes[before:]
                     if burst.address <= bad < burst.address + burst.beats * size)
        assert rig.error_write()["resp"] == Response(resp)
        assert rig.error_write()["addr"] == burst.address
        await rig.clear_write()
        rig.memory.heal()
        rig.push_column(addr, beats, 0, 0)
        await rig.settle("after an error")


@cocotb.test
async def abort(dut):
    """An abort in any cycle of columns; then plain commands and columns as ever."""
    rig = await Columns(dut).start()
    size = rig.bus_bytes
    for trial in range(40):
        stall(rig, {port: rig.random.choice(list(PATTERNS)) for port in PORTS}, trial)
        for _ in range(rig.random.randint(1, 4)):
            addr, beats, low, high = rig.random_column(30)
            # Written with what is there: whatever part of it is written changes nothing.
            rig.push_column(addr, beats, low, high, bytes(rig.expected[addr:addr + beats * size]))
        await rig.cycles(rig.random.randint(0, 110))
        await rig.clear_write()
        rig.push_plain(*rig.random_command(60))
        rig.push_column(*rig.random_column(9))
        await rig.settle("after an abort")


@cocotb.test
async def speed(dut):
    """A beat a cycle, without a bubble between columns, or between columns and plain commands of whole beats."""
    rig = await Columns(dut, latency=4).start()
    size = rig.bus_bytes
    for part in range(8):
        rig.push_column(0x1000 * part, 16, part % size, size - 1)
        rig.push_plain(0x1000 * part + 0x800, 16 * size)
    await rig.settle("speed")
    cycles = rig.memory.transfers["w"]
    assert len(cycles) == 256
    assert cycles[-1] - cycles[0] == 255, f"{cycles[-1] - cycles[0] + 1} cycles"
