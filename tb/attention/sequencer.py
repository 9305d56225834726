"""Sequencer: the steps of jobs in golden order, against a world in which operands and room come as they like.

In every cycle the model knows which operands are there. So it knows whether the sequencer may take a
step, and which; and whether it must, as nothing was missing for some cycles; and, if not, which causes are true.

Parameter: OLIVINE_CONFIG.
"""

import random
from collections import deque
from dataclasses import fields

import cocotb
from cocotb.triggers import RisingEdge
from olivine.attention.descriptor import OutputFormat
from olivine.attention.layout import GROUPS, slots
from olivine.attention.sequencer import TILE_SPACING
from olivine.attention.steps import step_layout
from olivine.control.job import Stall
from olivine.olive.formats import LaneFormat
from olivine_golden.attention_plan import Job

from tb.attention.jobs import CONFIG, LANES, ROWS, Fresh, chunk_bits, kinds_of_chunks, page_bits, random_job
from tb.streams import StreamChecker, pack, unpack

STEP = step_layout(CONFIG)
TAG = STEP["tag"].shape
AHEAD = 3
"""Most steps that wait to be taken when a page or a chunk is."""

LATE = 4
"""Most cycles without a step in which nothing is missing: two for a new chunk, one to decide, and one if the step
before gave a word back."""

ROOM = 2 * LANES
"""Words of results that fit their queue."""

SPACING = max(LANES, TILE_SPACING)

# A unit that stands still fails, and does not wait for ever.
test = cocotb.test(timeout_time=500, timeout_unit="us")

RATES = ("chunk", "page", "cells", "word", "query", "probability", "unit", "credit")


FILL = 3
"""Cycles from a chunk to its first step."""


class Scored(Job):
    """A job as one that only scores its keys."""

    @classmethod
    def of(cls, job):
        return cls(**{field.name: getattr(job, field.name) for field in fields(job)})

    def plan(self):
        return super().plan() | dict.fromkeys(("cached", "cells", "hitters", "score"), 1)

    def steps(self):
        """Those of the keys; a chunk ends with its last page's."""
        for step in super().steps():
            if not step.values:
                yield step._replace(chunk_end=step.last and step.final_page and step.context == step.chunk.contexts - 1)


def tag(step):
    """Tag of the tile that ends with a golden step; of the other kind of tile, None: anything."""
    bank, slot = step.chunk.bank, step.unit % slots(CONFIG)
    first, final = int(step.page == 0), int(step.final_page)
    if step.values:
        return {"values": 1, "address": step.address, "dims": step.lanes,
                "merge": {"bank": bank, "slot": slot, "first": first, "final": final}}
    return {"values": 0, "score": {"bank": bank, "context": step.context, "slot": slot, "first": first,
                                   "final": final, "keys": step.keys, "position": step.position, "segment": 0,
                                   "group": step.chunk.group % GROUPS}}


class World:
    """What surrounds the sequencer: each store and queue as full as the test likes.

    Parameters
    ----------
    dut : handle
    latency : int
        Cycles from a last step of results to their first word in the queue.
    softmax : int
        Cycles from a last step of scores to the unit's first probability.
    rates : dict
        Probability by cycle that a ``chunk`` or a ``page`` is offered, that its ``cells`` are there in this cycle,
        that a ``word`` of a tile, a ``query``, a ``probability``, the factors of a ``unit`` or a ``credit`` comes;
        above 1: as many at once as there are and fit.

    Attributes
    ----------
    stalls : list of Stall
        What each cycle was, `Stall.NONE` for a step.
    issued : list of int
        Cycles of the steps.
    """

    def __init__(self, dut, seed=0, latency=18, softmax=12, **rates):
        self.dut, self.rng, self.latency, self.softmax = dut, random.Random(f"{seed}"), latency, softmax
        self.rates = {**dict.fromkeys(RATES, 1), **rates}
        self.fresh = Fresh(dut)
        for name in ("level", "available", "probabilities", "unit_ready", "credit_return", "i__valid", "i__payload",
                     "i_page__valid", "i_page__payload"):
            getattr(dut, name).value = 0
        dut.cells_ready.value = 0
        StreamChecker(dut, "i"), StreamChecker(dut, "i_page")

    def happens(self, what):
        return self.rng.random() < self.rates[what]

    def number(self, what, most):
        """How many of at most ``most`` come in this cycle."""
        return most if self.rates[what] > 1 else min(most, self.happens(what))

    async def begin(self, job):
        self.job, self.steps = job, list(job.steps())
        self.chunks = deque(job.chunks())
        words = dict.fromkeys((step.tile, step.word) for step in self.steps if not step.chunk.blank)
        self.coming, self.held = deque(words), deque()          # words of tiles: to come, in the tile buffer
        self.queries = deque((step.chunk.number, step.query) for step in self.steps
                             if not step.values and step.page == 0)
        self.loaded = deque()                                   # queries that may be read
        self.pages = deque(bits for chunk in self.chunks for bits in page_bits(job, chunk))
        self.page_offered = self.cells = False
        self.page_ends = [index for index, step in enumerate(self.steps)
                          if not step.values and step.last and step.context == step.chunk.contexts - 1]
        self.chunk_ends = [index for index, step in enumerate(self.steps) if step.chunk_end]
        self.pages_taken, self.chunks_taken = 0, 0
        self.owed, self.probabilities = deque(), deque()        # (cycle, unit, key), (unit, key)
        self.units = deque()                                    # cycles of scores whose factors are to come
        self.factors = 0                                        # units whose factors ever came
        self.results, self.room = deque(), ROOM
        self.next, self.cycle = 0, 0
        self.free = 0                                           # first cycle in which a tile may end
        self.offered = False
        self.clear, self.missed = 0, set()      # since the last step: cycles in which nothing was missing; causes
        self.stalls, self.issued = [], []
        for name in ("level", "available", "probabilities", "unit_ready", "credit_return", "i__valid"):
            getattr(self.dut, name).value = 0
        await self.fresh(job)

    @property
    def over(self):
        return self.next == len(self.steps)

    def bring(self):
        """What changes by itself before a cycle: (unit_ready, credit_return) of the cycle."""
        for _ in range(self.number("word", min(CONFIG.tile_words - len(self.held), len(self.coming)))):
            self.held.append(self.coming.popleft())
        # Queries of the chunk at work and of the one after it.
        current = self.steps[self.next].chunk.number if not self.over else 0
        here = sum(chunk <= current + 1 for chunk, _ in self.queries)
        for _ in range(self.number("query", here)):
            self.loaded.append(self.queries.popleft()[1])
        ripe = sum(ready <= self.cycle for ready, *_ in self.owed)
        for _ in range(self.number("probability", ripe)):
            self.probabilities.append(self.owed.popleft()[1:])
        unit = bool(self.units) and self.units[0] <= self.cycle and self.happens("unit")
        if unit:
            self.units.popleft()
        credit = bool(self.results) and self.results[0] <= self.cycle and self.happens("credit")
        if credit:
            self.results.popleft()
        return unit, credit

    def causes(self, index):
        """Everything that keeps a step waiting, in this cycle."""
        if index == len(self.steps):
            return []
        step, found = self.steps[index], []
        if sum(end < index for end in self.chunk_ends) == self.chunks_taken and not self.offered:
            return [Stall.DONE]
        if not step.values and sum(end < index for end in self.page_ends) == self.pages_taken:
            if not self.page_offered:
                found.append(Stall.LANE)
            elif not self.cells:
                found.append(Stall.ROW)
        if not step.chunk.blank and (step.tile, step.word) not in self.held:
            found.append(Stall.LANE)
        if not step.values and step.page == 0 and not self.loaded:
            found.append(Stall.ROW)
        if step.values and ((step.unit, step.step) not in self.probabilities
                            or step.last and self.factors <= step.unit):
            found.append(Stall.SOFTMAX)
        if step.last and self.cycle < self.free:
            found.append(Stall.DRAIN)
        if step.last and step.values and step.final_page and self.room < step.lanes:
            found.append(Stall.OUTPUT)
        return found

    async def tick(self):
        """One cycle, checked; returns its stall."""
        dut = self.dut
        unit, credit = self.bring()
        dut.level.value, dut.available.value = len(self.held), len(self.loaded)
        dut.probabilities.value = len(self.probabilities)
        dut.unit_ready.value, dut.credit_return.value = int(unit), int(credit)
        if not self.offered and self.chunks and self.happens("chunk"):
            self.offered = True
        dut.i__valid.value = int(self.offered)
        dut.i__payload.value = chunk_bits(self.job, self.chunks[0]) if self.offered else \
            self.rng.getrandbits(len(dut.i__payload))
        if not self.page_offered and self.pages and self.happens("page"):
            self.page_offered = True
        dut.i_page__valid.value = int(self.page_offered)
        dut.i_page__payload.value = self.pages[0] if self.page_offered else self.rng.getrandbits(
            len(dut.i_page__payload))
        # They stay until the page is taken.
        self.cells = self.page_offered and (self.cells or self.happens("cells"))
        dut.cells_ready.value = int(self.cells)
        await RisingEdge(dut.clk)
        stall, issue = Stall(int(dut.stall.value)), int(dut.issue.value)
        where = f"cycle {self.cycle}, step {self.next} of {len(self.steps)}"
        self.check_taken(where)
        if self.over:
            assert (issue, stall) == (0, Stall.DONE), f"{where}: no chunk is at work, but {issue}, {stall}"
        else:
            step = self.steps[self.next]
            causes = self.causes(self.next)
            self.missed |= {*causes, *([Stall.DONE] if step.first else [])}
            self.clear = 0 if causes else self.clear + 1
            assert not (issue and causes), f"{where}: issue in spite of {causes}: {step}"
            assert issue or self.clear <= LATE, f"{where}: {stall}, and nothing is missing: {step}"
            assert stall is Stall.NONE if issue else stall in self.missed, (
                f"{where}: stall is {stall}, not {self.missed}: {step}")
            if issue:
                # What the one after it waits for was looked at in this cycle too.
                self.clear, self.missed = 0, set(self.causes(self.next + 1))
                self.take(step, where)
                self.missed |= set(self.causes(self.next))
        if not issue:
            for name in ("release", "take_query", "probability_release", "count_illegal"):
                assert getattr(dut, name).value == 0, f"{where}: {name} without a step"
        self.leave()
        self.factors += unit
        self.room += credit
        self.stalls.append(stall)
        self.cycle += 1
        return stall

    def check_taken(self, where):
        """A page or a chunk is taken only when few steps wait before its last one."""
        self.leaving = []
        for name, offered, ends, taken in (("i_page", self.page_offered, self.page_ends, self.pages_taken),
                                           ("i", self.offered, self.chunk_ends, self.chunks_taken)):
            if offered and getattr(self.dut, f"{name}__ready").value:
                assert 0 <= ends[taken] - self.next <= AHEAD, f"{where}: {name} is taken too early or too late"
                self.leaving.append(name)

    def leave(self):
        """What was taken is no longer offered."""
        if "i_page" in self.leaving:
            self.pages.popleft()
            self.page_offered, self.cells = False, False
            self.pages_taken += 1
        if "i" in self.leaving:
            self.chunks.popleft()
            self.offered = False
            self.chunks_taken += 1

    def take(self, step, where):
        """A step is taken: the right one, on operands that are there."""
        dut = self.dut
        want = {"values": step.values, "first": step.first, "last": step.last, "odd": step.odd, "lanes": step.lanes,
                "count_illegal": step.first_look and (
                    self.job.value_format if step.values else self.job.key_format) is not LaneFormat.INT8,
                "release": step.last_look, "take_query": not step.values and step.page == 0,
                "probability_release": step.last_pass}
        now = unpack(STEP, int(dut.step.value))
        got = {name: now[name] for name in want} | {
            name: int(getattr(dut, name).value)
            for name in ("count_illegal", "release", "take_query", "probability_release")}
        assert got == {name: int(value) for name, value in want.items()}, f"{where}: {got}, not {want}: {step}"
        fields = tag(step)
        found = {name: now["tag"][name] for name in fields}
        assert found == fields, f"{where}: {found}, not {fields}: {step}"
        pack(TAG, fields)
        if not step.chunk.blank:
            offset = now["offset"]
            assert offset < len(self.held), f"{where}: word {offset} of {len(self.held)}"
            assert self.held[offset] == (step.tile, step.word), f"{where}: word {self.held[offset]}: {step}"
        if step.last_look:
            assert offset == 0, f"{where}: gives a word back that is not at the base"
            self.held.popleft()
        if step.values:
            self.take_values(step, now["probability_offset"], where)
        else:
            assert now["query_addr"] == step.query, f"{where}: {now['query_addr']}: {step}"
            if step.page == 0:
                assert self.loaded.popleft() == step.query, f"{where}: {step}"
            if step.last and not isinstance(self.job, Scored):
                self.owed.extend((self.cycle + self.softmax, step.unit, key) for key in range(step.keys))
                self.units.append(self.cycle + self.softmax)
        if step.last:
            self.free = self.cycle + SPACING
        self.issued.append(self.cycle)
        self.next += 1

    def take_values(self, step, offset, where):
        assert offset < len(self.probabilities), f"{where}: probability {offset} of {len(self.probabilities)}"
        assert self.probabilities[offset] == (step.unit, step.step), (
            f"{where}: probability {self.probabilities[offset]}: {step}")
        if step.last_pass:
            assert offset == 0, f"{where}: gives a probability back that is not the oldest"
            self.probabilities.popleft()
        if step.last and step.final_page:
            self.room -= step.lanes
            assert self.room >= 0, f"{where}: the results overflow their queue"
            self.results.extend(self.cycle + self.latency + index for index in range(step.lanes))

    async def run(self, job, timeout=40_000):
        """A whole job."""
        await self.begin(job)
        for _ in range(timeout):
            if self.over:
                break
            await self.tick()
        assert self.over, "the sequencer stands still"
        for _ in range(5):
            assert await self.tick() is Stall.DONE
        assert not (self.held or self.coming or self.loaded or self.probabilities or self.chunks)


def small_job(rng, limit=1500, **fixed):
    """A random job of not too many steps."""
    while True:
        job = random_job(rng, **fixed)
        if sum(chunk.pages * chunk.contexts * (job.head_dim + LANES * len(job.passes))
               for chunk in job.chunks()) <= limit:
            return job


@test
@cocotb.parametrize(scarce=[*RATES, "all", "none"])
async def any_job(dut, scarce):
    """Jobs of any shape; one thing, all, or nothing is scarce."""
    scarce = {"all": RATES, "none": ()}.get(scarce, (scarce,))
    rng = random.Random(f"any {scarce}")
    world = World(dut, seed=scarce)
    for _ in range(3):
        world.rates = {name: rng.choice((0.15, 0.5)) if name in scarce else 1 for name in RATES}
        await world.run(small_job(rng))


@test
@cocotb.parametrize(scarce=[*RATES[:5], "all", "none"])
async def any_score_job(dut, scarce):
    """Keys only: no results, no probabilities, and the chunk is over with its last page."""
    scarce = {"all": RATES, "none": ()}.get(scarce, (scarce,))
    rng = random.Random(f"score {scarce}")
    world = World(dut, seed=scarce)
    for job in [small_job(rng), *(kinds_of_chunks(rng) if not scarce else [small_job(rng)])]:
        world.rates = {name: rng.choice((0.15, 0.5)) if name in scarce else 1 for name in RATES}
        await world.run(Scored.of(job))


@test
@cocotb.parametrize(key_format=["OVP4_INT", "INT8"], value_format=["OVP4_FLINT", "INT8"])
async def each_kind(dut, key_format, value_format):
    """Every kind of chunk, in both word lengths, everything there at once."""
    world = World(dut, word=2, query=2, probability=2)
    rng = random.Random(f"{key_format} {value_format}")
    for job in kinds_of_chunks(rng, key_format=LaneFormat[key_format], value_format=LaneFormat[value_format]):
        await world.run(job)


def plain(rng, **fixed):
    return random_job(rng, **{"groups": 1, "rows": 1, "heads": 1, "causal": False, "window": 0, "head_dim": 8,
                              "o_format": OutputFormat.INT16, **fixed})


@test
async def a_step_a_cycle(dut):
    """With as many contexts as there are, the softmax hides behind the other contexts, and tiles as long as a drain
    hide it: a step in every cycle of a chunk."""
    world = World(dut, latency=1, softmax=1, word=2, query=2, probability=2)
    rng = random.Random("full")
    for head_dim in {max(LANES, 8), CONFIG.max_head_dim // LANES * LANES}:
        job = plain(rng, rows=ROWS * CONFIG.attention_contexts(head_dim), keys=3 * LANES, head_dim=head_dim)
        assert job.chunks()[0].contexts > 1
        await world.run(job)
        assert world.issued == list(range(FILL, FILL + len(world.steps))), job


@test
async def one_context_looks_ahead(dut):
    """Of one context: the keys of the second page come before the values of the first, and hide its softmax."""
    rng = random.Random("ahead")
    job = plain(rng, keys=3 * LANES, head_dim=CONFIG.max_head_dim)
    world = World(dut, softmax=SPACING, word=2, query=2, probability=2)
    await world.run(job)
    order = list(dict.fromkeys((step.values, step.page) for step in world.steps))
    assert order == [(False, 0), (False, 1), (True, 0), (False, 2), (True, 1), (True, 2)]
    # Only the last page's softmax shows, if its own scores are the last thing before its values.
    last = next(index for index, step in enumerate(world.steps) if (step.values, step.page) == (True, 2))
    softmax = [cycle for cycle, stall in enumerate(world.stalls) if stall is Stall.SOFTMAX]
    assert all(world.issued[last - 1] < cycle < world.issued[last] for cycle in softmax), softmax


@test
async def waits_for_words(dut):
    """Without words LANE, as often as there is none."""
    world = World(dut, word=0, query=2)
    job = plain(random.Random("lane"), keys=LANES, key_format=LaneFormat.INT8)
    await world.begin(job)
    assert [await world.tick() for _ in range(FILL + 3)] == [Stall.DONE] * FILL + [Stall.LANE] * 3
    world.rates["word"] = 1
    assert [await world.tick() for _ in range(3)] == [Stall.LANE] + [Stall.NONE] * 2
    world.rates["word"] = 0
    assert [await world.tick() for _ in range(3)] == [Stall.NONE] + [Stall.LANE] * 2


@test
async def waits_for_queries(dut):
    """Without queries ROW, in the first page's scores alone."""
    world = World(dut, word=2, query=0, probability=2)
    job = plain(random.Random("row"), keys=2 * LANES)
    await world.begin(job)
    assert [await world.tick() for _ in range(FILL + 3)] == [Stall.DONE] * FILL + [Stall.ROW] * 3
    world.rates["query"] = 1
    assert [await world.tick() for _ in range(3)] == [Stall.ROW] + [Stall.NONE] * 2
    world.rates["query"] = 0
    assert [await world.tick() for _ in range(3)] == [Stall.NONE] + [Stall.ROW] * 2
    world.rates["query"] = 1
    assert await world.tick() is Stall.ROW
    while world.steps[world.next].page == 0 and not world.steps[world.next].values:
        assert await world.tick() is Stall.NONE
    while not world.over:
        assert await world.tick() is not Stall.ROW


@test
async def waits_for_cells(dut):
    """Without cells ROW before every page's scores, not before values."""
    world = World(dut, word=2, query=2, probability=2)
    job = plain(random.Random("cells"), keys=2 * LANES)
    await world.begin(job)
    while not world.over:
        step = world.steps[world.next]
        if step.values or world.next and world.next - 1 not in world.page_ends:
            assert await world.tick() is not Stall.ROW
            continue
        # The first steps of a page; its cells come late.
        world.rates["cells"] = 0
        assert [await world.tick() for _ in range(20)][-10:] == [Stall.ROW] * 10
        world.rates["cells"] = 1
        while world.steps[world.next] is step:
            await world.tick()
        world.rates["cells"] = 0


@test
async def waits_for_the_softmax(dut):
    """Without probabilities SOFTMAX from the first step of values; with them and no factors at a tile's last step."""
    world = World(dut, word=2, query=2, probability=0, unit=0)
    job = plain(random.Random("softmax"), keys=LANES, head_dim=max(8, LANES))
    await world.begin(job)
    while not world.steps[world.next].values:
        await world.tick()
    assert [await world.tick() for _ in range(40)] == [Stall.SOFTMAX] * 40
    world.rates["probability"] = 2
    assert [await world.tick() for _ in range(LANES)] == [Stall.SOFTMAX] + [Stall.NONE] * (LANES - 1)
    assert [await world.tick() for _ in range(20)] == [Stall.SOFTMAX] * 20
    # Factors are counted in the cycle after they were told, and looked at in that.
    world.rates["unit"] = 1
    assert [await world.tick() for _ in range(3)] == [Stall.SOFTMAX] * 2 + [Stall.NONE]


@test
async def waits_for_the_factors_of_its_own_context(dut):
    """With several passes the factors stay: in the first, the second context's last step needs those of both."""
    world = World(dut, word=2, query=2, probability=2, unit=0)
    job = plain(random.Random("factors"), rows=2 * ROWS, keys=LANES, head_dim=2 * LANES)
    await world.begin(job)
    assert len(job.passes) == 2 and job.chunks()[0].contexts == 2
    for context in (0, 1):
        for _ in range(200):
            await world.tick()
        step = world.steps[world.next]
        assert (step.values, step.number, step.context, step.last) == (True, 0, context, True), step
        assert world.stalls[-20:] == [Stall.SOFTMAX] * 20
        world.rates["unit"] = 1
        await world.tick()
        world.rates["unit"] = 0
    for _ in range(200):
        if not world.over:
            await world.tick()
    assert world.over


@test
async def waits_for_the_drain(dut):
    """Tiles of values of one key end exactly a drain apart."""
    world = World(dut, latency=1, softmax=1, word=2, query=2, probability=2)
    job = plain(random.Random("drain"), rows=ROWS * CONFIG.contexts, keys=1, head_dim=8)
    await world.run(job)
    ends = [cycle for cycle, step in zip(world.issued, world.steps) if step.last and step.values]
    assert len(ends) == CONFIG.contexts > 1
    assert [after - before for before, after in zip(ends, ends[1:])] == [SPACING] * (len(ends) - 1)
    assert world.stalls.count(Stall.DRAIN) >= (len(ends) - 1) * (SPACING - 1)


@test
async def waits_for_room(dut):
    """While no result leaves, exactly as many tiles of results end as their queue holds; then OUTPUT."""
    world = World(dut, word=2, query=2, probability=2, credit=0)
    rng = random.Random("room")
    for head_dim in range(8, CONFIG.max_head_dim + 1, 8):
        job = plain(rng, rows=3 * ROWS * CONFIG.contexts, keys=LANES, head_dim=head_dim)
        world.rates["credit"] = 0
        await world.begin(job)
        stalls = [await world.tick() for _ in range(2000)]
        room, fits = ROOM, 0
        for step in world.steps:
            if step.last and step.values:
                if room < step.lanes:
                    break
                room, fits = room - step.lanes, fits + 1
        done = sum(step.last and step.values for step in world.steps[:world.next])
        assert done == fits and stalls[-100:] == [Stall.OUTPUT] * 100, (done, fits, stalls[-1])
        world.rates["credit"] = 1
        before = world.next
        for _ in range(200):
            if not world.over:
                await world.tick()
        assert world.next > before
