"""Moves contents of the cache's blocks on the bus."""

from amaranth.hdl import Cat, Module, Mux, ResetInserter, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..control.job import Window, command
from ..memory.axi import AXI4
from ..memory.guard import AddressGuard
from ..memory.monitor import BusMonitor
from ..memory.reader import BurstReader
from ..memory.watchdog import Watchdog
from ..memory.writer import BurstWriter
from ..stream import connect, fork
from ..stream.queue import Queue
from .addresses import address_bits
from .descriptor import CacheGeometry
from .mover_runs import MoveRuns, RunKind, run_layout
from .moves import MoveAnswer, MoveCommand

__all__ = ["BlockMover"]

AHEAD = 16
"""Runs that are read before they are written."""

ID_WIDTH = 2

TIMEOUT_BITS = 24


class BlockMover(wiring.Component):
    """Moves contents between two blocks, page by page (`page`), as `MoveCommand` says.

    COPY moves the first ``places`` places of every page. Sub-blocks of keys that hold none of them, and values past
    them, are not read. A sub-block that holds some is moved as a whole: with ``zero`` its other places become zeros
    like everything behind, so that the whole page is written; without, they become those of the source, and what lies
    behind stays. (Bytes that pad a place's values to whole beats move with it.) The blocks do not overlap.

    PLACE moves the key and the values of one place. Of the target's beats of keys the other lanes are not
    written. Both blocks may be the same.

    The next command is taken when the answer was; reads of one never overtake writes of another. A transfer that the
    windows refuse, or that the bus answers with an error, ends the command: nothing new is begun, all that is on the
    bus ends, and the answer names the transfer. What of the target is written by then is not said. A bus that is silent
    for too long ends the command at once, with address 0; the next one waits until the bus owes nothing.

    ::

        runs -> guard -> reader --words--> lanes moved, zeros -> writer
          |                                      ^                 ^
          +--> queue of runs -> kind, beats -----+     guard ------+

    Cycle budget, from the transfer of a command to ``o.valid`` without stalls: beats written + beats of the longest
    burst (it is gathered before it is sent; 1 to 16) + cycles from AR to R + cycles from the last W to its response
    + 15; one more in PLACE, and if COPY has fewer than B ``places``; without the read's cycles if it has none. A run
    behind another one takes four cycles at least (`AddressGuard`), less where a longer one came before.

    * COPY writes ``ceil(places / B) * k + places * v`` beats of a page, with ``zero`` all its ``L / B * k + L * v``: k
      beats of a sub-block of keys, v of one place's values, over all dims. A page takes no less than 4 cycles for its
      keys, and for each L dims of its values.
    * PLACE writes ``k + v`` beats of a page, in no less than 4 cycles for its keys, and for each L dims of its values.

    Measured: a block of 12 layers, 12 heads, 64 dims in 8 bit (144 pages of 512 beats; L = 64, B = 16) on a
    bus of 30 cycles each way: 73,816 cycles, 20 of its places 30,040, one place 9,880.

    Throughput: a beat a cycle on R and on W, without a bubble between runs or pages, as long as a read takes less than
    about 80 cycles and 16 runs have more beats than that.

    Parameters
    ----------
    config : AcceleratorConfig

    Members
    -------
    geometry : In(CacheGeometry)
        Constant. ``page_bytes``, ``head_dim``, ``heads`` and the formats are looked at. ``heads`` is 1 or more,
        ``head_dim`` even.
    windows : In(ArrayLayout(Window))
        Constant while a command is at work.
    bus_timeout : In(24)
        Cycles without progress until the bus counts as silent; 0 is never.
    idle : Out(1)
        The bus owes nothing.
    i : In(stream of MoveCommand)
        Blocks start at whole beats; places are below L, their number at most L.
    o : Out(stream of MoveAnswer)
        One for each command.
    bus : Out(AXI4)
        Every ID is 0.

    Cost: `BurstReader` of 128 beats without a shifter, `BurstWriter` of 64 beats, two guards, `MoveRuns`; a choice
    of one of B bytes, and one of two for each byte.
    """

    def __init__(self, config):
        self.config = config
        super().__init__({
            "geometry": In(CacheGeometry),
            "windows": In(data.ArrayLayout(Window(config.addr_width), config.windows)),
            "bus_timeout": In(TIMEOUT_BITS), "idle": Out(1),
            "i": In(stream.Signature(MoveCommand)), "o": Out(stream.Signature(MoveAnswer)),
            "bus": Out(AXI4(config.addr_width, config.bus_bits, ID_WIDTH)),
        })

    def elaborate(self, platform):
        m = Module()
        config = self.config
        addr_width, bus_bytes = config.addr_width, config.bus_bytes
        running, move = Signal(), Signal(MoveCommand)
        m.submodules.reader = reader = BurstReader(
            addr_width, bus_bytes, realign=False, id_width=ID_WIDTH, max_outstanding=config.outstanding)
        m.submodules.writer = writer = BurstWriter(
            addr_width, bus_bytes, id_width=ID_WIDTH, columns=True, realign=False)
        for channel in ("ar", "aw", "w"):
            connect(m, getattr((reader if channel == "ar" else writer).port, channel),
                    wiring.flipped(getattr(self.bus, channel)))
        connect(m, wiring.flipped(self.bus.r), reader.port.r)
        connect(m, wiring.flipped(self.bus.b), writer.port.b)

        # Everything else begins anew with each command.
        path = Module()
        m.submodules.path = ResetInserter(~running)(path)
        path.submodules.runs = runs = MoveRuns(config)
        path.submodules.read_guard = read_guard = AddressGuard(
            address_bits(config), config.windows, write=False, window_width=addr_width)
        path.submodules.write_guard = write_guard = AddressGuard(
            address_bits(config), config.windows, write=True, window_width=addr_width)
        # Runs whose reads are asked for; and of those whose writes are, what becomes of their words.
        fields = {name: run_layout(config)[name].shape for name in ("kind", "beats", "target")}
        path.submodules.ahead = ahead = Queue(data.StructLayout(fields), AHEAD)
        path.submodules.words = words = Queue(data.StructLayout({
            name: fields[name] for name in ("kind", "beats")}), 4)
        path.d.comb += [runs.geometry.eq(self.geometry), runs.command.eq(move)]
        for guard in (read_guard, write_guard):
            for index in range(config.windows):
                path.d.comb += [getattr(guard.windows[index], field).eq(getattr(self.windows[index], field))
                                for field in ("first", "last", "readable", "writable")]
        self._ask(path, runs, read_guard, reader, ahead)
        self._tell(path, move, ahead, write_guard, writer, words)
        busy = self._transform(path, move, words, reader, writer)

        m.submodules.monitor = monitor = BusMonitor()
        m.submodules.watchdog = watchdog = Watchdog(TIMEOUT_BITS)
        m.d.comb += [
            monitor.listen(self.bus, self.bus), watchdog.limit.eq(self.bus_timeout),
            watchdog.waiting.eq(monitor.waiting),
            watchdog.progress.eq(monitor.progress), self.idle.eq(reader.idle & writer.idle),
            reader.abort.eq(~running), writer.abort.eq(~running),
        ]
        finished = runs.done & (ahead.level == 0) & (words.level == 0) & ~busy & writer.idle
        self._control(m, move, running, finished, watchdog.expired,
                      (read_guard.fault, write_guard.fault, reader.error, writer.error))
        return m

    def _ask(self, m, runs, guard, reader, ahead):
        """Each run to the reader, unless it is of zeros, and to the queue for the writer."""
        run = runs.o.payload
        log_bus = self.config.bus_bytes.bit_length() - 1
        zero = run.kind == RunKind.ZERO
        read = stream.Signature(command(address_bits(self.config))).create()
        m.d.comb += [
            runs.o.ready.eq(fork(m, runs.o.valid, read, ahead.i)),
            *(ahead.i.payload[name].eq(run[name]) for name in ("kind", "beats", "target")),
            guard.i.payload.addr.eq(run.source), guard.i.payload.bytes.eq(run.beats << log_bus),
            guard.i.valid.eq(read.valid & ~zero), read.ready.eq(guard.i.ready | zero),
            reader.i.payload.addr.eq(guard.o.payload.addr), reader.i.payload.last.eq(guard.o.payload.last),
            reader.i.valid.eq(guard.o.valid), guard.o.ready.eq(reader.i.ready),
        ]

    def _tell(self, m, move, ahead, guard, writer, words):
        """Each run to the writer, and to what makes its words."""
        run, target = ahead.o.payload, writer.i_command
        log_bus = self.config.bus_bytes.bit_length() - 1
        asked = stream.Signature(command(address_bits(self.config))).create()
        column = Signal()                       # of the command in the guard
        with m.If(guard.i.ready):
            m.d.sync += column.eq(run.kind == RunKind.COLUMN)
        lane = move.target_place[:log_bus]
        m.d.comb += [
            ahead.o.ready.eq(fork(m, ahead.o.valid, asked, words.i)),
            words.i.payload.kind.eq(run.kind), words.i.payload.beats.eq(run.beats),
            guard.i.payload.addr.eq(run.target), guard.i.payload.bytes.eq(run.beats << log_bus),
            guard.i.valid.eq(asked.valid), asked.ready.eq(guard.i.ready),
            target.payload.addr.eq(guard.o.payload.addr), target.payload.last.eq(guard.o.payload.last),
            target.payload.column.eq(column), target.payload.low.eq(lane), target.payload.high.eq(lane),
            target.valid.eq(guard.o.valid), guard.o.ready.eq(target.ready),
        ]

    def _transform(self, m, move, words, reader, writer):
        """Words that were read, or zeros, to words that are written. Returns whether there are some to come."""
        run = words.o.payload
        size = self.config.bus_bytes
        log_bus = size.bit_length() - 1
        # The run at work: words that are left, that the next is the last, and what becomes of them. In registers, as
        # every bit of a word waits for them.
        busy, left, final = Signal(), Signal.like(run.beats), Signal()
        zero, column, kept, source = Signal(), Signal(), Signal(size), Signal(range(size))
        taken = Signal()
        byte = Signal(8)
        bytes_in = reader.o.payload.data.as_value()
        m.d.comb += byte.eq(bytes_in.word_select(source, 8))
        for lane in range(size):
            m.d.comb += writer.i.payload.data[lane].eq(
                Mux(column, byte, bytes_in.word_select(lane, 8) & kept[lane].replicate(8)))
        m.d.comb += [
            writer.i.payload.count.eq(size), writer.i.payload.last.eq(final),
            writer.i.valid.eq(busy & (zero | reader.o.valid)),
            reader.o.ready.eq(busy & ~zero & writer.i.ready),
            taken.eq(writer.i.valid & writer.i.ready),
            words.o.ready.eq(~busy | taken & final),
        ]
        with m.If(words.o.ready):
            m.d.sync += [
                busy.eq(words.o.valid), left.eq(run.beats), final.eq(run.beats == 1), zero.eq(run.kind == RunKind.ZERO),
                column.eq(run.kind == RunKind.COLUMN), source.eq(move.source_place[:log_bus]),
                *(kept[lane].eq((run.kind != RunKind.ZERO)
                                & ((run.kind != RunKind.PART) | (lane < move.places[:log_bus])))
                  for lane in range(size)),
            ]
        with m.Elif(taken):
            m.d.sync += [left.eq(left - 1), final.eq(left == 2)]
        return busy

    def _control(self, m, move, running, finished, expired, faults):
        """From a command to its answer. ``faults``: ``{valid, addr}`` of what may fail, reads first."""
        failed = Cat(fault.valid for fault in faults).any()
        answer = self.o.payload
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.i.ready.eq(self.idle)
                m.d.sync += move.eq(self.i.payload)
                with m.If(self.i.valid & self.idle):
                    m.d.sync += running.eq(1)
                    m.next = "MOVE"
            with m.State("MOVE"):
                m.d.sync += running.eq(~(expired | failed | finished))
                m.d.sync += [answer.ok.eq(1), answer.address.eq(0)]
                with m.If(expired):
                    m.d.sync += answer.ok.eq(0)
                    m.next = "ANSWER"
                with m.Elif(failed):
                    m.d.sync += answer.ok.eq(0)
                    for fault in reversed(faults):
                        with m.If(fault.valid):
                            m.d.sync += answer.address.eq(fault.addr)
                    m.next = "END"
                with m.Elif(finished):
                    m.next = "ANSWER"
            with m.State("END"):
                with m.If(self.idle | expired):
                    m.next = "ANSWER"
            with m.State("ANSWER"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.next = "IDLE"
