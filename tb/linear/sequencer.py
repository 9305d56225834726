"""Sequencer: the steps of jobs in golden order, against a world in which operands and room come as they like.

In every cycle the model knows which operands are there. So it knows whether the sequencer must take a
step, which, and, if not, which causes are true.

Parameter: OLIVINE_CONFIG.
"""

import random
from collections import deque
from itertools import groupby

import cocotb
from cocotb.triggers import RisingEdge
from olivine.control.job import Stall
from olivine.linear.descriptor import Group
from olivine.linear.sequencer import PSUM_SPACING, tile_tag
from olivine.olive.formats import LaneFormat

from tb.linear.jobs import CONFIG, plan_bits, random_job, tag
from tb.streams import pack, start, unpack

LANES, COLUMNS = CONFIG.lanes, CONFIG.drain_columns
TAG = tile_tag(CONFIG)
ROOM = 2 * LANES // COLUMNS
"""Words of results that fit their queue."""

BEGIN = 4
"""Cycles from reset to the first step."""

# A unit that stands still fails, and does not wait for ever.
test = cocotb.test(timeout_time=500, timeout_unit="us")

FLAGS = ("first", "last", "odd", "half", "count_illegal", "release", "take_row", "chunk_done")


def parts(rows):
    """Cycles that a drained word takes in the epilogue."""
    return -(-rows // CONFIG.vector_lanes)


class World:
    """What surrounds the sequencer: tile buffer, scratchpad, results' queue, each as full as the test likes.

    Parameters
    ----------
    dut : handle
    latency : int
        Cycles from a last step to its first word of results in the queue.
    rates : dict
        Probability by cycle that a ``word``, a run's completion (``run``), a ``row`` or a ``credit`` comes;
        words and rows above 1: as many at once as there are and fit.

    Attributes
    ----------
    stalls : list of Stall
        What each cycle was, `Stall.NONE` for a step.
    issued : list of int
        Cycles of the steps.
    """

    def __init__(self, dut, seed=0, latency=18, **rates):
        self.dut, self.rng, self.latency = dut, random.Random(f"{seed}"), latency
        self.rates = {"word": 1, "run": 1, "row": 1, "credit": 1, **rates}
        dut.plan.value = dut.level.value = dut.available.value = 0
        dut.run_complete.value = dut.credit_return.value = 0
        self.started = False

    def happens(self, what):
        return self.rng.random() < self.rates[what]

    async def begin(self, job):
        self.job, self.steps = job, list(job.steps())
        pairs = job.int8 and CONFIG.element == "exponent"
        self.words = LANES // COLUMNS // (1 + pairs)    # of a drain
        # Tile words and completed runs, in the order in which the bus brings them.
        runs = [(step.run_number, job.words_of(step.run)) for step in self.steps if step.release and step.last]
        self.coming = deque((run, word) for run, words in runs for word in range(words))
        self.ending = dict(runs)                        # words of each run
        self.held, self.here = deque(), set()           # words in the tile buffer
        self.delivered, self.complete = deque(), 0      # runs all of whose words came; complete and not used up
        self.row_words = deque(sum(step.take_row for step in chunk)
                               for _, chunk in groupby(self.steps, lambda step: step.chunk))
        self.rows_to_come = self.row_words.popleft()
        self.available, self.row_pause = 0, 0
        self.results, self.room = deque(), ROOM         # cycles in which words reach their queue
        self.next, self.cycle, self.free = 0, 0, 0
        self.stalls, self.issued = [], []
        self.dut.plan.value = plan_bits(job)
        self.dut.level.value = self.dut.available.value = 0
        self.dut.run_complete.value = self.dut.credit_return.value = 0
        if self.started:
            self.dut.rst.value = 1
            await RisingEdge(self.dut.clk)
            self.dut.rst.value = 0
        else:
            self.started = True
            await start(self.dut)

    def bring(self):
        """What changes by itself before a cycle: (run_complete, credit_return) of the cycle."""
        # Words. A run is complete with its last word or any time later.
        room = CONFIG.tile_words - len(self.held)
        for _ in range(room if self.rates["word"] > 1 else min(room, self.happens("word"))):
            if self.coming:
                run, word = self.coming.popleft()
                self.held.append((run, word))
                self.here.add((run, word))
                if word == self.ending[run] - 1:
                    self.delivered.append(run)
        run_complete = bool(self.delivered) and self.happens("run")
        if run_complete:
            self.delivered.popleft()
        # Row words of this chunk.
        if self.row_pause:
            self.row_pause -= 1
        elif self.rows_to_come:
            count = self.rows_to_come if self.rates["row"] > 1 else self.happens("row")
            self.available += count
            self.rows_to_come -= count
        # A word of results leaves its queue.
        credit = bool(self.results) and self.results[0] <= self.cycle and self.happens("credit")
        if credit:
            self.results.popleft()
        return run_complete, credit

    def causes(self, step):
        """Everything that keeps the next step waiting, in this cycle."""
        found = []
        if (step.run_number, step.word) not in self.here or step.last and not self.complete:
            found.append(Stall.LANE)
        if step.take_row and not self.available:
            found.append(Stall.ROW)
        if step.last and self.cycle < self.free:
            found.append(Stall.DRAIN)
        if step.last and step.last_run and self.room < -(-step.lanes // COLUMNS):
            found.append(Stall.OUTPUT)
        return found

    async def tick(self):
        """One cycle, checked; returns its stall."""
        dut = self.dut
        run_complete, credit = self.bring()
        dut.level.value, dut.available.value = len(self.held), self.available
        dut.run_complete.value, dut.credit_return.value = int(run_complete), int(credit)
        await RisingEdge(dut.clk)
        stall, issue = Stall(int(dut.stall.value)), int(dut.issue.value)
        where = f"cycle {self.cycle}, step {self.next} of {len(self.steps)}"
        over = self.next == len(self.steps)
        assert int(dut.done.value) == over, where
        if self.cycle < BEGIN or over:
            assert (issue, stall) == (0, Stall.DONE), where
        else:
            step = self.steps[self.next]
            causes = self.causes(step)
            assert issue == (not causes), f"{where}: issue is {issue}, {causes}: {step}"
            assert stall in (causes or [Stall.NONE]), f"{where}: stall is {stall}, {causes}: {step}"
        if issue:
            self.take(step, where)
        else:
            for name in ("release", "take_row", "chunk_done", "count_illegal"):
                assert getattr(dut, name).value == 0, f"{where}: {name} without a step"
        self.complete += run_complete
        self.room += credit
        self.stalls.append(stall)
        self.cycle += 1
        return stall

    def take(self, step, where):
        """A step is taken: the right one, on operands that are there."""
        dut = self.dut
        got = {name: int(getattr(dut, name).value) for name in FLAGS}
        want = {"first": step.first, "last": step.last, "odd": step.odd, "half": step.half,
                "count_illegal": step.first_look and not self.job.int8, "release": step.release,
                "take_row": step.take_row, "chunk_done": step.chunk_done}
        assert got == {name: int(value) for name, value in want.items()}, f"{where}: {got}, not {want}: {step}"
        assert int(dut.row_addr.value) == step.row_addr, f"{where}: {int(dut.row_addr.value)}: {step}"
        offset = int(dut.offset.value)
        assert offset < len(self.held), f"{where}: word {offset} of {len(self.held)}"
        assert self.held[offset] == (step.run_number, step.word), f"{where}: {self.held[offset]}: {step}"
        got = int(dut.tag.value)
        assert got == pack(TAG, tag(self.job, step)), f"{where}: {unpack(TAG, got)}: {step}"
        if step.release:
            assert offset == 0, f"{where}: releases a word that is not at the base"
            self.here.remove(self.held.popleft())
        if step.take_row:
            self.available -= 1
        if step.last:
            assert self.cycle >= self.free, f"{where}: the drain before is not over"
            self.free = self.cycle + max(self.words * parts(step.rows), PSUM_SPACING)
            if step.final:
                self.complete -= 1
            if step.last_run:
                words = -(-step.lanes // COLUMNS)
                self.room -= words
                assert self.room >= 0, f"{where}: the results overflow their queue"
                self.results.extend(self.cycle + self.latency + index for index in range(words))
        if step.chunk_done:
            assert not self.available and not self.rows_to_come
            if self.row_words:
                self.rows_to_come, self.row_pause = self.row_words.popleft(), 3
        self.issued.append(self.cycle)
        self.next += 1

    async def run(self, job, timeout=100_000):
        """A whole job."""
        await self.begin(job)
        for _ in range(timeout):
            if self.next == len(self.steps):
                break
            await self.tick()
        assert self.next == len(self.steps), "the sequencer stands still"
        for _ in range(5):
            assert await self.tick() is Stall.DONE
        assert not self.held and not self.coming and not self.complete


def small_job(rng, limit=1500, **fixed):
    """A random job of not too many steps."""
    while True:
        job = random_job(rng, **{"m": rng.randint(1, CONFIG.chunk_rows + CONFIG.rows), **fixed})
        if job.row_groups * job.k * job.panels <= limit:
            return job


@test
@cocotb.parametrize(scarce=["word", "run", "row", "credit", "all", "none"])
async def any_job(dut, scarce):
    """Jobs of any shape; one thing, all, or nothing is scarce."""
    scarce = {"all": ("word", "run", "row", "credit"), "none": ()}.get(scarce, (scarce,))
    rng = random.Random(f"any {scarce}")
    world = World(dut, seed=scarce)
    for _ in range(3):
        world.rates = {name: rng.choice((0.15, 0.5)) if name in scarce else 1 for name in world.rates}
        await world.run(small_job(rng))


@test
@cocotb.parametrize(weight_format=["OVP4_INT", "INT8"], group=[group.name for group in Group])
async def each_kind(dut, weight_format, group):
    """Both word lengths with each kind of scale, over two chunks, everything there at once."""
    world = World(dut, word=2, row=2)
    rng = random.Random(f"{weight_format} {group}")
    # The last panel ends in the second half of its channels, or exactly with the first.
    last = {"CHANNEL": LANES - 1, "G64": LANES // 2 + 1, "G128": LANES // 2}[group]
    await world.run(small_job(rng, m=CONFIG.chunk_rows + 1, n=LANES + last, k=rng.choice((5, 65)), limit=4000,
                               weight_format=LaneFormat[weight_format], group=Group[group]))


@test
async def no_stall_where_tiles_hide_their_drains(dut):
    """With everything there, a step in every cycle: tiles as long as a drain and no longer, and longer ones."""
    world = World(dut, latency=1, word=2, row=2)
    rng = random.Random("full")
    for weight_format in (LaneFormat.OVP4_FLINT, LaneFormat.INT8):
        drain = max(LANES // COLUMNS * CONFIG.vector_cycles, PSUM_SPACING)
        for k in (drain, drain + 1, 64 + drain, 128 + drain):
            job = random_job(rng, m=CONFIG.chunk_rows, n=2 * LANES, k=k, weight_format=weight_format)
            await world.run(job)
            assert world.issued == list(range(BEGIN, len(world.steps) + BEGIN)), job


@test
async def waits_for_words(dut):
    """Without words LANE; without the run's completion LANE at the last step of its first pass, and only there."""
    world = World(dut, word=0, run=0)
    rng = random.Random("lane")
    job = random_job(rng, m=1, n=LANES, k=6, group=Group.G64, weight_format=LaneFormat.INT8)
    await world.begin(job)
    assert [await world.tick() for _ in range(BEGIN + 3)] == [Stall.DONE] * BEGIN + [Stall.LANE] * 3
    world.rates["word"] = 1
    assert [await world.tick() for _ in range(9)] == [Stall.NONE] * 5 + [Stall.LANE] * 4
    world.rates["run"] = 1
    # The completion counts in the cycle after it was told.
    assert [await world.tick() for _ in range(2)] == [Stall.LANE, Stall.NONE]


@test
async def waits_for_rows(dut):
    """Without row operands ROW, on the first pass over a chunk alone."""
    world = World(dut, word=2, row=0)
    rng = random.Random("row")
    job = random_job(rng, m=1, n=2 * LANES, k=5, weight_format=LaneFormat.INT4, group=Group.CHANNEL)
    await world.begin(job)
    assert [await world.tick() for _ in range(BEGIN + 3)] == [Stall.DONE] * BEGIN + [Stall.ROW] * 3
    world.rates["row"] = 1
    assert [await world.tick() for _ in range(3)] == [Stall.NONE] * 3
    world.rates["row"] = 0
    assert [await world.tick() for _ in range(3)] == [Stall.ROW] * 3
    world.rates["row"] = 1
    while world.next < len(world.steps):
        assert await world.tick() in (Stall.NONE, Stall.DRAIN)
    # The second panel asked for none.
    assert job.panels == 2 and not world.rows_to_come and not world.available


@test
async def waits_for_the_drain(dut):
    """Tiles shorter than their drain: DRAIN, until exactly a drain has passed."""
    world = World(dut, word=2, row=2)
    rng = random.Random("drain")
    for weight_format, lanes in ((LaneFormat.OVP4_INT, LANES), (LaneFormat.INT8, LANES), (LaneFormat.INT8, 1)):
        job = random_job(rng, m=CONFIG.chunk_rows, n=lanes, k=1, weight_format=weight_format, group=Group.CHANNEL)
        await world.begin(job)
        assert [await world.tick() for _ in range(BEGIN)] == [Stall.DONE] * BEGIN
        while world.next < len(world.steps):
            await world.tick()
        pairs = CONFIG.element == "exponent" and weight_format is LaneFormat.INT8
        drain = max(LANES // COLUMNS // (1 + pairs) * CONFIG.vector_cycles, PSUM_SPACING)
        apart = [after - before for before, after in zip(world.issued, world.issued[1:])]
        # Two tiles fit the queue of results: the third may wait for it.
        assert apart[:1] == [drain] * len(apart[:1]) and all(gap >= drain for gap in apart), (job, apart)
        assert world.stalls.count(Stall.DRAIN) >= (len(world.steps) - 1) * (drain - 1)
        assert set(world.stalls) <= {Stall.NONE, Stall.DRAIN, Stall.OUTPUT, Stall.DONE}


@test
async def waits_for_room(dut):
    """While no result leaves, exactly as many tiles end as their queue holds; then OUTPUT at the last step."""
    world = World(dut, word=2, row=2, credit=0)
    rng = random.Random("room")
    k = max(20, LANES // COLUMNS * CONFIG.vector_cycles)
    for lanes in (LANES, LANES - 1, 1):
        job = random_job(rng, m=CONFIG.chunk_rows, n=lanes + 2 * LANES, k=k, weight_format=LaneFormat.INT4,
                         group=Group.CHANNEL)
        world.rates["credit"] = 0
        await world.begin(job)
        assert [await world.tick() for _ in range(BEGIN)] == [Stall.DONE] * BEGIN
        stalls = [await world.tick() for _ in range(20 * k)]
        tiles, room = 0, ROOM
        for step in world.steps:
            if step.last:
                room -= -(-step.lanes // COLUMNS)
                if room < 0:
                    break
                tiles += 1
        steps = min(k * tiles + k - 1, len(world.steps))
        assert stalls[:steps] == [Stall.NONE] * steps
        assert set(stalls[steps:]) <= {Stall.OUTPUT if steps < len(world.steps) else Stall.DONE}, job
        world.rates["credit"] = 1
        while world.next < len(world.steps):
            assert await world.tick() in (Stall.NONE, Stall.OUTPUT)
