"""Gate against golden, for every format."""

import cocotb
import numpy as np
from olivine.linear.descriptor import RowFormat
from olivine.vector.activation import Gate
from olivine_golden.vector import gate

from tb.streams import start
from tb.vector.words import CONFIG, COUNT, ROWS, counted, places, signed_values, stream


@cocotb.test()
async def any_words(dut):
    rng = np.random.default_rng(1)
    dut.i.value = dut.shift.value = dut.format.value = 0
    await start(dut)
    over = 0
    for job in range(18):
        shift, format = int(rng.choice([0, 1, 63, *rng.integers(5, 25, 6)])), list(RowFormat)[job % 3]
        dut.shift.value, dut.format.value = shift, format.value
        left, right = signed_values(rng, 16, (2, ROWS, COUNT))
        where = places(rng, COUNT)
        done = gate(left, right, shift, format.bits)
        tallies = counted(done.saturated, where)
        over += sum(tallies)
        words = [{"place": where[n], "data": left[:, n].tolist(), "other": right[:, n].tolist()}
                 for n in range(COUNT)]
        await stream(dut, Gate(CONFIG), words,
                     [({"data": done.y[:, n].tolist()}, (tallies[n],)) for n in range(COUNT)], job % 2, rng)
    assert over
