"""The linear engine: jobs in, statuses out; weights on one port, rows and results on another."""

from amaranth.hdl import Module, ResetInserter, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..control.job import Activity, JobStatus, StatusCode, Window
from ..control.lifecycle import JobControl, first_fault
from ..memory.axi import AXI4, ReadPort
from ..memory.faults import bus_faults
from ..memory.guard import AddressGuard
from ..memory.monitor import BusMonitor
from ..memory.reader import BurstReader
from ..memory.watchdog import Watchdog
from ..memory.writer import BurstWriter
from ..olive.shared import ArrayPort, lend
from .datapath import Datapath
from .descriptor import LinearDescriptor
from .plan import Planner, address_bits
from .results import ResultBlocks
from .rows import RowAddresses
from .sequencer import tile_tag
from .weights import WeightAddresses

__all__ = ["LinearEngine"]

TIMEOUT_BITS = 24

# Reads in flight hide the memory's latency: 30 cycles and a burst, twice over.
WEIGHT_QUEUE_BEATS, WEIGHT_BURST_BEATS = 128, 32
ROW_QUEUE_BEATS, ROW_BURST_BEATS = 128, 32


class LinearEngine(wiring.Component):
    """Runs one `LinearDescriptor` after another.

    Parameters
    ----------
    config : AcceleratorConfig

    Members
    -------
    job : In(stream(LinearDescriptor)), done : Out(stream(JobStatus))
        A status for every job, in order. A job is accepted when the bus owes nothing any more.
    windows : In(ArrayLayout(Window, config.windows))
        Memory that the host opened; constant while a job runs.
    bus_timeout : In(24)
        Silent cycles after which a job ends with TIMEOUT; 0 is never.
    abort : In(1)
        The job at work is given up, and ends with ABORTED when the bus owes nothing; without one, nothing happens.
    rows_ready : In(1)
        The rows are in memory; until then the job fetches weights only. Stays high to the job's end.
    activity : Out(Activity)
    weights : Out(ReadPort), rows : Out(AXI4)
        Weights; rows and results.
    array : Out(ArrayPort)

    A job that fails or is given up stops issuing, lets what is outstanding on the bus end, and then reports; on
    TIMEOUT it reports at once. Results already written stay; nothing outside the job's results is
    touched.

    Cycles of a job: about 100 and the latencies of one read and one write more than the largest of its
    steps (M / P rounded up, times K, for each panel), the beats it reads and the beats it writes (on
    `edge`; the last drain takes L of them). A chunk whose first pass is bound by the bus adds its wait.
    """

    def __init__(self, config):
        self.config = config
        super().__init__({
            "job": In(stream.Signature(LinearDescriptor)), "done": Out(stream.Signature(JobStatus)),
            "windows": In(data.ArrayLayout(Window(config.addr_width), config.windows)),
            "bus_timeout": In(TIMEOUT_BITS),
            "abort": In(1), "rows_ready": In(1), "activity": Out(Activity),
            "weights": Out(ReadPort(config.addr_width, config.bus_bits)),
            "rows": Out(AXI4(config.addr_width, config.bus_bits)), "array": Out(ArrayPort(config, tile_tag(config))),
        })

    def elaborate(self, platform):
        m = Module()
        config = self.config
        addr_width, bus_bytes = config.addr_width, config.bus_bytes
        running = Signal()

        # The bus side outlives a job: it ends what it began. Everything else starts afresh with each.
        m.submodules.weight_reader = weight_reader = BurstReader(
            addr_width, bus_bytes, 0, WEIGHT_QUEUE_BEATS, WEIGHT_BURST_BEATS, realign=False,
            max_outstanding=config.outstanding)
        m.submodules.row_reader = row_reader = BurstReader(
            addr_width, bus_bytes, 1, ROW_QUEUE_BEATS, ROW_BURST_BEATS, realign=True,
            max_outstanding=config.outstanding, serial=config.vector_cycles > 1)
        m.submodules.writer = writer = BurstWriter(addr_width, bus_bytes)
        m.submodules.weight_monitor = weight_monitor = BusMonitor()
        m.submodules.monitor = monitor = BusMonitor()
        m.submodules.watchdog = watchdog = Watchdog(TIMEOUT_BITS)
        m.submodules.planner = planner = Planner(config)

        def fresh(component):
            return ResetInserter(~running)(component)

        weight_addresses, row_addresses = WeightAddresses(config), RowAddresses(config)
        result_blocks, datapath = ResultBlocks(config), Datapath(config)
        weight_guard = AddressGuard(address_bits(config), config.windows, write=False, window_width=addr_width)
        row_guard = AddressGuard(address_bits(config), config.windows, write=False, window_width=addr_width)
        write_guard = AddressGuard(address_bits(config), config.windows, write=True, window_width=addr_width)
        for name, part in (("weight_addresses", weight_addresses), ("row_addresses", row_addresses),
                           ("result_blocks", result_blocks), ("datapath", datapath), ("weight_guard", weight_guard),
                           ("row_guard", row_guard), ("write_guard", write_guard)):
            m.submodules[name] = fresh(part)
            if hasattr(part, "plan"):
                m.d.comb += part.plan.eq(planner.plan)
        for guard in (weight_guard, row_guard, write_guard):
            for index in range(config.windows):
                m.d.comb += [getattr(guard.windows[index], field).eq(getattr(self.windows[index], field))
                             for field in ("first", "last", "readable", "writable")]

        # Commands: addresses -> guard -> bus. Data: bus -> datapath -> bus.
        wiring.connect(m, weight_addresses.o, weight_guard.i)
        wiring.connect(m, row_addresses.o_command, row_guard.i)
        wiring.connect(m, result_blocks.o_command, write_guard.i)
        for guard, target in ((weight_guard, weight_reader.i), (row_guard, row_reader.i),
                              (write_guard, writer.i_command)):
            may = self.rows_ready if guard is row_guard else 1
            m.d.comb += [target.valid.eq(guard.o.valid & may), guard.o.ready.eq(target.ready & may),
                         target.payload.addr.eq(guard.o.payload.addr), target.payload.last.eq(guard.o.payload.last)]
        wiring.connect(m, row_addresses.o_block, datapath.i_row_block)
        wiring.connect(m, result_blocks.o_block, datapath.i_result_block)
        wiring.connect(m, row_reader.o, datapath.i_row)
        wiring.connect(m, datapath.o, writer.i)
        m.d.comb += [datapath.i_weight.valid.eq(weight_reader.o.valid),
                     datapath.i_weight.payload.eq(weight_reader.o.payload.data),
                     weight_reader.o.ready.eq(datapath.i_weight.ready)]
        wiring.connect(m, weight_reader.port, wiring.flipped(self.weights))
        for part, channels in ((row_reader, ("ar", "r")), (writer, ("aw", "w", "b"))):
            for channel in channels:
                wiring.connect(m, getattr(part.port, channel), wiring.flipped(getattr(self.rows, channel)))
        lend(m, datapath.array, self.array, running)
        m.d.comb += [
            weight_monitor.listen(self.weights), monitor.listen(self.rows, self.rows),
            watchdog.limit.eq(self.bus_timeout), watchdog.waiting.eq(monitor.waiting | weight_monitor.waiting),
            watchdog.progress.eq(monitor.progress | weight_monitor.progress),
        ]
        m.submodules.control = control = JobControl(LinearDescriptor)
        m.d.comb += [
            *(part.abort.eq(control.aborts) for part in (weight_reader, row_reader, writer)),
            control.job.payload.eq(self.job.payload), control.job.valid.eq(self.job.valid),
            self.job.ready.eq(control.job.ready), planner.job.eq(control.held),
            control.bad.eq(planner.bad), control.field.eq(planner.field), running.eq(control.running),
            control.idle.eq(weight_reader.idle & row_reader.idle & writer.idle), control.expired.eq(watchdog.expired),
            control.abort.eq(self.abort),
            control.finished.eq(result_blocks.done & ~write_guard.busy & writer.idle),
            control.read_beat.eq(monitor.read_beat + weight_monitor.read_beat),
            control.write_beat.eq(monitor.write_beat),
            self.activity.eq(control.activity),
            *(control.events[name].eq(getattr(datapath, name)) for name in (
                "step", "stall", "drain", "useful", "sat_row", "sat_sum", "sat_output", "illegal")),
        ]
        wiring.connect(m, control.done, wiring.flipped(self.done))
        first_fault(m, [
            *((guard.fault.valid, code, guard.fault.addr)
              for guard, code in ((weight_guard, StatusCode.GUARD_READ), (row_guard, StatusCode.GUARD_READ),
                                  (write_guard, StatusCode.GUARD_WRITE))),
            *bus_faults((weight_reader, row_reader), writer),
        ], control.fault)
        return m
