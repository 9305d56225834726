"""The UART against a line with a clock of its own.

Parameters: OLIVINE_UNIT ("receiver" or "transmitter"), OLIVINE_DIVISOR.
"""

import os
import random

import cocotb
from cocotb.triggers import RisingEdge
from olivine.bridge.uart import TOLERANCE, UartReceiver

from tb.bridge.line import LineReceiver, LineSender
from tb.streams import PERIOD, StreamChecker, StreamSink, StreamSource, cycle, start

UNIT, DIVISOR = os.environ["OLIVINE_UNIT"], int(os.environ["OLIVINE_DIVISOR"])
SPREAD = DIVISOR // 8


class Receiver:
    """A receiver with a sender at its line.

    Attributes
    ----------
    errors : list of int
        Cycles in which ``error`` was high.
    low : int
        Cycles in which ``low`` was.
    """

    def __init__(self, dut, pattern="always", **line):
        self.dut, self.errors, self.low = dut, [], 0
        self.sender = LineSender(dut.rx, DIVISOR, **line)
        self.sink = StreamSink(dut, "o", pattern) if pattern else None
        StreamChecker(dut, "o")

    async def start(self):
        await start(self.dut)
        cocotb.start_soon(self._watch())
        await self.cycles(5)
        return self

    async def cycles(self, count):
        for _ in range(count):
            await RisingEdge(self.dut.clk)

    async def _watch(self):
        while True:
            await RisingEdge(self.dut.clk)
            if int(self.dut.error.value):
                self.errors.append(cycle())
            self.low += int(self.dut.low.value)

    async def gets(self, content, errors=0):
        """Exactly this came, with so many errors."""
        await self.cycles(4 * DIVISOR)
        assert bytes(self.sink.received) == bytes(content)
        assert len(self.errors) == errors, self.errors
        self.sink.received.clear()
        self.errors.clear()


async def receives(dut, error, jitter):
    bench, rng = Receiver(dut, error=error, jitter=jitter), random.Random(f"{error}")
    await bench.start()
    content = [0, 0xff, 0x55, 0xaa, 1, 0x80, 0x7f, 0xfe, *(rng.getrandbits(8) for _ in range(24))]
    await bench.sender.send(content)
    await bench.gets(content)
    await bench.sender.send(content[:8], gap=1.3)
    await bench.gets(content[:8])


async def latency(dut):
    bench = await Receiver(dut).start()
    began = cycle()
    await bench.sender.send([0x5a])
    await bench.cycles(8)
    # The level that is driven at an edge is there in the cycle behind it.
    assert bench.sink.cycles == [began + UartReceiver(DIVISOR).latency + 1]


async def noise(dut):
    """One sample of three may be wrong, in any bit; a short low is no start bit."""
    bench = await Receiver(dut).start()
    for _ in range(3):
        dut.rx.value = 0
        await bench.cycles(DIVISOR // 2 - SPREAD - 1)
        dut.rx.value = 1
        await bench.cycles(3 * DIVISOR)
    await bench.gets([])
    for byte in (0x00, 0xff, 0xa6):
        bits = [0, *(byte >> index & 1 for index in range(8)), 1]
        for spoiled, bit in enumerate(bits):
            sample = (DIVISOR - 1) // 2 + (spoiled % 3 - 1) * SPREAD
            for count in range(DIVISOR):
                # The start bit is known by its first cycle.
                dut.rx.value = bit ^ (count == sample)
                await RisingEdge(dut.clk)
        await bench.cycles(DIVISOR)
        await bench.gets([byte])


async def framing(dut):
    """A stop bit that is low is told, and the byte is not given; the next is right."""
    bench = await Receiver(dut).start()
    await bench.sender._bits([0, 1, 0, 1, 0, 0, 0, 1, 0, 0])
    assert bench.low == 0
    await bench.sender.level(1, 3)
    await bench.gets([], errors=1)
    await bench.sender.send([0x33, 0xcc])
    await bench.gets([0x33, 0xcc])


async def line_break(dut):
    """It is one error however long it takes, and told while it lasts."""
    bench = await Receiver(dut).start()
    await bench.sender.send([0x12])
    await bench.sender.level(0, 40)
    assert int(dut.low.value)
    await bench.sender.level(1, 2)
    assert not int(dut.low.value) and abs(bench.low - 30.5 * DIVISOR) < DIVISOR
    await bench.sender.send([0x34])
    await bench.gets([0x12, 0x34], errors=1)


async def overrun(dut):
    """A byte that nobody takes stays; the next is lost, and that is told."""
    bench = Receiver(dut, pattern=None)
    dut.o__ready.value = 0
    await bench.start()
    await bench.sender.send([0x12, 0x34, 0x56])
    await bench.cycles(DIVISOR)
    assert int(dut.o__valid.value) and int(dut.o__payload.value) == 0x12 and len(bench.errors) == 2
    dut.o__ready.value = 1
    await bench.cycles(2)
    assert not int(dut.o__valid.value)
    await bench.sender.send([0x78])
    assert len(bench.errors) == 2


async def sends(dut, pattern, error):
    source, line = StreamSource(dut, "i", pattern), LineReceiver(dut.tx, DIVISOR, error)
    StreamChecker(dut, "i")
    await start(dut)
    rng = random.Random(pattern)
    content = [0, 0xff, 0x55, *(rng.getrandbits(8) for _ in range(20))]
    source.push(content)
    await source.drained()
    for _ in range(12 * DIVISOR):
        await RisingEdge(dut.clk)
    assert [byte for byte, _ in line.received] == content and not line.framing_errors
    starts = [round(moment / PERIOD) for _, moment in line.received]
    # An edge behind the transfer's is one of the cycle after it.
    assert starts == source.cycles
    if pattern == "always":
        assert all(later - sooner == 10 * DIVISOR for sooner, later in zip(starts, starts[1:]))
    assert int(dut.tx.value) == 1


def _add(function, name, **options):
    async def body(dut):
        await function(dut, **options)
    body.__name__ = body.__qualname__ = name
    globals()[name] = cocotb.test(timeout_time=5, timeout_unit="ms")(body)


if UNIT == "receiver":
    for _error in (0.0, TOLERANCE, -TOLERANCE):
        _add(receives, f"receives_{round(1000 * _error)}", error=_error, jitter=0.05)
    for _function in (latency, noise, framing, line_break, overrun):
        _add(_function, f"{_function.__name__}_told")
else:
    for _pattern, _error in (("always", 0.02), ("half", -0.02), ("rare", 0.0)):
        _add(sends, f"sends_{_pattern}", pattern=_pattern, error=_error)
