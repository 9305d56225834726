"""Jobs of the cache itself: its operations, and where it lies in memory."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..control.job import JobStatus, StatusCode
from ..kvcache.descriptor import SLOT_BITS, CacheAnswer, CacheCommand, CacheGeometry, CacheOp, CacheStatus
from .descriptor import JOB_BITS, OPCODE_SETUP, SETUP_FIELDS, SetupDescriptor

__all__ = ["Operations"]


class Operations(wiring.Component):
    """Runs cache and setup jobs, one at a time. Whoever gives them sees to it that the engines are at rest.

    Members
    -------
    job : In(stream(256)), done : Out(stream(JobStatus))
        ``address`` of a successful OPEN or FORK is the new sequence's handle, slot and generation from the low bits
        on. A refused operation reports REFUSED with its `CacheStatus`. Anything but the opcode of a setup job is
        taken as a cache job.
    command : Out(stream(CacheCommand)), answer : In(stream(CacheAnswer))
    geometry : Out(CacheGeometry)
        As the last setup job has it. While sequences are open, a setup job with another one is refused.
    read_beat, write_beat : In(1)
        Of the cache's own transfers.

    Cycles: the command is offered the cycle after the job, the status one after the answer.
    """

    def __init__(self):
        super().__init__({
            "job": In(stream.Signature(JOB_BITS)), "done": Out(stream.Signature(JobStatus)),
            "command": Out(stream.Signature(CacheCommand)), "answer": In(stream.Signature(CacheAnswer)),
            "geometry": Out(CacheGeometry), "read_beat": In(1), "write_beat": In(1),
        })

    def elaborate(self, platform):
        m = Module()
        setup, command = data.View(SetupDescriptor, self.job.payload), data.View(CacheCommand, self.job.payload)
        busy, answered, begins = Signal(), Signal(), Signal()
        creates, closes, opened = Signal(), Signal(), Signal(SLOT_BITS + 1)
        report, answer = self.done.payload, self.answer.payload
        # A job is looked at in the cycle in which it comes, and taken in the next.
        offered, is_setup, moved, reserved = Signal(), Signal(), Signal(), Signal()
        m.d.sync += [
            offered.eq(self.job.valid & ~begins), is_setup.eq(self.job.payload[:8] == OPCODE_SETUP),
            moved.eq((opened != 0) & (setup.geometry.as_value() != self.geometry.as_value())),
            reserved.eq(setup.reserved.any()),
        ]
        m.d.comb += [
            self.command.payload.eq(self.job.payload), self.command.valid.eq(offered & ~busy & ~is_setup),
            begins.eq(offered & ~busy & (is_setup | self.command.ready)), self.job.ready.eq(begins),
            self.answer.ready.eq(busy & ~answered), self.done.valid.eq(busy & answered),
        ]
        # That a job begins is known late: until then this is done in every cycle.
        with m.If(~busy):
            m.d.sync += [busy.eq(begins), report.eq(0), report.cycles.eq(1), answered.eq(is_setup),
                         creates.eq((command.op == CacheOp.OPEN) | (command.op == CacheOp.FORK)),
                         closes.eq(command.op == CacheOp.CLOSE)]
            with m.If(is_setup):
                with m.If(moved | reserved):
                    m.d.sync += [report.code.eq(StatusCode.BAD_FIELD),
                                 report.detail.eq(Mux(moved, SETUP_FIELDS.index("geometry"),
                                                      SETUP_FIELDS.index("reserved")))]
                with m.Elif(begins):
                    m.d.sync += self.geometry.eq(setup.geometry)
        with m.If(self.done.valid & self.done.ready):
            m.d.sync += busy.eq(0)
        with m.If(self.answer.ready):
            m.d.sync += [report.cycles.eq(report.cycles + 1), report.beats_read.eq(report.beats_read + self.read_beat),
                         report.beats_written.eq(report.beats_written + self.write_beat)]
            with m.If(self.answer.valid):
                m.d.sync += answered.eq(1)
                with m.If(answer.status == CacheStatus.OK):
                    m.d.sync += [report.address.eq(Mux(creates, Cat(answer.slot, answer.generation), 0)),
                                 opened.eq(opened + creates - closes)]
                with m.Else():
                    m.d.sync += [report.code.eq(StatusCode.REFUSED), report.detail.eq(answer.status),
                                 report.address.eq(answer.address)]
        return m
