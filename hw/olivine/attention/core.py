"""The attention engine alone: with an array of its own, one AXI4 master port."""

from amaranth.hdl import Module
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..control.job import Activity, JobStatus, Window
from ..kvcache.descriptor import CacheGeometry
from ..kvcache.lookup import CacheEvent, LookupAnswer, LookupRequest
from ..memory.axi import AXI4
from ..memory.join import BusJoin
from ..olive.shared import SharedArray
from .descriptor import AttentionDescriptor
from .engine import ID_BITS, TIMEOUT_BITS, AttentionEngine, check_config
from .steps import tile_tag

__all__ = ["AttentionCore"]


class AttentionCore(wiring.Component):
    """An `AttentionEngine` with an array of its own and one bus.

    Parameters
    ----------
    config : AcceleratorConfig
    controlled : bool
        With ports ``abort`` and ``rows_ready``; without, no job is given up and rows are always ready.

    Members
    -------
    job, done, windows, geometry, lookup, found, appending, event, bus_timeout, activity
        As of `AttentionEngine`.
    bus : Out(AXI4)
        IDs below 4 are those of the engine's ``bus``, 4 of its ``rows``.
    """

    def __init__(self, config, controlled=False):
        check_config(config)
        self.config, self.controlled = config, controlled
        super().__init__({
            "job": In(stream.Signature(AttentionDescriptor)), "done": Out(stream.Signature(JobStatus)),
            "windows": In(data.ArrayLayout(Window(config.addr_width), config.windows)),
            "bus_timeout": In(TIMEOUT_BITS), "activity": Out(Activity),
            "geometry": In(CacheGeometry), "lookup": Out(stream.Signature(LookupRequest)),
            "found": In(stream.Signature(LookupAnswer)), "appending": In(1),
            "event": Out(stream.Signature(CacheEvent)),
            "bus": Out(AXI4(config.addr_width, config.bus_bits, id_width=ID_BITS + 1)),
            **({"abort": In(1), "rows_ready": In(1)} if controlled else {}),
        })

    def elaborate(self, platform):
        m = Module()
        config = self.config
        m.submodules.engine = engine = AttentionEngine(config)
        m.submodules.array = array = SharedArray(config, [tile_tag(config)])
        m.submodules.join = join = BusJoin(config.addr_width, config.bus_bits, 2, ID_BITS)
        wiring.connect(m, engine.array, array.user_0)
        for name in ("job", "found"):
            wiring.connect(m, wiring.flipped(getattr(self, name)), getattr(engine, name))
        for name in ("done", "lookup", "event"):
            wiring.connect(m, getattr(engine, name), wiring.flipped(getattr(self, name)))
        wiring.connect(m, engine.bus, join.masters[0])
        wiring.connect(m, engine.rows, join.masters[1])
        wiring.connect(m, join.bus, wiring.flipped(self.bus))
        m.d.comb += [
            *(getattr(engine, name).eq(getattr(self, name)) for name in ("windows", "geometry", "appending",
                                                                         "bus_timeout")),
            engine.abort.eq(self.abort if self.controlled else 0),
            engine.rows_ready.eq(self.rows_ready if self.controlled else 1), self.activity.eq(engine.activity),
        ]
        return m
