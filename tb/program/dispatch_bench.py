"""A fetch, five units and a cache around `ProgramDispatch`, each as slow as it likes, and everything that must hold."""

import os
import random

from cocotb.triggers import RisingEdge
from olivine.control.instruction import (
    FETCH,
    INSTRUCTION_BYTES,
    OPCODES,
    PAYLOAD_BITS,
    SHORT_BITS,
    SLOTS,
    Instruction,
    ProgramFault,
    Unit,
    fetched_layout,
    word_layout,
)
from olivine.control.job import JobStatus, StatusCode
from olivine.program.dispatch import BESIDE, EARLY, OPCODE_SCORE, job_bits, status_layout

from tb.streams import pack, start, unpack

__all__ = ["Bench", "random_program", "BASE"]

BASE = 0x4000
FAULTS = (StatusCode.BAD_FIELD, StatusCode.GUARD_READ, StatusCode.READ_SLVERR, StatusCode.TIMEOUT, StatusCode.REFUSED)
NAMES = {unit: unit.name.lower() for unit in Unit}
CACHED = (Unit.ATTENTION, Unit.APPEND)
ARRAY = (Unit.LINEAR, Unit.ATTENTION)
"""Units that share the array: the first that has its rows keeps it until its job ends."""


def random_program(rng, length, failing=0.0, unit=None):
    """Instructions as dicts: what `InstructionFetch` says of each, and how it will end: ``"ok"``, ``"early"`` (a
    fault before its rows are ready) or ``"late"`` (one after)."""
    program, issued = [], [0] * len(Unit)
    favoured = rng.sample(list(OPCODES), 3)
    for index in range(length):
        opcode = rng.choice(favoured if rng.random() < 0.5 else list(OPCODES))
        kind = OPCODES[opcode]
        waits = [rng.choice((0, count, count, max(count - 1, 0), rng.randint(0, count))) if rng.random() < 0.4 else 0
                 for count in issued]
        bits = PAYLOAD_BITS if kind is Unit.VECTOR else SHORT_BITS
        outcome = rng.choice(("early", "late")) if rng.random() < failing else "ok"
        program.append({"unit": kind, "last": int(index == length - 1), "index": index, "address": BASE + 64 * index,
                        "waits": waits, "payload": rng.getrandbits(bits - 8) << 8 | opcode, "outcome": outcome})
        issued[kind.value] += 1
    return program


def holds(instruction):
    kind = instruction["unit"]
    return kind not in EARLY or kind is Unit.ATTENTION and instruction["payload"] & 0xff == OPCODE_SCORE


class _Engine:
    """A unit: what it has, and when it will be through with it."""

    def __init__(self, unit):
        self.unit, self.name = unit, NAMES[unit]
        self.waiting = []           # instructions that came in and have not begun
        self.job = self.status = None
        self.saw_rows = self.saw_abort = False
        self.left = 0


class Bench:
    """Runs programs. All inputs change once a cycle, after all outputs of the cycle before were looked at.

    Parameters
    ----------
    dut : handle
    seed : int
    pace : float
        Chance that something that may happen in a cycle happens.

    Attributes
    ----------
    trace : list of (int, str, Unit, int)
        What happened in the last program: cycle, ``"in"``, ``"begin"``, ``"rows"`` or ``"end"``, unit, index.
    """

    def __init__(self, dut, seed=0, pace=0.5):
        self.dut, self.rng, self.pace = dut, random.Random(f"dispatch {seed}"), pace
        self.now, self.trace, self.to_tell = 0, [], []
        self.bus_bits = int(os.environ["OLIVINE_BUS_BITS"])
        self._idle_inputs()

    async def start(self):
        await start(self.dut)
        return self

    def _idle_inputs(self):
        dut = self.dut
        for name in ("start", "abort", "program", "i_word", "i__valid", "i__payload", "i_fault__valid",
                     "i_fault__payload", *(f"{name}__ready" for name in NAMES.values()),
                     *(f"{name}_done__{part}" for name in NAMES.values() for part in ("valid", "payload"))):
            getattr(dut, name).value = 0
        dut.program.value = BASE
        for name in ("fetch_idle", "quiet", "settled"):
            getattr(dut, name).value = 1

    def maybe(self):
        return self.rng.random() < self.pace

    def delay(self, most=12):
        return self.rng.randint(0, most) if self.pace < 1 else 0

    def _offer(self, engine):
        # A unit takes a job only when it has none; `ready` does not depend on `valid`.
        willing = engine.job is None and self.maybe()
        getattr(self.dut, f"{engine.name}__ready").value = int(willing)

    async def run(self, program, fault=None, abort_at=None, most=40_000):
        """Run a program; checks everything and returns the fault that it ended with.

        ``fault``: an instruction behind the last one is itself at fault, a `ProgramFault` as a dict. ``abort_at``:
        cycles after the start.
        """
        dut = self.dut
        self.program, self.engines = program, {unit: _Engine(unit) for unit in Unit}
        self.completed = [0] * len(Unit)
        self.failed = None          # of the delivered faults the first in the program
        self.taken, self.fault_taken, self.aborting, self.stopped = 0, False, False, False
        self.fetch_left = None      # cycles until fetch has nothing under way any more
        self.news, self.moving = 0, 0
        self.over = False
        self.writes, self.may_write = None, False       # the instruction whose words are written; there is room
        self.held_rows = set()
        self.worked = self.worked_before = dict.fromkeys(Unit, False)
        self.awaited = False        # attention's job waits for an append, by the counts of the cycle before
        self.array = None           # the unit that has it: it keeps it until its job ends
        self.trace.clear()
        dut.start.value, dut.fetch_idle.value = 1, 0
        await self._edge()
        dut.start.value = 0
        dut.i__valid.value = dut.i_word.value = 0
        begun = self.now
        offered = fault_offered = False
        while not self.over:
            if abort_at is not None and self.now - begun == abort_at:
                dut.abort.value = 1
            # Fetch.
            more = self.taken < len(program) and not (self.taken and program[self.taken - 1]["last"] and fault is None)
            stopped = self.stopped
            written = more and not stopped and self._write(program[self.taken])
            if written and (offered or self.maybe()):
                offered = True
                item = {key: program[self.taken][key] for key in ("unit", "last", "index")}
                if fault is not None:
                    item["last"] = 0
                dut.i__payload.value, dut.i__valid.value = pack(fetched_layout, item), 1
            else:
                dut.i__valid.value = offered = 0
            ends = fault is not None and not more and not self.fault_taken and not stopped
            if ends and (fault_offered or self.maybe()):
                fault_offered = True
                dut.i_fault__payload.value, dut.i_fault__valid.value = pack(ProgramFault, fault), 1
            else:
                dut.i_fault__valid.value = fault_offered = 0
            if self.fetch_left is None and (stopped or self.fault_taken or not more and fault is None):
                self.fetch_left = self.delay()
            if self.fetch_left is not None:
                dut.fetch_idle.value = int(self.fetch_left == 0)
                self.fetch_left = max(self.fetch_left - 1, 0)
            for engine in self.engines.values():
                self._offer(engine)
                self._work(engine)
            busy = any(self.engines[unit].job for unit in CACHED)
            self.news = self.delay(9) if busy else max(self.news - 1, 0)
            self.moving = self.delay(9) if self.engines[Unit.CACHE].job else max(self.moving - 1, 0)
            dut.quiet.value, dut.settled.value = int(not busy and not self.news), int(
                not self.moving and not self.engines[Unit.CACHE].job)
            await self._edge()
            gives_up = abort_at is not None and self.now - begun == abort_at + 1
            if gives_up:
                dut.abort.value = 0
            self._look(offered, fault_offered, fault)
            # In the cycle of the end it comes too late.
            self.aborting |= gives_up and not self.over
            if offered and self._took:
                offered = False
            assert self.now - begun < most, f"the program hangs: {self.describe()}"
        return self._ended(program, fault)

    def _write(self, item):
        """Writes an instruction's words, as far as there is room; whether all are there."""
        index, layout = item["index"], word_layout(self.bus_bits)
        if self.writes != index:
            bits = pack(Instruction, {"version": 1, "last": item["last"], "zero_flags": 0, "waits": item["waits"],
                                      "payload": item["payload"]})
            self.writes, self.may_write = index, False
            self.unwritten = [bits >> place & (1 << self.bus_bits) - 1
                              for place in range(0, 8 * INSTRUCTION_BYTES, self.bus_bits)]
            self.words = len(self.unwritten)
        word = {"valid": 0, "slot": index % SLOTS, "place": 0, "data": self.rng.getrandbits(self.bus_bits)}
        all_there = not self.unwritten
        if self.unwritten and self.may_write and self.maybe():
            word |= {"valid": 1, "place": self.words - len(self.unwritten), "data": self.unwritten.pop(0)}
        self.dut.i_word.value = pack(layout, word)
        return all_there

    async def _edge(self):
        await RisingEdge(self.dut.clk)
        self.now += 1

    def describe(self):
        return {name: (engine.job and engine.job["index"], [item["index"] for item in engine.waiting])
                for name, engine in self.engines.items()}, self.taken, self.completed, self.failed

    def _work(self, engine):
        """Whether the unit's job ends in this cycle, and how."""
        dut, job = self.dut, engine.job
        if job is not None and engine.status is None:
            expects = engine.unit is Unit.ATTENTION and int(dut.appends_expected.value)
            if engine.unit in ARRAY and engine.saw_rows and self.array is None:
                self.array = engine.unit
            works = engine.saw_rows and (engine.unit not in ARRAY or self.array is engine.unit)
            may_end = engine.saw_abort or job["outcome"] == "early" or works and not expects
            if may_end and engine.left == 0:
                code = StatusCode.OK if job["outcome"] == "ok" else FAULTS[job["index"] % len(FAULTS)]
                if engine.saw_abort and not (job["outcome"] == "early" and self.rng.random() < 0.3):
                    code = StatusCode.ABORTED
                status = {"code": code, "detail": job["index"] & 0xff, "address": 0x100 + job["index"]}
                engine.status = status
                getattr(dut, f"{engine.name}_done__payload").value = pack(JobStatus, status)
            elif may_end:
                engine.left -= 1
        getattr(dut, f"{engine.name}_done__valid").value = int(engine.status is not None)

    # What must hold in every cycle

    def _look(self, offered, fault_offered, fault):
        dut = self.dut
        at_work, rows_ready = int(dut.at_work.value), int(dut.rows_ready.value)
        aborts, stop = int(dut.unit_abort.value), int(dut.stop.value)
        assert stop <= int(self.aborting or self.failed is not None or self.fault_taken)
        before = list(self.completed)
        assert unpack_counts(dut.completed.value) == before, (unpack_counts(dut.completed.value), before)
        attention = self.engines[Unit.ATTENTION]
        assert int(dut.appends_expected.value) == int(attention.job is not None and self.awaited)
        idle = all(engine.job is None and not engine.waiting for engine in self.engines.values())
        if int(dut.ended.value):
            assert not any(engine.job for engine in self.engines.values()), self.describe()
            assert int(dut.quiet.value) and int(dut.settled.value) and int(dut.fetch_idle.value)
            assert idle or self.aborting or self.failed is not None or self.fault_taken, self.describe()
            self.over = True
            self.fault = unpack(ProgramFault, int(dut.fault.value))
        statuses = []
        for unit, engine in self.engines.items():
            mine = lambda bits, unit=unit: bits >> unit.value & 1  # noqa: E731
            assert mine(at_work) == int(engine.job is not None), (unit, self.describe())
            assert not mine(aborts) or engine.job, f"{unit} is given up, and has nothing"
            if engine.job:
                self._rights(engine, mine(rows_ready), mine(aborts), before)
            valid, ready = (int(getattr(dut, f"{engine.name}__{part}").value) for part in ("valid", "ready"))
            if engine.status is not None and int(getattr(dut, f"{engine.name}_done__ready").value):
                statuses.append(engine)
            if valid and ready:
                self._begin(engine, int(getattr(dut, f"{engine.name}__payload").value), before)
        # What is complete is compared a cycle late, and rows are found ready a cycle after that.
        self.worked_before, self.worked = self.worked, {
            unit: engine.job is not None for unit, engine in self.engines.items()}
        self.awaited = bool(attention.job) and (
            before[Unit.APPEND.value] < attention.job["waits"][Unit.APPEND.value])
        self._statuses(statuses)
        self.may_write = bool(int(dut.room.value))
        self._took = bool(offered and int(dut.i__ready.value))
        if self._took:
            item = self.program[self.taken]
            self.engines[item["unit"]].waiting.append(item)
            self.trace.append((self.now, "in", item["unit"], item["index"]))
            self.taken += 1
            assert not stop, "an instruction is taken after the end"
        if fault_offered and int(dut.i_fault__ready.value):
            self.fault_taken = True
            if self.failed is None or fault["index"] < self.failed["index"]:
                self.failed = dict(fault)
        self.stopped = self.stopped or bool(stop)

    def _begin(self, engine, payload, before):
        """A unit gets an instruction."""
        unit = engine.unit
        while engine.waiting and engine.waiting[0]["payload"] != payload:
            dropped = engine.waiting.pop(0)
            assert self.doomed(dropped), f"{dropped['index']} was left out: {self.describe()}"
        assert engine.waiting, f"{unit} gets what was not its turn"
        job = engine.waiting.pop(0)
        assert payload >> job_bits(unit) == 0
        if holds(job):
            assert all(have >= want for have, want in zip(before, job["waits"])), ("too early", job, before)
        others = [self.engines[other] for other in CACHED]
        if unit in CACHED:
            assert int(self.dut.settled.value) and self.engines[Unit.CACHE].job is None
            assert all(item["index"] > job["index"] for item in self.engines[Unit.CACHE].waiting), "passes an operation"
        if unit is Unit.CACHE:
            assert int(self.dut.settled.value) and int(self.dut.quiet.value)
            assert all(other.job is None for other in others), "an operation is not alone"
            assert all(item["index"] > job["index"] or self.doomed(item) for other in others for item in other.waiting)
        engine.job, engine.saw_rows, engine.saw_abort = job, False, False
        engine.left = self.delay(30 if self.rng.random() < 0.2 else 12)
        self.trace.append((self.now, "begin", unit, job["index"]))

    def doomed(self, item):
        return self.aborting or self.failed is not None and item["index"] > self.failed["index"]

    def _rights(self, engine, rows, abort, before):
        """That rows are ready only when they are, and that only the doomed are given up."""
        job, unit = engine.job, engine.unit
        missing = [other for other in Unit if before[other.value] < job["waits"][other.value]]
        beside = [other for other in BESIDE.get(unit, ()) if self.worked_before[other]
                  and before[other.value] + 1 == job["waits"][other.value]]
        needed = [other for other in missing if other not in beside]
        if rows:
            if job["index"] not in self.held_rows:
                assert not needed, f"{job['index']} reads rows that are not there: {needed}"
                assert not engine.saw_abort, f"{job['index']} was given up and gets rows"
                self.held_rows.add(job["index"])
                self.trace.append((self.now, "rows", unit, job["index"]))
            engine.saw_rows = True
        else:
            assert job["index"] not in self.held_rows, f"{job['index']} loses its rows"
        if abort:
            # What it waits for may complete afterwards.
            assert self.aborting or self.doomed(job) and (missing or engine.saw_abort), \
                f"{job['index']} is given up: {self.describe()}"
            engine.saw_abort = True
        else:
            assert not engine.saw_abort, f"{job['index']} is given up and is not"

    def _statuses(self, ended):
        dut = self.dut
        assert len(ended) <= 1, "two statuses in a cycle"
        # What was taken is told in the next cycle.
        assert int(dut.status_valid.value) == len(self.to_tell)
        for told in self.to_tell:
            seen = unpack(status_layout, dut.status.value)
            assert all(seen[name] == value for name, value in told.items()), (seen, told)
        self.to_tell = []
        for engine in ended:
            status, job = engine.status, engine.job
            code = status["code"]
            self.to_tell.append({"has_result": int(engine.unit is Unit.CACHE and code is StatusCode.OK),
                                 "address": status["address"]})
            if code is StatusCode.OK:
                self.completed[engine.unit.value] += 1
            elif code is not StatusCode.ABORTED and (self.failed is None or job["index"] < self.failed["index"]):
                self.failed = {"code": code, "unit": engine.unit.value, "detail": status["detail"],
                               "address": status["address"], "index": job["index"], "instruction": job["address"]}
            self.trace.append((self.now, "end", engine.unit, job["index"]))
            engine.job = engine.status = None
            if self.array is engine.unit:
                self.array = None

    def _ended(self, program, fault):
        """Of the whole program."""
        if self.failed is not None:
            assert self.fault == self.failed, (self.fault, self.failed)
        else:
            want = StatusCode.ABORTED if self.aborting else StatusCode.OK
            assert self.fault["code"] is want, (self.fault, want)
        if not self.aborting:
            expected = next((item["index"] for item in program if item["outcome"] != "ok"),
                            len(program) if fault is not None else None)
            assert expected == (self.failed["index"] if self.failed else None), (expected, self.failed)
            ended = {index for _, what, _, index in self.trace if what == "end"}
            first = len(program) if expected is None else expected
            assert ended >= set(range(first)), sorted(set(range(first)) - ended)
        return self.fault


def unpack_counts(value):
    bits = int(value)
    return [bits >> 16 * unit.value & 0xffff for unit in Unit]


def fault_behind(program):
    """The instruction behind the program is illegal."""
    return {"code": StatusCode.BAD_FIELD, "unit": FETCH, "detail": 130, "address": BASE + 64 * len(program),
            "index": len(program), "instruction": BASE + 64 * len(program)}
