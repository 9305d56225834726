"""Pages: the walk over their tiles, and the loader that places the tiles' beats.

Parameters: OLIVINE_CONFIG, OLIVINE_UNIT ("addresses" or "loader").
"""

import os
import random
from itertools import product

import cocotb
from cocotb.triggers import RisingEdge
from olivine.attention.pages import tile_layout
from olivine.olive.formats import LaneFormat

from tb.attention.jobs import BUS, CONFIG, LANES, Fresh, kinds_of_chunks, random_job
from tb.attention.walk import Walk
from tb.streams import PAIRS, PATTERNS, StreamChecker, StreamSource, cycle, pack

TILE = tile_layout(CONFIG)


def tile_fields(tile):
    """A golden tile as the loader is told of it."""
    fields = {"values": int(tile.values), "keys": tile.keys}
    return {**fields, "last_pass": int(tile.last_pass)} if tile.values else fields


# --- Addresses ----------------------------------------------------------------------------------------

def walk(dut, pair=("always", "always")):
    return Walk(dut, lambda job: job.tiles(), {"o_tile": (TILE, tile_fields)}, pair, pages=True)


async def walks_any_job(dut, pair):
    bench, rng = walk(dut, pair), random.Random(f"walk {pair}")
    for _ in range(2):
        await bench.walk(random_job(rng))


async def walks_each_kind(dut, key_format, value_format):
    """Every kind of chunk in both word lengths, blank ones between others included."""
    bench, rng = walk(dut), random.Random(f"kinds {key_format} {value_format}")
    seen = set()
    for job in kinds_of_chunks(rng, key_format=LaneFormat[key_format], value_format=LaneFormat[value_format]):
        await bench.walk(job)
        seen |= {("blank", chunk.blank) for chunk in job.chunks()}
        seen |= {("ahead", chunk.lookahead) for chunk in job.chunks() if chunk.pages > 1}
    assert seen == set(product(("blank", "ahead"), (False, True)))


async def a_tile_in_two_cycles(dut):
    bench, rng = walk(dut), random.Random("speed")
    for _ in range(3):
        job = random_job(rng, groups=1, rows=1, keys=20 * LANES, causal=False, window=0)
        count = await bench.walk(job)
        for sink in bench.sinks.values():
            cycles = sink.cycles[-count:]
            # The second page's keys follow the first's at once, and wait a cycle.
            assert cycles[-1] - cycles[0] == 2 * (count - 1) + 1, "not a tile in two cycles"


# --- Loader -------------------------------------------------------------------------------------------

def words_of(job, tile, image):
    """What the words of a tile hold, by byte of the word, as far as they hold anything; and for each beat of the
    tile its word, and whether it completes it."""
    value_int8, word = job.value_format is LaneFormat.INT8, {}
    beats = [image[at:at + BUS] for at in range(0, len(image), BUS)]
    order = []
    if tile.values:
        # Key by key, in whole beats; in 4 bit two keys share a word, half of it each.
        per_key = len(beats) // tile.keys
        for key, part in product(range(tile.keys), range(per_key)):
            place, half = (key, 0) if value_int8 else (key // 2, key % 2)
            order.append((place, half * LANES // 2 + part * BUS))
    else:
        # Sub-block by sub-block of B keys: a beat is one byte of each.
        for block, place in product(range(len(beats) // job.key_words), range(job.key_words)):
            order.append((place, block * BUS))
    last = {place: index for index, (place, _) in enumerate(order)}
    for (place, byte), beat in zip(order, beats, strict=True):
        word.setdefault(place, {}).update({byte + index: value for index, value in enumerate(beat)})
    return [word[place] for place in sorted(word)], [
        (place, index == last[place]) for index, (place, _) in enumerate(order)]


class Loader:
    """The loader, sources of beats and tiles, and a model that says in each cycle what the loader must do."""

    def __init__(self, dut, patterns=("always", "always"), seed=0):
        self.dut, self.rng, self.fresh = dut, random.Random(f"{seed}"), Fresh(dut)
        self.beats = StreamSource(dut, "i", patterns[0], seed=1)
        self.tiles = StreamSource(dut, "i_tile", patterns[1], seed=2)
        StreamChecker(dut, "i"), StreamChecker(dut, "i_tile")
        dut.offset.value = dut.release.value = 0

    async def begin(self, job):
        self.words, self.coming = [], []
        images = []
        for tile in job.tiles():
            image = self.rng.randbytes(tile.bytes)
            words, order = words_of(job, tile, image)
            self.coming += [(len(self.words) + place, complete, index == len(order) - 1)
                            for index, (place, complete) in enumerate(order)]
            self.words += words
            images.append(image)
        self.complete, self.base, self.asked = 0, 0, None     # words complete, given back; what was asked for
        # A tile waits, one is at work, the next beat has room (of which the loader learns a cycle late).
        self.known, self.active, self.room = False, False, True
        self.dut.release.value = 0
        await self.fresh(job)
        self.tiles.push(pack(TILE, tile_fields(tile)) for tile in job.tiles())
        self.beats.push(int.from_bytes(image[at:at + BUS], "little")
                        for image in images for at in range(0, len(image), BUS))

    @property
    def held(self):
        return self.complete - self.base

    async def cycle(self, release=False):
        """One cycle, in which the loader must do as the model; returns whether a beat moved."""
        dut, rng = self.dut, self.rng
        before, self.asked = self.asked, None
        offset, release = rng.randrange(CONFIG.tile_words), release and self.held > 0
        if self.held:
            offset = rng.choice((0, self.held - 1, rng.randrange(self.held)))
            self.asked = self.words[self.base + offset]
        dut.offset.value, dut.release.value = offset, int(release)
        await RisingEdge(dut.clk)
        if before is not None:
            word = int(dut.o.value).to_bytes(LANES, "little") if dut.o.value.is_resolvable else None
            if word is None:
                # What was never written is not known.
                bits = str(dut.o.value)[::-1]
                word = {byte: int(bits[8 * byte:8 * byte + 8][::-1], 2) for byte in before}
            found = {byte: word[byte] for byte in before}
            assert found == before, f"cycle {cycle()}: the wrong word: {found}, not {before}"
        assert int(dut.level.value) == self.held, f"cycle {cycle()}: level is {int(dut.level.value)}, not {self.held}"
        here, self.base = self.base, self.base + release
        ready, told = int(dut.i__ready.value), int(dut.i_tile__valid.value)
        if not self.coming:
            assert not told, "the last tile was not taken"
            return False
        word, complete, end = self.coming[0]
        may = self.active and self.room
        assert ready == may, f"cycle {cycle()}: ready is {ready}, {self.held} words held, the next beat is of {word}"
        moved = bool(ready and dut.i__valid.value == 1)
        load = self.known and (not self.active or moved and end)
        takes = not self.known or load
        assert int(dut.i_tile__ready.value) == takes, f"cycle {cycle()}: the next tile is taken, or not"
        self.active = load or self.active and not (moved and end)
        if takes:
            self.known = bool(told)
        if moved:
            self.coming.pop(0)
            self.complete += complete
        following = self.coming[0][0] if self.coming else len(self.words)
        self.room = following - here < CONFIG.tile_words
        return moved

    async def finish(self, rate=1, timeout=30_000):
        """Run to the last beat, giving words back at some rate."""
        for _ in range(timeout):
            if not self.coming and not self.held:
                break
            await self.cycle(self.rng.random() < rate)
        assert not self.coming and self.complete == self.base == len(self.words), "the loader stands still"
        await self.cycle()


def loadable(rng, limit=12_000, **fixed):
    """A random job that a simulation can load, with at least one tile."""
    while True:
        job = random_job(rng, **fixed)
        if 0 < sum(tile.bytes for tile in job.tiles()) <= limit * BUS // 4:
            return job


async def places_jobs(dut, pair):
    """Tiles of any format and size; words are given back at any speed, and none, half or all are looked at."""
    loader = Loader(dut, pair, f"jobs {pair}")
    for _ in range(2):
        job = loadable(loader.rng, limit=2_000)
        await loader.begin(job)
        await loader.finish(loader.rng.choice((0.1, 0.5, 1)))


async def places_each_kind(dut, key_format, value_format):
    loader = Loader(dut, seed=f"kinds {key_format} {value_format}")
    for keys in (1, BUS, BUS + 1, LANES - 1, LANES, 2 * LANES + 3):
        head_dim = loader.rng.choice((8, CONFIG.max_head_dim, CONFIG.max_head_dim - 8))
        await loader.begin(random_job(loader.rng, groups=1, rows=1, keys=keys, causal=False, window=0,
                                      head_dim=head_dim, key_format=LaneFormat[key_format],
                                      value_format=LaneFormat[value_format]))
        await loader.finish()


async def one_beat_a_cycle(dut):
    """While there is room, every beat is taken in the cycle of its offer."""
    loader = Loader(dut, seed="speed")
    for key_format, value_format in product((LaneFormat.INT8, LaneFormat.INT4), repeat=2):
        job = random_job(loader.rng, groups=1, rows=1, keys=2 * LANES, causal=False, window=0,
                         key_format=key_format, value_format=value_format)
        await loader.begin(job)
        begin, beats = cycle(), len(loader.coming)
        while loader.coming:
            await loader.cycle(True)
        # The sources themselves take a cycle to wake up after a reset, and the first tile two to be at work.
        assert beats <= cycle() - begin <= beats + 4
        await loader.finish()


async def stops_when_full(dut):
    """Exactly as many words as there is room for, and on after a release, around the ring more than twice."""
    loader = Loader(dut, seed="full")
    head_dim = CONFIG.max_head_dim
    words = head_dim + LANES * -(-head_dim // LANES)
    pages = 1 + 5 * CONFIG.tile_words // 2 // words
    job = random_job(loader.rng, groups=1, rows=1, keys=LANES * pages, causal=False, window=0, head_dim=head_dim,
                     key_format=LaneFormat.INT8, value_format=LaneFormat.INT8)
    await loader.begin(job)
    still = 0
    while still < 20:
        still = 0 if await loader.cycle() else still + 1
    # A tile of keys is complete only with its last sub-block: it may hold room for its own last words.
    assert CONFIG.tile_words - head_dim <= loader.held <= CONFIG.tile_words
    assert loader.coming[0][0] == CONFIG.tile_words
    await loader.finish()
    assert len(loader.words) > 2 * CONFIG.tile_words


# A unit that stands still fails, and does not wait for ever.
test = cocotb.test(timeout_time=500, timeout_unit="us")
kinds = cocotb.parametrize(key_format=["OVP4_INT", "INT8"], value_format=["INT4", "INT8"])

if os.environ["OLIVINE_UNIT"] == "addresses":
    walks_any_job = test(cocotb.parametrize(pair=PAIRS[::2])(walks_any_job))
    walks_each_kind = test(kinds(walks_each_kind))
    a_tile_in_two_cycles = test(a_tile_in_two_cycles)
else:
    places_jobs = test(cocotb.parametrize(pair=list(zip(PATTERNS, reversed(PATTERNS))))(places_jobs))
    places_each_kind = test(kinds(places_each_kind))
    one_beat_a_cycle = test(one_beat_a_cycle)
    stops_when_full = test(stops_when_full)
