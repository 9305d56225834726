"""Normalization at its configured width: exhaustive where that is small."""

import cocotb
import numpy as np
from olivine.numerics.normalize import normalized
from olivine_golden.reciprocal import normalize

from tb.numerics.pipeline import check
from tb.streams import pack


def _cases(dut, values):
    width = len(dut.i)
    exponent, mantissa = normalize(values)
    # The golden model is written for 32 bits; a narrower word is the top of a 32-bit one.
    return [((value,), (pack(normalized(width), {"mantissa": top >> 32 - width, "exponent": place}),))
            for value, place, top in zip(values.tolist(), exponent.tolist(), mantissa.tolist())]


@cocotb.test()
async def values(dut):
    width = len(dut.i)
    if width <= 16:
        every = np.arange(1 << width)
    else:
        rng = np.random.default_rng(1)
        every = np.concatenate([[0], 1 << np.arange(width), (1 << np.arange(1, width + 1)) - 1,
                                (2 ** rng.uniform(0, width, 4000)).astype(np.int64)])
    await check(dut, _cases(dut, every), ["i"], ["o"])


@cocotb.test()
async def pauses(dut):
    values = np.random.default_rng(2).integers(0, 1 << len(dut.i), 500)
    await check(dut, _cases(dut, values), ["i"], ["o"], pattern="bursty")
