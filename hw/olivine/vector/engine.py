"""The vector engine: jobs in, statuses out, one AXI4 master port."""

from amaranth.hdl import Module, Mux, ResetInserter, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..control.job import Activity, JobStatus, StatusCode, Window, command
from ..control.lifecycle import JobControl, first_fault
from ..linear.plan import ADDRESS_BITS
from ..memory.axi import AXI4
from ..memory.faults import bus_faults
from ..memory.guard import AddressGuard
from ..memory.monitor import BusMonitor
from ..memory.mux import ReadMux
from ..memory.reader import BurstReader
from ..memory.watchdog import Watchdog
from ..memory.writer import BurstWriter
from .datapath import Datapath
from .descriptor import VectorDescriptor
from .gather import SegmentReads
from .passes import WRITE_BURST_BEATS, PassWalk
from .plan import Planner, address_bits, plan_layout
from .transposer import ElementTransposer, Transposer

__all__ = ["ID_BITS", "TableReads", "VectorEngine"]

TIMEOUT_BITS = 24
ID_BITS = 2
READERS = 3
"""Read streams, by ID: x and tables, r, parameters and indices."""

# Reads in flight hide the memory's latency: 30 cycles and a burst, twice over.
ROW_QUEUE_BEATS, ROW_BURST_BEATS = 128, 32
PARAMETER_QUEUE_BEATS, PARAMETER_BURST_BEATS = 64, 16


class TableReads(wiring.Component):
    """Asks for what a job has at ``t``, once for each row group: the norm's parameters, or the group's indices.

    Members
    -------
    plan : In
    o : Out(stream(command))

    Starts by itself after reset.
    """

    def __init__(self, config):
        self.config = config
        super().__init__({"plan": In(plan_layout(config)), "o": Out(stream.Signature(command(ADDRESS_BITS)))})

    def elaborate(self, platform):
        m = Module()
        plan, job = self.plan, self.plan.job
        log_bus = self.config.bus_bytes.bit_length() - 1
        asked, begun, place = Signal.like(job.groups), Signal(), Signal(address_bits(self.config) - log_bus)
        here = Mux(begun, place, job.t[log_bus:])
        m.d.comb += [self.o.valid.eq(plan.reads_t & (asked != job.groups)), self.o.payload.addr.eq(here << log_bus),
                     self.o.payload.bytes.eq(plan.t_bytes)]
        with m.If(self.o.valid & self.o.ready):
            # Indices of a row group are two beats.
            m.d.sync += [asked.eq(asked + 1), place.eq(here + 2), begun.eq(plan.op.gather)]
        return m


class VectorEngine(wiring.Component):
    """Runs one `VectorDescriptor` after another.

    ::

        PassWalk -+-> reads of x and r -> guard -> BurstReaders -+-------------+
                  |   SegmentReads -------+           | indices  |             v
                  |   TableReads -> guard -> BurstReader         +-> Transposer -> Datapath -> beats
                  |                                                                           v
                  +-> writes -> guard -----------------------------------------------> BurstWriter
                  ^                                                                       | responses
                  +-----------------------------------------------------------------------+

    Parameters
    ----------
    config : AcceleratorConfig
        A word of P int16 must be a beat: ``bus_bytes == 2 * rows``.

    Members
    -------
    job : In(stream(VectorDescriptor)), done : Out(stream(JobStatus))
        A status for every job, in order. A job is accepted when the bus owes nothing any more.
    windows : In(ArrayLayout(Window, config.windows))
        Memory that the host opened; constant while a job runs.
    bus_timeout : In(24)
        Silent cycles after which a job ends with TIMEOUT; 0 is never.
    rows_ready : In(1)
        The rows are in memory; until then the job fetches norm parameters only. Stays high to the job's end.
    abort : In(1)
        The job is given up, if one runs: it ends with ABORTED.
    activity : Out(Activity)
        ``busy``, ``read_beat``, ``write_beat``.
    bus : Out(AXI4)
        Reads with three IDs: 0 x and tables, 1 r, 2 norm parameters and indices; writes with one.

    A job that fails or is given up stops issuing, lets what is outstanding on the bus end, and then reports; on TIMEOUT
    it reports at once. Results already written stay, nothing outside the job's results is touched; residuals may be
    updated in part. What reads another job's result must wait for its status.

    Tallies: ``sat_output``, results outside their format; ``sat_sum``, sums of residuals outside 24 bits. Addends of
    16 bits cannot saturate.
    """

    def __init__(self, config):
        if config.bus_bytes != 2 * config.rows:
            raise ValueError(f"bus_bits is {config.bus_bits}: the vector engine needs beats of {config.rows} rows in "
                             f"16 bits, {16 * config.rows}")
        self.config = config
        super().__init__({
            "job": In(stream.Signature(VectorDescriptor)), "done": Out(stream.Signature(JobStatus)),
            "windows": In(data.ArrayLayout(Window(config.addr_width), config.windows)),
            "bus_timeout": In(TIMEOUT_BITS), "rows_ready": In(1), "abort": In(1), "activity": Out(Activity),
            "bus": Out(AXI4(config.addr_width, config.bus_bits, id_width=ID_BITS)),
        })

    def elaborate(self, platform):
        m = Module()
        config = self.config
        addr_width, bus_bytes = config.addr_width, config.bus_bytes
        running = Signal()

        # The bus side outlives a job: it ends what it began. The rest starts afresh with each.
        readers = [BurstReader(addr_width, bus_bytes, index, depth, burst, realign=False, id_width=ID_BITS,
                               max_outstanding=config.outstanding)
                   for index, (depth, burst) in enumerate((
                       (ROW_QUEUE_BEATS, ROW_BURST_BEATS), (ROW_QUEUE_BEATS, ROW_BURST_BEATS),
                       (PARAMETER_QUEUE_BEATS, PARAMETER_BURST_BEATS)))]
        x_reader, r_reader, t_reader = readers
        m.submodules.x_reader, m.submodules.r_reader, m.submodules.t_reader = readers
        m.submodules.mux = mux = ReadMux(addr_width, config.bus_bits, READERS, id_width=ID_BITS)
        m.submodules.writer = writer = BurstWriter(
            addr_width, bus_bytes, max_burst_beats=WRITE_BURST_BEATS, id_width=ID_BITS, columns=True, realign=False)
        m.submodules.monitor = monitor = BusMonitor()
        m.submodules.watchdog = watchdog = Watchdog(TIMEOUT_BITS)
        m.submodules.planner = planner = Planner(config)

        def fresh(name, component):
            m.submodules[name] = ResetInserter(~running)(component)
            if hasattr(component, "plan"):
                m.d.comb += component.plan.eq(planner.plan)
            return component

        walk, tables = fresh("walk", PassWalk(config)), fresh("tables", TableReads(config))
        segments = fresh("segments", SegmentReads(config))
        transposer = fresh("transposer", (Transposer if config.vector_lanes > 1 else ElementTransposer)(config))
        datapath = fresh("datapath", Datapath(config))
        guards = [fresh(f"{name}_guard", AddressGuard(
                      ADDRESS_BITS, config.windows, write=name == "write", window_width=addr_width))
                  for name in ("row", "table", "write")]
        row_guard, table_guard, write_guard = guards
        for guard in guards:
            for index in range(config.windows):
                m.d.comb += [getattr(guard.windows[index], field).eq(getattr(self.windows[index], field))
                             for field in ("first", "last", "readable", "writable")]
        # Of words and commands one register chooses, and another one of what is valid and ready: much hangs on either.
        gathers, gathering = Signal(), planner.plan.op.gather
        m.d.sync += gathers.eq(gathering)

        # Commands of x and r share a guard, which holds one at a time; beside it, whose it is.
        to_r = Signal()
        m.d.comb += [
            row_guard.i.valid.eq(Mux(gathering, segments.o_command.valid, walk.o_row.valid)),
            row_guard.i.payload.eq(Mux(gathers, segments.o_command.payload, walk.o_row.payload.command)),
            walk.o_row.ready.eq(row_guard.i.ready & ~gathering),
            segments.o_command.ready.eq(row_guard.i.ready & gathering),
        ]
        with m.If(row_guard.i.ready):
            m.d.sync += to_r.eq(walk.o_row.payload.to_r & ~gathering)
        wiring.connect(m, tables.o, table_guard.i)
        asked = walk.o_write
        m.d.comb += [write_guard.i.valid.eq(asked.valid), asked.ready.eq(write_guard.i.ready),
                     write_guard.i.payload.addr.eq(asked.payload.addr),
                     write_guard.i.payload.bytes.eq(asked.payload.bytes)]
        with m.If(write_guard.i.ready):
            m.d.sync += [writer.i_command.payload[name].eq(asked.payload[name]) for name in ("column", "low", "high")]
        for guard, target, may in (
                (row_guard, x_reader.i, self.rows_ready & ~to_r), (row_guard, r_reader.i, self.rows_ready & to_r),
                (table_guard, t_reader.i, self.rows_ready | ~gathering), (write_guard, writer.i_command, 1)):
            m.d.comb += [target.valid.eq(guard.o.valid & may), target.payload.addr.eq(guard.o.payload.addr),
                         target.payload.last.eq(guard.o.payload.last)]
            with m.If(may):
                m.d.comb += guard.o.ready.eq(target.ready)

        # Data: bus -> datapath -> bus; a table's rows are transposed, and their indices come before.
        wiring.connect(m, segments.o_segment, transposer.i_segment)
        wiring.connect(m, r_reader.o, datapath.i_r)
        wiring.connect(m, walk.o, datapath.i_pass)
        wiring.connect(m, datapath.o, writer.i)
        for source, gathered, target in ((x_reader.o, transposer.i, None), (t_reader.o, segments.i, datapath.i_t)):
            plain = datapath.i_x if target is None else target
            m.d.comb += [gathered.payload.eq(source.payload), gathered.valid.eq(source.valid & gathering),
                         source.ready.eq(Mux(gathering, gathered.ready, plain.ready))]
        m.d.comb += [
            datapath.i_t.payload.eq(t_reader.o.payload), datapath.i_t.valid.eq(t_reader.o.valid & ~gathering),
            datapath.i_x.payload.eq(Mux(gathers, transposer.o.payload, x_reader.o.payload)),
            datapath.i_x.valid.eq(transposer.o.valid | (x_reader.o.valid & ~gathering)),
            transposer.o.ready.eq(datapath.i_x.ready),
            walk.answered.eq(self.bus.b.valid & self.bus.b.ready),
        ]
        for index, reader in enumerate(readers):
            wiring.connect(m, reader.port, mux.ports[index])
        for part, channels in ((mux.bus, ("ar", "r")), (writer.port, ("aw", "w", "b"))):
            for channel in channels:
                wiring.connect(m, getattr(part, channel), wiring.flipped(getattr(self.bus, channel)))
        m.d.comb += [
            monitor.listen(self.bus, self.bus), watchdog.limit.eq(self.bus_timeout),
            watchdog.waiting.eq(monitor.waiting), watchdog.progress.eq(monitor.progress),
        ]

        m.submodules.control = control = JobControl(VectorDescriptor)
        m.d.comb += [
            *(part.abort.eq(control.aborts) for part in (*readers, writer)),
            control.job.payload.eq(self.job.payload), control.job.valid.eq(self.job.valid),
            self.job.ready.eq(control.job.ready), planner.job.eq(control.held),
            planner.offered.eq(self.job.payload), planner.take.eq(self.job.valid & self.job.ready),
            control.bad.eq(planner.bad), control.field.eq(planner.field), running.eq(control.running),
            control.idle.eq(writer.idle & x_reader.idle & r_reader.idle & t_reader.idle),
            control.expired.eq(watchdog.expired), control.abort.eq(self.abort),
            control.read_beat.eq(monitor.read_beat), control.write_beat.eq(monitor.write_beat),
            control.events.sat_output.eq(datapath.sat_output), control.events.sat_sum.eq(datapath.sat_sum),
            self.activity.eq(control.activity),
        ]
        # What is over stays so to the job's end.
        m.d.sync += control.finished.eq(running & datapath.done & ~write_guard.busy & writer.idle)
        wiring.connect(m, control.done, wiring.flipped(self.done))
        first_fault(m, [
            *((guard.fault.valid, code, guard.fault.addr) for guard, code in zip(guards, (
                StatusCode.GUARD_READ, StatusCode.GUARD_READ, StatusCode.GUARD_WRITE))),
            *bus_faults(readers, writer),
        ], control.fault)
        return m
