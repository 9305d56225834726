"""Station: order, when a job may begin, when its rows are ready, what is dropped and what is given up.

Parameters: OLIVINE_BUS_BITS; OLIVINE_HOLDS, the opcode that needs its rows at once; OLIVINE_BESIDE, the number of the
unit that it works beside; OLIVINE_TRIALS.
"""

import os
import random
from collections import deque

import cocotb
from cocotb.triggers import RisingEdge
from olivine.control.instruction import (
    PAYLOAD_BITS,
    SHORT_BITS,
    SLOTS,
    Instruction,
    Unit,
    fetched_layout,
    words_of,
)
from olivine.program.station import DEPTH, counts_layout, doom_layout, work_layout
from olivine.program.store import brought_layout

from tb.streams import StreamChecker, pack, start, unpack

HOLDS, BESIDE = int(os.environ["OLIVINE_HOLDS"]), int(os.environ["OLIVINE_BESIDE"])
TRIALS = int(os.environ.get("OLIVINE_TRIALS", "10"))
BUS_BITS = int(os.environ["OLIVINE_BUS_BITS"])
WORDS = words_of(SHORT_BITS, BUS_BITS)
OPCODES = HOLDS, 2, 3

test = cocotb.test(timeout_time=20, timeout_unit="ms")


class Bench:
    """A dispatcher that gives instructions, a store that brings their words, counts that grow, and a unit."""

    def __init__(self, dut, seed=0, pace=0.5):
        self.dut, self.rng, self.pace, self.now = dut, random.Random(f"station {seed}"), pace, 0
        for name in ("i__valid", "i__payload", "job__ready", "may", "finished", "completed", "units_at_work", "doom",
                     "taken", "word"):
            getattr(dut, name).value = 0

    async def start(self):
        await start(self.dut)
        return self

    def maybe(self):
        return self.rng.random() < self.pace

    def instruction(self, index, most):
        rng = self.rng
        return {"unit": Unit.ATTENTION, "last": rng.getrandbits(1), "index": index,
                "waits": [rng.randint(0, most) if rng.random() < 0.4 else 0 for _ in Unit],
                "payload": rng.getrandbits(PAYLOAD_BITS - 8) << 8 | rng.choice(OPCODES)}

    async def run(self, count, doom_at=None, everything=False, steady=False):
        """``count`` instructions; in cycle ``doom_at`` those behind the second that is complete, or all, are doomed."""
        dut, rng = self.dut, self.rng
        completed = [0] * len(Unit)
        ahead = deque(self.instruction(index, 6) for index in range(count))
        waiting, job = deque(), None
        doom, offered, begun, rows, aborted, due, left = None, False, [], False, False, False, 0
        times = {}
        known, self.brought, self.words = [], set(), []
        wanted = None       # the instruction whose words the station asks for
        quiet, others, others_before, may = 0, 0, 0, int(dut.may.value)
        missing = []        # units that the instruction at work waits for, by the counts of the cycle before
        most = 60 * count + 2_000
        for now in range(most):
            if now == doom_at:
                index = rng.randrange(count)
                doom = {"everything": 1, "valid": 0, "index": 0} if everything else {
                    "everything": 0, "valid": 1, "index": index}
                dut.doom.value = pack(doom_layout, doom)
            # Counts grow until everyone has what it waits for, unless it is doomed.
            if self.maybe():
                unit = rng.randrange(len(Unit))
                completed[unit] = min(completed[unit] + 1, 6)
                dut.completed.value = pack(counts_layout, completed)
            others, others_before, others_earlier = (
                rng.getrandbits(len(Unit)) if self.maybe() else others, others, others_before)
            dut.units_at_work.value = others
            offering = bool(ahead) and (offered or self.maybe())
            dut.i__valid.value = int(offering)
            if offering:
                dut.i__payload.value = pack(fetched_layout, {name: ahead[0][name] for name, _ in fetched_layout})
            takes = self._bring(wanted)
            ready = job is None and self.maybe()
            dut.job__ready.value = int(ready)
            # Looked at a cycle later; it stays while something waits.
            could, may = may, 1 if steady or may and waiting else int(self.maybe())
            dut.may.value = may
            finishes = job is not None and (rows and not self._late(job, completed) or aborted) and left == 0 and (
                rng.random() < 0.3 or steady)
            left = max(left - 1, 0)
            dut.finished.value = int(finishes)
            await RisingEdge(dut.clk)
            if takes:
                wanted = None
            elif int(dut.asks.value):
                wanted = next(item for item in known if item["index"] not in self.brought)
                assert wanted["index"] % SLOTS == int(dut.slot.value)
            valid, i_ready = int(dut.job__valid.value), int(dut.i__ready.value)
            offered = offering and not i_ready
            at_work, ready_rows, abort = (int(getattr(dut, name).value) for name in ("at_work", "rows_ready", "abort"))
            assert at_work == int(job is not None)
            if job:
                assert int(dut.expects.value) == sum(1 << unit for unit in missing)
            doomed = bool(doom) and bool(doom["everything"] or job and job["index"] > doom["index"])
            if job:
                work = unpack(work_layout, int(dut.work.value))
                assert work == {name: job[name] for name in ("index", "waits")}
                if ready_rows and not rows:
                    # Found ready two cycles before; counts only grow.
                    assert not [unit for unit in missing if unit != BESIDE or not others_earlier >> unit & 1
                                or completed[unit] + 1 < job["waits"][unit]], "rows are not ready"
                if ready_rows:
                    assert rows or not aborted, "rows after it was given up"
                    times.setdefault(("rows", job["index"]), now)
                assert not rows or ready_rows, "rows are lost"
                rows = bool(ready_rows)
                if abort:
                    # Decided a cycle before, for good.
                    assert doomed and (doom["everything"] or due or aborted), "given up without need"
                else:
                    assert not (doomed and doom["everything"]) and not due, "is not given up"
                assert abort or not aborted
                aborted, due = bool(abort), doomed and bool(missing)
            else:
                assert not abort
            if finishes:
                job = None
            if valid:
                assert could, "begins when it may not"
            if valid and ready:
                while waiting and waiting[0]["payload"] & (1 << SHORT_BITS) - 1 != int(dut.job__payload.value):
                    dropped = waiting.popleft()
                    assert doom and (doom["everything"] or dropped["index"] > doom["index"]), "dropped"
                assert waiting, "not its turn"
                job, rows, aborted, due = waiting.popleft(), False, False, False
                left = rng.randint(0, 6)
                if job["payload"] & 0xff == HOLDS:
                    assert all(have >= want for have, want in zip(completed, job["waits"])), "too early"
                begun.append(job["index"])
                times["begin", job["index"]] = now
            missing = [unit for unit in range(len(Unit)) if job and completed[unit] < job["waits"][unit]]
            if offering and i_ready:
                waiting.append(ahead.popleft())
                known.append(waiting[-1])
                times["in", waiting[-1]["index"]] = now
                assert doom or len(waiting) <= DEPTH + 1
            empty = int(dut.empty.value)
            if empty:
                assert job is None and all(
                    doom and (doom["everything"] or item["index"] > doom["index"]) or times["in", item["index"]] == now
                    for item in waiting), "not empty"
            quiet = quiet + 1 if empty and not ahead else 0
            if quiet > 3:
                break
        else:
            raise AssertionError(f"hangs: {job}, {list(waiting)}, {completed}, {doom}")
        expected = list(range(count))
        if doom is None:
            assert begun == expected, begun
        elif not doom["everything"]:
            assert set(begun) >= set(range(doom["index"] + 1)) and begun == sorted(begun)
        # A new program.
        dut.doom.value = dut.completed.value = 0
        dut.i__valid.value = dut.finished.value = 0
        await RisingEdge(dut.clk)
        return times, begun

    def _bring(self, wanted):
        """A word of what was taken last, or what is ``wanted`` is taken; whether it is."""
        dut, rng = self.dut, self.rng
        takes = wanted is not None and not self.words and self.maybe()
        brings = bool(self.words) and self.maybe()
        word = {"valid": int(brings), "last": rng.getrandbits(1), "data": rng.getrandbits(BUS_BITS)}
        if brings:
            word |= {"data": self.words.pop(0), "last": int(not self.words)}
        dut.word.value, dut.taken.value = pack(brought_layout(BUS_BITS), word), int(takes)
        if takes:
            self.brought.add(wanted["index"])
            bits = pack(Instruction, {"version": 1, "last": wanted["last"], "zero_flags": 0,
                                      "waits": wanted["waits"], "payload": wanted["payload"]})
            self.words = [bits >> BUS_BITS * place & (1 << BUS_BITS) - 1 for place in range(WORDS)]
        return takes

    @staticmethod
    def _late(job, completed):
        return any(have < want for have, want in zip(completed, job["waits"]))


@test
@cocotb.parametrize(pace=[0.15, 0.5, 1.0])
async def jobs(dut, pace):
    """All begin in order, each when it may."""
    bench = await Bench(dut, pace, pace).start()
    for _ in range(TRIALS):
        await bench.run(bench.rng.choice((1, 3, 20)))


@test
@cocotb.parametrize(everything=[False, True])
async def doom(dut, everything):
    """At any time: what has not begun is dropped, what has no rows is given up, what has them ends."""
    bench = await Bench(dut, everything, 0.4).start()
    short = 0
    for trial in range(8 * TRIALS):
        _, begun = await bench.run(8, doom_at=bench.rng.randint(0, 120) if trial % 2 else trial, everything=everything)
        short += len(begun) < 8
    assert short > TRIALS, "nothing was ever dropped"


@test
async def latency(dut):
    """A free unit is offered an instruction 3 after its last word, which was asked for 1 after it came in."""
    bench = await Bench(dut, 1, 1.0).start()
    bench.instruction = lambda index, most: {
        "unit": Unit.ATTENTION, "last": 0, "index": index, "waits": [0] * len(Unit),
        "payload": index << 8 | OPCODES[1]}
    StreamChecker(dut, "job")
    times, _ = await bench.run(1, steady=True)
    # Here the words begin two cycles after they are asked for.
    assert times["begin", 0] - times["in", 0] == 1 + 1 + WORDS + 3, times
