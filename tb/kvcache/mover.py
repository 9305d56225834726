"""BlockMover: what it moves, reads and writes, its cycles, refusals and errors of the bus.

Parameters: OLIVINE_CONFIG; OLIVINE_TRIALS, moves of each round.
"""

import json
import os
import random

import cocotb
from cocotb.triggers import ClockCycles
from olivine.config import AcceleratorConfig
from olivine.control.job import Window
from olivine.kvcache.descriptor import CacheGeometry
from olivine.kvcache.moves import MoveAnswer, MoveCommand, MoveKind
from olivine.kvcache.page import key_bytes, page_bytes, value_blocks
from olivine.olive.formats import LaneFormat
from olivine_golden.mover import move

from tb.axi_memory import DECERR, SLVERR, AxiMemory
from tb.streams import PATTERNS, StreamChecker, StreamSink, StreamSource, pack, start, unpack

CONFIG = AcceleratorConfig(**json.loads(os.environ["OLIVINE_CONFIG"]))
TRIALS = int(os.environ["OLIVINE_TRIALS"])
L, B = CONFIG.lanes, CONFIG.bus_bytes
OVERHEAD = 15
"""Cycles of a move but for its beats and the memory's latency, see the docstring."""

CHANNELS = ("ar", "r", "aw", "w", "b")
FORMATS = list(LaneFormat)


def geometry_of(heads, head_dim, key_format, value_format, gap=0):
    """With ``gap`` beats between pages."""
    return {"heads": heads, "head_dim": head_dim, "key_format": key_format, "value_format": value_format,
            "page_bytes": page_bytes(L, B, head_dim, key_format, value_format) + gap * B}


def random_geometry(rng):
    return geometry_of(rng.randint(1, 4), rng.randrange(8, CONFIG.max_head_dim + 1, rng.choice((2, 8))),
                       rng.choice(FORMATS), rng.choice(FORMATS), rng.choice((0, 0, 1, 5)))


def _of_some_length():
    """Moves take long enough for something to happen meanwhile."""
    head_dim = min(16, CONFIG.max_head_dim)
    return geometry_of(32 // head_dim, head_dim, LaneFormat.INT8, LaneFormat.INT8)


def sections(geometry):
    """(first byte in a page, units, beats of a unit) of the keys, and of the values of each L dims."""
    d = geometry["head_dim"]
    keys = key_bytes(L, d, geometry["key_format"])
    found = [(0, L // B, keys // L)]
    for _, beats in value_blocks(L, B, d, geometry["value_format"]):
        found.append((keys, L, beats))
        keys += L * beats * B
    return found


def runs(geometry, command):
    """What is read and what is written, (first byte, bytes) each, in order."""
    reads, writes = [], []
    for head in range(geometry["heads"]):
        source, target = (command[name] + head * geometry["page_bytes"] for name in ("source", "target"))
        for at, units, beats in sections(geometry):
            unit, size = beats * B, L // units      # a unit's bytes, and its places
            if command["kind"] is MoveKind.PLACE:
                reads.append((source + at + command["source_place"] // size * unit, unit))
                writes.append((target + at + command["target_place"] // size * unit, unit))
                continue
            full, some = command["places"] // size, -(-command["places"] // size)
            for first, end in ((0, full), (full, some)):
                if end > first:
                    reads.append((source + at + first * unit, (end - first) * unit))
                    writes.append((target + at + first * unit, (end - first) * unit))
            if command["zero"] and some < units:
                writes.append((target + at + some * unit, (units - some) * unit))
    return reads, writes


class Bench:
    """The mover, a memory of random bytes, and what golden says of it.

    Attributes
    ----------
    expected : bytearray
    blocks : list of int
        Where four blocks lie, the last two at odd beats.
    """

    def __init__(self, dut, geometry, seed=1, patterns=("always", "always"), **options):
        self.dut, self.rng = dut, random.Random(seed)
        self.source = StreamSource(dut, "i", patterns[0], seed)
        self.sink = StreamSink(dut, "o", patterns[1], seed)
        StreamChecker(dut, "o")
        self.memory = None
        dut.bus_timeout.value = 0
        self.open()
        self.shape(geometry, seed, options)

    def shape(self, geometry, seed=1, options=None):
        """Another geometry, while nothing moves, and a memory that fits."""
        self.geometry = geometry
        self.dut.geometry.value = pack(CacheGeometry, geometry)
        self.block = -(-geometry["heads"] * geometry["page_bytes"] // 4096) * 4096
        step = self.block + 4096
        self.blocks = [4096 + n * step + (n // 2) * (n - 1) * B for n in range(4)]
        size = 4 * step + 8192
        content = self.rng.randbytes(size)
        if self.memory is None:
            self.memory = AxiMemory(self.dut, size=size, seed=seed, **(options or {})).start()
        self.memory.memory = bytearray(content)
        self.expected = bytearray(content)

    def open(self, readable=None, writable=None):
        """Windows: everything, or what is given."""
        top = (1 << CONFIG.addr_width) - 1
        windows = [{"first": 0, "last": top, "readable": 1, "writable": 1}] + [{"first": 1, "last": 0}] * (
            CONFIG.windows - 1)
        if readable or writable:
            windows[0] = {"first": readable[0], "last": readable[1], "readable": 1}
            windows[1] = {"first": writable[0], "last": writable[1], "writable": 1}
        shape = Window(CONFIG.addr_width)
        self.dut.windows.value = sum(pack(shape, window) << n * shape.size for n, window in enumerate(windows))

    async def start(self):
        await start(self.dut, clock="aclk", reset="aresetn", active_low=True)
        return self

    def stall(self, seed):
        for channel in CHANNELS:
            self.memory.set_pattern(channel, self.rng.choice(list(PATTERNS)), seed)

    def smooth(self):
        for channel in CHANNELS:
            self.memory.set_pattern(channel, "always")

    def command(self, kind=None, **fields):
        """A random move, except for what is given."""
        rng = self.rng
        kind = rng.choice(list(MoveKind)) if kind is None else kind
        source, target = rng.sample(self.blocks, 2)
        if kind is MoveKind.COPY:
            places = rng.choice((0, L, rng.randint(0, L), rng.randint(0, L)))
            made = {"source": source, "target": target, "places": places, "zero": rng.randint(0, 1)}
        else:
            made = {"source": source, "target": rng.choice((source, target)),
                    "source_place": rng.randrange(L), "target_place": rng.randrange(L)}
        return {"kind": kind, **made, **fields}

    async def do(self, command):
        """One move; its answer. Nothing is on the bus once it is there."""
        self.source.push(pack(MoveCommand, command))
        answer = unpack(MoveAnswer, (await self.sink.collect(1, timeout=200_000))[0])
        assert self.memory.outstanding == 0, "the answer came before the bus was quiet"
        return answer

    async def succeed(self, command):
        """A move that works; memory must equal golden, and only what must be is read and written."""
        before = self.memory.bytes_read, self.memory.bytes_written
        answer = await self.do(command)
        assert answer == {"ok": 1, "address": 0}, f"{command}: {answer}"
        move(self.expected, CONFIG, self.geometry, command)
        self.compare(command)
        reads, writes = runs(self.geometry, command)
        read, written = (sum(count for _, count in part) for part in (reads, writes))
        if command["kind"] is MoveKind.PLACE:
            # One byte of each beat of keys.
            written -= self.geometry["heads"] * sections(self.geometry)[0][2] * (B - 1)
        assert (self.memory.bytes_read - before[0], self.memory.bytes_written - before[1]) == (read, written), command

    def compare(self, what):
        got = self.memory.memory
        if got != self.expected:
            at = next(n for n, (a, b) in enumerate(zip(got, self.expected)) if a != b)
            raise AssertionError(f"{what}, {self.geometry}, blocks {self.blocks}: {got[at]:#x} at {at:#x}, "
                                 f"expected {self.expected[at]:#x}")

    def partial(self, command):
        """After a failed move: nothing but the target has changed, and that by nothing but what was to be written.
        Memory is taken as it is."""
        after = bytearray(self.expected)
        move(after, CONFIG, self.geometry, command)
        wrong = [at for at, byte in enumerate(self.memory.memory) if byte not in (self.expected[at], after[at])]
        assert not wrong, f"{command}: {wrong[0]:#x} is neither as before nor as after"
        self.expected = bytearray(self.memory.memory)


@cocotb.test
async def random_moves(dut):
    """Any geometry, any move, without stalls and with any."""
    bench = await Bench(dut, random_geometry(random.Random(0)), patterns=("half", "half"), latency=7).start()
    for trial in range(TRIALS):
        bench.shape(random_geometry(bench.rng))
        bench.smooth() if trial % 3 == 0 else bench.stall(trial)
        for _ in range(5):
            await bench.succeed(bench.command())


@cocotb.test
async def every_number_of_places(dut):
    """COPY of 0 to L places, with and without zeros."""
    bench = await Bench(dut, geometry_of(2, 8, LaneFormat.OVP4_FLINT, LaneFormat.INT8, 1), latency=3).start()
    for places in range(L + 1):
        for zero in (0, 1):
            await bench.succeed(bench.command(MoveKind.COPY, places=places, zero=zero))


@cocotb.test
async def every_place(dut):
    """PLACE from everywhere to everywhere in one block (all of L * L where that is few)."""
    bench = await Bench(dut, geometry_of(1, 8, LaneFormat.INT8, LaneFormat.OVP4_INT), latency=3).start()
    pairs = [(a, b) for a in range(L) for b in range(L)]
    for source, target in pairs if L <= 8 else bench.rng.sample(pairs, 64):
        block = bench.rng.choice(bench.blocks)
        await bench.succeed(bench.command(MoveKind.PLACE, source=block, target=block, source_place=source,
                                          target_place=target))


@cocotb.test
async def bus_errors(dut):
    """An error at bursts of some moves: which one is named, the bus is quiet, and the next move works."""
    bench = await Bench(dut, _of_some_length(), latency=9).start()
    memory, tried = bench.memory, 0
    for command in (bench.command(MoveKind.COPY, places=B + 1 if L > B else 1, zero=1),
                    bench.command(MoveKind.COPY, places=L, zero=0), bench.command(MoveKind.PLACE)):
        marks = len(memory.reads), len(memory.writes)
        await bench.succeed(command)
        bursts = [(burst, True) for burst in memory.reads[marks[0]:]] + [
            (burst, False) for burst in memory.writes[marks[1]:]]
        for burst, read in bench.rng.sample(bursts, min(len(bursts), 2 * TRIALS)):
            bench.stall(tried) if tried % 2 else bench.smooth()
            tried += 1
            beat = burst.address + bench.rng.randrange(burst.beats) * B
            memory.inject(bench.rng.choice((SLVERR, DECERR)), beat, beat + B - 1, reads=read, writes=not read)
            answer = await bench.do(command)
            assert answer == {"ok": 0, "address": beat if read else burst.address}, (answer, burst, read)
            bench.partial(command)
            memory.heal()
            await bench.succeed(command if tried % 4 else bench.command())


@cocotb.test
async def silence(dut):
    """A bus silent for less than the limit, for more, and for good: given up with address 0; the next move begins when
    what is late has arrived."""
    limit = 150
    bench = await Bench(dut, _of_some_length(), latency=9).start()
    dut.bus_timeout.value, memory, given_up = limit, bench.memory, 0
    for trial in range(2 * TRIALS):
        command = bench.command()
        begin = 5 + 13 * trial % 60
        memory.silence(begin, limit - 20)
        await bench.succeed(command)
        memory.silence(begin, 2 * limit)
        bench.source.push(pack(MoveCommand, command))
        answer = unpack(MoveAnswer, (await bench.sink.collect(1, timeout=10_000))[0])
        assert answer["address"] == 0, answer
        given_up += not answer["ok"]
        while not int(dut.idle.value):
            assert not int(dut.i__ready.value), "a move may begin while the bus owes answers"
            await ClockCycles(dut.aclk, 1)
        await bench.succeed(command)
    assert given_up, "no move was given up"
    memory.silence(10)
    bench.source.push([pack(MoveCommand, bench.command(MoveKind.COPY, places=L, zero=1))] * 2)
    answer = unpack(MoveAnswer, (await bench.sink.collect(1, timeout=10_000))[0])
    assert answer == {"ok": 0, "address": 0}, answer
    for _ in range(3 * limit):
        await ClockCycles(dut.aclk, 1)
        assert not int(dut.i__ready.value) and not int(dut.idle.value), "a move began while the bus owed answers"


@cocotb.test
async def refusals(dut):
    """Windows that end before, in, and behind each run; nothing outside of them is touched."""
    bench = await Bench(dut, geometry_of(2, 8, LaneFormat.INT8, LaneFormat.OVP4_INT, 2), latency=5).start()
    memory, refused = bench.memory, 0
    everything = 0, len(memory.memory) - 1
    for kind in MoveKind:
        for trial in range(TRIALS):
            command = bench.command(kind)
            parts = runs(bench.geometry, command)
            reading = trial % 2 == 0
            part = parts[0] if reading else parts[1]
            if not part:
                continue
            addr, count = bench.rng.choice(part)
            limit = bench.rng.choice((addr - 1, addr, addr + count - 2, addr + count - 1))
            window = (0, limit) if bench.rng.random() < 0.7 else (limit + 1, everything[1])
            bench.open(*(window, everything) if reading else (everything, window))
            bad = [addr for addr, count in part if addr < window[0] or addr + count - 1 > window[1]]
            marks = len(memory.reads), len(memory.writes)
            bench.stall(trial)
            answer = await bench.do(command)
            for burst in memory.reads[marks[0]:] if reading else memory.writes[marks[1]:]:
                assert window[0] <= burst.address and burst.address + burst.beats * B - 1 <= window[1], burst
            if bad:
                refused += 1
                assert answer == {"ok": 0, "address": bad[0]}, (answer, command, window)
                bench.partial(command)
            else:
                assert answer["ok"] == 1
                move(bench.expected, CONFIG, bench.geometry, command)
                bench.compare(command)
            bench.open()
            await bench.succeed(bench.command())
    assert refused >= TRIALS // 2


@cocotb.test
async def outside(dut):
    """Blocks past the last address, and around it: refused, not taken modulo the address space."""
    bench = await Bench(dut, geometry_of(1, 8, LaneFormat.INT8, LaneFormat.INT8)).start()
    top = 1 << CONFIG.addr_width
    wrong = [top - B] + [top, top + 4096] * (CONFIG.addr_width < 48)
    for address in wrong:
        for name in ("source", "target"):
            command = bench.command(MoveKind.COPY, places=L, zero=1, **{name: address})
            answer = await bench.do(command)
            assert answer == {"ok": 0, "address": address}
            bench.compare(command)      # no run comes before the refused one
            await bench.succeed(bench.command())


@cocotb.test
async def answers_wait(dut):
    """Commands are there all the time; each begins when the answer before was taken."""
    bench = await Bench(dut, geometry_of(1, 8, LaneFormat.INT8, LaneFormat.INT8), patterns=("always", "rare"),
                        latency=2).start()
    commands = [bench.command() for _ in range(20)]
    bench.source.push([pack(MoveCommand, command) for command in commands])
    for command, answer in zip(commands, await bench.sink.collect(20, timeout=50_000)):
        assert unpack(MoveAnswer, answer)["ok"] == 1
        move(bench.expected, CONFIG, bench.geometry, command)
    bench.compare("20 commands")
    assert all(taken > given for taken, given in zip(bench.source.cycles[1:], bench.sink.cycles))


async def timed(bench, command):
    """(cycles from the command's transfer to ``o.valid``, beats written, gaps on W)."""
    marks = {name: len(cycles) for name, cycles in bench.memory.transfers.items()}
    await bench.succeed(command)
    await ClockCycles(bench.dut.aclk, 2)
    w = bench.memory.transfers["w"][marks["w"]:]
    bursts = [burst.beats for burst in bench.memory.writes[marks["aw"]:]]
    return bench.sink.cycles[-1] - bench.source.cycles[-1], bursts, w[-1] - w[0] + 1 - len(w)


def sent(bursts):
    """Cycles from a first word for the writer to the last W, less the writer's own: a word a cycle comes, once its
    command is there, and a burst is sent when all of it is there. A command comes four cycles after the one before
    left the guard, and a cycle after that one has begun."""
    taken, begins, here, free = -1, 0, 0, 0
    for number, beats in enumerate(bursts):
        if number:
            taken = max(taken + 4, begins + 1)
            begins = max(here, taken + 1)
        here = begins + beats
        free = max(free, here) + beats
    return free


@cocotb.test
async def cycles(dut):
    """The docstring's formulas, to the cycle."""
    latency, heads = 30, 6
    bench = await Bench(dut, geometry_of(heads, CONFIG.max_head_dim, LaneFormat.INT8, LaneFormat.INT8),
                        latency=latency).start()
    for fields in ({"kind": MoveKind.COPY, "places": L, "zero": 0}, {"kind": MoveKind.COPY, "places": B, "zero": 1},
                   {"kind": MoveKind.COPY, "places": L - 1, "zero": 1}, {"kind": MoveKind.PLACE}):
        command = bench.command(**fields)
        count, bursts, gaps = await timed(bench, command)
        assert sum(bursts) == sum(size for _, size in runs(bench.geometry, command)[1]) // B
        cocotb.log.info(f"{fields}: {count} cycles, {sum(bursts)} beats, {gaps} gaps on W")
        # A first run without beats takes a cycle, and PLACE one for where it goes.
        assert count == sent(bursts) + 2 * latency + OVERHEAD + (command.get("places", 0) < B)
