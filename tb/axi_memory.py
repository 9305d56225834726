"""A fast AXI4 memory with pipelined latency, for testbenches: what the core meets on its bus.

One coroutine wakes at each rising edge, looks at what was transferred, checks the protocol and
drives the channels for the next cycle.

Timing. A read burst whose address was taken at one edge can give its first beat ``latency`` edges
later; any number of bursts is in flight, one beat moves a cycle. A write burst is answered
``latency`` edges after its last beat (or its address, whichever is later). Both without stalls.

Ordering is as unkind as AXI4 allows: a read returns what memory held when its *address* was taken,
and a write takes effect only when its *response* is offered. A design that reads what it wrote
must wait for the response.
"""

import random
from collections import deque
from dataclasses import dataclass

import cocotb
from cocotb.triggers import RisingEdge

from tb.streams import PATTERNS

__all__ = ["AxiMemory", "ProtocolError", "Burst", "OKAY", "SLVERR", "DECERR"]

OKAY, SLVERR, DECERR = 0, 2, 3
CHANNELS = ("ar", "r", "aw", "w", "b")
BOUNDARY = 4096


class ProtocolError(AssertionError):
    """The master broke a rule of AXI4."""


@dataclass
class Burst:
    """One burst as the memory saw it. ``cycle`` is the edge at which its address was taken."""

    id: int
    address: int
    beats: int
    cycle: int
    taken: int = 0
    """Write beats received so far."""
    due: int = 0
    """First edge at which the answer may move."""


class AxiMemory:
    """AXI4 slave memory on the flat signals ``<prefix>_araddr`` and so on.

    A port that lacks the read or the write channels is served with the others only.

    Parameters
    ----------
    dut : handle
    prefix : str
        Common start of the signal names, without the last underscore.
    clock : handle
        Default ``dut.aclk``.
    reset : (handle, int)
        Signal and the level at which it resets. Default ``(dut.aresetn, 0)``.
    size : int
        Bytes. An access outside answers DECERR.
    latency : int
        Cycles of latency of reads and of write responses, at least 1.
    patterns : dict
        Stall pattern (a name of `tb.streams.PATTERNS`, or an iterator of bools) by channel: when
        ``ar``, ``aw`` and ``w`` are ready, and when ``r`` and ``b`` may offer a new beat. Default "always".
    seed : int
        Of the patterns, and of the reordering.
    interleave : bool
        Answer reads of different IDs in random order, beat by beat.
    max_beats : int
        Longest burst that is accepted (AxLEN + 1).

    Attributes
    ----------
    cycle : int
        Edges since the start, reset included.
    transfers : dict
        The cycle of each transfer, by channel.
    reads, writes : list of Burst
    task : Task
        Ends with a `ProtocolError` where the master breaks a rule, which fails the test.
    bytes_read, bytes_written : int
        Bytes of the beats given; bytes that strobes enabled.
    """

    def __init__(self, dut, prefix="m_axi", *, clock=None, reset=None, size=1 << 20, latency=30,
                 patterns=None, seed=0, interleave=False, max_beats=256):
        if latency < 1:
            raise ValueError(f"latency is {latency}: must be at least 1")
        patterns = dict(patterns or {})
        if unknown := set(patterns) - set(CHANNELS):
            raise ValueError(f"patterns names {sorted(unknown)}: channels are {', '.join(CHANNELS)}")
        self.clock = dut.aclk if clock is None else clock
        self.reset, self.reset_level = (dut.aresetn, 0) if reset is None else reset
        self.memory = bytearray(size)
        self.latency, self.interleave, self.max_beats = latency, interleave, max_beats
        self._random = random.Random(seed)
        self._patterns = {}
        for index, name in enumerate(CHANNELS):
            self.set_pattern(name, patterns.get(name, "always"), seed * 8 + index)
        self._signals(dut, prefix)
        self._faults = []
        self._quiet_from = self._quiet_to = None
        self.task = None
        self.cycle = 0
        self.transfers = {name: [] for name in CHANNELS}
        self.reads, self.writes = [], []
        self.bytes_read = self.bytes_written = 0
        self._forget()

    def _signals(self, dut, prefix):
        def find(name):
            return getattr(dut, f"{prefix}_{name}", None)

        self._has_read, self._has_write = find("arvalid") is not None, find("awvalid") is not None
        if not (self._has_read or self._has_write):
            raise ValueError(f"{dut._name} has neither {prefix}_arvalid nor {prefix}_awvalid")
        names = []
        if self._has_read:
            names += ["arid", "araddr", "arlen", "arsize", "arburst", "arvalid", "arready",
                      "rid", "rdata", "rresp", "rlast", "rvalid", "rready"]
            self.bus_bytes = len(find("rdata")) // 8
        if self._has_write:
            names += ["awid", "awaddr", "awlen", "awsize", "awburst", "awvalid", "awready",
                      "wdata", "wstrb", "wlast", "wvalid", "wready", "bid", "bresp", "bvalid", "bready"]
            self.bus_bytes = len(find("wdata")) // 8
        for name in names:
            setattr(self, f"_{name}", find(name))
        self._shift = self.bus_bytes.bit_length() - 1

    # What tests call.

    def write(self, address, content):
        """Put bytes into memory, past the bus."""
        self._inside(address, len(content))
        self.memory[address:address + len(content)] = content

    def read(self, address, count):
        """Take bytes out of memory, past the bus."""
        self._inside(address, count)
        return bytes(self.memory[address:address + count])

    def _inside(self, address, count):
        if address < 0 or address + count > len(self.memory):
            raise ValueError(f"{count} bytes at {address:#x} are outside the memory of {len(self.memory):#x}")

    def start(self):
        """Drive the idle levels and serve from the next edge on."""
        self._idle()
        if self.task is None:
            self.task = cocotb.start_soon(self._serve())
        return self

    def inject(self, response, first, last, *, reads=True, writes=True):
        """Answer with ``response`` each read beat, and each write burst, that touches bytes first..last."""
        self._faults.append((response, first, last, reads, writes))

    def heal(self):
        """Forget all injected errors."""
        self._faults.clear()

    def silence(self, after, cycles=None):
        """Stop answering ``after`` cycles from now, for ``cycles`` or for ever; ``None`` ends the silence.

        No channel is ready and nothing new is offered; what is offered already stays until taken.
        """
        self._quiet_from = None if after is None else self.cycle + after
        self._quiet_to = None if after is None or cycles is None else self._quiet_from + cycles

    def set_pattern(self, channel, pattern, seed=0):
        """Change a channel's stall pattern from the next cycle on."""
        if channel not in CHANNELS:
            raise ValueError(f"channel is {channel!r}: channels are {', '.join(CHANNELS)}")
        self._patterns[channel] = PATTERNS[pattern](seed) if isinstance(pattern, str) else pattern

    @property
    def outstanding(self):
        """Bursts accepted whose last beat or response has not moved."""
        return len(self._pending_reads) + len(self._writes_open) + len(self._answers)

    # The slave.

    def _forget(self):
        self._pending_reads = deque()       # (burst, beats: deque of (data, response))
        self._offered_read = None           # the element of which a beat is on R
        self._writes_open = deque()         # bursts that wait for beats
        self._w_beats = deque()             # beats not matched with a burst yet: (data, strobes, last)
        self._answers = deque()             # bursts that wait for their response, with their beats
        self._gathered = []                 # beats of the oldest open burst
        self._offered_answer = False
        self._held = {}                     # channel -> what the master offered and must hold
        self._ready = dict.fromkeys(("ar", "aw", "w"), False)

    def _idle(self):
        if self._has_read:
            for signal in (self._arready, self._rvalid, self._rdata, self._rid, self._rresp, self._rlast):
                signal.value = 0
        if self._has_write:
            for signal in (self._awready, self._wready, self._bvalid, self._bid, self._bresp):
                signal.value = 0

    async def _serve(self):
        edge = RisingEdge(self.clock)
        in_reset = True
        while True:
            await edge
            self.cycle += 1
            level = self.reset.value
            if not level.is_resolvable or int(level) == self.reset_level:
                if not in_reset:
                    self._idle()
                    self._forget()
                in_reset = True
                continue
            in_reset = False
            quiet = (self._quiet_from is not None and self.cycle >= self._quiet_from
                     and (self._quiet_to is None or self.cycle < self._quiet_to))
            if self._has_read:
                self._take_ar()
                self._give_r(quiet)
                self._drive_ready("ar", self._arready, quiet)
            if self._has_write:
                self._take_aw()
                self._take_w()
                self._match_writes()
                self._give_b(quiet)
                self._drive_ready("aw", self._awready, quiet)
                self._drive_ready("w", self._wready, quiet)

    def _drive_ready(self, channel, signal, quiet):
        ready = next(self._patterns[channel]) and not quiet
        if ready != self._ready[channel]:
            self._ready[channel] = ready
            signal.value = int(ready)

    def _offer(self, channel, valid, payload):
        """The payload if it was transferred at this edge; checks that an offer holds until taken."""
        valid = self._bit(valid, channel + "valid")
        held = self._held.get(channel)
        if not valid:
            if held is not None:
                raise ProtocolError(f"{channel}valid fell before the transfer, cycle {self.cycle}")
            return None
        values = []
        for signal in payload:
            value = signal.value
            if not value.is_resolvable:
                raise ProtocolError(f"{signal._name} is {value} while {channel}valid, cycle {self.cycle}")
            values.append(int(value))
        if held is not None and held != values:
            raise ProtocolError(f"{channel} payload changed from {held} to {values} before the transfer, "
                                f"cycle {self.cycle}")
        if not self._ready[channel]:
            self._held[channel] = values
            return None
        self._held.pop(channel, None)
        self.transfers[channel].append(self.cycle)
        return values

    def _bit(self, signal, name):
        value = signal.value
        if not value.is_resolvable:
            raise ProtocolError(f"{name} is {value}, cycle {self.cycle}")
        return int(value)

    def _check_burst(self, channel, address, length, size, burst):
        beats = length + 1
        if size != self._shift:
            raise ProtocolError(f"{channel}size is {size}: this memory serves whole beats, {self._shift}")
        if burst != 1:
            raise ProtocolError(f"{channel}burst is {burst}: this memory serves INCR, 1")
        if beats > self.max_beats:
            raise ProtocolError(f"{channel}len asks for {beats} beats: at most {self.max_beats}")
        base = address & -self.bus_bytes
        if base // BOUNDARY != (base + beats * self.bus_bytes - 1) // BOUNDARY:
            raise ProtocolError(f"{channel} burst of {beats} beats at {address:#x} crosses a 4 KiB boundary")
        return beats

    def _response(self, first, last, *, write):
        if last >= len(self.memory):
            return DECERR
        for response, low, high, reads, writes in self._faults:
            if first <= high and last >= low and (writes if write else reads):
                return response
        return OKAY

    def _take_ar(self):
        offer = self._offer("ar", self._arvalid, (self._arid, self._araddr, self._arlen, self._arsize,
                                                  self._arburst))
        if offer is None:
            return
        ident, address, *shape = offer
        beats = self._check_burst("ar", address, *shape)
        burst = Burst(ident, address, beats, self.cycle, due=self.cycle + self.latency)
        self.reads.append(burst)
        answers = deque()
        size = self.bus_bytes
        base = address & -size
        for start in range(base, base + beats * size, size):
            response = self._response(start, start + size - 1, write=False)
            # An error carries junk, so that a design that uses it is found out.
            content = (int.from_bytes(self.memory[start:start + size], "little") if response == OKAY
                       else self._random.getrandbits(8 * size))
            answers.append((content, response))
        self._pending_reads.append((burst, answers))

    def _give_r(self, quiet):
        if self._offered_read is not None:
            if not self._bit(self._rready, "rready"):
                next(self._patterns["r"])
                return
            self.transfers["r"].append(self.cycle)
            self.bytes_read += self.bus_bytes
            burst, answers = self._offered_read
            answers.popleft()
            if not answers:
                self._pending_reads.remove(self._offered_read)
            self._offered_read = None
        chosen = None
        if next(self._patterns["r"]) and not quiet:
            chosen = self._choose_read()
        if chosen is None:
            self._rvalid.value = 0
            return
        burst, answers = self._offered_read = chosen
        content, response = answers[0]
        self._rvalid.value = 1
        self._rdata.value = content
        self._rid.value = burst.id
        self._rresp.value = response
        self._rlast.value = int(len(answers) == 1)

    def _choose_read(self):
        # What is offered now can move at the next edge.
        if not self._pending_reads or self._pending_reads[0][0].due > self.cycle + 1:
            return None
        if not self.interleave:
            return self._pending_reads[0]
        heads = {}
        for pending in self._pending_reads:
            if pending[0].due <= self.cycle + 1:
                heads.setdefault(pending[0].id, pending)
        return self._random.choice(list(heads.values()))

    def _take_aw(self):
        offer = self._offer("aw", self._awvalid, (self._awid, self._awaddr, self._awlen, self._awsize,
                                                  self._awburst))
        if offer is None:
            return
        ident, address, *shape = offer
        burst = Burst(ident, address, self._check_burst("aw", address, *shape), self.cycle)
        self.writes.append(burst)
        self._writes_open.append(burst)

    def _take_w(self):
        offer = self._offer("w", self._wvalid, (self._wdata, self._wstrb, self._wlast))
        if offer is not None:
            self._w_beats.append(offer)

    def _match_writes(self):
        while self._writes_open and self._w_beats:
            burst = self._writes_open[0]
            content, strobes, last = self._w_beats.popleft()
            burst.taken += 1
            if bool(last) != (burst.taken == burst.beats):
                raise ProtocolError(f"wlast is {last} on beat {burst.taken} of {burst.beats} "
                                    f"of the burst at {burst.address:#x}")
            self._gathered.append((content, strobes))
            if last:
                burst.due = self.cycle + self.latency
                self._answers.append((burst, self._gathered))
                self._gathered = []
                self._writes_open.popleft()

    def _give_b(self, quiet):
        if self._offered_answer:
            if not self._bit(self._bready, "bready"):
                next(self._patterns["b"])
                return
            self.transfers["b"].append(self.cycle)
            self._offered_answer = False
            self._answers.popleft()
        willing = next(self._patterns["b"]) and not quiet
        if not willing or not self._answers or self._answers[0][0].due > self.cycle + 1:
            self._bvalid.value = 0
            return
        burst, beats = self._answers[0]
        self._offered_answer = True
        self._bvalid.value = 1
        self._bid.value = burst.id
        self._bresp.value = self._commit(burst, beats)

    def _commit(self, burst, beats):
        """Write a burst's bytes and return its response; a burst with an error writes nothing."""
        size = self.bus_bytes
        base = burst.address & -size
        response = self._response(base, base + len(beats) * size - 1, write=True)
        if response != OKAY:
            return response
        for index, (content, strobes) in enumerate(beats):
            start = base + index * size
            if strobes == (1 << size) - 1:
                self.memory[start:start + size] = content.to_bytes(size, "little")
                self.bytes_written += size
                continue
            low = burst.address - start
            if low > 0 and strobes & ((1 << low) - 1):
                raise ProtocolError(f"strobes {strobes:#x} enable bytes before address {burst.address:#x}")
            for lane in range(size):
                if strobes >> lane & 1:
                    self.memory[start + lane] = content >> (8 * lane) & 0xFF
                    self.bytes_written += 1
        return response
