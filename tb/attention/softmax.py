"""Softmax of pages against golden: every probability and every sum in its cycle, units as close as may be.

Parameters: see `tb.attention.units`.
"""

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge
from olivine.attention.score import score_word
from olivine.attention.softmax import BlockSoftmax, block_state
from olivine.config import GUARD_BITS
from olivine_golden.exp2 import exp2

from tb.attention.units import CONFIG, LANES, ROWS, chance, noise, scores, shape_of
from tb.numerics.pipeline import latency
from tb.streams import pack, start, unpack

INPUT, DONE, OUTPUT = score_word(CONFIG), block_state(CONFIG), shape_of(BlockSoftmax, "o")
BITS = 1 << np.arange(ROWS)


class Unit:
    """The scores of a page, and what becomes of them."""

    def __init__(self, rng, keys):
        self.keys = keys
        self.tag = {"bank": int(rng.integers(0, 2)), "context": int(rng.integers(0, CONFIG.contexts)),
                    "slot": int(rng.integers(0, CONFIG.contexts)), "first": int(rng.integers(0, 2)),
                    "final": int(rng.integers(0, 2)), "keys": keys, "position": int(rng.integers(-1000, 1 << 20)),
                    "segment": int(rng.integers(0, 64)), "group": int(rng.integers(0, 4))}
        base = scores(rng)
        shown = rng.choice([0, .5, .9, 1], ROWS, p=[.1, .2, .3, .4])
        narrow = chance(rng, .5)
        self.scores, self.visible, self.largest = [], [], []
        largest = np.full(ROWS, -1 << 15)
        for _ in range(keys):
            score = np.clip(base + rng.integers(-1500, 1500, ROWS), -1 << 15, (1 << 15) - 1) if narrow else scores(rng)
            visible = rng.random(ROWS) < shown
            largest = np.maximum(largest, np.where(visible, score, -1 << 15))
            self.scores.append(score)
            self.visible.append(visible)
            self.largest.append(largest)
        self.m = -(-largest // 256)
        self.p = [np.where(visible, exp2(np.maximum(256 * self.m - score, 0)), 0)
                  for score, visible in zip(self.scores, self.visible)]
        self.l = sum(self.p) << GUARD_BITS

    def end(self):
        """The page's last lane, which holds no key."""
        return pack(INPUT, {"last": 1, "tag": self.tag, "largest": self.largest[-1].tolist()})

    def word(self, index, last):
        return pack(INPUT, {"valid": 1, "first": int(index == 0), "last": int(last), "tag": self.tag,
                            "score": self.scores[index].tolist(), "visible": int(self.visible[index] @ BITS),
                            "largest": self.largest[index].tolist()})

    @property
    def done(self):
        return {"valid": 1, "tag": self.tag, "m": self.m.tolist(), "l": self.l.tolist()}


class Bench:
    def __init__(self, dut, seed):
        self.dut, self.rng = dut, np.random.default_rng(seed)
        self.delayed = 0
        dut.i.value = 0

    async def run(self, units, spacing=lambda: LANES, places="late"):
        """Feed units whose ends are ``spacing()`` cycles apart.

        ``places``: where the words go in the time since the unit before: ``late``, the last one with the end;
        ``early`` and ``any``, the end without a word where there is time for both.
        """
        dut, rng = self.dut, self.rng
        enter, leave, dones = {}, {}, {}
        last, done = -1, -LANES
        for unit in units:
            # Cycle 0 follows whatever there was before by enough.
            before, last = last, last + max(spacing(), unit.keys)
            free = np.arange(before + 1, last + 1)
            cycles = {"late": free[len(free) - unit.keys:], "early": free[:unit.keys],
                      "any": np.sort(rng.choice(free, unit.keys, replace=False))}[places].tolist()
            enter[last] = unit.end()
            for index, cycle in enumerate(cycles):
                enter[cycle] = unit.word(index, cycle == last)
            for index in range(unit.keys):
                leave[last + latency() + index] = unit.p[index].tolist()
            own = last + latency() + unit.keys
            self.delayed += own < done + LANES
            done = max(own, done + LANES)
            assert done <= last + LANES + latency()
            dones[done] = unit.done
        for cycle in range(done + LANES + 1):
            dut.i.value = enter.get(cycle, noise(rng, INPUT) & ~pack(INPUT, {"last": 1}))
            await RisingEdge(dut.clk)
            got = unpack(OUTPUT, int(dut.o.value))
            assert got["valid"] == (cycle in leave), cycle
            assert cycle not in leave or got["data"] == leave[cycle], (cycle, got, leave[cycle])
            got = unpack(DONE, int(dut.done.value))
            assert got["valid"] == (cycle in dones), cycle
            assert cycle not in dones or got == dones[cycle], (cycle, got, dones[cycle])


def sizes(rng, count):
    """Keys of units: full and short ones in every order."""
    return [int(k) for k in rng.choice([1, 2, LANES - 1, LANES, LANES, rng.integers(1, LANES + 1)], count)]


@cocotb.test()
async def full_pages_back_to_back(dut):
    bench = Bench(dut, 1)
    await start(dut)
    for places in ("late", "early"):
        await bench.run([Unit(bench.rng, LANES) for _ in range(12)], places=places)


@cocotb.test()
async def mixed_sizes_as_close_as_may_be(dut):
    """Short units right behind long ones: the ring at its fullest, sums that wait for their turn."""
    bench = Bench(dut, 2)
    await start(dut)
    for places in ("late", "early", "any"):
        pattern = [LANES, 1, LANES, LANES, 1, 1, LANES, 2, *sizes(bench.rng, 160 // LANES + 8)]
        await bench.run([Unit(bench.rng, keys) for keys in pattern], places=places)
    assert bench.delayed


@cocotb.test()
async def any_spacing(dut):
    bench = Bench(dut, 3)
    await start(dut)
    for _ in range(2 + 64 // LANES):
        await bench.run([Unit(bench.rng, keys) for keys in sizes(bench.rng, 8)], places="any",
                        spacing=lambda: LANES + int(bench.rng.choice([0, 1, bench.rng.integers(0, 2 * LANES)])))


@cocotb.test()
async def every_maximum(dut):
    """Units of one key, whose maximum goes through all remainders and the ends of the range."""
    bench = Bench(dut, 4)
    await start(dut)
    values = [*range(-1 << 15, (-1 << 15) + 4), *range(-258, 260, 1 if ROWS < 4 else 3), *range(32765, 32768)]
    values = values[::max(1, LANES // 16)] + [-1 << 15, 32767, 32512, 32513]
    units = []
    for value in values:
        unit = Unit(bench.rng, 1)
        unit.scores, unit.largest = [np.full(ROWS, value)], [np.full(ROWS, value)]
        unit.visible, unit.m = [np.full(ROWS, True)], np.full(ROWS, -(-value // 256))
        unit.p = [exp2(256 * unit.m - value)]
        unit.l = unit.p[0] << GUARD_BITS
        units.append(unit)
    await bench.run(units)


@cocotb.test()
async def measured_latency(dut):
    """From the end of a unit to its first probabilities, and from its last ones to its sum."""
    bench = Bench(dut, 5)
    await start(dut)
    unit = Unit(bench.rng, 1)
    for cycle in range(latency() + 2):
        dut.i.value = unit.word(0, True) if cycle == 0 else 0
        await RisingEdge(dut.clk)
        assert unpack(OUTPUT, int(dut.o.value))["valid"] == (cycle == latency())
        assert unpack(DONE, int(dut.done.value))["valid"] == (cycle == latency() + 1)
