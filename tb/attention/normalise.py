"""Results of groups of rows against golden: formats, shifts, saturations of both kinds; the pipeline may stand.

Parameters: see `tb.attention.units`.
"""

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge
from olivine.attention.descriptor import PLAIN_SHIFT, OutputFormat
from olivine.attention.normalise import PASS, Normaliser, lanes
from olivine.numerics.quotient import MIN_EXPONENT
from olivine_golden.reciprocal import normalize, reciprocal, scale
from olivine_golden.rounding import rsh

from tb.attention.units import CONFIG, chance, noise, shape_of
from tb.numerics.pipeline import latency
from tb.streams import pack, start, unpack

ROWS = lanes(CONFIG)
INPUT, OUTPUT = shape_of(Normaliser, "i"), shape_of(Normaliser, "o")
LOW, HIGH = -(1 << 39), (1 << 39) - 1
WORDS = 1600 // ROWS


class Bench:
    def __init__(self, dut, seed):
        self.dut, self.rng = dut, np.random.default_rng(seed)
        self.saturated = self.plain = 0
        dut.i.value = 0

    async def run(self, words, shifts, o_format):
        """``words`` of (numerator, exponent, factor) by row, one a cycle with a few gaps."""
        dut, rng = self.dut, self.rng
        leave, cycle, words = {}, 0, iter(words)
        word = next(words)
        while word is not None or any(at >= cycle for at in leave):
            dut.i.value = noise(rng, INPUT)
            if word is not None and chance(rng, .9):
                shift = int(rng.choice(shifts))
                given = word[0], np.maximum(word[1] - MIN_EXPONENT, 0), word[2]
                names = ("value", "places", "factor")
                dut.i.value = pack(INPUT, {"valid": 1, "shift": shift, "o_format": o_format.value,
                                           **{name: part.tolist() for name, part in zip(names, given)}})
                bits = 16 if o_format is OutputFormat.PARTIAL else o_format.bits
                value, saturated = scale(*word, shift, bits)
                leave[cycle + latency()] = {"valid": 1, "value": value.tolist(),
                                            "saturated": int(saturated @ (1 << np.arange(ROWS)))}
                self.saturated += int(saturated.sum())
                self.plain += int((saturated == 0).sum())
                word = next(words, None)
            await RisingEdge(dut.clk)
            got = unpack(OUTPUT, int(dut.o.value))
            assert got["valid"] == (cycle in leave), cycle
            assert cycle not in leave or got == leave[cycle], (cycle, got, leave[cycle], shifts, o_format)
            cycle += 1


@cocotb.test()
async def softmax_rows(dut):
    """O over l as softmax produces them, in every format, its factor with an ``o_mult``."""
    bench = Bench(dut, 1)
    rng = bench.rng
    await start(dut)
    for o_format in OutputFormat:
        words = []
        for _ in range(WORDS):
            denominator = (2 ** rng.uniform(15.01, 32, ROWS)).astype(np.int64)
            numerator = np.clip(rng.uniform(-260, 260, ROWS) * denominator, LOW, HIGH).astype(np.int64)
            exponent, mantissa = normalize(denominator)
            mult = int(rng.choice([1 << 16, rng.integers(1, 1 << 16)]))
            words.append((numerator, exponent, rsh(reciprocal(mantissa) * mult, 16)))
        await bench.run(words, [PLAIN_SHIFT, int(rng.integers(24, 30))], o_format)
    assert bench.saturated and bench.plain


@cocotb.test()
async def anything(dut):
    """Numbers of any size, every shift."""
    bench = Bench(dut, 2)
    rng = bench.rng
    await start(dut)
    for first in range(0, 64, 2):
        words = []
        for _ in range(40):
            numerator = (rng.choice([-1, 1], ROWS) * 2 ** rng.uniform(0, 39, ROWS)).astype(np.int64)
            words.append((np.where(rng.random(ROWS) < .2, rng.choice([LOW, HIGH, 0, -1], ROWS), numerator),
                          rng.integers(0, 32, ROWS),
                          rng.choice([0, (1 << 17) - 1, *rng.integers(0, 1 << 17, 4)], ROWS)))
        await bench.run(words, [first, first + 1], list(OutputFormat)[first // 2 % 4])
    assert bench.saturated and bench.plain


@cocotb.test()
async def at_the_limits(dut):
    """Results about the ends of each format, and numerators about 25 bits."""
    bench = Bench(dut, 3)
    rng = bench.rng
    await start(dut)
    for o_format in list(OutputFormat)[:3]:
        top = 1 << o_format.bits - 1
        ends = [e + d for e in (-top, top) for d in (-2, -1, 0, 1, 2)]
        await bench.run([(rng.choice(ends, ROWS), np.full(ROWS, 15), np.full(ROWS, 1)) for _ in range(40)], [0, 1],
                        o_format)
        wide = [e + d for e in (-1 << 25, 1 << 25) for d in range(-3, 4)]
        await bench.run([(rng.choice(wide, ROWS), rng.choice([15, 16, 17], ROWS), rng.choice([0, 1, 3], ROWS))
                         for _ in range(80)], [24, 18], o_format)
    assert bench.saturated and bench.plain


@cocotb.test()
async def measured_latency(dut):
    bench = Bench(dut, 4)
    await start(dut)
    dut.i.value = pack(INPUT, {"valid": 1})
    for cycle in range(latency() + 1):
        await RisingEdge(dut.clk)
        assert unpack(OUTPUT, int(dut.o.value))["valid"] == (cycle == latency())
        dut.i.value = 0
    assert bench.saturated == 0


@cocotb.test()
async def passes_numbers_of_16_bits(dut):
    bench = Bench(dut, 5)
    rng = bench.rng
    await start(dut)
    ends = [-1 << 15, (1 << 15) - 1, 0, -1]
    exponent, factor = np.full(ROWS, MIN_EXPONENT + PASS["places"]), np.full(ROWS, PASS["factor"])
    await bench.run([(rng.choice([*ends, *rng.integers(-1 << 15, 1 << 15, 4)], ROWS), exponent, factor)
                     for _ in range(60)], [PASS["shift"]], OutputFormat(PASS["o_format"]))
    assert not bench.saturated
