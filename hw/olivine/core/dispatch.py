"""Gives each job to the engine that runs it, and collects what the engines report."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.wiring import In, Out

from ..control.job import JobStatus, StatusCode
from ..kvcache.append.descriptor import OPCODE_APPEND
from ..kvcache.descriptor import (
    OPCODE_CACHE,
    SLOT_BITS,
    CacheAnswer,
    CacheCommand,
    CacheGeometry,
    CacheOp,
    CacheStatus,
)
from ..stream import Queue
from .descriptor import JOB_BITS, OPCODE_SETUP, SETUP_FIELDS, SetupDescriptor

__all__ = ["Dispatcher"]

AHEAD = 4
"""Jobs that have begun and are not yet reported."""


class _Unit(enum.Enum, shape=2):
    ATTENTION = 0
    APPEND = 1
    CACHE = 2
    SETUP = 3


class Dispatcher(wiring.Component):
    """Jobs begin in order. An append job and an attention job may run side by side, whichever came first; an operation
    on the cache begins when the engines are done, and ends before the next job begins. Statuses come in the
    order of the jobs.

    Members
    -------
    job : In(stream(256)), done : Out(stream(JobStatus))
        ``address`` of a successful OPEN or FORK is the new sequence's handle, slot and generation from the low bits
        on. A refused operation on the cache reports REFUSED with its `CacheStatus`.
    attention, append : Out(stream(256)), command : Out(stream(256))
    attention_done, append_done : In(stream(JobStatus)), answer : In(stream(CacheAnswer))
    quiet : In(1)
        The cache has been told all that the engines did.
    settled : In(1)
        The bus owes the cache's own transfers nothing; it may, after one that was given up. Nothing begins before.
    read_beat, write_beat : In(1)
        Of the cache's own transfers.
    geometry : Out(CacheGeometry)
        As the last setup job has it. While sequences are open, a setup job with another one is refused.

    Cycles: a job begins in the cycle in which it is offered, if it may.
    """

    def __init__(self):
        job, status = stream.Signature(JOB_BITS), stream.Signature(JobStatus)
        super().__init__({
            "job": In(job), "done": Out(status), "attention": Out(job), "append": Out(job), "command": Out(job),
            "attention_done": In(status), "append_done": In(status), "answer": In(stream.Signature(CacheAnswer)),
            "quiet": In(1), "settled": In(1), "read_beat": In(1), "write_beat": In(1), "geometry": Out(CacheGeometry),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.order = order = Queue(_Unit, AHEAD)
        unit, opcode = Signal(_Unit), self.job.payload[:8]
        with m.Switch(opcode):
            with m.Case(OPCODE_APPEND):
                m.d.comb += unit.eq(_Unit.APPEND)
            with m.Case(OPCODE_CACHE):
                m.d.comb += unit.eq(_Unit.CACHE)
            with m.Case(OPCODE_SETUP):
                m.d.comb += unit.eq(_Unit.SETUP)
            with m.Default():
                # Opcodes that nobody knows are refused there.
                m.d.comb += unit.eq(_Unit.ATTENTION)

        # What is alone: the cache's operations, from their beginning to their report.
        alone, free = Signal(), Signal()
        begins, report = Signal(), Signal(JobStatus)
        may_be_alone = (order.level == 0) & self.quiet
        m.d.comb += free.eq(~alone & self.settled)
        ready = Signal()
        targets = {_Unit.ATTENTION: self.attention, _Unit.APPEND: self.append, _Unit.CACHE: self.command}
        with m.Switch(unit):
            for kind, target in targets.items():
                may = order.i.ready & free if kind is not _Unit.CACHE else may_be_alone & free
                m.d.comb += target.payload.eq(self.job.payload)
                with m.Case(kind):
                    m.d.comb += [target.valid.eq(self.job.valid & may), ready.eq(target.ready & may)]
            with m.Case(_Unit.SETUP):
                m.d.comb += ready.eq(may_be_alone & free)
        m.d.comb += [self.job.ready.eq(ready), begins.eq(self.job.valid & ready),
                     order.i.valid.eq(begins), order.i.payload.eq(unit)]

        setup, command = data.View(SetupDescriptor, self.job.payload), data.View(CacheCommand, self.job.payload)
        answered, creates, closes, opened = Signal(), Signal(), Signal(), Signal(SLOT_BITS + 1)
        moved = (opened != 0) & (setup.geometry.as_value() != self.geometry.as_value())
        with m.If(begins & ((unit == _Unit.CACHE) | (unit == _Unit.SETUP))):
            m.d.sync += [alone.eq(1), report.eq(0), report.cycles.eq(1), answered.eq(unit == _Unit.SETUP),
                         creates.eq((command.op == CacheOp.OPEN) | (command.op == CacheOp.FORK)),
                         closes.eq(command.op == CacheOp.CLOSE)]
            with m.If(unit == _Unit.SETUP):
                with m.If(moved | setup.reserved.any()):
                    m.d.sync += [report.code.eq(StatusCode.BAD_FIELD),
                                 report.detail.eq(SETUP_FIELDS.index("reserved"))]
                    with m.If(moved):
                        m.d.sync += report.detail.eq(SETUP_FIELDS.index("geometry"))
                with m.Else():
                    m.d.sync += self.geometry.eq(setup.geometry)
        with m.If(alone & ~answered):
            m.d.sync += [report.cycles.eq(report.cycles + 1), report.beats_read.eq(report.beats_read + self.read_beat),
                         report.beats_written.eq(report.beats_written + self.write_beat)]
        answer = self.answer.payload
        m.d.comb += self.answer.ready.eq(~answered)
        with m.If(self.answer.valid & self.answer.ready):
            m.d.sync += answered.eq(1)
            with m.If(answer.status == CacheStatus.OK):
                m.d.sync += [report.address.eq(Mux(creates, Cat(answer.slot, answer.generation), 0)),
                             opened.eq(opened + creates - closes)]
            with m.Else():
                m.d.sync += [report.code.eq(StatusCode.REFUSED), report.detail.eq(answer.status),
                             report.address.eq(answer.address)]

        with m.If(order.o.valid):
            with m.Switch(order.o.payload):
                for kind, source in ((_Unit.ATTENTION, self.attention_done), (_Unit.APPEND, self.append_done)):
                    with m.Case(kind):
                        m.d.comb += [self.done.payload.eq(source.payload), self.done.valid.eq(source.valid),
                                     source.ready.eq(self.done.ready), order.o.ready.eq(source.valid & source.ready)]
                with m.Default():
                    m.d.comb += [self.done.payload.eq(report), self.done.valid.eq(alone & answered),
                                 order.o.ready.eq(self.done.valid & self.done.ready)]
                    with m.If(order.o.ready):
                        m.d.sync += alone.eq(0)
        return m
