"""Attention, append and the key-value cache between them: what they ask it, and what they tell it."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..attention.engine import ID_BITS, TIMEOUT_BITS, AttentionEngine
from ..attention.steps import tile_tag
from ..control.job import TALLIES, Activity, JobStatus, Window
from ..kvcache.append.engine import AppendEngine
from ..kvcache.controller import CacheController
from ..kvcache.lookup import CacheEvent, LookupRequest
from ..kvcache.mover import BlockMover
from ..memory.axi import AXI4
from ..olive.shared import ArrayPort
from ..stream import Arbiter, Queue
from .descriptor import JOB_BITS
from .operations import Operations

__all__ = ["CachedEngines"]

SETTLED = 8
"""Cycles after which an event that was taken is known to everyone who asks."""


class CachedEngines(wiring.Component):
    """Both engines, the cache's controller and its mover.

    Parameters
    ----------
    config : AcceleratorConfig

    Members
    -------
    attention, append, operation : In(stream(256)), attention_done, append_done, operation_done : Out(stream(JobStatus))
        Attention, merge and score jobs; append jobs; cache and setup jobs (`Operations`). An operation may begin only
        while ``quiet`` and ``settled``, and no other job before it has ended.
    rows_ready : In(1)
        Of the attention engine.
    yields : In(1)
        Of the attention engine.
    attention_abort, append_abort : In(1)
        Of the engines.
    expected : In(1)
        Append jobs are still to come: attention waits for what they will write.
    quiet : Out(1)
        No engine is at work, and the cache has been told all that they did. As it was a cycle before: who begins
        a job knows of it himself until then.
    settled : Out(1)
        The bus owes the cache's own transfers nothing, a cycle before. No job may begin before.
    windows : In(ArrayLayout(Window, config.windows)), bus_timeout : In(24)
    activity : Out(Activity)
        Of the attention engine; ``busy`` of both.
    pages, rows, source, moves : Out(AXI4)
        Attention's pages, tables and records; its queries and results; all of append; the cache's own transfers.
    array : Out(ArrayPort)
    """

    def __init__(self, config):
        self.config = config
        job, status = stream.Signature(JOB_BITS), stream.Signature(JobStatus)
        names = "attention", "append", "operation"
        super().__init__({
            **{name: In(job) for name in names}, **{f"{name}_done": Out(status) for name in names},
            **{name: In(1) for name in ("rows_ready", "yields", "attention_abort", "append_abort", "expected")},
            "quiet": Out(1), "settled": Out(1),
            "windows": In(data.ArrayLayout(Window(config.addr_width), config.windows)),
            "bus_timeout": In(TIMEOUT_BITS), "activity": Out(Activity),
            **{name: Out(AXI4(config.addr_width, config.bus_bits, id_width=ID_BITS))
               for name in ("pages", "rows", "source", "moves")},
            "array": Out(ArrayPort(config, tile_tag(config))),
        })

    def elaborate(self, platform):
        m = Module()
        config = self.config
        m.submodules.attention = attention = AttentionEngine(config)
        m.submodules.append = append = AppendEngine(config)
        m.submodules.controller = controller = CacheController(config)
        m.submodules.mover = mover = BlockMover(config)
        m.submodules.operations = operations = Operations()

        for engine, job, done in ((attention, self.attention, self.attention_done),
                                  (append, self.append, self.append_done),
                                  (operations, self.operation, self.operation_done)):
            m.d.comb += [engine.job.payload.eq(job.payload), engine.job.valid.eq(job.valid),
                         job.ready.eq(engine.job.ready)]
            wiring.connect(m, engine.done, wiring.flipped(done))
        wiring.connect(m, operations.command, controller.command)
        wiring.connect(m, controller.answer, operations.answer)
        wiring.connect(m, controller.o_move, mover.i)
        wiring.connect(m, mover.o, controller.i_moved)

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
        # Registers, as they are made of much; ``quiet`` is one of the cycles in which what was told settles.
        m.d.sync += [
            recent.eq(Cat(told, recent)), self.settled.eq(mover.idle),
            self.quiet.eq(~(told | recent[:-1].any() | append.busy | attention.activity.busy)),
            # A job's table is walked some cycles after it began.
            attention.appending.eq(append.busy | append.job.valid | told | recent[:-1].any() | self.expected),
        ]
        # Gates of all that attention reads of rows and pages wait for it.
        m.d.sync += attention.rows_ready.eq(self.rows_ready)
        m.d.comb += [
            attention.yields.eq(self.yields),
            attention.abort.eq(self.attention_abort), append.abort.eq(self.append_abort),
        ]

        for part in (attention, append, controller, mover):
            m.d.comb += part.geometry.eq(operations.geometry)
        for part in (attention, append, mover):
            for index in range(config.windows):
                m.d.comb += [getattr(part.windows[index], field).eq(getattr(self.windows[index], field))
                             for field in ("first", "last", "readable", "writable")]
            m.d.comb += part.bus_timeout.eq(self.bus_timeout)
        for port, own in ((attention.bus, self.pages), (attention.rows, self.rows), (append.bus, self.source),
                          (mover.bus, self.moves), (attention.array, self.array)):
            wiring.connect(m, port, wiring.flipped(own))
        m.d.comb += [
            operations.read_beat.eq(mover.bus.r.valid & mover.bus.r.ready),
            operations.write_beat.eq(mover.bus.w.valid & mover.bus.w.ready),
            self.activity.busy.eq(attention.activity.busy | append.busy),
            *(self.activity[name].eq(attention.activity[name])
              for name, _ in Activity if name not in ("busy", *TALLIES)),
            *(self.activity[name].eq(attention.activity[name] + append.activity[name]) for name in TALLIES),
        ]
        return m
