"""Reciprocal square roots: both ends of every line, powers of two, any; a value each cycle."""

import cocotb
import numpy as np
from olivine.vector.rsqrt import Rsqrt
from olivine_golden.vector.rsqrt import rsqrt

from tb.numerics.pipeline import check
from tb.streams import pack


@cocotb.test()
async def values(dut):
    rng = np.random.default_rng(1)
    numbers = [0] + [1 << bit for bit in range(72)] + [(2 << bit) - 1 for bit in range(72)]
    numbers += [value for index in range(64, 256) for value in (index << 64, (index + 1 << 64) - 1)]
    numbers += [int.from_bytes(rng.bytes(9), "little") >> int(rng.integers(0, 72)) for _ in range(500)]
    shape = Rsqrt().signature.members["o"].shape
    cases = [((number,), (pack(shape, dict(zip(("exponent", "root"), rsqrt(number)))),)) for number in numbers]
    await check(dut, cases, ["i"], ["o"])
