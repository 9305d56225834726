"""exp2 over every 16-bit argument, and past it."""

import cocotb
import numpy as np
from olivine_golden.exp2 import exp2

from tb.numerics.pipeline import check


async def _check(dut, t, **options):
    lanes = [name for name in ("0", "1") if hasattr(dut, f"i__{name}")]
    # The second lane runs through the same arguments backwards.
    columns = [t, t[::-1]][:len(lanes)]
    cases = list(zip(zip(*(c.tolist() for c in columns)), zip(*(exp2(c).tolist() for c in columns))))
    await check(dut, cases, [f"i__{lane}" for lane in lanes], [f"o__{lane}" for lane in lanes], **options)


@cocotb.test()
async def every_16_bit_argument(dut):
    await _check(dut, np.arange(1 << 16))


@cocotb.test()
async def full_width(dut):
    width = len(dut.i__0)
    rng = np.random.default_rng(1)
    t = np.concatenate([(2 ** rng.uniform(0, width, 2000)).astype(np.int64), 1 << np.arange(width),
                        (1 << np.arange(width + 1)) - 1])
    await _check(dut, t)


@cocotb.test()
async def pauses(dut):
    await _check(dut, np.random.default_rng(2).integers(0, 4096, 2000), pattern="half", seed=3)
