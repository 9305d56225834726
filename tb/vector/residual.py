"""Residual adder against golden: every word in its cycle, every tally."""

import os

import cocotb
import numpy as np
from olivine.vector.residual import ResidualAdder
from olivine_golden.vector import add

from tb.streams import start
from tb.vector.words import CONFIG, COUNT, ROWS, counted, factors, places, signed_values, stream

BITS = int(os.environ["OLIVINE_SOURCE_BITS"])


@cocotb.test()
@cocotb.parametrize(gaps=[False, True])
async def any_words(dut, gaps):
    rng = np.random.default_rng([1, gaps])
    dut.i.value = 0
    await start(dut)
    x, residual = signed_values(rng, BITS, (ROWS, COUNT)), signed_values(rng, 24, (ROWS, COUNT))
    mult, shift = factors(rng, COUNT)
    done = add(residual, x, mult, shift)
    where = places(rng, COUNT)
    words = [{"place": where[n], "data": x[:, n].tolist(), "residual": residual[:, n].tolist(), "mult": mult[n],
              "shift": shift[n]} for n in range(COUNT)]
    tallies = list(zip(counted(done.addend_saturated, where), counted(done.sum_saturated, where)))
    assert any(t[1] for t in tallies) and (BITS <= 36 or any(t[0] for t in tallies))
    await stream(dut, ResidualAdder(CONFIG, BITS), words,
                 [({"data": done.residual[:, n].tolist()}, tallies[n]) for n in range(COUNT)], gaps, rng,
                 outputs=("addend_saturated", "sum_saturated"))
