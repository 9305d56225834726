"""Reads commands' bytes over AXI4, a beat a cycle."""

from amaranth.hdl import Cat, Const, Module, Mux, ResetInserter, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..control.job import span
from ..stream.queue import Queue
from ..stream.serial import SerialGearbox
from ..stream.skid import Skid
from .axi import ReadPort, Response, address_channel
from .burst import BurstSplitter, burst, chunk_beats
from .checks import check_integer, check_power_of_two
from .credits import CreditCounter
from .realign import Packer, rotate_down, rotated_beats, words

__all__ = ["BurstReader", "bus_error"]


def bus_error(addr_width):
    """A sticky error: whether there was one, the response, and the address it belongs to."""
    return data.StructLayout({"valid": unsigned(1), "resp": Response, "addr": unsigned(addr_width)})


def _queued(bus_bytes, serial):
    """A beat in the queue. With ``serial`` a bit more: what it holds of its command lies in one pair of bytes."""
    fields = {name: field.shape for name, field in rotated_beats(bus_bytes)}
    return data.StructLayout({**fields, "one_pair": 1} if serial else fields)


def _expected(addr_width, bus_bytes, realign):
    """What is kept of a burst until its data is there, for the data and for the address of an error."""
    whole = burst(addr_width, bus_bytes)
    return data.StructLayout({name: whole[name].shape for name in (
        "beat", "last", "tail", *(("first", "head") if realign else ()))})


class BurstReader(wiring.Component):
    """Reads the bytes of commands and packs them into words.

    A burst's address is offered only when its beats all have room in the queue, so R is always ready
    and a slow consumer never blocks another reader's data.

    ::

        i -> splitter -> burst register -> AR register -> port.ar
                                              | credits, one entry a burst
                                              v
        port.r -> rotate by the command's head -> queue -> packer -> o

    Between a burst and its credits nobody's ``ready`` counts but a register's, and beats that left give their credits
    back a cycle later. Without ``realign`` the packer is a `Skid`, which ends the path of ``o.ready``.

    Cycle budget (transfers at the ends of the path, no stalls):

    ==========================================  ======
    command on ``i`` to its first AR            3
    AR to AR of the same or the next command    2
    beat on R to its word on ``o``              3
    ==========================================  ======

    Throughput: one beat a cycle on R and one word a cycle on ``o``, without a bubble between bursts of two beats or
    more, as long as ``depth_beats`` covers latency + 10 + a burst, and ``max_outstanding`` the bursts
    in flight. An unaligned command can need one beat more than it has words.

    Stalls: AR waits while the queue's free places do not hold the next burst.

    Parameters
    ----------
    addr_width : int
        Address bits.
    bus_bytes : int
        Bytes of a beat, power of two, 2 to 128.
    id : int
        ID of the bursts.
    depth_beats : int
        Places of the queue, at least a burst and at least 4.
    max_burst_beats : int
        Longest burst, power of two, 1 to 256. Bursts are cut at its multiples and at 4 KiB.
    realign : bool
        Commands may start anywhere. If False they start at multiples of ``bus_bytes``, and the shifter
        is left out.
    max_outstanding : int
        Bursts that may be offered or in flight, at least 4.
    id_width : int
    serial : bool
        Words are put together a pair of bytes a cycle (`SerialGearbox`), instead of by a shifter of whole beats. Looked
        at with ``realign`` only.

    Members
    -------
    i : In(stream(span))
        Whether it may be read is for `AddressGuard` to say. One waits there while the one before is cut into bursts.
    o : Out(stream(words))
        ``{data, count, last}``: ``count`` bytes from element 0 on; ``last`` ends a command. Holds until
        taken, except for ``abort``. Bytes past ``count`` are undefined.
    port : Out(ReadPort)
        Addresses are multiples of ``bus_bytes``; whole beats are read. R is always ready.
    abort : In(1)
        While high: offers nothing new (an AR that is offered stays until taken), takes and forgets
        commands, discards arriving and queued data; ``o.valid`` falls in the next cycle. Hold it until
        ``idle``. If it falls before, the reader still drains and takes commands again once idle.
    idle : Out(1)
        No command is held and nothing is offered, outstanding or queued.
    error : Out({valid, resp, addr})
        First SLVERR or DECERR since the last abort. ``addr`` is the first byte of that beat that the
        command asked for. No data of that beat or a later one is delivered. Cleared by ``abort``.

    Cost: a queue of ``depth_beats`` beats, each with 2 log2(bus_bytes) + 1 bits beside, with ``serial`` one more
    (block RAM from 32 beats on); a list of ``max_outstanding`` bursts (LUT RAM); log2(bus_bytes) + 1 multiplexers of
    two for each data bit, not if ``serial`` or not ``realign``. Of ECP5 with 8 bytes, 32 address bits and 16 bursts 659
    LUTs, serial 473, 386 without ``realign``.
    """

    def __init__(self, addr_width, bus_bytes, id=0, depth_beats=128, max_burst_beats=32, realign=True,
                 max_outstanding=32, id_width=1, serial=False):
        self.addr_width = check_integer("addr_width", addr_width, 13, 64)
        self.bus_bytes = check_power_of_two("bus_bytes", bus_bytes, 2, 128)
        self.max_burst_beats = check_power_of_two("max_burst_beats", max_burst_beats, 1, 256)
        self.id_width = check_integer("id_width", id_width, 1, 16)
        self.id = check_integer("id", id, 0, (1 << id_width) - 1)
        shortest = max(4, chunk_beats(bus_bytes, max_burst_beats))
        self.depth_beats = check_integer("depth_beats", depth_beats, shortest, 1 << 16)
        self.max_outstanding = check_integer("max_outstanding", max_outstanding, 4, 1 << 16)
        if not isinstance(realign, bool):
            raise TypeError(f"realign must be True or False, not {realign!r}")
        if not isinstance(serial, bool):
            raise TypeError(f"serial must be True or False, not {serial!r}")
        self.realign, self.serial = realign, serial and realign
        super().__init__({
            "i": In(stream.Signature(span(addr_width))),
            "o": Out(stream.Signature(words(bus_bytes))),
            "port": Out(ReadPort(addr_width, 8 * bus_bytes, id_width)),
            "abort": In(1),
            "idle": Out(1),
            "error": Out(bus_error(addr_width)),
        })
        # Parts, open to proofs.
        self.splitter = BurstSplitter(addr_width, bus_bytes, max_burst_beats)
        self.credits = CreditCounter(depth_beats, chunk_beats(bus_bytes, max_burst_beats))
        self.flight = Queue(_expected(addr_width, bus_bytes, realign), max_outstanding)
        self.queue = Queue(_queued(bus_bytes, self.serial), depth_beats)
        self.packer = (SerialGearbox(8, bus_bytes, bus_bytes, skips=True) if self.serial
                       else Packer(bus_bytes) if realign else Skid(words(bus_bytes)))
        self.returned = Signal(range(3))
        self.ahead = Signal(data.StructLayout({"valid": 1, "burst": burst(addr_width, bus_bytes)}))
        self.draining, self.packer_flush = Signal(), Signal()

    def elaborate(self, platform):
        m = Module()
        m.submodules.splitter = self.splitter
        m.submodules.credits = self.credits
        m.submodules.flight = self.flight
        m.submodules.queue = self.queue
        m.submodules.packer = self.packer if self._packs else ResetInserter(self.packer_flush)(self.packer)

        # From an abort on, until nothing is left of what it found.
        draining, drain = self.draining, Signal()
        m.d.comb += [
            drain.eq(self.abort | draining),
            self.idle.eq(~self.splitter.o.valid & ~self.ahead.valid & ~self.flight.o.valid & self.credits.full
                         & (self.packer.idle if self.realign else ~self.packer.o.valid)),
        ]
        with m.If(self.abort):
            m.d.sync += draining.eq(1)
        with m.Elif(self.idle):
            m.d.sync += draining.eq(0)

        self._issue(m, drain)
        dropped = self._receive(m, drain)
        self._deliver(m, drain, dropped)
        return m

    def _issue(self, m, drain):
        """Commands to bursts to the AR register; takes credits and notes the burst. A burst's length and the credits
        that it needs are a cycle each, and a burst moves on when the next register is empty, not when it will be."""
        splitter, credits, flight = self.splitter, self.credits, self.flight
        offered = Signal()
        address = Signal(address_channel(self.addr_width, self.id_width), init={"id": self.id})
        ahead = self.ahead
        next_burst = ahead.burst
        issue = Signal()
        m.d.comb += [
            splitter.i.payload.eq(self.i.payload),
            splitter.i.valid.eq(self.i.valid & ~drain),
            self.i.ready.eq(self.abort | splitter.i.ready & ~drain),
            splitter.flush.eq(drain),

            credits.len.eq(next_burst.len),
            issue.eq(ahead.valid & credits.enough & flight.i.ready & ~offered & ~drain),
            splitter.o.ready.eq(~ahead.valid),
            credits.take.eq(issue),
            *(flight.i.payload[name].eq(next_burst[name]) for name, _ in flight.shape),
            flight.i.valid.eq(issue),

            self.port.ar.payload.eq(address),
            self.port.ar.valid.eq(offered),
        ]
        with m.If(~ahead.valid):
            m.d.sync += [ahead.valid.eq(splitter.o.valid), next_burst.eq(splitter.o.payload)]
        with m.If(issue | drain):
            m.d.sync += ahead.valid.eq(0)
        with m.If(~offered):
            m.d.sync += [address.addr.eq(next_burst.beat << self._lane_bits), address.len.eq(next_burst.len),
                         offered.eq(issue)]
        with m.Elif(self.port.ar.ready):
            m.d.sync += offered.eq(0)

    def _receive(self, m, drain):
        """R into the queue. Returns the pulse for a beat that is not wanted: its credit is free at once."""
        r, current = self.port.r, self.flight.o.payload
        # The beat's place in its chunk; a burst does not leave its chunk.
        low = (chunk_beats(self.bus_bytes, self.max_burst_beats) - 1).bit_length()
        start = Signal(init=1)              # the next beat is a burst's first
        place, later = Signal(low), Signal(low)
        taken, bad, dropped = Signal(), Signal(), Signal()
        error = Signal.like(self.error)
        head = current.head if self.realign else Const(0, self._lane_bits)
        # A command's first beat may be wanted from its middle on only.
        within = head & (start & current.first).replicate(len(head)) if self.realign else head
        last = r.payload.last & current.last
        m.d.comb += [
            r.ready.eq(1),
            taken.eq(r.valid & self.flight.o.valid),
            bad.eq((r.payload.resp == Response.SLVERR) | (r.payload.resp == Response.DECERR)),
            place.eq(Mux(start, current.beat[:low], later)),
            self.flight.o.ready.eq(taken & r.payload.last),

            self.queue.i.valid.eq(taken & ~bad & ~drain & ~error.valid),
            dropped.eq(taken & ~self.queue.i.valid),
            self.queue.i.payload.data.eq(r.payload.data if self.serial else rotate_down(r.payload.data, head)),
            self.queue.i.payload.head.eq(within if self.serial else head),
            # Without a `Packer`, where the beat ends: the queue's output is slow. 0 is the next beat's first place.
            self.queue.i.payload.tail.eq(current.tail if self._packs else Mux(last, current.tail + 1, 0)),
            self.queue.i.payload.last.eq(last),
            self.error.eq(error),
        ]
        if self.serial:
            # Compared here: behind the queue it would be late.
            m.d.comb += self.queue.i.payload.one_pair.eq(
                (within[1:] == current.tail[1:]) & last | within[1:].all() & ~last)
        with m.If(taken):
            m.d.sync += [start.eq(r.payload.last), later.eq(place + 1)]
        # That a response is bad comes late, from far away: what it would be of is kept in any case.
        with m.If(~error.valid):
            m.d.sync += [error.resp.eq(r.payload.resp), error.addr.eq(Cat(within, place, current.beat[low:]))]
        with m.If(self.abort):
            m.d.sync += error.valid.eq(0)
        with m.Elif(taken & bad & ~drain):
            m.d.sync += error.valid.eq(1)
        return dropped

    def _deliver(self, m, drain, dropped):
        """The queue through the packer; each beat that leaves gives its credit back."""
        queue, packer = self.queue, self.packer
        popped = Signal()
        m.d.comb += [
            packer.i.valid.eq(queue.o.valid & ~drain),
            queue.o.ready.eq(packer.i.ready | drain),
            self.packer_flush.eq(drain),
            popped.eq(queue.o.valid & queue.o.ready),
            self.credits.give.eq(self.returned),
            self.o.payload.eq(packer.o.payload),
            self.o.valid.eq(packer.o.valid),
            packer.o.ready.eq(self.o.ready),
        ]
        # How far the queue has come is known late.
        m.d.sync += self.returned.eq(popped + dropped)
        if self._packs:
            m.d.comb += [packer.i.payload.eq(queue.o.payload), packer.flush.eq(self.packer_flush)]
            return
        beat = queue.o.payload
        m.d.comb += [
            packer.i.payload.data.eq(beat.data), packer.i.payload.last.eq(beat.last),
            packer.i.payload.count.eq(Cat(beat.tail, beat.tail == 0)),
        ]
        if self.serial:
            m.d.comb += [packer.skip.eq(beat.head), packer.one_pair.eq(beat.one_pair), packer.take.eq(self.bus_bytes)]

    @property
    def _packs(self):
        return self.realign and not self.serial

    @property
    def _lane_bits(self):
        return (self.bus_bytes - 1).bit_length()
