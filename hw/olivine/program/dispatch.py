"""Runs a program: every instruction to its unit as early as may be, and a precise end if one fails."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from ..control.instruction import (
    INDEX_BITS,
    INSTRUCTION_BYTES,
    LONG_UNITS,
    PAYLOAD_BITS,
    SHORT_BITS,
    ProgramFault,
    Unit,
    fetched_layout,
    word_layout,
)
from ..control.job import JobStatus, StatusCode
from .station import Station, counts_layout
from .store import InstructionStore

__all__ = ["OPCODE_SCORE", "status_layout", "job_bits", "ProgramDispatch"]

OPCODE_SCORE = 6
"""The attention unit's one instruction that needs what others made at once: the log-sum-exp."""

EARLY = (Unit.LINEAR, Unit.ATTENTION, Unit.VECTOR)
"""Units that fetch weights, pages or parameters before their rows are ready."""

BESIDE = {Unit.ATTENTION: (Unit.APPEND,)}
"""Attention asks the cache itself which keys are there: its queries meet those before the step while append works."""

SETTLE = 8
"""Cycles for which nothing happens at the end of a program: what the engines told the cache has arrived."""

status_layout = data.StructLayout({"has_result": 1, "address": 48})
"""What is told of an instruction that has ended: its ``address`` is a result, or where it failed."""

ADDRESS_BITS = 48


def job_bits(unit):
    return PAYLOAD_BITS if unit in LONG_UNITS else SHORT_BITS


def _holds(unit):
    """Whether a unit's job may begin only when its rows are ready, from the opcode."""
    if unit is Unit.ATTENTION:
        return lambda opcode: opcode == OPCODE_SCORE
    return lambda opcode: unit not in EARLY


class ProgramDispatch(wiring.Component):
    """Takes instructions in order and runs each as soon as its unit is free and what it waits for is complete.

    Units run side by side, each its own instructions in order. An operation on the cache is alone with the engines of
    the cache: those that came before it end first, and none behind it begins before it has ended.

    Until its unit has room an instruction waits in `InstructionStore`.

    **The end of a program** comes when all its instructions are complete. If one fails, those before it complete;
    those behind it that have not got their rows are given up or never begin, and those that had them (what the failed
    one makes was not among it) complete. Of several that fail the first in the program's order is told. An abort
    gives up everything.

    Parameters
    ----------
    bus_bits : int

    Members
    -------
    start : In(1), abort : In(1)
        A program begins; give it up. For one cycle.
    program : In(48)
        Address of its first instruction; constant from ``start`` to ``ended``.
    i_word : In(word_layout), room : Out(1), i : In(stream(fetched_layout)), i_fault : In(stream(ProgramFault))
        From and to `InstructionFetch`.
    fetch_idle : In(1), stop : Out(1)
        It reads nothing any more; it shall stop.
    linear, attention, append, cache, vector : Out(stream)
        Descriptors of 256 bits, of vector 416.
    linear_done, ... : In(stream(JobStatus))
    at_work, rows_ready, unit_abort : Out(5), by `Unit`
    appends_expected : Out(1)
        The attention job at work waits for append instructions that are not complete.
    quiet, settled : In(1)
        As of `CachedEngines`.
    completed : Out(counts_layout)
    status_valid : Out(1), status : Out(status_layout)
        An instruction has ended, a cycle ago.
    ended : Out(1), fault : Out(ProgramFault)
        The program is over, for one cycle, and why: OK, ABORTED, or the fault.

    Cycles: an instruction of w words leaves for its unit 6 + w after it came in, if nobody else is in the way; one
    that waits learns of the completion 3 after the other unit's status. A status a cycle is taken.

    Cost: five stations, two block RAMs with a bus of 64 bits, a choice of one status of five, a comparator and an adder
    for the instruction that failed.
    """

    def __init__(self, bus_bits):
        self.bus_bits = bus_bits
        super().__init__({
            "start": In(1), "abort": In(1), "program": In(ADDRESS_BITS),
            "i_word": In(word_layout(bus_bits)), "room": Out(1), "i": In(stream.Signature(fetched_layout)),
            "i_fault": In(stream.Signature(ProgramFault)), "fetch_idle": In(1), "stop": Out(1),
            **{unit.name.lower(): Out(stream.Signature(job_bits(unit))) for unit in Unit},
            **{f"{unit.name.lower()}_done": In(stream.Signature(JobStatus)) for unit in Unit},
            **{name: Out(len(Unit)) for name in ("at_work", "rows_ready", "unit_abort")}, "appends_expected": Out(1),
            "quiet": In(1), "settled": In(1), "completed": Out(counts_layout), "status_valid": Out(1),
            "status": Out(status_layout), "ended": Out(1), "fault": Out(ProgramFault),
        })

    def elaborate(self, platform):
        m = Module()
        bits = {unit: job_bits(unit) for unit in Unit}
        stations = {unit: Station(bits[unit], self.bus_bits, _holds(unit), BESIDE.get(unit, ()), unit)
                    for unit in Unit}
        m.submodules.store = store = InstructionStore(self.bus_bits, bits)
        running, aborting, complete = Signal(), Signal(), Signal()
        # Of the first that failed; where it lies follows from its index. Much waits for ``failed``: a register.
        failure, failed = Signal(ProgramFault), Signal()
        m.d.comb += [self.stop.eq(running & (failed | aborting)),
                     *(self.fault[name].eq(failure[name]) for name, _ in ProgramFault if name != "instruction")]
        with m.If(failed):
            m.d.comb += self.fault.instruction.eq(self.program + (failure.index << exact_log2(INSTRUCTION_BYTES)))
        with m.If(aborting & ~failed):
            m.d.comb += self.fault.code.eq(StatusCode.ABORTED)
        for unit, station in stations.items():
            m.submodules[unit.name.lower()] = station
            job = getattr(self, unit.name.lower())
            wiring.connect(m, station.job, wiring.flipped(job))
            m.d.comb += [
                station.completed.eq(self.completed), station.units_at_work.eq(self.at_work),
                station.doom.everything.eq(aborting),
                station.doom.valid.eq(failed), station.doom.index.eq(failure.index),
                self.at_work[unit.value].eq(station.at_work),
                self.rows_ready[unit.value].eq(station.rows_ready),
                self.unit_abort[unit.value].eq(station.abort),
                store.asks[unit.value].eq(station.asks), store.slots[unit.value].eq(station.slot),
                station.taken.eq(store.taken[unit.value]), station.word.eq(store.o[unit.value]),
            ]
        attention, append, cache = (stations[unit] for unit in (Unit.ATTENTION, Unit.APPEND, Unit.CACHE))
        m.d.comb += [
            self.appends_expected.eq(attention.expects[Unit.APPEND.value]),
            *(stations[unit].may.eq(1) for unit in (Unit.LINEAR, Unit.VECTOR)),
            *(station.may.eq(self.settled) for station in (attention, append)),
            cache.may.eq(attention.empty & append.empty & self.quiet & self.settled),
        ]

        # In. An instruction of the cache's engines stays here while an operation waits or works.
        arrives = self.i.payload
        blocked = ~cache.empty & ((arrives.unit == Unit.ATTENTION) | (arrives.unit == Unit.APPEND))
        may_pass = running & ~self.stop & ~blocked
        ready = Signal()
        for unit, station in stations.items():
            mine = arrives.unit == unit
            m.d.comb += [station.i.payload.eq(arrives), station.i.valid.eq(self.i.valid & may_pass & mine)]
            with m.If(mine):
                m.d.comb += ready.eq(station.i.ready)
        m.d.comb += [
            self.i.ready.eq(ready & may_pass), self.i_fault.ready.eq(running & ~self.stop),
            store.i.eq(self.i_word), self.room.eq(store.room),
            store.kept.valid.eq(self.i.valid & self.i.ready), store.kept.slot.eq(arrives.index),
        ]
        with m.If(self.i.valid & self.i.ready & arrives.last):
            m.d.sync += complete.eq(1)

        # An instruction that is itself at fault comes behind all that the units have.
        with m.If(self.i_fault.valid & self.i_fault.ready):
            m.d.sync += [failed.eq(1), *(failure[name].eq(self.i_fault.payload[name]) for name, _ in ProgramFault
                                         if name != "instruction")]
        self._statuses(m, stations, failure, failed)

        # The end.
        empty = Cat(station.empty for station in stations.values()).all()
        over = (complete | failed | aborting) & empty & self.fetch_idle & self.quiet & self.settled
        still = Signal(range(SETTLE))
        with m.If(self.abort & running):
            m.d.sync += aborting.eq(1)
        m.d.sync += still.eq(Mux(running & over, still + 1, 0))
        m.d.sync += self.ended.eq(running & over & still.all() & ~self.ended)
        with m.If(self.ended):
            m.d.sync += running.eq(0)
        with m.If(self.start):
            m.d.sync += [running.eq(1), aborting.eq(0), complete.eq(0), failed.eq(0), failure.eq(0),
                         self.completed.eq(0)]
        return m

    def _statuses(self, m, stations, failure, failed):
        """One a cycle; of several that wait, that of the first unit. It is chosen a cycle before it is taken."""
        waits, taken = Signal(len(Unit)), Signal(len(Unit))
        m.d.comb += waits.eq(Cat(getattr(self, f"{unit.name.lower()}_done").valid for unit in Unit) & ~taken)
        m.d.sync += taken.eq(waits & (~waits + 1))
        # What is told and what failed is looked at a cycle later; who waits learns at once.
        told = data.StructLayout({"index": INDEX_BITS, "code": StatusCode, "detail": 8, "unit": 3})
        found, seen, status = Signal(told), Signal(told), Signal(status_layout)
        for unit, station in stations.items():
            done, number = getattr(self, f"{unit.name.lower()}_done"), unit.value
            mine = taken[number]
            m.d.comb += [done.ready.eq(mine), station.finished.eq(mine)]
            with m.If(mine):
                m.d.comb += [status.address.eq(done.payload.address), found.code.eq(done.payload.code),
                             found.detail.eq(done.payload.detail), found.index.eq(station.work.index),
                             found.unit.eq(number)]
            good = done.payload.code == StatusCode.OK
            with m.If(mine & good):
                m.d.sync += self.completed[number].eq(self.completed[number] + 1)
        m.d.comb += status.has_result.eq(taken[Unit.CACHE.value] & (found.code == StatusCode.OK))
        m.d.sync += [self.status_valid.eq(taken.any()), self.status.eq(status), seen.eq(found)]
        # That it is the first to fail is known late: what else is told of it follows a cycle later, before the end.
        first, kept = Signal(), Signal(data.StructLayout({
            name: ProgramFault[name].shape for name in ("code", "detail", "address", "unit")}), reset_less=True)
        m.d.sync += [first.eq(0), kept.address.eq(self.status.address),
                     *(kept[name].eq(seen[name]) for name in ("code", "detail", "unit"))]
        with m.If(self.status_valid & (seen.code != StatusCode.OK) & (seen.code != StatusCode.ABORTED)
                  & (~failed | (seen.index < failure.index))):
            m.d.sync += [failed.eq(1), failure.index.eq(seen.index), first.eq(1)]
        with m.If(first):
            m.d.sync += [failure[name].eq(kept[name]) for name, _ in kept.shape()]
