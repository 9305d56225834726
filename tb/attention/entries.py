"""Entries of a job's table, plain and cached: every illegal field against golden.

Parameter: OLIVINE_CONFIG.
"""

import random

import cocotb
from amaranth.hdl import Shape
from cocotb.triggers import RisingEdge
from olivine.attention.descriptor import (
    CACHED_FIELDS,
    GROUP_FIELDS,
    OPCODE_ATTENTION,
    OPCODE_MERGE,
    OPCODE_SCORE,
    AttentionGroup,
    CachedGroup,
    OutputFormat,
)
from olivine.attention.plan import plan_layout
from olivine.kvcache.descriptor import CacheGeometry
from olivine.linear.descriptor import RowFormat
from olivine_golden.attention_legal import illegal_entry
from olivine_golden.cached_legal import illegal_cached_entry

from tb.attention.jobs import BUS, CONFIG, ROWS
from tb.streams import pack, start

LAYOUTS = {False: (AttentionGroup, GROUP_FIELDS), True: (CachedGroup, CACHED_FIELDS)}
KINDS = ("plain", "tree", "cells", "hitters", "score")


def width(layout, name):
    return Shape.cast(layout[name].shape).width


def descriptor(rng, kind):
    """Fields of a job that the entry's legality depends on; ``kind``: of a cached job, or ``"attention"`` or
    ``"merge"`` of one that is not."""
    opcode = {"score": OPCODE_SCORE, "merge": OPCODE_MERGE}.get(kind, OPCODE_ATTENTION)
    formats = list(OutputFormat)[:3 if kind == "hitters" else 4]
    fields = {"opcode": opcode, "q_format": rng.choice((RowFormat.INT8, RowFormat.INT12)).value,
              "o_format": rng.choice(formats).value, "cached": int(kind in KINDS),
              "tree": int(kind == "tree"), "cells": int(kind in ("cells", "hitters", "score")),
              "hitters": int(kind in ("hitters", "score")), "heads": rng.choice((1, 1, 2, ROWS, ROWS + 1))}
    fields["lse"] = int(fields["o_format"] != OutputFormat.PARTIAL.value and rng.random() < 0.5)
    return fields


def plan(fields):
    """The plan's members that follow from them."""
    o_format = OutputFormat(fields["o_format"])
    return {**{name: fields[name] for name in ("cached", "tree", "cells", "hitters", "lse", "heads")},
            "merge": int(fields["opcode"] == OPCODE_MERGE), "score": int(fields["opcode"] == OPCODE_SCORE),
            "q_wide": int(RowFormat(fields["q_format"]).bytes == 2), "o_format": o_format,
            "o_wide": int(o_format is not OutputFormat.INT8), "partial": int(o_format is OutputFormat.PARTIAL)}


def may_be_batch(fields):
    """Whether an entry of a job can lie in a batch."""
    formats = RowFormat.INT12.value, (OutputFormat.INT12.value, OutputFormat.INT16.value)
    return (2 * ROWS == BUS and fields["cached"] and fields["q_format"] == formats[0]
            and fields["o_format"] in formats[1] and fields["heads"] <= ROWS)


def in_batch(rng, fields, address, entry):
    """What is different of an entry in a batch."""
    lane = rng.randrange(ROWS)
    rows = fields["heads"]
    if rows == 1:
        lane, rows = rng.choice(((0, entry["rows"]), (lane, rng.randint(1, ROWS - lane))))
    return {"batch": 1, "lane": lane, "rows": rows, "q": address(BUS), "o": address(BUS),
            "q_words": rng.getrandbits(16), "o_words": rng.getrandbits(16)}


def legal(rng, fields, geometry):
    """A legal entry of a job. What the job does not look at is anything."""
    def address(alignment, size=CONFIG.addr_width):
        return rng.choice((0, (1 << size) - alignment, rng.getrandbits(size) // alignment * alignment))

    layout, names = LAYOUTS[bool(fields["cached"])]
    entry = {name: 0 if name.startswith("zero") or name == "reserved" else rng.getrandbits(width(layout, name))
             for name in names}
    entry["position"] -= 1 << 23
    # Aligned to a word, an entry is illegal in a batch for what it is.
    word = rng.choice((1, 2 * ROWS))
    if fields["opcode"] != OPCODE_MERGE:
        entry["q"] = address(max(word, RowFormat(fields["q_format"]).bytes))
    entry["o"] = address(max(word, 1 if fields["o_format"] == OutputFormat.INT8.value else 2))
    if fields["lse"] or fields["opcode"] == OPCODE_SCORE:
        entry["lse"] = address(4)
    few = fields["hitters"] and fields["opcode"] != OPCODE_SCORE
    entry["rows"] = rng.choice((1, ROWS if few else (1 << 20) - 1, rng.randint(1, ROWS)))
    if not fields["cached"]:
        return entry | {"bases": address(8), "keys": rng.choice((1, CONFIG.max_sequence,
                                                                 rng.randint(1, CONFIG.max_sequence)))}
    entry |= dict.fromkeys(("batch", "lane", "q_words", "o_words"), 0)
    if may_be_batch(fields) and rng.random() < 0.6:
        entry |= in_batch(rng, fields, address, entry)
    if fields["tree"]:
        entry["tree"] = address(8)
    single = fields["tree"] or fields["cells"]
    return entry | {"segments": address(32), "head": rng.choice((0, geometry["heads"] - 1)),
                    "count": 1 if single else rng.choice((1, 64, rng.randint(1, 64)))}


def changes(rng, fields, geometry):
    """Values that may spoil each field: (field, value)."""
    layout, names = LAYOUTS[bool(fields["cached"])]
    found = [(name, value) for name in names if name.startswith("zero") or name == "reserved"
             for value in (1, 1 << width(layout, name) - 1, 1 << rng.randrange(width(layout, name)))]
    for name in ("q", "o", "lse", "segments" if fields["cached"] else "bases", "tree"):
        if name in names:
            found += [(name, 1 << bit) for bit in (*range(6), *range(CONFIG.addr_width - 1, 48))]
    found += [("rows", value) for value in (0, 1, ROWS, ROWS + 1, 1 << 19)]
    if not fields["cached"]:
        return found + [("keys", value) for value in (0, CONFIG.max_sequence + 1, (1 << 20) - 1)]
    found += [("batch", value) for value in (0, 1)]
    found += [("lane", value) for value in (0, 1, ROWS - 1, ROWS, 128)]
    found += [(name, value) for name in ("q_words", "o_words") for value in (0, 1, 1 << 15)]
    return found + [("head", value) for value in (geometry["heads"], geometry["heads"] - 1, 65_535)] + [
        ("count", value) for value in (0, 1, 2, 64, 65, 128, 255)]


class Bench:
    def __init__(self, dut, seed):
        self.dut, self.rng = dut, random.Random(f"{seed}")
        dut.plan.value = dut.geometry.value = dut.entry.value = 0

    def begin(self, kind):
        """A descriptor; what the plan and the geometry say otherwise is anything."""
        rng = self.rng
        self.fields = descriptor(rng, kind)
        self.geometry = {"heads": rng.choice((1, 2, 12, 65_535))}
        self.dut.plan.value = pack(plan_layout(CONFIG), plan(self.fields))
        self.dut.geometry.value = pack(CacheGeometry, self.geometry)
        return legal(rng, self.fields, self.geometry)

    async def judge(self, entry):
        """The first illegal field, by golden and by the unit alike."""
        layout, names = LAYOUTS[bool(self.fields["cached"])]
        first = illegal_cached_entry(CONFIG, self.geometry, self.fields, entry) if self.fields["cached"] else \
            illegal_entry(CONFIG, self.fields, entry)
        self.dut.entry.value = pack(layout, entry)
        await RisingEdge(self.dut.clk)
        await RisingEdge(self.dut.clk)
        await RisingEdge(self.dut.clk)
        bad = int(self.dut.bad.value)
        assert bad == (first is not None) and (not bad or names[int(self.dut.field.value)] == first), (
            first, bad, int(self.dut.field.value), self.fields, entry)
        return first


@cocotb.test()
async def legal_entries(dut):
    bench = Bench(dut, "legal")
    await start(dut)
    for _ in range(60):
        for kind in (*KINDS, "attention", "merge"):
            assert await bench.judge(bench.begin(kind)) is None


@cocotb.test()
async def each_illegal_field(dut):
    """Each value that may be illegal, alone, in every kind of cached job and with every format."""
    bench = Bench(dut, "each")
    await start(dut)
    for kind in KINDS:
        found = set()
        for _ in range(24):
            entry = bench.begin(kind)
            for name, value in changes(bench.rng, bench.fields, bench.geometry):
                found.add(await bench.judge({**entry, name: value}))
        never = {"score_mult", "o_mult", "score_shift", "o_shift", "position"} | ({"tree"} if kind != "tree" else set())
        assert found == {None, *CACHED_FIELDS} - never, (kind, found)


@cocotb.test()
async def the_first_of_several(dut):
    bench = Bench(dut, "several")
    await start(dut)
    for turn in range(600):
        entry = bench.begin((*KINDS, "attention", "merge")[turn % 7])
        entry |= dict(bench.rng.sample(changes(bench.rng, bench.fields, bench.geometry), bench.rng.randint(2, 4)))
        await bench.judge(entry)


@cocotb.test()
async def random_bits(dut):
    """Some fields hold noise."""
    bench, fine = Bench(dut, "noise"), 0
    await start(dut)
    for turn in range(600):
        entry = bench.begin((*KINDS, "attention", "merge")[turn % 7])
        layout, names = LAYOUTS[bool(bench.fields["cached"])]
        for name in bench.rng.sample(names, bench.rng.randint(0, 2)):
            entry[name] = bench.rng.getrandbits(width(layout, name)) - (1 << 23) * (name == "position")
        fine += await bench.judge(entry) is None
    assert 60 < fine < 540
