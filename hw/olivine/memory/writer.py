"""Writes commands' bytes over AXI4, a beat a cycle."""

from amaranth.hdl import Cat, Const, Module, Mux, ResetInserter, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from ..control.job import span
from ..stream.queue import Queue
from ..stream.spare import Spare
from .axi import Response, WritePort, address_channel
from .burst import chunk_beats
from .checks import check_integer, check_power_of_two
from .reader import bus_error
from .realign import rotate_up, words

__all__ = ["BurstWriter", "column_command", "column_span"]


def column_command(addr_width, bus_bytes):
    """A `command` that may write a column of its beats only.

    With ``column``, ``addr`` is a whole beat and ``bytes`` a whole number of beats, and of each beat only the bytes
    from ``low`` to ``high`` are written. Without, ``low`` and ``high`` are not looked at.
    """
    return data.StructLayout({"addr": unsigned(addr_width), "bytes": unsigned(32), **_column(bus_bytes)})


def column_span(addr_width, bus_bytes):
    """A `column_command` that was checked: the bytes from ``addr`` to ``last``, as of `span`."""
    return data.StructLayout({**span(addr_width).members, **_column(bus_bytes)})


def _column(bus_bytes):
    lane = unsigned(exact_log2(bus_bytes))
    return {"column": unsigned(1), "low": lane, "high": lane}


class BurstWriter(wiring.Component):
    """Writes packed words to the bytes of commands.

    Words become beats before they are queued; a burst's address is offered only when its last beat is
    queued, so W never starves and what is offered can always be finished. The lengths come from the
    command, whose range the guard has checked: ``count`` and ``last`` of the data must agree with it and
    are not looked at.

    ::

        i_command -> next -> at work -------+
                                            v
        i -> spare -> rotate by head, merge with the previous word -> queue -> register --> port.w
                                     |                                   ^ as many bursts as AW has offered
                                     +-> bursts waiting -> AW register --+---------------> port.aw
                                                           bursts in flight <------------- port.b

    Cycle budget (transfers at the ends of the path, no stalls):

    ====================================================  ======
    command on ``i_command`` to its second word on ``i``  3
    command to command of one beat                        2
    a burst's last word on ``i`` to its AW                2
    a burst's AW to its first W, if W is free             0 or 1
    W to W, of any burst                                  1
    ====================================================  ======

    AW to W is 1 for a burst of one beat that finds the queue empty.

    Throughput: one word a cycle on ``i`` and one beat a cycle on W, without a bubble between bursts or
    commands of two beats or more, as long as ``max_outstanding`` bursts cover latency + 4 + a burst. An unaligned
    command can have one beat more than it has words; ``i`` waits for that one cycle.

    Stalls: ``i`` waits while the queue or the list of waiting bursts is full, as they were a cycle before; AW waits
    while ``max_outstanding`` bursts have no response yet.

    Parameters
    ----------
    addr_width : int
        Address bits.
    bus_bytes : int
        Bytes of a beat, power of two, 2 to 128.
    depth_beats : int
        Places of the queue, at least two bursts (so that one fills while one leaves) and at least 4.
    max_burst_beats : int
        Longest burst, power of two, 1 to 256. Bursts are cut at its multiples and at 4 KiB.
    max_outstanding : int
        Bursts offered or without response, at least 8; as many wait with their data queued.
    id_width : int
        The ID is always 0.
    realign : bool
        Commands may start anywhere. If False they start at multiples of ``bus_bytes``, and the shifter is left out.
    columns : bool
        Commands are `column_span`. One with ``column`` set takes a whole word for each of its beats and writes
        the same bytes of every one of them; everything else, speed too, is as in a plain command.

    Members
    -------
    i_command : In(stream(span)), with ``columns`` In(stream(column_span))
        Whether it may be written is for `AddressGuard` to say.
    i : In(stream(words))
        The command's bytes, packed from element 0; all words full but the last. The first may be taken before its
        command.
    port : Out(WritePort)
        Addresses are multiples of ``bus_bytes``; strobes mask heads and tails. B is always ready.
    abort : In(1)
        While high: offers no new burst, finishes those that are offered, takes and forgets commands and
        data. Hold it until ``idle``. If it falls before, the writer still drains and takes commands
        again once idle.
    idle : Out(1)
        No command is held and nothing is queued, offered or without response.
    error : Out({valid, resp, addr})
        First SLVERR or DECERR since the last abort. ``addr`` is the first byte that the burst was to
        write, of a column command the first of its beat. Later bursts go on. Cleared by ``abort``.

    Cost: a queue of ``depth_beats`` beats, each with 2 log2(bus_bytes) + 1 bits beside; two lists of
    ``max_outstanding`` addresses (LUT RAM); with ``realign`` log2(bus_bytes) + 1 multiplexers of two for each data bit.
    786 LUTs of ECP5 with 8 bytes, 32 address bits and 16 bursts, 499 without ``realign``.
    """

    def __init__(self, addr_width, bus_bytes, depth_beats=64, max_burst_beats=16, max_outstanding=16,
                 id_width=1, columns=False, realign=True):
        self.addr_width = check_integer("addr_width", addr_width, 13, 64)
        self.bus_bytes = check_power_of_two("bus_bytes", bus_bytes, 2, 128)
        self.max_burst_beats = check_power_of_two("max_burst_beats", max_burst_beats, 1, 256)
        shortest = max(4, 2 * chunk_beats(bus_bytes, max_burst_beats))
        self.depth_beats = check_integer("depth_beats", depth_beats, shortest, 1 << 16)
        self.max_outstanding = check_integer("max_outstanding", max_outstanding, 8, 1 << 16)
        self.id_width = check_integer("id_width", id_width, 1, 16)
        if not isinstance(columns, bool):
            raise TypeError(f"columns must be True or False, not {columns!r}")
        if not isinstance(realign, bool):
            raise TypeError(f"realign must be True or False, not {realign!r}")
        self.columns, self.realign = columns, realign
        asked = column_span(addr_width, bus_bytes) if columns else span(addr_width)
        super().__init__({
            "i_command": In(stream.Signature(asked)),
            "i": In(stream.Signature(words(bus_bytes))),
            "port": Out(WritePort(addr_width, 8 * bus_bytes, id_width)),
            "abort": In(1),
            "idle": Out(1),
            "error": Out(bus_error(addr_width)),
        })

    def elaborate(self, platform):
        m = Module()
        lane = unsigned(exact_log2(self.bus_bytes))
        # A beat enables the bytes from ``low`` to ``high``; ``last`` ends a burst.
        m.submodules.queue = self.queue = Queue(
            data.StructLayout({"data": 8 * self.bus_bytes, "low": lane, "high": lane, "last": 1}),
            self.depth_beats)
        # A burst whose beats are queued: its first byte to write, and its beats minus one.
        m.submodules.waiting = self.waiting = Queue(
            data.StructLayout({"addr": self.addr_width, "len": exact_log2(
                chunk_beats(self.bus_bytes, self.max_burst_beats))}), self.max_outstanding)
        # First byte of each burst that is offered or without response.
        m.submodules.flight = self.flight = Queue(unsigned(self.addr_width), self.max_outstanding)

        # From an abort on, until nothing is left of what it found.
        self.busy, draining = Signal(), Signal()
        drain = Signal()
        self.filled = Signal()      # A beat is in W's register.
        # The command behind the one at work.
        self.asked = Signal(data.StructLayout({"valid": 1, "command": self.i_command.payload.shape()}))
        # Whoever has words sees one register, and not the room in three places.
        content = Spare(self.i.payload.shape())
        m.submodules.content = ResetInserter(drain)(content)
        m.d.comb += [
            drain.eq(self.abort | draining),
            # A beat that cannot be seen at the queue's end came in the cycle before, when a command was at work.
            self.idle.eq(~content.held & ~self.asked.valid & ~self.busy & ~self.queue.o.valid
                         & ~self.filled & ~self.waiting.o.valid & ~self.flight.o.valid),
        ]
        with m.If(self.abort):
            m.d.sync += draining.eq(1)
        with m.Elif(self.idle):
            m.d.sync += draining.eq(0)

        # In an abort both forget what they get, and what passes is forgotten behind: nothing waits for it.
        m.d.comb += [
            content.i.payload.eq(self.i.payload), content.i.valid.eq(self.i.valid),
            self.i.ready.eq(self.abort | content.i.ready & ~drain),
            self.i_command.ready.eq(self.abort | ~self.asked.valid & ~drain),
        ]
        # Beats come in the first cycle of an abort still, so what follows from one, and what is queued, is dropped a
        # cycle later.
        late = Signal()
        m.d.sync += late.eq(drain)
        self._place(m, drain, late, content.o)
        opened = self._offer(m, drain, late)
        self._send(m, late, opened)
        self._answer(m)
        return m

    def _place(self, m, drain, late, content):
        """Words to beats: one a cycle into the queue, and at each burst's end a note of the burst."""
        size = self.bus_bytes
        lanes, low = exact_log2(size), exact_log2(chunk_beats(size, self.max_burst_beats))
        beat = Signal(self.addr_width - lanes)          # the number of the next beat
        after = Signal.like(beat)
        stop = Signal.like(beat)                        # the number of the last beat but one
        head = Signal(lanes) if self.realign else Const(0, lanes)   # place of the first byte in its beat
        leading = Signal()                              # the next beat is the command's first
        start = Signal(lanes + low)                     # the burst's first byte to write, in its chunk

        # Of a command's first beat, and of the next of others: it is the last; it ends its burst; it takes a word.
        # Registers, as every bit waits for them, and two, lest synthesis chooses before it compares.
        looks = data.StructLayout({"final": 1, "burst_end": 1, "needs_word": 1})
        first_beat, next_beat, look = Signal(looks), Signal(looks), Signal(looks)
        final, burst_end, needs_word, place = look.final, look.burst_end, look.needs_word, Signal()
        room, ready = Signal(), Signal()
        tail, fits = Signal(lanes), Signal()
        m.d.comb += [
            after.eq(beat + 1), look.eq(Mux(leading, first_beat, next_beat)),
            ready.eq(self.busy & room & ~late),
            place.eq(ready & (content.valid | ~needs_word)),
            content.ready.eq(ready & needs_word),
        ]
        # One place of each may be taken in this cycle.
        m.d.sync += room.eq((self.queue.level < self.depth_beats - 1) & (self.waiting.level < self.max_outstanding - 1))

        # The next command. That the one before begins is known late, so its place is free a cycle later.
        asked, begins = self.asked, Signal()
        m.d.comb += begins.eq(~self.busy | place & final)
        with m.If(~asked.valid):
            m.d.sync += [asked.valid.eq(self.i_command.valid), asked.command.eq(self.i_command.payload)]
        with m.Elif(begins):
            m.d.sync += asked.valid.eq(0)
        with m.If(drain):
            m.d.sync += asked.valid.eq(0)

        def see(of, last, number, word_fits):
            # An unaligned command's last beat holds only what the previous one had no room for, or
            # bytes of a word of its own as well.
            return [of.final.eq(last), of.burst_end.eq(last | number[:low].all() if low else 1),
                    of.needs_word.eq(~last | word_fits)]

        merged = content.payload.data
        if self.realign:
            rotated, carry = Signal(8 * size), Signal(8 * size)     # the word, and the previous one
            merged = Cat(Mux(index < head, carry.word_select(index, 8), rotated.word_select(index, 8))
                         for index in range(size))
            m.d.comb += rotated.eq(rotate_up(content.payload.data, head))
            with m.If(place):
                m.d.sync += carry.eq(rotated)
        m.d.comb += [
            self.queue.i.payload.data.eq(merged),
            self.queue.i.payload.low.eq(Mux(leading, head, 0)),
            self.queue.i.payload.high.eq(Mux(final, tail, size - 1)),
            self.queue.i.payload.last.eq(burst_end),
            self.queue.i.valid.eq(place),
            # A burst does not leave its chunk.
            self.waiting.i.payload.addr.eq(Cat(start, beat[low:])),
            self.waiting.i.payload.len.eq(beat[:low] - start[lanes:]),
            self.waiting.i.valid.eq(place & burst_end),
        ]
        if self.columns:
            # It starts at a whole beat, so that the words pass the shifter as they are.
            column = Signal()
            low_lane, high_lane = Signal(lanes), Signal(lanes)
            with m.If(column):
                m.d.comb += [self.queue.i.payload.low.eq(low_lane), self.queue.i.payload.high.eq(high_lane)]
            with m.If(begins):
                m.d.sync += [column.eq(asked.command.column), low_lane.eq(asked.command.low),
                             high_lane.eq(asked.command.high)]
        with m.If(place):
            m.d.sync += [beat.eq(after), leading.eq(0), *see(next_beat, beat == stop, after, fits)]
            with m.If(burst_end):
                m.d.sync += start.eq(0)
        with m.If(begins):
            addr, number = asked.command.addr, asked.command.addr[lanes:]
            first, new_tail = addr[:lanes] if self.realign else head, asked.command.last[:lanes]
            last = number == asked.command.last[lanes:]
            m.d.sync += [self.busy.eq(asked.valid), leading.eq(1), beat.eq(number),
                         stop.eq(asked.command.last[lanes:] - 1),
                         start.eq(Cat(first, addr[lanes:lanes + low])),
                         tail.eq(new_tail), fits.eq(new_tail >= first),
                         *see(first_beat, last, number, new_tail >= first)]
            if self.realign:
                m.d.sync += head.eq(first)
        with m.If(late):
            m.d.sync += self.busy.eq(0)

    def _offer(self, m, drain, late):
        """Waiting bursts to the AW register. Returns the pulse that lets a burst's beats go."""
        waiting, flight, aw = self.waiting, self.flight, self.port.aw
        offered, opened = Signal(), Signal()
        address = Signal(address_channel(self.addr_width, self.id_width))
        m.d.comb += [
            opened.eq(waiting.o.valid & flight.i.ready & (~offered | aw.ready) & ~drain),
            waiting.o.ready.eq(opened | late),
            flight.i.payload.eq(waiting.o.payload.addr),
            flight.i.valid.eq(opened),
            aw.payload.eq(address),
            aw.valid.eq(offered),
        ]
        with m.If(opened):
            lanes = exact_log2(self.bus_bytes)
            m.d.sync += [address.addr.eq(waiting.o.payload.addr[lanes:] << lanes),
                         address.len.eq(waiting.o.payload.len), offered.eq(1)]
        with m.Elif(aw.ready):
            m.d.sync += offered.eq(0)
        return opened

    def _send(self, m, late, opened):
        """Beats of offered bursts to W. Once these are gone, an abort drops the others."""
        queue, w = self.queue, self.port.w
        beat = queue.o.payload
        unsent = Signal(range(self.max_outstanding + 1))    # offered bursts whose last beat is here
        sending, ends = Signal(), Signal()                  # ``sending``: there are some
        # The next beat has a register, as a queue in block RAM has none.
        filled, moves, sends = self.filled, Signal(), Signal()
        first = Signal(w.payload.shape(), reset_less=True)
        m.d.comb += [
            w.valid.eq(filled & sending), sends.eq(w.valid & w.ready), w.payload.eq(first),
            moves.eq(~filled | Mux(sending, w.ready, late)), queue.o.ready.eq(moves),
            ends.eq(sends & first.last),
        ]
        with m.If(moves):
            m.d.sync += [
                filled.eq(queue.o.valid), first.data.eq(beat.data), first.last.eq(beat.last),
                first.strb.eq(Cat((index >= beat.low) & (index <= beat.high) for index in range(self.bus_bytes))),
            ]
        # That a burst is offered, and that one ends, is known late.
        m.d.sync += sending.eq(opened | (unsent != 0) & ~((unsent == 1) & ends))
        with m.If(opened ^ ends):
            m.d.sync += unsent.eq(unsent + Mux(opened, 1, -1))

    def _answer(self, m):
        """Responses, in the order of the bursts."""
        b, flight = self.port.b, self.flight
        error = Signal.like(self.error)
        bad = Signal()
        m.d.comb += [
            b.ready.eq(1),
            flight.o.ready.eq(b.valid),
            bad.eq((b.payload.resp == Response.SLVERR) | (b.payload.resp == Response.DECERR)),
            self.error.eq(error),
        ]
        # That a response is bad comes late, from far away: what it would be of is kept in any case.
        with m.If(~error.valid):
            m.d.sync += [error.resp.eq(b.payload.resp), error.addr.eq(flight.o.payload)]
        with m.If(self.abort):
            m.d.sync += error.valid.eq(0)
        with m.Elif(b.valid & flight.o.valid & bad):
            m.d.sync += error.valid.eq(1)
