"""Activation against golden: every function, fraction and format; every line at both its ends.

OLIVINE_ALL: every argument of the functions with lines, of fraction 12, as well.
"""

import os

import cocotb
import numpy as np
from olivine.linear.descriptor import RowFormat
from olivine.vector.activation import Activation
from olivine.vector.formats import Function
from olivine_golden.vector import activate

from tb.streams import start
from tb.vector.words import CONFIG, COUNT, ROWS, counted, factors, places, signed_values, stream

INPUTS = ("i", "function", "fraction", "mult", "shift", "format")


async def run(dut, rng, kind, fraction, mult, shift, format, x, gaps):
    for name, value in zip(INPUTS[1:], (kind.value, fraction, mult, shift, format.value)):
        getattr(dut, name).value = value
    count = x.shape[1]
    where = places(rng, count)
    done = activate(kind, x, fraction, mult, shift, format.bits)
    tallies = counted(done.saturated, where)
    words = [{"place": where[n], "data": x[:, n].tolist()} for n in range(count)]
    await stream(dut, Activation(CONFIG), words,
                 [({"data": done.y[:, n].tolist()}, (tallies[n],)) for n in range(count)], gaps, rng)
    return sum(tallies)


async def begin(dut):
    for name in INPUTS:
        getattr(dut, name).value = 0
    await start(dut)


@cocotb.test()
async def any_words(dut):
    rng = np.random.default_rng(1)
    await begin(dut)
    over = 0
    for job in range(25):
        kind, fraction = list(Function)[job % 5], 8 + job // 5
        mult, shift = factors(rng)
        over += await run(dut, rng, kind, fraction, mult, shift, list(RowFormat)[job % 3],
                          signed_values(rng, 16, (ROWS, COUNT)), job % 2)
    assert over


@cocotb.test()
async def every_line(dut):
    """Unshifted, so that every bit of the function is seen."""
    rng = np.random.default_rng(2)
    await begin(dut)
    if int(os.environ["OLIVINE_ALL"]):
        fraction, x = 12, np.arange(-32768, 32768)
    else:
        ends = np.arange(-256, 257)[:, None] * 16 + [-1, 0, 1]
        fraction, x = 8, ends.reshape(-1)
    x = np.resize(x, (-(-x.size // ROWS), ROWS)).T
    for kind in Function:
        # The function's 20 bits do not fit 16: what lies near 0 is seen at a shift of 0, the rest at one of 4.
        for shift in (0, 4):
            await run(dut, rng, kind, fraction, 1, shift, RowFormat.INT16, x, False)
