"""Reciprocals of mantissas: every line at both its ends, random ones; bits past the last used one."""

import cocotb
import numpy as np
from olivine.numerics.normalize import normalized
from olivine_golden.reciprocal import reciprocal

from tb.numerics.pipeline import check
from tb.streams import pack


def _cases(mantissas):
    # The exponent must not matter: it counts through all values.
    results = reciprocal(mantissas).tolist()
    return [((pack(normalized(32), {"mantissa": mantissa, "exponent": index % 32}),), (result,))
            for index, (mantissa, result) in enumerate(zip(mantissas.tolist(), results))]


@cocotb.test()
async def values(dut):
    rng = np.random.default_rng(1)
    lines = (1 << 31) + (np.arange(1 << 8) << 23)
    mantissas = np.concatenate([lines, lines + (1 << 23) - 1, lines + (1 << 11), lines + (1 << 11) - 1,
                                rng.integers(1 << 31, 1 << 32, 20_000)])
    await check(dut, _cases(mantissas), ["i"], ["o"])


@cocotb.test()
async def pauses(dut):
    mantissas = np.random.default_rng(2).integers(1 << 31, 1 << 32, 500)
    await check(dut, _cases(mantissas), ["i"], ["o"], pattern="bursty")
