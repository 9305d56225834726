"""The encoder: small pairs, elements past the last decision point, random ones over the full range."""

import itertools
import os

import cocotb
import numpy as np
from olivine.olive.encoder import PairEncoder
from olivine.olive.formats import LaneFormat
from olivine_golden.ovp import encode_pairs

from tb.numerics.pipeline import check
from tb.streams import pack

WIDTH = int(os.environ["OLIVINE_WIDTH"])
FIRST_WINS = bool(int(os.environ["OLIVINE_FIRST_WINS"]))
SPAN = int(os.environ["OLIVINE_SPAN"])
FORMAT = LaneFormat[os.environ["OLIVINE_FORMAT"]]
I, O = (PairEncoder(WIDTH, FIRST_WINS).signature.members[name].shape for name in "io")   # noqa: E741

LOW, HIGH = -(1 << WIDTH - 1), (1 << WIDTH - 1) - 1


async def _check(dut, first, second, formats=None, **options):
    formats = [FORMAT] * len(first) if formats is None else formats
    cases = []
    expected = {fmt: encode_pairs(first, second, fmt, FIRST_WINS) for fmt in set(formats)}
    for index, fmt in enumerate(formats):
        codes, saturated = expected[fmt]
        cases.append(((pack(I, {"first": int(first[index]), "second": int(second[index]), "format": fmt}),),
                      (pack(O, {"codes": int(codes[index]), "saturated": int(saturated[index])}),)))
    await check(dut, cases, ["i"], ["o"], **options)


@cocotb.test()
async def every_small_pair(dut):
    span = np.arange(-SPAN, SPAN + 1)
    await _check(dut, np.repeat(span, span.size), np.tile(span, span.size))


@cocotb.test()
async def every_element_past_the_largest_outlier(dut):
    reach = np.arange(max(LOW, -520), min(HIGH, 520) + 1)
    other = np.random.default_rng(1).integers(max(LOW, -520), min(HIGH, 520) + 1, reach.size)
    await _check(dut, np.concatenate([reach, other]), np.concatenate([other, reach]))


@cocotb.test()
async def full_range(dut):
    rng = np.random.default_rng(2)
    corners = np.array(list(itertools.product([LOW, LOW + 1, -1, 0, HIGH - 1, HIGH], repeat=2)))
    pairs = np.concatenate([corners, rng.integers(LOW, HIGH + 1, (800, 2))])
    # Equal magnitudes as well, of which the first survives.
    pairs = np.concatenate([pairs, np.stack([pairs[:200, 0], -pairs[:200, 0].clip(LOW + 1)], axis=1)])
    await _check(dut, pairs[:, 0], pairs[:, 1])


@cocotb.test()
async def formats_change_and_the_pipeline_pauses(dut):
    rng = np.random.default_rng(3)
    pairs = np.clip(rng.integers(-250, 251, (800, 2)), LOW, HIGH)
    formats = [LaneFormat(value) for value in rng.integers(0, 4, 800).tolist()]
    await _check(dut, pairs[:, 0], pairs[:, 1], formats, pattern="half")
