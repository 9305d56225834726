"""Requantizer of residuals against golden, for every format."""

import cocotb
import numpy as np
from olivine.linear.descriptor import RowFormat
from olivine.vector.residual import ResidualRequantizer
from olivine_golden.vector import requantize

from tb.streams import start
from tb.vector.words import CONFIG, COUNT, ROWS, counted, factors, places, signed_values, stream


@cocotb.test()
async def any_words(dut):
    rng = np.random.default_rng(1)
    dut.i.value = dut.mult.value = dut.shift.value = dut.format.value = 0
    await start(dut)
    over = 0
    for job in range(18):
        mult, shift = factors(rng)
        format = list(RowFormat)[job % 3]
        dut.mult.value, dut.shift.value, dut.format.value = mult, shift, format.value
        x, where = signed_values(rng, 24, (ROWS, COUNT)), places(rng, COUNT)
        done = requantize(x, mult, shift, format.bits)
        tallies = counted(done.saturated, where)
        over += sum(tallies)
        words = [{"place": where[n], "data": x[:, n].tolist()} for n in range(COUNT)]
        await stream(dut, ResidualRequantizer(CONFIG), words,
                     [({"data": done.y[:, n].tolist()}, (tallies[n],)) for n in range(COUNT)], job % 2, rng)
    assert over
