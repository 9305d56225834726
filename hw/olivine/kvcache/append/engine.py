"""The append engine: jobs in, statuses out, one AXI4 master port, and word to the cache of what was written."""

from amaranth.hdl import Module, Mux, ResetInserter, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ...control.job import Activity, JobStatus, StatusCode, Window
from ...control.lifecycle import JobControl, first_fault
from ...memory.axi import AXI4
from ...memory.faults import bus_faults
from ...memory.guard import AddressGuard
from ...memory.monitor import BusMonitor
from ...memory.mux import ReadMux
from ...memory.reader import BurstReader
from ...memory.watchdog import Watchdog
from ...memory.writer import BurstWriter
from ...stream import Queue
from ..addresses import address_bits
from ..descriptor import CacheGeometry
from ..lookup import CacheEvent, LookupAnswer, LookupRequest
from ..lookup_port import LookupPort
from .descriptor import AppendDescriptor
from .items import Items
from .pages import PageWrites, Reports
from .places import PlaceWalk
from .plan import Planner, scales_layout
from .rows import RowCheck
from .serial import SerialLoader, SerialStore
from .source import SourceAddresses, SourceLoader
from .store import RowStore, piece_layout

__all__ = ["AppendEngine"]

TIMEOUT_BITS = 24
READERS = 2
"""Read streams, by ID: source rows, tables."""

ID_BITS = 2

# Reads in flight hide the memory's latency: 30 cycles and a burst, twice over; less where an element takes a cycle.
SOURCE_QUEUE_BEATS, SOURCE_BURST_BEATS = 128, 32
SERIAL_QUEUE_BEATS, SERIAL_BURST_BEATS = 16, 8
TABLE_QUEUE_BEATS, TABLE_BURST_BEATS = 16, 8
WRITE_BURST_BEATS = 16
"""Values of a key in 4 bit are bursts of two beats at a head dimension of 64."""

PIECES = 4
EVENTS = 4
"""Events that the cache has not taken yet; more hold up the job."""


class AppendEngine(wiring.Component):
    """Runs one `AppendDescriptor` after another.

    ::

        tables -> RowCheck -> PlaceWalk -> runs -> PageWrites -> commands -> guard -+
                                 | scales               | pieces                    v
        rows -> Gearbox -> Requantizer, PairEncoder -> RowStore -> beats ------> BurstWriter
                                                                                    | responses
                                                        reports -> Reports <--------+
                                                                      +-> event

    With ``vector_cycles`` above 1 `SerialLoader` and `SerialStore` stand for the loader (Gearbox, Requantizer) and the
    store: whatever the configuration's lanes, an element takes a cycle, with one multiplier and one encoder.

    Parameters
    ----------
    config : AcceleratorConfig
        With words of L bytes of at least two beats.

    Members
    -------
    job : In(stream(AppendDescriptor)), done : Out(stream(JobStatus))
        A status for every job, in order. A job is accepted when the bus and the cache owe nothing any more.
    windows : In(ArrayLayout(Window, config.windows))
        Memory that the host opened; constant while a job runs.
    bus_timeout : In(24)
        Silent cycles after which a job ends with TIMEOUT; 0 is never.
    abort : In(1)
        The job at work is given up, and ends with ABORTED when bus and cache owe nothing; without one, nothing happens.
    activity : Out(Activity)
    geometry : In(CacheGeometry)
        Legal, and constant while ``busy``.
    lookup : Out(stream(LookupRequest)), found : In(stream(LookupAnswer))
        One request is outstanding at a time, and every request is answered; what the cache knows of a sequence stays
        while ``busy``, but for ``appended``.
    event : Out(stream(CacheEvent))
        APPENDED, for each sequence in each head. An event that is offered is neither lost nor changed, whatever happens
        to its job. All are taken before their job reports OK or a fault, not before TIMEOUT.
    busy : Out(1)
        A job is at work, or the bus, the cache's answer or an event is outstanding. Low when a job has reported and
        nothing more of it can reach memory.
    bus : Out(AXI4)
        Reads with two IDs, 0 source rows, 1 tables; writes with one.

    All entries of a job's tables are checked before it writes: a job that ends with BAD_FIELD, BAD_ENTRY or BAD_ROW has
    written nothing and reported nothing (a free cell that cannot be, which only a damaged record holds, apart). One
    that fails on the bus or at a guard, or is given up, stops issuing, lets what is outstanding end, and then reports.
    It has written nothing but reserved places of heads that were not appended; heads that were stay so, and a job with
    the others may follow.

    Bad rows, in the order of the checks: see `olivine_golden.append.append`. In BAD_ENTRY ``detail`` is the index in
    `AppendScales`.

    Tallies: ``sat_output``, stored elements of existing rows that saturated.

    Cycles of a job: about 150 and the latencies of two reads and one write, those of `RowCheck`, and for each head and
    row group the largest of the beats read, the d pairs of dims (half of them of keys), and the beats written: d in
    8 bit, d / 2 in 4 bit for each run of neighbouring places of a sub-block, and the values' for each row. With
    ``vector_cycles`` above 1, 2 d cycles for each row that the source stores stand for the pairs of dims. Whole jobs
    measured on `edge`, d = 64, 12 heads, 30 cycles of latency: one row 1,061 cycles for 816 beats written; 64 rows of a
    sequence 9,641 for 9,216, of int16 12,834 for 12,436 read, to 4 bit 6,738 for 6,144 pairs of dims; 8 sequences
    6,892 for 6,528.

    Cost on `ecp5` with ``vector_cycles`` 4: 8,100 LUTs, half of them the bus side and `JobControl`; a multiplier, three
    block RAMs. A page or a record beyond the address space is refused with what `addresses` keeps of its address.
    """

    def __init__(self, config):
        if config.word_beats < 2:
            raise ValueError(f"bus_bits is {config.bus_bits}: append needs at least two beats in a word of "
                             f"{config.lanes} lanes")
        self.config = config
        super().__init__({
            "job": In(stream.Signature(AppendDescriptor)), "done": Out(stream.Signature(JobStatus)),
            "windows": In(data.ArrayLayout(Window(config.addr_width), config.windows)),
            "bus_timeout": In(TIMEOUT_BITS), "abort": In(1), "activity": Out(Activity), "geometry": In(CacheGeometry),
            "lookup": Out(stream.Signature(LookupRequest)), "found": In(stream.Signature(LookupAnswer)),
            "event": Out(stream.Signature(CacheEvent)), "busy": Out(1),
            "bus": Out(AXI4(config.addr_width, config.bus_bits, id_width=ID_BITS)),
        })

    def elaborate(self, platform):
        m = Module()
        config = self.config
        addr_width, bus_bytes = config.addr_width, config.bus_bytes
        running = Signal()

        # What outlives a job: the bus side, the lookup and events that were begun. The rest starts afresh with each.
        serial = config.vector_cycles > 1
        source_reader = BurstReader(
            addr_width, bus_bytes, 0, SERIAL_QUEUE_BEATS if serial else SOURCE_QUEUE_BEATS,
            SERIAL_BURST_BEATS if serial else SOURCE_BURST_BEATS, max_outstanding=config.outstanding, id_width=ID_BITS,
            serial=serial)
        table_reader = BurstReader(addr_width, bus_bytes, 1, TABLE_QUEUE_BEATS, TABLE_BURST_BEATS,
                                   max_outstanding=config.outstanding, id_width=ID_BITS, serial=serial)
        readers = source_reader, table_reader
        m.submodules.source_reader, m.submodules.table_reader = readers
        m.submodules.mux = mux = ReadMux(addr_width, config.bus_bits, READERS, id_width=ID_BITS)
        m.submodules.writer = writer = BurstWriter(
            addr_width, bus_bytes, max_burst_beats=WRITE_BURST_BEATS, max_outstanding=max(8, config.outstanding),
            id_width=ID_BITS, columns=True, realign=False)
        m.submodules.monitor = monitor = BusMonitor()
        m.submodules.watchdog = watchdog = Watchdog(TIMEOUT_BITS)
        m.submodules.planner = planner = Planner(config)
        m.submodules.lookup_port = lookup_port = LookupPort()
        m.submodules.events = events = Queue(CacheEvent, EVENTS)

        def fresh(name, component):
            m.submodules[name] = ResetInserter(~running)(component)
            if hasattr(component, "plan"):
                m.d.comb += component.plan.eq(planner.plan)
            return component

        check, walk = fresh("check", RowCheck(config)), fresh("walk", PlaceWalk(config))
        addresses, writes = fresh("addresses", SourceAddresses(config)), fresh(
            "writes", PageWrites(config, WRITE_BURST_BEATS))
        loader = fresh("loader", (SerialLoader if serial else SourceLoader)(config))
        store = fresh("store", (SerialStore if serial else RowStore)(config))
        reports, pieces = fresh("reports", Reports(config)), fresh("pieces", Queue(piece_layout(config), PIECES))
        # The walk goes on to a head's places only if the scales before them have somewhere to go.
        scales = fresh("scales", Queue(scales_layout, 2))
        items = fresh("items", Items(bus_bytes))
        guards = [fresh(f"{name}_guard", AddressGuard(
                      address_bits(config), config.windows, write=name == "write", window_width=addr_width))
                  for name in ("source", "table", "write")]
        for guard in guards:
            for index in range(config.windows):
                m.d.comb += [getattr(guard.windows[index], field).eq(getattr(self.windows[index], field))
                             for field in ("first", "last", "readable", "writable")]

        # The check comes first, the walk then: they share the table's reader and the lookup.
        for first, second, target in ((check.o_command, walk.o_command, guards[1].i),
                                      (check.o_request, walk.o_request, lookup_port.i)):
            m.d.comb += [target.payload.eq(Mux(check.done, second.payload, first.payload)),
                         target.valid.eq(Mux(check.done, second.valid, first.valid)),
                         first.ready.eq(target.ready & ~check.done), second.ready.eq(target.ready & check.done)]
        for source, first, second in ((items.o, check.i, walk.i_item), (lookup_port.o, check.i_answer, walk.i_answer)):
            m.d.comb += [first.payload.eq(source.payload), second.payload.eq(source.payload),
                         first.valid.eq(source.valid & ~check.done), second.valid.eq(source.valid & check.done),
                         # Who does not have its turn is not ready.
                         source.ready.eq(first.ready | second.ready)]
        m.d.comb += [walk.i_valid.eq(check.o_valid), walk.i_index.eq(check.o_index), walk.i.eq(check.o),
                     walk.go.eq(check.done), walk.geometry.eq(self.geometry)]
        wiring.connect(m, lookup_port.lookup, wiring.flipped(self.lookup))
        wiring.connect(m, wiring.flipped(self.found), lookup_port.found)

        # Commands: addresses -> guard -> bus. Data: bus -> loader -> store -> bus.
        wiring.connect(m, addresses.o_command, guards[0].i)
        asked = writes.o_command
        m.d.comb += [guards[2].i.valid.eq(asked.valid), asked.ready.eq(guards[2].i.ready),
                     guards[2].i.payload.addr.eq(asked.payload.addr), guards[2].i.payload.bytes.eq(asked.payload.bytes)]
        with m.If(guards[2].i.ready):
            # The guard holds one command; beside it, what it does not look at.
            m.d.sync += [writer.i_command.payload[name].eq(asked.payload[name]) for name in ("column", "low", "high")]
        for guard, target in zip(guards, (source_reader.i, table_reader.i, writer.i_command)):
            m.d.comb += [target.valid.eq(guard.o.valid), guard.o.ready.eq(target.ready),
                         target.payload.addr.eq(guard.o.payload.addr), target.payload.last.eq(guard.o.payload.last)]
        wiring.connect(m, table_reader.o, items.i)
        wiring.connect(m, source_reader.o, loader.i)
        wiring.connect(m, addresses.o_block, loader.i_block)
        wiring.connect(m, walk.o_scales, scales.i)
        wiring.connect(m, scales.o, loader.i_scales)
        wiring.connect(m, walk.o, writes.i)
        wiring.connect(m, writes.o_piece, pieces.i)
        wiring.connect(m, pieces.o, store.i_piece)
        wiring.connect(m, writes.o_report, reports.i)
        wiring.connect(m, reports.o, events.i)
        wiring.connect(m, events.o, wiring.flipped(self.event))
        m.d.comb += [
            store.i_valid.eq(loader.o_valid), store.i.eq(loader.o), loader.release.eq(store.release),
            # The writer takes whole beats, and knows from the command how many, and how much of the last.
            writer.i.valid.eq(store.o.valid), store.o.ready.eq(writer.i.ready),
            writer.i.payload.data.eq(store.o.payload), writer.i.payload.count.eq(bus_bytes),
            reports.failed.eq(writer.error.valid),
        ]
        # That a burst failed is known in the same cycle.
        m.d.sync += reports.answered.eq(self.bus.b.valid & self.bus.b.ready)
        for index, reader in enumerate(readers):
            wiring.connect(m, reader.port, mux.ports[index])
        for channel in ("ar", "r"):
            wiring.connect(m, getattr(mux.bus, channel), wiring.flipped(getattr(self.bus, channel)))
        for channel in ("aw", "w", "b"):
            wiring.connect(m, getattr(writer.port, channel), wiring.flipped(getattr(self.bus, channel)))
        m.d.comb += [
            monitor.listen(self.bus, self.bus), watchdog.limit.eq(self.bus_timeout),
            watchdog.waiting.eq(monitor.waiting),
            watchdog.progress.eq(monitor.progress), lookup_port.flush.eq(~running),
        ]

        m.submodules.control = control = JobControl(AppendDescriptor)
        idle = writer.idle & source_reader.idle & table_reader.idle & lookup_port.idle & (events.level == 0)
        at_work, finished, owes = Signal(), Signal(), Signal()
        m.d.sync += owes.eq(~idle)
        # What is over stays so to the job's end.
        m.d.sync += finished.eq(running & writes.done & ~guards[2].busy & writer.idle & reports.idle
                                & (events.level == 0))
        m.d.comb += [
            *(part.abort.eq(control.aborts) for part in (*readers, writer)),
            control.job.payload.eq(self.job.payload), control.job.valid.eq(self.job.valid),
            self.job.ready.eq(control.job.ready), planner.job.eq(control.held), planner.geometry.eq(self.geometry),
            control.bad.eq(planner.bad), control.field.eq(planner.field), running.eq(control.running),
            control.idle.eq(idle), control.expired.eq(watchdog.expired), control.abort.eq(self.abort),
            control.finished.eq(finished),
            control.read_beat.eq(monitor.read_beat), control.write_beat.eq(monitor.write_beat),
            control.events.sat_output.eq(loader.saturated), self.activity.eq(control.activity),
            self.busy.eq(at_work | owes),
        ]
        with m.If(self.job.valid & self.job.ready):
            m.d.sync += at_work.eq(1)
        with m.Elif(self.done.valid):
            m.d.sync += at_work.eq(0)
        wiring.connect(m, control.done, wiring.flipped(self.done))
        first_fault(m, [
            *((guard.fault.valid, code, guard.fault.addr) for guard, code in zip(
                guards, (StatusCode.GUARD_READ,) * READERS + (StatusCode.GUARD_WRITE,))),
            *bus_faults(readers, writer),
            *((part.fault.valid, part.fault.code, part.fault.address, part.fault.field) for part in (check, walk)),
        ], control.fault)
        return m
