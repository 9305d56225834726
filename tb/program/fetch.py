"""InstructionFetch: programs, what is read ahead, illegal instructions, errors of the bus, windows, silence, abort.

Parameters: OLIVINE_CONFIG; OLIVINE_TRIALS, programs of each round.
"""

import cocotb
from cocotb.triggers import Timer
from olivine.control.instruction import FIELDS, OPCODES, PAYLOAD_BITS, SHORT_BITS, ProgramFault, Unit
from olivine.control.job import StatusCode
from olivine.program.fetch import AHEAD

from tb.axi_memory import DECERR, SLVERR
from tb.program.fetch_bench import (
    BEATS,
    CODES,
    CONFIG,
    SIZE,
    TRIALS,
    B,
    Bench,
    fault_at,
    illegal_field,
    model,
    random_program,
)
from tb.streams import PAIRS, PATTERNS, PERIOD, cycle, unpack

# A unit that stands still fails, and does not wait for ever.
test = cocotb.test(timeout_time=8, timeout_unit="ms")


@test
@cocotb.parametrize(pair=PAIRS[::3])
async def programs(dut, pair):
    """Random programs, stalled everywhere."""
    rooms = list(PATTERNS)
    bench = await Bench(dut, seed=PAIRS.index(pair), take=pair[0], take_fault=pair[1],
                        room=rooms[PAIRS.index(pair) % len(rooms)]).start()
    for trial in range(TRIALS):
        bench.stall(trial)
        await bench.run(random_program(bench.rng, bench.rng.choice((1, 2, 3, bench.rng.randint(4, 40)))))


@test
async def ends_early(dut):
    """An instruction that says so is the last, whatever comes behind it in memory."""
    bench = await Bench(dut).start()
    for last in range(min(2 * TRIALS, 12)):
        program = random_program(bench.rng, 24)
        program[last]["last"] = 1
        address = bench.place(24)
        # Errors and nonsense behind it are read ahead and harm nobody.
        bench.memory.inject(SLVERR, address + 64 * (last + 1), address + 64 * 24)
        await bench.run(program, address)
        bench.memory.heal()
        for instruction in program[last + 1:]:
            instruction["version"] = 0
        await bench.run(program, address)


@test
async def illegal(dut):
    """Each field in turn, alone and with others."""
    bench = await Bench(dut, take="half", take_fault="half").start()
    rng = bench.rng
    seen, zeros = set(), 0
    names = [field for field in FIELDS if field != "last"]
    alone = (1 + TRIALS // 3) * len(names)
    for trial in range(alone + 3 * TRIALS):
        program = random_program(rng, rng.randint(1, 12))
        where = rng.randrange(len(program))
        instruction = program[where]
        fields = [names[trial % len(names)]] if trial < alone else rng.sample(names, rng.randint(2, 5))
        issued = [0] * len(Unit)
        for earlier in program[:where]:
            issued[OPCODES[earlier["payload"] & 0xff].value] += 1
        for field in fields:
            if field == "version":
                instruction["version"] = rng.choice([0, 2, 129, 255])
            elif field == "zero_flags":
                instruction["zero_flags"] = 1 << rng.randrange(7)
            elif field == "opcode":
                instruction["payload"] = instruction["payload"] & ~0xff | rng.choice(
                    [n for n in range(256) if n not in OPCODES])
            elif field == "zero_payload":
                # All but vector's: of vector's, these bits are legal.
                unit = rng.choice([1, 2, 3, 4, 5, 6, 7])
                bit = (SHORT_BITS, PAYLOAD_BITS - 1, rng.randrange(SHORT_BITS, PAYLOAD_BITS))[min(zeros, 2)]
                zeros += 1
                instruction["payload"] = instruction["payload"] & ((1 << SHORT_BITS) - 1) & ~0xff | unit | 1 << bit
            elif field.startswith("wait_"):
                unit = FIELDS.index(field) - FIELDS.index("wait_linear")
                instruction["waits"] = list(instruction["waits"])
                instruction["waits"][unit] = rng.choice((issued[unit] + 1, 0xffff))
        field = illegal_field(instruction, issued)
        assert field is not None
        seen.add(field)
        await bench.run(program)
    assert seen == set(names)


@test
async def bus_errors(dut):
    """At each beat of an instruction, reported in its turn with the beat's address."""
    bench = await Bench(dut, take="half").start()
    rng = bench.rng
    # An illegal instruction before the error counts first, and leaves nothing behind for later faults.
    program = random_program(rng, 8)
    program[3]["zero_flags"] = 9
    bench.memory.inject(SLVERR, 64 * 4, 64 * 5)
    await bench.run(program, 0, fault=fault_at(4, 0, StatusCode.READ_SLVERR, 64 * 4))
    bench.memory.heal()
    cases = [(beat, where) for beat in range(BEATS) for where in (0, 1, rng.randint(2, 14))[:TRIALS]]
    # Right behind an instruction that is still on its way out of the reader.
    cases += [(0, rng.randint(1, 14)) for _ in range(6 * TRIALS)]
    for trial, (beat, where) in enumerate(cases):
        bench.stall(trial)
        if trial % 2:
            bench.memory.set_pattern("r", "half", trial)
        response = rng.choice(list(CODES))
        program, address = random_program(rng, 16), bench.place(16)
        bad = address + 64 * where + beat * B
        bench.memory.inject(response, bad, bad)
        # One behind it is not what is told.
        bench.memory.inject(SLVERR ^ DECERR ^ response, bad + B, bad + 200)
        await bench.run(program, address, fault=fault_at(where, address, CODES[response], bad))
        bench.memory.heal()


@test
async def windows(dut):
    """The program leaves its window at each instruction; and runs past the last address."""
    bench = await Bench(dut, take="half").start()
    for inside in range(12):
        bench.stall(inside)
        program, address = random_program(bench.rng, 10), bench.place(12)
        refused = fault_at(inside, address, StatusCode.GUARD_READ, address + 64 * inside)
        bench.open((address, address + 64 * inside + bench.rng.randint(-1, 62), 1))
        await bench.run(program, address, fault=refused if inside < 10 else None)
    bench.open((address, address + 640, 0))
    await bench.run(program, address, fault=fault_at(0, address, StatusCode.GUARD_READ, address))
    # Two windows that touch within an instruction are not one.
    bench.open((address, address + 131, 1), (address + 132, address + 640, 1))
    await bench.run(program, address, fault=fault_at(2, address, StatusCode.GUARD_READ, address + 128))
    bench.open((0, (1 << CONFIG.addr_width) - 1, 1))
    top = (1 << CONFIG.addr_width) - 128
    if top < SIZE:
        await bench.run(program, top, 5, fault=fault_at(2, top, StatusCode.GUARD_READ, top + 128))
    else:
        await bench.begin(top, 5)
        await bench.expect([], fault_at(0, top, StatusCode.READ_DECERR, top))


@test
async def silence(dut):
    """A silent bus counts when its answer is needed; the next program waits until the bus owes nothing."""
    bench = await Bench(dut, take="always").start()
    dut.bus_timeout.value = 90
    program, address = random_program(bench.rng, 20), 0x400
    bench.load(program, address)
    bench.memory.silence(0)
    await bench.begin(address, 20)
    await bench.cycles(80)
    assert not bench.faults.received
    seen = unpack(ProgramFault, (await bench.faults.collect(1, 200))[0])
    assert seen == fault_at(0, address, StatusCode.TIMEOUT, 0)
    await bench.begin(address, 20)
    await bench.cycles(300)
    assert not bench.sink.received and not int(dut.idle.value)
    bench.memory.silence(None)
    instructions, _ = model(program, address, 20)
    await bench.expect(instructions, None)


@test
async def patience(dut):
    """Nobody takes instructions, and then the bus is silent: that is no fault. And how far it reads ahead."""
    willing = False

    def take(_):
        while True:
            yield willing

    bench = await Bench(dut, take=take).start()
    dut.bus_timeout.value = 50
    program, address = random_program(bench.rng, 40), 0x40
    bench.load(program, address)
    await bench.begin(address, 40)
    await bench.cycles(400)
    assert len(bench.memory.reads) == AHEAD + 1, len(bench.memory.reads)
    willing = True
    await bench.expect(model(program, address, 40)[0], None)
    # Silence counts from an instruction's turn on, however long it lasted before.
    for late in range(0, 50, 7):
        willing = False
        await bench.begin(address, 40)
        bench.memory.silence(bench.memory.latency + BEATS + 8)
        await bench.cycles(300 + late)
        willing = True
        await bench.cycles(40)
        bench.memory.silence(None)
        await bench.expect(model(program, address, 40)[0], None)
    assert not bench.faults.received


@test
async def abort_in_each_cycle(dut):
    """From the start to the fault at the end; then, in each cycle too, of a start that waits or has just begun."""
    bench = await Bench(dut, check=False, take="alternate", take_fault="rare").start()
    program, address = random_program(bench.rng, 4), 0x2000
    program[3]["version"] = 7
    bench.load(program, address)

    async def give_up():
        dut.abort.value = 1
        await bench.cycles(1)
        dut.abort.value = 0

    for delay in range(60 + 5 * BEATS):
        for waits in (False, True):
            await bench.begin(address, 4)
            await bench.cycles(delay % 40 if waits else delay)
            await give_up()
            if waits:
                await bench.begin(address, 4)
                await bench.cycles(delay * 11 % 47)
                await give_up()
            await bench.cycles(1)
            await bench.settle()
            bench.forget()
        if delay % 8 == 0:
            await bench.run(random_program(bench.rng, 3), alone=False)


@test
async def abort(dut):
    """In any cycle; the next program starts at once or later, and is not mixed with it."""
    bench = await Bench(dut, check=False, take="half", take_fault="rare").start()
    rng = bench.rng
    for trial in range(10 * TRIALS):
        bench.stall(trial)
        program = random_program(rng, rng.randint(1, 20))
        if rng.getrandbits(1):
            program[rng.randrange(len(program))]["version"] = 0
        address = bench.place(len(program))
        bench.load(program, address)
        before = len(bench.sink.received)
        await bench.begin(address, len(program))
        await bench.cycles(rng.choice((0, 1, 2, 3, rng.randint(4, 400))))
        dut.abort.value = 1
        await bench.cycles(rng.randint(1, 3))
        dut.abort.value = 0
        taken = len(bench.sink.received) - before
        want, fault = model(program, address, len(program))
        # What was taken up to the abort's own cycle is the program's.
        await bench.cycles(1)
        got = bench.store.taken[before:]
        assert len(got) - taken <= 1
        assert got == want[:len(got)]
        bench.forget()
        await bench.cycles(rng.choice((0, 0, rng.randint(1, 90))))
        if rng.getrandbits(1):
            # A start that waits is given up as well.
            await bench.begin(address, len(program))
            dut.abort.value = 1
            await bench.cycles(1)
            dut.abort.value = 0
            await bench.cycles(1)
            await bench.settle()
            bench.forget()
        # An address that was on offer at the abort may still be taken.
        await bench.run(random_program(rng, rng.randint(1, 6)), alone=False)


@test
async def timing(dut):
    """The cycles that the docstring states."""
    bench = await Bench(dut, latency=20).start()
    program, address = random_program(bench.rng, 12), 0x800
    bench.load(program, address)
    instructions, _ = model(program, address, 12)
    await bench.begin(address, 12)
    begun = cycle()
    await bench.expect(instructions, None)
    # The memory counts edges too, from another zero.
    await Timer(PERIOD // 2, "ns")
    zero = cycle() - bench.memory.cycle
    first = bench.memory.transfers["ar"][0] + zero - begun
    offered = bench.sink.cycles[0] - zero - bench.memory.transfers["r"][BEATS - 1]
    steps = {b - a for a, b in zip(bench.sink.cycles, bench.sink.cycles[1:])}
    assert (first, offered, steps) == (7, 5, {BEATS + 2}), (first, offered, steps)
