"""Registers: every access against a model, in every order of the channels; commands, state, counters.

Parameters: OLIVINE_CONFIG; OLIVINE_TRIALS.
"""

import random

import cocotb
from cocotb.triggers import RisingEdge
from cocotbext.axi import AxiLiteBus, AxiLiteMaster
from olivine.control.instruction import Unit
from olivine.control.job import TALLIES, StatusCode
from olivine.control.registers import PROGRAM_COUNTERS, Access

from tb.program.registers_bench import (
    ABORT,
    ADDRESS,
    CLEAR,
    CONSTANTS,
    COUNTS,
    DECERR,
    OKAY,
    SLVERR,
    START,
    TABLE,
    TRIALS,
    Host,
    Model,
    check,
    random_fault,
)
from tb.streams import PATTERNS, cycle, pack, start

test = cocotb.test(timeout_time=20, timeout_unit="ms")


@test
@cocotb.parametrize(pattern=list(PATTERNS))
async def random_accesses(dut, pattern):
    """Reads and writes anywhere, commands, ends of programs and results, one after the other."""
    host = await Host(dut, seed=pattern, patterns={"b": pattern, "r": pattern}).start()
    model, rng = Model(), host.rng
    known = list(TABLE)
    often = [ADDRESS[name] for name in ("CONTROL", "STATUS", "LENGTH", "FAULT", "INTERRUPT_ENABLE", "RESULT_LO")]
    for _ in range(100 * TRIALS):
        address = rng.choice((rng.choice(known), rng.choice(known), rng.choice(often), rng.getrandbits(12)))
        address |= rng.getrandbits(2)
        choice = rng.random()
        if choice < 0.45:
            data, strb = rng.getrandbits(32), rng.choice((15, 15, rng.getrandbits(4)))
            want = model.write(address, data, strb)
            got = await host.write(address, data, strb)
            assert got == want, (hex(address), hex(data), strb, got, want)
        elif choice < 0.85:
            want = model.read(address)
            got = await host.read(address)
            assert got[1] == want[1] and (want[0] is None or got[0] == want[0]), (hex(address), got, want)
        elif choice < 0.93:
            fault = random_fault(rng)
            model.end(fault)
            await host.end(**fault)
        else:
            model.result, model.completed = rng.getrandbits(48), [rng.getrandbits(16) for _ in Unit]
            dut.result.value, dut.result_valid.value = model.result, 1
            dut.completed.value = sum(count << 16 * n for n, count in enumerate(model.completed))
            await RisingEdge(dut.clk)
            dut.result.value, dut.result_valid.value = rng.getrandbits(48), 0
        await RisingEdge(dut.clk)
        await RisingEdge(dut.clk)
        check(dut, host, model)


@test
async def one_behind_the_other(dut):
    """Accesses that are offered before the answers to earlier ones are taken: none is lost, their order stays."""
    host = await Host(dut, patterns={"b": "rare", "r": "rare"}).start()
    model, rng = Model(), host.rng
    places = [ADDRESS["BUS_TIMEOUT"], ADDRESS["LENGTH"], ADDRESS["ID"], 0xffc]
    writes = [(rng.choice(places), rng.getrandbits(32)) for _ in range(10 * TRIALS)]
    reads = [rng.choice([ADDRESS[name] for name in CONSTANTS] + [0xffc]) for _ in writes]

    async def send(channel, *fields):
        for payload in fields:
            await host._send(channel, rng.randint(0, 2), **payload)

    for channel, fields in (("aw", [{"addr": address} for address, _ in writes]),
                            ("w", [{"data": content, "strb": 15} for _, content in writes]),
                            ("ar", [{"addr": address} for address in reads])):
        cocotb.start_soon(send(channel, *fields))

    async def answers(channel):
        return [await host._take(channel) for _ in writes]

    taken = {channel: cocotb.start_soon(answers(channel)) for channel in "br"}
    assert [answer[1:] for answer in await taken["b"]] == [(model.write(*write, 15),) for write in writes]
    assert [answer[1:] for answer in await taken["r"]] == [model.read(address) for address in reads]
    await RisingEdge(dut.clk)
    check(dut, host, model)


@test
async def every_register(dut):
    """Each one's reset value, what it stores, and that no other changes; while a program runs, too."""
    host = await Host(dut).start()
    model = Model()

    async def same():
        for address in range(0, 1 << 12, 4):
            want = model.read(address)
            assert await host.read(address) == (0 if want[0] is None else want[0], want[1]), hex(address)

    await same()
    for running in (0, 1):
        for value in (0xffff_ffff, 0x5a3c_9678):
            for address, (name, _) in TABLE.items():
                if name != "CONTROL":
                    assert await host.write(address, value) == model.write(address, value, 15), name
            if not running:
                await same()
        if not running:
            assert await host.write(ADDRESS["CONTROL"], START) == model.write(ADDRESS["CONTROL"], START, 15) == OKAY
    await RisingEdge(dut.clk)
    check(dut, host, model)


@test
async def library_master(dut):
    """Another master than ours, with accesses of any size: reads of constants, partial writes."""
    Host(dut)
    master = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axi"), dut.clk, dut.rst)
    await start(dut)
    for name, value in CONSTANTS.items():
        assert await master.read_dword(ADDRESS[name]) == value, name
    assert (await master.read(0, 4)).data == b"OLVN"
    rng, model = random.Random(3), Model()
    places = [offset for offset, (_, register) in TABLE.items() if register.access == Access.LOCKED]
    for _ in range(30 * TRIALS):
        address, count = rng.choice(places), rng.randint(1, 4)
        address += rng.randint(0, 4 - count)
        content = rng.randbytes(count)
        shift = address & 3
        model.write(address, int.from_bytes(content, "little") << 8 * shift, ((1 << count) - 1) << shift)
        answer = await master.write(address, content)
        assert int(answer.resp) == OKAY
        name = TABLE[address & ~3][0]
        assert await master.read_dword(address & ~3) == model.stored[name], name
    assert int((await master.write(0x004, bytes(4))).resp) == SLVERR
    assert int((await master.write(0xffc, bytes(4))).resp) == DECERR
    assert int((await master.read(0xffc, 4)).resp) == DECERR


async def ready_program(host):
    await host.put("LENGTH", 3)
    await host.put("INTERRUPT_ENABLE", 1)


@test
async def commands_meet_the_end(dut):
    """A clear and an abort around the cycle in which the program ends."""
    host = await Host(dut).start()
    await ready_program(host)
    for command in (CLEAR, ABORT):
        for delay in range(8):
            await host.put("CONTROL", START)
            before = dict(host.pulses)
            task = cocotb.start_soon(host.write(ADDRESS["CONTROL"], command, lead=0))
            for _ in range(delay):
                await RisingEdge(dut.clk)
            await host.end()
            ended = cycle()
            assert await task == OKAY
            for _ in range(3):
                await RisingEdge(dut.clk)
            kept = int(command is ABORT or host.access <= ended)
            assert int(dut.irq.value) == kept, (delay, host.access, ended)
            assert host.pulses["abort"] - before["abort"] == (command is ABORT and host.access < ended), (delay,)
            assert await host.get("STATUS") == 2 | kept << 4


@test
async def refusals(dut):
    """A start without a length, and any while one runs: nothing of that write happens."""
    host = await Host(dut).start()
    assert await host.write(ADDRESS["CONTROL"], START) == SLVERR
    await ready_program(host)
    await host.put("CONTROL", START)
    await host.end(StatusCode.TIMEOUT)
    assert await host.get("STATUS") == 0b10100
    assert await host.get("FAULT") == StatusCode.TIMEOUT.value
    await host.put("CONTROL", START)
    assert await host.get("FAULT") == 0
    assert await host.write(ADDRESS["CONTROL"], START | ABORT) == SLVERR
    assert await host.get("STATUS") == 1 and host.pulses == {"start": 2, "abort": 0}
    await host.put("CONTROL", ABORT)
    await RisingEdge(dut.clk)
    assert host.pulses["abort"] == 1
    await host.end(StatusCode.ABORTED)
    await host.put("CONTROL", ABORT)
    assert await host.get("STATUS") == 0b11000 and host.pulses["abort"] == 1
    # Another byte's strobe alone commands nothing.
    assert await host.write(ADDRESS["CONTROL"], CLEAR, strb=0b1110) == OKAY
    assert int(dut.irq.value) == 1
    await host.put("CONTROL", CLEAR)
    assert int(dut.irq.value) == 0


class Tally:
    """Adds up random counts beside the design, and remembers what each counter was in each cycle."""

    def __init__(self, dut, host):
        self.dut, self.rng = dut, host.rng
        self.now = {name: 0 for name in (*PROGRAM_COUNTERS, *TALLIES)}
        self.history = {name: [] for name in PROGRAM_COUNTERS}
        cocotb.start_soon(self._run())

    async def _run(self):
        rng, counts = self.rng, {}
        while True:
            await RisingEdge(self.dut.clk)
            for name in self.history:
                self.history[name].append(self.now[name])
            # Cleared with the start, whose cycle is the first that counts.
            if int(self.dut.start.value):
                self.now = dict.fromkeys(self.now, 0)
            if int(self.dut.running.value):
                for name in self.now:
                    step = 1 if name == "cycles" else counts.get(name, 0)
                    self.now[name] += step
            # Often as much as there can be.
            counts = {name: rng.choice((rng.getrandbits(field.width), (1 << field.width) - 1))
                      for name, field in COUNTS}
            self.dut.counts.value = pack(COUNTS, counts)


@test
async def counters(dut):
    """All at once, read when the program is over, and while it runs: the halves of one moment."""
    host = await Host(dut, patterns={"r": "half"}).start()
    tally = Tally(dut, host)
    await ready_program(host)
    for trial in range(2):
        await host.put("CONTROL", START)
        for _ in range(20 * TRIALS):
            name = host.rng.choice(list(PROGRAM_COUNTERS))
            first = len(tally.history[name])
            low = await host.get(f"{name.upper()}_LO")
            until = len(tally.history[name])
            # What lies between does not disturb it.
            await host.get(host.rng.choice(("STATUS", "FAULT_ADDRESS_HI", name.upper() + "_HI", "SCRATCHPAD_HI")))
            high = await host.get(f"{name.upper()}_HI")
            assert low | high << 32 in tally.history[name][first - 1:until + 1], (name, hex(low), hex(high))
        await host.end()
        for _ in range(5):
            await RisingEdge(dut.clk)
        for name in PROGRAM_COUNTERS:
            low, high = await host.get(f"{name.upper()}_LO"), await host.get(f"{name.upper()}_HI")
            assert low | high << 32 == tally.now[name], (trial, name)
        for name in TALLIES:
            assert await host.get(name.upper()) == tally.now[name], (trial, name)


@test
async def timing(dut):
    """A write in the cycle after its last transfer, its answer one later; the next after 2. A read takes two more."""
    host = await Host(dut).start()
    for channel in "br":
        host.pin(channel, "ready").value = 1
    for name, value in (("awaddr", ADDRESS["INTERRUPT_ENABLE"]), ("wdata", 1), ("wstrb", 15), ("araddr", 0)):
        getattr(dut, f"s_axi_{name}").value = value
    for channel in ("aw", "w", "ar"):
        host.pin(channel, "valid").value = 1
    seen = {"b": [], "r": [], "ar": []}
    for _ in range(20):
        await RisingEdge(dut.clk)
        for channel, cycles in seen.items():
            if int(host.pin(channel, "valid").value) and int(host.pin(channel, "ready").value):
                cycles.append(cycle())
    assert seen["r"][0] - seen["ar"][0] == 4
    for channel, cycles in seen.items():
        assert {b - a for a, b in zip(cycles[1:], cycles[2:])} == {2 if channel == "b" else 4}, seen
