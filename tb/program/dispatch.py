"""ProgramDispatch: order, waits, who is alone with the cache, faults, aborts, and the program after them.

Parameters: OLIVINE_BUS_BITS; OLIVINE_TRIALS, programs of each kind.
"""

import os

import cocotb
from olivine.control.instruction import SLOTS, Unit, words_of
from olivine.control.job import StatusCode
from olivine.program.dispatch import job_bits

from tb.program.dispatch_bench import BASE, Bench, fault_behind, random_program

TRIALS = int(os.environ.get("OLIVINE_TRIALS", "20"))

test = cocotb.test(timeout_time=40, timeout_unit="ms")


@test
@cocotb.parametrize(pace=[0.1, 0.5, 0.9, 1.0])
async def programs(dut, pace):
    """All instructions are complete, each in its time."""
    bench = await Bench(dut, seed=pace, pace=pace).start()
    for _ in range(TRIALS):
        program = random_program(bench.rng, bench.rng.choice((1, 2, 5, 40)))
        fault = await bench.run(program)
        assert fault["code"] is StatusCode.OK
        assert sum(bench.completed) == len(program)


@test
@cocotb.parametrize(pace=[0.2, 0.6, 1.0])
async def faults(dut, pace):
    """One or several instructions fail, or the one behind the last is itself at fault; the next program is right."""
    bench = await Bench(dut, seed=f"faults {pace}", pace=pace).start()
    seen = set()
    for trial in range(3 * TRIALS):
        program = random_program(bench.rng, bench.rng.choice((2, 8, 20)), failing=(0.02, 0.1, 0.3)[trial % 3])
        behind = fault_behind(program) if trial % 4 == 0 else None
        fault = await bench.run(program, behind)
        seen.add(fault["unit"] if fault["code"] is not StatusCode.OK else "ok")
        if trial % 5 == 0:
            assert (await bench.run(random_program(bench.rng, 6)))["code"] is StatusCode.OK
    assert TRIALS < 10 or len(seen) >= 4 and {"ok", 7} <= seen, seen


@test
@cocotb.parametrize(pace=[0.3, 1.0])
async def aborts(dut, pace):
    """In any cycle, with and without faults; and in each cycle of a short program."""
    bench = await Bench(dut, seed=f"aborts {pace}", pace=pace).start()
    codes = set()
    for trial in range(3 * TRIALS):
        program = random_program(bench.rng, 12, failing=0.1 * (trial % 2))
        codes.add((await bench.run(program, abort_at=bench.rng.randint(1, 280)))["code"])
        if trial % 3 == 0:
            assert (await bench.run(random_program(bench.rng, 4)))["code"] is StatusCode.OK
    assert StatusCode.ABORTED in codes and (TRIALS < 10 or len(codes) > 2), codes
    for at in range(1, 50):
        await bench.run(random_program(bench.rng, 2), abort_at=at)


def instruction(unit, index, opcode, waits=(0, 0, 0, 0, 0), last=0, outcome="ok"):
    return {"unit": unit, "last": last, "index": index, "address": BASE + 64 * index, "waits": list(waits),
            "payload": index << 8 | opcode, "outcome": outcome}


@test
async def latency(dut):
    """An instruction of w words leaves 6 + w after it came in; one that waits learns of the completion 3 after the
    status was taken."""
    bench = await Bench(dut, pace=1.0).start()
    bench.delay = lambda most=12: 60
    await bench.run([instruction(Unit.LINEAR, 0, 1), instruction(Unit.VECTOR, 1, 8, (1, 0, 0, 0, 0), last=1)])
    at = {(what, index): now for now, what, _, index in bench.trace}
    for index, unit in enumerate((Unit.LINEAR, Unit.VECTOR)):
        words = words_of(job_bits(unit), bench.bus_bits)
        assert at["begin", index] - at["in", index] == 6 + words, (index, at)
    assert at["rows", 1] - at["end", 0] == 3, at


@test
async def attention_beside_append(dut):
    """Attention begins, and has its rows, while the append that it waits for is at work; given up if that fails."""
    bench = await Bench(dut, pace=1.0).start()
    for outcome in ("ok", "late"):
        program = [instruction(Unit.APPEND, 0, 4, outcome=outcome),
                   instruction(Unit.ATTENTION, 1, 2, (0, 0, 1, 0, 0), last=1)]
        bench.delay = lambda most=12: 25
        await bench.run(program)
        at = {(what, index): now for now, what, _, index in bench.trace}
        assert at["rows", 1] < at["end", 0] < at["end", 1], at
        assert bench.fault["code"] is (StatusCode.OK if outcome == "ok" else bench.failed["code"])
        # The log-sum-exp must be there: it begins only then.
        program[1]["payload"] = 0x100 | 6
        await bench.run(program)
        at = {(what, index): now for now, what, _, index in bench.trace}
        assert ("begin", 1) not in at or at["begin", 1] > at["end", 0], at


@test
async def units_side_by_side(dut):
    """Five units at work at once, but for the cache's operation; queues hold two behind the one at work."""
    bench = await Bench(dut, pace=1.0).start()
    bench.delay = lambda most=12: 400
    program = [instruction(unit, index, opcode) for index, (unit, opcode) in enumerate(
        4 * [(Unit.LINEAR, 1), (Unit.ATTENTION, 2), (Unit.APPEND, 4), (Unit.VECTOR, 8)])]
    program[-1]["last"] = 1
    await bench.run(program)
    begun = {index: now for now, what, _, index in bench.trace if what == "begin"}
    ended = {index: now for now, what, _, index in bench.trace if what == "end"}
    taken = {index: now for now, what, _, index in bench.trace if what == "in"}
    assert max(begun[index] for index in range(4)) < min(ended.values())
    assert taken[11] < min(ended.values()) < taken[12], "three of each unit are in before one has ended"


@test
async def slots_run_out(dut):
    """One instruction waits for its unit while as many pass it as there are slots: the next keeps its words back."""
    bench = await Bench(dut, pace=1.0).start()
    begin = bench._begin

    def slowly(engine, *seen):
        begin(engine, *seen)
        engine.left = 600 if engine.unit is Unit.ATTENTION else 0

    bench._begin = slowly
    program = [*(instruction(Unit.ATTENTION, index, 2) for index in range(3)),
               *(instruction(Unit.VECTOR, index, 8) for index in range(3, 6 + SLOTS))]
    program[-1]["last"] = 1
    assert (await bench.run(program))["code"] is StatusCode.OK
    taken = {index: now for now, what, _, index in bench.trace if what == "in"}
    ended = {index: now for now, what, _, index in bench.trace if what == "end"}
    # The third instruction leaves its slot when the first has ended, and the second has begun.
    assert taken[1 + SLOTS] < ended[0] < taken[2 + SLOTS], (taken, ended)
