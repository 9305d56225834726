"""Attention with its key-value cache: every job of the two on one stream, one AXI4 master port."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..attention.engine import ID_BITS, TIMEOUT_BITS, AttentionEngine
from ..attention.sequencer import tile_tag
from ..control.job import Activity, JobStatus, Window
from ..kvcache.append.engine import AppendEngine
from ..kvcache.controller import CacheController
from ..kvcache.lookup import CacheEvent, LookupRequest
from ..kvcache.mover import BlockMover
from ..memory.axi import AXI4
from ..memory.join import BusJoin
from ..olive.shared import SharedArray
from ..stream import Arbiter, Queue
from .descriptor import JOB_BITS
from .dispatch import Dispatcher

__all__ = ["CachedAttention"]

MASTERS = 4
"""On the bus, from the high bits of an ID: attention's pages and records, append, mover, attention's rows."""

SETTLED = 8
"""Cycles after which an event that was taken is known to everyone who asks."""


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
        m.submodules.attention = attention = AttentionEngine(config)
        m.submodules.append = append = AppendEngine(config)
        m.submodules.controller = controller = CacheController(config)
        m.submodules.mover = mover = BlockMover(config)
        m.submodules.join = join = BusJoin(config.addr_width, config.bus_bits, MASTERS, ID_BITS)

        # Jobs and statuses.
        wiring.connect(m, wiring.flipped(self.job), dispatcher.job)
        wiring.connect(m, dispatcher.done, wiring.flipped(self.done))
        for source, target in ((dispatcher.attention, attention.job), (dispatcher.append, append.job),
                               (dispatcher.command, controller.command), (attention.done, dispatcher.attention_done),
                               (append.done, dispatcher.append_done), (controller.answer, dispatcher.answer),
                               (controller.o_move, mover.i), (mover.o, controller.i_moved)):
            m.d.comb += [target.payload.eq(source.payload), target.valid.eq(source.valid),
                         source.ready.eq(target.ready)]

        # What the engines ask the cache, one question of each at a time; whose it is waits for the answer.
        m.submodules.questions = questions = Arbiter(LookupRequest, 2)
        m.submodules.askers = askers = Queue(1, 4)
        engines = attention, append
        for index, engine in enumerate(engines):
            wiring.connect(m, engine.lookup, questions.i[index])
            m.d.comb += [engine.found.payload.eq(controller.found.payload),
                         engine.found.valid.eq(controller.found.valid & askers.o.valid & (askers.o.payload == index))]
        m.d.comb += [
            controller.lookup.payload.eq(questions.o.payload.payload),
            controller.lookup.valid.eq(questions.o.valid & askers.i.ready),
            questions.o.ready.eq(controller.lookup.ready & askers.i.ready),
            askers.i.payload.eq(questions.o.payload.source),
            askers.i.valid.eq(questions.o.valid & controller.lookup.ready),
            askers.o.ready.eq(controller.found.valid & controller.found.ready),
            controller.found.ready.eq(Cat(engine.found.valid & engine.found.ready for engine in engines).any()),
        ]

        # What the engines have done.
        m.submodules.news = news = Arbiter(CacheEvent, 2)
        for index, engine in enumerate(engines):
            wiring.connect(m, engine.event, news.i[index])
        m.d.comb += [controller.event.payload.eq(news.o.payload.payload), controller.event.valid.eq(news.o.valid),
                     news.o.ready.eq(controller.event.ready)]
        recent = Signal(SETTLED)
        told = news.o.valid | Cat(engine.event.valid for engine in engines).any()
        m.d.sync += recent.eq(Cat(told, recent))
        m.d.comb += [
            dispatcher.settled.eq(mover.idle),
            dispatcher.quiet.eq(~(told | recent.any() | append.busy | attention.activity.busy)),
            attention.appending.eq(append.busy | append.job.valid | told | recent.any()),
        ]

        for part in (attention, append, controller, mover):
            m.d.comb += part.geometry.eq(dispatcher.geometry)
        for part in (attention, append, mover):
            for index in range(config.windows):
                m.d.comb += [getattr(part.windows[index], field).eq(getattr(self.windows[index], field))
                             for field in ("first", "last", "readable", "writable")]
            m.d.comb += part.bus_timeout.eq(self.bus_timeout)

        # The bus.
        for port, master in zip((attention.bus, append.bus, mover.bus, attention.rows), join.masters):
            wiring.connect(m, port, master)
        m.submodules.array = array = SharedArray(config, [tile_tag(config)])
        wiring.connect(m, attention.array, array.user_0)
        m.d.comb += attention.rows_ready.eq(1)
        wiring.connect(m, join.bus, wiring.flipped(self.bus))
        m.d.comb += [
            dispatcher.read_beat.eq(mover.bus.r.valid & mover.bus.r.ready),
            dispatcher.write_beat.eq(mover.bus.w.valid & mover.bus.w.ready),
            self.activity.busy.eq(attention.activity.busy | append.busy),
            *(self.activity[name].eq(attention.activity[name]) for name, _ in Activity
              if name not in ("busy", "read_beat", "write_beat")),
        ]
        m.d.sync += [self.activity.read_beat.eq(self.bus.r.valid & self.bus.r.ready),
                     self.activity.write_beat.eq(self.bus.w.valid & self.bus.w.ready)]
        return m
