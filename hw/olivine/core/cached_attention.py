"""Attention with its key-value cache: every job of the two on one stream, one AXI4 master port."""

from amaranth.hdl import Module
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..attention.engine import ID_BITS, TIMEOUT_BITS
from ..attention.steps import tile_tag
from ..control.job import Activity, JobStatus, Window
from ..memory.axi import AXI4
from ..memory.join import BusJoin
from ..olive.shared import SharedArray
from .cached_engines import CachedEngines
from .descriptor import JOB_BITS
from .dispatch import Dispatcher

__all__ = ["CachedAttention"]

MASTERS = 4
"""On the bus, from the high bits of an ID: attention's pages and records, append, mover, attention's rows."""


class CachedAttention(wiring.Component):
    """Runs attention, merge, score, append, cache and setup jobs.

    Members
    -------
    job : In(stream(256)), done : Out(stream(JobStatus))
        See `Dispatcher` for which jobs run side by side; statuses in the order of the jobs.
    windows : In(ArrayLayout(Window, config.windows)), bus_timeout : In(24)
        As of the engines.
    activity : Out(Activity)
        Of the attention engine, with the beats of all.
    bus : Out(AXI4)
    """

    def __init__(self, config):
        self.config = config
        self.id_width = ID_BITS + (MASTERS - 1).bit_length()
        super().__init__({
            "job": In(stream.Signature(JOB_BITS)), "done": Out(stream.Signature(JobStatus)),
            "windows": In(data.ArrayLayout(Window(config.addr_width), config.windows)),
            "bus_timeout": In(TIMEOUT_BITS), "activity": Out(Activity),
            "bus": Out(AXI4(config.addr_width, config.bus_bits, id_width=self.id_width)),
        })

    def elaborate(self, platform):
        m = Module()
        config = self.config
        m.submodules.dispatcher = dispatcher = Dispatcher()
        m.submodules.engines = engines = CachedEngines(config)
        m.submodules.join = join = BusJoin(config.addr_width, config.bus_bits, MASTERS, ID_BITS)
        m.submodules.array = array = SharedArray(config, [tile_tag(config)])
        wiring.connect(m, wiring.flipped(self.job), dispatcher.job)
        wiring.connect(m, dispatcher.done, wiring.flipped(self.done))
        for name in ("attention", "append", "operation"):
            wiring.connect(m, getattr(dispatcher, name), getattr(engines, name))
            wiring.connect(m, getattr(engines, f"{name}_done"), getattr(dispatcher, f"{name}_done"))
        for port, master in zip((engines.pages, engines.source, engines.moves, engines.rows), join.masters):
            wiring.connect(m, port, master)
        wiring.connect(m, join.bus, wiring.flipped(self.bus))
        wiring.connect(m, engines.array, array.user_0)
        m.d.comb += [
            engines.windows.eq(self.windows), engines.bus_timeout.eq(self.bus_timeout), engines.rows_ready.eq(1),
            dispatcher.quiet.eq(engines.quiet), dispatcher.settled.eq(engines.settled),
            *(self.activity[name].eq(engines.activity[name]) for name, _ in Activity
              if name not in ("read_beat", "write_beat")),
        ]
        m.d.sync += [self.activity.read_beat.eq(self.bus.r.valid & self.bus.r.ready),
                     self.activity.write_beat.eq(self.bus.w.valid & self.bus.w.ready)]
        return m
