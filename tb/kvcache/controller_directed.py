"""The cache's controller, case by case: every move fails once, waiting movers, cycles, resets.

Parameters: OLIVINE_CONFIG, OLIVINE_BLOCKS.
"""

import itertools

import cocotb
from olivine.kvcache.descriptor import BLOCK_UNIT, CacheOp, CachePolicy, CacheStatus
from olivine.kvcache.lookup import EventKind
from olivine_golden.kv_sequence import Handle

from tb.kvcache.controller_machine import HEADS, LANES, Machine, command
from tb.streams import valid_without_ready

S = CacheStatus
HOST = BLOCK_UNIT << 17


async def begun(dut, pattern="always"):
    machine = Machine(dut, pattern=pattern)
    await machine.start()
    return machine


async def opened(machine, policy=CachePolicy.NONE, size=0, recent=0, chunk=0):
    assert await machine.do(command(CacheOp.OPEN, policy=policy, size=size, recent=recent, chunk=chunk)) is S.OK
    slot = max(slot for slot, seq in enumerate(machine.golden.slots) if seq and not seq.length)
    return Handle(slot, machine.golden.generations[slot])


async def step(machine, handle, tokens, commit=True):
    assert await machine.do(command(CacheOp.APPEND, handle, count=tokens)) is S.OK
    for _ in range(HEADS):
        await machine.write(handle.slot)
    if machine.golden.slots[handle.slot].is_heavy:
        for _ in range(HEADS):
            await machine.event(EventKind.SUMMED, handle.slot)
    if commit:
        assert await machine.do(command(CacheOp.COMMIT, handle, count=tokens)) is S.OK


async def fails_at_each_move(machine, job, moves):
    """The operation fails at each move in turn, and changes nothing; then it succeeds. A step whose COMMIT failed is
    appended again first."""
    for number in range(moves):
        assert await machine.do(job, number) is S.FAULT, (job, number)
        assert len(machine.contents.moves) == number + 1
        await machine.compare_all()
        if job["op"] is CacheOp.COMMIT:
            for head in range(HEADS):
                assert machine.golden.slots[job["slot"]].appended == head
                assert await machine.do(job) is S.NOT_WRITTEN
                await machine.write(job["slot"])
            await machine.compare_all()
    assert await machine.do(job) is S.OK
    assert len(machine.contents.moves) == moves
    await machine.compare_all()


@cocotb.test
async def each_move_of_each_operation_fails(dut):
    machine = await begun(dut)
    plain = await opened(machine)
    await step(machine, plain, 2 * LANES + 3)
    assert await machine.do(command(CacheOp.FORK, plain)) is S.OK
    copy = Handle(plain.slot + 1, 0)
    await fails_at_each_move(machine, command(CacheOp.APPEND, copy, count=LANES + 1), 1)
    for _ in range(HEADS):
        await machine.write(copy.slot)
    # Places within a block, and from one to another.
    path = 0b1_1000_0110 | 1 << LANES
    await fails_at_each_move(machine, command(CacheOp.COMMIT, copy, tree=1, path=path), bin(path).count("1"))
    await fails_at_each_move(machine, command(CacheOp.SWAP_OUT, copy, host=HOST, count=99), 3)
    await fails_at_each_move(machine, command(CacheOp.SWAP_IN, copy), 3)
    holes = await opened(machine, CachePolicy.WINDOW, LANES)
    await step(machine, holes, 3 * LANES + 1)
    assert machine.golden.slots[holes.slot].holes == 2
    await fails_at_each_move(machine, command(CacheOp.SWAP_OUT, holes, host=2 * HOST, count=2), 2)
    assert await machine.do(command(CacheOp.CLOSE, plain)) is S.OK
    await fails_at_each_move(machine, command(CacheOp.SWAP_IN, holes), 2)
    heavy = await opened(machine, CachePolicy.HEAVY, LANES, 2, 5)
    for tokens in (5, 5, 5, 1, 2):
        await step(machine, heavy, tokens)
    await fails_at_each_move(machine, command(CacheOp.SWAP_OUT, heavy, host=3 * HOST, count=2), 2)
    await fails_at_each_move(machine, command(CacheOp.SWAP_IN, heavy), 2)


@cocotb.test
async def an_event_and_the_failure_of_a_path_meet(dut):
    """At every distance of the event of one slot and the failure of another's COMMIT; neither is lost."""
    machine = await begun(dut)
    a, b = await opened(machine), await opened(machine)
    await step(machine, a, 1, commit=False)
    await step(machine, b, 2, commit=False)
    job = command(CacheOp.COMMIT, b, tree=1, path=0b10)
    for wait in range(6, 30):
        while machine.golden.slots[b.slot].appended < HEADS:
            await machine.write(b.slot)
        machine.contents.begin(0)
        machine.recorder.moves, machine.recorder.fail_at = [], 0
        machine.golden.appended(a.slot)
        assert machine.golden.do(job).status is S.FAULT
        received = len(machine.ports.answer.received)
        machine.ports.command.push(job)
        for _ in range(wait):
            await machine.ports.cycle()
        await machine.ports.tell([{"kind": EventKind.APPENDED, "slot": a.slot}])
        await machine.ports.until(lambda received=received: len(machine.ports.answer.received) > received)
        assert machine.ports.answer.received[-1] & 15 == S.FAULT.value
        await machine.compare_all()


@cocotb.test
async def lookups_and_events_while_the_mover_waits(dut):
    """They are served, and see the state before."""
    machine = await begun(dut)
    ports, golden = machine.ports, machine.golden
    a, b = await opened(machine), await opened(machine)
    await step(machine, a, LANES + 1)
    await step(machine, b, 1, commit=False)
    ports.move.willing = itertools.repeat(False)
    ports.command.push(command(CacheOp.SWAP_OUT, a, host=HOST, count=9))
    await ports.until(lambda: ports.move.offered)
    for _ in range(3):
        await machine.event(EventKind.APPENDED, b.slot)
        await machine.compare([a.slot, b.slot])
    assert golden.slots[b.slot].appended == HEADS + 3
    ports.move.willing = itertools.repeat(True)
    golden.swap_out(a, HOST, 9)
    received = len(ports.answer.received)
    await ports.until(lambda: len(ports.answer.received) > received)
    await machine.compare_all()


@cocotb.test
async def an_event_and_the_write_of_another_slot_meet(dut):
    """At every distance of the two; neither is lost."""
    machine = await begun(dut)
    a, b = await opened(machine), await opened(machine)
    await step(machine, a, 1, commit=False)
    await step(machine, b, 1)
    for wait, op in itertools.product(range(4, 18), (CacheOp.APPEND, CacheOp.COMMIT)):
        await machine.event(EventKind.APPENDED, b.slot)     # what the write sets back
        machine.golden.appended(a.slot)
        job = command(op, b, count=int(op is CacheOp.APPEND))
        expected = machine.golden.do(job)
        received = len(machine.ports.answer.received)
        machine.ports.command.push(job)
        for _ in range(wait):
            await machine.ports.cycle()
        await machine.ports.tell([{"kind": EventKind.APPENDED, "slot": a.slot}])
        await machine.ports.until(lambda received=received: len(machine.ports.answer.received) > received)
        assert machine.ports.answer.received[-1] & 15 == expected.status.value
        await machine.compare_all()


@cocotb.test
async def closing_forgets_that_a_job_had_touched(dut):
    machine = await begun(dut)
    a = await opened(machine)
    await machine.event(EventKind.TOUCHED, a.slot)
    assert await machine.do(command(CacheOp.CLOSE, a)) is S.OK
    b = await opened(machine)
    assert a.slot == b.slot
    await machine.event(EventKind.ENDED, failed=1)
    await machine.compare_all()
    await machine.event(EventKind.TOUCHED, b.slot)
    await machine.event(EventKind.ENDED, failed=1)
    await machine.compare_all()
    assert await machine.do(command(CacheOp.APPEND, b, count=1)) is S.BROKEN


@cocotb.test
async def a_window_gives_up_blocks_at_the_right_token(dut):
    machine = await begun(dut)
    for size in (1, 2, LANES - 1, LANES, LANES + 1):
        handle = await opened(machine, CachePolicy.WINDOW, size)
        for _ in range(3 * LANES):
            await step(machine, handle, 1)
            await machine.compare([handle.slot])
        assert await machine.do(command(CacheOp.CLOSE, handle)) is S.OK


@cocotb.test
async def no_such_policy(dut):
    machine = await begun(dut)
    answer = await machine.ports.do(command(CacheOp.OPEN, policy=3, size=1, recent=1, chunk=1))
    assert answer["status"] is S.BAD_COUNT
    await machine.compare_all()


@cocotb.test
async def valids_wait_for_no_ready(dut):
    for name in ("answer", "found"):
        machine = Machine(dut)
        sink = getattr(machine.ports, name)
        await machine.start()
        machine.ports.ask([(0, 0, 0)])
        machine.ports.command.push(command(CacheOp.OPEN))
        sink.tick = lambda now: None
        offered = cocotb.start_soon(valid_without_ready(dut, name))
        for _ in range(60):
            await machine.ports.cycle()
        assert offered.done()


@cocotb.test
async def reset_at_any_time(dut):
    """Whatever it was doing: afterwards all slots are free, of generation 0, and all blocks."""
    for cycles in range(5, 300, 37):
        machine = Machine(dut, seed=cycles)
        await machine.start()
        for _ in range(20):
            await machine.step(thorough=False)
        for _ in range(4):
            machine.ports.command.push(command(CacheOp.OPEN))
            machine.ports.command.push(command(CacheOp.APPEND, (3, 0), count=5))
        for _ in range(cycles):
            await machine.ports.cycle()
        dut.rst.value = 1
        fresh = Machine(dut, seed=cycles)
        for _ in range(2):
            await fresh.ports.edge
        dut.rst.value = 0
        await fresh.ports.edge
        await fresh.compare_all()
        for _ in range(20):
            await fresh.step(thorough=False)


def move_cycles(machine):
    """M of the controller's docstring for each of the last operation's moves. The mover here answers 2 cycles after a
    command's transfer."""
    base, stride = machine.golden.base, machine.golden.block_bytes
    blocks = [[(address - base) // stride for address in move[:2] if base <= address < HOST]
              for move in machine.contents.moves]
    return [3 + max(numbers).bit_length() + 2 for numbers in blocks]


@cocotb.test
async def cycles(dut):
    """Of every operation, without stalls, by the number of blocks and places: as the controller's docstring says."""
    machine = await begun(dut)
    machine.lookups = 0

    async def timed(job, cycles, each_move=0):
        assert await machine.do(job) is S.OK
        moves = move_cycles(machine)
        assert machine.cycles[-1][2] == cycles + sum(moves) + each_move * len(moves), (job, cycles, moves)

    for n in (1, 2, 4):
        a = await opened(machine)
        assert machine.cycles[-1][2] == 11
        await timed(command(CacheOp.APPEND, a, count=n * LANES - 1), 13 + 4 * n)
        await timed(command(CacheOp.COMMIT, a, count=0), 12 + 6 * n)
        await step(machine, a, n * LANES - 1)
        await timed(command(CacheOp.FORK, a), 15 + 6 * n)
        b = Handle(a.slot + 1, machine.golden.generations[a.slot + 1])
        await timed(command(CacheOp.APPEND, b, count=LANES + 1), 13 + 9 + 4 * 1, each_move=6)
        assert machine.contents.moves
        await timed(command(CacheOp.COMMIT, b, count=0), 12 + 6)
        await timed(command(CacheOp.APPEND, b, count=1), 13 + 9)
        await timed(command(CacheOp.COMMIT, b, count=0), 11)
        await timed(command(CacheOp.CLOSE, b), 11 + 6 * n)
        await timed(command(CacheOp.SWAP_OUT, a, host=HOST, count=9), 12 + 6 * n, each_move=3)
        await timed(command(CacheOp.SWAP_IN, a), 12, each_move=4)
        await step(machine, a, 9, commit=False)
        await timed(command(CacheOp.COMMIT, a, tree=1, path=0b1_0010_0001), 11 + 2 + 2 * 9, each_move=3)
        assert len(machine.contents.moves) == 2
        await timed(command(CacheOp.TRUNCATE, a, count=0), 12 + 6 * (n + 1))
        await timed(command(CacheOp.CLOSE, a), 11)
    assert await machine.do(command(CacheOp.CLOSE, a)) is S.STALE_HANDLE
    assert machine.cycles[-1][2] == 8
    w = await opened(machine, CachePolicy.WINDOW, 1)
    await step(machine, w, 3 * LANES)
    assert machine.cycles[-1][2] == 11 + 6 * 3


@cocotb.test
async def a_lookup_takes_two_cycles(dut):
    """From its transfer to ``found.valid``, and the next follows in the third."""
    machine = await begun(dut)
    await machine.compare_all()
    taken, offered = machine.ports.lookup.cycles, machine.ports.found.offered
    assert {b - a for a, b in zip(taken, offered)} == {2} and {b - a for a, b in zip(taken, taken[1:])} <= {3, 4}
