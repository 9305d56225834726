"""Weighted values of pages against golden, dims of all contexts in any order the spacing allows.

Parameters: see `tb.attention.units`; OLIVINE_SPACING.
"""

import os

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge
from olivine.attention.layout import CHUNKS, O_BITS, factors_layout, slots
from olivine.attention.merge import BlockMerge, merged_word
from olivine_golden.rounding import rsh

from tb.attention.units import CONFIG, ROWS, chance, noise, shape_of
from tb.numerics.pipeline import latency
from tb.streams import pack, start, unpack

INPUT, OUTPUT, FACTORS = shape_of(BlockMerge, "i"), merged_word(CONFIG), factors_layout(CONFIG)
SPACING = int(os.environ["OLIVINE_SPACING"])
LOW, HIGH = -(1 << O_BITS - 1), (1 << O_BITS - 1) - 1


class Bench:
    def __init__(self, dut, seed):
        self.dut, self.rng = dut, np.random.default_rng(seed)
        self.table = [self.factors() for _ in range(slots(CONFIG))]
        self.kept, self.used = {}, {}
        self.cycle = self.finished = 0
        self.leave = {}
        self.asked = 0
        dut.i.value = dut.factors.value = 0

    def factors(self):
        """A slot's: one of the shifts is 0."""
        rng = self.rng
        made = []
        for _ in range(ROWS):
            places = int(rng.choice([0, 0, 1, 39, 40, 41, 63, rng.integers(0, 64), rng.integers(0, 12)]))
            old, new = (0, places) if chance(rng, .5) else (places, 0)
            made.append({"old": old, "new": new})
        return made

    def values(self):
        rng = self.rng
        kind = rng.integers(0, 3)
        if kind == 0:
            return rng.choice([LOW, HIGH, LOW + 1, 0, -1, 1], ROWS)
        return rng.integers(LOW, HIGH + 1, ROWS) >> (0 if kind == 1 else int(rng.integers(0, 39)))

    def word(self, addr, first=None, final=None, values=None):
        """Bits of a word; notes what must come of it."""
        rng = self.rng
        tag = {"bank": int(rng.integers(0, CHUNKS)), "slot": int(rng.integers(0, slots(CONFIG))),
               "first": int(chance(rng, .2) if first is None else first) if addr in self.kept else 1,
               "final": int(chance(rng, .3) if final is None else final)}
        assert self.cycle - self.used.get(addr, -SPACING) >= SPACING
        values = self.values() if values is None else values
        factors = self.table[tag["slot"]]
        old, new = (np.array([row[name] for row in factors]) for name in ("old", "new"))
        so_far = np.zeros(ROWS, int) if tag["first"] else self.kept[addr]
        total = rsh(so_far, old) + rsh(values, new)
        if total.min() < LOW or total.max() > HIGH:
            # Nothing of the sort happens: O is bounded.
            values = np.zeros(ROWS, int)
            total = rsh(so_far, old)
        self.used[addr] = self.cycle
        if tag["final"]:
            self.finished += 1
            self.leave[self.cycle + latency()] = {"valid": 1, "value": total.tolist()}
        else:
            self.kept[addr] = total
        return pack(INPUT, {"valid": 1, "addr": addr, "tag": tag, "value": values.tolist()})

    async def step(self, word=None):
        """One cycle; the slot memory answers in the next."""
        dut, rng = self.dut, self.rng
        dut.i.value = noise(rng, INPUT) if word is None else word
        await RisingEdge(dut.clk)
        # Noise may address what is not in the memory: only words that are valid have all their bits.
        assert int(dut.o.value[0]) == (self.cycle in self.leave), self.cycle
        if self.cycle in self.leave:
            got = unpack(OUTPUT, int(dut.o.value))
            assert got == self.leave[self.cycle], (self.cycle, got, self.leave[self.cycle])
        slot = int(dut.slot.value) if hasattr(dut, "slot") else 0
        dut.factors.value = pack(FACTORS, self.table[slot] if slot < len(self.table) else [{}] * ROWS)
        self.cycle += 1
        if chance(rng, .2):
            self.table[int(rng.integers(0, len(self.table)))] = self.factors()

    async def drain(self):
        for _ in range(latency() + 1):
            await self.step()


@cocotb.test()
async def any_dim(dut):
    """A word in most cycles; addresses come back after `SPACING` cycles or later."""
    bench = Bench(dut, 1)
    await start(dut)
    addresses = [0, 1, CONFIG.state_words - 1, *range(2, 10)]
    for _ in range(3000 // ROWS):
        free = [a for a in addresses if bench.cycle - bench.used.get(a, -SPACING) >= SPACING]
        await bench.step(bench.word(int(bench.rng.choice(free))) if chance(bench.rng, .9) else None)
    await bench.drain()
    assert bench.finished


@cocotb.test()
async def same_dims_as_close_as_may_be(dut):
    """A few dims in turn, each `SPACING` cycles after its last, page after page; finished ones do not come back."""
    bench = Bench(dut, 2)
    await start(dut)
    for page in range(60):
        for addr in range(SPACING):
            await bench.step(bench.word(addr, first=page % 10 == 0, final=page % 10 == 9))
    # A final word leaves the memory as it was.
    for addr in range(SPACING):
        await bench.step(bench.word(addr, first=False, final=True, values=np.zeros(ROWS, int)))
    await bench.drain()


@cocotb.test()
async def whole_memory(dut):
    """Every word keeps its own: written one after the other, read back."""
    bench = Bench(dut, 3)
    await start(dut)
    for first in (True, False):
        for addr in range(CONFIG.state_words):
            await bench.step(bench.word(addr, first=first, final=not first))
    await bench.drain()


@cocotb.test()
async def measured_latency(dut):
    bench = Bench(dut, 4)
    await start(dut)
    dut.i.value = pack(INPUT, {"valid": 1, "tag": {"first": 1, "final": 1}})
    for cycle in range(latency() + 1):
        await RisingEdge(dut.clk)
        assert unpack(OUTPUT, int(dut.o.value))["valid"] == (cycle == latency())
        dut.i.value = 0
    assert not bench.leave
