"""log2 of normalized numbers: every table entry at both its ends, every exponent, random ones."""

import cocotb
import numpy as np
from olivine.numerics.normalize import normalized
from olivine_golden.log2 import log2_q8
from olivine_golden.reciprocal import normalize

from tb.numerics.pipeline import check
from tb.streams import pack


def _cases(values):
    exponent, mantissa = normalize(values)
    return [((pack(normalized(32), {"mantissa": top, "exponent": place}),), (result,))
            for place, top, result in zip(exponent.tolist(), mantissa.tolist(), log2_q8(values).tolist())]


@cocotb.test()
async def values(dut):
    rng = np.random.default_rng(1)
    entries = (1 << 31) + (np.arange(1 << 10) << 21)
    exponents = np.arange(32)
    values = np.concatenate([[0], entries, entries + (1 << 21) - 1, 1 << exponents, (2 << exponents) - 1,
                             np.arange(1, 2000), (2 ** rng.uniform(0, 32, 4000)).astype(np.int64)])
    await check(dut, _cases(values), ["i"], ["o"])


@cocotb.test()
async def pauses(dut):
    await check(dut, _cases(np.random.default_rng(2).integers(1, 1 << 32, 500)), ["i"], ["o"], pattern="half")
