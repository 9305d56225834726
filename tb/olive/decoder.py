"""The decoder, every byte in every format, in both forms."""

import os

import cocotb
import numpy as np
from olivine.olive.decoder import PairDecoder
from olivine.olive.formats import LaneFormat
from olivine_golden.ovp import decode_pairs, decode_terms

from tb.numerics.pipeline import check
from tb.streams import pack

ELEMENT = os.environ["OLIVINE_ELEMENT"]
I, O = (PairDecoder(ELEMENT).signature.members[name].shape for name in "io")   # noqa: E741


def _expected(byte, fmt):
    if ELEMENT == "folded":
        first, second, illegal = (int(value) for value in decode_pairs(byte, fmt))
        return {"first": first, "second": second, "illegal": illegal}
    e0, i0, e1, i1, illegal = (int(value) for value in decode_terms(byte, fmt))
    return {"first": {"exponent": e0, "integer": i0}, "second": {"exponent": e1, "integer": i1},
            "illegal": illegal}


def _case(byte, fmt):
    return (pack(I, {"byte": byte, "format": fmt}),), (pack(O, _expected(byte, fmt)),)


@cocotb.test()
async def every_byte_in_every_format(dut):
    await check(dut, [_case(byte, fmt) for fmt in LaneFormat for byte in range(256)], ["i"], ["o"])


@cocotb.test()
async def formats_change_every_cycle(dut):
    rng = np.random.default_rng(1)
    cases = [_case(int(rng.integers(256)), LaneFormat(int(rng.integers(4)))) for _ in range(1000)]
    await check(dut, cases, ["i"], ["o"])
