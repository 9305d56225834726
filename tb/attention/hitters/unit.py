"""The unit for heavy hitters against golden: groups of whole jobs, in memory before and after.

Parameters: OLIVINE_CONFIG; OLIVINE_RUN: "random", "short" or "budget", then OLIVINE_CELLS; OLIVINE_LATENCY.
"""

import itertools
import os
import random
from collections import deque

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge
from olivine.attention.hitters.layout import cell_chunk_layout, cell_group_layout
from olivine.attention.hitters.unit import HitterUnit
from olivine.attention.layout import record_layout
from olivine.attention.plan import address_bits
from olivine.attention.score import score_word
from olivine.control.job import command
from olivine.kvcache.descriptor import RECORD_BYTES
from olivine.kvcache.lookup import CacheEvent, EventKind
from olivine.memory.realign import words

from tb.attention.hitters.groups import random_group
from tb.attention.units import CONFIG, LANES, ROWS, shape_of
from tb.streams import PAIRS, StreamChecker, StreamSink, StreamSource, cycle, pack, start, unpack

WORD, RECORD, BEAT = score_word(CONFIG), record_layout(CONFIG), words(CONFIG.bus_bytes)
GROUP, CHUNK, COMMAND = cell_group_layout(CONFIG), cell_chunk_layout(CONFIG), command(address_bits(CONFIG))
PLACE, LOADED = shape_of(HitterUnit, "cell_addr"), shape_of(HitterUnit, "loaded")
POSITION = shape_of(HitterUnit, "position")
SPACE = RECORD_BYTES * CONFIG.cells



def place_of(layout, *path):
    """Offset of a field within a field, by names: a simulation packs too many words for `tb.streams.pack`."""
    offset = 0
    for name in path:
        offset, layout = offset + layout[name].offset, layout[name].shape
    return offset


LATENCY = int(os.environ["OLIVINE_LATENCY"])
PLACES = {path: place_of(WORD, *path) for path in (
    ("valid",), ("first",), ("last",), ("visible",), ("score",), *(("tag", name) for name in (
        "bank", "context", "final", "first", "keys", "position")))}
LAST, CELL_BIT = 1 << PLACES["last",], place_of(PLACE, "cell")
BANK_BITS = LOADED[0].shape.size
LOADED_PLACES = {name: place_of(LOADED, 0, name) for name in ("group", "valid", "cells")}


def word_bits(fields, tag):
    """`score_word` of small integers, the scores already packed."""
    return (sum(value << PLACES[name,] for name, value in fields.items())
            | sum(value << PLACES["tag", name] for name, value in tag.items()))


MASK_TO_WORD = 5
"""Cycles from the question for a cell's position to its word of scores."""


class Bench:
    """One job: memory, the controller's side, and a sequencer that sends words as the unit allows.

    Attributes
    ----------
    closed, recorded : list of int
        Cycles in which groups were reported as summed, in which their records came.
    loads : list of int
        Cycles from each group's transfer to that of its first chunk.
    """

    def __init__(self, dut, mode, groups, pair=("always", "always"), seed=0, latency=10, events=None):
        self.dut, self.mode, self.groups = dut, mode, groups
        self.rng, self.latency = random.Random(seed), latency
        self.memory = {}
        self.groups_in, self.chunks_in = (StreamSource(dut, name, pair[0], seed) for name in ("i_group", "i_chunk"))
        self.data = StreamSource(dut, "i", pair[0], seed + 1)
        self.sinks = {name: StreamSink(dut, name, pair[1], seed + 2)
                      for name in ("o_command", "o_write_command", "o_write")}
        self.sinks["event"] = StreamSink(dut, "event", events or pair[1], seed + 3)
        for name in self.sinks:
            StreamChecker(dut, name)
        self.ports = {name: [getattr(dut, f"{name}__{part}") for part in ("valid", "ready", "payload")]
                      for name in self.sinks}
        self.reads, self.writes, self.responses = deque(), deque(), deque()
        self.bytes, self.ends = bytearray(), []     # written so far of transfers, and where these end
        self.write_log, self.events, self.closed, self.recorded, self.loads = [], [], [], [], []
        self.words = deque([None] * MASK_TO_WORD)
        self.records, self.asked = deque(), None
        self.flight, self.done, self.dones = 0, 0, []
        self.loaded = self.lse_ready = 0
        dut.cells.value, dut.hitters.value, dut.score.value = 1, int(mode != "cells"), int(mode == "score")
        dut.write_idle.value, dut.i_record_valid.value, dut.i_record.value = 1, 0, 0
        dut.i_score.value = dut.score_group.value = dut.cell_addr.value = 0

    # --- Memory -----------------------------------------------------------------------------------------

    def _moved(self, name):
        """The payload of a stream that was transferred at this edge."""
        valid, ready, payload = self.ports[name]
        return int(payload.value) if valid.value == 1 and ready.value == 1 else None

    def _region(self, addr, size):
        """The memory that holds these bytes: they lie within one region."""
        for base, image in self.memory.items():
            if base <= addr and addr + size <= base + len(image):
                return image, addr - base
        raise AssertionError(f"{size} bytes at {addr:#x} lie nowhere")

    def _serve(self):
        dut, now = self.dut, cycle()
        if (bits := self._moved("o_command")) is not None:
            self.reads.append((now + self.latency, unpack(COMMAND, bits)))
        while self.reads and self.reads[0][0] <= now:
            _, asked = self.reads.popleft()
            image, place = self._region(asked["addr"], asked["bytes"])
            taken = image[place:place + asked["bytes"]]
            beats = [taken[first:first + CONFIG.bus_bytes] for first in range(0, len(taken), CONFIG.bus_bytes)]
            for index, beat in enumerate(beats):
                junk = self.rng.randbytes(CONFIG.bus_bytes - len(beat))
                self.data.push(pack(BEAT, {"data": list(bytes(beat) + junk), "count": len(beat),
                                           "last": int(index == len(beats) - 1)}))
        if (bits := self._moved("o_write_command")) is not None:
            asked = unpack(COMMAND, bits)
            self._region(asked["addr"], asked["bytes"])
            self.writes.append(asked)
            self.write_log.append((asked["addr"], asked["bytes"]))
            # Of the group at the record's address its change must be known.
            touched = [fields["slot"] for kind, fields in self.events if kind is EventKind.TOUCHED]
            assert any(group.fields["slot"] in touched for group in self.groups
                       if 0 <= asked["addr"] - group.fields["record"] < SPACE), (asked, touched)
        if (bits := self._moved("o_write")) is not None:
            beat = unpack(BEAT, bits)
            assert beat["last"] or beat["count"] == CONFIG.bus_bytes
            self.bytes += bytes(beat["data"][:beat["count"]])
            if beat["last"]:
                self.ends.append(len(self.bytes))
        while self.writes and len(self.bytes) >= self.writes[0]["bytes"]:
            asked = self.writes.popleft()
            size = asked["bytes"]
            assert self.ends and self.ends.pop(0) == size, "a transfer ends where its command says"
            self.ends = [end - size for end in self.ends]
            self.responses.append((now + self.latency, asked["addr"], bytes(self.bytes[:size])))
            del self.bytes[:size]
        while self.responses and self.responses[0][0] <= now:
            _, addr, written = self.responses.popleft()
            image, place = self._region(addr, len(written))
            image[place:place + len(written)] = written
        dut.write_idle.value = int(not (self.writes or self.responses or self.bytes))
        if (bits := self._moved("event")) is not None:
            fields = unpack(CacheEvent, bits)
            self.events.append((fields["kind"], fields))
            assert not fields["failed"]
            if fields["kind"] is EventKind.SUMMED:
                self._closed(self.groups[len(self.closed)], fields)

    def _closed(self, group, event):
        self.closed.append(cycle())
        assert event["slot"] == group.fields["slot"]
        image = bytes(self.memory[group.fields["record"]])
        if image != group.after:
            wrong = [index for index, pair in enumerate(zip(image, group.after)) if pair[0] != pair[1]]
            raise AssertionError(f"group {len(self.closed) - 1} {group.fields}: {len(wrong)} bytes differ, "
                                 f"the first {wrong[:8]}")

    # --- Cycles ------------------------------------------------------------------------------------------

    async def tick(self, ask=None, word=None):
        """One cycle: ``ask`` is (group's number, cell, position or -1), ``word`` (number, bits of `score_word`, whether
        `chunk_done` answers it)."""
        dut, rng = self.dut, self.rng
        bank, cell = (ask[0] % 2, ask[1]) if ask else (rng.getrandbits(1), rng.randrange(CONFIG.cells))
        dut.cell_addr.value = bank | cell << CELL_BIT
        self.words.append(word)
        word = self.words.popleft()
        # Noise without its marks.
        dut.i_score.value = word[1] if word else rng.getrandbits(WORD.size) & ~(LAST | 1)
        dut.score_group.value = word[0] % 4 if word else rng.getrandbits(2)
        due = bool(self.records and self.records[0][0] <= cycle())
        dut.i_record_valid.value = int(due)
        dut.i_record.value = self.records.popleft()[1] if due else rng.getrandbits(RECORD.size)
        await RisingEdge(dut.clk)
        self.recorded += [cycle()] * due
        self._serve()
        if self.asked:
            got, position = int(dut.position.value), self.asked[2]
            assert got & 1 == (position >= 0) and (position < 0 or got >> 1 == position), (got, self.asked)
        self.asked = ask
        self.loaded, self.lse_ready = int(dut.loaded.value), int(dut.lse_ready.value)
        # What a register would hold that counts down with `chunk_done`.
        self.flight -= self.done
        self.done = int(dut.chunk_done.value)
        if word and word[2]:
            self.dones.append(cycle() + LATENCY)
        assert self.done == (self.dones[:1] == [cycle()]), (cycle(), self.dones)
        del self.dones[:self.done]
        assert self.flight >= 0 and self.done <= (self.mode == "score")
        assert self.lse_ready <= (2 if self.mode == "score" else 0)

    def ready(self, number, cells):
        bank = self.loaded >> number % 2 * BANK_BITS
        group, valid, count = (bank >> LOADED_PLACES[name] for name in ("group", "valid", "cells"))
        return valid & 1 and group % 4 == number % 4 and count % (2 * CONFIG.cells) >= cells

    # --- The job -----------------------------------------------------------------------------------------

    async def run(self, gap=None, record_after=20):
        """All groups; ``gap()``: idle cycles before a word. Returns the cycles that it took."""
        self.gap, base = gap or (lambda: 0), 0x7000
        for group in self.groups:
            self.memory[group.fields["record"]] = bytearray(group.image)
            for chunk in group.chunks:
                if self.mode == "score":
                    chunk.address = base
                    self.memory[base] = bytearray(chunk.lse.astype("<i4").tobytes())
                    base += 4 * ROWS * CONFIG.contexts + 4
        await start(self.dut)
        assert self.dut.idle.value == 1
        begun, banks = cycle(), 0
        for group in self.groups:
            self.groups_in.push(pack(GROUP, group.fields))
            for index, chunk in enumerate(group.chunks):
                self.chunks_in.push(pack(CHUNK, {
                    "bank": banks % 2, "first": int(index == 0), "last": int(index == len(group.chunks) - 1),
                    "contexts": chunk.contexts, "last_rows": chunk.last_rows, "lse": chunk.address}))
                banks += 1
        banks = 0
        for number, group in enumerate(self.groups):
            for chunk in group.chunks:
                while self.mode == "score" and self.lse_ready <= self.flight:
                    await self.tick()
                    assert self.flight < 3
                await self.chunk(number, group, chunk, banks % 2)
                banks += 1
                if self.mode == "score":
                    self.flight += 1
                if self.mode == "decode":
                    rows = chunk.lse.tolist() + [self.rng.randrange(-1 << 17, 1 << 17)] * (ROWS - len(chunk.lse))
                    self.records.append((cycle() + MASK_TO_WORD + record_after,
                                         pack(RECORD, [{"lse": lse} for lse in rows])))
        for _ in range(MASK_TO_WORD + 2):
            await self.tick()
        waited = 0
        while self.dut.idle.value != 1 or self.records:
            await self.tick()
            waited += 1
            assert waited < 300 * CONFIG.cells, "it never ends"
        took = cycle() - begun
        for _ in range(20):
            await self.tick()
        firsts = [cycles for cycles, bits in zip(self.chunks_in.cycles, self.chunks_in.sent)
                  if unpack(CHUNK, bits)["first"]]
        self.loads = [after - before for before, after in zip(self.groups_in.cycles, firsts)]
        self.check()
        return took

    async def chunk(self, number, group, chunk, bank):
        """Words of a chunk: pages in order, all contexts meet each."""
        filled = len(group.positions)
        for page in range(group.pages):
            keys = min(filled - page * LANES, LANES)
            while not self.ready(number, page * LANES + keys):
                await self.tick()
            for context in range(chunk.contexts):
                tag = {"bank": bank, "context": context, "final": int(page == group.pages - 1),
                       "first": int(page == 0), "keys": keys, "position": page * LANES}
                for lane in range(LANES):
                    for _ in range(self.gap()):
                        await self.tick()
                    cell, marks = page * LANES + lane, {"first": int(lane == 0), "last": int(lane == LANES - 1)}
                    end = marks["last"] & tag["final"] & (context + 1 == chunk.contexts) & (self.mode == "score")
                    if lane >= keys:
                        await self.tick(word=(number, word_bits(marks, tag), end))
                        continue
                    score, visible = chunk.word(self.rng, context, cell)
                    word = word_bits({**marks, "valid": 1, "score": score, "visible": visible}, tag)
                    await self.tick((number, cell, int(group.positions[cell])), (number, word, end))

    def check(self):
        """Nothing but what golden says was written, and reported."""
        hitters = self.mode != "cells"
        slots = [group.fields["slot"] for group in self.groups] if hitters else []
        for kind in (EventKind.TOUCHED, EventKind.SUMMED):
            assert [fields["slot"] for event, fields in self.events if event is kind] == slots, kind
        assert len(self.events) == 2 * len(slots)
        expected = [(group.fields["record"] + offset, len(part)) for group in self.groups
                    for offset, part in group.parts]
        assert self.write_log == expected, (self.write_log, expected)
        assert not self.bytes and not self.ends and not self.flight
        for group in self.groups:
            assert bytes(self.memory[group.fields["record"]]) == group.after


def job(rng, mode, count, **fixed):
    """Records and slots of the groups all differ; records start anywhere that fits the bus."""
    slots = rng.permutation(1 << 16)[:count]
    return [random_group(rng, mode, int(slots[index]), (index + 1 << 24) + 8 * int(rng.integers(1 << 10)), **fixed)
            for index in range(count)]


MODES = ("decode", "score", "cells")


async def random_jobs(dut, mode, pair):
    """Groups of any kind that follow one another closely, under stalls of commands, data and events."""
    rng = np.random.default_rng([MODES.index(mode), PAIRS.index(pair), LANES])
    latency, spread = int(rng.choice([2, 10, 40])), rng.random() < .5
    groups = job(rng, mode, 6 if pair == PAIRS[0] else 3)   # enough that their numbers wrap
    bench = Bench(dut, mode, groups, pair, int(rng.integers(1 << 20)), latency)
    await bench.run(lambda: bench.rng.randrange(3) if spread and bench.rng.random() < .3 else 0)


async def one_of_each(dut, mode):
    rng = np.random.default_rng(MODES.index(mode))
    await Bench(dut, mode, job(rng, mode, 2), PAIRS[7], latency=5).run()


async def events_wait(dut, mode):
    """Small groups whose events are taken long after they are offered: nothing is written before TOUCHED, and no group
    is announced as another."""
    rng = np.random.default_rng(MODES.index(mode))
    bench = Bench(dut, mode, job(rng, mode, 6, cells=4, chunks=1), latency=1,
                  events=lambda seed: itertools.cycle([False] * 150 + [True]))
    await bench.run()


async def whole_records(dut, mode):
    """Every cell there is, many searches, the free list at its longest."""
    rng = np.random.default_rng(MODES.index(mode))
    groups = job(rng, mode, 2, cells=CONFIG.cells, full=True, drop=CONFIG.cells, chunks=1)
    assert max(group.fields["drop"] for group in groups) > 8
    await Bench(dut, mode, groups).run()


async def budget(dut, cells):
    """Decode, 4-bit cache: a page of L cells takes 4 L cycles, and so does its part of the group's end.

    One token a group, which drops one; all cells in use. From a group's last score to its record `edge` takes about
    100 cycles: the softmax of a page, the running state.
    """
    rng = np.random.default_rng(cells)
    groups = job(rng, "decode", 4, cells=cells, tokens=1, full=True, drop=1)
    bench = Bench(dut, "decode", groups, latency=30)
    took = await bench.run(lambda: 3, record_after=cells // 8)
    periods = [after - before for before, after in zip(bench.closed, bench.closed[1:])]
    ends = [closed - recorded for closed, recorded in zip(bench.closed, bench.recorded)]
    dut._log.info(f"{cells} cells: {took} cycles for {len(groups)} groups, between groups {periods}, "
                  f"from record to SUMMED {ends}, load {bench.loads}")
    assert periods == [4 * cells] * (len(groups) - 1), periods
    assert max(ends) <= 3 * cells + LATENCY + 30 + 19 + 1, ends
    assert max(bench.loads) <= 2 * cells + 30 + 5, bench.loads


# A unit that stands still fails, and does not wait for ever.
test = cocotb.test(timeout_time=3, timeout_unit="ms")
modes = cocotb.parametrize(mode=MODES)

if os.environ["OLIVINE_RUN"] == "random":
    random_jobs = test(cocotb.parametrize(mode=MODES, pair=PAIRS[::8])(random_jobs))
    events_wait = test(cocotb.parametrize(mode=MODES[:2])(events_wait))
    whole_records = test(cocotb.parametrize(mode=MODES[:2])(whole_records))
elif os.environ["OLIVINE_RUN"] == "short":
    one_of_each = test(modes(one_of_each))
else:
    budget = test(cocotb.parametrize(cells=[int(os.environ["OLIVINE_CELLS"])])(budget))
