"""Gives each job to the engine that runs it, and collects what the engines report."""

from amaranth.hdl import Module, Signal
from amaranth.lib import enum, stream, wiring
from amaranth.lib.wiring import In, Out

from ..control.job import JobStatus
from ..kvcache.append.descriptor import OPCODE_APPEND
from ..kvcache.descriptor import OPCODE_CACHE
from ..stream import Queue
from .descriptor import JOB_BITS, OPCODE_SETUP

__all__ = ["Dispatcher"]

AHEAD = 4
"""Jobs that have begun and are not yet reported."""


class _Unit(enum.Enum, shape=2):
    ATTENTION = 0
    APPEND = 1
    OPERATION = 2


class Dispatcher(wiring.Component):
    """Jobs begin in order. An append job and an attention job may run side by side, whichever came first; an operation
    on the cache begins when the engines are done, and ends before the next job begins. Statuses come in the
    order of the jobs.

    Members
    -------
    job : In(stream(256)), done : Out(stream(JobStatus))
    attention, append, operation : Out(stream(256)), attention_done, append_done, operation_done : In(stream(JobStatus))
        Of the engines and `Operations`.
    quiet : In(1)
        The cache has been told all that the engines did.
    settled : In(1)
        The bus owes the cache's own transfers nothing; it may, after one that was given up. Nothing begins before.

    Cycles: a job begins in the cycle in which it is offered, if it may.
    """

    def __init__(self):
        job, status = stream.Signature(JOB_BITS), stream.Signature(JobStatus)
        super().__init__({
            "job": In(job), "done": Out(status),
            **{name: Out(job) for name in ("attention", "append", "operation")},
            **{f"{name}_done": In(status) for name in ("attention", "append", "operation")},
            "quiet": In(1), "settled": In(1),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.order = order = Queue(_Unit, AHEAD)
        unit = Signal(_Unit)
        with m.Switch(self.job.payload[:8]):
            with m.Case(OPCODE_APPEND):
                m.d.comb += unit.eq(_Unit.APPEND)
            with m.Case(OPCODE_CACHE, OPCODE_SETUP):
                m.d.comb += unit.eq(_Unit.OPERATION)
            with m.Default():
                # Opcodes that nobody knows are refused there.
                m.d.comb += unit.eq(_Unit.ATTENTION)

        # An operation is alone, from its beginning to its report.
        alone, ready, begins = Signal(), Signal(), Signal()
        free = ~alone & self.settled
        with m.Switch(unit):
            for kind in _Unit:
                target = getattr(self, kind.name.lower())
                may = free & ((order.level == 0) & self.quiet if kind is _Unit.OPERATION else order.i.ready)
                m.d.comb += target.payload.eq(self.job.payload)
                with m.Case(kind):
                    m.d.comb += [target.valid.eq(self.job.valid & may), ready.eq(target.ready & may)]
        m.d.comb += [self.job.ready.eq(ready), begins.eq(self.job.valid & ready),
                     order.i.valid.eq(begins), order.i.payload.eq(unit)]

        with m.If(order.o.valid):
            with m.Switch(order.o.payload):
                for kind in _Unit:
                    source = getattr(self, f"{kind.name.lower()}_done")
                    with m.Case(kind):
                        m.d.comb += [self.done.payload.eq(source.payload), self.done.valid.eq(source.valid),
                                     source.ready.eq(self.done.ready), order.o.ready.eq(source.valid & source.ready)]
        with m.If(begins & (unit == _Unit.OPERATION)):
            m.d.sync += alone.eq(1)
        with m.Elif(order.o.valid & order.o.ready & (order.o.payload == _Unit.OPERATION)):
            m.d.sync += alone.eq(0)
        return m
