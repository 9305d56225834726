"""Drivers, monitors and checkers for valid/ready streams, on any simulator.

**Timing convention.** Every coroutine here wakes on the rising edge of the clock, *samples first*
and *drives second*. What it samples in that step are the settled values from just before the edge,
exactly what the design's flip-flops take; what it drives becomes visible just after the edge. A
transfer of cycle k is therefore seen by source, sink and checker in the same step, whichever of
them runs first. Tests that look at other signals should do the same: ``await RisingEdge(dut.clk)``,
read, write.

Port names are Amaranth's flattened ones (``i__payload``, ``i__valid``, ``i__ready``), or the same
with one underscore as the AXI-bearing tops have them (``job_payload``). A payload without bits has
no port, and reads as 0. The clock may be called ``clk`` or ``aclk``, the reset ``rst`` (active
high) or ``aresetn`` (active low).
"""

import itertools
import random
from collections import deque

import cocotb
from amaranth.hdl import Shape
from amaranth.lib import data, enum
from cocotb.clock import Clock
from cocotb.triggers import Event, RisingEdge, SimTimeoutError, with_timeout
from cocotb.utils import get_sim_time

__all__ = ["PERIOD", "PATTERNS", "PAIRS", "start", "cycle", "StreamSource", "StreamSink", "StreamChecker",
           "valid_without_ready", "pack", "unpack"]

PERIOD = 10
"""Nanoseconds in a clock cycle."""


# --- Patterns: when a port is willing -----------------------------------------------------------------

def _half(seed):
    rng = random.Random(seed)
    while True:
        yield rng.random() < 0.5


def _bursty(seed):
    rng = random.Random(seed)
    while True:
        yield from itertools.repeat(True, rng.randint(1, 16))
        yield from itertools.repeat(False, rng.randint(1, 16))


def _rare(seed):
    rng = random.Random(seed)
    while True:
        yield rng.random() < 0.125


PATTERNS = {
    "always": lambda seed: itertools.repeat(True),
    "half": _half,
    "bursty": _bursty,
    "rare": _rare,
    "alternate": lambda seed: itertools.cycle((True, False)),
}
"""Factories of infinite iterators of bools, one a cycle: may the port offer or take something?"""

PAIRS = tuple(itertools.product(PATTERNS, repeat=2))
"""All combinations of an idle pattern and a back-pressure pattern."""


def _pattern(pattern, seed):
    if callable(pattern):
        return pattern(seed)
    if pattern not in PATTERNS:
        raise ValueError(f"pattern must be one of {', '.join(PATTERNS)}, not {pattern!r}")
    return PATTERNS[pattern](seed)


# --- Clock and reset ----------------------------------------------------------------------------------

def _clock(dut):
    return dut.clk if hasattr(dut, "clk") else dut.aclk


def _reset(dut):
    """The reset's handle and the level at which it is asserted."""
    return (dut.rst, 1) if hasattr(dut, "rst") else (dut.aresetn, 0)


async def start(dut, clock="clk", reset="rst", active_low=False, cycles=4):
    """Start the clock and reset the design for some cycles.

    Every other input must be driven by then: create the sources and sinks first, or set plain inputs
    with ``dut.x.value = 0``. Returns just after an edge, with the reset released: the next edge is the first at
    which the design runs.
    """
    clock, reset = getattr(dut, clock), getattr(dut, reset)
    reset.value = 0 if active_low else 1
    cocotb.start_soon(Clock(clock, PERIOD, unit="ns").start())
    for _ in range(cycles):
        await RisingEdge(clock)
    reset.value = 1 if active_low else 0


def cycle():
    """The number of the current clock cycle."""
    return round(get_sim_time("ns")) // PERIOD


# --- Ports --------------------------------------------------------------------------------------------

class _Port:
    """The three handles of a stream port, and the clock and reset that it belongs to."""

    def __init__(self, dut, name):
        # A top with AXI4 names has ports with one underscore, and wires of its own with two.
        joints = ("_", "__") if hasattr(dut, "aclk") else ("__", "_")
        joint = next((j for j in joints if hasattr(dut, f"{name}{j}valid")), None)
        if joint is None:
            raise ValueError(f"{dut._name} has no stream port {name!r}: no {name}__valid and no {name}_valid")
        self.name = name
        self.valid = getattr(dut, f"{name}{joint}valid")
        self.ready = getattr(dut, f"{name}{joint}ready")
        self.payload = getattr(dut, f"{name}{joint}payload", None)
        self.width = 0 if self.payload is None else len(self.payload)
        self.edge = RisingEdge(_clock(dut))
        self._reset, self._reset_level = _reset(dut)

    def drive(self, value):
        if self.width:
            self.payload.value = value

    def sample(self):
        return int(self.payload.value) if self.width else 0

    def in_reset(self):
        """Asserted, or not driven yet."""
        value = self._reset.value
        return not value.is_resolvable or int(value) == self._reset_level

    async def out_of_reset(self):
        """Return at the first edge that finds the reset released."""
        await self.edge
        while self.in_reset():
            await self.edge


class StreamSource:
    """Offers queued payloads on an input of the design, and holds each until it is taken.

    While it offers nothing the payload is random, so that a design that takes it nevertheless is found out.

    Parameters
    ----------
    dut, name
        The design and the name of its stream port.
    pattern : str or factory
        When a new payload may be offered. Once offered it stays.
    seed : int

    Attributes
    ----------
    sent : list of int
        Payloads that were taken, in order.
    cycles : list of int
        The cycle in which each was taken.
    """

    def __init__(self, dut, name, pattern="always", seed=0):
        self._port = _Port(dut, name)
        self._willing = _pattern(pattern, seed)
        self._junk = random.Random(f"junk {name} {seed}")
        self._queue = deque()
        self._pushed, self._empty = Event(), Event()
        self._empty.set()
        self.sent, self.cycles = [], []
        self._port.valid.value = 0
        self._port.drive(self._junk.getrandbits(self._port.width))
        cocotb.start_soon(self._run())

    def push(self, values):
        """Queue one integer or many."""
        values = [values] if isinstance(values, int) else [int(value) for value in values]
        for value in values:
            if value >> self._port.width not in (0, -1):
                raise ValueError(f"{self._port.name}: payload {value:#x} does not fit {self._port.width} bits")
        self._queue.extend(value & ((1 << self._port.width) - 1) for value in values)
        if values:
            self._empty.clear()
            self._pushed.set()

    async def drained(self, timeout=100_000):
        """Wait until everything queued was taken; the design ran the last transfer's edge by then.

        TimeoutError after ``timeout`` cycles.
        """
        try:
            await with_timeout(self._empty.wait(), timeout * PERIOD, "ns")
        except SimTimeoutError:
            raise TimeoutError(f"{self._port.name}: {len(self._queue)} payloads were not taken "
                               f"within {timeout} cycles") from None

    async def _run(self):
        port, queue = self._port, self._queue
        await port.out_of_reset()
        offering = False
        while True:
            if offering and port.ready.value == 1:
                offering = False
                self.sent.append(queue.popleft())
                self.cycles.append(cycle())
                if not queue:
                    self._empty.set()
            if not offering:
                if queue and next(self._willing):
                    offering = True
                    port.drive(queue[0])
                    port.valid.value = 1
                else:
                    port.valid.value = 0
                    port.drive(self._junk.getrandbits(port.width))
                    if not queue:  # Sleep instead of ticking: most command ports are idle most of the time.
                        self._pushed.clear()
                        await self._pushed.wait()
            await port.edge


class StreamSink:
    """Takes payloads from an output of the design.

    Parameters
    ----------
    dut, name
        The design and the name of its stream port.
    pattern : str or factory
        When ``ready`` is high; never depends on ``valid``.
    seed : int

    Attributes
    ----------
    received : list of int
        Every payload taken so far.
    cycles : list of int
        The cycle in which each was taken.
    """

    def __init__(self, dut, name, pattern="always", seed=0):
        self._port = _Port(dut, name)
        self._willing = _pattern(pattern, seed)
        self._taken = 0
        self._goal, self._deadline, self._reached = 0, None, Event()
        self.received, self.cycles = [], []
        self._port.ready.value = 0
        cocotb.start_soon(self._run())

    async def collect(self, n, timeout=10_000):
        """The next ``n`` payloads that no earlier call returned; TimeoutError after ``timeout`` cycles."""
        first = self._taken
        if len(self.received) < first + n:
            self._goal, self._deadline = first + n, cycle() + timeout
            self._reached.clear()
            await self._reached.wait()
            self._deadline = None
        if len(self.received) < first + n:
            raise TimeoutError(f"{self._port.name}: {len(self.received) - first} of {n} payloads "
                               f"within {timeout} cycles")
        self._taken = first + n
        return self.received[first:first + n]

    async def _run(self):
        port = self._port
        await port.out_of_reset()
        ready = False
        while True:
            if ready and port.valid.value == 1:
                self.received.append(port.sample())
                self.cycles.append(cycle())
            if self._deadline is not None and (len(self.received) >= self._goal or cycle() >= self._deadline):
                self._reached.set()
            willing = next(self._willing)
            if willing != ready:
                ready = willing
                port.ready.value = int(ready)
            await port.edge


class StreamChecker:
    """Watches a stream in the background and enforces its rules.

    An offered payload and its ``valid`` hold until the transfer; ``valid`` and ``ready`` are never X
    or Z outside of reset, the payload never while it is valid.

    Parameters
    ----------
    dut, name
        The design and the name of its stream port, input or output.
    strict : bool
        Fail the running test at the first violation. Otherwise only note it.

    Attributes
    ----------
    violations : list of str
    transfers : int
    """

    def __init__(self, dut, name, strict=True):
        self._port, self.strict = _Port(dut, name), strict
        self.violations, self.transfers = [], 0
        cocotb.start_soon(self._run())

    def _violation(self, text):
        text = f"{self._port.name}, cycle {cycle()}: {text}"
        self.violations.append(text)
        assert not self.strict, text

    async def _run(self):
        port = self._port
        await port.out_of_reset()
        held = None  # The payload that was offered and not taken at the previous edge, as a string.
        while True:
            if port.in_reset():
                held = None
                await port.edge
                continue
            valid, ready = str(port.valid.value), str(port.ready.value)
            payload = str(port.payload.value) if port.width and valid == "1" else ""
            if valid not in "01" or ready not in "01":
                self._violation(f"valid is {valid}, ready is {ready}")
            if payload.strip("01"):
                self._violation(f"valid payload is {payload}")
            if held is not None:
                if valid != "1":
                    self._violation("valid was withdrawn before the transfer")
                elif payload != held:
                    self._violation(f"the payload changed before the transfer, from {held} to {payload}")
            held = payload if valid == "1" and ready == "0" else None
            self.transfers += valid == "1" and ready == "1"
            await port.edge


async def valid_without_ready(dut, name, timeout=1_000):
    """Prove that ``valid`` does not wait for ``ready``: hold ready low and expect valid to rise.

    Call it where no sink drives the port, after pushing what makes the design offer something. Leaves
    ``ready`` low.
    """
    port = _Port(dut, name)
    port.ready.value = 0
    await port.out_of_reset()
    for _ in range(timeout):
        await port.edge
        if port.valid.value == 1:
            return
    raise AssertionError(f"{name}: valid did not rise within {timeout} cycles while ready was low")


# --- Payloads -----------------------------------------------------------------------------------------

def pack(shape, value):
    """Bits of a payload, as an unsigned integer.

    Structs are dicts (fields that are left out are 0), arrays are sequences, anything else is an integer or an
    enumeration's member. Values that do not fit raise a ValueError.
    """
    if isinstance(shape, data.ArrayLayout):
        if len(value) != shape.length:
            raise ValueError(f"{shape!r} has {shape.length} elements, not {len(value)}")
        value = dict(enumerate(value))
    if isinstance(shape, data.Layout):
        bits = 0
        for key, item in value.items():
            field = shape[key]
            bits |= pack(field.shape, item) << field.offset
        return bits
    cast, number = Shape.cast(shape), _number(value)
    low, high = (-(1 << cast.width - 1), (1 << cast.width - 1)) if cast.signed else (0, 1 << cast.width)
    if not low <= number < high:
        raise ValueError(f"{value!r} does not fit {shape!r}")
    return number & ((1 << cast.width) - 1)


def _number(value):
    return int(value.value) if hasattr(value, "value") else int(value)


def unpack(shape, bits):
    """The inverse of `pack`: structs come back as dicts, arrays as lists, enumerations as members."""
    bits = int(bits)
    if isinstance(shape, data.Layout):
        items = {key: unpack(field.shape, bits >> field.offset) for key, field in shape}
        return list(items.values()) if isinstance(shape, data.ArrayLayout) else items
    cast = Shape.cast(shape)
    number = bits & ((1 << cast.width) - 1)
    if cast.signed and number >> cast.width - 1:
        number -= 1 << cast.width
    return shape(number) if isinstance(shape, enum.EnumMeta) else number
