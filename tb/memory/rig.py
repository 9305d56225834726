"""A `MemoryBench` with a memory on its bus and something at each of its streams."""

import random

import cocotb
from cocotb.triggers import ClockCycles, RisingEdge
from olivine.control.job import span
from olivine.memory.reader import bus_error
from olivine.memory.realign import words

from tb.axi_memory import AxiMemory
from tb.streams import PATTERNS, StreamChecker, StreamSink, StreamSource, pack, start, unpack

__all__ = ["Rig"]


class Knob:
    """A stall pattern that a test changes while it runs."""

    def __init__(self, pattern="always", seed=0):
        self.turn(pattern, seed)

    def turn(self, pattern, seed=0):
        self._bits = PATTERNS[pattern](seed)

    def __iter__(self):
        return self

    def __next__(self):
        return next(self._bits)


class Rig:
    """Everything around the bench.

    Attributes
    ----------
    memory : AxiMemory
        None with ``memory=False``.
    content : bytes
        What memory holds at first: random.
    knobs : dict
        `Knob` by port: ``i``, ``o`` (shared by all readers), ``command``, ``data``.
    stuck : set of int
        Readers whose consumer takes nothing.
    """

    def __init__(self, dut, *, memory=True, size=1 << 16, seed=1, check=True, **options):
        self.dut = dut
        self.readers = sum(hasattr(dut, f"idle_read_{index}") for index in range(16))
        self.bus_bytes = len(dut.m_axi_rdata) // 8
        self.addr_width = len(dut.m_axi_araddr)
        self.random = random.Random(seed)
        self.content = self.random.randbytes(size)
        self.stuck = set()
        self.knobs = {name: Knob() for name in ("i", "o", "command", "data")}
        self.sources = [StreamSource(dut, f"i_read_{n}", self._knob("i")) for n in range(self.readers)]
        self.sinks = [StreamSink(dut, f"o_read_{n}", self._consumer(n)) for n in range(self.readers)]
        self.commands = StreamSource(dut, "i_command", self._knob("command"))
        self.data = StreamSource(dut, "i_write", self._knob("data"))
        if check:
            for n in range(self.readers):
                StreamChecker(dut, f"o_read_{n}")
        for n in range(self.readers):
            self.abort_read(n, 0)
        self.abort_write(0)
        self.pushed = [[] for _ in range(self.readers)]
        self.collected = [0] * self.readers
        self.memory = None
        if memory:
            self.memory = AxiMemory(dut, size=size, seed=seed, **options)
            self.memory.write(0, self.content)
            self.memory.start()

    def _knob(self, name):
        return lambda seed: self.knobs[name]

    def _consumer(self, reader):
        def willing(seed):
            while True:
                yield next(self.knobs["o"]) and reader not in self.stuck
        return willing

    async def _watch_idle(self, idle, taken, offered):
        """Once idle, a unit offers nothing until it takes a command."""
        def high(names):
            return all(int(getattr(self.dut, name).value) for name in names)

        at_rest = False
        while True:
            await RisingEdge(self.dut.aclk)
            assert not (at_rest and any(high([name]) for name in offered)), f"{idle} was high too early"
            at_rest = (at_rest or high([idle])) and not high(taken)

    async def start(self):
        await start(self.dut, clock="aclk", reset="aresetn", active_low=True)
        for n in range(self.readers):
            cocotb.start_soon(self._watch_idle(f"idle_read_{n}", (f"i_read_{n}_valid", f"i_read_{n}_ready"),
                                               (f"o_read_{n}_valid",)))
        cocotb.start_soon(self._watch_idle("idle_write", ("i_command_valid", "i_command_ready"),
                                           ("m_axi_awvalid", "m_axi_wvalid")))
        return self

    async def cycles(self, count):
        if count:
            await ClockCycles(self.dut.aclk, count)

    async def until(self, condition, timeout=20_000):
        """Wait for the first edge that finds ``condition()`` true; returns how many edges that took."""
        for count in range(timeout):
            await RisingEdge(self.dut.aclk)
            if condition():
                return count + 1
        raise AssertionError(f"condition not met within {timeout} cycles")

    # Commands.

    def pack_command(self, addr, count):
        return pack(span(self.addr_width), {"addr": addr, "last": addr + count - 1})

    def push_read(self, addr, count, reader=0):
        self.pushed[reader].append((addr, count))
        self.sources[reader].push(self.pack_command(addr, count))

    def unsent(self, reader=0):
        """Read commands that still wait at the port."""
        return self.pushed[reader][len(self.sources[reader].sent):]

    def push_write(self, addr, content):
        """Queue a write and its data."""
        self.commands.push(self.pack_command(addr, len(content)))
        self.push_words(content)

    def push_words(self, content):
        size = self.bus_bytes
        for place in range(0, len(content), size):
            piece = content[place:place + size]
            # Bytes past the count are junk.
            filled = piece + self.random.randbytes(size - len(piece))
            self.data.push(pack(words(size), {"data": list(filled), "count": len(piece),
                                              "last": place + size >= len(content)}))

    def random_command(self, longest, size=None):
        size = size or len(self.content)
        count = self.random.randint(1, longest)
        return self.random.randrange(size - count + 1), count

    # What came out.

    def word(self, payload):
        """Valid bytes and the end mark of a word."""
        word = unpack(words(self.bus_bytes), payload)
        return bytes(word["data"][:word["count"]]), word["last"]

    async def collect(self, count, reader=0, timeout=100_000):
        """The next payloads of a reader."""
        self.collected[reader] += count
        return await self.sinks[reader].collect(count, timeout=timeout)

    async def forget(self, reader=0):
        """Leave out what was received so far."""
        await self.collect(len(self.sinks[reader].received) - self.collected[reader], reader)

    async def expect(self, commands, reader=0, content=None):
        """Collect the words of commands ``(addr, bytes)`` and compare each with memory's content."""
        content = self.content if content is None else content
        count = [-(-size // self.bus_bytes) for _, size in commands]
        payloads = await self.collect(sum(count), reader)
        for (addr, size), n in zip(commands, count):
            mine, payloads = payloads[:n], payloads[n:]
            pieces = [self.word(payload) for payload in mine]
            text = f"{size} bytes at {addr:#x}"
            assert [last for _, last in pieces] == [0] * (n - 1) + [1], f"{text}: wrong end marks"
            assert all(len(piece) == self.bus_bytes for piece, _ in pieces[:-1]), f"{text}: a gap"
            got, right = b"".join(piece for piece, _ in pieces), content[addr:addr + size]
            assert got == right, f"{text}: {got.hex()}, expected {right.hex()}"

    def expect_memory(self, expected, what=""):
        """Compare all of memory; name the first byte that differs."""
        got = self.memory.read(0, len(expected))
        if got != expected:
            at = next(place for place in range(len(expected)) if got[place] != expected[place])
            raise AssertionError(f"{what}: {got[at]:#x} at {at:#x}, expected {expected[at]:#x}")

    # Abort, idle, error.

    def nothing_offered(self):
        return not any(int(getattr(self.dut, f"m_axi_{name}valid").value) for name in ("ar", "aw", "w"))

    async def clear_read(self, reader=0):
        """Abort the reader until it is idle, as an engine does, and leave out what it delivered."""
        self.abort_read(reader, 1)
        before = len(self.memory.transfers["ar"])
        await self.sources[reader].drained()
        await self.idle_after(lambda: self.idle_read(reader), "idle fell during an abort")
        if self.readers == 1:
            assert self.memory.outstanding == 0 and self.nothing_offered(), "idle with something outstanding"
            # One address may have been offered before.
            assert len(self.memory.transfers["ar"]) - before <= 1, "bursts were begun during the abort"
        self.abort_read(reader, 0)
        await RisingEdge(self.dut.aclk)
        await self.forget(reader)

    async def clear_write(self):
        """Abort the writer until it is idle, as an engine does."""
        self.abort_write(1)
        before = len(self.memory.transfers["aw"])
        await self.commands.drained()
        await self.data.drained()
        await self.idle_after(self.idle_write, "idle fell during an abort")
        assert self.memory.outstanding == 0 and self.nothing_offered(), "idle with something outstanding"
        assert len(self.memory.transfers["aw"]) - before <= 1, "bursts were begun during the abort"
        self.abort_write(0)
        await RisingEdge(self.dut.aclk)

    def abort_read(self, reader, level):
        getattr(self.dut, f"abort_read_{reader}").value = level

    def abort_write(self, level):
        self.dut.abort_write.value = level

    def idle_read(self, reader=0):
        return int(getattr(self.dut, f"idle_read_{reader}").value) == 1

    def idle_write(self):
        return int(self.dut.idle_write.value) == 1

    def error_read(self, reader=0):
        return unpack(bus_error(self.addr_width), int(getattr(self.dut, f"error_read_{reader}").value))

    def error_write(self):
        return unpack(bus_error(self.addr_width), int(self.dut.error_write.value))

    async def idle_after(self, condition, text, timeout=5_000):
        """Wait for idle, and see that it stays."""
        await self.until(condition, timeout)
        for _ in range(5):
            await RisingEdge(self.dut.aclk)
            assert condition(), text
