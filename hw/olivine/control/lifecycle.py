"""A job's life, the same for every engine: accepted, planned, run, drained, reported; and its counters."""

from functools import reduce
from operator import or_

from amaranth.hdl import Cat, Module, Signal, Value, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .job import COUNTERS, EVENT_BITS, TALLIES, Activity, JobStatus, Stall, StatusCode

__all__ = ["COUNTER_BITS", "TALLY_BITS", "STALL_COUNTERS", "fault_layout", "first_fault", "check_fields",
           "events_layout", "JobControl"]

COUNTER_BITS = 48
TALLY_BITS = 32

STALL_COUNTERS = {"stall_lane": Stall.LANE, "stall_row": Stall.ROW, "stall_drain": Stall.DRAIN,
                  "stall_output": Stall.OUTPUT, "stall_softmax": Stall.SOFTMAX}
"""Which cause each counter counts."""

fault_layout = data.StructLayout({"valid": 1, "code": StatusCode, "detail": unsigned(8), "address": unsigned(48)})
"""What went wrong, as a status tells it."""


def first_fault(m, faults, o):
    """Drive ``o``, a `fault_layout`, from a list of (condition, code, address[, detail]); the first that holds."""
    conditions, first = Cat(condition for condition, *_ in faults), Signal(len(faults))
    # In gates: they are too few for a carry chain.
    m.d.comb += [o.valid.eq(conditions.any()),
                 first.eq(Cat(bit & ~conditions[:index].any() for index, bit in enumerate(conditions)))]
    # At most one: an AND and an OR for each bit cost less than a chain of choices.
    for index, name in enumerate(("code", "address", "detail"), start=1):
        told = [Value.cast(fault[index] if index < len(fault) else 0) for fault in faults]
        m.d.comb += Value.cast(o[name]).eq(reduce(or_, (
            value & bit.replicate(len(value)) for value, bit in zip(told, first))))


def check_fields(m, conditions, fields, bad, field):
    """Say whether any of the (field name, condition that makes it illegal) holds, and of the first that does the index
    into ``fields``, a cycle later: each condition has a register."""
    flags = Signal(len(conditions))
    m.d.sync += flags.eq(Cat(condition for _, condition in conditions))
    m.d.comb += bad.eq(flags.any())
    for index in reversed(range(len(conditions))):
        with m.If(flags[index]):
            m.d.comb += field.eq(fields.index(conditions[index][0]))


def events_layout():
    """What an engine does in a cycle: the array's step or why there is none, useful multiplies, and saturations and
    illegal bytes by tally. ``drain``, ``values``, ``exp`` and ``output`` are for traces only (`Activity`)."""
    return data.StructLayout({
        "step": 1, "stall": Stall, "useful": EVENT_BITS, "drain": 1, "values": 1, "exp": 1, "output": 1,
        **{name: EVENT_BITS for name in TALLIES}})


class JobControl(wiring.Component):
    """Takes descriptors, lets the engine run, and reports how each ended.

    Parameters
    ----------
    descriptor : Shape

    Members
    -------
    job : In(stream(descriptor)), done : Out(stream(JobStatus))
    held : Out(descriptor)
        The job at work.
    idle : In(1)
        The bus owes nothing: a job may be accepted, a failed one is over.
    bad : In(1), field : In(8)
        The descriptor is illegal, and its field; looked at two cycles after ``held`` changed.
    running : Out(1)
        The engine works; low resets all that starts afresh with each job.
    aborts : Out(1)
        Whoever is on the bus gives up what it has: ``running``, inverted, a cycle later.
    fault : In(fault_layout), expired : In(1), finished : In(1), abort : In(1)
        While running: something failed; the bus was silent for too long; everything is done; the job is given up.
    events : In(events_layout), read_beat, write_beat : In(2)
        For counters and tallies; beats of this cycle.
    activity : Out(Activity)

    A job that fails or is given up stops, lets what is outstanding on the bus end, and then reports; on silence it
    reports at once.
    """

    def __init__(self, descriptor):
        self.descriptor = descriptor
        super().__init__({
            "job": In(stream.Signature(descriptor)), "done": Out(stream.Signature(JobStatus)),
            "held": Out(descriptor), "idle": In(1), "bad": In(1), "field": In(8), "running": Out(1),
            "aborts": Out(1, init=1), "fault": In(fault_layout), "expired": In(1), "finished": In(1), "abort": In(1),
            "events": In(events_layout()), "read_beat": In(2), "write_beat": In(2), "activity": Out(Activity),
        })

    def elaborate(self, platform):
        m = Module()
        status = self.done.payload
        # The bus is idle, and was so when nothing was asked of it any more: a register, as it is made of much.
        busy, settled, running, reports, fresh = Signal(), Signal(), Signal(), Signal(), Signal()
        m.d.comb += [self.running.eq(running), self.done.valid.eq(reports)]
        m.d.sync += [settled.eq(self.idle & ~running), self.aborts.eq(~running), fresh.eq(0)]
        with m.FSM() as fsm:
            with m.State("IDLE"):
                m.d.comb += self.job.ready.eq(settled)
                # Whether it is a job is known late, and matters to the state alone.
                m.d.sync += [self.held.eq(self.job.payload), fresh.eq(1)]
                with m.If(self.job.valid & settled):
                    m.next = "PLAN"
            with m.State("PLAN"):
                m.next = "CHECK"
            with m.State("CHECK"):
                m.next = "RUN"
                m.d.sync += running.eq(1)
                with m.If(self.bad):
                    m.d.sync += [running.eq(0), reports.eq(1), status.code.eq(StatusCode.BAD_FIELD),
                                 status.detail.eq(self.field)]
                    m.next = "REPORT"
            with m.State("RUN"):
                m.d.sync += running.eq(~(self.expired | self.fault.valid | self.finished | self.abort))
                with m.If(self.expired):
                    m.d.sync += [reports.eq(1), status.code.eq(StatusCode.TIMEOUT)]
                    m.next = "REPORT"
                with m.Elif(self.fault.valid):
                    m.d.sync += [status.code.eq(self.fault.code), status.address.eq(self.fault.address),
                                 status.detail.eq(self.fault.detail)]
                    m.next = "DRAIN"
                with m.Elif(self.finished):
                    m.d.sync += reports.eq(1)
                    m.next = "REPORT"
                with m.Elif(self.abort):
                    m.d.sync += status.code.eq(StatusCode.ABORTED)
                    m.next = "DRAIN"
            with m.State("DRAIN"):
                with m.If(settled | self.expired):
                    m.d.sync += reports.eq(1)
                    m.next = "REPORT"
            with m.State("REPORT"):
                with m.If(self.done.ready):
                    m.d.sync += reports.eq(0)
                    m.next = "IDLE"
        m.d.comb += busy.eq(~fsm.ongoing("IDLE") & ~fsm.ongoing("REPORT"))
        self._count(m, busy)
        # In PLAN, by a register, as it reaches hundreds of bits; two cycles are over then.
        with m.If(fresh):
            m.d.sync += [status.eq(0), status.cycles.eq(2)]
        return m

    def _count(self, m, busy):
        status, running = self.done.payload, self.running
        # What happens is made of much; it is counted a cycle later. A job's last event is many cycles before its end.
        events = Signal.like(self.events, name="seen")
        m.d.sync += events.eq(0)
        with m.If(running):
            m.d.sync += events.eq(self.events)
        steps = {
            "cycles": 1, "array_busy": events.step, "array_useful": events.useful,
            "beats_read": self.read_beat, "beats_written": self.write_beat,
            **{name: events.stall == cause for name, cause in STALL_COUNTERS.items()},
        }
        assert list(steps) == list(COUNTERS)
        with m.If(busy):
            m.d.sync += [status[name].eq((status[name] + step)[:COUNTER_BITS]) for name, step in steps.items()]
            for name in TALLIES:
                total = Signal(TALLY_BITS + 1, name=f"{name}_total")
                m.d.comb += total.eq(status[name] + events[name])
                m.d.sync += status[name].eq(total[:TALLY_BITS] | total[-1].replicate(TALLY_BITS))
        was_busy = Signal()
        m.d.sync += [
            was_busy.eq(busy), self.activity.busy.eq(was_busy), self.activity.stall.eq(events.stall),
            *(self.activity[name].eq(events[name])
              for name in ("step", "drain", "values", "exp", "output", "useful", *TALLIES)),
            self.activity.read_beat.eq(self.read_beat.any()), self.activity.write_beat.eq(self.write_beat.any()),
        ]
