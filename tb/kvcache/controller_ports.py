"""The controller's seven streams, driven and watched by one coroutine, and a mover: for long runs.

Follows the timing convention of `tb.streams`, and checks its rules on every port.
"""

import random
from collections import deque

from cocotb.triggers import RisingEdge
from olivine.kvcache.descriptor import CacheAnswer, CacheCommand
from olivine.kvcache.lookup import CacheEvent, LookupAnswer, LookupRequest
from olivine.kvcache.moves import MoveAnswer, MoveCommand

from tb.streams import PATTERNS, pack, unpack

__all__ = ["Ports"]


class _Source:
    def __init__(self, dut, name, shape, pattern, seed):
        self.shape, self.width = shape, shape.size
        self.payload, self.valid, self.ready = (
            getattr(dut, f"{name}__{part}") for part in ("payload", "valid", "ready"))
        self.willing, self.junk = PATTERNS[pattern](seed), random.Random(f"junk {name} {seed}")
        self.queue, self.offering, self.cycles = deque(), False, []
        self.valid.value = 0
        self.payload.value = self.junk.getrandbits(self.width)

    def push(self, value):
        self.queue.append(pack(self.shape, value))

    def tick(self, now):
        taken = self.offering and self.ready.value == 1
        if taken:
            self.queue.popleft()
            self.cycles.append(now)
            self.offering = False
        if not self.offering:
            if self.queue and next(self.willing):
                self.payload.value, self.offering = self.queue[0], True
                self.valid.value = 1
            elif taken:
                # What is not offered must not matter.
                self.valid.value, self.payload.value = 0, self.junk.getrandbits(self.width)


class _Sink:
    def __init__(self, dut, name, pattern, seed):
        self.name = name
        self.payload, self.valid, self.ready = (
            getattr(dut, f"{name}__{part}") for part in ("payload", "valid", "ready"))
        self.willing = PATTERNS[pattern](seed)
        self.taking, self.held = False, None
        self.received, self.offered = [], []    # payloads, and the cycles in which each was first offered
        self.ready.value = 0

    def tick(self, now):
        """The payload taken, or None."""
        taken = None
        if self.valid.value == 1:
            payload = int(self.payload.value)
            if self.held is None:
                self.offered.append(now)
            assert self.held in (None, payload), f"{self.name}: the payload changed before the transfer"
            self.held = payload
            if self.taking:
                self.held, taken = None, payload
                self.received.append(payload)
        else:
            assert self.held is None, f"{self.name}: valid was withdrawn before the transfer"
        willing = next(self.willing)
        if willing != self.taking:
            self.taking, self.ready.value = willing, int(willing)
        return taken


class Ports:
    """All streams of the controller. ``await cycle()`` is one clock cycle.

    Parameters
    ----------
    dut
    pattern : str
        Of `tb.streams.PATTERNS`, for every port.
    mover : function
        Does a `MoveCommand`, as a dict; returns None or the address at which it failed.
    """

    def __init__(self, dut, pattern="always", mover=None, seed=1):
        self.edge, self.mover, self.now, self.seed = RisingEdge(dut.clk), mover, 0, seed
        self.command, self.lookup, self.event, self.moved = (
            _Source(dut, name, shape, pattern, f"{seed} {name}") for name, shape in (
                ("command", CacheCommand), ("lookup", LookupRequest), ("event", CacheEvent), ("i_moved", MoveAnswer)))
        self.answer, self.found, self.move = (
            _Sink(dut, name, pattern, f"{seed} {name}") for name in ("answer", "found", "o_move"))
        self.asked = 0

    def use(self, pattern):
        """Another pattern from now on, for every port."""
        for name in ("command", "lookup", "event", "moved", "answer", "found", "move"):
            getattr(self, name).willing = PATTERNS[pattern](f"{self.seed} {self.now} {name}")

    async def cycle(self):
        await self.edge
        self.now += 1
        for source in (self.command, self.lookup, self.event, self.moved):
            if source.queue or source.offering:
                source.tick(self.now)
        self.answer.tick(self.now)
        self.found.tick(self.now)
        if (move := self.move.tick(self.now)) is not None:
            address = self.mover(unpack(MoveCommand, move))
            self.moved.push({"ok": int(address is None), "address": address or 0x5555})

    async def until(self, done, limit=20_000):
        for _ in range(limit):
            if done():
                return
            await self.cycle()
        raise TimeoutError(f"nothing came within {limit} cycles")

    async def do(self, command):
        """An operation's answer."""
        count = len(self.answer.received)
        self.command.push(command)
        await self.until(lambda: len(self.answer.received) > count)
        return unpack(CacheAnswer, self.answer.received[-1])

    async def tell(self, events):
        """Send events; returns when all are taken."""
        for event in events:
            self.event.push(event)
        await self.until(lambda: not self.event.queue)

    def ask(self, requests):
        """Queue lookups; returns the number of the first answer."""
        for slot, generation, index in requests:
            self.lookup.push({"slot": slot, "generation": generation, "index": index})
        self.asked += len(requests)
        return self.asked - len(requests)

    async def look(self, requests):
        """Answers to (slot, generation, index), as dicts."""
        first = self.ask(requests)
        await self.until(lambda: len(self.found.received) >= self.asked)
        return [unpack(LookupAnswer, bits) for bits in self.found.received[first:]]
