"""Running states of all contexts against golden: factors of every unit, records of the final ones.

Parameters: see `tb.attention.units`; OLIVINE_SPACING.
"""

import os

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge
from olivine.attention.layout import CHUNKS, factors_layout, record_layout, slots
from olivine.attention.softmax import block_state
from olivine.attention.state import RunningState, record_place
from olivine_golden.log2 import log2_q8
from olivine_golden.reciprocal import normalize, reciprocal
from olivine_golden.rounding import rsh

from tb.attention.units import CONFIG, LANES, ROWS, banks, chance, drive, noise, shape_of
from tb.numerics.pipeline import latency
from tb.streams import pack, start, unpack

INPUT, FACTORS, RECORD = block_state(CONFIG), factors_layout(CONFIG), record_layout(CONFIG)
PLACE, PARAMS = record_place(CONFIG), shape_of(RunningState, "params")
SPACING = int(os.environ["OLIVINE_SPACING"])
PAGE_SUM = LANES * 2047 << 5
"""Largest l of a page."""


class Bench:
    def __init__(self, dut, seed):
        self.dut, self.rng = dut, np.random.default_rng(seed)
        self.states, self.slots, self.number = {}, {}, 0
        self.lone = self.far = 0
        dut.i.value = dut.params.value = 0
        drive(dut, "slot", 0)

    def block(self, m):
        """Maximum and sum of a page for each row: near the row's ``m``, or anywhere, or of a row without keys."""
        rng = self.rng
        near = np.clip(m + rng.integers(-70, 71, ROWS) * rng.choice([1, 1, 0], ROWS), -128, 128)
        far = rng.choice([-128, 128, *rng.integers(-128, 129, 2)], ROWS)
        m_b = np.where(rng.random(ROWS) < .6, near, far)
        l_b = rng.choice([1026 << 5, 2047 << 5, PAGE_SUM, *rng.integers(1026 << 5, PAGE_SUM + 1, 3)], ROWS)
        none = rng.random(ROWS) < .15
        return np.where(none, -128, m_b), np.where(none, 0, l_b)

    def unit(self, params, context=None, first=None, block=None):
        """A unit's input, and what must follow from it."""
        rng = self.rng
        context = int(rng.integers(0, CONFIG.contexts)) if context is None else context
        first = context not in self.states or (chance(rng, .15) if first is None else first)
        m, l = (np.full(ROWS, -128), np.zeros(ROWS, int)) if first else self.states[context]   # noqa: E741
        m_b, l_b = self.block(m) if block is None else block
        new_m = np.maximum(m, m_b)
        old, new = np.minimum(new_m - m, 63), np.minimum(new_m - m_b, 63)
        total = rsh(l, old) + rsh(l_b, new)
        if total.max() >= 1 << 32:
            return self.unit(params, context, True, block)
        self.states[context] = new_m, total
        tag = {"bank": int(rng.integers(0, CHUNKS)), "context": context, "slot": self.number % slots(CONFIG),
               "first": int(first), "final": int(rng.integers(0, 2)), "keys": LANES, "position": 0,
               "segment": 0, "group": 0}
        self.number += 1
        exponent, mantissa = normalize(total)
        factor = rsh(reciprocal(mantissa) * (params[tag["bank"]]["o_mult"] or 1 << 16), 16)
        lse = np.where(total == 0, -1 << 17, 256 * new_m + log2_q8(total) - 4096)
        factors = [dict(zip(("old", "new"), row)) for row in zip(*(a.tolist() for a in (old, new)))]
        names = ("m", "l", "lse", "exponent", "factor")
        record = [dict(zip(names, row)) for row in zip(*(a.tolist() for a in (new_m, total, lse, exponent, factor)))]
        self.lone += int((total == 0).sum())
        self.far += int((np.maximum(old, new) == 63).sum())
        return tag, {"valid": 1, "tag": tag, "m": m_b.tolist(), "l": l_b.tolist()}, factors, record

    async def run(self, params, units, spacing=lambda: SPACING):
        """Units, each of whose factors are asked for in the cycle of its ``ready``."""
        dut, rng = self.dut, self.rng
        dut.params.value = banks(PARAMS, params)
        enter, ready, now = {}, {}, 0
        for unit in units:
            enter[now], ready[now + latency()] = unit, unit
            now += spacing()
        for cycle in range(now + latency() + 2):
            dut.i.value = pack(INPUT, enter[cycle][1]) if cycle in enter else noise(rng, INPUT)
            tag, _, factors, record = ready.get(cycle, (None,) * 4)
            drive(dut, "slot", tag["slot"] if tag else int(rng.integers(0, slots(CONFIG))))
            await RisingEdge(dut.clk)
            assert int(dut.ready.value) == (cycle in ready), cycle
            assert int(dut.record_valid.value) == (cycle in ready and tag["final"]), cycle
            if tag and tag["final"]:
                assert unpack(RECORD, int(dut.record.value)) == record, (cycle, tag)
                assert unpack(PLACE, int(dut.record_place.value)) == {name: tag[name] for name in PLACE.members}
            if cycle - 1 in ready:
                before, _, factors, _ = ready[cycle - 1]
                assert unpack(FACTORS, int(dut.factors.value)) == factors, (cycle, before)
                self.slots[before["slot"]] = factors
        # They stay.
        for slot, factors in self.slots.items():
            dut.i.value = 0
            drive(dut, "slot", slot)
            await RisingEdge(dut.clk)
            await RisingEdge(dut.clk)
            assert unpack(FACTORS, int(dut.factors.value)) == factors, slot


def parameters(rng):
    return [{"o_mult": int(mult)} for mult in rng.choice([0, 1, 0xFFFF, 0x8000, *rng.integers(0, 1 << 16, 4)], CHUNKS)]


@cocotb.test()
async def all_contexts_as_close_as_may_be(dut):
    bench = Bench(dut, 1)
    await start(dut)
    for _ in range(8):
        params = parameters(bench.rng)
        await bench.run(params, [bench.unit(params) for _ in range(30)])
    assert bench.lone and bench.far


@cocotb.test()
async def one_context_as_close_as_may_be(dut):
    """Each unit starts from the state that the one before is just leaving."""
    bench = Bench(dut, 2)
    await start(dut)
    for spacing in (SPACING, SPACING + 1, LANES):
        params = parameters(bench.rng)
        await bench.run(params, [bench.unit(params, CONFIG.contexts - 1, index == 0) for index in range(30)],
                        spacing=lambda spacing=spacing: spacing)


@cocotb.test()
async def any_spacing(dut):
    bench = Bench(dut, 3)
    await start(dut)
    params = parameters(bench.rng)
    await bench.run(params, [bench.unit(params) for _ in range(60)],
                    spacing=lambda: SPACING + int(bench.rng.choice([0, 1, 2, 7, 40])))


@cocotb.test()
async def every_shift(dut):
    """All distances of the maxima, either way, of sums of few bits to 32."""
    bench = Bench(dut, 4)
    await start(dut)
    params = [{"o_mult": 0}, {"o_mult": 0xFFFF}]
    units = []
    for distance in range(0, 257, 3 if ROWS > 4 else 1):
        m = np.full(ROWS, int(bench.rng.integers(-128, 129 - distance)))
        size = [int(bench.rng.integers(1, 1 << bits)) for bits in bench.rng.integers(16, 32, 2)]
        sums = [np.full(ROWS, s) for s in size]
        order = [(m, sums[0]), (m + distance, sums[1])]
        for index, block in enumerate(order if distance % 2 else order[::-1]):
            units.append(bench.unit(params, distance % CONFIG.contexts, index == 0, block))
    await bench.run(params, units)


@cocotb.test()
async def sums_at_their_ends(dut):
    """Empty rows, the least sum of a row that saw a key, powers of two, and the largest sum there can be."""
    bench = Bench(dut, 5)
    await start(dut)
    params = parameters(bench.rng)
    ends = [0, 1, 1026 << 5, (1 << 15) - 1, 1 << 15, (1 << 31) - 1, 1 << 31, (1 << 32) - 1]
    units = []
    for value in ends:
        for m in (-128, 128, 0):
            units.append(bench.unit(params, 0, True, (np.full(ROWS, m), np.full(ROWS, value))))
    await bench.run(params, units)
    await bench.run(params, [bench.unit(params, 0, True, (np.full(ROWS, 7), np.full(ROWS, 1 << 31))),
                             bench.unit(params, 0, False, (np.full(ROWS, 7), np.full(ROWS, (1 << 31) - 1)))])
