"""Scores of whole units against golden: every word in its cycle, mask, running maximum, saturations; over the cache by
masks of segments, token trees and positions of cells.

Parameters: see `tb.attention.units`.
"""

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge
from olivine.attention.layout import CHUNKS, bounds_layout, cell_position
from olivine.attention.score import ScoreScaler, score_word
from olivine.config import LANE_MAX, ROW_BITS
from olivine.kvcache.descriptor import TREE_PLACES
from olivine_golden.rounding import rsh, sat

from tb.attention.units import CONFIG, LANES, ROWS, banks, chance, noise, shape_of
from tb.numerics.pipeline import latency
from tb.streams import pack, start, unpack

INPUT, DATA, ADDR, PARAMS, MASK_ADDR, TREE_ADDR, CELL_ADDR, BASES = (shape_of(ScoreScaler, name) for name in (
    "i", "data", "bounds_addr", "params", "mask_addr", "tree_addr", "cell_addr", "tree_base"))
OUTPUT, BOUNDS = score_word(CONFIG), bounds_layout(CONFIG)
LARGEST = (LANE_MAX << ROW_BITS - 1) * CONFIG.max_head_dim
"""Largest dot product."""

LAST_POSITION = (1 << 20) - 1

MODES = {"plain": (), "cached": ("masked",), "tree": ("masked", "tree"), "cells": ("masked", "cells")}
"""The flags of each kind of job."""


def dots(rng):
    """P dot products of any size, the largest included."""
    kind = rng.integers(0, 3)
    if kind == 0:
        return rng.choice([-LARGEST, LARGEST, 0, -1, 1], ROWS)
    return rng.integers(-LARGEST, LARGEST + 1, ROWS) >> (0 if kind == 1 else 10)


def bits(mask):
    """bool [P]"""
    return np.array([mask >> row & 1 for row in range(ROWS)], bool)


def parameters(rng):
    return {"mult": int(rng.choice([0, 1, 0xFFFF, rng.integers(0, 1 << 16), rng.integers(0, 1 << 16)])),
            "shift": int(rng.choice([0, 63, rng.integers(0, 64), rng.integers(8, 30), rng.integers(8, 30)]))}


class Bench:
    """The unit and the memories that it asks.

    Attributes
    ----------
    kind : str
        Of `MODES`.
    base : int
        Position about which keys, bounds and tokens of cells lie.
    """

    def __init__(self, dut, seed, kind="plain"):
        self.dut, self.rng = dut, np.random.default_rng(seed)
        self.kind, self.base, self.bases, self.contents = kind, 0, [0] * CHUNKS, {}
        self.saturated = self.hidden = self.seen = self.decided = 0
        dut.i.value = dut.data.value = dut.params.value = dut.bounds.value = 0
        for name in ("masked", "tree", "cells", "mask", "tree_base", "tree_column", "position"):
            getattr(dut, name).value = 0
        for name in MODES[kind]:
            getattr(dut, name).value = 1

    def recall(self, what, **address):
        """A word of a memory, random when it is looked at first: a segment's ``mask`` and a ``column`` of the tree of
        a context's rows, or the ``cell`` of a group."""
        rng, key = self.rng, (what, *sorted(address.items()))
        if key not in self.contents:
            self.contents[key] = {"valid": int(chance(rng, .8)), "position": int(
                np.clip(self.base + rng.integers(-LANES, 3 * LANES), 0, 0xFFFF))} if what == "cell" else \
                int(rng.choice([0, (1 << ROWS) - 1, rng.integers(0, 1 << ROWS), rng.integers(0, 1 << ROWS)]))
        return self.contents[key]

    def visible(self, tag, lane, low, high):
        """Which rows see a key."""
        place, named = tag["position"] + lane, (1 << ROWS) - 1
        at = {name: tag[name] for name in ("bank", "context")}
        if self.kind != "plain":
            named = self.recall("mask", **at, segment=tag["segment"])
        branch = place - self.bases[tag["bank"]]
        if self.kind == "tree" and branch >= 0:
            self.decided += 1
            seen = self.recall("column", **at, place=branch) if branch < TREE_PLACES else 0
            return bits(seen & named)
        if self.kind == "cells":
            token = self.recall("cell", bank=tag["group"] % 2, cell=place)
            place, named = token["position"], named * token["valid"]
        return (low <= place) & (place < high) & bits(named)

    def answer(self):
        """What the memories say to the addresses of this cycle."""
        dut, bounds = self.dut, self.bounds
        asked = unpack(ADDR, int(dut.bounds_addr.value))
        dut.bounds.value = pack(BOUNDS, bounds.get((asked["bank"], asked["context"]), [{}] * ROWS))
        dut.mask.value = self.recall("mask", **unpack(MASK_ADDR, int(dut.mask_addr.value)))
        dut.tree_column.value = self.recall("column", **unpack(TREE_ADDR, int(dut.tree_addr.value)))
        dut.position.value = pack(cell_position, self.recall("cell", **unpack(CELL_ADDR, int(dut.cell_addr.value))))

    def units(self, count):
        """Tags, and bounds by bank and context that lie about the units' keys."""
        rng = self.rng
        last = 0xFFFF if self.kind == "cells" else LAST_POSITION
        base = self.base = int(rng.choice([0, rng.integers(0, 300), last - 3 * LANES]))
        # Committed lengths: before, among and after the keys, some of which are beyond the mask's places.
        self.bases = [int(rng.choice([base - 70, base, base + rng.integers(0, 3 * LANES), base - TREE_PLACES + LANES]))
                      for _ in range(CHUNKS)]
        self.contents.clear()
        first = CONFIG.cells // LANES // 2 * LANES if self.kind == "cells" else base
        bounds = {}
        for bank in range(CHUNKS):
            for context in range(CONFIG.contexts):
                low, high = base + rng.integers(-LANES, 3 * LANES, (2, ROWS))
                rows = [{"low": int(a), "high": min(int(b), LAST_POSITION)} for a, b in zip(low, high)]
                for row in rows:
                    row.update([{}, {"low": -LAST_POSITION}, {"low": 0, "high": LAST_POSITION},
                                {"low": 0, "high": 0}][rng.choice(4, p=[.6, .15, .15, .1])])
                bounds[bank, context] = rows
        tags = [{"bank": int(rng.integers(0, CHUNKS)), "context": int(rng.integers(0, CONFIG.contexts)),
                 "slot": int(rng.integers(0, CONFIG.contexts)), "first": int(rng.integers(0, 2)),
                 "final": int(rng.integers(0, 2)),
                 "keys": int(rng.choice([1, LANES, LANES - 1, rng.integers(1, LANES + 1)])),
                 "position": int(first + LANES * rng.integers(0, 3)) % (
                     CONFIG.cells if self.kind == "cells" else 1 << 20),
                 "segment": int(rng.integers(0, 64)), "group": int(rng.integers(0, 4))} for _ in range(count)]
        return tags, bounds

    async def run(self, tags, bounds, params, gaps=False, data=dots):
        """Units one after the other, with the words beyond their keys that the array brings."""
        dut, rng = self.dut, self.rng
        dut.params.value, dut.tree_base.value = banks(PARAMS, params), banks(BASES, self.bases)
        self.bounds = bounds
        enter, values, leave, ends, tallies, now = {}, {}, {}, {}, {}, 0
        for tag in tags:
            largest = np.full(ROWS, -1 << 15)
            low, high = (np.array([row[name] for row in bounds[tag["bank"], tag["context"]]])
                         for name in ("low", "high"))
            for lane in range(LANES):
                dot = data(rng)
                enter[now] = pack(INPUT, {"valid": 1, "lane": lane, "tag": tag})
                values[now + 1] = pack(DATA, dot.tolist())
                if lane < tag["keys"]:
                    number = params[tag["bank"]]
                    rounded = rsh(dot * number["mult"], number["shift"])
                    score = sat(rounded, 16)
                    visible = self.visible(tag, lane, low, high)
                    largest = np.maximum(largest, np.where(visible, score, -1 << 15))
                    leave[now + latency()] = {
                        "valid": 1, "first": int(lane == 0), "last": int(lane == LANES - 1), "tag": tag,
                        "score": score.tolist(), "visible": int(visible @ (1 << np.arange(ROWS))),
                        "largest": largest.tolist()}
                    tallies[now + latency()] = int(((score != rounded) & visible).sum())
                    self.seen += int(visible.sum())
                    self.hidden += int((~visible & (score != rounded)).sum())
                if lane == LANES - 1:
                    # Whether this lane holds a key or not, the unit is complete.
                    ends[now + latency()] = {"tag": tag, "largest": largest.tolist()}
                now += 1 + (int(rng.integers(0, 4)) if gaps and chance(rng, .3) else 0)
        self.saturated += sum(tallies.values())
        for cycle in range(now + latency() + 1):
            dut.i.value = enter.get(cycle, noise(rng, INPUT))
            dut.data.value = values.get(cycle, noise(rng, DATA))
            await RisingEdge(dut.clk)
            got = unpack(OUTPUT, int(dut.o.value))
            assert got["valid"] == (cycle in leave), cycle
            assert cycle not in leave or got == leave[cycle], (cycle, got, leave[cycle], params)
            assert got["last"] == (cycle in ends), cycle
            assert cycle not in ends or {name: got[name] for name in ends[cycle]} == ends[cycle], (cycle, got)
            assert int(dut.saturated.value) == tallies.get(cycle, 0), (cycle, params)
            self.answer()


@cocotb.test()
@cocotb.parametrize(kind=list(MODES))
async def any_units(dut, kind):
    bench = Bench(dut, [1, *map(ord, kind)] if kind != "plain" else 1, kind)
    await start(dut)
    for index in range(24 if kind == "plain" else 16):
        params = [parameters(bench.rng) for _ in range(CHUNKS)]
        await bench.run(*bench.units(6 if LANES < 32 else 2), params, gaps=index % 2)
    assert bench.saturated and bench.hidden and bench.seen and (bench.decided > 0) == (kind == "tree")


@cocotb.test()
async def every_place_of_a_tree(dut):
    """From two places before the committed length to two after the last that the mask names."""
    bench = Bench(dut, 5, "tree")
    await start(dut)
    for bank in range(CHUNKS):
        _, bounds = bench.units(0)
        bench.bases = [base := int(bench.rng.integers(100, 200))] * CHUNKS
        tags = [{"bank": bank, "context": 0, "slot": 0, "first": 1, "final": 0, "keys": LANES, "position": position,
                 "segment": 0, "group": 0} for position in range(base - 2, base + TREE_PLACES + 2, LANES)]
        await bench.run(tags, bounds, [{"mult": 300, "shift": 12}] * CHUNKS)
    assert bench.decided >= CHUNKS * TREE_PLACES


@cocotb.test()
async def at_the_limits(dut):
    """Ties of the rounding, the first scores that saturate, the largest product unshifted."""
    bench = Bench(dut, 2)
    await start(dut)
    limits = [-32769, -32768, 32767, 32768]
    cases = [(1, 0, limits), (2, 1, limits), (1, 1, [-3, -1, 1, 3, 65533, 65534, 65535, -65537, -65538]),
             (3, 2, [-2, 2, -6, 6, 43689, 43690, -43691, -43690]), (0xFFFF, 0, [-LARGEST, LARGEST, 1, 0]),
             (0xFFFF, 63, [-LARGEST, LARGEST]), (0, 0, [LARGEST])]
    for mult, shift, values in cases:
        tags, bounds = bench.units(3)
        await bench.run(tags, bounds, [{"mult": mult, "shift": shift}, {"mult": mult, "shift": shift + 1 & 63}],
                        data=lambda rng, values=values: rng.choice(values, ROWS))
    assert bench.saturated


@cocotb.test()
async def every_bound(dut):
    """Every pair of bounds about a page of a key to all keys: all masks that there are."""
    bench = Bench(dut, 3)
    await start(dut)
    tag = {"context": CONFIG.contexts - 1, "keys": min(LANES, 8), "position": 5, "segment": 0, "group": 0}
    ends = range(4, 6 + tag["keys"])
    pairs = [{"low": low, "high": high} for low in ends for high in ends]
    for first in range(0, len(pairs), ROWS):
        rows = (pairs[first:first + ROWS] + [{"low": 0, "high": 0}] * ROWS)[:ROWS]
        full = {"bank": first // ROWS % CHUNKS, "slot": 0, "first": 1, "final": 0, **tag}
        await bench.run([full], {(full["bank"], tag["context"]): rows}, [{"mult": 300, "shift": 12}] * CHUNKS)


@cocotb.test()
async def measured_latency(dut):
    bench = Bench(dut, 4)
    await start(dut)
    dut.i.value = pack(INPUT, {"valid": 1, "tag": {"keys": 1}})
    for cycle in range(latency() + 1):
        await RisingEdge(dut.clk)
        assert unpack(OUTPUT, int(dut.o.value))["valid"] == (cycle == latency())
        dut.i.value = 0
    assert bench.saturated == 0
