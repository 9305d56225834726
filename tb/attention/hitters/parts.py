"""Parts of the unit for heavy hitters: weights, the selector of victims, the loader of cells.

Parameters: OLIVINE_CONFIG; OLIVINE_UNIT: "weights", "selector" or "loader"; OLIVINE_LATENCY of weights and selector.
"""

import os
import random

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge
from olivine.attention.hitters.layout import cell_chunk_layout, cell_group_layout
from olivine.attention.hitters.loader import Loader
from olivine.attention.hitters.selector import Selector, places
from olivine.attention.hitters.weights import Weights
from olivine.attention.plan import address_bits
from olivine.control.job import command
from olivine.memory.realign import words
from olivine_golden.heavy_hitter import weight
from olivine_golden.hitter_record import get_record

from tb.attention.hitters.groups import random_group
from tb.attention.units import CONFIG, ROWS, shape_of
from tb.numerics.pipeline import check, latency
from tb.streams import StreamChecker, StreamSink, StreamSource, cycle, pack, start, unpack

# --- Weights ------------------------------------------------------------------------------------------

WEIGHTS = weight(np.arange((1 << 17) + (1 << 15))).tolist()
SCORE, LSE = shape_of(Weights, "score"), shape_of(Weights, "lse")


def weights_case(distances, visible, rng):
    """Scores and log-sum-exp of these distances, which may be negative."""
    scores, lse = [], []
    for distance in distances:
        low, high = max(-1 << 15, (-1 << 17) - distance), min((1 << 15) - 1, (1 << 17) - 1 - distance)
        scores.append(rng.randint(low, high))
        lse.append(scores[-1] + distance)
    total = sum(WEIGHTS[max(distance, 0)] for row, distance in enumerate(distances) if visible >> row & 1)
    return (pack(SCORE, scores), pack(LSE, lse), visible), (total,)


async def every_distance(dut):
    """Each row meets every distance up to where nothing is left, and on to the largest; and rows that do not see."""
    rng, everyone = random.Random(1), (1 << ROWS) - 1
    ends = [-1, -300, -(1 << 17) - (1 << 15) + 1, (1 << 17) - 1, (1 << 17) + (1 << 15) - 1, 1 << 16, 32 << 8, 64 << 8]
    distances = [*range(23 << 8), *ends, *(rng.randrange(23 << 8, 1 << 17) for _ in range(100))]
    cases = [weights_case([distances[(index + 999 * row) % len(distances)] for row in range(ROWS)], everyone, rng)
             for index in range(len(distances))]
    cases += [weights_case([rng.randrange(-300, 24 << 8) for _ in range(ROWS)], rng.getrandbits(ROWS), rng)
              for _ in range(100)]
    await check(dut, cases, ("score", "lse", "visible"), ("total",))


# --- Selector -----------------------------------------------------------------------------------------

KEY, FOUND = shape_of(Selector, "i"), shape_of(Selector, "o")
PLACES = places(CONFIG)


async def finds_the_smallest(dut):
    """Scans of random keys, many sums equal, with gaps; then all that was found, in order."""
    rng = random.Random(2)
    dut.clear.value, dut.pop.value, dut.i.value = 1, 0, 0
    await start(dut)
    for scan in range(60):
        count = rng.choice((0, 1, PLACES - 1, PLACES, PLACES + 1, rng.randrange(60)))
        sums = rng.choice(([0], [0, 1], [5, (1 << 32) - 1], range(9), range(1 << 32)))
        positions = rng.sample(range(0xffff), count)
        keys = [(rng.choice(sums), position, rng.randrange(CONFIG.cells)) for position in positions]
        if scan % 3 == 1:
            keys.sort(reverse=scan % 2)
        # What comes with ``clear`` is forgotten.
        dut.clear.value = 1
        dut.i.value = pack(KEY, {"valid": 1})
        await RisingEdge(dut.clk)
        dut.clear.value = 0
        for total, position, cell in keys:
            for _ in range(rng.choice((0, 0, 0, 1, 2))):
                dut.i.value = rng.getrandbits(KEY.size) & ~1
                await RisingEdge(dut.clk)
            dut.i.value = pack(KEY, {"valid": 1, "cell": cell, "sum": total, "position": position})
            await RisingEdge(dut.clk)
        dut.i.value = 0
        for _ in range(latency() - 1):
            await RisingEdge(dut.clk)
        expected = [cell for _, _, cell in sorted(keys)][:PLACES]
        for cell in [*expected, None]:
            dut.pop.value = int(cell is not None)
            await RisingEdge(dut.clk)
            got = unpack(FOUND, int(dut.o.value))
            assert got["valid"] == (cell is not None) and (cell is None or got["cell"] == cell), (scan, got, expected)
        dut.pop.value = 0


# --- Loader -------------------------------------------------------------------------------------------

GROUP, CHUNK, COMMAND = cell_group_layout(CONFIG), cell_chunk_layout(CONFIG), command(address_bits(CONFIG))
BEAT, LOADED = words(CONFIG.bus_bytes), shape_of(Loader, "loaded")
ENTRIES = {name: shape_of(Loader, name) for name in ("position", "sum", "lse")}
READ_LATENCY = 20


class LoaderBench:
    """Answers reads, and notes what is written."""

    def __init__(self, dut, pattern):
        self.dut = dut
        self.sources = {name: StreamSource(dut, name, pattern, seed=index)
                        for index, name in enumerate(("i_group", "i_chunk", "i"))}
        self.sinks = {name: StreamSink(dut, name, pattern, seed=7) for name in ("o_command", "o_touched", "o_chunk")}
        for name in self.sinks:
            StreamChecker(dut, name)
        self.memory, self.due, self.rng = {}, [], random.Random(5)
        self.written = {name: [] for name in ENTRIES}
        dut.hitters.value, dut.score.value, dut.release.value, dut.release_bank.value = 1, 1, 0, 0
        dut.o_group__ready.value = 1

    async def tick(self):
        await RisingEdge(self.dut.clk)
        for name, shape in ENTRIES.items():
            bits = int(getattr(self.dut, name).value)
            if bits & 1:
                entry = unpack(shape, bits)
                del entry["valid"]
                self.written[name].append((cycle(), entry))
        while self.sinks["o_command"].received:
            self.due.append((cycle() + READ_LATENCY - 1, unpack(COMMAND, self.sinks["o_command"].received.pop(0))))
        while self.due and self.due[0][0] <= cycle():
            _, asked = self.due.pop(0)
            base, image = next((base, image) for base, image in self.memory.items()
                               if base <= asked["addr"] and asked["addr"] + asked["bytes"] <= base + len(image))
            taken = image[asked["addr"] - base:][:asked["bytes"]]
            for first in range(0, len(taken), CONFIG.bus_bytes):
                beat = taken[first:first + CONFIG.bus_bytes]
                self.sources["i"].push(pack(BEAT, {
                    "data": list(beat + self.rng.randbytes(CONFIG.bus_bytes - len(beat))), "count": len(beat),
                    "last": int(first + CONFIG.bus_bytes >= len(taken))}))


async def loads_groups(dut, pattern):
    """Tokens take the free cells in order, whatever memory holds; log-sum-exp go where their rows are."""
    rng = np.random.default_rng(9)
    bench = LoaderBench(dut, pattern)
    groups = [random_group(rng, "score", index, 1 + index << 20) for index in range(8)]
    await start(dut)
    for number, group in enumerate(groups):
        bench.memory = {group.fields["record"]: group.image}
        bench.sources["i_group"].push(pack(GROUP, group.fields))
        expected_lse = []
        for index, chunk in enumerate(group.chunks):
            chunk.address = 0x1000 * (index + 1)
            bench.memory[chunk.address] = chunk.lse.astype("<i4").tobytes()
            bench.sources["i_chunk"].push(pack(CHUNK, {
                "bank": index % 2, "first": int(index == 0), "last": int(index == len(group.chunks) - 1),
                "contexts": chunk.contexts, "last_rows": chunk.last_rows, "lse": chunk.address}))
            expected_lse += [{"bank": index % 2, "context": row // ROWS, "row": row % ROWS, "lse": int(lse)}
                             for row, lse in enumerate(chunk.lse)]
        while dut.idle.value == 1:
            await bench.tick()
        while dut.idle.value != 1 or dut.level.value != 0:
            await bench.tick()
        bank, before = number % 2, group.fields["before"]
        sums = np.zeros(len(group.positions), np.int64)
        sums[:before] = get_record(group.image, before)[0]
        for name, values in (("position", group.positions & 0xffff), ("sum", sums)):
            got = [entry for _, entry in bench.written[name]]
            assert got == [{"bank": bank, "cell": cell, name: int(value)} for cell, value in enumerate(values)], name
        assert [entry for _, entry in bench.written["lse"]] == expected_lse
        loaded = unpack(LOADED, int(dut.loaded.value))[bank]
        assert loaded == {"group": number % 4, "valid": 1, "cells": len(sums)} and int(dut.summed.value) >> bank & 1
        assert bench.sinks["o_touched"].received == [index for index in range(number + 1)]
        assert len(bench.sinks["o_chunk"].received) == len(group.chunks)
        if pattern == "always":
            first, last = bench.sources["i_group"].cycles[-1], bench.written["sum"][-1][0]
            assert last - first <= 2 * len(sums) + READ_LATENCY + 6, (last - first, len(sums))
        for log in (*bench.written.values(), bench.sinks["o_chunk"].received):
            log.clear()
        if number:
            dut.release.value, dut.release_bank.value = 1, 1 - bank
            await bench.tick()
            dut.release.value = 0
            await bench.tick()
            assert not unpack(LOADED, int(dut.loaded.value))[1 - bank]["valid"]


test = cocotb.test(timeout_time=2, timeout_unit="ms")
unit = os.environ["OLIVINE_UNIT"]

if unit == "weights":
    every_distance = test(every_distance)
elif unit == "selector":
    finds_the_smallest = test(finds_the_smallest)
else:
    loads_groups = test(cocotb.parametrize(pattern=["always", "half", "bursty"])(loads_groups))
