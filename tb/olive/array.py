"""The array against golden, cycle by cycle: what leaves, and exactly when.

Parameters: OLIVINE_ROWS, OLIVINE_LANES, OLIVINE_ELEMENT, OLIVINE_COLUMNS, OLIVINE_TAG_BITS, OLIVINE_STEPS,
OLIVINE_LATENCY.
"""

import os
import random
from dataclasses import dataclass
from itertools import product

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge
from olivine.config import LANE_MAX, ROW_BITS
from olivine.olive.array import OliveArray
from olivine.olive.element import MAX_EXPONENT
from olivine.olive.formats import LaneFormat
from olivine_golden.array import accumulate, lane_values
from olivine_golden.ovp import decode_terms

from tb.streams import pack, start, unpack

ROWS, LANES, COLUMNS, STEPS, LATENCY = (int(os.environ[f"OLIVINE_{name}"])
                                        for name in ("ROWS", "LANES", "COLUMNS", "STEPS", "LATENCY"))
FOLDED = os.environ["OLIVINE_ELEMENT"] == "folded"
TAG_BITS = int(os.environ["OLIVINE_TAG_BITS"])
UNIT = OliveArray(ROWS, LANES, os.environ["OLIVINE_ELEMENT"], COLUMNS, TAG_BITS, STEPS)
STEP, ROW, LANE, OUTPUT = (UNIT.signature.members[name].shape for name in ("step", "row", "lane", "o"))
ROW_LOW, ROW_HIGH = -(1 << ROW_BITS - 1), (1 << ROW_BITS - 1) - 1
FORMATS = [fmt for fmt in LaneFormat if fmt is not LaneFormat.INT8]


def reachable():
    """Every <exponent, integer> that a byte of a 4-bit format decodes to."""
    terms = set()
    for fmt in FORMATS:
        e0, i0, e1, i1, _ = (value.tolist() for value in decode_terms(np.arange(256), fmt))
        terms |= set(zip(e0, i0)) | set(zip(e1, i1))
    return sorted(terms)


REACHABLE = reachable()


@dataclass
class Tile:
    """Steps of one tile: ``row`` [steps, P]; ``terms`` [steps, L, 2], the lanes' exponents and integers.

    A lane's value is what counts: the folded element gets <0, value>.
    """

    row: np.ndarray
    terms: np.ndarray
    pairs: bool = False

    @property
    def cycles(self):
        return UNIT.drain_cycles // (2 if self.pairs else 1)

    def sums(self):
        return accumulate(self.row, lane_values(self.terms[..., 0], self.terms[..., 1]), self.pairs)


def random_tile(rng, steps, pairs=False):
    row = np.array([[rng.choice((ROW_LOW, ROW_HIGH, rng.randint(ROW_LOW, ROW_HIGH))) for _ in range(ROWS)]
                    for _ in range(steps)])
    terms = np.array([[rng.choice(REACHABLE) for _ in range(LANES)] for _ in range(steps)])
    return Tile(row, terms, pairs)


def lane_bits(terms):
    if FOLDED:
        return pack(LANE, lane_values(terms[:, 0], terms[:, 1]).tolist())
    return pack(LANE, [{"exponent": e, "integer": i} for e, i in terms.tolist()])


class Bench:
    """Plays a list of cycles and compares every cycle's output with what must leave in it.

    Attributes
    ----------
    cycles : list of tuple of int
        ``step``, ``row``, ``lane`` of each cycle.
    expected : dict
        What leaves, by cycle.
    """

    def __init__(self, dut, seed):
        self.dut, self.rng = dut, random.Random(seed)
        self.cycles, self.expected = [], {}
        self.free = 0       # first cycle in which another last step may be taken
        self.tags = 0
        dut.step.value = dut.row.value = dut.lane.value = 0

    def gap(self, cycles):
        """Cycles without a step: all that is not ``valid`` is noise."""
        for _ in range(cycles):
            step = self.rng.getrandbits(STEP.size) & ~pack(STEP, {"valid": 1})
            self.cycles.append((step, self.rng.getrandbits(ROW.size), self.rng.getrandbits(LANE.size)))

    def tile(self, tile, gaps=0.0):
        """A tile as early as its drain allows, its steps apart at random."""
        steps = len(tile.row)
        self.tags += 1
        tag = (self.tags * 37) % (1 << TAG_BITS)
        for index in range(steps):
            last = index == steps - 1
            while self.rng.random() < gaps:
                self.gap(1)
            if last:
                self.gap(self.free - len(self.cycles))
            # Tags other than a last step's do not count.
            step = {"valid": 1, "first": int(index == 0), "last": int(last),
                    "tag": tag if last else self.rng.getrandbits(TAG_BITS),
                    "pairs": int(tile.pairs) if last else self.rng.getrandbits(1)}
            self.cycles.append((pack(STEP, step), pack(ROW, tile.row[index].tolist()),
                                lane_bits(tile.terms[index])))
        begin, sums = len(self.cycles) - 1 + LATENCY, tile.sums().reshape(tile.cycles, COLUMNS, ROWS).tolist()
        for index, word in enumerate(sums):
            assert begin + index not in self.expected
            self.expected[begin + index] = {
                "valid": 1, "first": int(index == 0), "last": int(index == len(sums) - 1),
                "tag": tag, "lane": index * COLUMNS, "data": word}
        self.free = len(self.cycles) - 1 + tile.cycles

    async def play(self):
        self.gap(LATENCY + UNIT.drain_cycles + 3)
        valid = pack(OUTPUT, {"valid": 1})
        for cycle, (step, row, lane) in enumerate(self.cycles):
            self.dut.step.value, self.dut.row.value, self.dut.lane.value = step, row, lane
            await RisingEdge(self.dut.clk)
            got = int(self.dut.o.value)
            if cycle in self.expected:
                expected = pack(OUTPUT, self.expected[cycle])
                assert got == expected, f"cycle {cycle}: {unpack(OUTPUT, got)}, not {self.expected[cycle]}"
            else:
                assert not got & valid, f"cycle {cycle}: {unpack(OUTPUT, got)}, and nothing should leave"
        last = max(self.expected)
        self.cycles, self.expected, self.free = [], {}, 0
        return last


@cocotb.test()
async def back_to_back(dut):
    """Tiles exactly as long as their drain: not a cycle between the words that leave."""
    bench = Bench(dut, 1)
    await start(dut)
    for pairs in (False, True)[:1 if FOLDED else 2]:
        for _ in range(30):
            tile = random_tile(bench.rng, UNIT.drain_cycles // (1 + pairs), pairs)
            bench.tile(tile)
        steps, words = len(bench.cycles), len(bench.expected)
        first = min(bench.expected)
        assert await bench.play() == first + words - 1 == LATENCY + steps - 1 + tile.cycles - 1


@cocotb.test()
async def any_tiles_with_gaps(dut):
    """Tiles of any length, with pauses that carry noise; with pairs and without, mixed."""
    bench = Bench(dut, 2)
    await start(dut)
    for _ in range(60):
        tile = random_tile(bench.rng, bench.rng.choice((1, 2, LANES - 1, LANES, bench.rng.randint(1, 30))),
                           pairs=not FOLDED and bench.rng.random() < 0.5)
        bench.tile(tile, gaps=bench.rng.choice((0, 0, 0.3, 0.8)))
        bench.gap(bench.rng.choice((0, 0, 1, 2, 20)))
    await bench.play()


@cocotb.test()
async def single_steps(dut):
    """Tiles of one step as often as they may come."""
    bench = Bench(dut, 3)
    await start(dut)
    for index in range(60):
        bench.tile(random_tile(bench.rng, 1, pairs=not FOLDED and index % 3 == 2))
    await bench.play()


@cocotb.test()
async def every_byte_of_every_format(dut):
    """Both elements of each byte, and each int8 byte, against the largest row operands."""
    bench = Bench(dut, 4)
    await start(dut)
    operands = []
    for fmt in FORMATS:
        e0, i0, e1, i1, _ = (value.tolist() for value in decode_terms(np.arange(256), fmt))
        operands += [*zip(e0, i0), *zip(e1, i1)]
    rows = np.array([[(ROW_LOW, ROW_HIGH)[(row + parity) % 2] for row in range(ROWS)] for parity in range(2)])
    for first in range(0, len(operands), LANES):
        terms = np.array(operands[first:first + LANES])
        bench.tile(Tile(rows[first // LANES % 2:][:1], terms[None]))
    e0, i0, e1, i1, _ = (value.tolist() for value in decode_terms(np.arange(256), LaneFormat.INT8))
    if FOLDED:
        terms = [(0, high * 16 + low) for high, low in zip(i0, i1)]
    else:
        terms = [term for pair in zip(zip(e0, i0), zip(e1, i1)) for term in pair]
    for first in range(0, len(terms), LANES):
        part = np.array(terms[first:first + LANES])
        bench.tile(Tile(rows[first // LANES % 2:][:1], part[None], pairs=not FOLDED))
    await bench.play()


@cocotb.test()
async def largest_sums(dut):
    """Tiles as long as they may be, of the largest operands of either sign."""
    bench = Bench(dut, 5)
    await start(dut)
    exponent = 0 if FOLDED else MAX_EXPONENT
    lanes = [(exponent, sign * (LANE_MAX >> exponent)) for sign in (-1, 1)]
    assert all(lane in REACHABLE for lane in lanes) or FOLDED
    for row, lane, pairs in product((ROW_LOW, ROW_HIGH), lanes, (False, True)[:1 if FOLDED else 2]):
        terms = np.tile(np.array(lane), (STEPS, LANES, 1))
        bench.tile(Tile(np.full((STEPS, ROWS), row), terms, pairs))
    await bench.play()


@cocotb.test()
async def latency(dut):
    """`latency` cycles from a last step to its first word."""
    bench = Bench(dut, 6)
    await start(dut)
    tile = random_tile(bench.rng, 3)
    bench.tile(tile)
    for step, row, lane in bench.cycles:
        dut.step.value, dut.row.value, dut.lane.value = step, row, lane
        await RisingEdge(dut.clk)
    dut.step.value = 0
    waited = 1
    await RisingEdge(dut.clk)
    while not unpack(OUTPUT, int(dut.o.value))["valid"] and waited < 100:
        waited += 1
        await RisingEdge(dut.clk)
    assert waited == LATENCY
