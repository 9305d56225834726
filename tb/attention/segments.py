"""Segments of cached groups: checked, counted and turned into pages, against golden.

Parameter: OLIVINE_CONFIG.
"""

from collections import deque
from dataclasses import replace

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge
from olivine.attention.descriptor import SEGMENT_FIELDS
from olivine.attention.layout import GROUPS
from olivine.kvcache.descriptor import CachePolicy, CacheStatus
from olivine_golden.cached_attention import ALL_ROWS

from tb.attention.jobs import CONFIG, LANES, ROWS
from tb.attention.segment_bench import (
    CHUNK,
    GROUP,
    NO_BOUND,
    ZEROS,
    Bench,
    Sequence,
    cells_of,
    entries,
    golden_group,
    heavy_sequence,
    plain_sequence,
    segment_of,
)
from tb.streams import PAIRS, cycle, pack

# A unit that stands still fails, and does not wait for ever.
test = cocotb.test(timeout_time=500, timeout_unit="us")


async def any_walk(bench, most=12):
    """A group of any shape over any sequences; returns the pages it met, and the fault."""
    rng = bench.rng
    head = bench.fill(plain_sequence, rng.randint(1, 4))
    tree = rng.random() < 0.2
    segments = [segment_of(rng, *rng.choice(list(bench.slots.items())))
                for _ in range(1 if tree else rng.choice((1, rng.randint(2, most), rng.randint(2, most))))]
    contexts = rng.randint(1, CONFIG.contexts)
    rows = rng.choice((1, rng.randint(1, ROWS * contexts), *(rng.randint(1, 3 * ROWS * contexts + 5) for _ in "ab")))
    length = bench.slots[segments[0]["slot"]].length
    position = rng.choice((length, length, rng.randint(-3, 8 * LANES), rng.choice((0, CONFIG.max_sequence - 1))))
    group = golden_group(rng, segments, rows, position, tree=[0] * rows if tree else None)
    masks = {"heads": rng.choice((1, 2, 7)), "causal": rng.random() < 0.6,
             "window": rng.choice((0, 0, 0, rng.choice((1, rng.randint(1, 5 * LANES)))))}
    bench.rate = rng.choice((0.01, 0.1))
    assert await bench.load(segments, head) is None
    return await bench.walk(segments, group, head, contexts, **masks)


@test
@cocotb.parametrize(pair=[PAIRS[0], PAIRS[6], PAIRS[13], PAIRS[19]])
async def any_group(dut, pair):
    """Pages, masks and fences of random groups, several of a job after each other; until one meets a lost page."""
    bench = Bench(dut, f"any {pair}", pair)
    await bench.begin()
    met = 0
    for _ in range(45):
        pages, fault = await any_walk(bench)
        met += pages
        if fault:
            assert fault[1] == "first"
            await bench.stays()
    assert met > 150


@test
async def as_many_segments_as_there_may_be(dut):
    bench = Bench(dut, "many")
    await bench.begin()
    seq = Sequence(5, table=entries(bench.rng, 3 * LANES), length=3 * LANES)
    bench.slots[7] = seq
    segments = [{"slot": 7, "generation": 5, "first": 1, "end": 2 * LANES + 1, "rows": 1 << index}
                for index in range(64)]
    group = golden_group(bench.rng, segments, 64, 0)
    assert await bench.load(segments, 3) is None
    pages, _ = await bench.walk(segments, group, 3, CONFIG.contexts)
    assert pages == 2 * 64


@test
async def waits_at_the_fence(dut):
    """Pages before the step's come at once; those with reserved places only when the head is appended."""
    bench = Bench(dut, "fence", delays=(0,))
    await bench.begin()
    for length in (2 * LANES, 2 * LANES + 1, 3 * LANES - 1):
        seq = Sequence(1, table=entries(bench.rng, length + LANES), length=length, reserved=LANES, appended=4)
        bench.slots, bench.rate, bench.hold = {6: seq}, 0, True
        await RisingEdge(dut.clk)
        bench.coming.append(6)
        segments = [{"slot": 6, "generation": 1, "first": 0, "end": length + LANES, "rows": ALL_ROWS}]
        walk = cocotb.start_soon(bench.walk(segments, golden_group(bench.rng, segments, 1, 0), 4, 1)) \
            if await bench.load(segments, 4) is None else None
        seen = len(bench.pages.received)
        await bench.cycles(200)
        assert len(bench.pages.received) - seen == 2 and not walk.done()
        bench.rate = 1
        await walk
        assert len(bench.pages.received) - seen == len(seq.table)
        bench.hold = False


@test
async def an_append_that_never_comes(dut):
    """The job it was hoped for ends without: the first page with a reserved place is a fault. With no job at work it
    is one when the segment is looked at."""
    bench = Bench(dut, "never")
    await bench.begin()
    rng = bench.rng
    for _ in range(8):
        length, reserved, head = rng.randint(0, 4 * LANES), rng.randint(1, 2 * LANES), rng.randint(0, 5)
        seq = Sequence(1, table=entries(rng, length + reserved), length=length, reserved=reserved, appended=head)
        bench.slots, bench.hold = {6: seq}, True
        await bench.cycles(3)
        segments = [segment_of(rng, 6, seq, end=length + reserved, rows=ALL_ROWS, first=0)]
        assert await bench.load(segments, head) is None
        walk = cocotb.start_soon(bench.walk(segments, golden_group(rng, segments, 1, 0), head, 1))
        await bench.cycles(rng.randrange(100))
        bench.hold = False
        assert await walk == (length // LANES, (0, "end"))
        await bench.stays()
        assert await bench.judge(segments, head) == (0, "end")


@test
async def pages_that_are_lost_meanwhile(dut):
    """Between the load and the pages: the sequence, or a page that its window has given up."""
    bench = Bench(dut, "closed")
    await bench.begin()
    for status in (CacheStatus.NO_SEQUENCE, CacheStatus.SWAPPED, CacheStatus.BROKEN, None):
        bench.fill(plain_sequence, 2, head=0)
        segments = [segment_of(bench.rng, slot, seq, rows=ALL_ROWS) | {"first": 0} for slot, seq in bench.slots.items()]
        for seq in bench.slots.values():
            seq.table = entries(bench.rng, seq.length + seq.reserved)
        assert await bench.load(segments, 0) is None
        lost = bench.slots[segments[1]["slot"]]
        if status is None:
            lost.table[(segments[1]["end"] - 1) // LANES] = None
        else:
            lost.status = status
        _, fault = await bench.walk(segments, golden_group(bench.rng, segments, 1, 0), 0, 1)
        assert fault == (1, "first")
        await bench.stays()


# --- Illegal segments ---------------------------------------------------------------------------------

KINDS = {"plain": {}, "cells": {"cells": 1}, "hitters": {"cells": 1, "hitters": 1}}


def illegal_changes(rng, segment, seq):
    """Ways to spoil each field, and what the cache says: (segment's fields, sequence's)."""
    reach, end = seq.length + seq.reserved, segment["end"]
    late = -(-end // LANES)
    return [
        *(({"slot": segment["slot"] ^ 1 << bit}, {}) for bit in (0, 15)),
        *(({"generation": segment["generation"] ^ 1 << bit}, {}) for bit in (0, 15)),
        *(({}, {"status": status}) for status in (CacheStatus.NO_SEQUENCE, CacheStatus.BROKEN, CacheStatus.SWAPPED)),
        *(({"first": first}, {}) for first in (late, late + 1, 65_535, 1)),
        ({"zero_first": 1 << rng.randrange(16)}, {}), ({"zero_first": 0x8000}, {}),
        *(({"end": wrong}, {}) for wrong in (0, end + 1, end - 1, reach, reach + 1, NO_BOUND)),
        ({"zero_end": 1 << rng.randrange(44)}, {}), ({"zero_end": 1 << 43}, {}),
        ({"reserved": 1 << rng.randrange(64)}, {}), ({"reserved": 1 << 63}, {}),
        ({}, {"policy": CachePolicy.HEAVY}), ({}, {"policy": CachePolicy.WINDOW}), ({}, {"appended": 0}),
        ({}, {"appended": 2}), ({}, {"summed": 1}), ({}, {"summed": 2}), ({}, {"summed": 3}),
        ({}, {"filled": seq.filled + 1}),
    ]


@test
@cocotb.parametrize(kind=list(KINDS))
async def each_illegal_field(dut, kind):
    """Each alone, and several at once, of which the first is named; legal ones in between are taken."""
    bench = Bench(dut, f"illegal {kind}", delays=(0,))
    await bench.begin()
    rng, head, found = bench.rng, 2, set()
    make = heavy_sequence if kind != "plain" else plain_sequence
    for turn in range(3):
        base = make(rng)
        base.appended, base.summed, slot = 3, 2, rng.randrange(CONFIG.sequences)
        segment = segment_of(rng, slot, base) if kind == "plain" else cells_of(slot, base)
        changes = illegal_changes(rng, segment, base)
        draws = [[change] for change in changes] if turn < 2 else [rng.sample(changes, 3) for _ in range(40)]
        for draw in draws:
            seq, changed = replace(base), dict(segment)
            for fields, known in draw:
                changed |= fields
                seq = replace(seq, **known)
            bench.slots = {slot: seq}
            found.add(await bench.judge([changed], head, **KINDS[kind]))
    assert {name for _, name in found - {None}} == set(SEGMENT_FIELDS) - {"rows"} and None in found


@test
async def the_segment_at_fault(dut):
    """Its address, whichever it is."""
    bench = Bench(dut, "which")
    await bench.begin()
    for _ in range(12):
        bench.fill(plain_sequence, 2, head=0)
        bench.coming.clear()
        segments = [segment_of(bench.rng, *bench.rng.choice(list(bench.slots.items()))) for _ in range(6)]
        await bench.judge(segments, 0)


# --- Cells --------------------------------------------------------------------------------------------

@test
async def groups_of_cells(dut):
    """Each waits for its head's append, is told once, and then shows all its pages."""
    bench = Bench(dut, "cells", ("half", "half"))
    await bench.begin()
    for turn in range(16):
        bench.draw_geometry()
        head, hitters = bench.fill(heavy_sequence, 1), turn % 2
        (slot, seq), = bench.slots.items()
        seq.summed = head if hitters else bench.rng.randint(0, head)
        waits, segments = seq.appended <= head, [cells_of(slot, seq)]
        bench.rate, told = bench.rng.choice((0.01, 0.5)), len(bench.groups.received)
        assert await bench.load(segments, head, True, hitters) is None
        assert [bench.told(GROUP, "record", bits) for bits in bench.groups.received[told:]] == [
            bench.cell_group(slot, head)]
        assert not waits or bench.groups.cycles[-1] > bench.appends[slot]
        group = golden_group(bench.rng, segments, 2 * ROWS, 0, cells=np.zeros(seq.filled))
        assert await bench.walk(segments, group, head, 1, causal=True, window=3) == (2 * len(seq.table), None)


@test
async def cells_whose_append_never_comes(dut):
    bench = Bench(dut, "no cells")
    await bench.begin()
    for _ in range(4):
        head = bench.fill(heavy_sequence, 1, head=bench.rng.randint(0, 9))
        (slot, seq), = bench.slots.items()
        bench.coming.clear()
        seq.appended, seq.summed, bench.hold = head, head, True
        await bench.cycles(2)
        load = cocotb.start_soon(bench.load([cells_of(slot, seq)], head, True, True))
        await bench.cycles(100)
        assert not load.done()
        bench.hold = False
        assert await load == (0, "end")
        await bench.stays()


@test
async def heads_after_each_other(dut):
    """A job's groups of hitters in the order of heads, of several sequences: the cache knows of each a little later.
    Once a head is out of turn, the job ends."""
    bench = Bench(dut, "turns", delays=(0,))
    await bench.begin()
    rng, names, taken = bench.rng, set(), 0
    for turn in range(40):
        bench.fill(heavy_sequence, rng.choice((1, 2, 4)), head=0)
        bench.coming.clear()
        true = {slot: rng.randint(0, 3) for slot in bench.slots}
        for seq in bench.slots.values():
            seq.appended = 50
        late = deque()
        for _ in range(20):
            # Two groups are on chip, and the end of one more is on its way.
            while late and (len(late) >= GROUPS or rng.random() < (0.3, 0.7)[turn % 2]):
                late.popleft()
            slot = rng.choice(list(true))
            seq, head = bench.slots[slot], true[slot] + rng.choice([0] * 12 + [1, -1, -1])
            seq.summed = true[slot] - late.count(slot)
            if head < 0 or seq.summed == head < true[slot]:
                continue    # refused only once the cache knows that its sums are written
            legal = head == true[slot]
            fault = await bench.load([cells_of(slot, seq)], head, True, True)
            assert fault == (None if legal else (0, "end")), (head, true[slot], seq.summed, late)
            names.add(fault)
            if not legal:
                await bench.stays()
                break
            taken += seq.summed != head
            true[slot] += 1
            late.append(slot)
        await bench.reset()
    assert names == {None, (0, "end")} and taken > 20


@test
async def cycles_when_nothing_stalls(dut):
    """A lookup is answered q cycles after it was taken. Load: 9 + q for each segment. Survey: 4 for each, and one for
    each context. Emit: 4 for each segment, 3 + q for each page and one for each bit of its block, at least
    one."""
    bench = Bench(dut, "cycles", delays=(0,))
    await bench.begin()
    places = 6 * LANES
    bench.slots = {3: Sequence(1, table=entries(bench.rng, places), length=places)}
    for count, pages, contexts in ((1, 1, 1), (1, 6, 2), (5, 3, CONFIG.contexts)):
        segments = [ZEROS | {"slot": 3, "generation": 1, "end": pages * LANES, "rows": ALL_ROWS}] * count
        bench.dut.chunk.value = pack(CHUNK, {"contexts": contexts, "last_rows": 1, "high": NO_BOUND})
        took, asked = {}, len(bench.requests.cycles)
        bits = sum(max(block.bit_length(), 1) for block in bench.slots[3].table[:pages])
        for name in ("load", "survey", "emit"):
            begin = cycle()
            await (bench.load(segments, 1) if name == "load" else bench.do(name))
            # One until the unit sees the command, one until busy is seen to be over.
            took[name] = cycle() - begin - 2
        q, = {b - a for a, b in zip(bench.requests.cycles[asked:], bench.answers.cycles[asked:])}
        assert took == {"load": (9 + q) * count, "survey": (4 + contexts) * count,
                        "emit": (4 + (3 + q) * pages + bits) * count}
