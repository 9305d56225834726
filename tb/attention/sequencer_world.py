"""What surrounds the attention engine's sequencer: operands and room, which come as a test likes.

In every cycle the model knows which operands are there. So it knows whether the sequencer may take a
step, and which; and whether it must, as nothing was missing for some cycles; and, if not, which causes are true.
"""

import random
from collections import deque
from dataclasses import fields

from cocotb.triggers import RisingEdge
from olivine.attention.layout import GROUPS, slots
from olivine.attention.sequencer import TILE_SPACING
from olivine.attention.steps import step_layout
from olivine.control.job import Stall
from olivine.olive.formats import LaneFormat
from olivine_golden.attention_plan import Job

from tb.attention.jobs import CONFIG, LANES, Fresh, chunk_bits, page_bits
from tb.streams import StreamChecker, pack, unpack

STEP = step_layout(CONFIG)
TAG = STEP["tag"].shape
AHEAD = 3
"""Most steps that wait to be taken when a page or a chunk is."""

FILL = 3
"""Cycles from a chunk to its first step."""

LATE = 4
"""Most cycles without a step in which nothing is missing: two for a new chunk, one to decide, and one if the step
before gave a word back."""

ROOM = 2 * LANES
"""Words of results that fit their queue."""

SPACING = max(LANES, TILE_SPACING)

RATES = ("chunk", "page", "cells", "word", "query", "probability", "unit", "credit")

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
            if step.step == 0 and step.steps <= 2:
                # So short a tile comes a cycle late, when what the step before gave back may count still.
                self.missed |= {Stall.LANE, Stall.SOFTMAX, Stall.DRAIN}
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
