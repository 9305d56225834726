"""Life of a job: how each ends, what its status says, and what is counted when."""

import random

import cocotb
from cocotb.triggers import ClockCycles, RisingEdge
from olivine.control.job import COUNTERS, TALLIES, Activity, JobStatus, Stall, StatusCode
from olivine.control.lifecycle import STALL_COUNTERS, events_layout, fault_layout

from tb.streams import PATTERNS, StreamChecker, pack, start, unpack

EVENTS = events_layout()
DESCRIPTOR_BITS = 24
EMPTY = {"code": StatusCode.OK, "detail": 0, "address": 0, **dict.fromkeys((*COUNTERS, *TALLIES), 0)}

# A unit that stands still fails, and does not wait for ever.
test = cocotb.test(timeout_time=2, timeout_unit="ms")


class Bench:
    """An engine that does anything, and a host.

    Attributes
    ----------
    status : dict
        What the job's status must be.
    """

    def __init__(self, dut, seed):
        self.dut, self.rng = dut, random.Random(f"{seed}")
        for name in ("idle", "bad", "field", "fault", "expired", "finished", "abort", "events", "read_beat",
                     "write_beat", "job__valid", "job__payload", "done__ready"):
            getattr(dut, name).value = 0
        StreamChecker(dut, "job"), StreamChecker(dut, "done")
        self.expected = None        # Activity of the cycle to come
        self.before = None          # whether the cycle before was of a job, and its events, if of a run
        self.status = None

    def noise(self):
        """Anything that may not matter: a fault and an end, of which nothing may come but in a run."""
        fault = {"valid": self.rng.getrandbits(1), "code": StatusCode.READ_DECERR, "detail": self.rng.getrandbits(8),
                 "address": self.rng.getrandbits(48)}
        return {"bad": 1, "field": self.rng.getrandbits(8), "fault": fault,
                **dict.fromkeys(("expired", "finished", "abort", "idle"), 1)}

    async def cycle(self, phase, **given):
        """One cycle in a phase of the job's life, None between jobs: outputs as they must be, everything counted.

        Inputs that ``given`` leaves out are at rest.
        """
        dut, rng = self.dut, self.rng
        inputs = {"idle": 0, "bad": 0, "field": 0, "fault": {}, "expired": 0, "finished": 0, "abort": 0, **given}
        inputs["fault"] = pack(fault_layout, inputs["fault"])
        for name, value in inputs.items():
            getattr(dut, name).value = value
        step = rng.getrandbits(1)
        events = {"step": step, "stall": Stall.NONE if step else rng.choice(list(Stall)),
                  **{name: rng.getrandbits(1) for name in ("drain", "values", "exp", "output")},
                  **{name: rng.choice((0, rng.getrandbits(16))) for name in ("useful", *TALLIES)}}
        # A job is accepted from an idle bus, which has been asked for nothing yet when it is planned.
        beats = {name: int(phase != "plan" and rng.getrandbits(1)) for name in ("beats_read", "beats_written")}
        dut.events.value = pack(EVENTS, events)
        dut.read_beat.value, dut.write_beat.value = beats.values()
        await RisingEdge(dut.clk)
        running, busy = phase == "run", phase in ("plan", "check", "run", "drain")
        assert int(dut.running.value) == running, phase
        assert int(dut.done__valid.value) == (phase == "report"), phase
        if phase is not None:
            assert int(dut.job__ready.value) == 0, phase
        if phase == "report":
            got = unpack(JobStatus, int(dut.done__payload.value))
            assert got == self.status, {name: (got[name], want) for name, want in self.status.items()
                                        if got[name] != want}
        activity = unpack(Activity, int(dut.activity.value))
        assert self.expected is None or activity == self.expected, (phase, activity, self.expected)
        # Events are counted and told a cycle after beats, which come from a register.
        was_busy, seen = self.before or (0, None)
        self.expected = self.before and {
            "busy": was_busy, "stall": seen["stall"] if seen else Stall.NONE,
            **{name: seen[name] if seen else 0 for name in (
                "step", "drain", "values", "exp", "output", "useful", *TALLIES)},
            "read_beat": beats["beats_read"], "write_beat": beats["beats_written"]}
        self.before = int(busy), events if running else None
        if busy:
            self.count({"cycles": 1, **beats})
            if seen:
                self.count({"array_busy": seen["step"], "array_useful": seen["useful"],
                            **{name: seen["stall"] is cause for name, cause in STALL_COUNTERS.items()},
                            **{name: seen[name] for name in TALLIES}})

    def count(self, steps):
        for name, step in steps.items():
            self.status[name] += step

    async def accept(self, payload):
        """A job is on offer; while the bus owes something it is not taken."""
        dut = self.dut
        await self.cycle(None)
        dut.job__valid.value, dut.job__payload.value = 1, payload
        for _ in range(self.rng.randint(0, 3)):
            await self.cycle(None)
            assert int(dut.job__ready.value) == 0, "a job was taken while the bus was not idle"
        # That it is idle is known in the next cycle.
        for known in (0, 1):
            await self.cycle(None, **{**self.noise(), "idle": 1})
            assert int(dut.job__ready.value) == known
        # The cycle of the acceptance counts as the job's first.
        self.status = {**EMPTY, "cycles": 1}
        dut.job__valid.value, dut.job__payload.value = 0, self.rng.getrandbits(DESCRIPTOR_BITS)

    async def report(self, pattern="half"):
        """The status holds until it is taken, whatever the engine does."""
        willing = PATTERNS[pattern](self.rng.getrandbits(16))
        taken = False
        while not taken:
            taken = next(willing)
            self.dut.done__ready.value = int(taken)
            await self.cycle("report", **self.noise())
        self.dut.done__ready.value = 0

    async def run(self, end):
        """A job that ends in a certain way."""
        dut, rng = self.dut, self.rng
        payload = rng.getrandbits(DESCRIPTOR_BITS)
        await self.accept(payload)
        # What says that the descriptor is bad is not looked at before the planner can know.
        await self.cycle("plan", **self.noise())
        assert int(dut.held.value) == payload
        field = rng.getrandbits(8)
        await self.cycle("check", **{**self.noise(), "bad": int(end == "bad"), "field": field})
        if end == "bad":
            self.status |= {"code": StatusCode.BAD_FIELD, "detail": field}
            return await self.report()
        for _ in range(rng.choice((0, 1, rng.randint(2, 60)))):
            await self.cycle("run", idle=rng.getrandbits(1), bad=1, field=rng.getrandbits(8))
            assert int(dut.held.value) == payload
        fault = {"valid": 1, "code": rng.choice([StatusCode.GUARD_READ, StatusCode.WRITE_SLVERR, StatusCode.BAD_ENTRY]),
                 "detail": rng.getrandbits(8), "address": rng.getrandbits(48)}
        # Silence comes before a fault, a fault before the end, and the end before being given up.
        others = {"fault": {**fault, "valid": rng.getrandbits(1)}, "finished": rng.getrandbits(1),
                  "abort": rng.getrandbits(1)}
        if end == "timeout":
            await self.cycle("run", expired=1, **others)
            self.status["code"] = StatusCode.TIMEOUT
        elif end == "finished":
            await self.cycle("run", finished=1, abort=others["abort"])
        else:
            if end == "abort":
                await self.cycle("run", abort=1)
                self.status["code"] = StatusCode.ABORTED
            else:
                await self.cycle("run", fault=fault, finished=others["finished"], abort=others["abort"])
                self.status |= {name: fault[name] for name in ("code", "detail", "address")}
            for _ in range(rng.choice((0, 1, rng.randint(2, 20)))):
                await self.cycle("drain", fault={**fault, "address": 0}, finished=1, bad=1, abort=rng.getrandbits(1))
            if end != "silent fault":
                await self.cycle("drain", idle=1)
            await self.cycle("drain", expired=int(end == "silent fault"))
        await self.report()


ENDS = ("bad", "finished", "timeout", "fault", "silent fault", "abort")


@test
@cocotb.parametrize(end=ENDS)
async def ends(dut, end):
    """Many jobs that end the same way."""
    bench = Bench(dut, end)
    await start(dut)
    for _ in range(30):
        await bench.run(end)


@test
async def one_after_the_other(dut):
    """Jobs that end in any way leave nothing behind for the next."""
    bench = Bench(dut, "mixed")
    await start(dut)
    for _ in range(120):
        await bench.run(bench.rng.choice(ENDS))


@test
async def tallies_saturate(dut):
    """At 32 bits, exactly, and each for itself."""
    bench = Bench(dut, "saturate")
    await start(dut)
    await bench.accept(0)
    for phase in ("plan", "check"):
        await bench.cycle(phase)
    names, most = list(TALLIES), (1 << 16) - 1
    # 65,537 times 65,535 is 2**32 - 1: the first is full to the last, the second one short of it, the third beyond.
    full = {names[0]: most, names[1]: most - 1, names[2]: most}
    dut.events.value = pack(EVENTS, full)
    await ClockCycles(dut.clk, 65_537)
    bench.expected = None
    dut.events.value = pack(EVENTS, {names[2]: 3})
    await RisingEdge(dut.clk)
    dut.events.value, dut.finished.value = 0, 1
    await RisingEdge(dut.clk)
    dut.finished.value = 0
    await RisingEdge(dut.clk)
    got = unpack(JobStatus, int(dut.done__payload.value))
    limit = (1 << 32) - 1
    assert [got[name] for name in names] == [limit, 65_537 * (most - 1), limit, 0, 0], got
