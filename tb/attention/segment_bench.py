"""What surrounds a `SegmentWalk`: a cache that it asks, whose heads are appended as time goes, and what golden says.

Parameter: OLIVINE_CONFIG.
"""

import random
from collections import deque
from dataclasses import dataclass, field

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge
from olivine.attention import descriptor as declared
from olivine.attention.descriptor import BASE_BYTES, SEGMENT_BYTES, SEGMENT_FIELDS
from olivine.attention.layout import CHUNKS, place_bits
from olivine.attention.plan import address_bits, plan_layout
from olivine.attention.segments import SegmentWalk, survey_layout
from olivine.kvcache.descriptor import BLOCK_UNIT, RECORD_BYTES, CacheGeometry, CachePolicy, CacheStatus
from olivine.kvcache.lookup import LookupAnswer, LookupRequest
from olivine_golden.cached_attention import ALL_ROWS, CachedGroup, Segment, cached_bounds, pages_met
from olivine_golden.cached_legal import illegal_segment

from tb.attention.jobs import CONFIG, LANES, ROWS, unit_ports
from tb.streams import StreamChecker, StreamSink, StreamSource, cycle, pack, start, unpack

__all__ = ["PAGE", "GROUP", "CHUNK", "NO_BOUND", "ZEROS", "Sequence", "entries", "plain_sequence", "heavy_sequence",
           "segment_of", "cells_of", "golden_group", "Bench"]

PAGE, GROUP, FAULT, MASK = (unit_ports(SegmentWalk, name) for name in ("o_page", "o_group", "fault", "mask_addr"))
CHUNK, PLAN = survey_layout(CONFIG), plan_layout(CONFIG)
NO_BOUND = (1 << place_bits(CONFIG)) - 1
OUTSIDE = 1 << address_bits(CONFIG) - 1
"""Bit of an address that is none."""

ZEROS = dict.fromkeys(SEGMENT_FIELDS, 0)

@dataclass
class Sequence:
    """What the cache knows of a slot."""

    generation: int = 0
    status: CacheStatus = CacheStatus.OK
    table: list = field(default_factory=list)
    policy: CachePolicy = CachePolicy.NONE
    length: int = 0
    reserved: int = 0
    appended: int = 0
    summed: int = 0
    before: int = 0
    filled: int = 0
    size: int = 0
    recent: int = 0
    chunk: int = 0

    def answer(self, generation, index):
        names = ("length", "reserved", "appended", "summed", "before", "filled", "size", "recent", "chunk")
        status = CacheStatus.STALE_HANDLE if generation != self.generation else self.status
        if status is not CacheStatus.OK:
            return nothing(status)
        block = self.table[index] if index < len(self.table) else None
        return {name: getattr(self, name) for name in names} | {
            "status": status, "policy": self.policy, "present": int(block is not None), "block": block or 0}


def nothing(status):
    """An answer of which nothing holds."""
    return {name: 0 for name, _ in LookupAnswer} | {"status": status, "policy": CachePolicy.NONE}


def entries(rng, places, holes=0):
    return [None if index < holes else rng.getrandbits(16) for index in range(-(-places // LANES))]


def plain_sequence(rng):
    length = rng.choice((0, 3 * LANES, *(rng.randint(1, 8 * LANES) for _ in range(4))))
    reserved = rng.choice((0, 1, rng.randint(1, 2 * LANES))) or int(not length)
    holes = rng.choice((0, 0, length // LANES // 2))
    return Sequence(rng.getrandbits(16), table=entries(rng, length + reserved, holes), length=length, reserved=reserved,
                    policy=CachePolicy.WINDOW if holes else CachePolicy.NONE)


def heavy_sequence(rng):
    """In the middle of a step; its cells fit on chip."""
    size, recent, chunk = (rng.randint(1, CONFIG.cells // 4) for _ in range(3))
    budget = size + recent
    length, reserved = rng.choice((0, rng.randint(0, 2 * budget), 65_000)), rng.randint(1, chunk)
    before = min(length, budget + rng.randint(0, chunk))
    filled = max(before, min(length, budget) + reserved)
    return Sequence(rng.getrandbits(16), table=entries(rng, filled), policy=CachePolicy.HEAVY, length=length,
                    reserved=reserved, before=before, filled=filled, size=size, recent=recent, chunk=chunk)


class Bench:
    """The walk, a cache that it asks, and time, in which appends happen.

    Attributes
    ----------
    slots : dict of int to Sequence
    coming : deque of int
        Slots of which a head will be appended, one after the other, each with probability ``rate`` by cycle.
    hold : bool
        An append job is at work even if nothing more is coming.
    appends : dict of int to int
        By slot, the cycle of its latest append.
    """

    def __init__(self, dut, seed, patterns=("always", "always"), delays=(0, 0, 1, 3)):
        self.dut, self.rng, self.delays = dut, random.Random(f"{seed}"), delays
        self.slots, self.coming, self.rate, self.hold, self.appends = {}, deque(), 0.02, False, {}
        self.met_outside = False
        self.elements = StreamSource(dut, "i", patterns[0], seed=1)
        self.answers = StreamSource(dut, "found", patterns[0], seed=2)
        self.requests, self.pages, self.groups = (StreamSink(dut, name, patterns[1], seed=seed) for seed, name in
                                                  enumerate(("lookup", "o_page", "o_group")))
        for name in ("i", "found", "lookup", "o_page", "o_group"):
            StreamChecker(dut, name)
        for name in ("plan", "geometry", "head", "count", "load", "survey", "emit", "chunk", "appending",
                     "mask_addr"):
            getattr(dut, name).value = 0
        self.draw_geometry()

    async def begin(self):
        await start(self.dut)
        cocotb.start_soon(self._serve())
        cocotb.start_soon(self._time())

    async def reset(self):
        self.dut.rst.value = 1
        await RisingEdge(self.dut.clk)
        self.dut.rst.value = 0
        self.coming.clear()
        self.hold = False

    async def _serve(self):
        served = 0
        while True:
            await RisingEdge(self.dut.clk)
            while served < len(self.requests.received):
                for _ in range(self.rng.choice(self.delays)):
                    await RisingEdge(self.dut.clk)
                asked = unpack(LookupRequest, self.requests.received[served])
                self.answers.push(pack(LookupAnswer, self.look(**asked)))
                served += 1

    async def _time(self):
        """The last append is known before ``appending`` ends."""
        while True:
            await RisingEdge(self.dut.clk)
            if self.coming and self.rng.random() < self.rate:
                slot = self.coming.popleft()
                self.slots[slot].appended += 1
                self.appends[slot] = cycle()
            self.dut.appending.value = int(self.hold or bool(self.coming))

    def look(self, slot, generation, index=0):
        return self.slots[slot].answer(generation, index) if slot in self.slots else nothing(CacheStatus.NO_SEQUENCE)

    # What the unit is told

    def draw_geometry(self):
        """Inside the address space or beyond it, all of it or the rear."""
        rng, wild = self.rng, self.rng.random() < 0.3
        base, records = (BLOCK_UNIT * rng.getrandbits(36 if wild else CONFIG.addr_width - 13) for _ in range(2))
        self.geometry = {
            "base": base, "block_units": rng.choice((1, rng.getrandbits(8), 65_535)) if wild else rng.randint(1, 3),
            "page_bytes": CONFIG.bus_bytes * rng.randint(1, 1 << 16) if wild else CONFIG.bus_bytes,
            "heads": rng.randint(4, 65_535) if wild else rng.randint(4, 255),
            "records": records, "log_cells": rng.choice((rng.randint(1, 7), 15)) if wild else rng.randint(1, 7)}
        self.dut.geometry.value = pack(CacheGeometry, self.geometry)

    def fill(self, make, count, head=None):
        """New sequences in ``count`` slots; of some the step is not appended yet."""
        rng = self.rng
        self.coming.clear()
        self.slots = {slot: make(rng) for slot in rng.sample(range(CONFIG.sequences), count)}
        head = rng.choice((0, 1, rng.randrange(self.geometry["heads"]))) if head is None else head
        for seq in self.slots.values():
            seq.appended = max(head + rng.choice((1, 1, 0, -1, -2)), 0)
        self.coming.extend(slot for slot, seq in self.slots.items() for _ in range(head + 1 - seq.appended))
        rng.shuffle(self.coming)
        return head

    async def do(self, name):
        """Begin, and wait for the end; returns the fault as (segment, field), or None."""
        dut = self.dut
        getattr(dut, name).value = 1
        await RisingEdge(dut.clk)
        getattr(dut, name).value = 0
        while True:
            await RisingEdge(dut.clk)
            fault = unpack(FAULT, int(dut.fault.value))
            if fault["valid"]:
                return self.named(fault)
            if int(dut.busy.value) == 0:
                return None

    def named(self, fault):
        return fault["index"], SEGMENT_FIELDS[fault["field"]]

    async def load(self, segments, head, cells=False, hitters=False, sent=None):
        """Fields of segments, of which as many as ``sent`` come; returns the fault."""
        self.dut.plan.value = pack(PLAN, {"cached": 1, "cells": cells, "hitters": hitters})
        self.dut.head.value, self.dut.count.value = head, len(segments)
        words = [pack(declared.Segment, segment) for segment in segments[:sent]]
        self.elements.push(word >> 64 * part & (1 << 64) - 1 for word in words for part in
                           range(SEGMENT_BYTES // BASE_BYTES))
        return await self.do("load")

    async def mask_of(self, bank, segment, context):
        self.dut.mask_addr.value = pack(MASK, {"bank": bank, "segment": segment, "context": context})
        await self.cycles(2)
        return int(self.dut.mask.value)

    async def cycles(self, count):
        for _ in range(count):
            await RisingEdge(self.dut.clk)

    async def stays(self):
        """After a fault nothing more comes."""
        fault, counts = int(self.dut.fault.value), [len(sink.received) for sink in (self.pages, self.groups)]
        await self.cycles(20)
        assert int(self.dut.fault.value) == fault and int(self.dut.busy.value)
        assert counts == [len(sink.received) for sink in (self.pages, self.groups)]
        await self.reset()

    # Golden

    async def judge(self, segments, head, **kind):
        """Load segments, of heads of which nothing more is coming; the fault is golden's. Then begin afresh."""
        fields, answers = {"cells": 0, "hitters": 0, **kind}, [self.look(s["slot"], s["generation"]) for s in segments]
        names = [illegal_segment(CONFIG, fields, head, *pair) for pair in zip(segments, answers)]
        expected = next(((index, name) for index, name in enumerate(names) if name), None)
        fault = await self.load(segments, head, **kind, sent=expected and expected[0] + 1)
        assert fault == expected, (fault, expected, segments, answers)
        if fault:
            await self.stays()
        else:
            await self.reset()
        return fault

    def cell_group(self, slot, head):
        """What the unit for heavy hitters is told of a group."""
        seq, geometry = self.slots[slot], self.geometry
        budget = seq.size + seq.recent
        used, cells = min(seq.length, budget), 1 << geometry["log_cells"]
        record = geometry["records"] + (slot * geometry["heads"] + head) * cells * RECORD_BYTES
        return {"slot": slot, "record": self.inside(record), "log_cells": geometry["log_cells"], "before": seq.before,
                "tokens": seq.reserved, "filled": seq.filled, "length": seq.length, "recent": seq.recent,
                "drop": max(used + seq.reserved - budget, 0)}

    def inside(self, address):
        """The address if it is one."""
        self.met_outside = self.met_outside or address >= OUTSIDE
        return address if address < OUTSIDE else None

    def told(self, layout, name, bits):
        """Fields of what the unit offers, the address as `inside` has it."""
        fields = unpack(layout, bits)
        return fields | {name: fields[name] if fields[name] < OUTSIDE else None}

    def page(self, segment, index, met, page, head):
        geometry, block = self.geometry, self.slots[segment["slot"]].table[page]
        address = geometry["base"] + block * geometry["block_units"] * BLOCK_UNIT + head * geometry["page_bytes"]
        return {"addr": self.inside(address), "keys": met.keys(page, LANES), "position": page * LANES, "segment": index}

    def fenced(self, segment, page):
        """Whether a page of a segment holds places of the step."""
        seq = self.slots[segment["slot"]]
        return segment["end"] > seq.length and page >= seq.length // LANES and seq.policy is not CachePolicy.HEAVY

    async def walk(self, segments, group, head, contexts, heads=1, causal=False, window=0):
        """Survey and emit each chunk of a loaded group; returns the number of pages, or the fault."""
        size, before = ROWS * contexts, {}
        low, high = cached_bounds(group, heads, causal, window)
        chunks = pages_met(group, lanes=LANES, chunk_rows=size, heads=heads, causal=causal, window=window)
        bound = causal and group.tree is None and group.cells is None
        total = 0
        for number, chunk in enumerate(chunks):
            first, stop = number * size, min((number + 1) * size, group.rows)
            used = -(-(stop - first) // ROWS)
            self.dut.chunk.value = pack(CHUNK, {
                "bank": number % CHUNKS, "contexts": used, "last_rows": stop - first - (used - 1) * ROWS,
                "low": 0 if group.cells is not None else min(max(int(low[first]), 0), NO_BOUND),
                "high": min(max(int(high[stop - 1]), 0), NO_BOUND) if bound else NO_BOUND})
            assert await self.do("survey") is None
            pages = [(met, page) for met in chunk for page in range(met.first, met.end)]
            assert int(self.dut.pages.value) == len(pages)
            before = {key: mask for key, mask in before.items() if key[0] != number % CHUNKS}
            for index, segment in enumerate(segments):
                for row in range(first, stop):
                    key = number % CHUNKS, index, (row - first) // ROWS
                    before[key] = before.get(key, 0) | (segment["rows"] >> row % 64 & 1) << row % ROWS
            exists = {(number % CHUNKS, used - 1): (1 << stop - first - (used - 1) * ROWS) - 1}
            for key, mask in self.rng.sample(sorted(before.items()), min(len(before), 12)):
                seen = await self.mask_of(*key)
                assert seen & exists.get((key[0], key[2]), ~0) == mask, (number, key, seen, mask)
            fault, sent = await self.emitted(segments, pages, head)
            total += sent
            if fault:
                return total, fault
        return total, None

    async def emitted(self, segments, pages, head):
        """Pages of a chunk, until one of them is lost; returns the fault, and how many came before it."""
        expected, fault = [], None
        for met, page in pages:
            segment = segments[met.segment]
            seq = self.slots[segment["slot"]]
            if seq.table[page] is None or seq.status is not CacheStatus.OK:
                fault = met.segment, "first"
                break
            if self.fenced(segment, page) and seq.appended + self.coming.count(segment["slot"]) <= head:
                fault = met.segment, "end"
                break
            expected.append(self.page(segment, met.segment, met, page, head))
        seen = len(self.pages.received)
        assert await self.do("emit") == fault
        assert [self.told(PAGE, "addr", bits) for bits in self.pages.received[seen:]] == expected
        for (met, page), taken in zip(pages, self.pages.cycles[seen:]):
            segment = segments[met.segment]
            if self.fenced(segment, page):
                assert self.slots[segment["slot"]].appended > head
                assert taken > self.appends.get(segment["slot"], 0), "offered before it was written"
        return fault, len(expected)


def segment_of(rng, slot, seq, **changed):
    """A segment that is legal once the step is appended. Pages that a window has given up are in it at times."""
    most = seq.length + seq.reserved
    end = rng.choice((most, most, max(seq.length, 1), rng.randint(1, most)))
    holes = sum(block is None for block in seq.table)
    last = (end - 1) // LANES
    first = min(holes * (rng.random() < 0.9), last)
    first = rng.choice((first, rng.randint(first, last)))
    rows = rng.choice((ALL_ROWS, ALL_ROWS, rng.getrandbits(64), 1 << rng.randrange(64), rng.getrandbits(64) &
                       rng.getrandbits(64), 0))
    return ZEROS | {"slot": slot, "generation": seq.generation, "first": first, "end": end, "rows": rows} | changed


def cells_of(slot, seq):
    return ZEROS | {"slot": slot, "generation": seq.generation, "end": seq.filled, "rows": ALL_ROWS}


def golden_group(rng, segments, rows, position, **kind):
    made = [Segment(*np.zeros((2, segment["end"] - segment["first"] * LANES, 1), np.uint8), segment["first"],
                    segment["rows"]) for segment in segments]
    return CachedGroup(np.zeros((rows, 1), int), made, position, 1, 0, **kind)
