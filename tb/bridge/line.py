"""Both ends of a serial line, in real time: a sender and a receiver with a clock of their own."""

import random
from collections import deque

import cocotb
from cocotb.triggers import Event, FallingEdge, RisingEdge, SimTimeoutError, Timer, with_timeout
from cocotb.utils import get_sim_time

from tb.streams import PERIOD

__all__ = ["LineSender", "LineReceiver"]


def _time(ns):
    return Timer(max(1, round(1000 * ns)), "ps")


class LineSender:
    """Sends bytes, eight data bits, no parity, one stop bit.

    Parameters
    ----------
    signal : handle
    divisor : int
        The design's cycles of a bit.
    error : float
        By how much this end's bits are longer, as a fraction.
    jitter : float
        Each edge is late by up to so much of a bit.
    """

    def __init__(self, signal, divisor, error=0.0, jitter=0.0, seed=0):
        self._signal, self._rng = signal, random.Random(f"line {seed}")
        self.bit, self.jitter = divisor * PERIOD * (1 + error), jitter
        signal.value = 1

    async def _bits(self, levels):
        """Levels, each a bit long; what jitter adds to one it takes from the next."""
        for level in levels:
            late = self._rng.uniform(0, self.jitter) * self.bit
            if late:
                await _time(late)
            self._signal.value = level
            await _time(self.bit - late)

    async def send(self, content, gap=0.0):
        """Bytes, with the line at rest for ``gap`` bits behind each."""
        for byte in content:
            await self._bits([0, *(byte >> index & 1 for index in range(8)), 1])
            if gap:
                await _time(gap * self.bit)

    async def level(self, level, bits):
        """Hold the line at a level."""
        self._signal.value = level
        await _time(bits * self.bit)


class LineReceiver:
    """Receives bytes.

    Attributes
    ----------
    received : list of (byte, time of its start bit's edge in ns)
    framing_errors : int
    """

    def __init__(self, signal, divisor, error=0.0):
        self._signal, self.bit = signal, divisor * PERIOD * (1 + error)
        self.received, self.framing_errors = [], 0
        self._bytes, self._news = deque(), Event()
        cocotb.start_soon(self._run())

    async def _run(self):
        while True:
            await FallingEdge(self._signal)
            began, byte = get_sim_time("ns"), 0
            await _time(self.bit / 2)
            for index in range(8):
                await _time(self.bit)
                byte |= int(self._signal.value) << index
            await _time(self.bit)
            if int(self._signal.value):
                self.received.append((byte, began))
                self._bytes.append(byte)
                self._news.set()
            else:
                self.framing_errors += 1
                await RisingEdge(self._signal)

    async def until(self, delimiter, timeout=1_000_000):
        """Bytes up to the delimiter and with it; TimeoutError after ``timeout`` cycles."""
        async def gather():
            found = bytearray()
            while not found or found[-1] != delimiter:
                while not self._bytes:
                    self._news.clear()
                    await self._news.wait()
                found.append(self._bytes.popleft())
            return bytes(found)
        try:
            return await with_timeout(gather(), timeout * PERIOD, "ns")
        except SimTimeoutError:
            raise TimeoutError(f"no frame within {timeout} cycles") from None

    async def silent(self, cycles):
        """Nothing comes for so long."""
        await Timer(cycles * PERIOD, "ns")
        assert not self._bytes, bytes(self._bytes)
