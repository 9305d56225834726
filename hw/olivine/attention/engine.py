"""The attention engine: jobs in, statuses out; keys and values on one port, rows and results on another."""

from amaranth.hdl import Cat, Module, Mux, ResetInserter, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..control.job import Activity, JobStatus, StatusCode, Window, command
from ..control.lifecycle import JobControl, first_fault
from ..kvcache.descriptor import CacheGeometry
from ..kvcache.lookup import CacheEvent, EventKind, LookupAnswer, LookupRequest
from ..kvcache.lookup_port import LookupPort
from ..memory.axi import AXI4
from ..memory.faults import bus_faults
from ..memory.monitor import BusMonitor
from ..memory.mux import ReadMux
from ..memory.reader import BurstReader
from ..memory.watchdog import Watchdog
from ..memory.writer import BurstWriter
from ..olive.shared import ArrayPort, lend
from ..stream import Queue, Skid
from .datapath import Datapath
from .descriptor import BASE_BYTES, AttentionDescriptor
from .gate import CommandGate
from .hitters.layout import cell_chunk_layout
from .hitters.unit import HitterUnit
from .layout import CHUNKS
from .pages import PageAddresses, tile_layout
from .parts import PartAddresses, part_layout
from .plan import Planner, address_bits
from .queries import QueryAddresses
from .results import ResultBlocks
from .steps import tile_tag
from .table import ChunkFan, Elements, fetched_layout, ordered_layout
from .walk import TableWalk

__all__ = ["check_config", "AttentionEngine"]

TIMEOUT_BITS = 24
READERS = 4
"""Read streams: pages, queries, table, heavy hitters' records."""

ID_BITS = 2

# Reads in flight hide the memory's latency: 30 cycles and a burst, twice over.
PAGE_QUEUE_BEATS, PAGE_BURST_BEATS = 128, 32
QUERY_QUEUE_BEATS, QUERY_BURST_BEATS = 64, 16
TABLE_QUEUE_BEATS, TABLE_BURST_BEATS = 16, 8      # little, and long before its use
CELL_QUEUE_BEATS, CELL_BURST_BEATS = 16, 8         # a number a cycle, of two or four bytes
PAGES = 16
"""Pages whose addresses wait on chip: the time of as many is many times that of what comes between two chunks."""

EVENTS = 4
TILES = 16
"""Tiles that are asked for and not yet placed: more than the reader has in flight, but for the shortest."""


def check_config(config):
    """Raise ValueError if attention cannot be built for it."""
    if config.element != "folded":
        raise ValueError(f"element is {config.element!r}: attention needs 'folded'")
    if config.drain_columns != 1:
        raise ValueError(f"drain_columns is {config.drain_columns}: attention needs 1")
    if config.word_beats < 2:
        raise ValueError(f"bus_bits is {config.bus_bits}: attention needs at least two beats in a word of "
                         f"{config.lanes} lanes")


class AttentionEngine(wiring.Component):
    """Runs one `AttentionDescriptor` after another.

    Parameters
    ----------
    config : AcceleratorConfig
        With element ``folded``, one drained column a cycle, and tile words of at least two beats.

    Members
    -------
    job : In(stream(AttentionDescriptor)), done : Out(stream(JobStatus))
        A status for every job, in order. A job is accepted when the bus owes nothing any more.
    windows : In(ArrayLayout(Window, config.windows))
        Memory that the host opened; constant while a job runs.
    geometry : In(CacheGeometry), lookup : Out(stream(LookupRequest)), found : In(stream(LookupAnswer))
        The key-value cache, for cached jobs.
    appending : In(1)
        As of `SegmentWalk`.
    event : Out(stream(CacheEvent))
        What jobs over heavy hitters have done; some may come shortly after the job's status.
    bus_timeout : In(24)
        Silent cycles after which a job ends with TIMEOUT; 0 is never.
    activity : Out(Activity)
    abort : In(1)
        The job at work is given up, and ends with ABORTED when the bus owes nothing; without one, nothing happens.
    rows_ready : In(1)
        The rows are in memory; until then the job fetches all but them. Stays high to the job's end.
    yields : In(1)
        While high, and ``rows_ready`` is low, no further page is asked for: somebody else needs the bus now.
    bus : Out(AXI4)
        Reads with three IDs, 0 pages, 1 table, 2 records of cells; writes of records.
    rows : Out(AXI4)
        Queries or partial results, and results.
    array : Out(ArrayPort)

    A job that fails or is given up stops issuing, lets what is outstanding on the bus end, and then reports; on
    TIMEOUT it reports at once. Results already written stay; nothing outside the job's results is
    touched.

    Cycles of a job: about 300 and the latencies of three reads and one write more than the largest of its
    steps (d and a step a key, or L where those are fewer, for each page, context and pass), the beats it reads
    and the beats it writes.
    """

    def __init__(self, config):
        check_config(config)
        self.config = config
        super().__init__({
            "job": In(stream.Signature(AttentionDescriptor)), "done": Out(stream.Signature(JobStatus)),
            "windows": In(data.ArrayLayout(Window(config.addr_width), config.windows)),
            "bus_timeout": In(TIMEOUT_BITS),
            "activity": Out(Activity),
            "geometry": In(CacheGeometry), "lookup": Out(stream.Signature(LookupRequest)),
            "found": In(stream.Signature(LookupAnswer)), "appending": In(1),
            "event": Out(stream.Signature(CacheEvent)),
            "abort": In(1), "rows_ready": In(1), "yields": In(1),
            **{name: Out(AXI4(config.addr_width, config.bus_bits, id_width=ID_BITS)) for name in ("bus", "rows")},
            "array": Out(ArrayPort(config, tile_tag(config))),
        })

    def elaborate(self, platform):
        m = Module()
        config = self.config
        addr_width, bus_bytes = config.addr_width, config.bus_bytes
        running = Signal()

        # The bus side outlives a job: it ends what it began. Everything else starts afresh with each.
        serial = config.vector_cycles > 1
        readers = [
            BurstReader(addr_width, bus_bytes, 0, PAGE_QUEUE_BEATS, PAGE_BURST_BEATS, realign=False, id_width=ID_BITS,
                        max_outstanding=config.outstanding),
            BurstReader(addr_width, bus_bytes, 1, QUERY_QUEUE_BEATS, QUERY_BURST_BEATS, id_width=ID_BITS,
                        max_outstanding=config.outstanding, serial=serial),
            BurstReader(addr_width, bus_bytes, 2, TABLE_QUEUE_BEATS, TABLE_BURST_BEATS,
                        realign=bus_bytes > BASE_BYTES, id_width=ID_BITS, max_outstanding=config.outstanding,
                        serial=serial),
            BurstReader(addr_width, bus_bytes, 3, CELL_QUEUE_BEATS, CELL_BURST_BEATS, id_width=ID_BITS,
                        max_outstanding=config.outstanding, serial=serial),
        ]
        for name, reader in zip(("page", "query", "table", "cell"), readers):
            m.submodules[f"{name}_reader"] = reader
        page_reader, query_reader, table_reader, cell_reader = readers
        m.submodules.mux = mux = ReadMux(addr_width, config.bus_bits, READERS - 1, id_width=ID_BITS)
        m.submodules.writer = writer = BurstWriter(addr_width, bus_bytes, id_width=ID_BITS, columns=True)
        m.submodules.cell_writer = cell_writer = BurstWriter(
            addr_width, bus_bytes, CELL_QUEUE_BEATS, CELL_BURST_BEATS, id_width=ID_BITS)
        writers = writer, cell_writer
        m.submodules.monitor = monitor = BusMonitor()
        m.submodules.row_monitor = row_monitor = BusMonitor()
        m.submodules.watchdog = watchdog = Watchdog(TIMEOUT_BITS)
        m.submodules.planner = planner = Planner(config)

        def fresh(name, component):
            m.submodules[name] = ResetInserter(~running)(component)
            if hasattr(component, "plan"):
                m.d.comb += component.plan.eq(planner.plan)
            return component

        table, elements = fresh("table", TableWalk(config)), fresh("elements", Elements(bus_bytes))
        queries, pages = fresh("queries", QueryAddresses(config)), fresh("pages", PageAddresses(config))
        blocks, datapath = fresh("blocks", ResultBlocks(config)), fresh("datapath", Datapath(config))
        hitters = fresh("hitters", HitterUnit(config))
        log_lanes = config.lanes.bit_length() - 1
        fetched = fresh("fetched", Queue(fetched_layout(config), PAGES))
        met = fresh("met", Queue(ordered_layout(config), PAGES))
        tiles = fresh("tiles", Queue(tile_layout(config), TILES))
        width = address_bits(config)
        read_gate = fresh("read_gate", CommandGate(width, config.windows, False, addr_width, len(readers)))
        write_gate = fresh("write_gate", CommandGate(width, config.windows, True, addr_width, len(writers)))
        m.d.comb += [gate.windows.eq(self.windows) for gate in (read_gate, write_gate)]

        # Chunks wait here while a group's sums are loaded: pages are fetched meanwhile.
        waiting = fresh("waiting", Queue(cell_chunk_layout(config), CHUNKS))
        fan = fresh("fan", ChunkFan(config, 4))
        wiring.connect(m, table.o_chunk, fan.i)
        # A merge job fetches partial results; the others, pages and queries. Score jobs have no results.
        plan = planner.plan
        merge = Signal()        # long known when the first chunk comes
        m.d.sync += merge.eq(plan.merge)
        parts = fresh("parts", PartAddresses(config))
        for source, target, other in ((fan.o[0], pages.i, parts.i), (fan.o[1], queries.i, None),
                                      (fan.o[2], datapath.i_chunk, None), (fetched.o, pages.i_page, parts.i_page)):
            m.d.comb += [target.valid.eq(source.valid & ~merge),
                         source.ready.eq(Mux(merge, other.ready if other is not None else 1, target.ready))]
            if other is not None:
                m.d.comb += other.valid.eq(source.valid & merge)
            for taker in (target, other) if other is not None else (target,):
                m.d.comb += [taker.payload[name].eq(source.payload[name]) for name, _ in source.payload.shape()]
        m.d.comb += [blocks.i.payload.eq(fan.o[3].payload), blocks.i.valid.eq(fan.o[3].valid & ~plan.score),
                     fan.o[3].ready.eq(blocks.i.ready | plan.score)]
        # Every page goes to those who fetch it and to those who order the steps over it.
        unit, page = datapath.i_unit.payload, Signal(table.o_page.payload.shape(), reset_less=True)
        # That a page may leave the table is a register, and it enters a cycle later. Pages come every other cycle at
        # most, and one may be on its way: so one place of a queue stays free.
        may_page, enters = Signal(), Signal()
        left = table.o_page.valid & may_page
        m.d.sync += [page.eq(table.o_page.payload), enters.eq(left),
                     may_page.eq((fetched.level < PAGES - 1) & (met.level < PAGES - 1) & ~left)]
        m.d.comb += [
            *(fetched.i.payload[name].eq(page[name]) for name in ("addr", "keys")),
            *(met.i.payload[name].eq(page[name]) for name in ("keys", "segment")),
            met.i.payload.number.eq(page.position >> log_lanes),
            *(unit[name].eq(met.o.payload[name]) for name in ("keys", "segment")),
            unit.position.eq(met.o.payload.number << log_lanes),
            datapath.i_unit.valid.eq(met.o.valid), met.o.ready.eq(datapath.i_unit.ready),
            table.o_page.ready.eq(may_page), fetched.i.valid.eq(enters), met.i.valid.eq(enters & ~merge),
        ]

        # Commands: addresses -> guard -> bus. Data: bus -> datapath -> bus.
        rows_command = stream.Signature(command(width)).create()
        m.d.comb += [
            *(rows_command.payload[name].eq(Mux(merge, parts.o_command.payload[name], queries.o_command.payload[name]))
              for name in ("addr", "bytes")),
            rows_command.valid.eq(Mux(merge, parts.o_command.valid, queries.o_command.valid)),
            parts.o_command.ready.eq(rows_command.ready & merge),
            queries.o_command.ready.eq(rows_command.ready & ~merge),
        ]
        # The rarer first.
        reads = (
            (table.o_command, table_reader.i, 1), (rows_command, query_reader.i, self.rows_ready),
            (hitters.o_command, cell_reader.i, 1), (pages.o_command, page_reader.i, self.rows_ready | ~self.yields))
        writes = (blocks.o_command, writer.i_command, 1), (hitters.o_write_command, cell_writer.i_command, 1)
        for gate, ways in ((read_gate, reads), (write_gate, writes)):
            for (source, target, may), i, o in zip(ways, gate.i, gate.o):
                m.d.comb += [i.valid.eq(source.valid & may), source.ready.eq(i.ready & may),
                             target.valid.eq(o.valid), o.ready.eq(target.ready)]
                m.d.comb += [*(i.payload[name].eq(source.payload[name]) for name in ("addr", "bytes")),
                             *(target.payload[name].eq(o.payload[name]) for name in ("addr", "last"))]
        results_wait, cells_wait = write_gate.held
        with m.If(write_gate.i[0].ready):
            # Beside the gate, what it does not look at.
            m.d.sync += [writer.i_command.payload[name].eq(blocks.o_command.payload[name])
                         for name in ("column", "low", "high")]
        wiring.connect(m, table_reader.o, elements.i)
        wiring.connect(m, elements.o, table.i)
        wiring.connect(m, query_reader.o, datapath.i_query)
        for source, target in ((cell_reader.o, hitters.i), (hitters.o_write, cell_writer.i),
                               (table.o_group, hitters.i_group), (table.o_cells, waiting.i),
                               (waiting.o, hitters.i_chunk)):
            wiring.connect(m, source, target)
        # A lookup that a job began outlives it.
        m.submodules.lookup_port = lookup_port = LookupPort()
        wiring.connect(m, table.lookup, lookup_port.i)
        wiring.connect(m, lookup_port.o, table.found)
        wiring.connect(m, lookup_port.lookup, wiring.flipped(self.lookup))
        wiring.connect(m, wiring.flipped(self.found), lookup_port.found)
        m.d.comb += lookup_port.flush.eq(~running)
        wiring.connect(m, pages.o_tile, tiles.i)
        wiring.connect(m, tiles.o, datapath.i_tile)
        wiring.connect(m, queries.o_block, datapath.i_query_block)
        # When a record has ended is known late in a cycle.
        m.submodules.part = part = ResetInserter(~running)(Skid(part_layout(config)))
        wiring.connect(m, parts.o_part, part.i)
        wiring.connect(m, part.o, datapath.i_part)
        wiring.connect(m, blocks.o_block, datapath.i_result_block)
        wiring.connect(m, datapath.o, writer.i)
        m.d.comb += [
            datapath.i_page.valid.eq(page_reader.o.valid), datapath.i_page.payload.eq(page_reader.o.payload.data),
            page_reader.o.ready.eq(datapath.i_page.ready),
            datapath.params.eq(table.params), table.bounds_addr.eq(datapath.bounds_addr),
            datapath.bounds.eq(table.bounds),
            table.chunk_done.eq(Mux(plan.score, hitters.chunk_done, datapath.chunk_done)),
            table.geometry.eq(self.geometry), planner.geometry.eq(self.geometry), table.appending.eq(self.appending),
            table.mask_addr.eq(datapath.mask_addr), datapath.mask.eq(table.mask),
            table.tree_addr.eq(datapath.tree_addr), datapath.tree_column.eq(table.tree_column),
            hitters.cell_addr.eq(datapath.cell_addr), datapath.position.eq(hitters.position),
            datapath.loaded.eq(hitters.loaded), datapath.lse_ready.eq(hitters.lse_ready),
            datapath.cells_done.eq(hitters.chunk_done),
            hitters.cells.eq(plan.cells), hitters.hitters.eq(plan.hitters), hitters.score.eq(plan.score),
            hitters.i_score.eq(datapath.score), hitters.score_group.eq(datapath.score.tag.group),
            hitters.i_record_valid.eq(datapath.record_valid),
            hitters.i_record.eq(datapath.record), hitters.write_idle.eq(cell_writer.idle & ~cells_wait),
        ]
        for reader, port in zip((page_reader, table_reader, cell_reader), mux.ports):
            wiring.connect(m, reader.port, port)
        for port, source, channels in ((self.bus, mux.bus, ("ar", "r")), (self.bus, cell_writer.port, ("aw", "w", "b")),
                                       (self.rows, query_reader.port, ("ar", "r")),
                                       (self.rows, writer.port, ("aw", "w", "b"))):
            for channel in channels:
                wiring.connect(m, getattr(source, channel), wiring.flipped(getattr(port, channel)))
        lend(m, datapath.array, self.array, running)
        m.d.comb += [
            monitor.listen(self.bus, self.bus), row_monitor.listen(self.rows, self.rows),
            watchdog.limit.eq(self.bus_timeout), watchdog.waiting.eq(monitor.waiting | row_monitor.waiting),
            watchdog.progress.eq(monitor.progress | row_monitor.progress),
        ]

        m.submodules.control = control = JobControl(AttentionDescriptor)
        idle = Cat(part.idle for part in (*readers, *writers, lookup_port)).all()
        m.d.comb += [
            *(part.abort.eq(control.aborts) for part in (*readers, *writers)),
            control.job.payload.eq(self.job.payload), control.job.valid.eq(self.job.valid),
            self.job.ready.eq(control.job.ready), planner.job.eq(control.held),
            control.bad.eq(planner.bad), control.field.eq(planner.field), running.eq(control.running),
            control.idle.eq(idle), control.expired.eq(watchdog.expired), control.abort.eq(self.abort),
            control.read_beat.eq(monitor.read_beat + row_monitor.read_beat),
            control.write_beat.eq(monitor.write_beat + row_monitor.write_beat),
            control.events.eq(datapath.events), self.activity.eq(control.activity),
        ]
        # Whether all is done, and that something failed, is made of much, and both are told a cycle later. What failed
        # stays as it is meanwhile.
        m.d.sync += control.finished.eq(running & (blocks.done | plan.score) & ~results_wait & writer.idle
                                        & (~plan.cells | table.done & hitters.idle))
        faults = [
            (read_gate.fault.valid, StatusCode.GUARD_READ, read_gate.fault.addr),
            (write_gate.fault.valid, StatusCode.GUARD_WRITE, write_gate.fault.addr),
            *bus_faults(readers, *writers),
            (table.fault.valid, table.fault.code, table.fault.address, table.fault.field),
        ]
        failed = Signal(len(faults))
        m.d.sync += failed.eq(Cat(condition for condition, *_ in faults))
        first_fault(m, [(condition, *what) for condition, (_, *what) in zip(failed, faults)], control.fault)
        self._events(m, hitters, control)
        return m

    def _events(self, m, hitters, control):
        """What the cache is told outlives the job: the hitters' own events, and when the job ended and how. A job is
        reported when all of it is on its way."""
        m.submodules.events = events = Queue(CacheEvent, EVENTS)
        wiring.connect(m, events.o, wiring.flipped(self.event))
        was_running, fine, ended, failed, told = Signal(), Signal(), Signal(), Signal(), Signal()
        m.d.sync += [was_running.eq(control.running),
                     fine.eq(control.finished & ~control.fault.valid & ~control.expired),
                     # A register, as the job's end waits for it.
                     told.eq(~(control.running | was_running | ended | events.o.valid))]
        m.d.comb += [self.done.payload.eq(control.done.payload), self.done.valid.eq(control.done.valid & told),
                     control.done.ready.eq(self.done.ready & told)]
        with m.If(was_running & ~control.running):
            m.d.sync += [ended.eq(control.held.hitters), failed.eq(~fine)]
        with m.If(ended):
            m.d.comb += [events.i.valid.eq(1), events.i.payload.kind.eq(EventKind.ENDED),
                         events.i.payload.failed.eq(failed)]
            with m.If(events.i.ready):
                m.d.sync += ended.eq(0)
        with m.Else():
            m.d.comb += [events.i.valid.eq(hitters.event.valid & control.running),
                         events.i.payload.eq(hitters.event.payload), hitters.event.ready.eq(events.i.ready)]
