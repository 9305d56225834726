"""Quotients: what softmax produces, and every kind of saturation."""

import cocotb
import numpy as np
from olivine.numerics.quotient import FORMAT_BITS, MIN_EXPONENT, Quotient
from olivine_golden.reciprocal import PLAIN_SHIFT, normalize, reciprocal, scale

from tb.numerics.pipeline import check
from tb.streams import pack

I, O = (Quotient().signature.members[name].shape for name in "io")   # noqa: E741

LOW, HIGH = -(1 << 39), (1 << 39) - 1


def _cases(numerator, exponent, factor, shift=PLAIN_SHIFT, form=2):
    cases = []
    for n, e, f, s, k in zip(*(a.tolist() for a in np.broadcast_arrays(numerator, exponent, factor, shift, form))):
        value, saturated = scale(n, e, f, s, (*FORMAT_BITS, 16)[k])
        places = max(e - MIN_EXPONENT, 0)
        cases.append(((pack(I, {"numerator": n, "places": places, "factor": f, "shift": s, "format": k}),),
                      (pack(O, {"value": value, "saturated": saturated}),)))
    return cases


@cocotb.test()
async def softmax_rows(dut):
    rng = np.random.default_rng(1)
    denominator = (2 ** rng.uniform(15.01, 32, 6000)).astype(np.int64)
    numerator = np.clip(rng.uniform(-260, 260, 6000) * denominator, LOW, HIGH).astype(np.int64)
    exponent, mantissa = normalize(denominator)
    await check(dut, _cases(numerator, exponent, reciprocal(mantissa)), ["i"], ["o"])


@cocotb.test()
async def anything(dut):
    """Any numbers; shifts and formats change from one to the next."""
    rng = np.random.default_rng(2)
    numerator = (rng.choice([-1, 1], 6000) * 2 ** rng.uniform(0, 39, 6000)).astype(np.int64)
    numerator[:4] = LOW, HIGH, 0, -1
    cases = _cases(numerator, rng.integers(0, 32, 6000), rng.integers(0, 1 << 17, 6000), rng.integers(0, 64, 6000),
                   rng.integers(0, 4, 6000))
    await check(dut, cases, ["i"], ["o"], pattern="bursty")
