"""The linear engine alone: with an array of its own, one AXI4 master port."""

from amaranth.hdl import Module
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..control.job import Activity, JobStatus, Window
from ..memory.axi import AXI4
from ..memory.mux import ReadMux
from ..olive.shared import SharedArray
from .descriptor import LinearDescriptor
from .engine import TIMEOUT_BITS, LinearEngine
from .sequencer import tile_tag

__all__ = ["LinearCore"]


class LinearCore(wiring.Component):
    """A `LinearEngine` with an array of its own and one bus.

    Parameters
    ----------
    config : AcceleratorConfig
    controlled : bool
        With ports ``abort`` and ``rows_ready``; without, no job is given up and rows are always ready.

    Members
    -------
    job, done, windows, bus_timeout, activity
        As of `LinearEngine`.
    bus : Out(AXI4)
        Reads with two IDs, 0 weights and 1 rows; writes with one.
    """

    def __init__(self, config, controlled=False):
        self.config, self.controlled = config, controlled
        super().__init__({
            "job": In(stream.Signature(LinearDescriptor)), "done": Out(stream.Signature(JobStatus)),
            "windows": In(data.ArrayLayout(Window(config.addr_width), config.windows)),
            "bus_timeout": In(TIMEOUT_BITS), "activity": Out(Activity),
            "bus": Out(AXI4(config.addr_width, config.bus_bits, id_width=1)),
            **({"abort": In(1), "rows_ready": In(1)} if controlled else {}),
        })

    def elaborate(self, platform):
        m = Module()
        config = self.config
        m.submodules.engine = engine = LinearEngine(config)
        m.submodules.array = array = SharedArray(config, [tile_tag(config)])
        m.submodules.mux = mux = ReadMux(config.addr_width, config.bus_bits, 2)
        wiring.connect(m, engine.array, array.user_0)
        wiring.connect(m, wiring.flipped(self.job), engine.job)
        wiring.connect(m, engine.done, wiring.flipped(self.done))
        wiring.connect(m, engine.weights, mux.ports[0])
        for channel in ("ar", "r"):
            wiring.connect(m, getattr(engine.rows, channel), getattr(mux.ports[1], channel))
            wiring.connect(m, getattr(mux.bus, channel), wiring.flipped(getattr(self.bus, channel)))
        for channel in ("aw", "w", "b"):
            wiring.connect(m, getattr(engine.rows, channel), wiring.flipped(getattr(self.bus, channel)))
        m.d.comb += [engine.windows.eq(self.windows), engine.bus_timeout.eq(self.bus_timeout),
                     engine.abort.eq(self.abort if self.controlled else 0),
                     engine.rows_ready.eq(self.rows_ready if self.controlled else 1), self.activity.eq(engine.activity)]
        return m
