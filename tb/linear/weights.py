"""Weights: the walk over panels, and the loader that sorts their beats.

Parameters: OLIVINE_CONFIG, OLIVINE_UNIT ("addresses" or "loader").
"""

import os
import random
from itertools import product

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge
from olivine.linear.descriptor import RECORD_BYTES, Group
from olivine.linear.weights import MULTIPLIER_SLOTS, RECORD_SLOTS, channel_address
from olivine.olive.formats import LaneFormat
from olivine_golden.linear import LinearWeights
from olivine_host.jobs import pack_weights

from tb.linear.jobs import CONFIG, plan_bits, random_job
from tb.linear.walk import Walk, at_full_speed, beginning, ragged
from tb.streams import PATTERNS, StreamSource, cycle, pack, start

LANES, COLUMNS, BUS = CONFIG.lanes, CONFIG.drain_columns, CONFIG.bus_bytes


# --- Addresses ----------------------------------------------------------------------------------------

def walk(dut, pattern="always"):
    return Walk(dut, lambda job: job.weight_commands(), {}, "o", (pattern,))


async def walks_ragged_jobs(dut, pattern):
    await ragged(walk(dut, pattern), pattern, jobs=8)


async def walks_at_full_speed(dut):
    await at_full_speed(walk(dut))


async def begins_large_jobs(dut, seed):
    await beginning(walk(dut), seed)


# --- Loader -------------------------------------------------------------------------------------------

def random_weights(rng, job):
    """Weights of the job's shape, every byte of them random."""
    numbers = np.random.default_rng(rng.getrandbits(32))

    def draw(limit, dtype, *shape):
        return numbers.integers(0, limit, shape).astype(dtype)

    return LinearWeights(
        job.weight_format, job.group, draw(256 if job.int8 else 16, np.uint8, job.k, job.n),
        draw(256, np.uint8, job.runs, job.n) if job.grouped else None, job.group_shift,
        draw(1 << 32, np.uint32, job.n).view(np.int32), draw(1 << 16, np.uint16, job.n),
        draw(64, np.uint8, job.n))


class Slots:
    """A ring of slots: pieces that are filled in order and released in order, and numbers read from them."""

    def __init__(self, dut, name, slots, item_bytes):
        self.addr, self.port = getattr(dut, f"{name}_addr"), getattr(dut, name)
        self.release = getattr(dut, f"{name}_release")
        self.layout = channel_address(CONFIG, slots)
        self.slots, self.item = slots, item_bytes
        self.restart()

    def restart(self):
        self.filled, self.released = [], 0      # pieces that came so far, how many were given back
        self.asked = None
        self.addr.value = self.release.value = 0

    @property
    def held(self):
        return len(self.filled) - self.released

    @property
    def room(self):
        return self.held < self.slots

    def drive(self, rng, release):
        """Ask for the numbers of some channels of a slot that is held; give one back."""
        if self.held:
            index, lane = rng.randrange(self.released, len(self.filled)), rng.randrange(0, LANES, COLUMNS)
            self.addr.value = pack(self.layout, {"slot": index % self.slots, "lane": lane})
            self.asked = self.filled[index][lane * self.item:(lane + COLUMNS) * self.item]
        else:
            self.addr.value, self.asked = rng.getrandbits(self.layout.size), None
        self.releasing = bool(release and self.held)
        self.release.value = int(self.releasing)

    def check(self, expected):
        """``expected``: what was asked for in the cycle before."""
        if expected is not None:
            got = int(self.port.value).to_bytes(len(expected), "little")
            assert got == expected, f"cycle {cycle()}: {got.hex()}, not {expected.hex()}"


class Loader:
    """The loader, a source of beats, and a model that says in each cycle what the loader must do."""

    def __init__(self, dut, pattern, seed):
        self.dut, self.rng = dut, random.Random(f"{seed}")
        self.beats = StreamSource(dut, "i", pattern, seed=1)
        self.records = Slots(dut, "record", RECORD_SLOTS, RECORD_BYTES)
        self.multipliers = Slots(dut, "multiplier", MULTIPLIER_SLOTS, 1)
        dut.plan.value = dut.offset.value = dut.release.value = 0
        self.started = False

    async def begin(self, job):
        """Reset the loader with a job's plan; the beats of all its chunks are on offer."""
        self.complete = False
        self.dut.plan.value = plan_bits(job)
        for slots in (self.records, self.multipliers):
            slots.restart()
        self.dut.release.value = 0
        if self.started:
            self.dut.rst.value = 1
            await RisingEdge(self.dut.clk)
            self.dut.rst.value = 0
        else:
            self.started = True
            await start(self.dut)
        chunk = pack_weights(random_weights(self.rng, job), LANES)
        image = chunk * len(list(job.chunks()))
        self.pieces = list(self.cut(job, chunk)) * len(list(job.chunks()))
        self.grouped = job.grouped
        self.words, self.word_asked = [], None      # words held
        self.got = 0                                # bytes of the current piece
        self.runs = 0
        self.beats.push(int.from_bytes(image[at:at + BUS], "little") for at in range(0, len(image), BUS))

    @staticmethod
    def cut(job, image):
        """(kind, bytes) of each piece of a chunk's panels."""
        place = 0
        for kind, count in job.weight_pieces():
            size = count * LANES * (RECORD_BYTES if kind == "records" else 1)
            yield kind, image[place:place + size]
            place += size
        assert place == len(image)

    def may_take(self):
        """Whether there is room for the next beat."""
        kind = self.pieces[0][0] if self.pieces else "records"
        return {"records": self.records.room, "multipliers": self.multipliers.room,
                "words": len(self.words) < CONFIG.tile_words}[kind]

    def enter(self):
        """A beat was taken; returns whether a run is complete with it."""
        kind, piece = self.pieces[0]
        self.got += BUS
        complete = self.got == len(piece)
        if kind == "words" and self.got % LANES == 0:
            self.words.append(piece[self.got - LANES:self.got])
        if complete:
            self.pieces.pop(0)
            self.got = 0
            if kind != "words":
                (self.records if kind == "records" else self.multipliers).filled.append(piece)
        return complete and kind == ("multipliers" if self.grouped else "words")

    async def cycle(self, release=False, release_record=False, release_multiplier=False):
        """One cycle, in which the loader must do as the model; returns whether a beat moved."""
        dut, rng = self.dut, self.rng
        before = [(slots, slots.asked) for slots in (self.records, self.multipliers)]
        self.records.drive(rng, release_record)
        self.multipliers.drive(rng, release_multiplier)
        word_before, self.word_asked = self.word_asked, None
        offset = rng.randrange(CONFIG.tile_words)
        if self.words:
            offset = rng.choice((0, len(self.words) - 1, rng.randrange(len(self.words))))
            self.word_asked = self.words[offset]
        release = release and bool(self.words)
        dut.offset.value, dut.release.value = offset, int(release)
        await RisingEdge(dut.clk)
        for slots, expected in before:
            slots.check(expected)
        if word_before is not None:
            word = int(dut.o.value).to_bytes(LANES, "little")
            assert word == word_before, f"cycle {cycle()}: the wrong word"
        assert int(dut.level.value) == len(self.words)
        ready = int(dut.i__ready.value)
        assert ready == self.may_take(), (
            f"cycle {cycle()}: ready is {ready}, {len(self.words)} words, {self.records.held} records and "
            f"{self.multipliers.held} multipliers held, {self.pieces[:1] and self.pieces[0][0]} to come")
        moved = ready and dut.i__valid.value == 1
        assert int(dut.run_complete.value) == self.complete, f"cycle {cycle()}: run_complete, or not"
        self.complete = self.enter() if moved else False        # told a cycle later
        self.runs += self.complete
        if release:
            self.words.pop(0)
        for slots in (self.records, self.multipliers):
            slots.released += slots.releasing
        return moved

    async def finish(self, job, rates=(1, 1, 1), timeout=60_000):
        """Run to the last beat, giving back words, records and multipliers at some rates."""
        for _ in range(timeout):
            if not self.pieces:
                break
            await self.cycle(*(self.rng.random() < rate for rate in rates))
        assert not self.pieces, "the loader stands still"
        for _ in range(4):
            await self.cycle()
        assert self.runs == job.runs * job.panels * len(list(job.chunks()))


async def sorts_jobs(dut, pattern):
    """Every format with every kind of scale; words and slots are given back in phases of any speed."""
    loader = Loader(dut, pattern, f"jobs {pattern}")
    rng = loader.rng
    kinds = list(product(LaneFormat, Group))
    rng.shuffle(kinds)
    for weight_format, group in kinds[:2 if pattern == "rare" else 4]:
        job = random_job(rng, m=rng.choice((1, CONFIG.chunk_rows + 1)), k=rng.choice((1, 2, 63, 65, 129, 130)),
                         n=rng.choice((LANES - 1, LANES, 2 * LANES + 1)), weight_format=weight_format,
                         group=group)
        await loader.begin(job)
        await loader.finish(job, [rng.choice((0.03, 0.3, 1)) for _ in range(3)])


async def one_beat_a_cycle(dut):
    """While there is room, every beat is taken in the cycle of its offer."""
    loader = Loader(dut, "always", "speed")
    rng = loader.rng
    for weight_format, group in ((LaneFormat.INT8, Group.CHANNEL), (LaneFormat.OVP4_INT, Group.G64)):
        job = random_job(rng, m=1, n=3 * LANES, k=130, weight_format=weight_format, group=group)
        await loader.begin(job)
        begin = cycle()
        taken = 0
        while loader.pieces:
            taken += await loader.cycle(True, True, True)
        # The source itself takes a cycle to wake up after a reset.
        assert taken <= cycle() - begin <= taken + 2
        assert taken * BUS == job.panels * job.panel_bytes


async def stops_at_each_limit(dut):
    """Exactly as many words, records and multipliers as there is room for; and on after a release."""
    loader = Loader(dut, "always", "limits")
    rng = loader.rng

    async def until_it_stands(rates):
        still = 0
        while still < 20:
            moved = await loader.cycle(*rates)
            still = 0 if moved else still + 1

    # The tile buffer.
    job = random_job(rng, m=1, n=LANES * (2 + CONFIG.tile_words // 100), k=100, weight_format=LaneFormat.INT8)
    await loader.begin(job)
    await until_it_stands((False, True, True))
    assert len(loader.words) == CONFIG.tile_words
    await loader.finish(job)
    # Records.
    job = random_job(rng, m=1, n=(RECORD_SLOTS + 1) * LANES, k=3)
    await loader.begin(job)
    await until_it_stands((True, False, True))
    assert loader.records.held == RECORD_SLOTS
    await loader.finish(job, (1, 0.05, 1))
    # Multipliers: more runs than slots, all of one step.
    job = random_job(rng, m=CONFIG.chunk_rows * (MULTIPLIER_SLOTS // 2 + 1), n=2 * LANES, k=1, group=Group.G128)
    await loader.begin(job)
    await until_it_stands((True, True, False))
    assert loader.multipliers.held == MULTIPLIER_SLOTS
    await loader.finish(job, (1, 1, 0.05))


# A unit that stands still fails, and does not wait for ever.
test = cocotb.test(timeout_time=500, timeout_unit="us")

if os.environ["OLIVINE_UNIT"] == "addresses":
    walks_ragged_jobs = test(cocotb.parametrize(pattern=list(PATTERNS))(walks_ragged_jobs))
    walks_at_full_speed = test(walks_at_full_speed)
    begins_large_jobs = test(cocotb.parametrize(seed=range(8))(begins_large_jobs))
else:
    sorts_jobs = test(cocotb.parametrize(pattern=list(PATTERNS))(sorts_jobs))
    one_beat_a_cycle = test(one_beat_a_cycle)
    stops_at_each_limit = test(stops_at_each_limit)
