"""A bridge or a responder, with a host's end of its line, memory and registers behind it, and the model that it is
compared with.

Parameters: OLIVINE_ADDR_WIDTH, OLIVINE_BUS_BITS, OLIVINE_PAYLOAD, OLIVINE_TIMEOUT, those of `Responder`;
OLIVINE_DIVISOR, that of `Bridge`, or 0 for a responder alone.
"""

import os
import random

import cocotb
from cocotb.triggers import RisingEdge
from olivine.bridge.frames import DELIMITER, Operation
from olivine.memory.axi import Response
from olivine.program.axi_lite import AXI4Lite
from olivine_host.board.frame import Frame

from tb.axi_memory import AxiMemory
from tb.bridge.line import LineReceiver, LineSender
from tb.bridge.model import BridgeModel
from tb.streams import StreamChecker, StreamSink, StreamSource, pack, start, unpack

ADDR_WIDTH, BUS_BITS, DIVISOR, PAYLOAD, TIMEOUT = (int(os.environ[f"OLIVINE_{name}"]) for name in (
    "ADDR_WIDTH", "BUS_BITS", "DIVISOR", "PAYLOAD", "TIMEOUT"))
BEAT = BUS_BITS // 8


class ByteSender:
    """A host's end where there is no line: the stream of bytes."""

    def __init__(self, dut):
        self._source = StreamSource(dut, "i")
        StreamChecker(dut, "i")

    async def send(self, content):
        self._source.push(content)
        await self._source.drained()


class ByteReceiver:
    """The same, of what comes back."""

    def __init__(self, dut, pattern, seed):
        self._sink, self._taken = StreamSink(dut, "o", pattern, seed), 0
        StreamChecker(dut, "o")
        self._edge = RisingEdge(dut.aclk)

    async def until(self, delimiter, timeout=100_000):
        """Bytes up to the delimiter and with it; TimeoutError after ``timeout`` cycles."""
        received = self._sink.received
        for _ in range(timeout):
            if delimiter in received[self._taken:]:
                end = received.index(delimiter, self._taken) + 1
                found, self._taken = bytes(received[self._taken:end]), end
                return found
            await self._edge
        raise TimeoutError(f"no frame within {timeout} cycles")

    async def silent(self, cycles):
        """Nothing comes for so long."""
        for _ in range(cycles):
            await self._edge
        assert len(self._sink.received) == self._taken, bytes(self._sink.received[self._taken:])


class Registers:
    """A slave of AXI4-Lite.

    Attributes
    ----------
    values : dict of int to int
        By address; others answer DECERR.
    answers : dict of int to Response
        Addresses that answer so, and do nothing.
    done : list of (address, value, or None of a read)
    mute : bool
        Answers nothing, as long as this holds.
    """

    def __init__(self, dut, name, pattern="always", seed=0):
        channels = {key: member.signature.members["payload"].shape
                    for key, member in AXI4Lite(12).members.items()}
        self._shapes = channels
        self._asked = {key: StreamSink(dut, f"{name}_{key}", pattern, seed + place)
                       for place, key in enumerate(("ar", "aw", "w"))}
        self._answered = {key: StreamSource(dut, f"{name}_{key}", pattern, seed + place)
                          for place, key in enumerate(("r", "b"), 3)}
        if not DIVISOR:     # where cycles are many, once is enough
            for key in channels:
                StreamChecker(dut, f"{name}_{key}")
        self.values, self.answers, self.done, self.mute = {}, {}, [], False
        self._clock = dut.aclk if hasattr(dut, "aclk") else dut.clk
        self._taken = dict.fromkeys(self._asked, 0)
        cocotb.start_soon(self._run())

    def _next(self, key):
        bits = self._asked[key].received[self._taken[key]]
        self._taken[key] += 1
        return unpack(self._shapes[key], bits)

    def _waiting(self, *keys):
        return not self.mute and all(len(self._asked[key].received) > self._taken[key] for key in keys)

    def _response(self, address):
        return self.answers.get(address, Response.OKAY if address in self.values else Response.DECERR)

    def _answer(self, key, **fields):
        self._answered[key].push(pack(self._shapes[key], fields))

    async def _run(self):
        while True:
            await RisingEdge(self._clock)
            if self._waiting("ar"):
                address = self._next("ar")["addr"]
                self.done.append((address, None))
                self._answer("r", data=self.values.get(address, 0xdead), resp=self._response(address))
            if self._waiting("aw", "w"):
                address, beat = self._next("aw")["addr"], self._next("w")
                assert beat["strb"] == 0xf
                self.done.append((address, beat["data"]))
                response = self._response(address)
                if response == Response.OKAY:
                    self.values[address] = beat["data"]
                self._answer("b", resp=response)

    def resets(self):
        """Forget what was asked and not answered; the master was reset."""
        for key, sink in self._asked.items():
            self._taken[key] = len(sink.received)


class Rig:
    """See above. Memory has 2^ADDR_WIDTH bytes at most, 64 KiB where that is less."""

    def __init__(self, dut, *, error=0.0, jitter=0.0, pattern="always", latency=20, seed=0):
        self.dut, self.rng = dut, random.Random(f"rig {seed}")
        if DIVISOR:
            self.sender = LineSender(dut.rx, DIVISOR, error, jitter, seed)
            self.receiver = LineReceiver(dut.tx, DIVISOR, error)
        else:
            self.sender, self.receiver = ByteSender(dut), ByteReceiver(dut, pattern, seed)
            dut.lost.value = 0
        size = min(1 << ADDR_WIDTH, 1 << 16)
        patterns = dict.fromkeys(("ar", "r", "aw", "w", "b"), pattern)
        self.memory = AxiMemory(dut, size=size, latency=latency, patterns=patterns, seed=seed, max_beats=16,
                                reset=(dut.reset, 1)).start()
        self.registers = Registers(dut, "host", pattern, seed)
        content = self.rng.randbytes(size)
        self.memory.write(0, content)
        self.model = BridgeModel(bytearray(content), ADDR_WIDTH, BEAT, PAYLOAD)
        for address in (0, 0x40, 0xffc):
            self.registers.values[address] = self.model.registers[address] = self.rng.getrandbits(32)
        dut.irq.value = dut.board.value = 0

    async def start(self):
        await start(self.dut, clock="aclk", reset="aresetn", active_low=True)
        await self.cycles(4)
        return self

    async def cycles(self, count):
        for _ in range(count):
            await RisingEdge(self.dut.aclk)

    async def ask(self, operation, sequence, **fields):
        """`exchange` of a `request`."""
        return await self.exchange(self.request(operation, sequence, **fields))

    async def feed(self, content):
        """Bytes that the model answers with as many frames as the design does, and counts as it does."""
        await self.sender.send(content)
        expected = self.model.feed(content)
        for answer in filter(None, expected.split(bytes([DELIMITER]))):
            assert await self.receiver.until(DELIMITER) == answer + bytes([DELIMITER])

    async def exchange(self, frame):
        """Ask, and compare the answer with the model's; returns it."""
        await self.sender.send(frame.pack())
        return await self.answered(frame)

    async def answered(self, frame):
        expected = self.model.answer(frame)
        found = await self.receiver.until(DELIMITER)
        assert found == expected, f"{frame}: {found.hex()}, not {expected.hex()}"
        return Frame.unpack(found[:-1])

    def request(self, operation, sequence, **fields):
        """A frame that is legal unless ``fields`` say otherwise."""
        rng, fields = self.rng, dict(fields)
        if operation in (Operation.READ_REGISTER, Operation.WRITE_REGISTER):
            fields.setdefault("address", rng.choice(list(self.model.registers)))
            fields.setdefault("count", 4)
        elif operation in (Operation.READ_MEMORY, Operation.WRITE_MEMORY):
            count = fields.setdefault("count", rng.randint(1, min(PAYLOAD // BEAT, 12)) * BEAT)
            fields.setdefault("address", rng.randrange((len(self.model.memory) - count) // BEAT + 1) * BEAT)
        if operation in (Operation.WRITE_REGISTER, Operation.WRITE_MEMORY):
            # Many zeros: they are what COBS is about.
            fields.setdefault("payload", bytes(rng.choice((0, 0, rng.getrandbits(8))) if rng.random() < 0.3 else
                                               rng.getrandbits(8) for _ in range(fields["count"])))
        return Frame(operation, sequence, **fields)

    def same_memory(self):
        """What memory and registers hold, and that registers were accessed as often."""
        assert self.memory.memory == self.model.memory
        assert self.registers.values == self.model.registers
        assert self.registers.done == [(address, value) for operation, address, value in self.model.done
                                       if operation in (Operation.READ_REGISTER, Operation.WRITE_REGISTER)]
